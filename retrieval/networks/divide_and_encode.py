"""The small convolutional network with a last layer made for binary codes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from retrieval.networks.convnet import ConvNet

SLICE = 50
"""Features a bit, as published."""


class Divided(nn.Module):
    """Each number of the output from a slice of the features of its own, so that bits repeat each other less (Lai, Pan,
    Liu and Yan 2015, "Simultaneous Feature Learning and Hash Coding with Deep Neural Networks", section 3.3).

    A fully connected layer with ReLUs makes `SLICE` features a bit; a bit weighs its own. The sigmoid and the threshold
    that follow in the paper belong to the loss: they leave the sign, which is the code, as it is. Each number is
    normalised over the batch at the end, which the paper does not: bits that begin as 0 for some pictures and as 1 for
    others are what every loss learns faster from, and what HDML needs to learn at all.

    Shapes:
        float32 (n, inputs) → (n, bits).
    """

    def __init__(self, inputs: int, bits: int) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Linear(inputs, bits * SLICE), nn.ReLU(inplace=True))
        self.weight = nn.Parameter(torch.empty(bits, SLICE).uniform_(-1, 1) / math.sqrt(SLICE))
        self.balance = nn.BatchNorm1d(bits)

    def forward(self, x: Tensor) -> Tensor:
        slices: Tensor = self.features(x).unflatten(1, self.weight.shape)
        balanced: Tensor = self.balance((slices * self.weight).sum(2))
        return balanced


class DivideAndEncode(ConvNet):
    """:class:`ConvNet`, its last layer replaced by :class:`Divided`; arguments and shapes are the same.

    It is not linear from the last map on, so it does not say where in a picture a code comes from.
    """

    shares = None  # type: ignore[assignment]  # what asks for it takes None for a network that has none

    def __init__(
        self, dim: int = 48, channels: int = 3, size: int = 32, widths: Sequence[int] = (64, 128, 256)
    ) -> None:
        super().__init__(dim, channels, size, widths)
        self.embedding = Divided(self.embedding.in_features, dim)  # type: ignore[assignment]
