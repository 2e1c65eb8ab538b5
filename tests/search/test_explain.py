"""Why a hit is one: parts that sum to the score, in the right place of the picture."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from scipy.stats import spearmanr
from sklearn.datasets import load_sample_image
from torch import nn

from retrieval import images, networks
from retrieval.encoder import Encoder, EncoderConfig, encoder
from retrieval.errors import RetrievalError
from retrieval.images import Preprocessing
from retrieval.ingest import build
from retrieval.networks.layers import Shares
from retrieval.search import explain, heat_map, results_picture
from retrieval.search.answer import Answer
from retrieval.search.search import Search

ARCHITECTURES: list[tuple[str, dict[str, Any], int]] = [
    ("convnet", {"dim": 6, "widths": (4, 8)}, 32),
    ("convnet", {"dim": 6, "widths": (4,), "channels": 1, "size": 9}, 9),
    ("seed", {"dim": 7}, 32),
    ("seed", {"dim": 7, "channels": 1, "size": 14}, 14),
    ("vgg16", {"channels": 3, "size": 70, "widths": (2, 3, 4, 5, 6)}, 70),
    ("vgg16", {"dim": 7, "channels": 1, "size": 105, "widths": (2, 3, 4, 5, 6)}, 105),
    ("efficientnet_lite0", {"pretrained": False}, 64),
    ("efficientnet_lite0", {"pretrained": False, "dim": 5}, 64),
    ("efficientnet_lite1", {"pretrained": False}, 60),
]


def network(name: str, options: dict[str, Any]) -> nn.Module:
    """A network with random weights, also where a new one has none: in what shifts and scales."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = networks.create(name, **options)
        for module in made.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.3)
                nn.init.normal_(module.running_mean, std=0.1)
    return made.eval().requires_grad_(False)


def encoder_of(made: nn.Module, size: int, channels: int, **options: Any) -> Encoder:
    mode = "RGB" if channels == 3 else "L"
    p = Preprocessing(size, mode, **options)  # type: ignore[arg-type]
    dim = made(torch.zeros(1, channels, size, size)).shape[1]
    return Encoder.of(made, EncoderConfig("convnet", {}, dim, p), threads=1)


def pictures(n: int, size: int, channels: int = 3, seed: int = 0) -> images.Pixels:
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, channels), np.uint8)


def sums(why: explain.Explanation) -> list[float]:
    return [float(one.values.sum(dtype=np.float64)) + one.remainder for one in (why.query_map, why.hit_map)]


@pytest.mark.parametrize(("name", "options", "size"), ARCHITECTURES)
def test_shares_sum_to_the_vector(name: str, options: dict[str, Any], size: int) -> None:
    made = network(name, options).double()
    x = torch.randn(3, options.get("channels", 3), size, size, dtype=torch.float64, generator=torch.manual_seed(1))
    whole, shares = made(x), made.shares(x)
    assert shares.positions.shape == (3, *shares.positions.shape[1:3], whole.shape[1])
    assert torch.allclose(shares.positions.sum((1, 2)) + shares.constant, whole, rtol=0, atol=1e-10 * whole.abs().max())


@pytest.mark.parametrize(("name", "options", "size"), ARCHITECTURES)
def test_parts_sum_to_the_score(name: str, options: dict[str, Any], size: int) -> None:
    channels = options.get("channels", 3)
    model = encoder_of(network(name, options), size, channels)
    query, *hits = pictures(4, size, channels)
    vectors = model.encode(np.stack([query, *hits]))
    for method in (explain.by_decomposition, explain.by_occlusion):
        found = method(model, query, np.stack(hits))
        assert found is not None and len(found) == 3
        for why, vector in zip(found, vectors[1:], strict=True):
            assert why.score == pytest.approx(float(vectors[0] @ vector), abs=1e-5)
            assert sums(why) == pytest.approx([why.score] * 2, abs=1e-5)
            assert why.query_map.values.dtype == np.float32
    assert [why.method for why in explain.explain_hits(model, query, np.stack(hits))] == ["decomposition"] * 3


