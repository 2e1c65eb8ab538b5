"""One SQLite file: opened as the folder allows, changed one transaction at a time, its damage told in a sentence."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from retrieval.base import moments
from retrieval.base.files import TEMPORARY, name_durably
from retrieval.errors import RetrievalError
from retrieval.index.schema import FACTS, LEFT_OUT, SCHEMA
from retrieval.index.segments import STORAGES

APPLICATION_ID = 0x52545256  # "RTRV"; `file catalog.sqlite` shows it
FORMAT_VERSION = 2

PURGED = "purged"
"""Under which key the catalog says in which generation removed items were last forgotten for good."""

STEPS, STEPS_A_BYTE = 100_000_000, 200
"""Steps of SQLite's machine that one statement may take: far more than any of ours needs over a catalog of that size,
so that one that somebody made to run for ever ends."""

CACHE = 1 << 17
"""Kilobytes of a catalog that a writer keeps in memory, at most, and who goes through all of it: what comes into the
indexes over paths and values goes all over them, and with SQLite's own 2 MB the pages of a million items would be read
and written again and again."""

_KEPT = f"PRAGMA cache_size = -{CACHE}"

_LOOK = 100_000
"""Steps after which a statement is asked whether it may go on, some milliseconds."""

_META = {"generation": int, "next_id": int, "next_segment": int, "items": int, "dim": int, "encoder_hash": str,
         "root": str, "storage": str}  # fmt: skip


class Database:
    """The file, open.

    It runs in SQLite's write-ahead mode, in which readers and the one writer do not wait for each other. Every change
    is one transaction with a number, its *generation*; :attr:`meta` is as it was when the file was opened, when
    :meth:`reread` was called, or when it was last changed here.
    """

    def __init__(self, path: Path, *, write: bool, marked: bool = True) -> None:
        """Open it.

        Args:
            path: the file.
            write: also to change it.
            marked: whether a writer sees that somebody reads. Who reads unseen is told when what is read was forgotten.

        Raises:
            RetrievalError: it is damaged, belongs to another program, or another release wrote it.
        """
        self._path = path
        self._marked = marked
        # One statement at a time. SQLite has a lock of its own, for which a thread waits without letting others run;
        # whoever holds it calls Python (:meth:`_may_not_go_on`) and waits for a turn to run: the two never go on.
        self._turn = threading.RLock()
        self._steps = 0.0
        self._sized = True  # whether they count the size of the file
        self._closed = False
        self._copy: Any = None  # a temporary folder, where the log of a read-only catalog is read
        with self.damage_is_said():
            self._connection = self._connect(write)
            self._connection.set_progress_handler(self._may_not_go_on, _LOOK)
        self._meta: Mapping[str, Any] = {}
        self._settled = False  # whether what was read last is what there is
        try:
            self.reread()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file. Calling it twice is harmless."""
        self._closed = True
        with self._turn:
            self._connection.close()
        if self._copy is not None:
            self._copy.cleanup()

    def copy_to(self, path: Path) -> None:
        """Write all of it, as it is now, into a file that is not there yet.

        Raises:
            OSError: it cannot be written.
        """
        temporary = path.with_name(path.name + TEMPORARY)
        with self._turn, self.damage_is_said(), contextlib.closing(sqlite3.connect(temporary)) as other:
            self._connection.backup(other)
        name_durably(temporary, path)

    def keep_in_memory(self) -> None:
        """Keep more of the file in memory, for who goes through all of it."""
        with self._turn, self.damage_is_said():
            self._connection.execute(_KEPT)

    def interrupt(self) -> None:
        """Have a statement end that another thread waits for."""
        self._connection.interrupt()

    @property
    def meta(self) -> Mapping[str, Any]:
        """What the index knows about itself."""
        if not self._settled:
            self._settle()
        return self._meta

    @property
    def generation(self) -> int:
        """The number of the last change that is seen here."""
        return int(self.meta["generation"])

    def newest(self) -> int:
        """The number of the last change that anybody has made, whatever is seen here."""
        with self._turn, self.damage_is_said():
            self._begin_steps()
            rows = self._connection.execute("SELECT value FROM meta WHERE key = 'generation'").fetchall()
            return int(json.loads(rows[0][0]))

    def all(self, sql: str, **values: object) -> list[Any]:
        """The rows of a query, in which ``:now`` is the generation."""
        now, found = self.generation, None
        try:
            with self._turn:
                self._begin_steps()
                found = self._connection.execute(sql, {"now": now, **values})
                rows = found.fetchall()
        except BaseException:  # only now, as entering and leaving all of these takes as long as a short statement
            with self.damage_is_said(), self._what_is_given_is_said() if found is None else contextlib.nullcontext():
                raise
        if not self._marked:
            self._require_unforgotten(now)
        return rows

    def reread(self) -> None:
        """See what others have changed since."""
        with self._turn:
            self._reread()

    def _reread(self) -> None:
        with self.damage_is_said():
            self._begin_steps()
            ((application,),) = self._connection.execute("PRAGMA application_id").fetchall()
            ((version,),) = self._connection.execute("PRAGMA user_version").fetchall()
        folder = str(self._path.parent)
        if application != APPLICATION_ID:
            raise RetrievalError(f"{str(self._path)!r} belongs to another program; give the folder of an index.")
        if version > FORMAT_VERSION:
            raise RetrievalError(
                f"{folder!r} was written by a newer release (format {version}, this one reads up to "
                f"{FORMAT_VERSION}); upgrade retrieval."
            )
        if version < FORMAT_VERSION:
            raise RetrievalError(
                f"{folder!r} has the format {version} of an early release, and this one reads {FORMAT_VERSION}; "
                "build it again with --overwrite."
            )
        with self.damage_is_said():
            self._require_schema()
            rows = self._connection.execute("SELECT key, value FROM meta").fetchall()
            meta = {str(key): json.loads(value) for key, value in rows}
            for key, kind in _META.items():
                if not isinstance(meta.get(key), kind):
                    raise ValueError(f"meta has no {key}")
            if meta["storage"] not in STORAGES:
                raise ValueError(f"the storage is {meta['storage']!r}")
            if meta["dim"] < 1 or meta["next_id"] < 0 or meta["next_segment"] < 1:
                raise ValueError(f"dim is {meta['dim']} and next_id {meta['next_id']}")
        self._meta = meta
        self._settled = True

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """One state of the file for all the queries inside, whatever a writer commits meanwhile."""
        with self._turn:
            try:
                with self.damage_is_said():
                    self._roll_back()
                    self._connection.execute("BEGIN")
                yield
            finally:
                with self.damage_is_said():
                    self._roll_back()

    @contextlib.contextmanager
    def change(self) -> Iterator[tuple[sqlite3.Connection, int]]:
        """One transaction, and the number of its generation."""
        with self._turn:
            yield from self._change()

    def _change(self) -> Iterator[tuple[sqlite3.Connection, int]]:
        now = self.generation + 1
        try:
            with self.damage_is_said():
                self._roll_back()
                self._connection.execute("BEGIN IMMEDIATE")
                self._steps = math.inf  # the schema is ours, and what we change has the size that we gave it
                with self._what_is_given_is_said():
                    yield self._connection, now
                self.put(self._connection, "generation", now)
                self._settled = False
                self._connection.execute("COMMIT")
            self.reread()
        except BaseException:
            with contextlib.suppress(RetrievalError):
                self._settle()
            raise

    def _require_schema(self) -> None:
        """Nothing but our own tables and indexes: a view or a trigger runs whatever somebody wrote into it."""
        rows = self._connection.execute("SELECT type, name, sql FROM sqlite_schema").fetchall()
        found = {(kind, name, _plain(sql)) for kind, name, sql in rows if not _of_sqlite(kind, name)}
        foreign = sorted(f"{kind} {name}" for kind, name, sql in found - _schema(SCHEMA + FACTS + ";" + LEFT_OUT))
        missing = sorted(f"{kind} {name}" for kind, name, sql in _schema(SCHEMA) - found)
        if foreign or missing:
            raise ValueError(f"its {(foreign or missing)[0]} is {'not ours' if foreign else 'missing'}")

    def _require_unforgotten(self, now: int) -> None:
        with self._turn, self.damage_is_said():
            rows = self._connection.execute("SELECT value FROM meta WHERE key = ?", (PURGED,)).fetchall()
            forgotten = any(json.loads(value) > now for (value,) in rows)
        if forgotten:
            raise RetrievalError(
                f"The index {str(self._path.parent)!r} was compacted while it was read from a disk without locks; "
                "open it again."
            )

    def _begin_steps(self) -> None:
        """A statement that only reads begins: it may take so long."""
        self._steps, self._sized = STEPS / _LOOK, False

    def _may_not_go_on(self) -> bool:
        """Called while a statement runs: Ctrl-C can arrive, and a limit that none of ours comes near is kept."""
        self._steps -= 1
        if self._steps < 0 and not self._sized:  # few statements come so far; the others need not ask for the size
            size = sum(path.stat().st_size for path in (self._path, self._log) if path.exists())
            self._steps, self._sized = self._steps + STEPS_A_BYTE * size / _LOOK, True
        return self._steps < 0

    def _settle(self) -> None:
        """After a change that went wrong, see what came of it.

        When a commit fails because it could not be brought to the disk, its transaction still stands in the log, and
        the first one to open the catalog after a crash would find it there. Emptying the log settles that it never
        was. Where that fails, too, it stays open; no file that the transaction speaks of is deleted before it is known.
        """
        with self._turn:
            with self.damage_is_said():
                self._roll_back()
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._reread()

    def _roll_back(self) -> None:
        if self._connection.in_transaction:  # which Ctrl-C can leave open
            self._connection.execute("ROLLBACK")

    @staticmethod
    def put(connection: sqlite3.Connection, key: str, value: object) -> None:
        """Set one thing that the index knows about itself, inside :meth:`change`."""
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))

    @contextlib.contextmanager
    def damage_is_said(self) -> Iterator[None]:
        """SQLite notices damage at any statement, and rows of a damaged file may hold anything."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT and self._steps >= 0:
                raise KeyboardInterrupt from None  # it arrived in the handler, where SQLite swallows it
            raise self._unusable(error) from error
        except sqlite3.IntegrityError as error:
            raise RetrievalError(
                f"The catalog {str(self._path)!r} refused a change ({error}); build the index again."
            ) from error
        except (sqlite3.Error, OSError, ValueError, TypeError, MemoryError, OverflowError, RecursionError) as error:
            self.require_open()
            raise self._unusable(error) from error

    @contextlib.contextmanager
    def _what_is_given_is_said(self) -> Iterator[None]:
        """What SQLite or JSON cannot take is no damage: too large a number, half a character, an object."""
        try:
            yield
        except (sqlite3.ProgrammingError, OverflowError, UnicodeError, TypeError, RecursionError) as error:
            self.require_open()
            reason = " ".join(str(error).split())
            raise RetrievalError(
                f"The index {str(self._path.parent)!r} can neither keep nor look for what was given ({reason}); give "
                "texts of Unicode and numbers below 2**63."
            ) from error

    def require_open(self) -> None:
        """Refuse what is asked after it was closed."""
        if self._closed:
            raise RetrievalError(f"The index {str(self._path.parent)!r} was closed; open it again.")

    def _unusable(self, error: Exception) -> RetrievalError:
        reason = " ".join(str(error).split())  # it may quote what it found
        return RetrievalError(
            f"The catalog {str(self._path)!r} cannot be used ({reason}); if it is damaged, bring it back from a "
            "copy or build the index again."
        )

    @property
    def _log(self) -> Path:
        return self._path.with_name(self._path.name + "-wal")

    def _connect(self, write: bool) -> sqlite3.Connection:
        if write:
            connection = self._try("rw")
            ((application,),) = connection.execute("PRAGMA application_id").fetchall()
            if application == APPLICATION_ID:  # another program's stays as it is
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(_KEPT)
            return connection
        # A reader opens read-write as well: the last one to close a catalog then tidies up its write-ahead log. In a
        # folder that cannot be written, or on a full disk, SQLite may not find or make the files it shares with a
        # writer; reading needs neither.
        for mode in ("rw", "ro") if os.access(self._path.parent, os.W_OK) else ("ro",):
            with contextlib.suppress(sqlite3.OperationalError):
                connection = self._try(mode)
                connection.execute("PRAGMA query_only = ON")
                return connection
        log = self._log
        if not log.exists() or log.stat().st_size == 0:
            return self._try("ro&immutable=1")
        import shutil
        import tempfile

        self._copy = tempfile.TemporaryDirectory(prefix="retrieval-")  # what a killed writer committed is in the log
        for path in (self._path, log):
            shutil.copy(path, self._copy.name)
        return self._try("rw", Path(self._copy.name) / self._path.name)

    def _try(self, mode: str, path: Path | None = None) -> sqlite3.Connection:
        # Absolute, since SQLite reads the rest of a relative URI's first part as a host.
        uri = f"file:{quote(os.fsencode((path or self._path).absolute()))}?mode={mode}"
        connection = sqlite3.connect(uri, uri=True, timeout=10, isolation_level=None, check_same_thread=False)
        connection.create_function("moment", 1, moments.start, deterministic=True)  # for filters by dates
        try:
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # opens the file
        except BaseException:
            connection.close()
            raise
        return connection


@cache
def _schema(script: str) -> frozenset[tuple[str, str, str]]:
    """What a script makes: (type, name, SQL)."""
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(script)
        rows = connection.execute("SELECT type, name, sql FROM sqlite_schema").fetchall()
    return frozenset((kind, name, _plain(sql)) for kind, name, sql in rows if not _of_sqlite(kind, name))


def _plain(sql: str | None) -> str:
    return " ".join((sql or "").split())


def _of_sqlite(kind: object, name: object) -> bool:
    """Whether SQLite made it by itself: the indexes of keys, and the statistics of ANALYZE."""
    return kind in ("table", "index") and str(name).startswith(("sqlite_autoindex_", "sqlite_stat"))
