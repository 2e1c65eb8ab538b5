"""What the networks of Zagoruyko and Komodakis 2015 ("Learning to Compare Image Patches via Convolutional Neural
Networks", CVPR) have in common.

Their published form is for grey pictures of 64×64; larger ones have a larger last map and so larger decision layers.
Batch normalisation after each convolution is added (docs/pairs.md says why); widths, kernels and strides are theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from retrieval.errors import RetrievalError
from retrieval.images import Preprocessing
from retrieval.networks.layers import convolution, fitted

LEAST = 64
"""The side below which the branch has nothing left."""


def preprocessing_for(size: int, channels: int, least: int) -> Preprocessing:
    if size < least:
        raise RetrievalError(f"This pair network needs pictures of at least {least} pixels a side, not {size}.")
    mode: Literal["RGB", "L"] = "RGB" if channels == 3 else "L"
    return Preprocessing(size, mode, fit="stretch", mean=(0.5,), std=(0.25,))


def branch(channels: int, size: int, widths: Sequence[int]) -> tuple[nn.Sequential, int]:
    """C(96, 7, 3)–P(2, 2)–C(192, 5, 1)–P(2, 2)–C(256, 3, 1), where C(filters, kernel, stride) includes its ReLU.

    Returns:
        The branch, (n, channels, size, size) → (n, length), and that length: 256 for 64 pixels.
    """
    if len(widths) != 3:
        raise RetrievalError(f"This pair network has three convolutions; give 3 --widths, not {len(widths)}.")
    first, second, third = widths
    layers = [
        *convolution(channels, first, 7, stride=3),
        nn.MaxPool2d(2),
        *convolution(first, second, 5),
        nn.MaxPool2d(2),
        *convolution(second, third, 3),
        nn.Flatten(),
    ]
    side = (((size - 7) // 3 + 1) // 2 - 4) // 2 - 2
    return nn.Sequential(*layers), third * side * side


def decision(inputs: int, hidden: int) -> nn.Sequential:
    """F(hidden)–ReLU–F(1), (n, inputs) → (n, 1)."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, 1))


class PatchNetwork(nn.Module):
    """Base of the four: it is not symmetric, and its input is normalised by the training pictures."""

    symmetric = False

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.preprocessing = preprocessing

    def fit_to(self, pictures: Tensor) -> None:
        """Set the normalisation of the input.

        Args:
            pictures: some training pictures, uint8 (n, h, w, channels).
        """
        self.preprocessing = fitted(self.preprocessing, pictures)
