"""Losses of pytorch-metric-learning, behind one adapter. The package is an extra, and imported when it is asked for."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from retrieval.errors import RetrievalError
from retrieval.training.losses import mining
from retrieval.training.losses.distances import Stored, beside, widened


class PeerLoss(nn.Module):
    """A loss of pytorch-metric-learning as one of ours; it has no triplets, so its active share is NaN.

    Weights of its own (proxies) are parameters of this module, trained and kept in checkpoints with the network's.

    Args:
        loss: an instance of one of its losses, on unit vectors.
    """

    unit = True

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, embeddings: Tensor, labels: Tensor, memory: Stored | None = None) -> tuple[Tensor, Tensor]:
        embeddings = widened(embeddings)
        if memory is None:
            return self.loss(embeddings, labels), torch.tensor(math.nan)
        others, other_labels = beside(embeddings, labels, memory)
        positive, negative = mining.pairs(labels, other_labels)
        pairs = (*positive.nonzero(as_tuple=True), *negative.nonzero(as_tuple=True))
        return self.loss(embeddings, labels, pairs, others, other_labels), torch.tensor(math.nan)


def multi_similarity() -> PeerLoss:
    """Wang et al. 2019, "Multi-Similarity Loss with General Pair Weighting", equation 13.

    α = 2 and β = 50 as in the paper, λ = 0.5 as in the authors' program (the paper says 1).
    """
    return PeerLoss(_losses("multi-similarity").MultiSimilarityLoss(alpha=2, beta=50, base=0.5))


def circle(margin: float = 0.4) -> PeerLoss:
    """Sun et al. 2020, "Circle Loss", equation 8, with the γ = 80 that they use for retrieval."""
    return PeerLoss(_losses("circle").CircleLoss(m=margin, gamma=80))


def proxy_anchor(dim: int, classes: int, margin: float = 0.1, seed: int = 0) -> PeerLoss:
    """Kim et al. 2020, "Proxy Anchor Loss", equation 4, with their α = 32; it learns one proxy a class."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # the library draws the proxies from torch's own generator
        return PeerLoss(_losses("proxy-anchor").ProxyAnchorLoss(classes, dim, margin=margin, alpha=32))


def _losses(name: str) -> Any:
    """The library's own.

    Raises:
        RetrievalError: it is not installed.
    """
    try:
        from pytorch_metric_learning import losses
    except ImportError:
        raise RetrievalError(
            f'--loss {name} needs the package pytorch-metric-learning; run `pip install "retrieval[pml]"`, '
            "or choose another --loss."
        ) from None
    return losses
