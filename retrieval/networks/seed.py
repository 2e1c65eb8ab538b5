"""The network that this project grew from, exactly as published for CIFAR-10."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from retrieval.errors import RetrievalError
from retrieval.images import Preprocessing
from retrieval.networks.layers import Shares


class SeedNetwork(nn.Module):
    """Three convolutions (5×5, 3×3, 3×3; 32 filters, no padding), each followed by 2×2 average pooling with stride 1
    and a ReLU, then one fully connected layer.

    Args:
        dim: length of the embedding, 1024 as published.
        channels: 3 for colour, 1 for grey pictures.
        size: side of the square input in pixels; the fully connected layer depends on it.

    Shapes:
        float32 (n, channels, size, size) → (n, dim).
    """

    def __init__(self, dim: int = 1024, channels: int = 3, size: int = 32) -> None:
        super().__init__()
        side = size - 11  # 4 + 2 + 2 pixels go to the convolutions, 1 to each of the three poolings
        if side < 1:
            raise RetrievalError(f"The seed network needs pictures of at least 12 pixels a side, not {size}.")
        self.dim = dim
        mode: Literal["RGB", "L"] = "RGB" if channels == 3 else "L"
        self.preprocessing = Preprocessing(size, mode, fit="stretch", mean=(0.5,), std=(0.5,))
        layers: list[nn.Module] = []
        for inputs, kernel in ((channels, 5), (32, 3), (32, 3)):
            layers += [nn.Conv2d(inputs, 32, kernel), nn.AvgPool2d(2, stride=1), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.embedding = nn.Linear(32 * side * side, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.embedding(self.features(x).flatten(1))
        return out

    def shares(self, x: Tensor) -> Shares:
        """Where the embeddings come from: the fully connected layer has weights of its own for each position."""
        last = self.features(x)
        weights = self.embedding.weight.view(self.dim, *last.shape[1:])
        positions = torch.einsum("nchw,dchw->nhwd", last, weights)
        # Each of the six layers takes as much off one side as off the other, 5.5 pixels in all.
        height, width = last.shape[2:]
        return Shares(positions, self.embedding.bias, (5.5, 5.5, 5.5 + width, 5.5 + height))
