"""A loss that sees earlier batches too."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from retrieval.training.losses.mining import CrossBatchMemory


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
