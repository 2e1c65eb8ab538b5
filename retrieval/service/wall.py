"""Varied pictures to begin with: each is as unlike as can be to those that came before it.

Farthest points first (Gonzalez 1985, "Clustering to minimize the maximum intercluster distance"), over a sample where
there are many: what the wall shows is a few hundred pictures, and these hardly change with a larger one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from retrieval.index import Index
from retrieval.index.vectors import as_numbers

SAMPLE = 2_000
"""Pictures among which they are chosen."""

MOST = 300
"""Pictures that are chosen."""


def varied(index: Index, ids: npt.NDArray[np.int64], k: int = MOST, sample: int = SAMPLE) -> npt.NDArray[np.int64]:
    """Some pictures of an index, from the one nearest to the mean of all on.

    Args:
        index: theirs. ids: int64 (n,), those that may be chosen.
        k: how many. sample: among so many, drawn evenly from `ids`.

    Returns:
        int64 (min(k, n, sample),), in the order that they were chosen in.
    """
    if len(ids) > sample:
        ids = ids[np.sort(np.random.default_rng(0).choice(len(ids), sample, replace=False))]
    if not len(ids):
        return ids
    rows = as_numbers(index.vectors(ids), index.storage)
    return ids[farthest_first(rows, min(k, len(ids)))]


def farthest_first(rows: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.int64]:
    """Places of k rows, each the one farthest from its nearest among those before it; of equal ones the first.

    Args:
        rows: float32 (n, d), of one length.
        k: from 1 to n.
    """
    chosen = np.empty(k, np.int64)
    chosen[0] = int(np.argmax(rows @ rows.mean(axis=0)))
    nearest = np.full(len(rows), -np.inf, np.float32)
    for turn in range(1, k):
        nearest = np.maximum(nearest, rows @ rows[chosen[turn - 1]])
        nearest[chosen[turn - 1]] = np.inf  # has come
        chosen[turn] = int(np.argmin(nearest))
    return chosen
