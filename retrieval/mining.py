"""Which triplets of a batch to learn from.

Each miner takes squared distances (n, n) and labels int64 (n,) and returns the indices of anchors, positives and
negatives, int64 (t,) each. An anchor without a positive or without a negative in the batch makes no triplet.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

Triplets = tuple[Tensor, Tensor, Tensor]


def _pairs(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Masks (n, n): who is a positive, and who is a negative, of whom."""
    same = labels[:, None] == labels[None, :]
    return same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device), ~same


def batch_all(labels: Tensor) -> Triplets:
    """Every triplet of the batch, in the order of anchor, positive, negative."""
    positive, negative = _pairs(labels)
    anchors, positives, negatives = (positive[:, :, None] & negative[:, None, :]).nonzero(as_tuple=True)
    return anchors, positives, negatives


def batch_hard(distances: Tensor, labels: Tensor) -> Triplets:
    """For each anchor its farthest positive and its nearest negative (Hermans et al. 2017, equation 5)."""
    positive, negative = _pairs(labels)
    anchors = (positive.any(1) & negative.any(1)).nonzero().squeeze(1)
    positives = distances.masked_fill(~positive, -math.inf).argmax(1)[anchors]
    negatives = distances.masked_fill(~negative, math.inf).argmin(1)[anchors]
    return anchors, positives, negatives


def semi_hard(distances: Tensor, labels: Tensor) -> Triplets:
    """For each anchor and positive the nearest negative that is farther than the positive, and where there is none the
    farthest negative (Schroff et al. 2015, section 3.2; the fallback is that of the authors' implementation)."""
    positive, negative = _pairs(labels)
    anchors, positives = (positive & negative.any(1, keepdim=True)).nonzero(as_tuple=True)
    ordered, order = distances.masked_fill(~negative, math.inf).sort(dim=1)
    first_farther = torch.searchsorted(ordered, distances, right=True)
    last = negative.sum(1, keepdim=True) - 1
    chosen = first_farther.minimum(last.clamp_min(0))
    return anchors, positives, order[anchors, chosen[anchors, positives]]
