"""Triplet losses: an anchor has to be nearer to a picture of its class than to one of another."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval.errors import RetrievalError
from retrieval.training.losses import MINING, mining
from retrieval.training.losses.distances import Stored, beside, squared_distances, widened


def triplet_loss(anchors: Tensor, positives: Tensor, negatives: Tensor, margin: float = 1.0) -> Tensor:
    """The hinge of each triplet: max(0, margin − (‖a − n‖² − ‖a − p‖²)).

    Its mean is the loss of the article that this project grew from (margin 1) and, up to the name of the margin, of
    Schroff et al. 2015 (FaceNet), equation 2.

    Args:
        anchors, positives, negatives: (t, d) each, one triplet a row; any length, not only unit.

    Returns:
        (t,), one hinge a triplet.
    """
    return F.relu(margin + _excess(anchors, positives, negatives))


def soft_triplet_loss(anchors: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """The soft margin of each triplet: log(1 + exp(‖a − p‖² − ‖a − n‖²)) (Hermans et al. 2017, section 2).

    It has no margin to choose, and every triplet keeps a little of it.

    Args:
        anchors, positives, negatives: (t, d) each, one triplet a row; any length, not only unit.

    Returns:
        (t,), one value a triplet.
    """
    return F.softplus(_excess(anchors, positives, negatives))


def batch_all_triplet_loss(
    embeddings: Tensor, labels: Tensor, margin: float = 0.2, memory: Stored | None = None
) -> tuple[Tensor, Tensor]:
    """The hinge over every triplet of the batch, averaged over the active ones (Hermans et al. 2017, "batch all ≠ 0").

    Exact, but without the n³ triplets: the negatives of each anchor are sorted once, and the hinge of all triplets that
    share an anchor and a positive is a count times a threshold minus a prefix sum. O(n² log n) time, O(n²) memory.

    Returns:
        The loss, and the share of the triplets that are active (in [0, 1], no gradient).
    """
    embeddings = widened(embeddings)
    others, other_labels = beside(embeddings, labels, memory)
    distances = squared_distances(embeddings, others)
    positive, negative = mining.pairs(labels, other_labels)
    nearest_first, _ = distances.masked_fill(~negative, math.inf).sort(dim=1)
    sums = F.pad(nearest_first.masked_fill(nearest_first.isinf(), 0).cumsum(1), (1, 0))
    threshold = distances + margin
    # how many negatives of the row lie nearer than the threshold: those triplets are active
    active = torch.searchsorted(nearest_first.detach(), threshold.detach())
    hinges = active * threshold - sums.gather(1, active)
    count = active.masked_fill(~positive, 0).sum()
    triplets = (positive.sum(1) * negative.sum(1)).sum()
    loss = hinges.masked_fill(~positive, 0).sum() / count.clamp_min(1)
    return loss, count / triplets.clamp_min(1)


class TripletLoss(nn.Module):
    """Triplets made from a batch by one of the ways of :data:`MINING`.

    Args:
        margin: how much farther than the positive the negative has to be, in squared distance.
        mining: ``all`` triplets of the batch, ``semi-hard``, ``hard``, ``distance-weighted``, or ``given``: the batch
            is already made of triplets, all anchors first, then their positives, then their negatives.

    ``forward`` returns the loss and the share of active triplets. Mined and all triplets are averaged over the active
    ones, given ones over all of them, as published.
    """

    unit = True

    def __init__(self, margin: float = 0.2, mining: str = "all") -> None:
        super().__init__()
        self.margin = margin
        self.mining = _known(mining)

    def forward(self, embeddings: Tensor, labels: Tensor, memory: Stored | None = None) -> tuple[Tensor, Tensor]:
        if self.mining == "all":
            return batch_all_triplet_loss(embeddings, labels, self.margin, memory)
        hinges = F.relu(self.margin + _mined(self.mining, widened(embeddings), labels, memory))
        active = (hinges > 0).sum()
        share = active / max(1, len(hinges))
        if self.mining == "given":
            return hinges.mean(), share
        return hinges.sum() / active.clamp_min(1), share


class SoftTripletLoss(nn.Module):
    """The mean of :func:`soft_triplet_loss` over triplets made from a batch by one of the ways of :data:`MINING`.

    All triplets of a batch are all in memory at once, (n, n/classes, n): a few hundred megabytes for 500 pictures.
    It has no hinge, so its active share is NaN.
    """

    unit = True

    def __init__(self, mining: str = "hard") -> None:
        super().__init__()
        self.mining = _known(mining)

    def forward(self, embeddings: Tensor, labels: Tensor, memory: Stored | None = None) -> tuple[Tensor, Tensor]:
        embeddings = widened(embeddings)
        if self.mining == "all":
            others, other_labels = beside(embeddings, labels, memory)
            distances = squared_distances(embeddings, others)
            positive, negative = mining.pairs(labels, other_labels)
            anchors, positives = positive.nonzero(as_tuple=True)
            excess = distances[anchors, positives, None] - distances[anchors]
            losses = F.softplus(excess)[negative[anchors]]
        else:
            losses = F.softplus(_mined(self.mining, embeddings, labels, memory))
        return losses.sum() / max(1, len(losses)), torch.tensor(math.nan)


def _known(mining: str) -> str:
    if mining not in MINING:
        raise RetrievalError(f"There is no mining {mining!r}; choose one of {', '.join(MINING)}.")
    return mining


def _excess(anchors: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """How much farther the positive is than the negative, in squared distance."""
    return (anchors - positives).square().sum(1) - (anchors - negatives).square().sum(1)


def _mined(kind: str, embeddings: Tensor, labels: Tensor, memory: Stored | None) -> Tensor:
    """How much farther the positive is than the negative in each triplet that a miner chooses, (t,)."""
    if kind == "given":
        return _excess(*embeddings.chunk(3))
    others, other_labels = beside(embeddings, labels, memory)
    distances = squared_distances(embeddings, others)
    with torch.no_grad():
        if kind == "hard":
            chosen = mining.batch_hard(distances, labels, other_labels)
        elif kind == "semi-hard":
            chosen = mining.semi_hard(distances, labels, other_labels)
        else:
            chosen = mining.distance_weighted(distances.sqrt(), labels, embeddings.shape[1], other_labels)
    anchors, positives, negatives = chosen
    if memory is None:
        return _excess(embeddings[anchors], embeddings[positives], embeddings[negatives])
    # a memory holds so many positives that a copy of each one's embedding would cost more than all else
    return distances[anchors, positives] - distances[anchors, negatives]
