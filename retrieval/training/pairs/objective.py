"""What a pair network learns from, as the training engine takes it: drawn pairs, or all pairs of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval.networks.pairs import SiameseNetwork


class BothSides(nn.Module):
    """The network for the engine, whose batches are all first pictures and then all second ones: (2n, c, h, w) → logits
    (n, 1)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(*x.chunk(2))
        return logits.unsqueeze(1)


class DrawnPairs(nn.Module):
    """Binary cross-entropy of logits (n, 1) by labels (2n,), and the share of the pairs on the right side of a half."""

    unit = False

    def forward(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        first, second = labels.chunk(2)
        genuine = first == second
        loss = F.binary_cross_entropy_with_logits(logits.squeeze(1), genuine.float())
        return loss, ((logits.squeeze(1) > 0) == genuine).float().mean()


class OneSide(nn.Module):
    """A siamese network for the engine, which only embeds: (n, c, h, w) → features (n, d)."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.network.embed(x)
        return features


class AllPairs(nn.Module):
    """Binary cross-entropy of all pairs of a batch, by features (n, d) and labels (n,): the mean over the genuine ones
    and the mean over the impostors count alike. And the share on the right side of a half, weighed in the same way.

    Args:
        compare: features of both sides → logits. Its weights are learned with the network that it is a method of.
        dtype: what it computes in: for thousands of pairs of long features it is as much work as the embedding of some
            pictures.
    """

    unit = False

    def __init__(self, compare: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.compare = compare
        self.dtype = dtype

    def forward(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        first, second = torch.triu_indices(len(labels), len(labels), 1, device=labels.device)
        genuine = labels[first] == labels[second]
        lower = self.dtype != torch.float32
        rows = features.to(self.dtype) if lower else features
        with torch.autocast(labels.device.type, dtype=self.dtype, enabled=lower):
            # index_select, whose gradient adds up whole rows, where that of rows[first] adds up single numbers
            logits = self.compare(rows.index_select(0, first), rows.index_select(0, second)).to(features.dtype)
        same, other = logits[genuine], logits[~genuine]
        loss = (F.softplus(-same).mean() + F.softplus(other).mean()) / 2
        return loss, ((same > 0).float().mean() + (other <= 0).float().mean()) / 2


def objective(network: nn.Module, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, nn.Module]:
    """What the engine moves and what it minimises: a siamese network computes the features of a batch once and learns
    from all of its pairs, another one from pairs that were drawn.

    Args:
        dtype: what the engine computes in.
    """
    if isinstance(network, SiameseNetwork):
        return OneSide(network), AllPairs(network.compare, dtype)
    return BothSides(network), DrawnPairs()
