"""What one generation of an index holds, ready to be searched."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from retrieval.index.damage import DamagedFileError, check
from retrieval.index.records import SegmentRecord, StructureRecord
from retrieval.index.segments import Segments

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


class _Loaded(NamedTuple):
    """What a search needs: everything if there is no structure, what came after it otherwise."""

    structure: Any
    ids: Ids
    vectors: Floats


class Snapshot:
    """Vectors and structure of an index at one generation. It loads what it needs when it is first needed.

    Any number of threads may use one.

    Args:
        folder: the index folder.
        segments: those of this generation.
        removed: ids that a segment holds and the index no longer does, ascending.
        structure: the approximate structure, if there is one.
        dim: how many numbers a vector has.
        warnings: a sentence is added to this list where something damaged was worked around.
    """

    def __init__(
        self,
        folder: Path,
        segments: Sequence[SegmentRecord],
        removed: Ids,
        structure: StructureRecord | None,
        dim: int,
        warnings: list[str],
    ) -> None:
        self.segments = tuple(segments)
        self.removed = removed
        self.structure = structure
        self._folder = folder
        self._segments = Segments(folder, segments, dim)
        self._dim = dim
        self._warnings = warnings
        self._loading = threading.RLock()
        self._loaded: _Loaded | None = None
        self._everything: tuple[Ids, Floats] | None = None
        if len(removed) > sum(record.rows for record in segments):
            raise DamagedFileError(folder, "has fewer items than its catalog says were removed")

    def __len__(self) -> int:
        return sum(record.rows for record in self.segments) - len(self.removed)

    def rows(self, ids: Ids) -> Floats:
        """The vectors (n, d) of ids (n,) that are in the index."""
        with self._loading:
            everything = self._everything
        if everything is not None:
            return everything[1][np.searchsorted(everything[0], ids)]
        return self._segments.rows(ids)

    def everything(self) -> tuple[Ids, Floats]:
        """Every id (n,), ascending, and every vector (n, d)."""
        with self._loading:
            if self._everything is None:
                self._everything = self._segments.load(self.removed)
            return self._everything

    def search(self, queries: Floats, k: int, exclude: Sequence[Ids] | None) -> tuple[Floats, Ids]:
        """The k nearest; see :meth:`retrieval.index.Index.search`, which has checked the arguments."""
        from retrieval.index import (
            nearest,  # FAISS takes a third of a second, which nothing else need wait for
        )

        loaded = self._load()
        late = nearest.exact_search(queries, loaded.vectors, loaded.ids, k, exclude)
        if loaded.structure is None:
            return late
        count = k + max(map(len, exclude or ()), default=0) + nearest.SPARE[0]
        if 10 * count > len(loaded.structure):  # so many that a graph is no help
            ids, vectors = self.everything()
            return nearest.exact_search(queries, vectors, ids, k, exclude)
        candidates = loaded.structure.candidates(queries, count, self.removed)
        for row, left_out in zip(candidates, exclude or (), strict=False):
            row[np.isin(row, left_out)] = -1
        early = nearest.rank(queries, candidates, self.rows, k)
        scores, found = nearest.merge([early, late], k)
        short = np.flatnonzero((early[1] < 0).any(axis=1))  # parts of a graph can be out of reach
        if len(short):
            ids, vectors = self.everything()
            some = None if exclude is None else [exclude[int(query)] for query in short]
            scores[short], found[short] = nearest.exact_search(queries[short], vectors, ids, k, some)
        return scores, found

    def _load(self) -> _Loaded:
        with self._loading:
            if self._loaded is None:
                structure = self._read_structure()
                if structure is None or self.structure is None:
                    self._loaded = _Loaded(None, *self.everything())
                else:
                    late = self._segments.load(self.removed, self.structure.last_item)
                    self._loaded = _Loaded(structure, *late)
            return self._loaded

    def _read_structure(self) -> Any:
        from retrieval.index import nearest

        record = self.structure
        if record is None:
            return None
        path = self._folder / record.file
        try:
            check(path, record.size, record.sha256, full=True)  # FAISS trusts what it reads
            return nearest.Structure.read(path, record.parameters, self._dim, record.items)
        except DamagedFileError as error:
            self._warnings.append(
                f"{str(path)!r} {error.problem}; searching exactly instead, until the index is built again."
            )
            return None
