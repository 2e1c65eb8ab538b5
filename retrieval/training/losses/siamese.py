"""Losses on pairs, as siamese networks are trained: pictures of one class close together, others apart.

A pair is genuine (one class, Y = 0) or an impostor (two classes, Y = 1), and both kinds weigh the same. Of an ordinary
batch all pairs are taken, and the means over the genuine and over the impostor ones are averaged: that is what drawing
both in equal number gives on average, without the luck of the draw.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval.training.losses import mining
from retrieval.training.losses.distances import Stored, beside, widened


def energy_loss(energies: Tensor, impostor: Tensor, q: float) -> Tensor:
    """(1 − Y)·(2/Q)·E² + Y·2Q·exp(−2.77·E/Q) (Chopra, Hadsell, LeCun 2005, equation 8 and section 2.1).

    Args:
        energies: E ≥ 0, the city-block distance ‖G(x₁) − G(x₂)‖₁ of each pair.
        impostor: bool, Y, of the same shape.
        q: Q, the largest energy there can be.

    Returns:
        One loss a pair.
    """
    genuine = 2 / q * energies.square()
    return torch.where(impostor, 2 * q * torch.exp(-2.77 / q * energies), genuine)


def contrastive_loss(distances: Tensor, impostor: Tensor, margin: float = 1.0) -> Tensor:
    """(1 − Y)·½·D² + Y·½·max(0, margin − D)² (Hadsell, Chopra, LeCun 2006, "DrLIM", equation 4).

    Args:
        distances: D ≥ 0, the Euclidean distance of each pair.
        impostor: bool, Y, of the same shape.
        margin: from which distance on impostors are left alone.

    Returns:
        One loss a pair.
    """
    return torch.where(impostor, F.relu(margin - distances).square(), distances.square()) / 2


def balanced(losses: Tensor, genuine: Tensor, impostor: Tensor) -> Tensor:
    """Half the mean over the genuine pairs plus half that over the impostors; a kind that is missing counts nothing.

    Args:
        losses, genuine, impostor: one loss a pair, and masks of the same shape; a pair in neither is left out.
    """
    means = [losses.masked_fill(~kind, 0).sum() / kind.sum().clamp_min(1) for kind in (genuine, impostor)]
    return (means[0] + means[1]) / 2


class EnergyLoss(nn.Module):
    """:func:`energy_loss` over the pairs of a batch.

    Args:
        dim: length of the embeddings. Q = 2·√dim, which no city-block distance of two unit vectors exceeds; of raw
            vectors it only sets the scale that the network learns to fill.
        given: the batch is already made of pairs, the first of each in its first half, the second in its second.
        unit: compare unit vectors, as an index does, or the network's raw output, as published.

    It has no hinge, so its active share is NaN.
    """

    apart = math.sqrt(2)
    """The Euclidean distance that raw impostors are to have: Q suits vectors as far apart as unit vectors are."""

    def __init__(self, dim: int, given: bool = False, unit: bool = True) -> None:
        super().__init__()
        self.q = 2 * math.sqrt(dim)
        self.given = given
        self.unit = unit

    def forward(self, embeddings: Tensor, labels: Tensor, memory: Stored | None = None) -> tuple[Tensor, Tensor]:
        energies, genuine, impostor = _pairs(1.0, self.given, embeddings, labels, memory)
        return balanced(energy_loss(energies, impostor, self.q), genuine, impostor), torch.tensor(math.nan)


class ContrastiveLoss(nn.Module):
    """:func:`contrastive_loss` over the pairs of a batch.

    Args:
        margin: in Euclidean distance, which ends at 2 for unit vectors.
        given: the batch is already made of pairs, the first of each in its first half, the second in its second.
        unit: compare unit vectors, as an index does, or the network's raw output, as published.

    Attributes:
        apart: the Euclidean distance that raw impostors are to have: the margin, if it is not 0.

    ``forward`` returns the loss and the share of the impostor pairs that lie within the margin.
    """

    def __init__(self, margin: float = 1.0, given: bool = False, unit: bool = True) -> None:
        super().__init__()
        self.margin = margin
        self.apart = margin or math.sqrt(2)
        self.given = given
        self.unit = unit

    def forward(self, embeddings: Tensor, labels: Tensor, memory: Stored | None = None) -> tuple[Tensor, Tensor]:
        distances, genuine, impostor = _pairs(2.0, self.given, embeddings, labels, memory)
        within = (impostor & (distances < self.margin)).sum() / impostor.sum().clamp_min(1)
        return balanced(contrastive_loss(distances, impostor, self.margin), genuine, impostor), within


def _pairs(
    norm: float, given: bool, embeddings: Tensor, labels: Tensor, memory: Stored | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The distance of every pair, whether it is genuine, and whether it is an impostor.

    Both ways of taking a norm have gradient 0 at distance 0, where the Euclidean one has none.
    """
    embeddings = widened(embeddings)
    if given:
        first, second = embeddings.chunk(2)
        genuine = torch.eq(*labels.chunk(2))
        return torch.linalg.vector_norm(first - second, ord=norm, dim=1), genuine, ~genuine
    others, other_labels = beside(embeddings, labels, memory)
    # not by way of inner products, which leave nothing of small distances
    distances = torch.cdist(embeddings, others, p=norm, compute_mode="donot_use_mm_for_euclid_dist")
    return distances, *mining.pairs(labels, other_labels)
