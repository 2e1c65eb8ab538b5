"""Balanced pairs, as siamese networks are trained on; and pairs as a search meets them: impostors that an encoder takes
for genuine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from retrieval.errors import RetrievalError
from retrieval.training.sampling.sampler import Indices, by_class

AT_RANDOM = 0.25
"""Share of the impostors that are drawn from all other classes, since hits are not all that a network is shown: one
that never saw plainly different pictures may call them anything."""


class BalancedPairs:
    """As many pairs of one class (genuine) as of two classes (impostors) a batch, in turns.

    Over an epoch every picture comes at least once as the first of an impostor pair and, where its class has another,
    of a genuine one. The second picture is drawn: for a genuine pair from the other pictures of the class, for an
    impostor from all pictures of all other classes.

    Args:
        labels: int64 (n,), −1 for pictures to leave out.
        pairs: pairs a batch, an even number.
    """

    def __init__(self, labels: Indices, pairs: int, seed: int) -> None:
        members = by_class(labels)
        sizes = np.array([len(member) for member in members])
        if len(members) < 2 or sizes.max() < 2:
            raise RetrievalError(
                "Pairs need at least 2 classes, one of them with 2 pictures or more; give a larger labelled set."
            )
        if pairs < 2 or pairs % 2:
            raise RetrievalError(
                f"The pairs of a batch are half of either kind, so they cannot be {pairs}; make it even."
            )
        # the pictures class by class; of each its class's first place in this order, and its class's size
        self._order = np.concatenate(members)
        self._start = np.repeat(sizes.cumsum() - sizes, sizes)
        self._size = np.repeat(sizes, sizes)
        self.pairs = pairs
        self.seed = seed

    def __len__(self) -> int:
        return -(-2 * len(self._order) // self.pairs)

    def epoch(self, number: int) -> Iterator[Indices]:
        """The batches of one epoch, int64 (2·pairs,) each: the first pictures of all pairs, then the second ones."""
        random = np.random.default_rng([self.seed, number])
        half = self.pairs // 2
        everyone = np.arange(len(self._order))
        genuine = _filled(everyone[self._size > 1], half * len(self), random)
        impostor = _filled(everyone, half * len(self), random)
        for i in range(len(self)):
            first = np.stack([genuine[i * half : (i + 1) * half], impostor[i * half : (i + 1) * half]], axis=1)
            start, size = self._start[first], self._size[first]
            same = start[:, 0] + (first[:, 0] - start[:, 0] + random.integers(1, size[:, 0])) % size[:, 0]
            other = self._impostors(first[:, 1], random)
            second = np.stack([same, other], axis=1)
            yield self._order[np.concatenate([first.ravel(), second.ravel()])]

    def _impostors(self, first: Indices, random: np.random.Generator) -> Indices:
        """The second pictures of impostor pairs; both as places in the order."""
        start, size = self._start[first], self._size[first]
        # a place among all pictures but those of the class
        other = random.integers(0, len(self._order) - size)
        return other + np.where(other >= start, size, 0)


class WrongHits(NamedTuple):
    """What an encoder confuses: for each of n pictures, the hits of other classes among its first.

    Attributes:
        rows: int64 (m,), the hits of all pictures, one picture's after another's, each one's best first.
        starts: int64 (n,), where each picture's begin.
        counts: int64 (n,), how many each has.
    """

    rows: Indices
    starts: Indices
    counts: Indices


class HitPairs(BalancedPairs):
    """:class:`BalancedPairs`, whose impostors are wrong hits of an encoder but for a share that is drawn from all other
    classes. A picture without wrong hits is paired with any of another class.

    Args:
        labels, pairs, seed: as there.
        wrong: of each picture.
        at_random: that share.
    """

    def __init__(self, labels: Indices, pairs: int, seed: int, wrong: WrongHits, at_random: float = AT_RANDOM) -> None:
        super().__init__(labels, pairs, seed)
        self.at_random = at_random
        place = np.empty(len(labels), np.int64)
        place[self._order] = np.arange(len(self._order))
        self._rows = place[wrong.rows]
        self._begin, self._count = wrong.starts[self._order], wrong.counts[self._order]

    def _impostors(self, first: Indices, random: np.random.Generator) -> Indices:
        anyone = super()._impostors(first, random)
        count = self._count[first]
        drawn = random.integers(0, np.maximum(count, 1))
        hard = (random.random(len(first)) >= self.at_random) & (count > 0)
        anyone[hard] = self._rows[(self._begin[first] + drawn)[hard]]
        return anyone


def _filled(rows: Indices, count: int, random: np.random.Generator) -> Indices:
    """The rows shuffled, again and again as often as `count` needs."""
    rounds = [random.permutation(rows) for _ in range(-(-count // len(rows)))]
    return np.concatenate(rounds)[:count]
