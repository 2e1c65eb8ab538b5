"""What one generation of an index holds, ready to be searched: its structure, newer items, exact scores."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from retrieval.base.open_file import DamagedFileError, OpenFile
from retrieval.errors import RetrievalError
from retrieval.index.gathering import StoredRow
from retrieval.index.records import State, StructureRecord
from retrieval.index.rows import Returnable, Rows
from retrieval.index.segments import FULL_CHECK, Segment, columns

if TYPE_CHECKING:
    from retrieval.index.approximate import Approximate
    from retrieval.index.nearest.structure import Structure

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Answers = tuple[Floats, Ids]

_FILTERS = 16
"""Filters whose results are kept for the next query."""


@cache
def _searches() -> ModuleType:
    from retrieval.index import approximate  # FAISS takes a third of a second, which nothing but a search waits for

    return approximate


class Snapshot:
    """Vectors and structure of an index at one generation. It loads what it needs when it is first needed.

    Any number of threads may use one. Files are held open, so that it outlives a writer that gives them up.

    Args:
        folder: the index folder.
        state: of the catalog at this generation.
        dim: how many numbers a vector has.
        storage: what they are kept as; see :data:`retrieval.index.segments.STORAGES`.
        select: the ids, ascending, that a filter matches; what it raises is for who asks.
        in_memory: whether all vectors are copied to memory for searching.
        warnings: a sentence is added to this list where something damaged was worked around.
        before: the last generation's, whose files and vectors this one goes on using.
    """

    def __init__(
        self,
        folder: Path,
        state: State,
        dim: int,
        storage: str,
        *,
        select: Callable[[str], Ids],
        in_memory: bool,
        warnings: list[str],
        before: Snapshot | None = None,
    ) -> None:
        self._folder = folder
        self.state = state
        self.storage = storage
        self._width = columns(dim, storage)
        self._dim = dim
        self._select = select
        self._in_memory = in_memory
        self._warnings = warnings
        self._loading = threading.RLock()
        known = {} if before is None else {segment.record: segment for segment in before.segments}
        self.segments: list[Segment] = [
            known.get(record) or Segment(folder, record, dim, storage) for record in state.segments
        ]
        self._structure_file = None if state.structure is None else OpenFile(folder / state.structure.file)
        self._mapped: Rows | None = None
        self._rows: Rows | None = None
        self._live: Returnable | None = None  # None: every row may be returned
        self._is_live = False
        self._approximate: Approximate | None = None
        self._is_ready = False
        self._filtered: OrderedDict[str, Returnable] = OrderedDict()
        self._before: Rows | None = (before._rows or before._before) if before is not None and in_memory else None
        self._continued = False
        self._read: tuple[StructureRecord, Structure] | None = None
        if before is not None and before._read is not None and before._read[0] == state.structure:
            self._read = before._read
        if state.items > sum(record.rows for record in state.segments):
            raise DamagedFileError(folder, "has more items in its catalog than its segments hold")

    def __len__(self) -> int:
        return self.state.items

    def missing(self) -> bool:
        """Whether a file is not there, since a writer has given it up or since it is lost."""
        files = [segment.file for segment in self.segments]
        return any(file.missing for file in files + ([self._structure_file] if self._structure_file else []))

    def vectors(self, ids: Ids) -> npt.NDArray[Any]:
        """The vectors (n, width) of ids (n,) that are in the index."""
        rows = self._rows if self._rows is not None else self._mapped_rows()
        at = rows.at(ids)
        if len(at) and at.min() < 0:
            raise DamagedFileError(self._folder, "has items in its catalog that no segment holds")
        return rows.gather(at)

    def stored(self, ids: Ids) -> list[StoredRow]:
        """In which file, and in which row of it, the vectors of ids (n,) lie that are in the index."""
        found: list[StoredRow | None] = [None] * len(ids)
        for segment in self.segments:
            own = segment.read(full=False)[0]
            at = np.searchsorted(own, ids)
            for place in np.flatnonzero((at < len(own)) & (own[np.minimum(at, len(own) - 1)] == ids)).tolist():
                found[place] = StoredRow(segment.record, int(at[place]))
        there = [row for row in found if row is not None]
        if len(there) < len(found):
            raise DamagedFileError(self._folder, "has items in its catalog that no segment holds")
        return there

    def everything(self) -> tuple[Ids, npt.NDArray[Any]]:
        """Every id (n,), ascending, and every vector (n, width)."""
        rows, mask = self.live_rows()
        if mask is None and len(rows.arrays) == 1 and rows.arrays[0].dtype != np.float16:
            return rows.ids, rows.arrays[0]
        live = np.arange(len(rows)) if mask is None else np.flatnonzero(mask)
        return rows.ids[live], rows.gather(live)

    def ids(self) -> Ids:
        """Every id (n,), ascending."""
        rows, mask = self.live_rows()
        return rows.ids if mask is None else rows.ids[mask]

    def live_rows(self) -> tuple[Rows, npt.NDArray[np.bool_] | None]:
        """All rows, and which of them are in the index; None for all."""
        self._load_live()
        return self._load_rows(), None if self._live is None else self._live.mask

    # Searching

    def search(
        self, queries: npt.NDArray[Any], k: int, exclude: Sequence[Sequence[int]] | None, where: str | None
    ) -> Answers:
        """The k nearest; see :meth:`retrieval.index.Index.search`, which has checked the arguments.

        Args:
            queries: as segments hold vectors, but floats as float32.
            k: how many.
            exclude: for each query the ids it must not get, ascending.
            where: a filter.
        """
        if not self._is_ready:
            self._load()
        allowed = self._live if where is None else self._matching(where)
        found: Answers
        if self._approximate is None:
            found = _searches().exact(self._load_rows(), queries, k, exclude, allowed)
        else:
            found = self._approximate.search(queries, k, exclude, allowed, filtered=where is not None)
        return found

    def search_after(
        self,
        queries: npt.NDArray[Any],
        k: int,
        after: Answers,
        exclude: Sequence[Sequence[int]] | None,
        where: str | None,
    ) -> Answers:
        """The k best after a place in each query's order, a score and an id; always exact."""
        self._load_live()
        allowed = self._live if where is None else self._matching(where)
        found: Answers = _searches().exact(self._load_rows(), queries, k, exclude, allowed, after=after)
        return found

    def range_search(self, queries: npt.NDArray[Any], score: float, where: str | None) -> list[Answers]:
        """Everything that scores at least so much, best first, for each query."""
        self._load_live()
        allowed = self._live if where is None else self._matching(where)
        found: list[Answers] = _searches().range_search(self._load_rows(), queries, score, allowed)
        return found

    # Which rows may be returned

    def _matching(self, where: str) -> Returnable:
        try:
            self._filtered.move_to_end(where)
            return self._filtered[where]
        except KeyError:  # never asked for, or given up, perhaps just now by another thread
            return self.keep_filter(where, self._select(where))

    def keep_filter(self, where: str, ids: Ids) -> Returnable:
        """Have the ids, ascending, of a filter at hand."""
        rows = self._load_rows()
        mask = np.zeros(len(rows), bool)
        at = rows.at(ids)
        mask[at[at >= 0]] = True
        with self._loading:
            made = self._filtered.setdefault(where, Returnable(mask, len(ids), {}))
            if len(self._filtered) > _FILTERS:
                self._filtered.popitem(last=False)
        return made

    def keeps_filter(self, where: str) -> bool:
        """Whether the ids of a filter are at hand."""
        return where in self._filtered

    # Loading

    def _mapped_rows(self) -> Rows:
        with self._loading:
            if self._mapped is None:
                self._mapped = Rows.mapped(self.segments, self._width)
            return self._mapped

    def _load_rows(self) -> Rows:
        if self._rows is not None:
            return self._rows
        with self._loading:
            if self._rows is None:
                self._rows = (
                    Rows.loaded(self.segments, self._width, self.state.removed, self._before)
                    if self._in_memory
                    else self._mapped_rows()
                )
                self._continued, self._before = self._before is not None, None
                if self._in_memory:
                    self._mapped = None
                    for segment in self.segments:
                        segment.let_go()
            return self._rows

    def _load_live(self) -> None:
        with self._loading:
            if self._is_live:
                return
            rows = self._load_rows()
            mask = np.ones(len(rows), bool)
            if self._continued:  # a row of the last generation may have left the segments since
                held = [segment.read(full=False)[0] for segment in self.segments]
                mask = np.isin(rows.ids, np.concatenate([np.empty(0, np.int64), *held]), assume_unique=True)
            dead = rows.at(self.state.removed)
            mask[dead[dead >= 0]] = False
            live = int(np.count_nonzero(mask))
            if live != self.state.items:
                raise DamagedFileError(
                    self._folder, f"has {self.state.items:,} items in its catalog and {live:,} in its segments"
                )
            if live < len(rows):
                self._live = Returnable(mask, live, {})
            self._is_live = True

    def _load(self) -> None:
        with self._loading:
            if self._is_ready:
                return
            self._load_live()
            structure, record = self._read_structure(), self.state.structure
            if structure is not None and record is not None:
                if self._in_memory and structure.vectors is not None:
                    self._load_rows().hold(structure.vectors)
                k = record.measured.get("k")
                self._approximate = _searches().Approximate(
                    structure, record.parameters, record.ids, self._load_rows(),
                    k if isinstance(k, int) and k > 0 else _searches().PARAMETERS_K,
                )  # fmt: skip
            self._is_ready = True

    def _read_structure(self) -> Structure | None:
        """The structure that the catalog names, checked; None where it cannot be used, which goes to the warnings."""
        record, file = self.state.structure, self._structure_file
        if record is None or file is None:
            return None
        if self._read is not None:
            return self._read[1]
        from retrieval.index.nearest import kinds

        mapped = not self._in_memory
        try:
            # FAISS trusts what it reads.
            file.check(record.size, record.checksum, full=not mapped or record.size <= FULL_CHECK)
            structure = kinds.read(record.factory, Path(file.name), self._dim, record.items, mapped=mapped)
        except DamagedFileError as error:
            self._warnings.append(
                f"{str(file.path)!r} {error.problem}; searching exactly instead, until the index is built again."
            )
            return None
        except RetrievalError as error:  # its library is not installed
            self._warnings.append(f"{error} Until then every vector is looked at.")
            return None
        self._read = record, structure
        return structure
