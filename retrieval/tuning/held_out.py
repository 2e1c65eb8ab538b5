"""An index without the vectors that were held out to question it, searched as the index itself is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from retrieval.index import Index

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

    def __init__(self, index: Index, held_out: Ids) -> None:
        """
        Args:
            index: whose vectors.
            held_out: ids of the items to leave out.
        """
        self.ids, self.vectors = index.all_vectors()
        self._binary = index.storage == "binary"
        if len(held_out):
            kept = ~np.isin(self.ids, held_out)
            self.ids, self.vectors = self.ids[kept], self.vectors[kept]
        self._positions = np.arange(len(self.ids))

    def __len__(self) -> int:
        return len(self.ids)

    def exact(self, queries: Vectors, k: int) -> tuple[Floats, Ids]:
        """The k nearest; scores (nq, k) and positions (nq, k)."""
        from retrieval.index import nearest

        if self._binary:
            from retrieval.index.nearest.hamming import exact_hamming

            return exact_hamming(queries, self.vectors, self._positions, k)
        return nearest.exact_search(queries, self.vectors, self._positions, k)

    def search(self, structure: Structure | None, parameters: Mapping[str, int]) -> Search:
        """The search by a structure, as :meth:`retrieval.index.Index.search` does it; exact search without one."""
        from retrieval.index import nearest

        if structure is None:
            return self.exact
        vectors = self.vectors

        def approximate(queries: Vectors, k: int) -> tuple[Floats, Ids]:
            count = k + nearest.SPARE[0]
            if 10 * count > len(structure):
                return self.exact(queries, k)
            asked = min(count * parameters.get("candidates", 1), len(structure))
            found = structure.candidates(queries, asked, parameters)
            if found.shape[1] > 2 * count:
                found = nearest.shortlist(queries, vectors, found, count)
            if len(queries) == 1:
                answer = nearest.rank_one(queries, found[0], vectors, k)
                if answer is not None:
                    return answer
            scores, best = nearest.rank(queries, found, vectors.__getitem__, k)
            short = best[:, -1] < 0
            if short.any():
                scores[short], best[short] = self.exact(queries[short], k)
            return scores, best

        return approximate
