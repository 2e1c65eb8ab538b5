"""The two-channel network with two streams, centre and surround."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval.errors import RetrievalError
from retrieval.networks.layers import convolution
from retrieval.networks.pairs.patches import PatchNetwork, decision, preprocessing_for

LEAST = 56


class TwoStream(PatchNetwork):
    """Both pictures stacked along the channels, and seen twice: the centre at full resolution (the middle half of each
    side), and the whole at half resolution. Each stream has weights of its own, and F(768)–ReLU–F(1) decides on both:
    "2ch-2stream" of Zagoruyko and Komodakis 2015.

    A stream is C(96, 5, 1)–P(2, 2)–C(96, 3, 1)–P(2, 2)–C(192, 3, 1)–C(192, 3, 1), each C with its ReLU.

    Args:
        channels: of one picture; 3 for colour, 1 for grey.
        size: side of the square input in pixels, 56 or more.
        widths: filters of the first two and of the last two convolutions of a stream.

    Shapes:
        two of float32 (n, channels, size, size) → logits (n,).
    """

    def __init__(self, channels: int = 1, size: int = 64, widths: Sequence[int] = (96, 192)) -> None:
        super().__init__(preprocessing_for(size, channels, LEAST))
        if len(widths) != 2:
            raise RetrievalError(f"The two-stream network has two widths; give 2 --widths, not {len(widths)}.")
        self.side = size // 2
        self.centre, self.surround = _stream(2 * channels, *widths), _stream(2 * channels, *widths)
        last = ((self.side - 4) // 2 - 2) // 2 - 4
        self.decision = decision(2 * widths[1] * last * last, 4 * widths[1])

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        pair = torch.cat([first, second], dim=1)
        start = (pair.shape[-1] - self.side) // 2
        middle = pair[..., start : start + self.side, start : start + self.side]
        both = [self.centre(middle), self.surround(F.avg_pool2d(pair, 2))]
        out: Tensor = self.decision(torch.cat(both, dim=1))
        return out.squeeze(1)


def _stream(channels: int, first: int, last: int) -> nn.Sequential:
    return nn.Sequential(
        *convolution(channels, first, 5),
        nn.MaxPool2d(2),
        *convolution(first, first, 3),
        nn.MaxPool2d(2),
        *convolution(first, last, 3),
        *convolution(last, last, 3),
        nn.Flatten(),
    )
