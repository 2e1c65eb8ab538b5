"""Pairs as a search meets them: impostors that an encoder takes for genuine."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from retrieval.training.sampling.pairs import BalancedPairs
from retrieval.training.sampling.sampler import Indices

AT_RANDOM = 0.25
"""Share of the impostors that are drawn from all other classes, since hits are not all that a network is shown: one
that never saw plainly different pictures may call them anything."""


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
