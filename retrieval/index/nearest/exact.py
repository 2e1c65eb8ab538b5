"""Exact search: the k nearest of all, or all above a score.

What comes back never depends on FAISS's rounding, which differs between a single query and a batch. FAISS
only names candidates, a few more than asked for; each is then scored anew (:mod:`retrieval.index.nearest.ranking`),
and where rounding could have hidden a better one, the query is answered by scoring everything. Equal scores
stand by ascending id.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from retrieval.base import compiled
from retrieval.base.threads import in_order
from retrieval.index.nearest import cores
from retrieval.index.nearest.ranking import (
    Exclude,
    Ids,
    Pairs,
    Ranker,
    above,
    by_query,
    most,
    scores_of,
)
from retrieval.index.nearest.structure import Floats

After = tuple[Floats, Ids]
"""For each query a place in the order of its hits, a score and an id: float32 (nq,) and int64 (nq,)."""

SPARE = (2, 64)
"""Candidates beyond k that FAISS is asked for, so that rounding near the k-th place is seen.

Two are nearly always enough; the few queries for which they are not are asked again with more, and where that does not
help either (many equal vectors, say), everything is scored.
"""

_BATCH = 8
"""Queries from which FAISS is told to multiply matrices, which is up to eight times faster; for one it is three times
slower."""

_NEVER = 2**31 - 1


@contextlib.contextmanager
def matrix_products(wanted: bool) -> Iterator[None]:
    """FAISS multiplies matrices from one query on, or never; the setting is the whole process's, and given back.

    Left alone it does so from 20 queries on, also to find the lists that a query looks into. That rounds otherwise than
    for one query alone, whose answer would then depend on the batch. So where threads want both, none multiplies: who
    wants it is only slower without.
    """
    _count(wanted, 1)
    try:
        yield
    finally:
        _count(wanted, -1)


def _count(wanted: bool, more: int) -> None:
    with _LOCK:
        _INSIDE[wanted] += more
        threshold = _NEVER if _INSIDE[False] else 1 if _INSIDE[True] else _AS_IT_WAS
        faiss.cvar.distance_compute_blas_threshold = threshold


_LOCK = threading.Lock()
_INSIDE = {True: 0, False: 0}
"""How many threads want matrix products just now, and how many want none."""
_AS_IT_WAS = int(faiss.cvar.distance_compute_blas_threshold)


_MANY = 32
"""Queries from which on NumPy multiplies matrices, half as many at least on each thread."""

_BLOCK = 256, 4096
"""Queries and vectors of one such product: 4 MB."""

_KEPT = 128
"""Candidates up to which keeping them in order as they come is nothing beside the products."""

_EACH = 1 << 25, 1 << 28
"""Products of numbers that are worth a thread, query by query and where matrices are multiplied: some ten
milliseconds."""

_GROUP = 4096
"""Queries that are compared with a block of vectors at a time in looking for all above a score."""

_ROWS = 1024, 1 << 16
"""Vectors in such a block: of many queries, and of few."""

_FEW = 4096
"""Vectors so few that copying them together costs less than having FAISS select."""

_PAIRS = 1 << 16
"""Numbers that are scored anew at a time: half a megabyte as float64, which stays in the processor's cache."""

_ALL = 1 << 22
"""Scores that are held at a time when everything is scored: 16 MB."""


class Allowed:
    """Which of n vectors a search may return, in the forms that searches want. Made once for each filter.

    Attributes:
        mask: bool (n,).
        positions: int64, ascending: where the mask is true.
    """

    def __init__(self, mask: npt.NDArray[np.bool_]) -> None:
        self.mask = mask
        self.positions = np.flatnonzero(mask)
        self.bitmap = np.packbits(mask, bitorder="little")

    def __len__(self) -> int:
        return len(self.positions)

    @cached_property
    def selector(self) -> Any:
        """The same for FAISS, which only points at the bitmap."""
        return faiss.IDSelectorBitmap(self.bitmap)


