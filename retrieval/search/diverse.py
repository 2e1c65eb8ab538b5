"""Hits that are like the query and unlike one another: maximal marginal relevance (Carbonell and Goldstein 1998, "The
Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing Summaries").

One after another comes the hit with the greatest λ · (its score) − (1 − λ) · (its greatest similarity to one that has
come already). With λ = 1 that is the plain order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LAMBDA = 0.7
"""λ where nobody says another one: the one that the paper has for who looks for something definite."""

POOL = 10
"""For each hit that is wanted so many of the best are looked at."""

LEAST, MOST = 100, 10_000
"""But no fewer and no more than this, unless still more are wanted."""


def pool(k: int) -> int:
    """How many of the best hits k are chosen from."""
    return max(k, min(max(POOL * k, LEAST), MOST))


def marginal_relevance(
    scores: NDArray[np.float32], vectors: NDArray[np.float64], k: int, weight: float
) -> NDArray[np.int64]:
    """Choose k of n hits.

    Args:
        scores: float32 (n,), inner products with the query, best first.
        vectors: float64 (n, d), the hits', of unit length.
        k: how many.
        weight: λ, from 0 to 1.

    Returns:
        int64 (min(k, n),), places in the order that they were chosen in; of equal ones the first.
    """
    relevance = weight * scores.astype(np.float64)
    chosen = np.empty(min(k, len(scores)), np.int64)
    nearest = np.full(len(scores), -np.inf)
    for turn in range(len(chosen)):
        gain = relevance if turn == 0 else relevance - (1 - weight) * nearest
        gain = np.where(np.isnan(nearest), -np.inf, gain)
        best = int(np.argmax(gain))
        chosen[turn] = best
        # vecdot sums each pair by itself, so that equal vectors stay equal
        nearest = np.maximum(nearest, np.vecdot(vectors, vectors[best]))
        nearest[best] = np.nan  # has come
    return chosen
