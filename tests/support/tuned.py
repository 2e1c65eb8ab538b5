"""What the tests of tuning share: a small index, and few structures to try on it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from vectors import brute, clustered, make

from retrieval.index import Index
from retrieval.index.nearest.structure import Structure
from retrieval.tuning import default, exploration, timing
from retrieval.tuning import tune_index as flow
from retrieval.tuning.candidates import Candidate
from retrieval.tuning.held_out import Floats, Ids, Search, Trial, Vectors

N, D = 1200, 32


def index_at(folder: Path) -> Path:
    """An index of :data:`N` vectors with labels."""
    make(folder, clustered(N, D), parts=2).close()
    return folder


EXACT_SECONDS = 1e-3
"""What exact search takes for a query by :class:`Clock`, longer than any structure here."""


class Clock:
    """In place of the processor's clock: it goes on by what is searched, so that what a tuning measures, and with it
    what it chooses, is the same on every machine and on every day."""

    def __init__(self) -> None:
        self._now = 0.0

    def process_time(self) -> float:
        return self._now

    perf_counter = process_time

    def timed(self, search: Search, seconds: float) -> Search:
        """The search, each query of which takes so many seconds of this clock."""

        def search_in_time(queries: Vectors, k: int) -> tuple[Floats, Ids]:
            self._now += seconds * len(queries)
            return search(queries, k)

        return search_in_time


def set_clock(patch: pytest.MonkeyPatch) -> None:
    """Tunings go by a :class:`Clock`, and a structure takes the longer the higher its settings are."""
    clock = Clock()
    exact, search = Trial.exact, Trial.search

    def timed_search(self: Trial, structure: Structure | None, parameters: Mapping[str, int]) -> Search:
        found = search(self, structure, parameters)
        return found if structure is None else clock.timed(found, 1e-5 * (1 + sum(parameters.values()) / 16))

    patch.setattr(Trial, "exact", lambda self, *asked: clock.timed(partial(exact, self), EXACT_SECONDS)(*asked))
    patch.setattr(Trial, "search", timed_search)
    for module in (timing, default):
        patch.setattr(module, "time", clock)
    for name in ("FIRST", "FINAL"):  # seconds of timing; of this clock, every one gives the same mean
        patch.setattr(exploration, name, (0.002, 1.0))


def try_few(patch: pytest.MonkeyPatch) -> None:
    """Only two structures to try."""
    tried = [Candidate("HNSW16,Flat", 1.15), Candidate("IVF16,SQ8", 1.5)]
    patch.setattr(flow, "candidates", lambda *_, **__: tried)


def recall_of(index: Index, queries: np.ndarray) -> float:
    """recall@10 of an index, by brute force."""
    ids, vectors = index.all_vectors()
    _, truth = brute(queries, vectors, ids, 10)
    _, found = index.search(queries, 10)
    return float(np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(found, truth, strict=True)]))
