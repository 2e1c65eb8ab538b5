"""The two-channel network: the pair is one picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from retrieval.networks.pairs.patches import LEAST, PatchNetwork, branch, decision, preprocessing_for


class TwoChannel(PatchNetwork):
    """Both pictures stacked along the channels (2 for grey, 6 for colour), one branch, F(256)–ReLU–F(1): "2ch" of
    Zagoruyko and Komodakis 2015.

    Args:
        channels: of one picture; 3 for colour, 1 for grey.
        size: side of the square input in pixels, 64 or more.
        widths: filters of the three convolutions.

    Shapes:
        two of float32 (n, channels, size, size) → logits (n,).
    """

    def __init__(self, channels: int = 1, size: int = 64, widths: Sequence[int] = (96, 192, 256)) -> None:
        super().__init__(preprocessing_for(size, channels, LEAST))
        self.branch, length = branch(2 * channels, size, widths)
        self.decision = decision(length, widths[-1])

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        out: Tensor = self.decision(self.branch(torch.cat([first, second], dim=1)))
        return out.squeeze(1)
