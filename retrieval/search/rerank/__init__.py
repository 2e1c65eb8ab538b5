"""A second look at what an index found: the first hits in a new order, or found again with a better query.

docs/rerank.md says what each of them costs, and what it was measured to gain.
"""

from __future__ import annotations

from pathlib import Path

from retrieval.errors import RetrievalError
from retrieval.search.rerank.query_expansion import QueryExpansion, alpha, average
from retrieval.search.rerank.reranker import TOP, FirstRanking, Heeded, Reranked, Reranker, reordered

METHODS = ("aqe", "alpha-qe", "k-reciprocal")
"""What needs no training."""

__all__ = ["METHODS", "TOP", "FirstRanking", "Heeded", "QueryExpansion", "Reranked", "Reranker", "load", "reordered"]


def load(name: str, top: int = TOP) -> Reranker:
    """The re-ranker of this name.

    Args:
        name: one of :data:`METHODS`, or the folder of a run that trained a pair network.
        top: how many of the first ranking it looks at.

    Raises:
        RetrievalError: there is none of that name, the run has no pair network, or `top` is below 1.
    """
    if top < 1:
        raise RetrievalError(f"--rerank-top is {top}; look at 1 hit at least.")
    if name == "aqe":
        return average(top)
    if name == "alpha-qe":
        return alpha(top)
    if name == "k-reciprocal":
        from retrieval.search.rerank.k_reciprocal import KReciprocal  # here, as it brings SciPy

        return KReciprocal(top)
    if not Path(name).is_dir():
        raise RetrievalError(
            f"There is no re-ranker {name!r}; choose one of {', '.join(METHODS)}, or give a pair network's run."
        )
    from retrieval.encoder.pair_scorer import PairScorer  # here, as it brings torch
    from retrieval.search.rerank.pair_network import PairReranker

    return PairReranker(PairScorer.load(name), name, top)
