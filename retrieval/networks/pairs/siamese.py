"""Siamese and pseudo-siamese networks with decision layers: each picture has a branch, and the two outputs are joined.

Their place here is beside the two-channel network, as in Zagoruyko and Komodakis 2015.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from retrieval.networks.pairs.patches import LEAST, PatchNetwork, branch, decision, preprocessing_for


class Siamese(PatchNetwork):
    """Both pictures through one and the same branch, the outputs joined, F(512)–ReLU–F(1): "siam".

    The branches share their weights and the logit still depends on the order, since the decision layers do.

    Args:
        channels: 3 for colour, 1 for grey pictures.
        size: side of the square input in pixels, 64 or more.
        widths: filters of the three convolutions.

    Shapes:
        two of float32 (n, channels, size, size) → logits (n,).
    """

    def __init__(self, channels: int = 1, size: int = 64, widths: Sequence[int] = (96, 192, 256)) -> None:
        super().__init__(preprocessing_for(size, channels, LEAST))
        self.branch, length = branch(channels, size, widths)
        self.decision = decision(2 * length, 2 * widths[-1])

    def embed(self, x: Tensor) -> Tensor:
        """float32 (n, channels, size, size) → features (n, length of the branch's output)."""
        out: Tensor = self.branch(x)
        return out

    def compare(self, first: Tensor, second: Tensor) -> Tensor:
        """Features of both sides → logits (n,)."""
        out: Tensor = self.decision(torch.cat([first, second], dim=1))
        return out.squeeze(1)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return self.compare(*self.embed(torch.cat([first, second])).chunk(2))


class PseudoSiamese(PatchNetwork):
    """As :class:`Siamese`, with a branch of its own for each side: "pseudo-siam". A picture has two features, so it
    has no ``embed``."""

    def __init__(self, channels: int = 1, size: int = 64, widths: Sequence[int] = (96, 192, 256)) -> None:
        super().__init__(preprocessing_for(size, channels, LEAST))
        self.left, length = branch(channels, size, widths)
        self.right, _ = branch(channels, size, widths)
        self.decision = decision(2 * length, 2 * widths[-1])

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        out: Tensor = self.decision(torch.cat([self.left(first), self.right(second)], dim=1))
        return out.squeeze(1)
