"""What a collection has of each label, folder and attribute, all of it or what a filter lets through."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError
from threading import Lock
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from retrieval.search.facets import counted_names, facet_of
from retrieval.search.search import Search
from retrieval.service.asking import visible
from retrieval.service.collections import Collection
from retrieval.service.columns import Columns

PATIENCE = 0.3
"""Seconds that a count is waited for where there is one of the state before."""


class Counts(NamedTuple):
    """What there is of each kind.

    Attributes:
        facets: as JSON has them. total: pictures. generation: of the index that they are of.
    """

    facets: list[dict[str, Any]]
    total: int
    generation: int


class Counter:
    """Counts.

    Args:
        columns: of what.
    """

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._pool = ThreadPoolExecutor(1, "counting")
        self._lock = Lock()
        self._counting: WeakKeyDictionary[Search, Future[Counts]] = WeakKeyDictionary()
        self._last: dict[str, Counts] = {}

    def of(self, collection: Collection, search: Search) -> Counts:
        """What a collection has that is not hidden, or where counting that takes long, what it had before it changed.

        Raises:
            RetrievalError: its index cannot be read.
        """
        with self._lock:
            if search not in self._counting:
                self._counting[search] = self._pool.submit(self._count, collection)
            counting, last = self._counting[search], self._last.get(collection.name)
        try:
            return counting.result(None if last is None else PATIENCE)
        except TimeoutError:
            assert last is not None
            return last

    def among(self, collection: Collection, search: Search, where: str | None) -> Counts:
        """What those have that a filter lets through.

        Raises:
            RetrievalError: the filter is wrong, or the index cannot be read.
        """
        at = self._columns.at(collection, search, where)
        total = len(search.index) if at is None else len(at)
        found = []
        for name in counted_names(search.index):
            column = self._columns.column(collection, search, name)
            found.append(facet_of(name, column.different, column.times(at), total).to_json())
        return Counts(found, total, search.index.generation)

    def begin(self, collection: Collection) -> None:
        """Count what nobody has asked for yet."""
        with collection.lease() as search, self._lock:
            self._counting[search] = self._pool.submit(self._count, collection)

    def close(self) -> None:
        """Count nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _count(self, collection: Collection) -> Counts:
        with collection.lease() as search:
            where = visible(search, None, hidden=False)
            counts = self.among(collection, search, where)
        self._last[collection.name] = counts
        return counts