def exact_search(
    queries: Floats, vectors: Floats, ids: Ids, k: int, exclude: Exclude = None, allowed: Allowed | None = None
) -> tuple[Floats, Ids]:
    """The k best of all vectors, without error.

    Args:
        queries: (nq, d), unit rows.
        vectors: (n, d), unit rows.
        ids: (n,), ascending.
        k: how many are wanted; more than n is no error.
        exclude: for each query the ids it must not get, ascending, or None.
        allowed: which of the vectors may be returned; all if None.

    Returns:
        scores (nq, k) and ids (nq, k), best first, equal scores by ascending id, padded with −inf and −1.
    """
    if allowed is not None and (len(allowed) <= _FEW or len(queries) >= _BATCH):
        # FAISS passes over vectors one by one where it has to select, and does not multiply matrices then.
        return exact_search(queries, vectors[allowed.positions], ids[allowed.positions], k, exclude)
    nq, n = len(queries), len(vectors)
    if nq == 0 or k == 0 or n == 0:
        return np.full((nq, k), -np.inf, np.float32), np.full((nq, k), -1, np.int64)
    queries, vectors = np.ascontiguousarray(queries), np.ascontiguousarray(vectors)
    ranker, there = Ranker(ids, vectors), n if allowed is None else len(allowed)
    leaving, rounding = 0 if exclude is None else most(exclude), _rounding(vectors.shape[1])
    scores = np.empty((nq, k), np.float32)
    found = np.empty((nq, k), np.int64)
    doubtful = np.arange(nq)
    for spare in SPARE:
        count = k + leaving + spare
        if not len(doubtful) or 2 * count >= there:
            break
        # All in the first round: then there is nothing to be picked out.
        asked, own = (queries, exclude) if len(doubtful) == nq else _some(queries, exclude, doubtful)
        multiplied = compiled.kernel is not None and allowed is None and len(asked) >= _MANY and count <= _KEPT
        near, rows = (
            _by_products(asked, vectors, count) if multiplied else _flat_candidates(asked, vectors, count, allowed)
        )
        best = ranker.rank(asked, rows, k, None, None, own)
        scores[doubtful], found[doubtful] = best[:2]
        # Whatever is no candidate scores at most as the worst candidate does, give or take both roundings.
        doubtful = doubtful[best[0][:, -1] <= near[:, -1] + rounding]
    if not len(doubtful):
        return scores, found
    left_out = None if exclude is None else _positions(exclude, ids)
    group = max(1, _ALL // n)
    for start in range(0, len(doubtful), group):
        some = doubtful[start : start + group]
        for query, row in zip(some, _score_all(queries[some], vectors), strict=True):
            if allowed is not None:
                row[~allowed.mask] = -np.inf
            if left_out is not None:
                row[left_out[query]] = -np.inf
            places = _best(row, k)
            scores[query], found[query] = -np.inf, -1
            scores[query, : len(places)] = row[places]
            found[query, : len(places)] = ids[places]
    return scores, found


def search_after(
    queries: Floats,
    vectors: Floats,
    ids: Ids,
    k: int,
    after: After,
    exclude: Exclude = None,
    allowed: Allowed | None = None,
) -> tuple[Floats, Ids]:
    """The k best of all vectors that come after a place in the order of scores, without error.

    It costs the same wherever the place is: every vector is scored once.

    Args:
        queries, vectors, ids, k, exclude, allowed: as for :func:`exact_search`.
        after: for each query the place: what scores less comes after it, or the same with a higher id.

    Returns:
        as :func:`exact_search`.
    """
    if allowed is not None and (len(allowed) <= _FEW or len(queries) >= _BATCH):
        return search_after(queries, vectors[allowed.positions], ids[allowed.positions], k, after, exclude)
    nq, n = len(queries), len(vectors)
    scores = np.full((nq, k), -np.inf, np.float32)
    found = np.full((nq, k), -1, np.int64)
    if nq == 0 or k == 0 or n == 0:
        return scores, found
    queries, vectors = np.ascontiguousarray(queries), np.ascontiguousarray(vectors)
    left_out = None if exclude is None else _positions(exclude, ids)
    rounding = 2 * _rounding(vectors.shape[1])  # twice, as the limits made with it are rounded too
    group = max(1, _ALL // n)

    def answer(some: slice) -> None:
        for start in range(some.start, some.stop, group):
            for query, near in enumerate(_products(queries[start : min(start + group, some.stop)], vectors), start):
                border, last = after[0][query], after[1][query]
                np.clip(near, -1, 1, out=near)  # as scores are: vectors kept as float16 may be longer than 1
                if allowed is not None:
                    near[~allowed.mask] = -np.inf
                if left_out is not None:
                    near[left_out[query]] = -np.inf
                near[near > border + rounding] = -np.inf
                surely = near[near < border - rounding]
                # k that surely come after bound what the k best score; whatever may be above that is scored anew.
                least = np.partition(surely, len(surely) - k)[len(surely) - k] if len(surely) > k else -np.inf
                rows = np.flatnonzero((near >= least - 2 * rounding) & (near > -np.inf))
                exact = np.empty(len(rows), np.float32)
                for first in range(0, len(rows), (pairs := max(1, _PAIRS // vectors.shape[1]))):
                    part = slice(first, first + pairs)
                    exact[part] = scores_of(queries[query : query + 1], vectors[rows[part]])
                later = (exact < border) | ((exact == border) & (ids[rows] > last))
                rows, exact = rows[later], exact[later]
                best = _best(exact, k)
                scores[query, : len(best)], found[query, : len(best)] = exact[best], ids[rows[best]]

    threads = min(nq, cores.threads(nq * n * vectors.shape[1], _EACH[nq >= _BATCH]))
    with contextlib.nullcontext() if nq < _BATCH else cores.one_for_products():
        cores.in_parts(answer, nq, threads)
    return scores, found


def range_search(
    queries: Floats, vectors: Floats, ids: Ids, score: float, allowed: Allowed | None = None
) -> list[tuple[Floats, Ids]]:
    """All vectors that score at least so much.

    Args:
        queries: (nq, d), unit rows.
        vectors: (n, d), unit rows.
        ids: (n,), ascending.
        score: the least that counts.
        allowed: which of the vectors may be returned; all if None.

    Returns:
        for each query scores (m,) and ids (m,), best first, equal scores by ascending id.
    """
    queries, vectors = np.ascontiguousarray(queries), np.ascontiguousarray(vectors)
    (nq, d), n = queries.shape, len(vectors)
    least, few = score - _rounding(d), nq < _BATCH
    group, step = (_BATCH, _ROWS[1]) if few else (_GROUP, _ROWS[0])

    def piece(place: tuple[int, int]) -> Pairs:
        some, block = queries[place[0] : place[0] + group], vectors[place[1] : place[1] + step]
        mask = None if allowed is None else allowed.mask[place[1] : place[1] + step]
        query, row, exact = above(some, block, score, _products(some, block), least, mask)
        return query + np.int32(place[0]), row + place[1], exact

    threads = cores.threads(nq * n * d, _EACH[not few])
    pieces = itertools.product(range(0, nq, group), range(0, n, step))
    with contextlib.nullcontext() if few else cores.one_for_products():
        pairs = [*in_order(piece, pieces, threads)]
    limits, scores, rows = by_query(pairs, nq, threads)
    found, spans = ids[rows], itertools.starmap(slice, itertools.pairwise(limits.tolist()))
    return [(scores[span], found[span]) for span in spans]


def merge(parts: Sequence[tuple[Floats, Ids]], k: int) -> tuple[Floats, Ids]:
    """The k best (nq, k) of several answers to the same queries, ordered as by :func:`exact_search`."""
    scores = np.concatenate([scores for scores, _ in parts], axis=1)
    ids = np.concatenate([ids for _, ids in parts], axis=1)
    return _ordered(scores, ids, k)


def _some(queries: Floats, exclude: Exclude, chosen: npt.NDArray[np.intp]) -> tuple[Floats, Exclude]:
    return queries[chosen], None if exclude is None else [exclude[query] for query in chosen.tolist()]


def _flat_candidates(queries: Floats, vectors: Floats, count: int, allowed: Allowed | None) -> tuple[Floats, Ids]:
    nq, (n, d) = len(queries), vectors.shape
    scores, rows = np.empty((nq, count), np.float32), np.empty((nq, count), np.int64)
    pointers = faiss.swig_ptr(queries), faiss.swig_ptr(vectors)
    search = partial(
        faiss.knn_inner_product, *pointers, d, nq, n, count, faiss.swig_ptr(scores), faiss.swig_ptr(rows),
        None if allowed is None else allowed.selector,
    )  # fmt: skip
    multiplied = contextlib.nullcontext() if nq < _BATCH else matrix_products(True)  # rounding reaches no answer here
    with cores.at_most(cores.threads(nq * n * d, _EACH[nq >= _BATCH])), multiplied:
        search()
    return scores, rows


def _by_products(queries: Floats, vectors: Floats, count: int) -> tuple[Floats, Ids]:
    """The same by NumPy's products: its matrices multiply several times as fast as those of FAISS where a processor is
    newer than FAISS's own BLAS."""
    nq, (n, d) = len(queries), vectors.shape
    scores, rows = np.full((nq, count), -np.inf, np.float32), np.full((nq, count), -1, np.int64)

    def part(some: slice) -> None:
        for start in range(some.start, some.stop, _BLOCK[0]):
            mine = slice(start, min(start + _BLOCK[0], some.stop))
            for first in range(0, n, _BLOCK[1]):
                near = queries[mine] @ vectors[first : first + _BLOCK[1]].T
                compiled.kernel.keep_best(scores[mine], rows[mine], near, len(near), first)

    threads = min(cores.threads(nq * n * d, _EACH[True]), 2 * nq // _MANY)
    with cores.one_for_products():
        cores.in_parts(part, nq, threads)
    return scores, rows


def _products(queries: Floats, vectors: Floats) -> Floats:
    """The inner products (nq, n) of some queries and vectors, both C-contiguous, each rounded somehow."""
    if len(queries) >= _BATCH:
        product: Floats = queries @ vectors.T
        return product
    out = np.empty((len(queries), len(vectors)), np.float32)
    for query, row in zip(queries, out, strict=True):  # NumPy would wake all of its threads for it
        pointers = faiss.swig_ptr(row), faiss.swig_ptr(query), faiss.swig_ptr(vectors)
        faiss.fvec_inner_products_ny(*pointers, vectors.shape[1], len(vectors))
    return out


def _rounding(d: int) -> float:
    """How far a float32 inner product of unit vectors can be from the true one, however it is summed.

    The classical bound is d·u·Σ|aᵢbᵢ| with u = 2⁻²⁴ (Higham, Accuracy and Stability of Numerical Algorithms,
    3.1); the sum is at most the product of the lengths, which the index lets differ from 1 by a thousandth.
    One more u for the rounding of the exact score itself.
    """
    return (1.01 * d + 2) * 2.0**-24


def _ordered(scores: Floats, rows: Ids, k: int) -> tuple[Floats, Ids]:
    order = np.lexsort((rows, -scores))[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)


def _score_all(queries: Floats, vectors: Floats) -> Floats:
    out = np.empty((len(queries), len(vectors)), np.float32)
    step = max(1, _PAIRS // vectors.shape[1])
    for start in range(0, len(vectors), step):
        block = vectors[start : start + step]
        for query in range(len(queries)):
            out[query, start : start + step] = scores_of(queries[query : query + 1], block)
    return out


def _best(scores: Floats, k: int) -> npt.NDArray[np.intp]:
    """Positions of the k largest of scores (n,), best first, equal ones by position, without −inf."""
    k = min(k, len(scores))
    if k < len(scores):
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        above = np.flatnonzero(scores > least)
        chosen = np.concatenate([above, np.flatnonzero(scores == least)[: k - len(above)]])
        chosen.sort()
    else:
        chosen = np.arange(len(scores))
    chosen = chosen[scores[chosen] > -math.inf]
    best: npt.NDArray[np.intp] = chosen[np.argsort(-scores[chosen], kind="stable")]
    return best


def _positions(exclude: Sequence[Sequence[int]], ids: Ids) -> list[npt.NDArray[np.intp]]:
    """Where in ids (n,) the excluded ones stand; those that are not there are not looked for."""
    out = []
    for each in exclude:
        some = np.asarray(each, np.int64)
        at = np.searchsorted(ids, some)
        inside = at < len(ids)
        inside[inside] = ids[at[inside]] == some[inside]
        out.append(at[inside])
    return out
