"""What one generation of an index holds, ready to be searched: its structure, newer items, exact scores."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from retrieval.base.open_file import DamagedFileError, OpenFile
from retrieval.errors import RetrievalError
from retrieval.index.records import State, StructureRecord
from retrieval.index.rows import Rows
from retrieval.index.segments import FULL_CHECK, Segment, columns

if TYPE_CHECKING:
    from retrieval.index.nearest.exact import Allowed
    from retrieval.index.nearest.structure import Structure

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Answers = tuple[Floats, Ids]

_FEW = 25
"""A filter that leaves fewer than √(_FEW · k · n) of n items is searched exactly: ``benchmarks/filters.py`` shows where
the two ways cost the same."""

_MORE = 1.5
"""How many more candidates a structure is asked for than would do if a filter's items lay evenly."""

_FILTERS = 16
"""Filters whose results are kept for the next query."""


@cache
def _nearest() -> ModuleType:
    from retrieval.index import nearest  # FAISS takes a third of a second, which nothing but a search need wait for

    return nearest


class _Ready(NamedTuple):
    """What a search needs besides the rows."""

    searcher: Searcher
    rows: Ids | None  # the row of each position, −1 for an item that is gone; None if position and row are the same
    tail: int  # rows from here on came after the structure was built
    plain: Floats | None  # the vectors of all rows, if these are the structure's positions, all in memory and live


class _Filtered(NamedTuple):
    """Which rows a search may return."""

    mask: npt.NDArray[np.bool_]
    rows: int
    pieces: dict[int, Allowed | None]  # by the first row of a piece


