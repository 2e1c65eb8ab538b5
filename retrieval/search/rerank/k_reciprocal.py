"""k-reciprocal encoding: two pictures are alike if they have the same neighbours, and are theirs (Zhong, Zheng, Cao and
Li 2017, "Re-ranking Person Re-identification with k-Reciprocal Encoding").

With N(x, k) the k nearest neighbours of x and x itself:

- R(x, k) = {y ∈ N(x, k): x ∈ N(y, k)}, equation 2;
- R*(x, k) = R(x, k) ∪ every R(y, k/2), y ∈ R(x, k), of which at least two thirds are in R(x, k), equation 3; k/2 is
  rounded up;
- V(x) is exp(−d(x, y)) for y ∈ R*(x, k₁) and 0 elsewhere, equation 7, with d = 1 − inner product; scaled to sum 1, as
  in the authors' program;
- local query expansion takes for V(x) the mean over N(x, k₂), equation 11, which there is x and k₂ − 1 others;
- the Jaccard distance of two is 1 − Σ min / Σ max of their V, equation 10;
- the final distance is (1 − λ) · Jaccard distance + λ · d, equation 12.

The authors' program ranks all queries in one universe, so that an answer depends on who else asks, and divides d by its
maximum. Here the universe is the gallery with the one query in it, as in the paper, and d stays what it is.

Everything is sparse: memory is that of the neighbours' lists, O(n·k), and of the product of two matrices with k entries
a row; nothing has n² numbers.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from retrieval.index import Index
from retrieval.index.vectors import as_numbers
from retrieval.search.rerank.reranker import TOP, FirstRanking, Reranked, reordered

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]

K1 = 20
K2 = 6
WEIGHT = 0.3
"""k₁, k₂ and λ as published."""

ROWS = 4096
"""Rows whose sets are expanded at a time."""


SPARE = 2
"""Neighbours of each that are kept beyond k: a query that is itself in the index is taken out of all lists."""

BATCH = 4096
"""Items whose neighbours are asked for at a time."""


def with_query(neighbours: Ints, scores: Doubles, query_neighbours: Ints, query_scores: Doubles) -> Ints:
    """The lists of a gallery once a query is in it, as the last item: so it stands behind those that score the same.

    Args:
        neighbours: int64 (n, k), the gallery's k nearest of each, best first, never itself; −1 behind the last, and for
            one that is outside and plays no part.
        scores: float64 (n, k), theirs, of those outside, too; −inf behind the last.
        query_neighbours: int64 (m,), the query's, best first; k of them where there are as many.
        query_scores: float64 (n,), of the query with everything.

    Returns:
        int64 (n + 1, k); the query is number n.
    """
    n, k = neighbours.shape
    ahead = (scores >= query_scores[:, None]).sum(axis=1)
    column = np.arange(k)
    # what stands behind the query moves on by one place
    shifted = np.concatenate([np.full((n, 1), -1), neighbours[:, :-1]], axis=1)
    lists = np.where(column < ahead[:, None], neighbours, shifted)
    lists[column == ahead[:, None]] = n
    own = np.full((1, k), -1)
    own[0, : min(k, len(query_neighbours))] = query_neighbours[:k]
    return np.concatenate([lists, own])


def encodings(neighbours: Ints, vectors: Doubles, wanted: Ints, k1: int = K1, k2: int = K2) -> sparse.csr_array:
    """V of some items, after local query expansion.

    Args:
        neighbours: int64 (n, k), k ≥ k1: as :func:`with_query` gives them.
        vectors: float64 (n, d), of unit length.
        wanted: int64 (m,), whose.
        k1, k2: of the sets and of the expansion, 1 or more.

    Returns:
        float64 (m, n), sparse; each row sums to 1.
    """
    around = np.concatenate([wanted[:, None], neighbours[wanted, : k2 - 1]], axis=1)
    used, place = np.unique(around, return_inverse=True)
    place = place.reshape(around.shape)
    if used[0] < 0:  # lists that end early
        used, place = used[1:], place - 1
    single = _plain_encodings(neighbours, vectors, used, k1)
    row, column = np.nonzero(place >= 0)
    share = 1 / np.bincount(row, minlength=len(wanted))
    mean = sparse.csr_array((share[row], (row, place[row, column])), shape=(len(wanted), len(used)))
    found: sparse.csr_array = (mean @ single).tocsr()
    return found


def jaccard_distances(one: sparse.csr_array, others: sparse.csr_array) -> Doubles:
    """Jaccard distance of one encoding (1, n) to others (m, n), rows that sum to 1: float64 (m,)."""
    columns, values = one.indices, one.data
    part = others[:, columns].tocsr()
    least = part.copy()
    least.data = np.minimum(part.data, values[part.indices])
    shared: Doubles = np.asarray(least.sum(axis=1)).ravel()
    return 1 - shared / (2 - shared)


def _plain_encodings(neighbours: Ints, vectors: Doubles, rows: Ints, k1: int) -> sparse.csr_array:
    """V of these rows before local query expansion, (m, n)."""
    wide = _reciprocal(neighbours, k1)
    narrow = _reciprocal(neighbours, (k1 + 1) // 2)
    sizes = np.asarray(narrow.sum(axis=1)).ravel()
    blocks = []
    for start in range(0, len(rows), ROWS):
        own = wide[rows[start : start + ROWS]]
        shared = (own @ narrow).multiply(own).tocoo()  # |R(x, k) ∩ R(y, k/2)| for y ∈ R(x, k); narrow is symmetric
        kept = 3 * shared.data >= 2 * sizes[shared.col]
        taken = sparse.csr_array((shared.data[kept] * 0 + 1, (shared.row[kept], shared.col[kept])), shape=own.shape)
        grown = (own + taken @ narrow).tocoo()
        x, y = rows[start : start + ROWS][grown.row], grown.col
        weights = np.exp(np.einsum("pd,pd->p", vectors[x], vectors[y]) - 1)
        sums = np.bincount(grown.row, weights, minlength=own.shape[0])
        blocks.append(sparse.csr_array((weights / sums[grown.row], (grown.row, y)), shape=own.shape))
    return sparse.vstack(blocks, format="csr")


def _reciprocal(neighbours: Ints, k: int) -> sparse.csr_array:
    """R(x, k) of every x, as a symmetric matrix (n, n) of 0 and 1; everything is in its own."""
    n = len(neighbours)
    row, column = np.nonzero(neighbours[:, :k] >= 0)
    ones: Any = np.ones(len(row) + n, np.int64)
    near = sparse.csr_array(
        (ones, (np.append(row, np.arange(n)), np.append(neighbours[row, column], np.arange(n)))), shape=(n, n)
    )
    return near.multiply(near.T).tocsr()


class Neighbourhood:
    """The k nearest of an index's items, in O(n · k) memory; any number of threads may ask.

    Args:
        index: the index, at the generation that it is of now.
        k: how many neighbours an item has, itself not among them.
        where: a filter that all of them match.
    """

    def __init__(self, index: Index, k: int, where: str | None = None) -> None:
        self.k = k
        self._index = index
        self._where = where
        self._ids = index.ids()
        width = min(k + SPARE, max(len(self._ids) - 1, 0))
        # zeros, of which nothing takes memory before it is written
        self._lists = np.zeros((len(self._ids), width), np.int64)
        self._scores = np.zeros((len(self._ids), width), np.float32)
        self._known = np.zeros(len(self._ids), bool)
        self._filling = threading.Lock()

    def lists(self, ids: Ints, excluded: Sequence[int] = ()) -> tuple[Ints, Doubles]:
        """The neighbours of some items, without some others.

        Args:
            ids: int64 (m,), in the index, and not among those left out.
            excluded: ids that are nobody's neighbour.

        Returns:
            ids int64 (m, k) and scores float64 (m, k), best first, −1 and −inf behind the last.
        """
        places = np.searchsorted(self._ids, ids)
        with self._filling:
            new = places[~self._known[places]]
            for start in range(0, len(new), BATCH):
                some = new[start : start + BATCH]
                self._lists[some], self._scores[some] = self._ask(self._ids[some], ())
                self._known[some] = True
        found, scores = self._lists[places], self._scores[places].astype(np.float64)
        dropped = np.isin(found, np.asarray(excluded, np.int64))
        if dropped.any():
            order = np.argsort(dropped, axis=1, kind="stable")
            found = np.take_along_axis(np.where(dropped, -1, found), order, axis=1)
            scores = np.take_along_axis(np.where(dropped, -np.inf, scores), order, axis=1)
            short = np.flatnonzero((dropped.sum(axis=1) > SPARE) & (found.shape[1] > 0))
            if len(short):  # many copies of the query: rare, and not worth keeping
                found[short], scores[short] = self._ask(ids[short], excluded)
        padding = ((0, 0), (0, max(0, self.k - found.shape[1])))
        return (
            np.pad(found[:, : self.k], padding, constant_values=-1),
            np.pad(scores[:, : self.k], padding, constant_values=-np.inf),
        )

    def vectors(self, ids: Ints) -> Doubles:
        """Their vectors, float64 (m, d), whose inner products are the index's scores."""
        return as_numbers(self._index.vectors(ids), dtype=np.float64)

    def _ask(self, ids: Ints, excluded: Sequence[int]) -> tuple[Ints, NDArray[np.float32]]:
        scores, found = self._index.search(
            self._index.vectors(ids),
            self._lists.shape[1],
            exclude=[(id_, *excluded) for id_ in ids.tolist()],
            where=self._where,
        )
        return found, scores


