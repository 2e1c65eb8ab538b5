"""What a collection has of each label, folder and attribute: counted once for each state of it.

Of a million pictures that takes seconds, so that it is done beside the questions, by a connection to the catalog of its
own: a long statement holds up whoever shares one.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError
from threading import Lock
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from retrieval.engines.opening import open_index
from retrieval.search.facets import facets
from retrieval.search.search import Search
from retrieval.service.asking import HIDDEN
from retrieval.service.collections import Collection

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
    """Counts what is not hidden."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "counting")
        self._lock = Lock()
        self._counting: WeakKeyDictionary[Search, Future[Counts]] = WeakKeyDictionary()
        self._last: dict[str, Counts] = {}

    def of(self, collection: Collection, search: Search) -> Counts:
        """What a collection has, or where counting that takes long, what it had before it changed.

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

    def begin(self, collection: Collection) -> None:
        """Count what nobody has asked for yet."""
        with collection.lease() as search, self._lock:
            self._counting[search] = self._pool.submit(self._count, collection)

    def close(self) -> None:
        """Count nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _count(self, collection: Collection) -> Counts:
        with open_index(collection.place, mapped=True) as index:
            ids = index.select(f"{HIDDEN} is missing") if HIDDEN in index.attribute_kinds() else None
            found = [facet.to_json() for facet in facets(index, ids)]
            counts = Counts(found, len(index) if ids is None else len(ids), index.generation)
        self._last[collection.name] = counts
        return counts
