"""Hamming distances of binary codes, and rankings by them.

Of b bits there are only b + 1 different distances, so that nearly everything ties. A ranking whose ties are broken by
the order of the database moves by a point or two when that order changes; here a query's ranking is a histogram of all
distances and one of the relevant items', from which every measure follows by expectation, and nothing is sorted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from retrieval.measures.arrays import Ints
from retrieval.measures.ranking import Ranking, RankingBlock
from retrieval.measures.ranking_task import Asked, Judged, Nearest, Undecided
from retrieval.measures.relevance import Grades

Codes = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.uint16]
_Room = tuple[npt.NDArray[np.uint64], Codes, Counts]

ROUNDING = 1e-9
"""Distances are whole numbers; one made of a score is taken for the whole number this far below it."""

TIED = 1 << 20
"""Items that tie for places among neighbours, that are kept until their labels are looked at."""

NOTHING = np.zeros(0, np.int64)

ROWS = 64
"""Queries between two calls of the progress."""


class Distances:
    """Hamming distances of queries (nq, bytes) to a gallery (n, bytes).

    Attributes:
        items, rows: see :class:`retrieval.measures.ranking_task.Scorer`.
    """

    def __init__(self, queries: Codes, gallery: Codes) -> None:
        self._bits = 8 * gallery.shape[1]
        self._queries, self._gallery = _words(queries), np.ascontiguousarray(_words(gallery).T)
        self.items, self.rows = len(gallery), ROWS

    def room(self) -> _Room:
        return np.empty(self.items, np.uint64), np.empty(self.items, np.uint8), np.empty(self.items, np.uint16)

    def score(self, queries: Ints, room: _Room) -> Iterator[Counts]:
        differing, ones, distances = room
        for query in self._queries[queries]:
            distances[:] = 0
            for word, column in zip(query, self._gallery, strict=True):
                np.bitwise_xor(column, word, out=differing)
                np.bitwise_count(differing, out=ones)
                np.add(distances, ones, out=distances)
            yield distances

    def judge(self, asked: Asked, room: _Room) -> Iterator[Judged]:
        least = asked.duplicate_score
        nearest = 0 if least is None else math.floor((1 - least) / 2 * self._bits + ROUNDING) + 1
        ranked: list[int] = []
        rankings: list[Ranking] = []
        best: list[float] = []
        near: list[Undecided] = []
        near_duplicates: list[int] = []
        held = 0
        for place, distances in enumerate(self.score(asked.queries, room)):
            row = _Row(distances, asked.hidden[place], self._bits, nearest)
            ranking = row.ranking(*asked.relevant[place])
            if ranking is not None:
                if asked.neighbours is not None:
                    near.append(Undecided(len(ranked), *row.nearest(asked.neighbours)))
                    held += near[-1].tied.size
                ranked.append(len(near_duplicates))
                rankings.append(ranking)
                best.append(row.best)
            near_duplicates.append(row.near_duplicates)
            if held > TIED or place == len(asked.queries) - 1:
                yield Judged(
                    np.array(ranked, np.int64),
                    RankingBlock.of(rankings) if rankings else None,
                    np.array(best),
                    np.array(near_duplicates),
                    None if asked.neighbours is None else Nearest(NOTHING, NOTHING, near),
                )
                ranked, rankings, best, near, near_duplicates, held = [], [], [], [], [], 0


class _Row:
    """One query's distances; what is hidden from it is farther than anything can be."""

    def __init__(self, distances: Counts, hidden: Ints, bits: int, nearest: int) -> None:
        """Items that are nearer than `nearest` are left out."""
        distances[hidden] = bits + 1
        self.near_duplicates = 0
        if nearest > 0:
            near = distances < nearest
            self.near_duplicates = int(np.count_nonzero(near))
            distances[near] = bits + 1
        self._distances, self._bits = distances, bits
        self._sizes = self._histogram(distances)

    @property
    def best(self) -> float:
        return 1 - 2 * int(np.flatnonzero(self._sizes)[0]) / self._bits

    def ranking(self, relevant: slice | Ints, grades: Grades | None) -> Ranking | None:
        found = self._distances[relevant]
        counts = self._histogram(found)
        if not counts.any():
            return None
        if grades is None:
            return Ranking.of_counts(self._sizes, counts)
        gains = np.asarray(np.bincount(found, grades, self._bits + 2)[: self._bits + 1], np.float64)
        return Ranking.of_counts(self._sizes, counts, (gains, np.sort(grades[found <= self._bits])[::-1]))

    def nearest(self, k: int) -> tuple[Ints, Ints, int]:
        reached = np.cumsum(self._sizes)
        k = min(k, int(reached[-1]))
        last = int(np.searchsorted(reached, k))
        near = np.flatnonzero(self._distances <= last)
        tied = self._distances[near] == last
        return near[~tied], near[tied], k - int((~tied).sum())

    def _histogram(self, distances: Counts) -> Ints:
        return np.bincount(distances, minlength=self._bits + 2)[: self._bits + 1]


def _words(codes: Codes) -> npt.NDArray[np.uint64]:
    """The same codes in 64-bit words, filled up with zeros."""
    missing = -codes.shape[1] % 8
    return np.ascontiguousarray(np.pad(codes, ((0, 0), (0, missing)))).view(np.uint64)
