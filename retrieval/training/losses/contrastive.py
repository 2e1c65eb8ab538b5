"""Losses that let each picture pick its own class out of the batch by a softmax over similarities.

All take unit vectors and divide their inner products by a temperature.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval.training.losses import mining
from retrieval.training.losses.distances import Stored, beside, widened


def supervised_contrastive_loss(
    embeddings: Tensor, labels: Tensor, temperature: float = 0.1, memory: Stored | None = None
) -> Tensor:
    """Khosla et al. 2020, equation 2 (L_out): the mean over anchors that have a positive in the batch."""
    embeddings = widened(embeddings)
    others, other_labels = beside(embeddings, labels, memory)
    positive, negative = mining.pairs(labels, other_labels)
    # what a row is not compared with is itself; so low a logit is a share of exactly 0, and has a gradient of 0
    logits = (embeddings @ others.T / temperature).masked_fill(~(positive | negative), _LOWEST)
    log_share = logits - logits.logsumexp(1, keepdim=True)
    count = positive.sum(1)
    per_anchor = -log_share.masked_fill(~positive, 0).sum(1) / count.clamp_min(1)
    return per_anchor.sum() / (count > 0).sum().clamp_min(1)


def info_nce_loss(embeddings: Tensor, labels: Tensor, temperature: float = 0.1, memory: Stored | None = None) -> Tensor:
    """InfoNCE (van den Oord et al. 2018, equation 4; with labels and unit vectors NT-Xent, Chen et al. 2020).

    For each positive pair −log(exp(s_ap) / (exp(s_ap) + Σₙ exp(s_an))) over the negatives n of the anchor, s being the
    similarity over the temperature; the mean over all positive pairs. Unlike in supervised contrastive learning the
    anchor's other positives do not stand in the denominator. 0 where there is no negative.
    """
    embeddings = widened(embeddings)
    others, other_labels = beside(embeddings, labels, memory)
    positive, negative = mining.pairs(labels, other_labels)
    logits = embeddings @ others.T / temperature
    against = logits.masked_fill(~negative, _LOWEST).logsumexp(1, keepdim=True)
    losses = F.softplus(against - logits).masked_fill(~positive, 0)
    return losses.sum() / positive.sum().clamp_min(1)


def n_pairs_loss(embeddings: Tensor, labels: Tensor, temperature: float = 0.1) -> Tensor:
    """Sohn 2016, equation 7 (multi-class N-pair), on unit vectors; temperature 1 gives the equation as printed.

    The pictures of each class are taken two by two in the order of the batch, an anchor and its positive. Each anchor
    has to pick its own positive among it and the positives of the other classes; the mean over the anchors. A picture
    without a partner is left out.
    """
    embeddings = widened(embeddings)
    same = labels[:, None] == labels[None, :]
    # the how-manieth of its class each picture is
    place = same.tril(-1).sum(1)
    partner = same & (place[None, :] == place[:, None] + 1) & (place % 2 == 0)[:, None]
    anchors, positives = partner.nonzero(as_tuple=True)
    logits = embeddings[anchors] @ embeddings[positives].T / temperature
    own = torch.eye(len(anchors), dtype=torch.bool, device=labels.device)
    logits = logits.masked_fill(same[anchors][:, positives] & ~own, _LOWEST)
    return (logits.logsumexp(1) - logits.diagonal()).sum() / max(1, len(anchors))


_LOWEST = -1e30
"""The logit of what is left out. Its exponential is 0 in every precision, and unlike −∞ it makes no NaN of a row in
which everything is left out."""


class _WithTemperature(nn.Module):
    """A loss on similarities over a temperature; it has no triplets, so its active share is NaN."""

    unit = True

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        self.temperature = temperature


class SupervisedContrastiveLoss(_WithTemperature):
    """:func:`supervised_contrastive_loss`; it has no triplets, so its active share is NaN."""

    def forward(self, embeddings: Tensor, labels: Tensor, memory: Stored | None = None) -> tuple[Tensor, Tensor]:
        loss = supervised_contrastive_loss(embeddings, labels, self.temperature, memory)
        return loss, torch.tensor(math.nan)


class InfoNCELoss(_WithTemperature):
    """:func:`info_nce_loss`; it has no triplets, so its active share is NaN."""

    def forward(self, embeddings: Tensor, labels: Tensor, memory: Stored | None = None) -> tuple[Tensor, Tensor]:
        return info_nce_loss(embeddings, labels, self.temperature, memory), torch.tensor(math.nan)


class NPairsLoss(_WithTemperature):
    """:func:`n_pairs_loss`; it has no triplets, so its active share is NaN."""

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return n_pairs_loss(embeddings, labels, self.temperature), torch.tensor(math.nan)
