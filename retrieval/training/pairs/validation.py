"""How well a pair network tells genuine pairs of labelled pictures from impostors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval.encoder.pair_scorer import PairScorer, Scores, probabilities
from retrieval.images import Pixels
from retrieval.measures.intervals import Interval, mean_intervals
from retrieval.measures.pair_sampling import Pairs
from retrieval.training.sampling.pairs import BalancedPairs
from retrieval.training.sampling.sampler import by_class

Indices = NDArray[np.int64]

AT_ONCE = 512
"""Pairs, or pictures, that are in memory at once."""


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


class Drawn(NamedTuple):
    """Pairs of labelled pictures.

    Attributes:
        read: gives the pictures at some positions, uint8 (m, size, size, c).
        labels: int64 (n,), of all pictures that it can read.
        first, second: int64 (p,), the positions of the pairs' pictures.
    """

    read: Callable[[Indices], Pixels]
    labels: Indices
    first: Indices
    second: Indices

    def embedded(self, siamese: bool) -> int:
        """How many pictures go through a network to score them: a siamese one sees each once."""
        rows = np.concatenate([self.first, self.second])
        return len(np.unique(rows)) if siamese else len(rows)


def logits(scorer: PairScorer, pairs: Drawn) -> Scores:
    """What a pair network says of pairs of pictures, float32 (p,). Of a siamese one, each picture's features are
    computed once, however many of the pairs it is in."""
    if not scorer.siamese:
        parts = _parts(len(pairs.first))
        return np.concatenate(
            [scorer.pair_logits(pairs.read(pairs.first[part]), pairs.read(pairs.second[part])) for part in parts]
        )
    rows, places = np.unique(np.stack([pairs.first, pairs.second]), return_inverse=True)
    features = np.concatenate([scorer.embed(pairs.read(rows[part])) for part in _parts(len(rows))])
    first, second = places.reshape(2, -1)
    return np.concatenate(
        [scorer.feature_logits(features[first[part]], features[second[part]]) for part in _parts(len(first))]
    )


def with_classes(scores: Scores, pairs: Drawn) -> Pairs:
    """Scores of pairs, float32 (p,), with what is known of these pairs, for
    :func:`retrieval.measures.roc.verify`."""
    classes = np.stack([pairs.labels[pairs.first], pairs.labels[pairs.second]], axis=1).astype(np.int32)
    genuine = classes[:, 0] == classes[:, 1]
    return Pairs(scores, genuine, classes, (int(genuine.sum()), int((~genuine).sum())))


def accuracy(pairs: Pairs, threshold: float) -> Interval:
    """The share of pairs on the right side of a threshold, which accepts what is above it; its interval is over the
    classes of the first pictures. Of a network that is 0 for logits and 0.5 for probabilities."""
    right = (pairs.scores > threshold) == pairs.genuine
    return mean_intervals(right, over=pairs.classes[:, 0])[0]


def scored(scorer: PairScorer, pairs: Drawn) -> Pairs:
    """Pairs of pictures with their probabilities as scores."""
    return with_classes(probabilities(logits(scorer, pairs)), pairs)


def _parts(count: int) -> Iterator[slice]:
    return (slice(start, start + AT_ONCE) for start in range(0, count, AT_ONCE))
