"""What a user loses with an approximate structure: the measures of the labels, beside exact search."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from retrieval import measures
from retrieval.measures import Comparison, Ranking
from retrieval.tuning.held_out import Floats, Ids, Search, Vectors

MAP_QUERIES = 300
"""Most queries that are asked for all their R relevant items."""


def losses(
    exact: Search,
    approximate: Search,
    queries: Vectors,
    query_labels: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
    k: int,
) -> dict[str, Comparison]:
    """P@k and MAP@R by both searches.

    P@k is asked for k hits, MAP@R for as many as there are relevant ones, by :data:`MAP_QUERIES` at most. Equal scores
    count by expectation, as far as they are among these hits. Queries without a label or without a relevant item are
    left out.

    Args:
        exact, approximate: the searches; they give positions.
        queries: (nq, d), which are not among what is searched.
        query_labels: int64 (nq,), −1 where there is none.
        labels: int64 (m,), of each position.
        k: of P@k.

    Returns:
        Both by name, the structure first; none if no query counts.
    """
    sizes = np.bincount(labels[labels >= 0], minlength=query_labels.max(initial=0) + 1)
    relevant = np.where(query_labels >= 0, sizes[query_labels], 0)
    counted = np.flatnonzero(relevant > 0)
    if not len(counted):
        return {}
    queries, query_labels, relevant = queries[counted], query_labels[counted], relevant[counted]
    precision: list[npt.ArrayLike] = []
    average: list[npt.ArrayLike] = []
    for search in (approximate, exact):
        scores, places = search(queries, k)
        right = labels[places] == query_labels[:, None]
        precision.append([each.precision(k) for each in _rankings(scores, right, places >= 0, relevant)])
        values = np.empty(min(MAP_QUERIES, len(queries)))
        for label in np.unique(query_labels[:MAP_QUERIES]):  # all queries of a label have as many relevant items
            some = np.flatnonzero(query_labels[:MAP_QUERIES] == label)
            scores, places = search(queries[some], int(relevant[some[0]]))
            rankings = _rankings(scores, labels[places] == label, places >= 0, relevant[some])
            values[some] = [ranking.average_precision(ranking.total) for ranking in rankings]
        average.append(values)
    names = ("the structure", "exact search")
    return {
        f"P@{k}": measures.compare(*precision, names=names),
        "MAP@R": measures.compare(*average, names=names),
    }


def _rankings(
    scores: Floats, right: npt.NDArray[np.bool_], there: npt.NDArray[np.bool_], relevant: Ids
) -> list[Ranking]:
    """Each query's ranking by its hits; the relevant items that are not among them come after everything else."""
    out = []
    for row, total in enumerate(relevant.tolist()):
        hits = scores[row, there[row]][::-1]
        found = scores[row, there[row] & right[row]][::-1]
        missed = np.full(total - len(found), -np.inf, np.float32)
        out.append(Ranking.of_sorted(np.concatenate([missed, hits]), np.concatenate([missed, found])))
    return out
