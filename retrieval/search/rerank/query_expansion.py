"""Query expansion: a query's nearest neighbours become part of the query, which is then asked again.

Average query expansion takes the mean of the query and its neighbours (Chum, Philbin, Sivic, Isard and Zisserman 2007,
"Total Recall"); α query expansion weighs each by its score to the power α, so that a wrong neighbour far down says
little (Radenović, Tolias and Chum 2018, "Fine-tuning CNN Image Retrieval with No Human Annotation", section 3.3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.index import Index
from retrieval.index.vectors import as_numbers
from retrieval.search.rerank.reranker import TOP, FirstRanking, Reranked, reordered

NEIGHBOURS = 10
"""Neighbours that average query expansion takes in; more bring wrong ones in with the full weight."""

ALPHA = 3.0
ALPHA_NEIGHBOURS = 50
"""Those of α query expansion and its α, both as published."""


def expanded(
    query: NDArray[np.float64], neighbours: NDArray[np.float64], scores: NDArray[np.float64], alpha: float
) -> NDArray[np.float64]:
    """The query with its neighbours in it: ``q + Σ max(sᵢ, 0)^α xᵢ``, scaled to unit length.

    The query's own weight is that of its score with itself, 1.

    Args:
        query: float64 (d,), of unit length.
        neighbours: float64 (n, d), of unit length.
        scores: float64 (n,), their inner products with the query. Those below 0 weigh nothing.
        alpha: 0 or more; with 0 every neighbour that scores above 0 weighs as much as the query, which is the average.

    Returns:
        float64 (d,), of unit length; the query itself where the sum is 0.
    """
    # 0 to the power 0 is 1, and what is not alike at all is to weigh nothing even so
    weights = np.where(scores > 0, np.maximum(scores, 0) ** alpha, 0.0)
    total = query + weights @ neighbours
    length = np.linalg.norm(total)
    return query if length == 0 else np.asarray(total / length)


@dataclass(frozen=True)
class QueryExpansion:
    """Asks the index again with the query's neighbours in the query.

    Hits that the first ranking did not have may come in, unless that has all that may be found
    (:attr:`.FirstRanking.wanted`). In an index of binary codes the sum becomes a code again.

    Attributes:
        name: as `--rerank` has it.
        neighbours: how many are taken in.
        alpha: what their scores are raised to.
        top: how many hits are found.
    """

    name: str
    neighbours: int
    alpha: float
    top: int = TOP

    def __call__(self, index: Index, first: FirstRanking) -> Reranked:
        """Expand, and ask again."""
        if not len(first.ids):
            return Reranked(first.ids, first.scores, np.empty(0))
        query = as_numbers(first.vector, index.storage, np.float64)
        near = as_numbers(index.vectors(first.ids[: self.neighbours]), dtype=np.float64)
        other = expanded(query, near, near @ query, self.alpha)
        if first.wanted is None:
            looked_at = min(self.top, len(first.ids))
            found = as_numbers(index.vectors(first.ids[:looked_at]), dtype=np.float64)
            return reordered(first, looked_at, found @ as_numbers(other.astype(np.float32), index.storage, np.float64))
        second, ids = (
            row[0]
            for row in index.search(
                other.astype(np.float32)[None],
                max(first.wanted, 1),
                exclude=[first.excluded] if first.excluded else None,
                where=first.where,
            )
        )
        second, ids = second[ids >= 0], ids[ids >= 0]
        return Reranked(ids, first_scores(index, first, query, ids), second.astype(np.float64))


def average(top: int = TOP) -> QueryExpansion:
    """Average query expansion."""
    return QueryExpansion("aqe", NEIGHBOURS, 0.0, top)


def alpha(top: int = TOP) -> QueryExpansion:
    """α query expansion."""
    return QueryExpansion("alpha-qe", ALPHA_NEIGHBOURS, ALPHA, top)


def first_scores(
    index: Index, first: FirstRanking, query: NDArray[np.float64], ids: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Inner products of the query itself with these: the index's own where it has given them."""
    known = dict(zip(first.ids.tolist(), first.scores.tolist(), strict=True))
    new = np.array([id_ for id_ in ids.tolist() if id_ not in known], np.int64)
    if len(new):
        known.update(
            zip(new.tolist(), (as_numbers(index.vectors(new), dtype=np.float64) @ query).tolist(), strict=True)
        )
    return np.array([known[id_] for id_ in ids.tolist()], np.float32)
