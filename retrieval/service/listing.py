"""The pictures of an index that no question is asked of: by id or sorted, a page at a time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval.index import Index
from retrieval.search import paging
from retrieval.search.arrangement import FIRST, Arrangement, arranged
from retrieval.search.rerank.reranker import Reranked

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


def page(index: Index, where: str | None, sort: str | None, cursor: str, k: int) -> Page:
    """A page of the pictures that a filter lets through.

    Args:
        index: theirs. where: the filter. sort: as :class:`.Arrangement` has it; None by ascending id.
        cursor: of the page before, or :data:`.FIRST`. k: how many.

    Raises:
        RetrievalError: the filter, the order or the cursor is wrong.
    """
    ids = index.ids() if where is None else index.select(where)
    digest = paging.digest(index, np.empty(0, np.float32), where, sort)
    place = None if cursor == FIRST else paging.read(cursor)
    if place is not None:
        paging.require_same(place, digest)
    if sort is not None:
        how = Arrangement(sort=sort, cursor=cursor)
        how.check(index, k, _ANY, reranked=None)
        nothing = np.zeros(len(ids), np.float32)
        found = arranged(index, how, Reranked(ids, nothing, np.full(len(ids), np.nan)), k, _ANY, digest)
        return Page(found.hits.ids, len(ids), found.next)
    start = 0 if place is None else int(np.searchsorted(ids, place.id, side="right"))
    some = ids[start : start + k]
    following = None
    if start + len(some) < len(ids):
        shown = (0 if place is None else place.shown) + len(some)
        following = str(paging.Cursor(digest, 0.0, int(some[-1]), shown))
    return Page(some, len(ids), following)
