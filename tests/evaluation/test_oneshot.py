"""One-shot trials: Lake's runs from a hostile archive, trials drawn from pictures, vectors averaged over views."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
from lake_archive import SIZE, WAYS, archive, members, png
from PIL import Image
from scipy import ndimage
from small_sets import SHARED

from retrieval.cli import main
from retrieval.datasets import PictureSet, lake_runs
from retrieval.errors import RetrievalError
from retrieval.evaluation.one_shot import (
    by_pairs,
    by_vectors,
    encode_averaged,
    evaluate_runs,
    evaluate_trials,
    view,
    views,
)
from retrieval.images import Preprocessing, fit_array
from retrieval.measures import mean_intervals

LAKE = SHARED / "omniglot" / "all_runs.zip"


class Network:
    """Stands for an encoder: a function of pixels (n, s, s, 1) to vectors, and how many pictures it was shown."""

    def __init__(self, function, classes: tuple[str, ...] = ()) -> None:
        self._function = function
        self.shown = 0
        self.config = SimpleNamespace(preprocessing=Preprocessing(SIZE, mode="L"), network="made-up", classes=classes)
        self.dim = function(np.zeros((1, SIZE, SIZE, 1), np.uint8)).shape[1]
        self.hash = "0" * 64

    def encode(self, pixels):
        self.shown += len(pixels)
        vectors = self._function(pixels).astype(np.float64)
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def constant(average: int = 1):
    return by_vectors(Network(lambda pixels: np.ones((len(pixels), 7)) * 0.3), average=average)


def network() -> Network:
    return Network(lambda pixels: pixels.reshape(len(pixels), -1) / 255 - 0.5)


def looking():
    return by_vectors(network())


class Beside:
    """Stands for a pair network: how many pixels are the same; with features of single pictures, or without."""

    preprocessing = Preprocessing(SIZE, mode="L")

    def __init__(self, siamese: bool) -> None:
        self.siamese = siamese
        self.embedded = 0

    def score(self, query, hits):
        assert not self.siamese
        return self.score_features(query.ravel(), hits.reshape(len(hits), -1))

    def embed(self, pixels):
        self.embedded += len(pixels)
        return pixels.reshape(len(pixels), -1)

    def score_features(self, query, features):
        return (features == query).mean(axis=1).astype(np.float32)


def opened(content: bytes):
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize("folder", ["", "all_runs/"])
def test_runs_are_read_as_they_are(tmp_path, folder):
    files = members()
    path = archive(tmp_path / "all_runs.zip", files, folder)
    assert lake_runs.recognises(path)
    runs = lake_runs.load(path)
    assert runs.names == ("run01", "run02", "run03")
    for run, training, test, truth in zip(runs.names, runs.training, runs.test, runs.truth, strict=True):
        for line in files[f"{run}/class_labels.txt"].decode().splitlines():
            item, drawing = line.split()
            names = [runs.pictures.names[row] for row in test]
            slot = truth[names.index(folder + item)]
            row = training[slot]
            assert runs.pictures.names[row] == folder + drawing
            assert (runs.pictures.pixels[row, :, :, 0] == opened(files[drawing])).all()


@pytest.mark.parametrize("noise", [0.15, 0.45])
def test_the_error_is_that_of_nearest_drawings(tmp_path, noise):
    files = members(runs=6, noise=noise)
    result = evaluate_runs(looking(), lake_runs.load(archive(tmp_path / "runs.zip", files)))
    expected = []
    for run in range(1, 7):
        wrong = []
        for line in files[f"run{run:02d}/class_labels.txt"].decode().splitlines():
            item, true = line.split()
            asked = opened(files[item]).astype(float) - 127.5
            slots = [f"run{run:02d}/training/class{number:02d}.png" for number in range(1, WAYS + 1)]
            scores = [float((asked * (opened(files[slot]).astype(float) - 127.5)).sum()) for slot in slots]
            best = [slot for slot, score in zip(slots, scores, strict=True) if score == max(scores)]
            wrong.append(1 - (true in best) / len(best))
        expected.append(np.mean(wrong))
    (figure,) = result.figures
    assert list(result.runs.values()) == pytest.approx(expected)
    assert figure.error.value == pytest.approx(np.mean(expected))
    interval = mean_intervals(expected)[0]  # over runs
    assert (figure.error.low, figure.error.high) == pytest.approx((interval.low, interval.high))
    assert (figure.ways, figure.shots, figure.trials, figure.units) == (WAYS, 1, 6 * WAYS, 6)


def test_a_constant_network_scores_chance(tmp_path):
    runs = lake_runs.load(archive(tmp_path / "runs.zip", members()))
    for average in (1, 3):
        (figure,) = evaluate_runs(constant(average), runs).figures
        assert figure.error.value == pytest.approx(figure.chance, abs=1e-12)
        assert figure.chance == 1 - 1 / WAYS
        for figure in evaluate_trials(constant(average), drawings(), ways=[2, 5], trials=300).figures:
            assert figure.error.value == pytest.approx(1 - 1 / figure.ways, abs=1e-12)


@pytest.mark.parametrize("siamese", [False, True])
def test_a_pair_network_answers_the_same_trials(tmp_path, siamese):
    """Equal pixels order as inner products of ±1 do."""
    scorer = Beside(siamese)
    runs = lake_runs.load(archive(tmp_path / "runs.zip", members(runs=6, noise=0.45)))
    one, other = (evaluate_runs(who, runs) for who in (looking(), by_pairs(scorer, "beside")))
    assert one.runs == pytest.approx(other.runs)
    assert "pair network" in other.protocol
    assert scorer.embedded == siamese * len(runs.pictures)
    pictures = drawings(noise=0.35)
    one, other = (
        evaluate_trials(who, pictures, ways=[5], shots=[1, 3], trials=100) for who in (looking(), by_pairs(scorer, "b"))
    )
    for first, second in zip(one.figures, other.figures, strict=True):
        assert first.error.value == pytest.approx(second.error.value, abs=0.02)  # ties of rounded means


def test_runs_of_different_sizes(tmp_path):
    files = members(runs=2)
    for name in [name for name in files if name.startswith("run02") and ("class05" in name or "labels" in name)]:
        del files[name]
    lines = [line for line in members(runs=2)["run02/class_labels.txt"].decode().splitlines() if "class05" not in line]
    files["run02/class_labels.txt"] = "\n".join(lines).encode()
    kept = {line.split()[0] for line in lines}
    files = {name: one for name, one in files.items() if not name.startswith("run02/test") or name in kept}
    result = evaluate_runs(constant(), lake_runs.load(archive(tmp_path / "runs.zip", files)))
    (figure,) = result.figures
    assert (figure.ways, figure.trials) == (None, 9)
    assert figure.error.value == pytest.approx(1 - (5 * 1 / 5 + 4 * 1 / 4) / 9)
    assert figure.chance == pytest.approx(figure.error.value)


def without(name):
    return lambda files: files.pop(name)


def labels(change):
    def broken(files):
        files["run02/class_labels.txt"] = change(files["run02/class_labels.txt"])

    return broken


@pytest.mark.parametrize(
    "broken",
    [
        without("run02/training/class01.png"),
        without("run02/test/item03.png"),
        labels(lambda content: b""),
        labels(lambda content: content.split(b"\n", 1)[1]),
        labels(lambda content: content + content.split(b"\n")[0]),
        labels(lambda content: content + b"run02/test/item99.png run02/training/class01.png\n"),
        labels(lambda content: content + b"run02/test/item99.png\n"),
        labels(lambda content: content.replace(b"run02/training/class01.png", b"run01/training/class01.png")),
        labels(lambda content: content.replace(b"run02/training/class01.png", b"../../../etc/passwd")),
        labels(lambda content: content.replace(b"run02/test/item01.png", b"/etc/passwd")),
        labels(lambda content: b"\xff\xfe\x00" * 100),
        labels(lambda content: b"a b\n" * 2**19),
        lambda files: files.update({"run02/test/item01.png": b"no picture"}),
        lambda files: files.update({"run02/test/item01.png": files["run02/test/item01.png"][:60]}),
        lambda files: files.update({"run02/test/item01.png": png(np.zeros((9, 9), np.uint8))}),
        lambda files: [files.pop(name) for name in list(files) if "/test/" in name],
        lambda files: [files.pop(name) for name in list(files) if "labels" in name],
    ],
)
def test_a_broken_archive_is_refused_in_one_sentence(tmp_path, broken):
    files = members()
    broken(files)
    with pytest.raises(RetrievalError) as error:
        lake_runs.load(archive(tmp_path / "all_runs.zip", files))
    assert "\n" not in str(error.value)


def test_a_damaged_archive_is_refused(tmp_path):
    path = archive(tmp_path / "all_runs.zip", members())
    content = path.read_bytes()
    for cut in (10, len(content) // 2, len(content) - 30):
        path.write_bytes(content[:cut])
        with pytest.raises(RetrievalError):
            lake_runs.load(path)
    draw = np.random.default_rng(0)
    for _ in range(100):
        broken = bytearray(content)
        for place in draw.integers(0, len(content), 5):
            broken[place] = draw.integers(256)
        path.write_bytes(bytes(broken))
        try:
            runs = lake_runs.load(path)
        except RetrievalError:
            continue
        assert all((truth < len(training)).all() for truth, training in zip(runs.truth, runs.training, strict=True))


@pytest.mark.skipif(not LAKE.exists(), reason="Omniglot is not here")
def test_the_published_runs():
    runs = lake_runs.load(LAKE)
    assert len(runs.names) == 20
    assert {len(one) for part in (runs.training, runs.test, runs.truth) for one in part} == {20}
    assert all(sorted(truth) == list(range(20)) for truth in runs.truth)
    assert runs.pictures.pixels.shape == (800, 105, 105, 1)
    assert runs.truth[0][:5].tolist() == [7, 8, 1, 18, 9]


# Trials that are drawn


def drawings(classes: int = 12, each: int = 6, noise: float = 0.1, levels: int | None = None) -> PictureSet:
    draw = np.random.default_rng(1)
    plain = draw.integers(0, 2, (classes, SIZE, SIZE, 1)).astype(np.uint8) * 255
    labels = np.repeat(np.arange(classes), each)
    pixels = plain[labels]
    turned = draw.random(pixels.shape) < noise
    return PictureSet(
        name="drawings",
        names=tuple(f"{row}.png" for row in range(len(labels))),
        classes=tuple(f"class{number}" for number in range(classes)),
        labels=labels,
        splits=np.full(len(labels), "train", "<U5"),
        pixels=np.where(turned, 255 - pixels, pixels),
        levels=None if levels is None else tuple(f"alphabet{label % levels}" for label in labels),
    )


def test_trials_are_easy_or_hard_as_the_pictures_are():
    clear = evaluate_trials(looking(), drawings(), ways=[5], shots=[1, 3], trials=500)
    assert [(one.ways, one.shots, one.error.value) for one in clear.figures] == [(5, 1, 0.0), (5, 3, 0.0)]
    one, three = evaluate_trials(looking(), drawings(noise=0.35), ways=[5], shots=[1, 3], trials=500).figures
    assert 0.02 < three.error.value < one.error.value < 0.7
    assert one.error.low < one.error.value < one.error.high
    assert one.units == 12


def test_trials_within_groups_are_told_apart_by_what_differs_within_them():
    """A network that only knows the group finds everything across groups of one class each, and nothing within."""
    pictures = drawings(classes=12, levels=3)
    level = np.array([int(name.removeprefix("alphabet")) for name in pictures.levels])
    known = {bytes(pixels): np.eye(3)[one] for pixels, one in zip(pictures.pixels, level, strict=True)}
    seeing = Network(lambda pixels: np.array([known.get(bytes(one), np.ones(3)) for one in pixels]))
    (across,) = evaluate_trials(by_vectors(seeing), pictures, ways=[3], shots=[1], trials=400).figures
    within = evaluate_trials(by_vectors(seeing), pictures, ways=[3], shots=[1], trials=400, within_groups=True)
    assert within.figures[0].error.value == pytest.approx(2 / 3)
    assert across.error.value < 0.45
    assert "one group" in within.protocol


def test_what_was_trained_on_is_said():
    trained = Network(lambda pixels: pixels.reshape(len(pixels), -1) - 127.5, classes=("class3", "class5", "other"))
    (note,) = evaluate_trials(by_vectors(trained), drawings(), ways=[2], shots=[1], trials=10).notes
    assert "trained on 2 of these 12 classes" in note
    assert evaluate_trials(looking(), drawings(), ways=[2], shots=[1], trials=10).notes == ()


def test_the_test_split_is_asked_where_there_is_one():
    pictures = drawings()
    pictures.splits[pictures.labels >= 8] = "test"
    result = evaluate_trials(looking(), pictures, ways=[4], shots=[1], trials=50)
    assert "24 pictures of 4 classes (test)" in result.protocol
    with pytest.raises(RetrievalError, match="5 ways"):
        evaluate_trials(looking(), pictures, ways=[5], shots=[1])
    with pytest.raises(RetrievalError, match="no groups"):
        evaluate_trials(looking(), pictures, ways=[2], within_groups=True)


# Views


def test_a_view_is_that_of_scipy():
    pixels = np.random.default_rng(2).integers(0, 256, (2, 20, 20, 3), np.uint8)
    matrices = views(6, seed=3)
    assert (view(pixels, matrices[0]) == pixels).all()
    for matrix in matrices[1:]:
        # SciPy: rows first, in pixels, from the corner's middle
        swap = np.array([[0, 1], [1, 0]])
        turn = swap @ matrix[:, :2] @ swap
        middle = np.full(2, 9.5)
        offset = middle - turn @ middle + swap @ matrix[:, 2] * 10
        for picture, seen in zip(pixels, view(pixels, matrix), strict=True):
            for channel in range(3):
                expected = ndimage.affine_transform(
                    picture[..., channel].astype(float), turn, offset, order=1, mode="nearest"
                )
                assert np.abs(seen[..., channel] - expected).max() < 0.51


def test_views_are_small_and_the_same_for_the_same_seed():
    many = views(500, seed=0)
    assert (many == views(500, seed=0)).all()
    assert (many[:100] == views(100, seed=0)).all()
    size = np.sqrt(np.linalg.det(many[:, :, :2]))
    assert 1 / 1.1 - 1e-9 <= size.min() < 0.93 and 1.07 < size.max() <= 1.1 + 1e-9
    angle = np.degrees(np.arctan2(many[:, 1, 0], many[:, 0, 0]))
    assert 9 < np.abs(angle).max() <= 10
    assert 0.09 < np.abs(many[:, :, 2]).max() <= 0.1
    for wrong in (0, -1, 10_000):
        with pytest.raises(RetrievalError, match="--average"):
            views(wrong, seed=0)


def test_vectors_are_the_mean_over_views():
    pictures, model = drawings(classes=3, each=2), network()
    done: list[int] = []
    found = encode_averaged(model, pictures, 4, seed=5, advance=done.append)
    assert sum(done) == len(pictures) and model.shown == 4 * len(pictures)
    wide = fit_array(pictures.pixels, Preprocessing(2 * SIZE, mode="L"))  # views are made of what is twice as large
    seen = [fit_array(view(wide, matrix), Preprocessing(SIZE, mode="L")) for matrix in views(4, seed=5)[1:]]
    total = sum(network().encode(pixels).astype(float) for pixels in (pictures.pixels, *seen))
    np.testing.assert_allclose(found, total / np.linalg.norm(total, axis=1, keepdims=True), atol=1e-6)
    np.testing.assert_allclose(encode_averaged(network(), pictures, 1), network().encode(pictures.pixels), atol=1e-7)


# The command line


def test_the_command_line(tmp_path_factory, tmp_path, capsys):
    model = str(tiny.model(tmp_path_factory))
    runs = [str(archive(tmp_path / name, members())) for name in ("all_runs.zip",)]
    assert main(["evaluate", model, *runs, "--oneshot", "--save", str(tmp_path / "a.json"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "a.json").read_text())
    figure = printed["figures"]["5-way 1-shot error"]
    assert figure["trials"] == 15 and figure["units"] == 3 and 0 <= figure["error"] < 0.8
    assert list(printed["runs"]) == ["run01", "run02", "run03"]
    assert main(["evaluate", model, *runs, "--oneshot", "--average", "3", "--save", str(tmp_path / "b.json")]) == 0
    assert "mean over 3 views" in capsys.readouterr().out
    assert main(["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json"), "--json"]) == 0
    compared = json.loads(capsys.readouterr().out)
    assert (compared["queries"], compared["units"], compared["over"]) == (15, 3, "classes")
    assert compared["measures"]["accuracy"]["first"]["value"] == pytest.approx(1 - figure["error"])

    folder = tiny.folder(tmp_path / "pictures", ("bird", "cat", "dog"), each=4)
    (folder / "cat" / "broken.png").write_bytes(b"no picture")
    trials = ["evaluate", model, str(folder), "--oneshot", "--ways", "2", "3", "--shots", "1", "--trials", "40"]
    assert main([*trials, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert list(printed["figures"]) == ["2-way 1-shot error", "3-way 1-shot error"]
    assert "1 files cannot be read" in printed["notes"][0]
    for wrong, said in (
        (["evaluate", model, *runs, "--oneshot", "--ways", "5"], "--ways says nothing"),
        (["evaluate", model, *runs, "--oneshot", "--clustering"], "says nothing beside --oneshot"),
        (["evaluate", model, str(folder), "--average", "3"], "without --oneshot"),
        (["evaluate", model, "--oneshot"], "name them"),
        ([*trials, "--within-groups"], "no groups"),
        ([*trials, "--average", "0"], "--average is 0"),
    ):
        assert main(wrong) == 1
        assert said in capsys.readouterr().err
