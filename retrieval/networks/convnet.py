"""The small convolutional network that is trained when nobody asks for another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval.errors import RetrievalError
from retrieval.images import Preprocessing
from retrieval.networks.layers import Shares, fitted


class ConvNet(nn.Module):
    """A whitening stem and stages of two 3×3 convolutions, each stage halving the side.

    The stem's 2×2 filters are not learned: they are the principal directions of the training pictures' patches, scaled
    to equal variance, each with both signs, so that the first steps need not find them out (the idea is that of Jordan
    2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU").

    Args:
        dim: length of the embedding.
        channels: 3 for colour, 1 for grey pictures.
        size: side of the square input in pixels; the same weights serve any size from 2 ** stages + 1.
        widths: filters of each stage.

    Shapes:
        float32 (n, channels, size, size) → (n, dim).
    """

    def __init__(
        self, dim: int = 128, channels: int = 3, size: int = 32, widths: Sequence[int] = (64, 128, 256)
    ) -> None:
        super().__init__()
        if (size - 1) >> len(widths) < 1:
            raise RetrievalError(
                f"{len(widths)} stages halve pictures of {size} pixels to nothing; "
                "give fewer --widths or a larger --size."
            )
        self.dim = dim
        mode: Literal["RGB", "L"] = "RGB" if channels == 3 else "L"
        self.preprocessing = Preprocessing(size, mode, fit="stretch", mean=(0.5,), std=(0.25,))
        patch = channels * 2 * 2
        self.stem = nn.Conv2d(channels, 2 * patch, 2)
        self.stem.weight.requires_grad_(False)
        layers: list[nn.Module] = []
        inputs = 2 * patch
        for width in widths:
            layers += [nn.Conv2d(inputs, width, 3, padding=1, bias=False), nn.MaxPool2d(2)]
            layers += [nn.BatchNorm2d(width), nn.GELU()]
            layers += [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.GELU()]
            inputs = width
        self._cell = 2 ** len(widths)  # pixels from one position of the last map to the next
        self.features = nn.Sequential(nn.GELU(), *layers, nn.AdaptiveMaxPool2d(1), nn.Flatten())
        self.embedding = nn.Linear(inputs, dim, bias=False)

    @torch.no_grad()
    def fit_to(self, pictures: Tensor) -> None:
        """Set what does not come from learning: the normalisation of the input, and the stem's filters.

        Args:
            pictures: some training pictures, uint8 (n, h, w, channels).
        """
        self.preprocessing = p = fitted(self.preprocessing, pictures)
        mean, std = torch.tensor([p.mean, p.std], dtype=torch.float64)
        patches = (
            F.unfold(((pictures.double() / 255 - mean) / std).permute(0, 3, 1, 2), 2).transpose(1, 2).flatten(0, 1)
        )
        variances, directions = torch.linalg.eigh(torch.cov(patches.T))
        # a little is added, so that the directions in which nothing varies are not blown up
        filters = (directions / torch.sqrt(variances + 5e-4)).T.view(-1, *self.stem.weight.shape[1:])
        self.stem.weight.copy_(torch.cat([filters, -filters]))
        nn.init.zeros_(cast(Tensor, self.stem.bias))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.embedding(self.features(self.stem(x)))
        return out

    def shares(self, x: Tensor) -> Shares:
        """Where the embeddings come from: each channel belongs to the position of its maximum."""
        last = self.features[:-2](self.stem(x))  # all but the pooling over the whole map
        height, width = last.shape[2:]
        values, places = last.flatten(2).max(2, keepdim=True)
        kept = torch.zeros_like(last).flatten(2).scatter_(2, places, values)
        positions = self.embedding(kept.transpose(1, 2)).unflatten(1, (height, width))
        # The stem's 2×2 patches begin half a pixel to the right of the pixels; halving the side keeps that edge.
        box = (0.5, 0.5, 0.5 + self._cell * width, 0.5 + self._cell * height)
        return Shares(positions, torch.zeros_like(positions[0, 0, 0]), box)