@dataclass
class KReciprocal:
    """Orders the first hits by whose neighbours they share; see :mod:`.k_reciprocal`.

    Only what the hits' encodings need is looked up: the neighbours of their neighbours, a few thousand items at most
    and not the whole index. Lists that were looked up once are kept for the next query.

    Attributes:
        top: how many hits of the first ranking are ordered anew.
        k1, k2, weight: k₁, k₂ and λ.
        name: as `--rerank` has it.
    """

    top: int = TOP
    k1: int = K1
    k2: int = K2
    weight: float = WEIGHT
    name: str = "k-reciprocal"
    _last: tuple[Index, int, str | None, Neighbourhood] | None = field(default=None, repr=False, compare=False)
    _choosing: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def __call__(self, index: Index, first: FirstRanking) -> Reranked:
        """Order anew; the score is 1 − the final distance."""
        looked_at = min(self.top, len(first.ids))
        if not looked_at:
            return Reranked(first.ids, first.scores, np.empty(0))
        around = self._neighbourhood(index, first.where)
        near = first.ids[: max(self.k1, looked_at)]
        if len(near) < self.k1:  # fewer hits were asked for than say who the query's neighbours are
            near = self._near(index, first)
        ids, lists, scores = self._universe(around, near, first)
        vectors = np.concatenate([around.vectors(ids), as_numbers(first.vector, index.storage, np.float64)[None]])
        # as the index rounds them, so that equal scores are equal
        query_scores = (vectors[:-1] @ vectors[-1]).astype(np.float32).astype(np.float64)
        order = np.searchsorted(ids, near[: self.k1])
        graph = with_query(lists, scores, order, query_scores)
        candidates = np.searchsorted(ids, first.ids[:looked_at])
        encoded = encodings(graph, vectors, np.append(candidates, len(ids)), self.k1, self.k2)
        jaccard = jaccard_distances(encoded[[looked_at]], encoded[:looked_at])
        distance = (1 - self.weight) * jaccard + self.weight * (1 - query_scores[candidates])
        return reordered(first, looked_at, 1 - distance)

    def _universe(
        self, around: Neighbourhood, near: Ints, first: FirstRanking
    ) -> tuple[Ints, Ints, NDArray[np.float64]]:
        """Every item that the encodings depend on, ascending, with its neighbours among these.

        Encodings of the hits and of who is near them (k₂) depend on these ones' neighbours (k₁), and on the neighbours
        (k₁/2) of these.

        Returns:
            ids int64 (n,); places in `ids` int64 (n, k₁), −1 where there is none or it plays no part; scores.
        """
        looked_at = first.ids[: self.top]
        encoded = _with(looked_at, near[: self.k2], around.lists(looked_at, first.excluded)[0][:, : self.k2])
        wide = _with(encoded, near[: self.k1], around.lists(encoded, first.excluded)[0])
        ids = _with(wide, around.lists(wide, first.excluded)[0][:, : (self.k1 + 1) // 2])
        lists, scores = around.lists(ids, first.excluded)
        places = np.minimum(np.searchsorted(ids, lists), len(ids) - 1)
        # one that is outside plays no part, but stands ahead of those behind it all the same
        places[ids[places] != lists] = -1
        return ids, places, scores

    def _near(self, index: Index, first: FirstRanking) -> Ints:
        found = index.search(
            first.vector[None],
            self.k1,
            exclude=[first.excluded] if first.excluded else None,
            where=first.where,
        )[1][0]
        near: Ints = found[found >= 0]
        return near

    def _neighbourhood(self, index: Index, where: str | None) -> Neighbourhood:
        with self._choosing:
            key = (index, index.generation, where)
            if self._last is None or self._last[:3] != key:
                self._last = (*key, Neighbourhood(index, self.k1, where))
            return self._last[3]


def _with(*parts: Ints) -> Ints:
    """Every id in these, once, ascending, without −1."""
    found = np.unique(np.concatenate([part.ravel() for part in parts]))
    return found[found >= 0]
