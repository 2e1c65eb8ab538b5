"""What the tests of tuning share: a small index, and few structures to try on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from vectors import brute, clustered, make

from retrieval.index import Index
from retrieval.tuning import tuning as flow
from retrieval.tuning.candidates import Candidate
from retrieval.tuning.measuring import Measuring

N, D = 1200, 32
SHORT = {"minutes": 0.05}
"""The speeds are then measured for hundredths of a second, and a test is never about those."""


def index_at(folder: Path) -> Path:
    """An index of :data:`N` vectors with labels."""
    make(folder, clustered(N, D), parts=2).close()
    return folder


def try_few(patch: pytest.MonkeyPatch) -> None:
    """Two structures to try, and exact search said to be a thousand times slower than it is."""
    tried = [Candidate("HNSW16,Flat", 1.15), Candidate("IVF16,SQ8", 1.5)]
    patch.setattr(flow, "candidates", lambda *_, **__: tried)
    whole = Measuring._singles

    def slow_exact(self: Measuring, search, seconds: float) -> list[float]:
        times = whole(self, search, seconds)
        return [1000 * time for time in times] if search.__name__ == "exact" else times

    patch.setattr(Measuring, "_singles", slow_exact)


def recall_of(index: Index, queries: np.ndarray) -> float:
    """recall@10 of an index, by brute force."""
    ids, vectors = index.all_vectors()
    _, truth = brute(queries, vectors, ids, 10)
    _, found = index.search(queries, 10)
    return float(np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(found, truth, strict=True)]))
