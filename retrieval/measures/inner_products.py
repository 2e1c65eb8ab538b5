"""Inner products of queries and a gallery, and rankings by them, a block of queries at a time.

Of a ranking only the relevant items' scores matter, and how many items are above each. Counting these takes a fifth of
what sorting all scores takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from retrieval.base import compiled
from retrieval.measures.arrays import Ints, Vectors
from retrieval.measures.ranking import RankingBlock
from retrieval.measures.ranking_task import Asked, Judged, Nearest, Undecided

BLOCK_BYTES = 32 * 2**20  # scores that one thread holds at a time

EACH = 512
"""Bytes of a block for each relevant item of the rankings that are looked at together; some hundred are used. With
fewer at a time the calls count, with more the processor's cache does not hold what is looked at."""

FEW = 16
"""Scores up to which those above each are counted, which is faster than sorting all, where nothing was compiled."""

KEPT = 64
"""Neighbours up to which the best so far are kept in order, which is faster than parting all."""


class Products:
    """Scores as float32 inner products.

    Attributes:
        items, rows: see :class:`retrieval.measures.ranking_task.Scorer`.
    """

    def __init__(self, queries: Vectors, gallery: Vectors, group: Ints) -> None:
        """`group` (n,) is equal where vectors of the gallery are."""
        self._queries, self._gallery = queries, gallery
        self.items = len(gallery)
        # by the gallery alone: the machine changes no figure
        self.rows = int(np.clip(BLOCK_BYTES // (4 * max(1, self.items)), 8, 512))
        originals = np.unique(group, return_index=True)[1][group]
        self._copies = np.flatnonzero(originals != np.arange(len(group)))
        self._originals = originals[self._copies]

    def room(self) -> Vectors:
        return np.empty((self.rows, self.items), np.float32)

    def judge(self, asked: Asked, room: Vectors) -> Iterator[Judged]:
        scores = room[: len(asked.queries)]
        self.score(asked.queries, scores)
        return judge(scores, asked)

    def score(self, queries: Ints, out: Vectors) -> None:
        """The scores of some queries, into float32 (b, n)."""
        np.matmul(self._queries[queries], self._gallery.T, out=out)
        if self._copies.size:
            out[:, self._copies] = out[:, self._originals]


def judge(scores: Vectors, asked: Asked) -> Iterator[Judged]:
    """What queries' scores say, float32 (b, n), C-contiguous, some queries at a time; this changes them."""
    sizes = [its.stop - its.start if isinstance(its, slice) else its.size for its, _ in asked.relevant]
    ends = np.flatnonzero(np.diff(np.cumsum(sizes) // (BLOCK_BYTES // EACH))) + 1
    for first, last in pairwise([0, *ends.tolist(), len(scores)]):
        part = slice(first, last)
        some = replace(asked, queries=asked.queries[part], hidden=asked.hidden[part], relevant=asked.relevant[part])
        yield _judge(scores[part], some)


def _judge(scores: Vectors, asked: Asked) -> Judged:
    hidden = np.zeros(len(scores), np.int64)
    near_duplicates = np.zeros(len(scores), np.int64)
    for row, out in enumerate(asked.hidden):
        scores[row, out] = -np.inf
        hidden[row] = out.size
    if asked.duplicate_score is not None:
        for row, its in enumerate(scores):
            near = its >= asked.duplicate_score
            near_duplicates[row] = np.count_nonzero(near)
            its[near] = -np.inf
    items = scores.shape[1] - hidden - near_duplicates
    found, grades = [], []
    for its, (relevant, graded) in zip(scores, asked.relevant, strict=True):
        some = its[relevant]
        if graded is None:
            found.append(np.sort(some)[::-1])
        else:
            order = np.argsort(some, kind="stable")[::-1]
            found.append(some[order])
            grades.append(graded[order])
    ranked, rankings = _rankings(scores, found, grades, items)
    nearest = None
    if asked.neighbours is not None and ranked.size:
        nearest = _nearest(scores, items, ranked, asked.neighbours)
    return Judged(ranked, rankings, scores.max(axis=1)[ranked], near_duplicates, nearest)


def _rankings(
    scores: Vectors, found: Sequence[Vectors], grades: Sequence[npt.NDArray[np.float64]], items: Ints
) -> tuple[Ints, RankingBlock | None]:
    """Which queries have a relevant item, and their rankings.

    Args:
        found: for each query the scores of what is relevant, descending; −∞ for what is hidden.
        grades: theirs, or for no query any. items: int64 (b,), how many are ranked.
    """
    every, query = np.concatenate(found), np.repeat(np.arange(len(found)), [its.size for its in found])
    seen = every > -np.inf
    every, query = every[seen], query[seen]
    totals = np.bincount(query, minlength=len(found))
    ranked = np.flatnonzero(totals)
    if not ranked.size:
        return ranked, None
    first = np.flatnonzero(np.append(True, (every[1:] != every[:-1]) | (query[1:] != query[:-1])))
    limits = np.searchsorted(query[first], np.arange(len(found) + 1))
    above, size = counted(scores, every[first], limits)
    gains = ideal = None
    if grades:
        given = np.concatenate(grades)[seen]
        gains = np.add.reduceat(given, first)
        ideal = [np.sort(its)[::-1] for its in np.split(given, np.cumsum(totals[ranked])[:-1])]
    relevant = np.diff(first, append=every.size)
    return ranked, RankingBlock.of_groups(np.diff(limits)[ranked], above, size, relevant, items[ranked], gains, ideal)


def counted(scores: Vectors, levels: Vectors, limits: Ints) -> tuple[Ints, Ints]:
    """How many scores are above each level, and how many are equal to it.

    Args:
        scores: float32 (b, n), C-contiguous; no NaN.
        levels: float32 (l,), for each row some, descending, each once.
        limits: int64 (b + 1,), where those of each row begin.

    Returns:
        above, equal: int64 (l,).
    """
    above, equal = np.empty(len(levels), np.int64), np.empty(len(levels), np.int64)
    if compiled.kernel is not None:
        compiled.kernel.count_into(above, equal, scores, levels, limits)
        return above, equal
    for row, first, last in zip(scores, limits[:-1].tolist(), limits[1:].tolist(), strict=True):
        its = levels[first:last]
        if its.size <= FEW:
            above[first:last] = [np.count_nonzero(row > level) for level in its]
            equal[first:last] = [np.count_nonzero(row == level) for level in its]
        else:
            ordered = np.sort(row)
            end = np.searchsorted(ordered, its, side="right")
            above[first:last] = row.size - end
            equal[first:last] = end - np.searchsorted(ordered, its, side="left")
    return above, equal


def _nearest(scores: Vectors, items: Ints, ranked: Ints, neighbours: int) -> Nearest:
    k = np.minimum(neighbours, items[ranked])
    best, where = _best(scores, int(k.max()))
    best, where = best[ranked], where[ranked]
    last = best[np.arange(len(ranked)), k - 1]
    above, equal = counted(scores, last, np.searchsorted(ranked, np.arange(len(scores) + 1)))
    more = above + equal > k  # items tie for the last places, beyond these
    query, column = np.nonzero((np.arange(best.shape[1]) < k[:, None]) & ~more[:, None])

    def undecided() -> Iterator[Undecided]:
        for one in np.flatnonzero(more).tolist():
            its = scores[ranked[one]]
            near = np.flatnonzero(its >= last[one])
            tied = its[near] == last[one]
            yield Undecided(one, near[~tied], near[tied], int(k[one] - above[one]))

    return Nearest(query, where[query, column], undecided())


def _best(scores: Vectors, count: int) -> tuple[Vectors, Ints]:
    """The best scores of each row, float32 (b, count), descending, and where they are, int64 (b, count)."""
    if compiled.kernel is None or count > KEPT:
        start = scores.shape[1] - count
        # row by row, since places are wider than scores
        where = np.stack([np.argpartition(row, start)[start:] for row in scores])
        best = np.take_along_axis(scores, where, axis=1)
        order = np.argsort(best, axis=1)[:, ::-1]
        return np.take_along_axis(best, order, axis=1), np.take_along_axis(where, order, axis=1)
    best, where = np.full((len(scores), count), -np.inf, np.float32), np.empty((len(scores), count), np.int64)
    compiled.kernel.keep_best(best, where, scores, len(scores), 0)
    return best, where
