"""k-reciprocal re-ranking of what an index finds, on the neighbours' lists that its own search gives."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from retrieval.index import Index
from retrieval.rerank import k_reciprocal
from retrieval.rerank.first import TOP, FirstRanking, Reranked, asked_numbers, reordered
from retrieval.rerank.k_reciprocal import K1, K2, WEIGHT
from retrieval.rerank.neighbourhood import Neighbourhood

Ints = NDArray[np.int64]


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
        vectors = np.concatenate([around.vectors(ids), asked_numbers(index, first.vector)[None]])
        # as the index rounds them, so that equal scores are equal
        query_scores = (vectors[:-1] @ vectors[-1]).astype(np.float32).astype(np.float64)
        order = np.searchsorted(ids, near[: self.k1])
        graph = k_reciprocal.with_query(lists, scores, order, query_scores)
        candidates = np.searchsorted(ids, first.ids[:looked_at])
        encoded = k_reciprocal.encodings(graph, vectors, np.append(candidates, len(ids)), self.k1, self.k2)
        jaccard = k_reciprocal.jaccard_distances(encoded[[looked_at]], encoded[:looked_at])
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
