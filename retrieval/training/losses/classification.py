"""Losses of classifiers, which learn a direction for each class beside the embedding."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval.training.losses.distances import widened


def arcface_loss(
    embeddings: Tensor, directions: Tensor, labels: Tensor, margin: float = 0.5, scale: float = 64.0
) -> Tensor:
    """Cross-entropy over scaled cosines, the own class's angle made larger by a margin (Deng et al. 2019, equation 3).

    An own angle θ beyond π − margin would come round again; there cos θ − margin·sin(margin) is taken, which goes on
    falling, as in the authors' program. With margin 0 this is the normalised softmax (Wang et al. 2017, "NormFace";
    Zhai and Wu 2019).

    Args:
        embeddings: unit vectors (n, d).
        directions: one a class, (classes, d), of any length.
        labels: int64 (n,).
        margin: in radians, from 0 to π.
        scale: what the cosines are multiplied by (one over a temperature).
    """
    embeddings = widened(embeddings)
    cosines = embeddings @ F.normalize(directions.to(embeddings.dtype)).T
    own = cosines.gather(1, labels[:, None])
    # The sine's slope has no end at angle 0; cut off there, it stays a number.
    sine = (1 - own.square()).clamp_min(1e-7).sqrt()
    farther = torch.where(
        own > -math.cos(margin), own * math.cos(margin) - sine * math.sin(margin), own - margin * math.sin(margin)
    )
    return F.cross_entropy(scale * cosines.scatter(1, labels[:, None], farther), labels)


class ArcFaceLoss(nn.Module):
    """:func:`arcface_loss` with directions that are learned; margin 0 is the normalised softmax.

    It has no triplets, so its active share is NaN.
    """

    unit = True

    def __init__(self, dim: int, classes: int, margin: float = 0.5, scale: float = 64.0, seed: int = 0) -> None:
        super().__init__()
        self.margin = margin
        self.scale = scale
        self.weight = nn.Parameter(_directions(dim, classes, seed))

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        loss = arcface_loss(embeddings, self.weight, labels, self.margin, self.scale)
        return loss, torch.tensor(math.nan)


class SoftmaxLoss(nn.Module):
    """An ordinary classifier on the unit embedding: the yardstick that an embedding is held against.

    Logits are ``embeddings @ weight.T + bias``.

    Args:
        smoothing: the share ε of each target that is spread evenly over all classes (Szegedy et al. 2016).
    """

    unit = True

    def __init__(self, dim: int, classes: int, scale: float = 16.0, seed: int = 0, smoothing: float = 0.0) -> None:
        super().__init__()
        self.smoothing = smoothing
        self.weight = nn.Parameter(scale * _directions(dim, classes, seed))
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = F.linear(widened(embeddings), self.weight, self.bias)
        return F.cross_entropy(logits, labels, label_smoothing=self.smoothing), torch.tensor(math.nan)


def norm_softmax(dim: int, classes: int, temperature: float, seed: int) -> ArcFaceLoss:
    """Cross-entropy of cosines over the temperature (Wang et al. 2017; Zhai and Wu 2019)."""
    return ArcFaceLoss(dim, classes, 0.0, 1 / temperature, seed)


def arcface(dim: int, classes: int, margin: float, temperature: float, seed: int) -> ArcFaceLoss:
    """:class:`ArcFaceLoss`, its scale as a temperature."""
    return ArcFaceLoss(dim, classes, margin, 1 / temperature, seed)


def _directions(dim: int, classes: int, seed: int) -> Tensor:
    """A random unit vector a class, (classes, dim), the same for the same seed."""
    return F.normalize(torch.randn(classes, dim, generator=torch.Generator().manual_seed(seed)))
