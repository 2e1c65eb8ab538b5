"""Triplets drawn at random."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from retrieval.errors import RetrievalError
from retrieval.training.sampling.sampler import Indices, by_class


class RandomTriplets:
    """The triplets of the original article: each batch draws one class and one other class, then anchors and positives
    at random from the first and negatives from the second.

    Args:
        labels: int64 (n,), −1 for pictures to leave out.
        triplets: triplets a batch.
        epoch_triplets: triplets an epoch (the last batch is as long as the others).
    """

    def __init__(self, labels: Indices, triplets: int = 128, epoch_triplets: int = 100_000, seed: int = 0) -> None:
        self.members = by_class(labels)
        self._first = [c for c, member in enumerate(self.members) if len(member) > 1]
        if len(self.members) < 2 or not self._first:
            raise RetrievalError(
                "Random triplets need 2 classes, one of them with 2 pictures or more; give a larger labelled set."
            )
        self.triplets = triplets
        self.batches = -(-epoch_triplets // triplets)
        self.seed = seed

    def __len__(self) -> int:
        return self.batches

    def epoch(self, number: int) -> Iterator[Indices]:
        """The batches of one epoch, int64 (3·triplets,) each: all anchors, then their positives, then negatives."""
        random = np.random.default_rng([self.seed, number])
        for _ in range(self.batches):
            first = int(random.choice(self._first))
            second = int(random.integers(len(self.members) - 1))
            second += second >= first
            same, other = self.members[first], self.members[second]
            anchor = random.integers(len(same), size=self.triplets)
            # a positive is another picture than its anchor
            positive = (anchor + random.integers(1, len(same), size=self.triplets)) % len(same)
            negative = random.integers(len(other), size=self.triplets)
            yield np.concatenate([same[anchor], same[positive], other[negative]])
