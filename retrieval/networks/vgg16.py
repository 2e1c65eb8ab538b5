"""VGG16, trained from scratch on small pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from retrieval.errors import RetrievalError
from retrieval.images import Preprocessing
from retrieval.networks.layers import Shares, convolution, fitted

CONVOLUTIONS = (2, 2, 3, 3, 3)
"""How many there are in each group; max pooling 2×2 follows each."""


class VGG16(nn.Module):
    """The thirteen 3×3 convolutions of Simonyan and Zisserman 2014 (configuration D), padded so that only the pooling
    after each group halves the side, rounded down.

    Each convolution is followed by batch normalisation, which the article did not know and without which so many
    layers hardly train from random weights. Its three fully connected layers are left out.

    Args:
        dim: length of the embedding, by one fully connected layer; None: the embedding is the last map itself,
            flattened (4608 numbers for 105 pixels), as siamese networks with a learned comparison take it.
        channels: 3 for colour, 1 for grey pictures.
        size: side of the square input in pixels, 32 or more; the embedding depends on it.
        widths: filters of each of the five groups; narrower ones train on two cores.

    Shapes:
        float32 (n, channels, size, size) → (n, dim).
    """

    def __init__(
        self,
        dim: int | None = None,
        channels: int = 1,
        size: int = 105,
        widths: Sequence[int] = (64, 128, 256, 512, 512),
    ) -> None:
        super().__init__()
        if len(widths) != len(CONVOLUTIONS):
            raise RetrievalError(
                f"VGG16 has five groups of convolutions; give --widths with 5 numbers, not {len(widths)}."
            )
        side = size >> len(widths)
        if side < 1:
            raise RetrievalError(f"VGG16 needs pictures of at least 32 pixels a side, not {size}.")
        mode: Literal["RGB", "L"] = "RGB" if channels == 3 else "L"
        self.preprocessing = Preprocessing(size, mode, fit="stretch", mean=(0.5,), std=(0.25,))
        layers: list[nn.Module] = []
        inputs = channels
        for width, count in zip(widths, CONVOLUTIONS, strict=True):
            for _ in range(count):
                layers += convolution(inputs, width, 3, padding=1)
                inputs = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers, nn.Flatten())
        flat = inputs * side * side
        self.dim = flat if dim is None else dim
        self.embedding = nn.Identity() if dim is None else nn.Linear(flat, dim, bias=False)

    def fit_to(self, pictures: Tensor) -> None:
        """Set the normalisation of the input.

        Args:
            pictures: some training pictures, uint8 (n, h, w, channels).
        """
        self.preprocessing = fitted(self.preprocessing, pictures)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.embedding(self.features(x))
        return out

    def shares(self, x: Tensor) -> Shares:
        """Where the embeddings come from: each position has numbers, or weights of the fully connected layer, of its
        own."""
        last = self.features[:-1](x)  # all but the flattening
        n, channels, height, width = last.shape
        if isinstance(self.embedding, nn.Linear):
            weights = self.embedding.weight.view(self.dim, channels, height, width)
            positions = torch.einsum("nchw,dchw->nhwd", last, weights)
        else:
            own = torch.eye(height * width, dtype=last.dtype, device=last.device).view(height, width, 1, height, width)
            positions = (last[:, None, None] * own).reshape(n, height, width, self.dim)
        # padding keeps a convolution's output above its input, and pooling takes no margin but what it rounds off
        cell = 2 ** len(CONVOLUTIONS)
        return Shares(positions, torch.zeros_like(positions[0, 0, 0]), (0, 0, cell * width, cell * height))
