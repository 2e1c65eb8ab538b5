"""How widely FAISS searches: its search parameters, made once for each width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import faiss

_KEPT = 256
"""Widths whose parameters are kept."""


class Settings:
    """The search parameters of one index.

    Making one takes as long as a short search. None is changed once it is made, so any number of threads may search
    with it.

    Args:
        index: a graph (HNSW), or lists (IVF); of others nothing can be set.
    """

    def __init__(self, index: Any) -> None:
        self._transformed = isinstance(index, faiss.IndexPreTransform)
        if self._transformed:
            index = faiss.downcast_index(index.index)
        self._graph = isinstance(index, faiss.IndexHNSW | faiss.IndexBinaryHNSW)
        self._most = int(getattr(index, "nlist", 0))
        if self._graph:
            self._most = max(1, int(index.ntotal))
        self._made: dict[int, Any] = {}

    def __call__(self, count: int, parameters: Mapping[str, int]) -> Any:
        """What to search with.

        Args:
            count: neighbours that are wanted; a graph is searched at least so widely.
            parameters: ``efSearch`` of graphs, ``nprobe`` of lists.
        """
        if not self._most:
            return None
        width = max(count, parameters.get("efSearch", 0)) if self._graph else parameters.get("nprobe", 1)
        made = self._made.get(width)
        if made is None:
            made = self._make(max(1, min(width, self._most)))
            if len(self._made) >= _KEPT:
                self._made.clear()
            self._made[width] = made
        return made

    def _make(self, width: int) -> Any:
        made = faiss.SearchParametersHNSW(efSearch=width) if self._graph else faiss.SearchParametersIVF(nprobe=width)
        return faiss.SearchParametersPreTransform(index_params=made) if self._transformed else made
