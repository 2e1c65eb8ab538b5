"""Who is near whom: the neighbours of many pictures, some asked for at a time, with a bar."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from retrieval.base.progress import bar
from retrieval.index.index import PADDED

if TYPE_CHECKING:
    from retrieval.index import Index
    from retrieval.index.approximate import Approximate

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

_QUERIES = 1024  # asked at a time, so that the bar moves


MANY = 100_000
"""Pictures of an index above which the neighbours of all are looked for by a structure, one made for that where the
index has none: exactly it takes the square of their number."""

_PROBES = 32
"""Lists of that structure that are looked into: near-duplicates lie in the first few."""


def neighbours_of(index: Index, k: int, asked: Ints | None = None, *, exact: bool = False) -> tuple[Ints, Floats]:
    """The k nearest of every picture of an index, itself not among them, by ascending id.

    Args:
        index: searched as it is: with an approximate structure, a few neighbours are missed.
        k: how many.
        asked: int64 (m,), the places among all ids of the pictures that ask; None: all n.
        exact: make no structure for it, however many ask (:data:`MANY`).

    Returns:
        ids int64 (m, k), padded with −1, and scores float32 (m, k), padded with −inf.
    """
    ids, rows = index.all_vectors()
    if asked is not None:
        ids, rows = ids[asked], rows[asked]
    elif len(ids) > MANY and not exact and index.structure is None and index.storage != "binary":
        by_lists = _by_lists(ids, rows, k)
        return _in_blocks(lambda some, exclude: by_lists.search(some, k, exclude), rows, k, ids)
    k = min(k, len(ids) + PADDED)
    return _in_blocks(lambda some, exclude: index.search(some, k, exclude=exclude), rows, k, ids)


def _by_lists(ids: Ints, rows: Floats, k: int) -> Approximate:
    """A search of some vectors by lists."""
    from retrieval.index.approximate import Approximate
    from retrieval.index.nearest import kinds
    from retrieval.index.rows import Rows

    lists = 2 ** round(math.log2(4 * math.sqrt(len(ids))))
    structure = kinds.build(f"IVF{lists},SQ8", rows)
    effort = {"nprobe": min(_PROBES, lists), "candidates": 2}
    return Approximate(structure, effort, ids, Rows([ids], [rows], rows.shape[1]), k)


def exact_neighbours(
    queries: Floats, gallery: Floats, k: int, *, ids: Ints | None = None, own: Ints | None = None
) -> tuple[Ints, Floats]:
    """The k nearest of each query among all of a gallery.

    Args:
        queries: (nq, d), unit rows. gallery: (n, d), likewise.
        k: how many.
        ids: int64 (n,), ascending, what to call the gallery's rows; 0 to n − 1 by default.
        own: int64 (nq,), for each query the id that it must not get; None: it may get all.

    Returns:
        ids int64 (nq, k), padded with −1, and scores float32 (nq, k), padded with −inf.
    """
    from retrieval.index.nearest import exact_search

    k = min(k, len(gallery) + PADDED)
    names = np.arange(len(gallery)) if ids is None else ids
    return _in_blocks(lambda some, exclude: exact_search(some, gallery, names, k, exclude), queries, k, own)


def _in_blocks(
    search: Callable[[npt.NDArray[Any], Any], tuple[Floats, Ints]], queries: npt.NDArray[Any], k: int, own: Ints | None
) -> tuple[Ints, Floats]:
    neighbours, scores = np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), -np.inf, np.float32)
    with bar(len(queries), "Neighbours", "pictures") as shown:
        for start in range(0, len(queries), _QUERIES):
            block = slice(start, start + _QUERIES)
            scores[block], neighbours[block] = search(queries[block], None if own is None else own[block, None])
            shown.update(len(neighbours[block]))
    return neighbours, scores
