"""Which triplets of a batch to learn from.

Each miner takes distances (n, m) and labels int64 (n,) and returns the indices of anchors, positives and negatives,
int64 (t,) each. The anchors are the batch. What they are compared with are its m columns: the batch itself or, where
`others`, int64 (m,), names their labels, the batch first and behind it pictures of earlier batches
(:mod:`retrieval.training.losses.cross_batch_memory`). An anchor without a positive or without a negative makes no
triplet.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

Triplets = tuple[Tensor, Tensor, Tensor]

CUTOFF = 0.5
"""Distance-weighted sampling: below this distance the weight grows no more; it is the authors' choice for λ."""
FARTHEST = 1.4
"""Distance-weighted sampling: negatives from here on are not drawn. Their weights would grow without end towards
distance 2, where the density vanishes again, though hardly any margin reaches them (the authors' programs do the same).
"""


def pairs(labels: Tensor, others: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Masks (n, m): who is a positive, and who is a negative, of whom; nobody is a positive of itself."""
    others = labels if others is None else others
    same = labels[:, None] == others[None, :]
    itself = torch.eye(len(labels), len(others), dtype=torch.bool, device=labels.device)
    return same & ~itself, ~same


def batch_all(labels: Tensor, others: Tensor | None = None) -> Triplets:
    """Every triplet of the batch, in the order of anchor, positive, negative."""
    positive, negative = pairs(labels, others)
    anchors, positives, negatives = (positive[:, :, None] & negative[:, None, :]).nonzero(as_tuple=True)
    return anchors, positives, negatives


def batch_hard(distances: Tensor, labels: Tensor, others: Tensor | None = None) -> Triplets:
    """For each anchor its farthest positive and its nearest negative (Hermans et al. 2017, equation 5)."""
    positive, negative = pairs(labels, others)
    anchors = (positive.any(1) & negative.any(1)).nonzero().squeeze(1)
    positives = distances.masked_fill(~positive, -math.inf).argmax(1)[anchors]
    negatives = distances.masked_fill(~negative, math.inf).argmin(1)[anchors]
    return anchors, positives, negatives


def semi_hard(distances: Tensor, labels: Tensor, others: Tensor | None = None) -> Triplets:
    """For each anchor and positive the nearest negative that is farther than the positive, and where there is none the
    farthest negative (Schroff et al. 2015, section 3.2; the fallback is that of the authors' implementation)."""
    positive, negative = pairs(labels, others)
    anchors, positives = (positive & negative.any(1, keepdim=True)).nonzero(as_tuple=True)
    ordered, order = distances.masked_fill(~negative, math.inf).sort(dim=1)
    first_farther = torch.searchsorted(ordered, distances, right=True)
    last = negative.sum(1, keepdim=True) - 1
    chosen = first_farther.minimum(last.clamp_min(0))
    return anchors, positives, order[anchors, chosen[anchors, positives]]


def log_inverse_density(distances: Tensor, dim: int) -> Tensor:
    """log 1/q(D), where q is how often two random points of the unit sphere in `dim` dimensions lie D apart.

    Wu et al. 2017 ("Sampling Matters in Deep Embedding Learning"), equation 4: q(D) ∝ D^(dim−2) (1 − D²/4)^((dim−3)/2).

    Args:
        distances: Euclidean, not squared, in (0, 2).
    """
    return (2 - dim) * distances.log() + (3 - dim) / 2 * torch.log1p(-distances.square() / 4)


def distance_weighted(
    distances: Tensor,
    labels: Tensor,
    dim: int,
    others: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Triplets:
    """For each anchor and positive one negative, drawn so that near ones, common ones and far ones have equal chances.

    Wu et al. 2017, equation 5: Pr(n | a) ∝ min(λ, 1/q(D_an)), with λ = 1/q(:data:`CUTOFF`), among the negatives nearer
    than :data:`FARTHEST`; an anchor that has none so near draws from all its negatives alike.

    Args:
        distances: Euclidean, not squared, of unit vectors.
        dim: length of the embeddings.
        generator: what to draw from; torch's own if None, as dropout does.
    """
    positive, negative = pairs(labels, others)
    d = distances.double()
    log_weights = log_inverse_density(d.clamp(CUTOFF, FARTHEST), dim)
    within = negative & (d < FARTHEST)
    log_weights = log_weights.masked_fill(~within, -math.inf)
    # where no negative is near enough, all weigh the same
    log_weights = torch.where(within.any(1, keepdim=True), log_weights, negative.double().log())
    anchors, positives = (positive & negative.any(1, keepdim=True)).nonzero(as_tuple=True)
    if len(anchors) == 0:
        return anchors, positives, anchors
    # each anchor draws at once for all its positives, the first for the first of them and so on
    drawing = positive.any(1) & negative.any(1)
    chances = log_weights[drawing].softmax(1)
    drawn = torch.multinomial(chances, int(positive.sum(1).max()), replacement=True, generator=generator)
    row, place = drawing.cumsum(0) - 1, positive.cumsum(1) - 1
    return anchors, positives, drawn[row[anchors], place[anchors, positives]]
