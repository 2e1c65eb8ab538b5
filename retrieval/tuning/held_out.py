"""Who asks, and who is asked: vectors of an index held out to question it, and the index without them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.index.rows import Rows
from retrieval.index.vectors import checked

if TYPE_CHECKING:
    from retrieval.index.nearest.structure import Structure

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Vectors = npt.NDArray[Any]
"""float32 (n, d), or codes uint8 (n, d / 8)."""
Search = Callable[[Vectors, int], tuple[Floats, Ids]]
"""From queries (nq, d) and k to scores (nq, k) and positions (nq, k)."""


FEWEST_ITEMS = 20
"""Items below which none can be spared, so that all ask and are asked."""

_MOST, _LEAST = 1000, 200
"""Queries that are asked of a small index, and of the largest, if there are as many."""

_TRUTH = 2e11
"""Multiplications that the true neighbours of all queries may take, about: some seconds' work."""


def draw(index: Index, queries: Vectors | None, generator: np.random.Generator) -> tuple[Ids, Vectors]:
    """A random sample of those who may ask.

    Args:
        index: what will be asked; not empty.
        queries: float32 (nq, dim), unit rows, or codes; None for vectors of the index.
        generator: of the sample.

    Returns:
        The ids, ascending, that must be held out, and the queries.

    Raises:
        RetrievalError: the queries do not fit the index, or there are none.
    """
    n = len(index)
    most = int(np.clip(_TRUTH / (n * index.dim), _LEAST, _MOST))
    if queries is None:
        ids, vectors = index.all_vectors()
        if n < FEWEST_ITEMS:
            return ids[:0], vectors
        rows = np.sort(generator.choice(n, min(most, n // 10), replace=False))
        return ids[rows], np.ascontiguousarray(vectors[rows])
    queries = checked(queries, index.dim, index.storage, "queries")
    if not len(queries):
        raise RetrievalError("There is not one query; give some, or leave them out, and vectors are held out instead.")
    rows = np.sort(generator.choice(len(queries), min(most, len(queries)), replace=False))
    return np.empty(0, np.int64), np.ascontiguousarray(queries[rows])


class Trial:
    """What structures are tried on.

    Attributes:
        vectors: float32 (m, d), or codes uint8 (m, d / 8): what structures are built from, by ascending id.
        ids: int64 (m,): the item of each.
    """

    def __init__(self, index: Index, held_out: Ids, k: int = 10) -> None:
        """
        Args:
            index: whose vectors.
            held_out: ids of the items to leave out.
            k: neighbours that search parameters are chosen for.
        """
        self.ids, self.vectors = index.all_vectors()
        self._k = k
        if len(held_out):
            kept = ~np.isin(self.ids, held_out)
            self.ids, self.vectors = self.ids[kept], self.vectors[kept]
        self._rows = Rows([np.arange(len(self.ids))], [self.vectors], self.vectors.shape[1])

    def __len__(self) -> int:
        return len(self.ids)

    def exact(self, queries: Vectors, k: int) -> tuple[Floats, Ids]:
        """The k nearest; scores (nq, k) and positions (nq, k)."""
        from retrieval.index import approximate

        return approximate.exact(self._rows, queries, k)

    def search(self, structure: Structure | None, parameters: Mapping[str, int]) -> Search:
        """The search by a structure, as the index does it; exact search without one."""
        from retrieval.index.approximate import Approximate

        if structure is None:
            return self.exact
        return Approximate(structure, parameters, self._rows.ids, self._rows, self._k).search
