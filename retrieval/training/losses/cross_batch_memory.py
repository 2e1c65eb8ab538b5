"""Losses that see earlier batches too."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class CrossBatchMemory(nn.Module):
    """The embeddings of the last batches, to find positives and negatives in (Wang et al. 2020, "Cross-Batch Memory for
    Embedding Learning").

    A ring: what is stored replaces what was stored longest ago. Contents and position are buffers, so that a checkpoint
    of the training holds them and a resumed one goes on with them.

    Args:
        size: how many embeddings are kept.
        dim: their length.
    """

    embeddings: Tensor
    labels: Tensor
    stored: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("embeddings", torch.zeros(size, dim))
        self.register_buffer("labels", torch.zeros(size, dtype=torch.int64))
        self.register_buffer("stored", torch.zeros((), dtype=torch.int64))  # how many ever were

    def contents(self) -> tuple[Tensor, Tensor]:
        """Copies of what is kept: embeddings (m, dim), without a gradient, and labels int64 (m,)."""
        kept = min(int(self.stored), self.size)
        return self.embeddings[:kept].clone(), self.labels[:kept].clone()

    @torch.no_grad()
    def store(self, embeddings: Tensor, labels: Tensor) -> None:
        """Keep a batch; of one that is larger than the memory, its last rows."""
        before = int(self.stored)
        rows = torch.arange(before, before + len(labels), device=self.labels.device)[-self.size :] % self.size
        self.embeddings[rows] = embeddings[-self.size :].to(self.embeddings)
        self.labels[rows] = labels[-self.size :].to(self.labels)
        self.stored += len(labels)


class WithMemory(nn.Module):
    """Another loss, with the pictures of a batch compared with one another and with those of the last batches.

    Wang et al. 2020 (XBM). Gradients reach this batch only. A batch is stored after its loss, and only in training.

    Args:
        loss: one whose ``forward`` takes a memory.
        size: how many embeddings are kept.
        dim: their length.
    """

    def __init__(self, loss: nn.Module, size: int, dim: int) -> None:
        super().__init__()
        self.loss = loss
        self.memory = CrossBatchMemory(size, dim)

    @property
    def unit(self) -> bool:
        unit: Any = self.loss.unit
        return bool(unit)

    @property
    def apart(self) -> float | None:
        """The Euclidean distance that impostors are to have, of a loss that can compare raw vectors."""
        return getattr(self.loss, "apart", None)

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        loss, active = self.loss(embeddings, labels, self.memory.contents())
        if self.training:
            self.memory.store(embeddings, labels)
        return loss, active
