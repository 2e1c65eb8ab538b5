"""Exact search: the k nearest of all, or all above a score.

What comes back never depends on FAISS's rounding, which differs between a single query and a batch. FAISS
only names candidates, a few more than asked for; each is then scored anew by one routine (:func:`_scores`),
and where rounding could have hidden a better one, the query is answered by scoring everything. Equal scores
stand by ascending id.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Excluded = Sequence[Ids] | None
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
    queries: Floats, vectors: Floats, ids: Ids, k: int, exclude: Excluded = None, allowed: Allowed | None = None
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
    count = k + SPARE[0]
    if nq == 1 and k > 0 and 2 * count < n and exclude is None and allowed is None:
        near, rows = _flat_candidates(queries, vectors, count, None)
        answer = rank_one(queries, rows[0], vectors, k)
        if answer is not None and answer[0][0, -1] > near[0, -1] + _rounding(vectors.shape[1]):
            return answer[0], ids[answer[1]]
    scores = np.full((nq, k), -np.inf, np.float32)
    found = np.full((nq, k), -1, np.int64)
    if nq == 0 or k == 0 or n == 0:
        return scores, found
    left_out = None if exclude is None else _positions(exclude, ids)
    most = 0 if left_out is None else max(map(len, left_out))
    doubtful = np.arange(nq)
    for spare in SPARE:
        count = k + most + spare
        if not len(doubtful) or 2 * count >= (n if allowed is None else len(allowed)):
            break
        near, rows = _flat_candidates(queries[doubtful], vectors, count, allowed)
        again = _rescore(queries[doubtful], lambda chosen: vectors.take(chosen, axis=0), rows)
        if left_out is not None:
            for place, query in enumerate(doubtful):
                again[place, np.isin(rows[place], left_out[query])] = -np.inf
        order = np.lexsort((rows, -again))[:, :k]
        best = np.take_along_axis(again, order, axis=1)
        scores[doubtful], found[doubtful] = best, ids[np.take_along_axis(rows, order, axis=1)]
        # Whatever is no candidate scores at most as the worst candidate does, give or take both roundings.
        doubtful = doubtful[best[:, -1] <= near[:, -1] + _rounding(vectors.shape[1])]
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
    exclude: Excluded = None,
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
    left_out = None if exclude is None else _positions(exclude, ids)
    rounding = 2 * _rounding(vectors.shape[1])  # twice, as the limits made with it are rounded too
    group = max(1, _ALL // n)
    for start in range(0, nq, group):
        for query, near in enumerate(queries[start : start + group] @ vectors.T, start):
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
                some = slice(first, first + pairs)
                exact[some] = _scores(queries[query : query + 1], vectors[rows[some]])
            later = (exact < border) | ((exact == border) & (ids[rows] > last))
            rows, exact = rows[later], exact[later]
            best = _best(exact, k)
            scores[query, : len(best)], found[query, : len(best)] = exact[best], ids[rows[best]]
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
        for each query scores (m,) and ids (m,), by ascending id.
    """
    least = score - _rounding(vectors.shape[1])
    parts: list[list[tuple[Floats, Ids]]] = [[] for _ in queries]
    step = max(1, _ALL // max(1, len(queries)))
    for start in range(0, len(vectors), step):
        block = vectors[start : start + step]
        near = queries @ block.T >= least
        if allowed is not None:
            near &= allowed.mask[start : start + step]
        query, place = np.nonzero(near)
        exact = np.empty(len(query), np.float32)
        for first in range(0, len(query), (pairs := max(1, _PAIRS // vectors.shape[1]))):
            some = slice(first, first + pairs)
            exact[some] = _scores(queries[query[some]], block[place[some]])
        kept = exact >= score
        query, place, exact = query[kept], place[kept], exact[kept]
        ends = np.searchsorted(query, np.arange(len(queries) + 1))
        for row in range(len(queries)):
            mine = slice(ends[row], ends[row + 1])
            parts[row].append((exact[mine], ids[start : start + step][place[mine]]))
    return [
        (np.concatenate([scores for scores, _ in row] or [np.empty(0, np.float32)]),
         np.concatenate([found for _, found in row] or [np.empty(0, np.int64)]))
        for row in parts
    ]  # fmt: skip


def merge(parts: Sequence[tuple[Floats, Ids]], k: int) -> tuple[Floats, Ids]:
    """The k best (nq, k) of several answers to the same queries, ordered as by :func:`exact_search`."""
    scores = np.concatenate([scores for scores, _ in parts], axis=1)
    ids = np.concatenate([ids for _, ids in parts], axis=1)
    return _ordered(scores, ids, k)


def rank(queries: Floats, rows: Ids, vectors_of: Callable[[Ids], Floats], k: int) -> tuple[Floats, Ids]:
    """Score candidates exactly and keep the k best.

    Args:
        queries: (nq, d), unit rows.
        rows: int64 (nq, m), m at least k: row numbers, −1 where there is none, each at most once for a query.
        vectors_of: function from row numbers (p,) to their vectors (p, d).
        k: how many are wanted.

    Returns:
        scores and row numbers (nq, k), best first, equal scores by ascending row, padded with −inf and −1.
    """
    if rows.min() >= 0:
        return _ordered(_rescore(queries, vectors_of, rows), rows, k)
    again = np.full(rows.shape, -np.inf, np.float32)
    query, place = np.nonzero(rows >= 0)
    step = max(1, _PAIRS // queries.shape[1])
    for start in range(0, len(query), step):
        pairs = slice(start, start + step)
        again[query[pairs], place[pairs]] = _scores(queries[query[pairs]], vectors_of(rows[query[pairs], place[pairs]]))
    return _ordered(again, rows, k)


def rank_one(query: Floats, rows: Ids, vectors: Floats, k: int) -> tuple[Floats, Ids] | None:
    """:func:`rank` for one query (1, d), as lean as it can be: beside a graph's ten microseconds everything counts.

    Args:
        query: a unit row.
        rows: int64 (m,), m at least k.
        vectors: (n, d), all that rows are numbers of.
        k: how many are wanted, at least 1.

    Returns:
        the same as :func:`rank`, or None where that has to look closer.
    """
    if rows[-1] < 0:
        return None
    exact = np.vecdot(query, vectors.take(rows, axis=0), dtype=np.float64).astype(np.float32)
    order = np.lexsort((rows, -exact))[:k]
    scores = exact[order]
    if scores[0] > 1 or scores[-1] < -1:  # rounding; held within bounds they may be equal
        return None
    return scores[None], rows[order][None]


def shortlist(queries: Floats, vectors: Floats, rows: Ids, count: int) -> Ids:
    """The about `count` best of many candidates, by FAISS's float32 scores.

    Args:
        queries: (nq, d), unit rows, C-contiguous.
        vectors: (n, d), unit rows, C-contiguous.
        rows: int64 (nq, m), C-contiguous: row numbers, −1 where there is none.
        count: how many are wanted of each.

    Returns:
        int64 (nq, count).
    """
    near = np.empty(rows.shape, np.float32)
    faiss.fvec_inner_products_by_idx(
        faiss.swig_ptr(near), faiss.swig_ptr(queries), faiss.swig_ptr(vectors), faiss.swig_ptr(rows),
        queries.shape[1], len(rows), rows.shape[1],
    )  # fmt: skip
    if len(rows) == 1:  # beside a structure's tens of microseconds the general way is felt
        few: Ids = rows.take((-near[0]).argpartition(count - 1)[:count], axis=1)
        return few
    best = np.argpartition(-near, count - 1, axis=1)[:, :count]
    return np.take_along_axis(rows, best, axis=1)


def _flat_candidates(queries: Floats, vectors: Floats, count: int, allowed: Allowed | None) -> tuple[Floats, Ids]:
    nq, (n, d) = len(queries), vectors.shape
    scores, rows = np.empty((nq, count), np.float32), np.empty((nq, count), np.int64)
    pointers = [faiss.swig_ptr(np.ascontiguousarray(array)) for array in (queries, vectors)]
    search = partial(
        faiss.knn_inner_product, *pointers, d, nq, n, count, faiss.swig_ptr(scores), faiss.swig_ptr(rows),
        None if allowed is None else allowed.selector,
    )  # fmt: skip
    with contextlib.nullcontext() if nq < _BATCH else matrix_products(True):  # rounding reaches no answer here
        search()
    return scores, rows


def _rounding(d: int) -> float:
    """How far a float32 inner product of unit vectors can be from the true one, however it is summed.

    The classical bound is d·u·Σ|aᵢbᵢ| with u = 2⁻²⁴ (Higham, Accuracy and Stability of Numerical Algorithms,
    3.1); the sum is at most the product of the lengths, which the index lets differ from 1 by a thousandth.
    One more u for the rounding of the exact score itself.
    """
    return (1.01 * d + 2) * 2.0**-24


def _scores(queries: Floats, vectors: Floats) -> Floats:
    """The score of each pair of rows (p, d): float64 inner product, rounded to float32, within [−1, 1].

    Products of float32 numbers are exact in float64, and each pair is summed by itself in one order, so the
    result depends on nothing but the two rows.
    """
    # NumPy turns both into float64 before it multiplies.
    scores: Floats = np.vecdot(queries, vectors, dtype=np.float64).astype(np.float32)
    np.minimum(scores, 1, out=scores)  # twice as fast as clip for a few
    np.maximum(scores, -1, out=scores)
    return scores


def _rescore(queries: Floats, vectors_of: Callable[[Ids], Floats], rows: Ids) -> Floats:
    out = np.empty(rows.shape, np.float32)
    step = max(1, _PAIRS // (rows.shape[1] * queries.shape[1]))
    for start in range(0, len(rows), step):
        some = slice(start, start + step)
        out[some] = _scores(queries[some, None, :], vectors_of(rows[some].ravel()).reshape(*rows[some].shape, -1))
    return out


def _ordered(scores: Floats, rows: Ids, k: int) -> tuple[Floats, Ids]:
    order = np.lexsort((rows, -scores))[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)


def _score_all(queries: Floats, vectors: Floats) -> Floats:
    out = np.empty((len(queries), len(vectors)), np.float32)
    step = max(1, _PAIRS // vectors.shape[1])
    for start in range(0, len(vectors), step):
        block = vectors[start : start + step].astype(np.float64)
        for query in range(len(queries)):
            product = np.vecdot(queries[query].astype(np.float64), block)
            out[query, start : start + step] = np.clip(product.astype(np.float32), -1, 1)
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


def _positions(exclude: Sequence[Ids], ids: Ids) -> list[npt.NDArray[np.intp]]:
    """Where in ids (n,) the excluded ones stand; those that are not there are not looked for."""
    out = []
    for some in exclude:
        at = np.searchsorted(ids, some)
        inside = at < len(ids)
        inside[inside] = ids[at[inside]] == some[inside]
        out.append(at[inside])
    return out
