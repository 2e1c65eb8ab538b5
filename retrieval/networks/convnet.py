"""The small convolutional network that is trained when nobody asks for another."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from torch import Tensor, nn

from retrieval.images import Preprocessing


class ConvNet(nn.Module):
    """A stem and stages of two 3×3 convolutions, each stage halving the side.

    Args:
        dim: length of the embedding.
        channels: 3 for colour, 1 for grey pictures.
        size: side of the square input in pixels; any size from 8 works with the same weights.
        widths: filters of each stage.

    Shapes:
        float32 (n, channels, size, size) → (n, dim).
    """

    def __init__(
        self, dim: int = 128, channels: int = 3, size: int = 32, widths: Sequence[int] = (64, 128, 256)
    ) -> None:
        super().__init__()
        self.dim = dim
        self.preprocessing = Preprocessing(
            size=size,
            mode="RGB" if channels == 3 else "L",
            fit="stretch",
            mean=(0.5,) * channels,
            std=(0.25,) * channels,
        )
        layers: list[nn.Module] = [nn.Conv2d(channels, 24, 2), nn.GELU()]
        inputs = 24
        for width in widths:
            layers += [nn.Conv2d(inputs, width, 3, padding=1, bias=False), nn.MaxPool2d(2)]
            layers += [nn.BatchNorm2d(width), nn.GELU()]
            layers += [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.GELU()]
            inputs = width
        self.features = nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten())
        self.embedding = nn.Linear(inputs, dim, bias=False)

    def fit_to(self, pictures: Tensor) -> None:
        """Normalise by the mean and the standard deviation of some training pictures, uint8 (n, h, w, channels)."""
        values = pictures.double().flatten(0, 2) / 255
        self.preprocessing = dataclasses.replace(
            self.preprocessing,
            mean=tuple(values.mean(0).tolist()),
            std=tuple(values.std(0).clamp_min(1e-3).tolist()),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.embedding(self.features(x))
        return out
