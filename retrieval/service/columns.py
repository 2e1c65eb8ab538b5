"""What all pictures of a collection have under a name, and which of them a filter lets through: read once, and kept.

Of a million pictures a look at all of them takes up to some seconds. It is had by a connection to the catalog of its
own, since a long statement holds up whoever shares one, and what it gives is kept as arrays while the collection is
as it is: to sort, count or colour by it, or to show the next page, takes milliseconds then. Of what a writer changes,
only that is read anew.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from threading import Lock
from typing import Any, NamedTuple, TypeVar, cast
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from retrieval.engines.opening import open_index
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.search.columns import Different
from retrieval.search.search import Search
from retrieval.service.collections import Collection

_Made = TypeVar("_Made")

BYTES = 512 << 20
"""Memory that what is kept of all collections takes, at most, as far as it is estimated."""

_TEXT = 90
"""Bytes that a value is reckoned with."""


class Column(NamedTuple):
    """What the pictures of a collection have under a name.

    Attributes:
        different: each value once, ascending.
        codes: int32 (n,), for each picture, by ascending id, the place of its value among these; -1 where it has none.
    """

    different: Different
    codes: NDArray[np.int32]

    def times(self, at: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """How many of the pictures at some places have each value; None: of all."""
        codes = self.codes if at is None else self.codes[at]
        return np.bincount(codes[codes >= 0], minlength=len(self.different))


class Columns:
    """Those of all collections."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: OrderedDict[Hashable, tuple[Future[Any], int]] = OrderedDict()
        self._numbers: WeakKeyDictionary[Search, int] = WeakKeyDictionary()
        self._next = itertools.count()

    def column(self, collection: Collection, search: Search, name: str) -> Column:
        """What the pictures of a collection have under a name that :meth:`retrieval.index.Index.values` takes.

        Raises:
            RetrievalError: the index cannot be read.
        """

        def changed() -> tuple[int, ...]:
            with reading(collection, search) as index:
                return index.changed(name)

        def read() -> tuple[Column, int]:
            with reading(collection, search) as index:
                found = index.column(name)
            return Column(Different(name, found.values), found.codes), len(found.codes) * 4 + len(found.values) * _TEXT

        index = search.index
        state = self._once((self._number(search), "changed", name), lambda: (changed(), 0))
        return self._once((collection.name, index.created, index.encoder_hash, name, state), read)

    def ids(self, collection: Collection, search: Search, where: str | None) -> NDArray[np.int64]:
        """The ids, ascending, of the pictures that a filter lets through; of all where there is none.

        Raises:
            RetrievalError: the filter is wrong.
        """
        if where is None:
            return search.index.ids()

        def read() -> tuple[NDArray[np.int64], int]:
            with reading(collection, search) as index:
                found = index.select(where)
            return found, found.nbytes

        return self._once((self._number(search), "ids", where), read)

    def at(self, collection: Collection, search: Search, where: str | None) -> NDArray[np.int64] | None:
        """The places of these among all pictures by ascending id; None where they are all."""
        return None if where is None else np.searchsorted(search.index.ids(), self.ids(collection, search, where))

    def keep(self, search: Search, name: Hashable, make: Callable[[], tuple[_Made, int]]) -> _Made:
        """Something else that is made once of a collection as it is, and the bytes that it takes."""
        return self._once((self._number(search), name), make)

    def _number(self, search: Search) -> int:
        """What tells what is open now from what was, and what will be."""
        with self._lock:
            if search not in self._numbers:
                self._numbers[search] = next(self._next)
            return self._numbers[search]

    def _once(self, key: Hashable, make: Callable[[], tuple[_Made, int]]) -> _Made:
        """What is known, or what is made now; who asks for the same meanwhile waits for that."""
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                self._known.move_to_end(key)
            else:
                self._known[key] = mine = Future[Any](), 0
        if known is not None:
            return cast(_Made, known[0].result())
        try:
            made, size = make()
        except BaseException as error:
            with self._lock:
                self._known.pop(key, None)
            mine[0].set_exception(error)
            raise
        mine[0].set_result(made)
        with self._lock:
            if key in self._known:
                self._known[key] = mine[0], size
            total = sum(size for _, size in self._known.values())
            for other, (future, size) in [*self._known.items()]:
                if total <= BYTES and len(self._known) <= _MOST:
                    break
                if other != key and future.done():
                    del self._known[other]
                    total -= size
        return made


_MOST = 4_096
"""Things that are kept, however small."""


@contextlib.contextmanager
def reading(collection: Collection, search: Search) -> Iterator[Index]:
    """The index of a collection for what takes long: the same state by a connection of its own, as far as there is one.

    Raises:
        RetrievalError: it cannot be read.
    """
    with contextlib.ExitStack() as opened:
        try:
            index = opened.enter_context(open_index(collection.place, mapped=True))
        except RetrievalError:  # it was moved or deleted: what is open is still there
            index = search.index
        same = (index.generation, index.created) == (search.index.generation, search.index.created)
        yield index if same else search.index  # a writer was faster, and what it wrote is soon served