def test_many_hits_are_explained_as_each_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain, "HITS_AT_ONCE", 2)
    model = encoder_of(network("seed", {"dim": 7}), 32, 3)
    query, *hits = pictures(6, 32)
    for hit, why in zip(hits, explain.explain_hits(model, query, np.stack(hits)), strict=True):
        alone = explain.explain(model, query, hit)
        assert np.allclose(alone.query_map.values, why.query_map.values, atol=1e-6)
        assert np.allclose(alone.hit_map.values, why.hit_map.values, atol=1e-6)


def test_the_parts_are_those_of_the_formula() -> None:
    """⟨a_p, b⟩ / (|a| |b|), position by position, for the network whose shares are easy to get in another way."""
    made = network("seed", {"dim": 7})
    model = encoder_of(made, 32, 3)
    query, hit = pictures(2, 32)
    double = network("seed", {"dim": 7}).double()
    x = torch.from_numpy(np.stack([query, hit])).permute(0, 3, 1, 2).double() / 255 * 2 - 1
    last = double.features(x)
    a, b = double(x)
    expected = torch.zeros(21, 21, dtype=torch.float64)
    for row in range(21):
        for column in range(21):
            alone = torch.zeros_like(last[:1])
            alone[:, :, row, column] = last[:1, :, row, column]
            expected[row, column] = nn.functional.linear(alone.flatten(1), double.embedding.weight)[0] @ b
    why = explain.explain(model, query, hit)
    assert np.allclose(why.query_map.values, expected / (a.norm() * b.norm()), atol=1e-6)
    assert why.query_map.remainder == pytest.approx(float(double.embedding.bias @ b / (a.norm() * b.norm())), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "position"), [("convnet", {"widths": (4, 8), "dim": 3}, 3), ("seed", {"dim": 3}, 9)]
)
def test_cells_lie_in_the_middle_of_what_they_see(name: str, options: dict[str, Any], position: int) -> None:
    made = network(name, options).double()
    touched = torch.zeros(32, 32, dtype=torch.bool)
    for seed in range(5):  # maxima touch only some pixels at a time
        x = torch.randn(1, 3, 32, 32, dtype=torch.float64, generator=torch.manual_seed(seed)).requires_grad_()
        last = made.features[:-2](made.stem(x)) if name == "convnet" else made.features(x)
        (gradient,) = torch.autograd.grad(last[0, :, position, position].sum(), x)
        touched |= (gradient != 0).any(1)[0]
    left, top, right, bottom = made.shares(x).box
    width, height = (right - left) / last.shape[3], (bottom - top) / last.shape[2]
    rows, columns = torch.nonzero(touched, as_tuple=True)
    assert (columns.min() + columns.max() + 1) / 2 == left + (position + 0.5) * width
    assert (rows.min() + rows.max() + 1) / 2 == top + (position + 0.5) * height


def test_the_cells_of_a_deep_network_lie_in_the_middle_of_what_they_see() -> None:
    """By its layers (Araujo, Norris and Sim 2019): each sees more than the whole picture."""
    made = network("vgg16", {"size": 105, "widths": (1, 1, 1, 1, 1)})
    middle, step = 0.5, 1
    for layer in made.features:
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            kernel, stride, padding = (
                one[0] if isinstance(one, tuple) else one for one in (layer.kernel_size, layer.stride, layer.padding)
            )
            middle += ((kernel - 1) / 2 - padding) * step
            step *= stride
    left, top, right, bottom = made.shares(torch.zeros(1, 1, 105, 105)).box
    cells = 3  # a side, of 105 / 32
    assert (right - left) / cells == (bottom - top) / cells == step
    assert left + step / 2 == top + step / 2 == middle