class Snapshot:
    """Vectors and structure of an index at one generation. It loads what it needs when it is first needed.

    Any number of threads may use one. Files are held open, so that it outlives a writer that gives them up.

    Args:
        folder: the index folder.
        state: of the catalog at this generation.
        dim: how many numbers a vector has.
        storage: what they are kept as; see :data:`retrieval.index.segments.STORAGES`.
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
        in_memory: bool,
        warnings: list[str],
        before: Snapshot | None = None,
    ) -> None:
        self._folder = folder
        self.state = state
        self.storage = storage
        self._width = columns(dim, storage)
        self._dim = dim
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
        self._live: _Filtered | None = None  # None: every row may be returned
        self._is_live = False
        self._ready: _Ready | None = None
        self._is_ready = False
        self._filtered: OrderedDict[str, _Filtered] = OrderedDict()
        self._before: Rows | None = (before._rows or before._before) if before is not None and in_memory else None
        self._continued = False
        self._read: tuple[StructureRecord, Searcher] | None = None
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
        self, queries: npt.NDArray[Any], k: int, exclude: Sequence[Ids] | None, chosen: tuple[str, Ids] | None
    ) -> Answers:
        """The k nearest; see :meth:`retrieval.index.Index.search`, which has checked the arguments.

        Args:
            queries: as segments hold vectors, but floats as float32.
            k: how many.
            exclude: for each query the ids it must not get, ascending.
            chosen: an expression and the ids, ascending, that it selects.
        """
        if not self._is_ready:
            self._load()
        allowed = self._live if chosen is None else self._filter(*chosen)
        if self._ready is None:
            return self._exact(queries, k, exclude, allowed)
        return self._approximate(self._ready, queries, k, exclude, allowed, chosen is not None)

    def range_search(self, queries: npt.NDArray[Any], score: float, chosen: tuple[str, Ids] | None) -> list[Answers]:
        """Everything that scores at least so much, best first, for each query."""
        nearest = _nearest()
        search: Any = nearest.range_search
        if self.storage == "binary":
            from retrieval.index.nearest.hamming import hamming_range_search

            search = hamming_range_search
        self._load_live()
        allowed = self._live if chosen is None else self._filter(*chosen)
        found: list[list[Answers]] = [[] for _ in queries]
        rows = self._load_rows()
        for where, vectors in rows.pieces():
            some = self._piece(allowed, where)
            for row, answer in enumerate(search(queries, vectors, rows.ids[where], score, some)):
                found[row].append(answer)
        out = []
        for parts in found:
            scores = np.concatenate([np.empty(0, np.float32), *(scores for scores, _ in parts)])
            ids = np.concatenate([np.empty(0, np.int64), *(ids for _, ids in parts)])
            order = np.lexsort((ids, -scores))
            out.append((scores[order], ids[order]))
        return out

    def _exact(
        self,
        queries: npt.NDArray[Any],
        k: int,
        exclude: Sequence[Ids] | None,
        allowed: _Filtered | None,
        first: int = 0,
    ) -> Answers:
        """The k best of all rows from `first` on."""
        nearest = _nearest()
        search: Any = nearest.exact_search
        if self.storage == "binary":
            from retrieval.index.nearest.hamming import exact_hamming

            search = exact_hamming
        rows = self._load_rows()
        parts: list[Answers] = []
        for where, vectors in rows.pieces(first):
            some = self._piece(allowed, where)
            parts.append(search(queries, vectors, rows.ids[where], k, exclude, some))
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1, np.int64)
        merged: Answers = nearest.merge(parts, k)
        return merged

    def _approximate(
        self,
        ready: _Ready,
        queries: Floats,
        k: int,
        exclude: Sequence[Ids] | None,
        allowed: _Filtered | None,
        filtered: bool,
    ) -> Answers:
        nearest = _nearest()
        structure, parameters = ready.searcher.structure, ready.searcher.parameters
        rows = self._load_rows()
        spare = nearest.SPARE[0] + (0 if exclude is None else max(map(len, exclude), default=0))
        count, few = k + spare, False
        if allowed is not None:
            # Asking for more and dropping what may not be returned finds more, and faster, than having the structure
            # select: a graph that may return one node in ten still has to walk over the others.
            count = spare + math.ceil(_MORE * k * len(rows) / max(allowed.rows, 1))
            few = filtered and allowed.rows <= max(math.sqrt(_FEW * k * len(rows)), 10 * k)
        # A structure is no help where a good part of it is asked for, or where few may be returned.
        if 10 * count > len(structure) or few or not k or not len(queries) or not len(rows):
            return self._exact(queries, k, exclude, allowed)
        asked = min(count * parameters.get("candidates", 1), len(structure))
        found = structure.candidates(queries, asked, ready.searcher.effort(k, spare))
        if len(queries) == 1 and ready.plain is not None and allowed is None and exclude is None:
            if asked > 2 * count:
                found = nearest.shortlist(queries, ready.plain, found, count)
            answer = nearest.rank_one(queries, found[0], ready.plain, k)
            if answer is not None:
                return answer[0], rows.ids[answer[1]]
        if ready.rows is not None:
            found = np.where(found < 0, -1, ready.rows[found])
        if allowed is not None:
            found[~allowed.mask[found]] = -1  # where it is -1 already, it stays so
        if found.shape[1] > 2 * count and len(rows.arrays) == 1 and rows.arrays[0].dtype == np.float32:
            found = nearest.shortlist(queries, rows.arrays[0], np.ascontiguousarray(found), count)
        if exclude is not None:
            for row, left_out in zip(found, exclude, strict=True):
                row[np.isin(row, rows.at(left_out))] = -1
        scores, best = nearest.rank(queries, found, rows.gather, k)
        ids = rows.ids[best]
        short = bool(best[:, -1].min() < 0)
        if short:
            ids[best < 0] = -1
        if ready.tail < len(rows):
            late = self._exact(queries, k, exclude, allowed, ready.tail)
            scores, ids = nearest.merge([(scores, ids), late], k)
        if short:  # parts of a graph can be out of reach, and filters can leave less than is there
            lacking = np.flatnonzero(best[:, -1] < 0)
            some = None if exclude is None else [exclude[int(query)] for query in lacking]
            scores[lacking], ids[lacking] = self._exact(queries[lacking], k, some, allowed)
        return scores, ids

    # Which rows may be returned

    def _filter(self, expression: str, ids: Ids) -> _Filtered:
        with self._loading:
            if expression in self._filtered:
                self._filtered.move_to_end(expression)
                return self._filtered[expression]
            rows = self._load_rows()
            mask = np.zeros(len(rows), bool)
            at = rows.at(ids)
            mask[at[at >= 0]] = True
            made = _Filtered(mask, len(ids), {})
            self._filtered[expression] = made
            if len(self._filtered) > _FILTERS:
                self._filtered.popitem(last=False)
            return made

    def known_filter(self, expression: str) -> bool:
        """Whether the ids of an expression are at hand."""
        return expression in self._filtered

    @staticmethod
    def _piece(allowed: _Filtered | None, where: slice) -> Allowed | None:
        """What may be returned of one piece; None for all of it."""
        if allowed is None:
            return None
        if where.start not in allowed.pieces:
            from retrieval.index.nearest import Allowed

            mask = allowed.mask[where]
            allowed.pieces[where.start] = None if mask.all() else Allowed(mask)
        return allowed.pieces[where.start]

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
                self._live = _Filtered(mask, live, {})
            self._is_live = True

    def _load(self) -> None:
        with self._loading:
            if self._is_ready:
                return
            self._load_live()
            searcher = self._read_structure()
            self._ready = None if searcher is None else self._make_ready(searcher)
            self._is_ready = True

    def _make_ready(self, searcher: Searcher) -> _Ready:
        rows = self._load_rows()
        ids = searcher.ids
        same = len(ids) <= len(rows) and (rows.ids[: len(ids)] == ids).all()
        tail = int(np.searchsorted(rows.ids, ids[-1], side="right"))
        plain = None
        if same and tail == len(rows) and len(rows.arrays) == 1 and rows.arrays[0].dtype == np.float32:
            plain = rows.arrays[0]
        return _Ready(searcher, None if same else rows.at(ids), tail, plain)

    def _read_structure(self) -> Searcher | None:
        record, file = self.state.structure, self._structure_file
        if record is None or file is None:
            return None
        if self._read is None:
            searcher = read_searcher(record, file, self._dim, mapped=not self._in_memory, warnings=self._warnings)
            if searcher is None:
                return None
            self._read = record, searcher
        return self._read[1]


class Searcher(NamedTuple):
    """A structure, and how it is asked.

    Attributes:
        structure: the structure.
        parameters: those of its search. ``candidates`` is how many times k are scored exactly.
        ids: int64 (m,), ascending: the item at each of its positions.
        k: neighbours that the parameters were chosen for; more of them take more effort.
    """

    structure: Structure
    parameters: Mapping[str, int]
    ids: Ids
    k: int = 10

    def effort(self, k: int, spare: int) -> Mapping[str, int]:
        """The parameters for k neighbours, of which `spare` more are asked for.

        An effort that finds ten finds few of a hundred. How many candidates are scored grows with k by itself.
        """
        if k <= self.k:
            return self.parameters
        times = (k + spare) / (self.k + spare)
        return {
            name: value if name == "candidates" else math.ceil(value * times) for name, value in self.parameters.items()
        }


def read_searcher(
    record: StructureRecord, file: OpenFile, dim: int, *, mapped: bool, warnings: list[str]
) -> Searcher | None:
    """The structure that an index's catalog names, checked; None where it cannot be used.

    Args:
        record: what the catalog knows of it.
        file: where it lies.
        dim: numbers in a vector.
        mapped: leave what is large on the disk.
        warnings: takes in a sentence that says why it cannot be used.
    """
    from retrieval.index.nearest import kinds

    try:
        # FAISS trusts what it reads.
        file.check(record.size, record.checksum, full=not mapped or record.size <= FULL_CHECK)
        structure = kinds.read(record.factory, Path(file.name), dim, record.items, mapped=mapped)
    except DamagedFileError as error:
        warnings.append(
            f"{str(file.path)!r} {error.problem}; searching exactly instead, until the index is built again."
        )
        return None
    except RetrievalError as error:  # its library is not installed
        warnings.append(f"{error} Until then every vector is looked at.")
        return None
    measured_k = record.measured.get("k")
    k = measured_k if isinstance(measured_k, int) and measured_k > 0 else 10
    return Searcher(structure, record.parameters, record.ids, k)
