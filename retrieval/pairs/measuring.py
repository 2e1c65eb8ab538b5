"""How well a pair network tells genuine pairs of labelled pictures from impostors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from retrieval.images import Pixels
from retrieval.measures.pairs import Pairs
from retrieval.pairs.scoring import PairScorer, Scores
from retrieval.sampling import BalancedPairs, by_class

Indices = NDArray[np.int64]


def can_pair(labels: Indices) -> bool:
    """Whether there are two classes, and two pictures of one of them."""
    members = by_class(labels)
    return len(members) > 1 and max(map(len, members)) > 1


def balanced_pairs(labels: Indices, count: int, seed: int) -> tuple[Indices, Indices]:
    """So many pairs drawn from the seed, genuine and impostor in turns.

    Args:
        labels: int64 (n,), −1 for pictures to leave out.
        count: an even number.

    Returns:
        The positions of the first and of the second pictures, int64 (count,) each.

    Raises:
        RetrievalError: there is no pair of one kind.
    """
    first, second = next(iter(BalancedPairs(labels, count, seed).epoch(0))).reshape(2, -1)
    return first, second


def scored(
    scorer: PairScorer, pixels: Callable[[Indices], Pixels], labels: Indices, first: Indices, second: Indices
) -> Pairs:
    """Score pairs of labelled pictures, for :func:`retrieval.measures.verification.verify`.

    Args:
        scorer: what scores them.
        pixels: gives the pictures at some positions, uint8 (m, size, size, c).
        labels: int64 (n,), of all pictures.
        first, second: positions, int64 (p,) each.

    Returns:
        The pairs; `scores` are probabilities.
    """
    step = 512
    parts: list[Scores] = [
        scorer.score_pairs(pixels(first[i : i + step]), pixels(second[i : i + step]))
        for i in range(0, len(first), step)
    ]
    classes = np.stack([labels[first], labels[second]], axis=1).astype(np.int32)
    genuine = classes[:, 0] == classes[:, 1]
    return Pairs(np.concatenate(parts), genuine, classes, (int(genuine.sum()), int((~genuine).sum())))
