"""What the tests of tuning share: a small index, and few structures to try on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from vectors import brute, clustered, make

from retrieval.index import Index
from retrieval.tuning import trying
from retrieval.tuning import tuning as flow
from retrieval.tuning.candidates import Candidate
from retrieval.tuning.measuring import Measuring

N, D = 1200, 32


def index_at(folder: Path) -> Path:
    """An index of :data:`N` vectors with labels."""
    make(folder, clustered(N, D), parts=2).close()
    return folder


def hurry(patch: pytest.MonkeyPatch) -> None:
    """Speeds are measured for thousandths of a second, as no test is about them."""
    patch.setattr(trying, "FIRST", (0.002, 1.0))
    patch.setattr(trying, "FINAL", (0.002, 1.0))


def try_few(patch: pytest.MonkeyPatch) -> None:
    """Only two structures to try."""
    tried = [Candidate("HNSW16,Flat", 1.15), Candidate("IVF16,SQ8", 1.5)]
    patch.setattr(flow, "candidates", lambda *_, **__: tried)


def slow_down_exact(patch: pytest.MonkeyPatch) -> None:
    """Exact search is said to be a thousand times slower than it is."""
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
