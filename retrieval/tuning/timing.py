"""How much of the truth a search finds, and how fast: one set of queries for everything that is compared."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped,unused-ignore]

from retrieval.measures import recall_of
from retrieval.tuning.held_out import Search, Trial, Vectors

ROUNDS = 5
"""Times that those compared take turns."""

LATE = 0.95
"""Share of single queries that are answered within what is called the latency."""

_GLANCED = 200
"""Queries by which a search's recall is judged at a glance."""

_FEWEST = 10
"""Single queries that are timed at least, however long each takes."""


@dataclass(frozen=True)
class Speed:
    """How fast a search answers.

    The times of single queries are the processor's, which other programs on the machine disturb least.

    Attributes:
        single: queries per second, one at a time, on one thread.
        latency: seconds within which :data:`LATE` of the single queries were answered.
        batched: queries per second by the clock, when all are asked in one call on as many threads as the process has.
    """

    single: float
    latency: float
    batched: float


class Measuring:
    """Queries with their true neighbours.

    Args:
        trial: what is asked.
        queries: (nq, d), none of which is in it, nq at least 1.
        k: neighbours that each asks for.

    Attributes:
        k: the same, but no more than there are vectors.
        queries: the same.
    """

    def __init__(self, trial: Trial, queries: Vectors, k: int) -> None:
        self.k = min(k, len(trial))
        self.queries = queries
        self._truth = trial.exact(queries, self.k)[0]
        self._order = np.random.default_rng(0).permutation(len(queries))  # they may come sorted

    def found(self, search: Search) -> npt.NDArray[np.float64]:
        """Each query's share (nq,) of its true k nearest that a search finds.

        A hit counts if its score reaches the true k-th one's, so that of equal vectors any is as good as another.
        """
        return recall_of(search(self.queries, self.k)[0], self._truth)

    def glance(self, search: Search) -> tuple[float, float]:
        """About what a search finds, and how fast: recall by some of the queries, and single queries per second."""
        few = self._order[:_GLANCED]
        found = recall_of(search(self.queries[few], self.k)[0], self._truth[few])
        return float(found.mean()), 1 / float(np.mean(self._singles(search, 0.0)))

    def first(self, search: Search, seconds: float) -> tuple[npt.NDArray[np.float64], Speed]:
        """:meth:`found`, and a first impression of the speed.

        Args:
            search: what to measure.
            seconds: for how long single queries are timed, about.
        """
        search(self.queries[:1], self.k)  # what is loaded at the first call is not the queries'
        start = time.perf_counter()
        found = self.found(search)
        batched = len(self.queries) / (time.perf_counter() - start)
        times = self._singles(search, seconds)
        return found, Speed(1 / float(np.mean(times)), float(np.quantile(times, LATE)), batched)

    def speeds(self, searches: Mapping[str, Search], seconds: float) -> dict[str, Speed]:
        """The speeds of several searches, which take turns, so that whatever else the machine does meets all alike.

        Every other round goes in the opposite order, since the first of a round may find a colder cache. Rates are
        medians over the :data:`ROUNDS` rounds, latencies over all their queries.

        Args:
            searches: by name.
            seconds: for how long each one's single queries are timed in each round, about.
        """
        single: dict[str, list[list[float]]] = {name: [] for name in searches}
        batched: dict[str, list[float]] = {name: [] for name in searches}
        for turn in range(ROUNDS):
            names: Sequence[str] = list(searches)
            for name in names if turn % 2 else reversed(names):
                single[name].append(self._singles(searches[name], seconds))
                batched[name].append(self._batched(searches[name]))
        return {
            name: Speed(
                float(np.median([1 / np.mean(times) for times in single[name]])),
                float(np.quantile(np.concatenate(single[name]), LATE)),
                float(np.median(batched[name])),
            )
            for name in searches
        }

    def _singles(self, search: Search, seconds: float) -> list[float]:
        """Seconds of the processor that each of some single queries takes, on one thread: all in turn, as long as there
        is time."""
        times: list[float] = []
        with threadpool_limits(1):
            total = 0.0
            while len(times) < _FEWEST or total < seconds:
                query = self._order[len(times) % len(self.queries)]
                start = time.process_time()
                search(self.queries[query : query + 1], self.k)
                times.append(time.process_time() - start)
                total += times[-1]
        return times

    def _batched(self, search: Search) -> float:
        start = time.perf_counter()
        search(self.queries, self.k)
        return len(self.queries) / (time.perf_counter() - start)
