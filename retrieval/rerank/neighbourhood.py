"""The nearest neighbours of an index's own items, found by its own search when they are first needed."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.index import Index
from retrieval.rerank.first import numbers

SPARE = 2
"""Neighbours of each that are kept beyond k: a query that is itself in the index is taken out of all lists."""

BATCH = 4096
"""Items whose neighbours are asked for at a time."""

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]


class Neighbourhood:
    """The k nearest of an index's items, in O(n · k) memory; any number of threads may ask.

    Args:
        index: the index, at the generation that it is of now.
        k: how many neighbours an item has, itself not among them.
        where: a filter that all of them match.
    """

    def __init__(self, index: Index, k: int, where: str | None = None) -> None:
        self.k = k
        self._index = index
        self._where = where
        self._ids = index.ids()
        width = min(k + SPARE, max(len(self._ids) - 1, 0))
        # zeros, of which nothing takes memory before it is written
        self._lists = np.zeros((len(self._ids), width), np.int64)
        self._scores = np.zeros((len(self._ids), width), np.float32)
        self._known = np.zeros(len(self._ids), bool)
        self._filling = threading.Lock()

    def lists(self, ids: Ints, excluded: Sequence[int] = ()) -> tuple[Ints, Doubles]:
        """The neighbours of some items, without some others.

        Args:
            ids: int64 (m,), in the index, and not among those left out.
            excluded: ids that are nobody's neighbour.

        Returns:
            ids int64 (m, k) and scores float64 (m, k), best first, −1 and −inf behind the last.
        """
        places = np.searchsorted(self._ids, ids)
        with self._filling:
            new = places[~self._known[places]]
            for start in range(0, len(new), BATCH):
                some = new[start : start + BATCH]
                self._lists[some], self._scores[some] = self._ask(self._ids[some], ())
                self._known[some] = True
        found, scores = self._lists[places], self._scores[places].astype(np.float64)
        dropped = np.isin(found, np.asarray(excluded, np.int64))
        if dropped.any():
            order = np.argsort(dropped, axis=1, kind="stable")
            found = np.take_along_axis(np.where(dropped, -1, found), order, axis=1)
            scores = np.take_along_axis(np.where(dropped, -np.inf, scores), order, axis=1)
            short = np.flatnonzero((dropped.sum(axis=1) > SPARE) & (found.shape[1] > 0))
            if len(short):  # many copies of the query: rare, and not worth keeping
                found[short], scores[short] = self._ask(ids[short], excluded)
        padding = ((0, 0), (0, max(0, self.k - found.shape[1])))
        return (
            np.pad(found[:, : self.k], padding, constant_values=-1),
            np.pad(scores[:, : self.k], padding, constant_values=-np.inf),
        )

    def vectors(self, ids: Ints) -> Doubles:
        """Their vectors, float64 (m, d), whose inner products are the index's scores."""
        return numbers(self._index, self._index.vectors(ids))

    def _ask(self, ids: Ints, excluded: Sequence[int]) -> tuple[Ints, NDArray[np.float32]]:
        scores, found = self._index.search(
            self._index.vectors(ids),
            self._lists.shape[1],
            exclude=[(id_, *excluded) for id_ in ids.tolist()],
            where=self._where,
        )
        return found, scores
