"""Candidates scored exactly and put in order: the one place that says what a score is.

A score is the float64 inner product of two rows, rounded to float32 and held within [−1, 1]. Products of float32
numbers are exact in float64, and each pair is summed by itself in one order, so that it depends on nothing but the two
rows.

Where it was compiled (:mod:`retrieval.base.compiled`), the kernel does the work. What stands here says the same
without, and is what the tests hold the kernel to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from retrieval.base import compiled
from retrieval.index.nearest import cores
from retrieval.index.nearest.structure import Floats, Positions

Ids = npt.NDArray[np.int64]
_EACH = 256
"""Queries that are worth a thread."""

_PAIRS = 1 << 16
"""Numbers that are scored at a time without the kernel: half a megabyte as float64, which stays in the cache."""


Exclude = Sequence[Sequence[int]] | None
"""For each query the ids that it must not get, ascending."""


def most(exclude: Sequence[Sequence[int]]) -> int:
    """The most ids that one query must not get."""
    return max(map(len, exclude), default=0)


class Ranker:
    """Scores what is named of some vectors exactly, and keeps the best.

    Args:
        ids: int64 (n,), ascending, of the rows.
        vectors: float32 (n, d), C-contiguous; or what makes vectors (p, d) of rows (p,), where they lie otherwise.
        row_of: int64: the row of each position that is named, −1 where it is gone; None if these are the same.
    """

    def __init__(self, ids: Ids, vectors: Floats | Callable[[Ids], Floats], row_of: Ids | None = None) -> None:
        self._ids, self._row_of = ids, row_of
        self._vectors = None if callable(vectors) else vectors
        self._gather: Callable[[Ids], Any] = (
            vectors if callable(vectors) else lambda rows: vectors.take(rows, axis=0)  # a third of what indexing takes
        )
        usable = compiled.kernel is not None and self._vectors is not None and len(ids) > 0
        self._compiled: Any = compiled.kernel.Ranker(self._vectors, ids, row_of) if usable else None

    def rank(
        self,
        queries: Floats,
        found: Positions,
        k: int,
        count: int | None = None,
        mask: npt.NDArray[np.bool_] | None = None,
        exclude: Exclude = None,
    ) -> tuple[Floats, Ids, int]:
        """The k best of what is named.

        Args:
            queries: (nq, d), unit rows, C-contiguous.
            found: (nq, m), C-contiguous: positions, each at most once for a query, about the best first.
            k: how many are wanted.
            count: how many of many are worth scoring exactly, at least k; None for all.
            mask: bool (n,), which rows may be returned; all if None.
            exclude: what each query must not get.

        Returns:
            scores (nq, k) and ids (nq, k), best first, equal scores by ascending id, padded with −inf and −1; and how
            many queries have fewer than k.
        """
        shape = len(queries), k
        if self._compiled is not None:
            scores, ids = np.empty(shape, np.float32), np.empty(shape, np.int64)
            if shape[0] < 2 * _EACH:
                return scores, ids, self._compiled.into(scores, ids, queries, found, mask, exclude)

            def part(some: slice) -> int:
                arrays = (array[some] for array in (scores, ids, queries, found))
                lacking: int = self._compiled.into(*arrays, mask, None if exclude is None else exclude[some])
                return lacking

            return scores, ids, sum(cores.in_parts(part, shape[0], cores.threads(shape[0], _EACH)))
        rows: Ids = found.astype(np.int64)
        if self._row_of is not None:
            rows = np.where(rows < 0, -1, self._row_of[rows])
        if mask is not None:
            rows[~mask[rows]] = -1  # where it is -1 already, it stays so
        if exclude is not None:
            for row, each in zip(rows, exclude, strict=True):
                if len(each):
                    left_out, ids = np.asarray(each, np.int64), self._ids[row]
                    row[left_out[np.minimum(np.searchsorted(left_out, ids), len(left_out) - 1)] == ids] = -1
        if count is not None and self._vectors is not None and rows.shape[1] > 2 * count:
            rows = _shortlist(queries, self._vectors, rows, count)
        near = self._scores(queries, rows)
        best = np.lexsort((rows, -near))[:, :k]
        near, rows = np.take_along_axis(near, best, axis=1), np.take_along_axis(rows, best, axis=1)
        missing = k - rows.shape[1]
        if missing > 0:
            near = np.pad(near, ((0, 0), (0, missing)), constant_values=-np.inf)
            rows = np.pad(rows, ((0, 0), (0, missing)), constant_values=-1)
        ids = self._ids[rows]
        ids[rows < 0] = -1
        return near, ids, int((rows[:, -1:] < 0).sum())

    def _scores(self, queries: Floats, rows: Ids) -> Floats:
        """The score of each row (nq, m), −inf where there is none."""
        out = np.full(rows.shape, -np.inf, np.float32)
        if rows.min(initial=0) >= 0:
            step = max(1, _PAIRS // (rows.shape[1] * queries.shape[1]))
            for start in range(0, len(rows), step):
                some = slice(start, start + step)
                out[some] = scores_of(queries[some], self._gather(rows[some].ravel())).reshape(-1, rows.shape[1])
            return out
        query, place = np.nonzero(rows >= 0)
        step = max(1, _PAIRS // queries.shape[1])
        for start in range(0, len(query), step):
            pairs = query[start : start + step], place[start : start + step]
            out[pairs] = scores_of(queries[pairs[0]], self._gather(rows[pairs]))
        return out


def scores_of(queries: Floats, vectors: Floats) -> Floats:
    """The scores of some pairs.

    Args:
        queries: (nq, d), C-contiguous.
        vectors: (nq · m, d), C-contiguous: m for each query, one after the other.

    Returns:
        (nq · m,).
    """
    scores: Floats = np.empty(len(vectors), np.float32)
    if not len(vectors):
        return scores
    if compiled.kernel is not None:
        compiled.kernel.scores_into(scores, queries, vectors, queries.shape[1])
        return scores
    # NumPy turns both into float64 before it multiplies.
    each = vectors.reshape(len(queries), -1, queries.shape[1])
    scores = np.vecdot(queries[:, None], each, dtype=np.float64).astype(np.float32).ravel()
    np.minimum(scores, 1, out=scores)  # twice as fast as clip for a few
    np.maximum(scores, -1, out=scores)
    return scores


Pairs = tuple[npt.NDArray[np.int32], Ids, Floats]
"""Pairs of queries and vectors: the query of each, the row of the vector, and the score, (m,) each."""


def above(
    queries: Floats,
    vectors: Floats,
    score: float,
    near: Floats,
    least: float,
    mask: npt.NDArray[np.bool_] | None = None,
) -> Pairs:
    """The pairs that score at least so much, in the order of the queries and then of the vectors.

    Args:
        queries: (nq, d). vectors: (n, d). Both C-contiguous.
        score: the least that counts.
        near: (nq, n), C-contiguous: about what they score. least: of that, what a pair needs to be looked at.
        mask: bool (n,), the vectors that count; all if None.
    """
    if compiled.kernel is not None:
        found = compiled.kernel.above(queries, vectors, near, mask, queries.shape[1], least, score)
        return np.frombuffer(found[0], np.int32), np.frombuffer(found[1], np.int64), np.frombuffer(found[2], np.float32)
    query, row = np.nonzero(near >= least if mask is None else (near >= least) & mask)
    exact = np.empty(len(query), np.float32)
    for first in range(0, len(query), (pairs := max(1, _PAIRS // vectors.shape[1]))):
        some = slice(first, first + pairs)
        exact[some] = scores_of(queries[query[some]], vectors[row[some]])
    kept = exact >= score
    return query[kept].astype(np.int32), row[kept], exact[kept]


def by_query(pairs: Sequence[Pairs], nq: int, threads: int) -> tuple[Ids, Floats, Ids]:
    """Pairs in the order of the queries, each query's best first, equal scores by ascending row.

    Args:
        pairs: in any order. nq: how many queries there are. threads: to do it on.

    Returns:
        limits int64 (nq + 1,), scores (m,) and rows (m,): query i has those from ``limits[i]`` up to ``limits[i + 1]``.
    """
    query = np.concatenate([np.empty(0, np.int32), *(one for one, _, _ in pairs)])
    row = np.concatenate([np.empty(0, np.int64), *(one for _, one, _ in pairs)])
    score = np.concatenate([np.empty(0, np.float32), *(one for _, _, one in pairs)])
    limits = np.zeros(nq + 1, np.int64)
    np.cumsum(np.bincount(query, minlength=nq), out=limits[1:])
    if compiled.kernel is None:
        order = np.lexsort((row, -score, query))
        return limits, score[order], row[order]
    scores, rows = np.empty_like(score), np.empty_like(row)

    def part(some: slice) -> None:
        compiled.kernel.gather_into(scores, rows, limits, query, score, row, some.start, some.stop)

    cores.in_parts(part, nq, threads)
    return limits, scores, rows


def _shortlist(queries: Floats, vectors: Floats, rows: Ids, count: int) -> Ids:
    """Of rows (nq, m) about the `count` best of each query, by FAISS's float32 scores; −1 where there is none."""
    near = np.empty(rows.shape, np.float32)
    faiss.fvec_inner_products_by_idx(
        faiss.swig_ptr(near), faiss.swig_ptr(queries), faiss.swig_ptr(vectors), faiss.swig_ptr(rows),
        queries.shape[1], len(rows), rows.shape[1],
    )  # fmt: skip
    best = np.argpartition(-near, count - 1, axis=1)[:, :count]
    return np.take_along_axis(rows, best, axis=1)
