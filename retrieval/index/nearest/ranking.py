"""Candidates scored exactly and put in order: the one place that says what a score is.

A score is the float64 inner product of two rows, rounded to float32 and held within [−1, 1]. Products of float32
numbers are exact in float64, and each pair is summed by itself in one order, so that it depends on nothing but the two
rows.

Where it was compiled (:mod:`retrieval.base.compiled`), the kernel does the work. What stands here says the same
without, and is what the tests hold the kernel to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, chain
from typing import Any, overload

import faiss
import numpy as np
import numpy.typing as npt

from retrieval.base import compiled
from retrieval.index.nearest.structure import Floats, Positions

Ids = npt.NDArray[np.int64]
_EACH = 256
"""Queries that are worth a thread."""

_PAIRS = 1 << 16
"""Numbers that are scored at a time without the kernel: half a megabyte as float64, which stays in the cache."""


class Excluded(Sequence[Ids]):
    """For each query the ids that it must not get.

    Args:
        each: of each query, ascending.

    Attributes:
        flat: int64, of all queries one after the other.
        limits: int64 (nq + 1,): query i has those from ``limits[i]`` up to ``limits[i + 1]``.
        most: the most that one query has.
    """

    def __init__(self, each: Sequence[Sequence[int] | Ids]) -> None:
        counts = list(map(len, each))
        self.flat: Ids = np.fromiter(chain.from_iterable(each), np.int64, sum(counts))
        self.limits: Ids = np.array([0, *accumulate(counts)])
        self.most = max(counts, default=0)

    @classmethod
    def of(cls, each: Exclude) -> Excluded | None:
        """It, of whatever says the same; None for nothing."""
        return each if each is None or isinstance(each, cls) else cls(each)

    def __len__(self) -> int:
        return len(self.limits) - 1

    @overload
    def __getitem__(self, query: int) -> Ids: ...

    @overload
    def __getitem__(self, query: slice) -> Sequence[Ids]: ...

    def __getitem__(self, query: int | slice) -> Ids | Sequence[Ids]:
        if isinstance(query, slice):
            return [self[one] for one in range(*query.indices(len(self)))]
        if not 0 <= query < len(self):
            raise IndexError(query)
        return self.flat[self.limits[query] : self.limits[query + 1]]


Exclude = Excluded | Sequence[Sequence[int]] | Sequence[Ids] | None
"""The same however it is given."""


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
        exclude: Excluded | None = None,
    ) -> tuple[Floats, Ids, int]:
        """The k best of what is named.

        Args:
            queries: (nq, d), unit rows, C-contiguous.
            found: (nq, m), C-contiguous: positions, each at most once for a query.
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
            flat, limits = (None, None) if exclude is None else (exclude.flat, exclude.limits)
            threads = 1 if shape[0] < 2 * _EACH else min(faiss.omp_get_max_threads(), shape[0] // _EACH)
            if threads == 1:
                return scores, ids, self._compiled.into(scores, ids, queries, found, mask, flat, limits)

            def part(some: slice) -> int:
                own = None if limits is None else limits[some.start : some.stop + 1]
                arrays = (array[some] for array in (scores, ids, queries, found))
                lacking: int = self._compiled.into(*arrays, mask, flat, own)
                return lacking

            ends = [shape[0] * end // threads for end in range(threads + 1)]
            with ThreadPoolExecutor(
                threads
            ) as pool:  # for this call alone: a process that forks takes no threads along
                return scores, ids, sum(pool.map(part, map(slice, ends, ends[1:])))
        rows: Ids = found.astype(np.int64)
        if self._row_of is not None:
            rows = np.where(rows < 0, -1, self._row_of[rows])
        if mask is not None:
            rows[~mask[rows]] = -1  # where it is -1 already, it stays so
        if exclude is not None:
            for row, left_out in zip(rows, exclude, strict=True):
                if len(left_out):
                    ids = self._ids[row]
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


def _shortlist(queries: Floats, vectors: Floats, rows: Ids, count: int) -> Ids:
    """Of rows (nq, m) about the `count` best of each query, by FAISS's float32 scores; −1 where there is none."""
    near = np.empty(rows.shape, np.float32)
    faiss.fvec_inner_products_by_idx(
        faiss.swig_ptr(near), faiss.swig_ptr(queries), faiss.swig_ptr(vectors), faiss.swig_ptr(rows),
        queries.shape[1], len(rows), rows.shape[1],
    )  # fmt: skip
    best = np.argpartition(-near, count - 1, axis=1)[:, :count]
    return np.take_along_axis(rows, best, axis=1)
