"""What the losses share: precision, distances, and the pictures of earlier batches beside those of this one."""

from __future__ import annotations

import torch
from torch import Tensor

Stored = tuple[Tensor, Tensor]
"""Embeddings (m, d) and labels int64 (m,) of earlier batches, to compare a batch with; no gradient flows into them."""


def widened(embeddings: Tensor) -> Tensor:
    """bfloat16 and float16 as float32: sums over a batch and exponentials need its digits and its range."""
    return embeddings.float() if embeddings.dtype in (torch.bfloat16, torch.float16) else embeddings


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """‖xᵢ − yⱼ‖² of unit vectors, (n, d) and (m, d) → (n, m), never negative."""
    return (2 - 2 * x @ y.T).clamp_min(0)


def beside(embeddings: Tensor, labels: Tensor, memory: Stored | None) -> tuple[Tensor, Tensor]:
    """What a batch is compared with: itself and, behind it, what a memory holds. (n + m, d) and (n + m,)."""
    if memory is None:
        return embeddings, labels
    return torch.cat([embeddings, memory[0].to(embeddings.dtype)]), torch.cat([labels, memory[1]])
