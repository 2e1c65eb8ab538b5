"""Losses on embeddings: pure functions on tensors, and thin modules around them.

All take embeddings (n, d) of unit length and labels int64 (n,), and work in the precision they are given. Distances are
squared Euclidean, ‖x − y‖² = 2 − 2·x·y in [0, 4] for unit vectors, unless a function says otherwise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval import mining
from retrieval.errors import RetrievalError


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """‖xᵢ − yⱼ‖² of unit vectors, (n, d) and (m, d) → (n, m), never negative."""
    return (2 - 2 * x @ y.T).clamp_min(0)


def triplet_loss(anchors: Tensor, positives: Tensor, negatives: Tensor, margin: float = 1.0) -> Tensor:
    """The hinge of each triplet: max(0, margin − (‖a − n‖² − ‖a − p‖²)).

    Its mean is the loss of the article that this project grew from (margin 1) and, up to the name of the margin, of
    Schroff et al. 2015 (FaceNet), equation 2.

    Args:
        anchors, positives, negatives: (t, d) each, one triplet a row; any length, not only unit.

    Returns:
        (t,), one hinge a triplet.
    """
    to_positive = (anchors - positives).square().sum(1)
    to_negative = (anchors - negatives).square().sum(1)
    return F.relu(margin - (to_negative - to_positive))


def batch_all_triplet_loss(embeddings: Tensor, labels: Tensor, margin: float = 0.2) -> tuple[Tensor, Tensor]:
    """The hinge over every triplet of the batch, averaged over the active ones (Hermans et al. 2017, "batch all ≠ 0").

    Exact, but without the n³ triplets: the negatives of each anchor are sorted once, and the hinge of all triplets that
    share an anchor and a positive is a count times a threshold minus a prefix sum. O(n² log n) time, O(n²) memory.

    Returns:
        The loss, and the share of the triplets that are active (in [0, 1], no gradient).
    """
    distances = squared_distances(embeddings, embeddings)
    same = labels[:, None] == labels[None, :]
    positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    nearest_first, _ = distances.masked_fill(same, math.inf).sort(dim=1)
    sums = F.pad(nearest_first.masked_fill(nearest_first.isinf(), 0).cumsum(1), (1, 0))
    threshold = distances + margin
    # how many negatives of the row lie nearer than the threshold: those triplets are active
    active = torch.searchsorted(nearest_first.detach(), threshold.detach())
    hinges = active * threshold - sums.gather(1, active)
    count = active.masked_fill(~positive, 0).sum()
    triplets = (positive.sum(1) * (~same).sum(1)).sum()
    loss = hinges.masked_fill(~positive, 0).sum() / count.clamp_min(1)
    return loss, count / triplets.clamp_min(1)


def supervised_contrastive_loss(embeddings: Tensor, labels: Tensor, temperature: float = 0.1) -> Tensor:
    """Khosla et al. 2020, equation 2 (L_out): the mean over anchors that have a positive in the batch."""
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    positive = (labels[:, None] == labels[None, :]) & ~itself
    logits = (embeddings @ embeddings.T / temperature).masked_fill(itself, -math.inf)
    log_share = logits - logits.logsumexp(1, keepdim=True)
    count = positive.sum(1)
    per_anchor = -log_share.masked_fill(~positive, 0).sum(1) / count.clamp_min(1)
    return per_anchor.sum() / (count > 0).sum().clamp_min(1)


MINING = ("all", "semi-hard", "hard", "given")


class TripletLoss(nn.Module):
    """Triplets made from a batch by one of the ways of :data:`MINING`.

    Args:
        margin: how much farther than the positive the negative has to be, in squared distance.
        mining: ``all`` triplets of the batch, ``semi-hard``, ``hard``, or ``given``: the batch is already made of
            triplets, all anchors first, then their positives, then their negatives.

    ``forward`` returns the loss and the share of active triplets. Mined and all triplets are averaged over the active
    ones, given ones over all of them, as published.
    """

    def __init__(self, margin: float = 0.2, mining: str = "all") -> None:
        super().__init__()
        if mining not in MINING:
            raise RetrievalError(f"There is no mining {mining!r}; choose one of {', '.join(MINING)}.")
        self.margin = margin
        self.mining = mining

    def extra_repr(self) -> str:
        return f"margin={self.margin}, mining={self.mining!r}"

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if self.mining == "all":
            return batch_all_triplet_loss(embeddings, labels, self.margin)
        if self.mining == "given":
            anchor, positive, negative = embeddings.chunk(3)
            hinges = triplet_loss(anchor, positive, negative, self.margin)
            return hinges.mean(), (hinges > 0).float().mean()
        with torch.no_grad():
            distances = squared_distances(embeddings, embeddings)
            if self.mining == "hard":
                anchors, positives, negatives = mining.batch_hard(distances, labels)
            else:
                anchors, positives, negatives = mining.semi_hard(distances, labels)
        hinges = triplet_loss(embeddings[anchors], embeddings[positives], embeddings[negatives], self.margin)
        active = (hinges > 0).sum()
        return hinges.sum() / active.clamp_min(1), active / max(1, len(hinges))


class SupervisedContrastiveLoss(nn.Module):
    """:func:`supervised_contrastive_loss`; it has no triplets, so its active share is NaN."""

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        self.temperature = temperature

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}"

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        loss = supervised_contrastive_loss(embeddings, labels, self.temperature)
        return loss, torch.tensor(math.nan)


class SoftmaxLoss(nn.Module):
    """An ordinary classifier on the unit embedding: the yardstick that an embedding is held against.

    Logits are ``embeddings @ weight.T + bias``.
    """

    def __init__(self, dim: int, classes: int, scale: float = 16.0, seed: int = 0) -> None:
        super().__init__()
        directions = torch.randn(classes, dim, generator=torch.Generator().manual_seed(seed))
        self.weight = nn.Parameter(scale * F.normalize(directions))
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return F.cross_entropy(embeddings @ self.weight.T + self.bias, labels), torch.tensor(math.nan)
