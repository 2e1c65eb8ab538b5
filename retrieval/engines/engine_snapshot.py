"""What an engine finds, as a snapshot answers it: exact scores, equal ones by id, and k if k match."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.engines.engine import Engine, Ids
from retrieval.index.records import State, StructureRecord
from retrieval.index.rows import Rows

Floats = npt.NDArray[np.float32]

_FILTERS = 1000
"""Filters of which is remembered how many items they match."""


class EngineSnapshot:
    """What a :class:`retrieval.index.snapshot.Snapshot` answers, answered by an engine: exact scores, ties by id."""

    def __init__(self, engine: Engine, meta: Mapping[str, Any]) -> None:
        self._engine = engine
        self._dim = int(meta["dim"])
        self._binary = meta["storage"] == "binary"
        self._width = self._dim // 8 if self._binary else self._dim
        # Of float32 sums, the engine's own included; codes have whole distances, in the order of which ids break ties.
        self._rounding = 0.0 if self._binary else (1.01 * self._dim + 2) * 2.0**-23
        self._items = int(meta["items"])
        self._many: dict[str, int] = {}  # how many items filters match, as far as that was looked at
        record, structure = meta.get("structure"), None
        if record is not None:
            # The positions of its items are the engine's alone; only their number is asked for.
            nobody = np.broadcast_to(np.int64(0), (self._items,))
            structure = StructureRecord(
                "", record["factory"], record["parameters"], nobody, record["measured"], size=0, checksum=""
            )
        self.state = State(int(meta["generation"]), self._items, (), structure, np.empty(0, np.int64))

    def ids(self) -> Ids:
        ids = [id_ for (id_,) in self._engine.scan(("id",))]
        return np.array(ids, np.int64)

    def vectors(self, ids: Ids) -> npt.NDArray[Any]:
        return self._engine.vectors(ids)

    def everything(self) -> tuple[Ids, npt.NDArray[Any]]:
        return self._engine.everything()

    def search(
        self, queries: npt.NDArray[Any], k: int, exclude: Sequence[Sequence[int]] | None, where: str | None
    ) -> tuple[Floats, Ids]:
        """See :meth:`retrieval.index.snapshot.Snapshot.search`."""
        asked = list(zip(queries, _each(exclude, len(queries)), strict=True))
        if self.state.structure is None or not self._is_worth_it(k, where):
            return _stacked(self.exactly(asked, k, where), k)
        found = self.by_structure(asked, k, None, where)
        for row, (_, ids) in enumerate(found):
            if len(ids) < k:  # too few match, or parts of the graph are out of reach
                found[row : row + 1] = self.exactly(asked[row : row + 1], k, where)
        return _stacked(found, k)

    def search_after(
        self,
        queries: npt.NDArray[Any],
        k: int,
        after: tuple[Floats, Ids],
        exclude: Sequence[Sequence[int]] | None,
        where: str | None,
    ) -> tuple[Floats, Ids]:
        """See :meth:`retrieval.index.snapshot.Snapshot.search_after`."""
        found = [
            self._exactly(query, k, left_out, where, (after[0][row : row + 1], after[1][row : row + 1]))
            for row, (query, left_out) in enumerate(zip(queries, _each(exclude, len(queries)), strict=True))
        ]
        return _stacked(found, k)

    def range_search(self, queries: npt.NDArray[Any], score: float, where: str | None) -> list[tuple[Floats, Ids]]:
        """See :meth:`retrieval.index.snapshot.Snapshot.range_search`."""
        from retrieval.index.approximate import range_search  # here, as it brings FAISS

        found = []
        for query in queries:
            rows = self._rows(*self._engine.within(query, score, where))
            found += range_search(rows, query[None], score, None)
        return found

    def exactly(
        self, asked: Sequence[tuple[npt.NDArray[Any], Sequence[int]]], k: int, where: str | None = None
    ) -> list[tuple[Floats, Ids]]:
        """The k best for each query, and ids that it must not get, without error."""
        return [self._exactly(query, k, left_out, where, None) for query, left_out in asked]

    def by_structure(
        self,
        asked: Sequence[tuple[npt.NDArray[Any], Sequence[int]]],
        k: int,
        effort: int | None = None,
        where: str | None = None,
    ) -> list[tuple[Floats, Ids]]:
        """The same of the candidates that the engine's structure names."""
        if effort is None:
            assert self.state.structure is not None  # who asks without one has one
            effort = self.state.structure.parameters["ef_search"]
        found = []
        for query, left_out in asked:
            near = self._engine.nearest(query, k + 2, left_out, where, effort=effort)
            found.append(self._best(near.ids, near.vectors, query, k, None))
        return found

    def _is_worth_it(self, k: int, where: str | None) -> bool:
        """Whether the structure is asked: not where a good part of all is wanted, nor where few match."""
        if not k or 10 * k > self._items:
            return False
        few = int(max(math.sqrt(25 * k * self._items), 10 * k))  # as retrieval.index.approximate has it
        if where is not None and where not in self._many:
            if len(self._many) == _FILTERS:
                self._many.clear()
            self._many[where] = len(self._engine.select(where, few + 1))
        return where is None or self._many[where] > few

    def _exactly(
        self,
        query: npt.NDArray[Any],
        k: int,
        exclude: Sequence[int],
        where: str | None,
        after: tuple[Floats, Ids] | None,
    ) -> tuple[Floats, Ids]:
        """What the engine finds with its own rounding, scored anew; more of it while that could hide a better one."""
        if not k:
            return np.empty(0, np.float32), np.empty(0, np.int64)
        count, below = k + 2, None if after is None else float(after[0][0])
        while True:
            near = self._engine.nearest(query, count, exclude, where, below=below)
            scores, ids = self._best(near.ids, near.vectors, query, k, after)
            if near.worst == -math.inf:
                return scores, ids
            least = float(scores[-1]) if len(scores) == k else -math.inf
            if least >= near.worst if self._binary else least > near.worst + self._rounding:
                return scores, ids
            count *= 4

    def _best(
        self, ids: Ids, vectors: npt.NDArray[Any], query: npt.NDArray[Any], k: int, after: tuple[Floats, Ids] | None
    ) -> tuple[Floats, Ids]:
        """The best of some candidates by exact scores, as many as there are, up to k."""
        from retrieval.index.approximate import exact  # here, as it brings FAISS

        k = min(k, len(ids))
        scores, found = exact(self._rows(ids, vectors), query[None], k, after=after)
        there = int(np.count_nonzero(found[0] >= 0))
        return scores[0, :there], found[0, :there]

    def _rows(self, ids: Ids, vectors: npt.NDArray[Any]) -> Rows:
        return Rows([ids], [vectors] if len(ids) else [], self._width)


def _stacked(found: Sequence[tuple[Floats, Ids]], k: int) -> tuple[Floats, Ids]:
    """Answers of any length as arrays (nq, k), padded."""
    scores = np.full((len(found), k), -np.inf, np.float32)
    ids = np.full((len(found), k), -1, np.int64)
    for row, (own, mine) in enumerate(found):
        scores[row, : len(own)], ids[row, : len(mine)] = own, mine
    return scores, ids


def _each(exclude: Sequence[Sequence[int]] | None, queries: int) -> Sequence[Sequence[int]]:
    return [()] * queries if exclude is None else exclude
