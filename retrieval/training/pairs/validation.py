"""How well a pair network tells genuine pairs of labelled pictures from impostors."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval.encoder.pair_scorer import PairScorer, Scores
from retrieval.images import Pixels
from retrieval.measures.intervals import Interval, mean_intervals
from retrieval.measures.pair_sampling import Pairs
from retrieval.training.sampling.pairs import BalancedPairs
from retrieval.training.sampling.sampler import by_class

Indices = NDArray[np.int64]

AT_ONCE = 512
"""Pairs whose pictures are in memory at once."""


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


class Side(NamedTuple):
    """The first or the second pictures of some pairs.

    Attributes:
        read: gives the pictures at some positions, uint8 (m, size, size, c).
        labels: int64 (n,), of all pictures that it can read.
        rows: int64 (p,), the positions.
    """

    read: Callable[[Indices], Pixels]
    labels: Indices
    rows: Indices


def logits(scorer: PairScorer, first: Side, second: Side) -> Scores:
    """What a pair network says of pairs of pictures, float32 (p,)."""
    return _in_parts(scorer.pair_logits, first, second)


def with_classes(scores: Scores, first: Side, second: Side) -> Pairs:
    """Scores of pairs, float32 (p,), with what is known of these pairs, for
    :func:`retrieval.measures.roc.verify`."""
    classes = np.stack([side.labels[side.rows] for side in (first, second)], axis=1).astype(np.int32)
    genuine = classes[:, 0] == classes[:, 1]
    return Pairs(scores, genuine, classes, (int(genuine.sum()), int((~genuine).sum())))


def accuracy(pairs: Pairs, threshold: float) -> Interval:
    """The share of pairs on the right side of a threshold, which accepts what is above it; its interval is over the
    classes of the first pictures. Of a network that is 0 for logits and 0.5 for probabilities."""
    right = (pairs.scores > threshold) == pairs.genuine
    return mean_intervals(right, over=pairs.classes[:, 0])[0]


def scored(
    scorer: PairScorer, pixels: Callable[[Indices], Pixels], labels: Indices, first: Indices, second: Indices
) -> Pairs:
    """Score pairs of labelled pictures of one set.

    Args:
        scorer: what scores them.
        pixels: gives the pictures at some positions, uint8 (m, size, size, c).
        labels: int64 (n,), of all pictures.
        first, second: positions, int64 (p,) each.

    Returns:
        The pairs; `scores` are probabilities.
    """
    sides = Side(pixels, labels, first), Side(pixels, labels, second)
    return with_classes(_in_parts(scorer.score_pairs, *sides), *sides)


def _in_parts(score: Callable[[Pixels, Pixels], Scores], first: Side, second: Side) -> Scores:
    parts = (slice(start, start + AT_ONCE) for start in range(0, len(first.rows), AT_ONCE))
    return np.concatenate([score(*(side.read(side.rows[part]) for side in (first, second))) for part in parts])
