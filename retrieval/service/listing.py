"""The pictures of an index that no question is asked of: by id or sorted, a page at a time."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval.index.records import Value, order_of
from retrieval.search import paging
from retrieval.search.arrangement import FIRST, Arrangement, sorting
from retrieval.search.search import Search
from retrieval.service.collections import Collection
from retrieval.service.columns import Columns

_ANY = -2.0
"""Below every score: all are matches."""


class Page(NamedTuple):
    """Some pictures, in their order.

    Attributes:
        ids: int64 (n,). total: how many there are on all pages. next: the cursor of the next page, if there is one.
    """

    ids: NDArray[np.int64]
    total: int
    next: str | None


class Order(NamedTuple):
    """All pictures that a filter lets through, sorted; equal ones by id, and those without a value last.

    Attributes:
        ids: int64 (n,). codes: int32 (n,), the place of the value of each among `values`; -1 where there is none.
        values: each once, ascending. descends: whether the greatest come first.
    """

    ids: NDArray[np.int64]
    codes: NDArray[np.int32]
    values: Sequence[Value]
    descends: bool

    @classmethod
    def of(cls, ids: NDArray[np.int64], codes: NDArray[np.int32], values: Sequence[Value], *, descends: bool) -> Order:
        """Sort pictures, ids ascending, by the places of their values."""
        last = len(values)
        keys = np.where(codes < 0, last, last - 1 - codes if descends else codes)
        order = np.argsort(keys, kind="stable")
        return cls(ids[order], codes[order], values, descends)

    def value(self, place: int) -> Value | None:
        """What the picture at a place is sorted by."""
        code = int(self.codes[place])
        return None if code < 0 else self.values[code]

    def behind(self, cursor: paging.Cursor) -> int:
        """Where the page after a cursor begins: what comes after where its picture was, also if it has gone."""
        end = int(np.count_nonzero(self.codes >= 0))
        first, last = end, len(self.ids)
        if cursor.value is not None:
            code = bisect.bisect_left(self.values, order_of(cursor.value), key=order_of)
            there = code < len(self.values) and self.values[code] == cursor.value
            if self.descends:
                ascending, bounds = -self.codes[:end], (-code, -code) if there else (1 - code, -code)
            else:
                ascending, bounds = self.codes[:end], (code, code) if there else (code, code - 1)
            first = int(np.searchsorted(ascending, bounds[0], side="left"))
            last = int(np.searchsorted(ascending, bounds[1], side="right")) if there else first
        return first + int(np.searchsorted(self.ids[first:last], cursor.id, side="right"))


def page(
    columns: Columns, collection: Collection, search: Search, where: str | None, sort: str | None, cursor: str, k: int
) -> Page:
    """A page of the pictures that a filter lets through.

    Args:
        columns: of all collections. where: the filter.
        sort: as :class:`.Arrangement` has it; None by ascending id.
        cursor: of the page before, or :data:`.FIRST`. k: how many.

    Raises:
        RetrievalError: the filter, the order or the cursor is wrong.
    """
    index = search.index
    digest = paging.digest((*paging.index_asked(index), where, sort), b"")
    place = None if cursor == FIRST else paging.read(cursor)
    if place is not None:
        paging.require_same(place, digest)
    if sort is not None:
        Arrangement(sort=sort, cursor=cursor).check(index, k, _ANY, reranked=None)
    name, descends = (None, False) if sort is None else sorting(index, sort)
    if name is None:  # nothing is asked, so that all score alike
        ids = columns.ids(collection, search, where)
        order = Order(ids, np.full(len(ids), -1, np.int32), (), descends)
    else:
        order = columns.keep(
            search, ("order", where, sort), lambda: _sorted(columns, collection, search, where, name, descends)
        )
    start = 0 if place is None else order.behind(place)
    end = min(start + k, len(order.ids))
    following = None
    if start < end < len(order.ids):
        shown = (0 if place is None else place.shown) + end - start
        following = str(paging.Cursor(digest, 0.0, int(order.ids[end - 1]), shown, order.value(end - 1)))
    return Page(order.ids[start:end], len(order.ids), following)


def _sorted(
    columns: Columns, collection: Collection, search: Search, where: str | None, name: str, descends: bool
) -> tuple[Order, int]:
    """An order by a name, and its bytes."""
    ids = columns.ids(collection, search, where)
    at = columns.at(collection, search, where)
    column = columns.column(collection, search, name)
    codes = column.codes if at is None else column.codes[at]
    different = column.different
    values: Sequence[Value] = different.values
    if different.are_dates(column.times(at) > 0):
        moments = np.unique(different.moments[different.dated])
        ranks = np.where(different.dated, np.searchsorted(moments, different.moments), -1).astype(np.int32)
        codes, values = np.append(ranks, np.int32(-1))[codes], moments.tolist()
    order = Order.of(ids, codes, values, descends=descends)
    return order, order.ids.nbytes + order.codes.nbytes
