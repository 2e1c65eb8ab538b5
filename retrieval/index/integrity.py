"""Whether an index is whole: every checksum, every count, every reference."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from retrieval.base import progress
from retrieval.base.files import TEMPORARY
from retrieval.base.open_file import DamagedFileError, OpenFile
from retrieval.errors import RetrievalError
from retrieval.index import segments
from retrieval.index.catalog import FILE as CATALOG
from retrieval.index.catalog import Catalog
from retrieval.index.folder import ENCODER, STRUCTURES, is_ours, require, require_own
from retrieval.index.lock import ReaderMark
from retrieval.index.records import SegmentRecord, State, StructureRecord
from retrieval.index.segments import Segment
from retrieval.index.vectors import UNIT_TOLERANCE

Ids = npt.NDArray[np.int64]

_BLOCK = 1 << 20
"""Numbers whose lengths are computed at a time: 8 MB as float64."""

_ROUNDED = 2.0**-10
"""How much longer or shorter a vector can become, at most, when it is kept as float16."""

_LINES = 10
"""How much of SQLite's own check is passed on."""

_LAST = "(SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'generation')"
_STAMPS = (
    f"typeof(added) != 'integer' OR added > {_LAST} OR typeof(removed) NOT IN ('integer', 'null') OR "
    f"removed > {_LAST} OR removed < added"
)

_IMPOSSIBLE = {
    "items that are not made of what they should be": "SELECT count(*) FROM items WHERE typeof(id) != 'integer' OR "
    "typeof(path) != 'text' OR path = '' OR typeof(label) NOT IN ('text', 'null') OR typeof(width) != 'integer' OR "
    "typeof(height) != 'integer' OR typeof(size) != 'integer' OR typeof(mtime_ns) != 'integer' OR "
    "typeof(sha256) != 'text'",
    "items that are there twice": "SELECT count(*) FROM (SELECT id FROM items WHERE removed IS NULL GROUP BY id "
    "HAVING count(*) > 1)",
    "paths that two items have": "SELECT count(*) FROM (SELECT path FROM items WHERE removed IS NULL GROUP BY path "
    "HAVING count(*) > 1)",
    "items with an id that is still to be given": "SELECT count(*) FROM items WHERE id < 0 OR id >= "
    "(SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'next_id')",
    "items from a change that never was": f"SELECT count(*) FROM items WHERE {_STAMPS}",  # noqa: S608
    "attributes of items that are not there": "SELECT count(*) FROM attributes WHERE removed IS NULL AND item NOT IN "
    "(SELECT id FROM items WHERE removed IS NULL)",
    "attributes that an item has twice": "SELECT count(*) FROM (SELECT item FROM attributes WHERE removed IS NULL "
    "GROUP BY item, name HAVING count(*) > 1)",
    "attributes that are neither number nor text": "SELECT count(*) FROM attributes WHERE typeof(name) != 'text' OR "
    "typeof(value) NOT IN ('integer', 'real', 'text')",
    "attributes from a change that never was": f"SELECT count(*) FROM attributes WHERE {_STAMPS}",  # noqa: S608
    "attributes of a kind that filters do not know of": "SELECT count(*) FROM attributes WHERE removed IS NULL AND "
    "(name, iif(typeof(value) = 'text', 'text', 'number')) NOT IN (SELECT name, kind FROM attribute_kinds)",
    "segments with a number that is still to be given": "SELECT count(*) FROM segments WHERE id < 1 OR id >= "
    "(SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'next_segment')",
    "files that are given up and still in use": "SELECT count(*) FROM garbage WHERE file IN "
    "(SELECT file FROM segments UNION SELECT file FROM structures)",
}
"""What no catalog holds, and how to count it; each is one statement, so that it sees one state."""


class Problem(NamedTuple):
    """One thing that is wrong.

    Attributes:
        what: in words that follow the name of the place.
        where: the file, relative to the index's folder; the address of an index that a database holds.
        rebuildable: whether it is derived from what is still there, so that nothing is lost.
    """

    what: str
    where: str
    rebuildable: bool

    @property
    def remedy(self) -> str:
        """What to do about it, a sentence."""
        if "://" in self.where:
            return "Export the index anew with --overwrite, or bring the database back from a copy."
        if self.rebuildable:
            return "Nothing is lost: search is exact until `retrieval build` or `retrieval tune` makes it again."
        if self.where.partition("/")[0] == ENCODER:
            return (
                "Queries by id or by a picture of the index still work, new pictures cannot be asked for or added; "
                "bring the folder back from a copy, or from the run that trained the model."
            )
        return "Bring it back from a copy, or build the index again from the pictures with --overwrite."


