"""The pictures of an index that no question is asked of: by id or sorted, a page at a time."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from retrieval.index import Index
from retrieval.index.records import Value
from retrieval.search import paging
from retrieval.search.arrangement import FIRST, Arrangement, after, descends, ordered
from retrieval.search.rerank.reranker import Reranked

_ANY = -2.0
"""Below every score: all are matches."""


MOST = 2
"""Orders of an index that are kept: of a million pictures one takes seconds to find, and 100 MB."""


class Page(NamedTuple):
    """Some pictures, in their order.

    Attributes:
        ids: int64 (n,). total: how many there are on all pages. next: the cursor of the next page, if there is one.
    """

    ids: NDArray[np.int64]
    total: int
    next: str | None


class Orders:
    """Those that pages were asked in last."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Index, OrderedDict[tuple[str | None, str], _Order]] = WeakKeyDictionary()
        self._lock = Lock()

    def of(self, index: Index, where: str | None, sort: str) -> _Order:
        """The pictures of an index that a filter lets through, and what each is sorted by."""
        with self._lock:  # who asks for the same meanwhile waits for it
            known = self._known.setdefault(index, OrderedDict())
            if (where, sort) not in known:
                ids = _through(index, where)
                order, values = ordered(index, sort, _unranked(ids))
                known[where, sort] = _Order(ids[order], values)
                if len(known) > MOST:
                    known.popitem(last=False)
            known.move_to_end((where, sort))
            return known[where, sort]


class _Order(NamedTuple):
    ids: NDArray[np.int64]
    values: list[Value | None]


def page(index: Index, where: str | None, sort: str | None, cursor: str, k: int, orders: Orders) -> Page:
    """A page of the pictures that a filter lets through.

    Args:
        index: theirs. where: the filter. sort: as :class:`.Arrangement` has it; None by ascending id.
        cursor: of the page before, or :data:`.FIRST`. k: how many. orders: that were found before.

    Raises:
        RetrievalError: the filter, the order or the cursor is wrong.
    """
    digest = paging.digest((*paging.index_asked(index), where, sort), b"")
    place = None if cursor == FIRST else paging.read(cursor)
    if place is not None:
        paging.require_same(place, digest)
    if sort is not None:
        how = Arrangement(sort=sort, cursor=cursor)
        how.check(index, k, _ANY, reranked=None)
        ids, values = orders.of(index, where, sort)
        start = 0 if place is None else _behind(place, ids, values, descends(index, sort))
        end = min(start + k, len(ids))
        following = None
        if start < end < len(ids):
            shown = (0 if place is None else place.shown) + end - start
            following = str(paging.Cursor(digest, 0.0, int(ids[end - 1]), shown, values[end - 1]))
        return Page(ids[start:end], len(ids), following)
    ids = _through(index, where)
    start = 0 if place is None else int(np.searchsorted(ids, place.id, side="right"))
    some = ids[start : start + k]
    following = None
    if start + len(some) < len(ids):
        shown = (0 if place is None else place.shown) + len(some)
        following = str(paging.Cursor(digest, 0.0, int(some[-1]), shown))
    return Page(some, len(ids), following)


def _through(index: Index, where: str | None) -> NDArray[np.int64]:
    return index.ids() if where is None else index.select(where)


def _behind(place: paging.Cursor, ids: NDArray[np.int64], values: list[Value | None], descends: bool) -> int:
    """Where the page after a place begins."""
    at = int(np.argmax(ids == place.id)) if len(ids) else 0
    if at < len(ids) and ids[at] == place.id and values[at] == place.value:
        return at + 1
    return after(place, _unranked(ids), values, descends)  # it has gone, or changed: what comes after where it was


def _unranked(ids: NDArray[np.int64]) -> Reranked:
    return Reranked(ids, np.zeros(len(ids), np.float32), np.full(len(ids), np.nan))