@pytest.mark.parametrize(("network", "side"), [("efficientnet_lite0", 352), ("efficientnet_lite1", 240)])
def test_the_default_networks_cells_lie_where_its_weights_look(network: str, side: int) -> None:
    """Where a patch of one photograph is replaced by one of another, the map changes around that place."""
    made = networks.create(network).eval()
    photograph, other = (
        (torch.from_numpy(load_sample_image(name)[:side, :side].copy()).permute(2, 0, 1)[None].float() - 127) / 128
        for name in ("china.jpg", "flower.jpg")
    )
    about = side // 2 - 16
    rng = np.random.default_rng(0)
    away = []
    with torch.inference_mode():
        before = made.shares(photograph)
        for _ in range(6):
            # all about the middle, so that the edges pull to no side
            row, column = rng.integers(about - 16, about + 16, 2)
            top, left = rng.integers(0, side - 32, 2)
            changed = photograph.clone()
            changed[..., row : row + 32, column : column + 32] = other[..., top : top + 32, left : left + 32]
            change = (made.shares(changed).positions - before.positions).square().sum(3)[0]
            cells = (torch.arange(len(change)) + 0.5) * 32 + before.box[0]
            away.append(
                [change.sum(1) @ cells / change.sum() - row - 16, change.sum(0) @ cells / change.sum() - column - 16]
            )
    assert before.box[2] - before.box[0] == 32 * len(change)
    assert np.abs(np.mean(away, axis=0)).max() < 12  # of the 32 of a cell


