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
    """

    unit = False

    def __init__(self, compare: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.compare = compare

    def forward(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        first, second = torch.triu_indices(len(labels), len(labels), 1, device=labels.device)
        genuine = labels[first] == labels[second]
        logits = self.compare(features[first], features[second])
        same, other = logits[genuine], logits[~genuine]
        loss = (F.softplus(-same).mean() + F.softplus(other).mean()) / 2
        return loss, ((same > 0).float().mean() + (other <= 0).float().mean()) / 2


def objective(network: nn.Module) -> tuple[nn.Module, nn.Module]:
    """What the engine moves and what it minimises: a siamese network computes the features of a batch once and learns
    from all of its pairs, another one from pairs that were drawn."""
    if isinstance(network, SiameseNetwork):
        return OneSide(network), AllPairs(network.compare)
    return BothSides(network), DrawnPairs()
