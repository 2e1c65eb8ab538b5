"""What every sampler can do, and the pictures of each class, which all of them start from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


class Sampler(Protocol):
    """What makes the batches of an epoch."""

    def __len__(self) -> int:
        """The batches of an epoch."""

    def epoch(self, number: int) -> Iterator[Indices]:
        """The positions of each batch's pictures, int64 (b,); the same for the same number, whoever asks."""


def by_class(labels: Indices) -> list[Indices]:
    """The positions of each class's pictures, classes in ascending order; unlabelled pictures (−1) are left out."""
    order = np.argsort(labels, kind="stable")
    order = order[labels[order] >= 0]
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
