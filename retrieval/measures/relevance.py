"""Which items of the gallery are relevant to which query, and how much.

Three ways to say it: one label an item (:class:`SameLabel`), several of them (:class:`SharedLabels`), or a list of
items for each query (:class:`Listed`). Positions are those of a gallery that was brought into an order of its own.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from retrieval.measures.arrays import Ints, Lists

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


class Listed:
    """Relevant are the items that stand in the query's list, and none other."""

    def __init__(self, lists: Lists) -> None:
        """From positions in the gallery, ascending, for each query."""
        self._lists = lists

    def answerable(self, inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        return np.diff(self._lists.start) > 0

    def of(self, query: int) -> tuple[Ints, None]:
        return self._lists[query], None
