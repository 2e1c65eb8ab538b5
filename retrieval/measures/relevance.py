"""Which items of the gallery are relevant to which query, and how much.

Three ways to say it: one label an item (:class:`SameLabel`), several of them (:class:`SharedLabels`), or pair by pair
(:class:`Judgements`). Positions are those of a gallery that was brought into an order of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from retrieval.errors import RetrievalError
from retrieval.measures.arrays import Ints

Grades = npt.NDArray[np.float64]


class Relevance(Protocol):
    """What a ranking is judged by."""

    def answerable(self, inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """bool (nq,): which queries may have a relevant item beside themselves; `inside` says which are in the
        gallery. Whether it is hidden from them is not asked here."""

    def of(self, query: int) -> tuple[slice | Ints, Grades | None]:
        """The relevant items' positions, ascending, and the grade of each (above 0), None if each is 1."""


class SameLabel:
    """Relevant are the items with the query's label.

    Attributes:
        start, stop: int64 (nq,), the slice of the gallery that has each query's label.
    """

    def __init__(self, queries: Ints, gallery: Ints) -> None:
        """From the labels of the queries (nq,) and of the gallery (n,), which ascend."""
        self.start = np.searchsorted(gallery, queries, side="left")
        self.stop = np.searchsorted(gallery, queries, side="right")

    def answerable(self, inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        return self.stop - self.start > inside

    def of(self, query: int) -> tuple[slice, None]:
        return slice(self.start[query], self.stop[query]), None


class SharedLabels:
    """Relevant are the items that share a label with the query; the grade is how many, if that is asked for."""

    def __init__(self, queries: npt.NDArray[np.bool_], gallery: npt.NDArray[np.bool_], *, graded: bool = False) -> None:
        """From what each query (nq, classes) and each item (n, classes) shows."""
        self._queries, self._graded, self._items = queries, graded, len(gallery)
        self._shown = [np.flatnonzero(column) for column in gallery.T]  # the items of each class
        self._sizes = np.array([items.size for items in self._shown])

    def answerable(self, inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        return np.where(
            inside, (self._queries & (self._sizes > 1)).any(axis=1), (self._queries & (self._sizes > 0)).any(axis=1)
        )

    def of(self, query: int) -> tuple[Ints, Grades | None]:
        shared = np.zeros(self._items, np.int32)
        for place in np.flatnonzero(self._queries[query]):
            shared[self._shown[place]] += 1
        items = np.flatnonzero(shared)
        return items, shared[items].astype(np.float64) if self._graded else None


@dataclass(frozen=True)
class Judgements:
    """Graded relevance given sparsely, as TREC's qrels and as a sparse matrix's row, column and value.

    Attributes:
        queries: integers (p,), positions of the queries.
        items: integers (p,), positions in the gallery.
        grades: numbers (p,), 0 for irrelevant and above 0 for relevant; None: each is 1. A pair that is not listed is
            irrelevant.
    """

    queries: npt.ArrayLike
    items: npt.ArrayLike
    grades: npt.ArrayLike | None = None

    def checked(self, queries: int, items: int) -> tuple[Ints, Ints, Grades]:
        """The pairs with a grade above 0, sorted by query and item.

        Raises:
            RetrievalError: the arrays do not fit together, a position is outside, a grade is negative or no number,
                or a pair is listed twice.
        """
        asked, judged = np.asarray(self.queries), np.asarray(self.items)
        grades = np.ones(len(asked)) if self.grades is None else np.asarray(self.grades, np.float64)
        if asked.ndim != 1 or not asked.shape == judged.shape == grades.shape:
            raise RetrievalError(
                f"judgements name {asked.shape} queries, {judged.shape} items and {grades.shape} grades: give one of "
                "each a pair"
            )
        for positions, n, what in ((asked, queries, "queries"), (judged, items, "items of the gallery")):
            if positions.size and not np.issubdtype(positions.dtype, np.integer):
                raise RetrievalError(f"judgements name {what} by {positions.dtype}: give positions, counted from 0")
            if positions.size and not 0 <= positions.min() <= positions.max() < n:
                raise RetrievalError(
                    f"judgements name {what} from {positions.min()} to {positions.max()}, and there are {n}: give "
                    "positions, counted from 0"
                )
        if not (np.isfinite(grades) & (grades >= 0)).all():
            raise RetrievalError(f"grades reach from {grades.min()} to {grades.max()}: give finite ones from 0 upwards")
        order = np.lexsort((judged, asked))
        asked, judged, grades = asked[order].astype(np.int64), judged[order].astype(np.int64), grades[order]
        twice = np.flatnonzero((asked[1:] == asked[:-1]) & (judged[1:] == judged[:-1]))
        if twice.size:
            raise RetrievalError(
                f"query {asked[twice[0]]} and item {judged[twice[0]]} are judged twice: give each pair once"
            )
        kept = grades > 0
        return asked[kept], judged[kept], grades[kept]


class Judged:
    """Relevant is what a person or a rule said, pair by pair."""

    def __init__(self, judgements: Judgements, queries: int, place: Ints) -> None:
        """From the judgements of `queries` queries; `place` (n,) says where each item stands now."""
        asked, items, grades = judgements.checked(queries, len(place))
        items = place[items]
        order = np.lexsort((items, asked))
        self._start = np.searchsorted(asked, np.arange(queries + 1))
        self._items, self._grades = items[order], grades[order]
        self._graded = bool((grades != 1).any())

    def answerable(self, inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        return np.diff(self._start) > 0

    def of(self, query: int) -> tuple[Ints, Grades | None]:
        its = slice(self._start[query], self._start[query + 1])
        return self._items[its], self._grades[its] if self._graded else None
