"""The catalog: one SQLite file that says what is in the index; whatever it does not name is not in it.

It runs in SQLite's write-ahead mode, in which readers and the one writer do not wait for each other. Every
change is one transaction with a number, its *generation*: rows say in which generation they came and went,
and a reader keeps to the generation that it found when it opened. So it sees one state however long it lives,
and holds no lock for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any
from urllib.parse import quote

from retrieval.errors import RetrievalError
from retrieval.files import write_durably
from retrieval.index.records import Item, NewItem, SegmentRecord, StructureRecord

FILE = "catalog.sqlite"
APPLICATION_ID = 0x52545256  # "RTRV"; `file catalog.sqlite` shows it
FORMAT_VERSION = 1

_SCHEMA = """
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
CREATE TABLE segments (
    id     INTEGER PRIMARY KEY,
    file   TEXT NOT NULL UNIQUE,
    rows   INTEGER NOT NULL,
    size   INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    added  INTEGER NOT NULL
);
CREATE TABLE items (
    id       INTEGER PRIMARY KEY,
    path     TEXT NOT NULL,
    label    TEXT,
    width    INTEGER NOT NULL,
    height   INTEGER NOT NULL,
    size     INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    sha256   TEXT NOT NULL,
    segment  INTEGER NOT NULL REFERENCES segments (id),
    row      INTEGER NOT NULL,
    added    INTEGER NOT NULL,
    removed  INTEGER
);
CREATE UNIQUE INDEX items_by_path ON items (path, coalesce(removed, 0));
CREATE INDEX items_removed ON items (removed) WHERE removed IS NOT NULL;
CREATE TABLE structures (
    id         INTEGER PRIMARY KEY,
    file       TEXT NOT NULL UNIQUE,
    factory    TEXT NOT NULL,
    parameters TEXT NOT NULL,
    items      INTEGER NOT NULL,
    last_item  INTEGER NOT NULL,
    recall     REAL NOT NULL,
    queries    INTEGER NOT NULL,
    size       INTEGER NOT NULL,
    sha256     TEXT NOT NULL,
    added      INTEGER NOT NULL
);
CREATE TABLE skipped (
    path   TEXT NOT NULL,
    reason TEXT NOT NULL
);
"""

_ITEM = "id, path, label, width, height, size, mtime_ns, sha256"
_LIVE = "added <= :now AND (removed IS NULL OR removed > :now)"


def require(folder: Path) -> None:
    """See to it that a folder is an index, as far as a look at its names tells.

    Raises:
        RetrievalError: it is none, or may not be looked into.
    """
    try:
        if (folder / FILE).is_file():
            return
        if folder.is_dir():
            raise RetrievalError(
                f"{str(folder)!r} is not an index (it has no {FILE}); make one with `retrieval build`."
            )
    except OSError as error:
        raise RetrievalError(f"{str(folder)!r} cannot be read ({error.strerror}); check its permissions.") from error
    raise RetrievalError(f"There is no index at {str(folder)!r}; make one with `retrieval build`.")


class Catalog:
    """One open catalog. The only place that speaks SQL; a damaged file is noticed here and nowhere else."""

    def __init__(self, folder: Path, *, write: bool) -> None:
        """Open the catalog of an index folder, which :func:`require` has seen.

        Raises:
            RetrievalError: it is damaged, or a newer release wrote it.
        """
        self._path = folder / FILE
        self._copy: Any = None  # a temporary folder, where the log of a read-only catalog is read
        with self._damage_is_said():
            self._connection = self._connect(write)
        self._meta: Mapping[str, Any] = {"generation": 0}  # until it has been read
        try:
            self._meta = self._read_meta()
        except BaseException:
            self.close()
            raise

    @staticmethod
    def create(folder: Path, meta: Mapping[str, object]) -> None:
        """Write an empty catalog into a folder that has none.

        Raises:
            RetrievalError: the folder cannot be written.
        """
        with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
            connection.executescript(
                f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT_VERSION};" + _SCHEMA
            )
            connection.executemany(
                "INSERT INTO meta VALUES (?, ?)",
                [(key, json.dumps(value)) for key, value in {"generation": 0, "next_id": 0, **meta}.items()],
            )
            write_durably(folder / FILE, connection.serialize())

    def close(self) -> None:
        """Let go of the file. Calling it twice is harmless."""
        self._connection.close()
        if self._copy is not None:
            self._copy.cleanup()

    @property
    def meta(self) -> Mapping[str, Any]:
        """What the index knows about itself, as it was when opened or last changed here."""
        return self._meta

    @property
    def generation(self) -> int:
        """The number of the last change that is seen here."""
        return int(self._meta["generation"])

    # Reading

    def segments(self) -> list[SegmentRecord]:
        """Every segment, by ascending id."""
        rows = self._all("SELECT id, file, rows, size, sha256 FROM segments WHERE added <= :now ORDER BY id")
        records = []
        with self._damage_is_said():
            for id_, file, count, size, sha256 in rows:
                if not (_is_within(file) and int(count) > 0):
                    raise ValueError(f"segment {id_} is said to have {count} rows in {file!r}")
                records.append(SegmentRecord(int(id_), file, int(count), int(size), str(sha256)))
        return records

    def structure(self) -> StructureRecord | None:
        """The approximate structure in use, if there is one."""
        rows = self._all(
            "SELECT file, factory, parameters, items, last_item, recall, queries, size, sha256 FROM structures "
            "WHERE added <= :now ORDER BY id DESC LIMIT 1"
        )
        with self._damage_is_said():
            for file, factory, parameters, items, last, recall, queries, size, sha in rows:
                if not _is_within(file):
                    raise ValueError(f"a structure is said to lie in {file!r}")
                return StructureRecord(
                    str(file), str(factory), dict(json.loads(parameters)), int(items), int(last),
                    float(recall), int(queries), int(size), str(sha),
                )  # fmt: skip
        return None

    def files(self) -> set[str]:
        """Every file that belongs to the index, relative to its folder."""
        return {str(file) for (file,) in self._all("SELECT file FROM segments UNION SELECT file FROM structures")}

    def removed(self) -> list[int]:
        """Ids that are no longer in the index but still in a segment, ascending."""
        rows = self._all("SELECT id FROM items WHERE removed IS NOT NULL AND removed <= :now ORDER BY id")
        return [id_ for (id_,) in rows]

    def items(self, ids: Sequence[int]) -> dict[int, Item]:
        """The items among these ids that are in the index."""
        found: dict[int, Item] = {}
        for start in range(0, len(ids), 500):
            block = ids[start : start + 500]
            marks = ",".join(str(int(id_)) for id_ in block)  # integers, so nothing to escape
            for row in self._all(f"SELECT {_ITEM} FROM items WHERE id IN ({marks}) AND {_LIVE}"):  # noqa: S608
                found[row[0]] = self._item(row)
        return found

    def find(self, path: str) -> Item | None:
        """The item of this path."""
        for row in self._all(f"SELECT {_ITEM} FROM items WHERE path = :path AND {_LIVE}", path=path):  # noqa: S608
            return self._item(row)
        return None

    def among(self, paths: Iterable[str]) -> str | None:
        """One of these paths that is in the index already, or None."""
        for path in paths:
            if self.find(path) is not None:
                return path
        return None

    def known(self) -> dict[str, tuple[int, int]]:
        """path → (size, mtime_ns) of every item."""
        rows = self._all(f"SELECT path, size, mtime_ns FROM items WHERE {_LIVE} ORDER BY id")  # noqa: S608
        with self._damage_is_said():
            return {str(path): (int(size), int(mtime)) for path, size, mtime in rows}

    def labels(self) -> list[str | None]:
        """Every item's label, by ascending id."""
        rows = self._all(f"SELECT label FROM items WHERE {_LIVE} ORDER BY id")  # noqa: S608
        return [None if label is None else str(label) for (label,) in rows]

    def label_counts(self) -> list[tuple[str | None, int]]:
        """How many items each label has, the largest first."""
        return self._all(
            f"SELECT label, count(*) FROM items WHERE {_LIVE} GROUP BY label ORDER BY count(*) DESC, label"  # noqa: S608
        )

    def skipped(self) -> list[tuple[str, str]]:
        """(path, reason) of each file that the last build left out."""
        return self._all("SELECT path, reason FROM skipped ORDER BY path")

    # Writing: one transaction each

    def add(self, segment: SegmentRecord, first_id: int, items: Sequence[NewItem]) -> None:
        """Commit a segment and its items, whose ids count up from ``first_id``.

        Raises:
            RetrievalError: a path is in the index already.
        """
        with self._change() as (connection, now):
            connection.execute(
                "INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?)",
                (segment.id, segment.file, segment.rows, segment.size, segment.sha256, now),
            )
            connection.executemany(
                "INSERT INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
                ((first_id + row, *astuple(item), segment.id, row, now) for row, item in enumerate(items)),
            )
            self._set(connection, "next_id", first_id + len(items))

    def remove(self, ids: Sequence[int]) -> None:
        """Mark items removed; each must be in the index."""
        with self._change() as (connection, now):
            connection.executemany("UPDATE items SET removed = ? WHERE id = ?", [(now, id_) for id_ in ids])

    def set_structure(self, record: StructureRecord | None) -> None:
        """Make a structure the one in use, or have none."""
        with self._change() as (connection, now):
            connection.execute("DELETE FROM structures")
            if record is not None:
                connection.execute(
                    "INSERT INTO structures VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (now, record.file, record.factory, json.dumps(dict(record.parameters)), record.items,
                     record.last_item, record.recall, record.queries, record.size, record.sha256, now),
                )  # fmt: skip

    def set_skipped(self, skipped: Iterable[tuple[str, str]]) -> None:
        """Replace the list of files that were left out."""
        with self._change() as (connection, _):
            connection.execute("DELETE FROM skipped")
            connection.executemany("INSERT INTO skipped VALUES (?, ?)", skipped)

    def set_meta(self, key: str, value: object) -> None:
        """Change one thing that the index knows about itself."""
        with self._change() as (connection, _):
            self._set(connection, key, value)

    # Inside

    def _connect(self, write: bool) -> sqlite3.Connection:
        if write or os.access(self._path.parent, os.W_OK):
            # A reader opens read-write as well: the last one to close a catalog then tidies up its
            # write-ahead log.
            connection = self._try("rw")
            if write:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
            else:
                connection.execute("PRAGMA query_only = ON")
            return connection
        # A folder that cannot be written, where SQLite may not find or make the files it shares with a
        # writer.
        with contextlib.suppress(sqlite3.OperationalError):
            return self._try("ro")
        log = self._path.with_name(FILE + "-wal")
        if not log.exists() or log.stat().st_size == 0:
            return self._try("ro&immutable=1")
        import shutil
        import tempfile

        self._copy = tempfile.TemporaryDirectory(prefix="retrieval-")  # what a killed writer committed is in the log
        for path in (self._path, log):
            shutil.copy(path, self._copy.name)
        return self._try("rw", Path(self._copy.name) / FILE)

    def _try(self, mode: str, path: Path | None = None) -> sqlite3.Connection:
        # Absolute, since SQLite reads the rest of a relative URI's first part as a host.
        uri = f"file:{quote(os.fsencode((path or self._path).absolute()))}?mode={mode}"
        connection = sqlite3.connect(uri, uri=True, timeout=10, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # opens the file
        except BaseException:
            connection.close()
            raise
        return connection

    def _read_meta(self) -> dict[str, Any]:
        ((application,),) = self._all("PRAGMA application_id")
        ((version,),) = self._all("PRAGMA user_version")
        if application != APPLICATION_ID:
            raise RetrievalError(f"{str(self._path)!r} belongs to another program; give the folder of an index.")
        if version > FORMAT_VERSION:
            raise RetrievalError(
                f"{str(self._path.parent)!r} was written by a newer release (format {version}, this one reads up to "
                f"{FORMAT_VERSION}); upgrade retrieval."
            )
        rows = self._all("SELECT key, value FROM meta")
        with self._damage_is_said():
            meta = {str(key): json.loads(value) for key, value in rows}
            for key, kind in {
                "generation": int,
                "next_id": int,
                "dim": int,
                "encoder_hash": str,
                "root": str,
            }.items():
                if not isinstance(meta.get(key), kind):
                    raise ValueError(f"meta has no {key}")
            if meta["dim"] < 1 or meta["next_id"] < 0:
                raise ValueError(f"dim is {meta['dim']} and next_id {meta['next_id']}")
        return meta

    @contextlib.contextmanager
    def _change(self) -> Iterator[tuple[sqlite3.Connection, int]]:
        now = self.generation + 1
        with self._damage_is_said():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection, now
                self._set(self._connection, "generation", now)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            self._meta = self._read_meta()

    @staticmethod
    def _set(connection: sqlite3.Connection, key: str, value: object) -> None:
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))

    def _all(self, sql: str, **values: object) -> list[Any]:
        with self._damage_is_said():
            return self._connection.execute(sql, {"now": self.generation, **values}).fetchall()

    def _item(self, row: tuple[Any, ...]) -> Item:
        with self._damage_is_said():
            id_, path, label, width, height, size, mtime, sha = row
            label = None if label is None else str(label)
            return Item(int(id_), str(path), label, int(width), int(height), int(size), int(mtime), str(sha))

    @contextlib.contextmanager
    def _damage_is_said(self) -> Iterator[None]:
        """SQLite notices damage at any statement, and rows of a damaged file may hold anything."""
        try:
            yield
        except sqlite3.IntegrityError as error:
            raise RetrievalError(
                f"The catalog {str(self._path)!r} refused a change ({error}); build the index again."
            ) from error
        except (sqlite3.Error, OSError, ValueError, TypeError, MemoryError, OverflowError) as error:
            reason = " ".join(str(error).split())  # it may quote what it found
            raise RetrievalError(
                f"The catalog {str(self._path)!r} cannot be used ({reason}); if it is damaged, bring it back from a "
                "copy or build the index again."
            ) from error


def _is_within(file: object) -> bool:
    """Whether a name from the catalog is that of a file in one of the index's own folders."""
    return isinstance(file, str) and re.fullmatch(r"[a-z]+/[\w.-]+", file) is not None
