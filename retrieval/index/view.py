"""What an index says without being changed: its items, its vectors, its answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.errors import RetrievalError
from retrieval.index.catalog import Catalog
from retrieval.index.checks import code_rows, unit_rows
from retrieval.index.description import describe
from retrieval.index.records import Item, State, StructureRecord, Value
from retrieval.index.snapshot import Snapshot


class View:
    """The reading half of :class:`retrieval.index.Index`.

    Attributes:
        folder: where it lies.
        warnings: what was found wrong and could be worked around (a damaged structure, say), a sentence each.
    """

    folder: Path
    warnings: list[str]
    _catalog: Catalog
    _snapshot: Snapshot | None = None
    _in_memory: bool

    def __len__(self) -> int:
        """How many items it has."""
        return self._state.items

    def __repr__(self) -> str:
        return f"Index({str(self.folder)!r}, {len(self):,} items of {self.dim} numbers)"

    # What it is

    @property
    def dim(self) -> int:
        """How many numbers a vector has, or bits a code."""
        return int(self._catalog.meta["dim"])

    @property
    def storage(self) -> str:
        """What vectors are kept as: "float32", "float16" or "binary"."""
        return str(self._catalog.meta["storage"])

    @property
    def generation(self) -> int:
        """How many changes led to what is seen here."""
        return self._state.generation

    @property
    def encoder_hash(self) -> str:
        """Which model made its vectors."""
        return str(self._catalog.meta["encoder_hash"])

    @property
    def root(self) -> str:
        """The folder that the items' paths are relative to, as it was given when the index was made."""
        return str(self._catalog.meta["root"])

    @property
    def decoder(self) -> str | None:
        """What turned the files into pixels."""
        value = self._catalog.meta.get("decoder")
        return None if value is None else str(value)

    @property
    def details(self) -> dict[str, Any]:
        """What else was kept with it."""
        return dict(self._catalog.meta.get("details") or {})

    @property
    def tuning(self) -> dict[str, Any] | None:
        """What the last tuning found, if there was one; see :mod:`retrieval.tuning`."""
        found: dict[str, Any] | None = self._catalog.meta.get("tuning")
        return found

    @property
    def calibration(self) -> dict[str, Any] | None:
        """What scores say about matches, if that was measured."""
        found: dict[str, Any] | None = self._catalog.meta.get("calibration")
        return found

    @property
    def structure(self) -> StructureRecord | None:
        """What the catalog knows of the approximate structure, if there is one."""
        return self._state.structure

    def skipped(self) -> list[tuple[str, str]]:
        """(path, reason) of each file that the last build left out."""
        return self._catalog.skipped()

    def info(self) -> dict[str, Any]:
        """Everything about it that fits a page, as JSON can hold it."""
        return describe(self.folder, self._catalog, self._state)

    @property
    def mapped(self) -> bool:
        """Whether it is searched where it lies on the disk, instead of in memory."""
        return not self._in_memory

    # Items

    def ids(self) -> npt.NDArray[np.int64]:
        """The ids of all items (n,), ascending."""
        return self._now.ids()

    def items(self, ids: Sequence[int] | npt.NDArray[np.int64]) -> list[Item]:
        """The items of these ids, in their order.

        Raises:
            RetrievalError: one is not in the index.
        """
        wanted = [int(id_) for id_ in ids]
        found = self._catalog.items(wanted)
        for id_ in wanted:
            if id_ not in found:
                raise RetrievalError(
                    f"The index {str(self.folder)!r} has no item {id_}; each query shows the ids of its hits."
                )
        return [found[id_] for id_ in wanted]

    def find(self, path: str) -> Item | None:
        """The item of this path (relative to the root, forward slashes), or None."""
        return self._catalog.find(path)

    def find_sha256(self, sha256: str) -> list[Item]:
        """The items whose files have this content, by ascending id."""
        return self._catalog.find_sha256(sha256)

    def known(self) -> dict[str, tuple[int, int]]:
        """path → (size, mtime_ns) of every item, by which a build sees what has changed."""
        return self._catalog.known()

    def labels(self) -> list[str | None]:
        """Every item's label, by ascending id."""
        return self._catalog.labels()

    def attributes(self, ids: Sequence[int] | npt.NDArray[np.int64]) -> list[dict[str, Value]]:
        """The attributes of these items, in their order, by name.

        Raises:
            RetrievalError: one is not in the index.
        """
        items = self.items(ids)
        found = self._catalog.attributes([item.id for item in items])
        return [found.get(item.id, {}) for item in items]

    def attribute_kinds(self) -> dict[str, set[str]]:
        """The names of all attributes, and which of "number" and "text" their values have been."""
        return self._catalog.attribute_kinds()

    def select(self, where: str) -> npt.NDArray[np.int64]:
        """The ids, ascending, of the items that an expression matches; see :mod:`retrieval.index.filters`.

        Raises:
            RetrievalError: the expression is wrong; the sentence says where.
        """
        return self._catalog.select(where)

    # Vectors

    def vectors(self, ids: Sequence[int] | npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """The vectors, float32 (n, dim), of these ids, in their order; codes, uint8 (n, dim / 8), if they are binary.

        Raises:
            RetrievalError: one is not in the index, or a segment is damaged.
        """
        self.items(ids)  # those that were removed are still in their segment
        return self._now.vectors(np.asarray(ids, dtype=np.int64))

    def all_vectors(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
        """Every id (n,), ascending, and every vector (n, dim) or code (n, dim / 8), C-contiguous.

        Searches read the same arrays, so they must not be changed.

        Raises:
            RetrievalError: a segment is damaged.
        """
        return self._now.everything()

    def search(
        self,
        queries: npt.NDArray[Any],
        k: int,
        *,
        exclude: Sequence[Sequence[int]] | None = None,
        where: str | None = None,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """The k nearest of each query.

        A query's answer does not depend on what other queries it is asked with. Without an approximate
        structure it is exact; with one, items that came after it was built still are searched exactly.

        Args:
            queries: float32 (nq, dim), unit rows; for binary codes also uint8 (nq, dim / 8).
            k: how many are wanted; more than there are is no error.
            exclude: for each query the ids it must not get; k others come back.
            where: an expression that hits must match (:mod:`retrieval.index.filters`); if k items match, k come back.

        Returns:
            scores float32 (nq, k), inner products in [−1, 1], and ids int64 (nq, k): best first, equal scores
            by ascending id, padded with −inf and −1. The score of two codes is that of the vectors of ±1/√dim that
            they stand for: 1 − 2 · Hamming distance / dim.

        Raises:
            RetrievalError: the queries do not fit the index, the expression is wrong, or a segment is damaged.
        """
        queries = self._rows(queries, "queries")
        if k < 0:
            raise RetrievalError(f"k is {k}; ask for at least one neighbour.")
        left_out = None
        if exclude is not None:
            if len(exclude) != len(queries):
                raise RetrievalError(
                    f"There are {len(exclude)} lists of excluded ids for {len(queries)} queries; give one for each."
                )
            left_out = [np.array(sorted({*map(int, ids)}), np.int64) for ids in exclude]
        return self._now.search(queries, k, left_out, None if where is None else self._chosen(where))

    def range_search(
        self,
        queries: npt.NDArray[Any],
        score: float,
        *,
        exclude: Sequence[Sequence[int]] | None = None,
        where: str | None = None,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Everything that scores at least so much. Always exact: it looks at every vector.

        Args:
            queries: as :meth:`search` takes them.
            score: the least that counts, in [−1, 1].
            exclude: for each query the ids it must not get.
            where: an expression that hits must match.

        Returns:
            limits int64 (nq + 1,), scores float32 (m,) and ids int64 (m,): query i has those from ``limits[i]`` up to
            ``limits[i + 1]``, best first, equal scores by ascending id.

        Raises:
            RetrievalError: as :meth:`search`; or the score is no number.
        """
        queries = self._rows(queries, "queries")
        if math.isnan(score):
            raise RetrievalError("The least score is not a number; give one from -1 to 1.")
        if exclude is not None and len(exclude) != len(queries):
            raise RetrievalError(
                f"There are {len(exclude)} lists of excluded ids for {len(queries)} queries; give one for each."
            )
        found = self._now.range_search(queries, score, None if where is None else self._chosen(where))
        if exclude is not None:
            kept = [~np.isin(ids, list(left_out)) for (_, ids), left_out in zip(found, exclude, strict=True)]
            found = [(scores[keep], ids[keep]) for (scores, ids), keep in zip(found, kept, strict=True)]
        limits = np.cumsum([0, *(len(ids) for _, ids in found)], dtype=np.int64)
        return (
            limits,
            np.concatenate([np.empty(0, np.float32), *(scores for scores, _ in found)]),
            np.concatenate([np.empty(0, np.int64), *(ids for _, ids in found)]),
        )

    # Inside

    @property
    def _state(self) -> State:
        return self._now.state

    @property
    def _now(self) -> Snapshot:
        if self._snapshot is None:
            raise RetrievalError(f"The index {str(self.folder)!r} could not be opened; open it again.")
        return self._snapshot

    def _rows(self, vectors: npt.NDArray[Any], what: str) -> npt.NDArray[Any]:
        return (code_rows if self.storage == "binary" else unit_rows)(vectors, self.dim, what)

    def _chosen(self, where: str) -> tuple[str, npt.NDArray[np.int64]]:
        known = self._now.known_filter(where)
        return where, np.empty(0, np.int64) if known else self._catalog.select(where)