@dataclass(frozen=True)
class Verification:
    """What came of checking an index.

    Attributes:
        folder: of the index, or its address.
        problems: all that is wrong.
        notes: what is no damage and worth knowing (what a killed writer left behind), a sentence each.
        counts: of what was checked: items, removed, attributes, segments, vectors, structures, bytes.
    """

    folder: Path | str
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    counts: Mapping[str, int]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "folder": str(self.folder),
            "ok": self.ok,
            "problems": [{**problem._asdict(), "remedy": problem.remedy} for problem in self.problems],
            "notes": list(self.notes),
            "counts": dict(self.counts),
        }


def verify(folder: str | Path) -> Verification:
    """Check all of an index; nothing is changed, and it need not be in a state in which it can be opened.

    A writer may work meanwhile: what is checked is the state at the beginning.

    Raises:
        RetrievalError: there is no index in this folder, or links or pipes stand behind its own names.
    """
    folder = Path(folder)
    require(folder)
    require_own(folder)
    mark = ReaderMark(folder)  # so that nothing is forgotten for good meanwhile
    try:
        check = _Check(folder)
        check.run()
    finally:
        mark.release()
    return Verification(folder, tuple(check.problems), tuple(check.notes), check.counts)


class _Check:
    """One verification at work.

    Attributes:
        problems, notes, counts: what it has found so far.
    """

    def __init__(self, folder: Path) -> None:
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.counts: dict[str, int] = {}
        self._folder = folder

    def run(self) -> None:
        with self._told(), contextlib.closing(Catalog(self._folder, write=False)) as catalog:
            with self._told():
                state, held, structure = self._open(catalog)
                self.counts |= {"items": state.items, "removed": len(state.removed), "segments": len(held)}
            if "segments" not in self.counts:
                self._check_catalog(catalog)
                return
            catalog.keep_in_memory()
            beside = _Check(self._folder)
            with ThreadPoolExecutor(1) as pool:
                # SQLite lets other threads run, and so does the checksum of a file.
                looking = pool.submit(beside._check_catalog, catalog)
                try:
                    there = self._check_files(catalog, state, held, structure)
                    looking.result()
                except BaseException:
                    catalog.interrupt()
                    raise
            self.problems[:0] = beside.problems
            self.counts |= beside.counts
            with self._told():
                self._check_items(catalog, state, there)
            with self._told():
                self._look_around(catalog, {segment.record.file for segment in held}, state.structure)

    def _open(self, catalog: Catalog) -> tuple[State, list[Segment], OpenFile | None]:
        """One state of the catalog, and its files, open: a writer may give them up from now on."""
        dim, storage = int(catalog.meta["dim"]), str(catalog.meta["storage"])
        before = -1
        while True:
            state = catalog.state()
            held = [Segment(self._folder, record, dim, storage) for record in state.segments]
            structure = None if state.structure is None else OpenFile(self._folder / state.structure.file)
            files = [segment.file for segment in held] + ([] if structure is None else [structure])
            # Lost, unless a writer has given it up between our reading of the catalog and our opening of the file.
            if state.generation == before or not any(file.missing for file in files):
                return state, held, structure
            before = state.generation

    # The catalog

    def _check_catalog(self, catalog: Catalog) -> None:
        with self._told():
            for (line,) in catalog.all(f"PRAGMA integrity_check({_LINES})"):
                if line != "ok":
                    self._say(f"is damaged: {' '.join(str(line).split())}", CATALOG)
        with self._told():
            ((page,),) = catalog.all("PRAGMA page_size")
            size = (self._folder / CATALOG).stat().st_size
            log = self._folder / (CATALOG + "-wal")
            # SQLite takes what is missing of the last page for zeros, if no log has that page.
            if size % page and not (log.exists() and log.stat().st_size):
                self._say(f"is damaged: {size:,} bytes are no whole number of pages of {page:,}", CATALOG)
        for what, sql in _IMPOSSIBLE.items():
            with self._told():
                ((count,),) = catalog.all(sql)
                if count:
                    self._say(f"names {count:,} {what}", CATALOG)
        with self._told():
            ((self.counts["attributes"],),) = catalog.all("SELECT count(*) FROM attributes WHERE removed IS NULL")

    # The files

    def _check_files(self, catalog: Catalog, state: State, held: list[Segment], structure: OpenFile | None) -> Ids:
        """The ids of all vectors that can be read."""
        records: list[SegmentRecord | StructureRecord] = [*state.segments]
        records += [] if state.structure is None else [state.structure]
        self.counts |= {"structures": len(records) - len(held), "bytes": sum(record.size for record in records)}
        with progress.bar(self.counts["bytes"], "Verifying", "B", unit_scale=True) as bar:
            there = [np.empty(0, np.int64)]
            for segment in held:
                with self._told():
                    there.append(self._check_segment(segment, there[-1]))
                bar.update(segment.record.size)
            if state.structure is not None and structure is not None:
                with self._told():
                    self._check_structure(catalog, state.structure, structure)
                bar.update(state.structure.size)
        self.counts["vectors"] = sum(map(len, there))
        return np.concatenate(there)

    def _check_segment(self, segment: Segment, before: Ids) -> Ids:
        """Its ids, which must come after those of the segment before."""
        ids, vectors = segment.read(full=True)
        if len(before) and ids[0] <= before[-1]:
            self._say("holds ids that the segments before it hold, or that stand before theirs", segment.record.file)
        if vectors.dtype != np.uint8:
            allowed = UNIT_TOLERANCE + (_ROUNDED if vectors.dtype == np.float16 else 0)
            step = max(1, _BLOCK // vectors.shape[1])
            wrong = 0
            for start in range(0, len(vectors), step):
                block = vectors[start : start + step].astype(np.float64)
                wrong += int(np.count_nonzero(~(np.abs(np.sqrt(np.vecdot(block, block)) - 1) <= allowed)))
            if wrong:
                self._say(f"holds {wrong:,} vectors that are not of unit length", segment.record.file)
        return ids

    def _check_structure(self, catalog: Catalog, record: StructureRecord, file: OpenFile) -> None:
        from retrieval.index.nearest import kinds

        if record.last_item >= int(catalog.meta["next_id"]):
            self._say(f"is said to hold item {record.last_item}, which never was", record.file, rebuildable=True)
        if not all(isinstance(value, int) for value in record.parameters.values()):
            self._say(f"is to be searched with {dict(record.parameters)}", record.file, rebuildable=True)
        recall = record.measured.get("recall", 0.0)
        if not (isinstance(recall, int | float) and 0 <= recall <= 1):
            self._say(f"is said to have a recall of {recall!r}", record.file, rebuildable=True)
        file.check(record.size, record.checksum, full=True)
        try:
            kinds.read(record.factory, Path(file.name), int(catalog.meta["dim"]), record.items)
        except DamagedFileError as error:
            self._say(error.problem, record.file, rebuildable=True)

    def _check_items(self, catalog: Catalog, state: State, there: Ids) -> None:
        """Every item has one vector, and every vector is an item's."""
        with catalog.damage_is_said():
            rows = catalog.all("SELECT DISTINCT id FROM items WHERE added <= :now ORDER BY id")
            known = np.unique(np.fromiter((id_ for (id_,) in rows), np.int64, len(rows)))
        live = np.setdiff1d(known, state.removed, assume_unique=True)
        if len(live) != state.items:
            self._say(f"names {len(live):,} items and counts {state.items:,}", CATALOG)
        lacking = len(np.setdiff1d(live, there))
        if lacking:
            self._say(f"hold no vector, or none that can be read, for {lacking:,} items", segments.FOLDER)
        strangers = len(np.setdiff1d(there, known))
        if strangers:
            self._say(f"hold vectors of {strangers:,} items that never were", segments.FOLDER)

    def _look_around(self, catalog: Catalog, named: set[str], structure: StructureRecord | None) -> None:
        """Note the files that belong to nobody."""
        named |= set() if structure is None else {structure.file}
        garbage = catalog.garbage()
        places = [self._folder.glob("*" + TEMPORARY)]
        places += [(self._folder / name).glob("*") for name in (segments.FOLDER, STRUCTURES)]
        unfinished = segments.file_name(int(catalog.meta["next_segment"]))
        for path in sorted(path for place in places for path in place):
            name = path.relative_to(self._folder).as_posix()
            if name in named:
                continue
            left = (
                "/" in name
                and is_ours(name)
                and (name.startswith(STRUCTURES) or name.endswith((TEMPORARY, segments.PART)))
            )
            goes = left or name in garbage or name == unfinished
            self.notes.append(
                f"{name!r} is no part of the index; the next writer deletes it."
                if goes
                else f"{name!r} is no part of the index; nothing touches it."
            )

    # Telling

    def _say(self, what: str, where: str, *, rebuildable: bool = False) -> None:
        self.problems.append(Problem(what, where, rebuildable))

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """An error becomes a problem, and what comes after it is checked all the same."""
        try:
            yield
        except DamagedFileError as error:
            place = error.path.relative_to(self._folder).as_posix() if error.path != self._folder else CATALOG
            self._say(error.problem, place, rebuildable=place.startswith(STRUCTURES + "/"))
        except RetrievalError as error:
            reason = str(error.__cause__ or error)
            self._say(f"cannot be used: {' '.join(reason.split())}", CATALOG)
