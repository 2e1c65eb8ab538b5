"""An index without the vectors that were held out to question it, searched as the index itself is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from retrieval.index import Index
from retrieval.index.rows import Rows

if TYPE_CHECKING:
    from retrieval.index.nearest.structure import Structure

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Vectors = npt.NDArray[Any]
"""float32 (n, d), or codes uint8 (n, d / 8)."""
Search = Callable[[Vectors, int], tuple[Floats, Ids]]
"""From queries (nq, d) and k to scores (nq, k) and positions (nq, k)."""


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
