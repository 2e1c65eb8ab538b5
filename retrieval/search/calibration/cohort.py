"""Items drawn at random, with which queries and hits are compared to see how they score with just anything."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from retrieval.index import Index
from retrieval.index.vectors import as_numbers
from retrieval.search.calibration.surroundings import COHORT, First, standardised

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def draw(index: Index, generator: np.random.Generator) -> Ints:
    """The ids, ascending, of :data:`COHORT` items, or of all."""
    ids = index.ids()
    return np.sort(generator.choice(ids, min(COHORT, len(ids)), replace=False))


class Cohort:
    """The items of a cohort that an index still has.

    Attributes:
        ids: int64 (c,), ascending.
    """

    def __init__(self, index: Index, ids: npt.ArrayLike) -> None:
        """Take their vectors to memory."""
        drawn = np.asarray(ids, np.int64)
        self._index = index
        self.ids: Ints = drawn[np.isin(drawn, index.ids())]
        self._vectors = as_numbers(index.vectors(self.ids), index.storage)

    def standard(
        self,
        vectors: npt.NDArray[np.generic],
        own: Sequence[Sequence[int]],
        best: First,
        counted: Mask | None = None,
    ) -> Doubles:
        """The best score of each query, standardised: float64 (b,), 0 where there is no hit.

        Args:
            vectors: (b, d), the queries, as the index takes them.
            own: of each query the ids of itself and its copies, which do not count; nor does a hit for itself.
            best: of each query its first hits, one or more columns.
            counted: bool (b, c), which items count for which query; all if None.
        """
        allowed = np.ones((len(vectors), len(self.ids)), bool) if counted is None else counted.copy()
        for row, same in zip(allowed, own, strict=True):
            if len(same) and len(self.ids):
                at = np.minimum(np.searchsorted(self.ids, same), len(self.ids) - 1)
                row[at[self.ids[at] == same]] = False
        ids = best.ids[:, 0]
        there = ids >= 0
        hits = np.zeros((len(ids), len(self.ids)))
        hits[there] = self._scores(self._index.vectors(ids[there]))
        scores = np.where(there, best.scores[:, 0], 0.0)
        found = standardised(scores, (self._scores(vectors), allowed), (hits, allowed & (ids[:, None] != self.ids)))
        return np.where(there, found, 0.0)

    def _scores(self, vectors: npt.NDArray[np.generic]) -> Doubles:
        products: Doubles = (as_numbers(vectors, self._index.storage) @ self._vectors.T).astype(np.float64)
        return products