@pytest.mark.parametrize("corner", [(0, 0), (64, 64), (0, 128), (128, 128)])
def test_the_default_network_finds_the_flower_beside_the_temple(corner: tuple[int, int]) -> None:
    temple, flower = (Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg"))
    query = flower.crop((150, 20, 450, 320)).resize((240, 240))
    hit = temple.crop((0, 0, 427, 427)).resize((240, 240))
    row, column = corner
    hit.paste(query.resize((112, 112)), (column, row))
    why = explain.explain(Encoder.load("default", runtime="torch", threads=1), np.array(query), np.array(hit))
    assert sums(why) == pytest.approx([why.score] * 2, abs=1e-5)
    cells = np.arange(8) * 32  # 240 pixels are no whole number of strides
    inside = np.ix_((cells > row) & (cells < row + 112), (cells > column) & (cells < column + 112))
    assert inside[0].size == inside[1].size == 3
    assert why.hit_map.values.max() == why.hit_map.values[inside].max()
    assert why.hit_map.values[inside].mean() > 2 * why.hit_map.values.mean()


PATTERN = 5
PLACES = {  # row and column of the cells of the 7 × 7 grid that hold each pattern
    "query": ((4, 1), (0, 0), (2, 5), (6, 6), (5, 3), (1, 2)),
    "hit": ((1, 5), (6, 0), (3, 3), (0, 2), (4, 6), (6, 4)),
}


class Detector(nn.Module):
    """Answers to patterns wherever they are, to the first one most, and hardly to noise; averaged over all places."""

    def __init__(self, patterns: images.Pixels, decomposes: bool = True) -> None:
        super().__init__()
        kernels = torch.from_numpy(patterns).permute(0, 3, 1, 2).float()
        kernels = kernels - kernels.mean((1, 2, 3), keepdim=True)
        self.strong = nn.Conv2d(3, len(patterns), PATTERN, bias=False)
        # 1 for the pattern itself, whose values the preprocessing spreads from −1 to 1.
        self.strong.weight.data = 127.5 * kernels / kernels.square().sum((1, 2, 3), keepdim=True)
        self.weak = nn.Conv2d(3, 8, PATTERN, bias=False)
        nn.init.normal_(self.weak.weight, std=0.1, generator=torch.manual_seed(0))
        self.gain = nn.Parameter(0.8 ** torch.arange(len(patterns)).view(-1, 1, 1), requires_grad=False)
        if decomposes:
            self.shares = self._shares

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._shares(x).positions.sum((1, 2))

    def _shares(self, x: torch.Tensor) -> Shares:
        last = torch.cat([self.gain * self.strong(x).clamp_min(0) ** 4, 1e-4 * self.weak(x).abs()], 1)
        height, width = last.shape[2:]
        box = (PATTERN / 2 - 0.5, PATTERN / 2 - 0.5, width + PATTERN / 2 - 0.5, height + PATTERN / 2 - 0.5)
        return Shares(last.movedim(1, -1) / (height * width), torch.zeros(last.shape[1]), box)


@pytest.fixture(scope="module")
def planted() -> tuple[images.Pixels, images.Pixels, images.Pixels]:
    """Six patterns, and two pictures of noise that share these, at other places, and nothing else."""
    patterns = pictures(6, PATTERN, seed=9)
    noise = np.random.default_rng(5).normal(127, 25, (2, 35, 35, 3)).clip(0, 255).astype(np.uint8)
    for picture, places in zip(noise, PLACES.values(), strict=True):
        for pattern, (row, column) in zip(patterns, places, strict=True):
            picture[5 * row : 5 * row + 5, 5 * column : 5 * column + 5] = pattern
    return patterns, noise[0], noise[1]


def test_what_two_pictures_share_is_hottest(planted: tuple[images.Pixels, ...]) -> None:
    patterns, query, hit = planted
    why = explain.explain(encoder_of(Detector(patterns), 35, 3), query, hit)
    assert why.method == "decomposition"
    assert why.score > 0.9
    for heat, places in ((why.query_map, PLACES["query"]), (why.hit_map, PLACES["hit"])):
        # Each of the 31 × 31 cells is a pixel large, and its middle is that of the 5 × 5 pixels that it sees.
        left, top, right, bottom = heat.box
        assert (left, top, right, bottom) == (2, 2, 33, 33)
        order = np.argsort(-heat.values.ravel())[:6]
        rows, columns = np.unravel_index(order, heat.values.shape)
        found = list(zip(rows + top + 0.5, columns + left + 0.5, strict=True))
        assert found == [(5 * row + 2.5, 5 * column + 2.5) for row, column in places]
        assert heat.values.ravel()[order].sum() > 0.9 * why.score


def test_occlusion_finds_the_same_places_in_the_same_order(planted: tuple[images.Pixels, ...]) -> None:
    patterns, query, hit = planted
    exact = explain.explain(encoder_of(Detector(patterns), 35, 3), query, hit)
    by_cells = explain.explain(encoder_of(Detector(patterns, decomposes=False), 35, 3), query, hit)
    assert by_cells.method == "occlusion"
    assert by_cells.score == pytest.approx(exact.score, abs=1e-6)
    assert sums(by_cells) == pytest.approx([by_cells.score] * 2, abs=1e-5)
    for exactly, cells, places in (
        (exact.query_map, by_cells.query_map, PLACES["query"]),
        (exact.hit_map, by_cells.hit_map, PLACES["hit"]),
    ):
        assert cells.values.shape == (7, 7)
        rows, columns = np.unravel_index(np.argsort(-cells.values.ravel())[:6], (7, 7))
        assert sorted(zip(rows, columns, strict=True)) == sorted(places)
        exact_parts = [float(exactly.values[5 * row, 5 * column]) for row, column in places]
        losses = [float(cells.values[place]) for place in places]
        assert spearmanr(exact_parts, losses).statistic > 0.9


def test_what_decides_is_the_network_even_if_another_runtime_encodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(encoder, "compare", tiny.only_vectors)
    made = network("convnet", {"dim": 6, "widths": (4, 8)})
    config = EncoderConfig("convnet", {"dim": 6, "widths": [4, 8]}, 6, made.preprocessing)
    Encoder.of(made, config).save(tmp_path / "encoder")
    model = Encoder.load(tmp_path / "encoder", runtime="onnx")
    query, hit = pictures(2, 32)
    why = explain.explain(model, query, hit)
    assert model.runtime == "onnx" and why.method == "decomposition"
    assert why.score == pytest.approx(float(np.prod(model.encode(np.stack([query, hit])), axis=0).sum()), abs=1e-5)


def test_other_pixels_are_refused() -> None:
    model = encoder_of(network("seed", {"dim": 7}), 32, 3)
    with pytest.raises(RetrievalError, match=r"uint8 \(n, 32, 32, 3\)"):
        explain.explain(model, pictures(1, 31)[0], pictures(1, 32)[0])
    with pytest.raises(RetrievalError, match="not numbers"):
        broken = network("seed", {"dim": 7})
        broken.embedding.bias.data[:] = np.nan
        broken.embedding.weight.data[:] = np.nan
        explain.explain(encoder_of(broken, 32, 3), *pictures(2, 32))


def test_json_holds_the_maps() -> None:
    model = encoder_of(network("seed", {"dim": 7}), 32, 3, fit="pad")
    why = explain.explain(model, *pictures(2, 32))
    values = json.loads(json.dumps(why.to_json()))
    assert values["score"] == why.score and values["method"] == "decomposition"
    for name, heat in (("query", why.query_map), ("hit", why.hit_map)):
        assert np.allclose(values[name]["values"], heat.values, atol=1e-9)
        assert np.sum(values[name]["values"]) + values[name]["remainder"] == pytest.approx(why.score, abs=1e-5)
        assert values[name]["box"] == [5.5 / 32, 5.5 / 32, 26.5 / 32, 26.5 / 32]
        assert values[name]["fit"] == "pad"


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("shape", [(90, 40), (31, 64), (50, 50), (200, 3)])
def test_the_seen_part_is_where_the_network_sees_a_mark(fit: Any, shape: tuple[int, int]) -> None:
    """A mark at a known place of the square is found there again through the picture, and the other way round."""
    width, height = shape
    p = Preprocessing(40, "L", fit, "bilinear", mean=(0.0,), std=(1.0,))
    left, top, right, bottom = images.seen(width, height, p)
    ramps = [np.tile(np.arange(width), (height, 1)), np.tile(np.arange(height)[:, None], (1, width))]
    for ramp, low, high, axis in zip(ramps, (left, top), (right, bottom), (0, 1), strict=True):
        if ramp.max() < 12:
            continue
        square = images.prepare(Image.fromarray(ramp.astype(np.uint8)), p)[..., 0].astype(float)
        line = square.max(axis=axis)  # the padding is black
        # In the middle half of what is picture, the pixel's value is its place in the picture.
        places = low + (np.arange(40) + 0.5) / 40 * (high - low) - 0.5
        inside = (places > ramp.max() * 0.3) & (places < ramp.max() * 0.7)
        assert inside.sum() > 2
        assert np.abs(line - places)[inside].max() < 1.5 * max(1, (high - low) / 40)


@pytest.mark.parametrize(
    ("fit", "size", "spot"),
    [
        ("stretch", (120, 60), (0, 0, 60, 30)),  # left, top, right, bottom of what the hot cell covers
        ("crop", (120, 60), (30, 0, 60, 30)),
        ("crop", (60, 120), (0, 30, 30, 60)),
        ("pad", (120, 60), (0, 0, 60, 30)),
        ("pad", (60, 120), (0, 0, 30, 60)),
    ],
)
def test_a_map_is_drawn_where_the_network_saw_it(
    fit: Any, size: tuple[int, int], spot: tuple[int, int, int, int]
) -> None:
    """The upper left quarter of the square is hot; with "pad" half of that lies outside of the picture."""
    values = np.zeros((40, 40), np.float32)
    values[:20, :20] = 1
    heat = explain.HeatMap(values, 0.0, (0, 0, 8, 8), Preprocessing(8, fit=fit))
    drawn = np.asarray(heat_map.overlay(Image.new("RGB", size, "white"), heat)).astype(int)
    assert drawn.shape == (size[1], size[0], 3)
    rows, columns = np.nonzero(drawn[..., 0] - drawn[..., 2] > 40)  # red
    assert [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] == pytest.approx(list(spot), abs=2)
    line = (drawn == (124, 130, 138)).all(axis=2)
    assert line.any() == (fit == "crop")  # what the network did not see is outside of a line


def test_the_colours_are_even_and_centred() -> None:
    scale = heat_map.colours(np.linspace(-1, 1, 41))
    assert scale.min() >= 0 and scale.max() <= 1
    assert scale[20].min() > 0.95  # nothing is white
    assert scale[0, 2] > scale[0, 0] + 0.3 and scale[-1, 0] > scale[-1, 2] + 0.3
    lightness = np.array([_oklab(colour)[0] for colour in scale])
    assert (np.diff(lightness[:21]) > 0).all() and (np.diff(lightness[20:]) < 0).all()
    for half in (scale[:21], scale[20:]):
        steps = np.linalg.norm(np.diff([_oklab(colour) for colour in half], axis=0), axis=1)
        assert steps.max() < 1.05 * steps.min()
    assert np.array_equal(heat_map.colours(np.array([-9.0, 9.0])), scale[[0, -1]])


def _oklab(srgb: np.ndarray) -> np.ndarray:
    """By way of CIE XYZ, with Ottosson's first pair of matrices; the module has the pair that goes to sRGB at once."""
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
    )
    cones = np.array(
        [
            [0.8189330101, 0.3618667424, -0.1288597137],
            [0.0329845436, 0.9293118715, 0.0361456387],
            [0.0482003018, 0.2643662691, 0.6338517070],
        ]
    )
    lab = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return lab @ np.cbrt(cones @ (xyz @ linear))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An index of eight pictures of several proportions, and where they lie."""
    root = tiny.folder(tmp_path_factory.mktemp("pictures"))
    tiny.picture(7, 80, 40).save(root / "cat" / "wide.png")
    tiny.picture(8, 30, 90).save(root / "dog" / "tall.png")
    index = tmp_path_factory.mktemp("index") / "index"
    build(root, index, model=tiny.model(tmp_path_factory))
    return index, root


def test_the_hits_of_an_index_are_explained_and_drawn(folder: tuple[Path, Path], tmp_path: Path) -> None:
    index, root = folder
    with Search.open(index) as search:
        answers = search.query([root / "cat" / "wide.png", root / "dog" / "0.png"], 9)
        found = [explain.explain_answer(search, answer) for answer in answers]
        for answer, whys in zip(answers, found, strict=True):
            for hit, why in zip(answer.hits, whys, strict=True):
                assert why is not None
                assert sums(why) == pytest.approx([hit.score] * 2, abs=1e-5)
        assert results_picture.draw_explanations(answers, found, search.root, tmp_path / "why.png") == 2
        plain = [[None] * len(answer.hits) for answer in answers]
        results_picture.draw_explanations(answers, plain, search.root, tmp_path / "plain.png")
        with Image.open(tmp_path / "why.png") as one, Image.open(tmp_path / "plain.png") as other:
            assert one.size == other.size
            red = [int((np.asarray(x).astype(int) @ (1, 0, -1) > 60).sum()) for x in (one, other)]
        assert red[0] > red[1]
        with pytest.raises(RetrievalError, match="could not be written"):
            results_picture.draw_explanations(answers, found, search.root, tmp_path / "why.txt")
        with pytest.raises(RetrievalError, match="no answer to draw"):
            results_picture.draw_explanations([], [], search.root, tmp_path / "none.png")


def test_a_file_that_cannot_be_explained_is_one_sentence(folder: tuple[Path, Path], tmp_path: Path) -> None:
    index, root = folder
    with Search.open(index) as search:
        answer = search.query_paths(["cat/1.png"], 4)[0]
        gone, changed = (root / hit.path for hit in answer.hits[1:3])
        kept = {path: path.read_bytes() for path in (gone, changed, root / "cat" / "1.png")}
        try:
            gone.write_bytes(b"no picture")
            tiny.picture(99).save(changed)
            with pytest.raises(images.UnreadableImage, match=r"^The picture '.*' cannot be read: not a picture\.$"):
                explain.explain_answer(search, answer)
            skipped: list[images.Skipped] = []
            found = explain.explain_answer(search, answer, skipped=skipped)
            assert [one is None for one in found] == [False, True, True, False]
            assert [one.reason for one in skipped] == ["not a picture", "changed since it was indexed"]
            assert results_picture.draw_explanations([answer], [found], search.root, tmp_path / "why.png") == 1
            tiny.picture(98).save(root / "cat" / "1.png")
            with pytest.raises(images.UnreadableImage, match="changed since it was indexed"):
                explain.explain_answer(search, answer, skipped=skipped)
        finally:
            for path, content in kept.items():
                path.write_bytes(content)
        nothing = dataclasses.replace(answer, hits=())
        assert explain.explain_answer(search, nothing) == []
        with pytest.raises(RetrievalError, match="'a red shoe' is no picture"):
            explain.explain_answer(search, Answer("a red shoe", None, None, answer.hits))
