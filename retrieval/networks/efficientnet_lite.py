"""EfficientNet-Lite with its ImageNet weights: the encoders for photographs that need no training.

EfficientNet-Lite is EfficientNet (Tan and Le 2019, https://arxiv.org/abs/1905.11946) made for small devices:
no squeeze-and-excitation, ReLU6 instead of swish, stem and head of fixed width
(https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite). From one variant to the next the
stages get deeper and the pictures larger. :mod:`retrieval.networks.published` says where the weights come from.
"""

from __future__ import annotations

import io

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval.networks.layers import Shares
from retrieval.networks.published import PUBLISHED

STAGES = (
    # expansion, width, first stride, kernel
    (1, 16, 1, 3),
    (6, 24, 2, 3),
    (6, 40, 2, 5),
    (6, 80, 2, 3),
    (6, 112, 1, 5),
    (6, 192, 2, 5),
    (6, 320, 1, 3),
)
BLOCKS = {
    "efficientnet_lite0": (1, 2, 2, 3, 3, 4, 1),
    "efficientnet_lite1": (1, 3, 3, 4, 4, 5, 1),
}
"""How many blocks each stage has."""

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
    """A convolution without bias, padded as TensorFlow's "SAME": ceil(side / stride) outputs, the odd pixel last."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        self.symmetric = stride == 1  # whatever the side
        padding = kernel // 2 if self.symmetric else 0
        super().__init__(inputs, outputs, kernel, stride, padding=padding, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.symmetric:
            return super().forward(x)
        height, width = (self._before_after(int(side)) for side in x.shape[2:])
        return super().forward(F.pad(x, (*width, *height), value=0.0))

    def _before_after(self, side: int) -> tuple[int, int]:
        kernel, stride = self.kernel_size[0], self.stride[0]
        total = max(kernel - (side % stride or stride), 0)
        return total // 2, total - total // 2


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


class EfficientNetLite(nn.Module):
    """An EfficientNet-Lite as an embedding network; which one, its subclasses say.

    Args:
        dim: the embedding's length; a linear layer 1280 → dim is added. None: the 1280 pooled features
            themselves.
        pretrained: begin with the ImageNet weights.

    Input: float32 (n, 3, h, w), (x − 127) / 128; the weights were trained at `preprocessing.size`. Output: float32
    (n, dim), not of unit length.

    Raises:
        RetrievalError: the weights are not installed, or are not the ones that were published.
    """

    variant: str

    def __init__(self, dim: int | None = None, pretrained: bool = True) -> None:
        super().__init__()
        published = PUBLISHED[self.variant]
        features = published.dim
        self.dim = features if dim is None else dim
        self.preprocessing = published.preprocessing
        self.stem = _convolution(3, 32, 3, 2)
        blocks: list[nn.Module] = []
        inputs = 32
        for (expansion, width, stride, kernel), repeats in zip(STAGES, BLOCKS[self.variant], strict=True):
            for repeat in range(repeats):
                blocks.append(InvertedResidual(inputs, width, expansion, kernel, 1 if repeat else stride))
                inputs = width
        self.blocks = nn.Sequential(*blocks)
        self.head = _convolution(inputs, features)
        if pretrained:
            weights = imagenet_weights(self.variant)
            self.load_state_dict({name: w for name, w in weights.items() if not name.startswith("classifier.")})
        self.embedding = nn.Identity() if dim is None else nn.Linear(features, dim)

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
        (left, right), (top, bottom) = _extent(x.shape[3]), _extent(x.shape[2])
        return Shares(positions, constant, (left, top, right, bottom))


def _extent(side: int) -> tuple[int, int]:
    """Where the last map begins and ends over a picture's side, in pixels.

    By the padding alone, the middles of the receptive fields would lie 15.5 pixels to the lower right of the cells of a
    map that is laid over a side of which each stride takes half, and as many less as a stride before steps over for
    each odd side that is met. The ImageNet weights lean back: where one patch of a photograph is replaced, the map
    changes around a place that is then 1 to 10 pixels off, and not 15.
    """
    begin, step = 0, 1
    for _ in range(1 + sum(stride == 2 for _, _, stride, _ in STAGES)):
        begin -= step * (side % 2)
        side, step = -(-side // 2), 2 * step
    return begin, begin + step * side


class EfficientNetLite0(EfficientNetLite):
    """Pictures of 224 pixels; 75.1 % top-1 on ImageNet, as the authors of the weights state."""

    variant = "efficientnet_lite0"


class EfficientNetLite1(EfficientNetLite):
    """Pictures of 240 pixels; 76.7 % top-1 on ImageNet, as the authors of the weights state."""

    variant = "efficientnet_lite1"


def imagenet_weights(variant: str) -> dict[str, Tensor]:
    """The published weights under this module's names.

    Returns:
        name → tensor, for all of the network and, beyond it, ``classifier.weight`` (1000, 1280) and
        ``classifier.bias`` (1000,) over the ImageNet classes in their usual order.

    Raises:
        RetrievalError: the package is not installed, or its file is not the one that was published.
    """
    # A model file is hostile until checked: first the checksum, then the parser that admits tensors only.
    content = io.BytesIO(PUBLISHED[variant].read())
    return {_renamed(name): w for name, w in torch.load(content, weights_only=True).items()}


def _renamed(name: str) -> str:
    if name.startswith("_blocks."):
        _, number, layer, parameter = name.split(".")
        return f"blocks.{number}.{_BLOCK_NAMES[layer]}.{parameter}"
    layer, parameter = name.split(".")
    return f"{_NAMES[layer]}.{parameter}"
