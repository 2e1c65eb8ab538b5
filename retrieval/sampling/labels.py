"""The pictures of each class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def by_class(labels: Indices) -> list[Indices]:
    """The positions of each class's pictures, classes in ascending order; unlabelled pictures (−1) are left out."""
    order = np.argsort(labels, kind="stable")
    order = order[labels[order] >= 0]
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
