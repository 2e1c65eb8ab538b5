"""What every sampler can do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from retrieval.sampling.labels import Indices


class Sampler(Protocol):
    """What makes the batches of an epoch."""

    def __len__(self) -> int:
        """The batches of an epoch."""

    def epoch(self, number: int) -> Iterator[Indices]:
        """The positions of each batch's pictures, int64 (b,); the same for the same number, whoever asks."""
