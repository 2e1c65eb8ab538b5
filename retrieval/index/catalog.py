"""The catalog: one SQLite file that says what is in the index; whatever it does not name is not in it.

Rows say in which generation they came and went (see :mod:`retrieval.index.database`), and a reader keeps to the
generation that it found when it opened. So it sees one state however long it lives, and holds no lock for it. A row of
``items`` is one version of an item: a change of its path or label ends one row and begins another.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.base.files import write_durably
from retrieval.index.database import APPLICATION_ID, FORMAT_VERSION, PURGED, Database
from retrieval.index.filters import COLUMNS
from retrieval.index.records import (
    Column,
    Facts,
    Item,
    LeftOut,
    NewItem,
    SegmentRecord,
    State,
    StructureRecord,
    Value,
    from_runs,
    is_unicode,
    to_runs,
)
from retrieval.index.remembered import Remembered
from retrieval.index.schema import FACTS, LEFT_OUT, SCHEMA

FILE = "catalog.sqlite"

_ITEM = "id, path, label, width, height, size, mtime_ns, sha256"
_TOGETHER = 512
"""Items that one statement asks for."""

_BLOCK = 1 << 20
"""Items whose texts are read at a time."""

_REMEMBERED = 1 << 14
"""Items that are kept for whoever asks for them again, some megabytes: hits of one query are hits of others."""

_ASKED = 64
"""A look at the contents of so many items takes about as long as asking who has one content."""

_LOOKED_THROUGH = 1 << 17
"""Items whose contents are looked at while somebody waits: that takes some 50 ms."""

_SHARE = 16
"""Of so many ids one, at least, from which on a statement goes through all items and passes over those not asked for,
instead of asking for each: at a million items both ways take about the same then."""

_COLUMNS = {**COLUMNS, "folder": "rtrim(items.path, replace(items.path, '/', ''))"}
"""What every item has: the folder is the path without what stands behind its last slash."""

_ASKED_FOR = "substr(:asked, {} + 1, 1) = x'01'"

_fields = attrgetter("path", "label", "width", "height", "size", "mtime_ns", "sha256")
_HALF = re.compile("[0-9a-f]{32}")
_LIVE = "added <= :now AND (removed IS NULL OR removed > :now)"
_VERSIONED = ("items", "attributes")
"""Tables whose rows are marked removed before they are forgotten."""

_KINDS = """
INSERT INTO attribute_kinds
SELECT DISTINCT name, CASE typeof(value) WHEN 'text' THEN 'text' ELSE 'number' END FROM attributes WHERE removed IS NULL
"""
# Numbers come before texts in the index over values, so that the first of each tells.
_KINDS_OF_ONE = """
INSERT INTO attribute_kinds
SELECT :name, 'number' WHERE EXISTS (
    SELECT 1 FROM attributes INDEXED BY attributes_by_value WHERE name = :name AND value < '' AND removed IS NULL)
UNION ALL
SELECT :name, 'text' WHERE EXISTS (
    SELECT 1 FROM attributes INDEXED BY attributes_by_value WHERE name = :name AND value >= '' AND removed IS NULL)
"""
# The index over labels has what came and when; those that went since are fewer, and are subtracted.
_LABEL_COUNTS = """
SELECT label, sum(n) FROM (
    SELECT label, count(*) AS n FROM items INDEXED BY items_by_label WHERE added <= :now GROUP BY label
    UNION ALL
    SELECT label, -count(*) FROM items INDEXED BY items_removed WHERE removed <= :now GROUP BY label)
GROUP BY label HAVING sum(n) > 0 ORDER BY sum(n) DESC, label
"""
_REMOVED = f"""
SELECT DISTINCT id FROM items AS old INDEXED BY items_removed
WHERE removed <= :now AND NOT EXISTS (SELECT 1 FROM items WHERE id = old.id AND {_LIVE})
ORDER BY id
"""  # noqa: S608


class Catalog(Database):
    """One open catalog. Beside its base class the only place that speaks SQL."""

    def __init__(self, folder: Path, *, write: bool, marked: bool = True) -> None:
        """Open the catalog of an index folder.

        Args:
            folder: of the index.
            write: also to change it.
            marked: whether a writer sees that somebody reads (:class:`retrieval.index.lock.ReaderMark`).

        Raises:
            RetrievalError: it is damaged, or another release wrote it.
        """
        super().__init__(folder / FILE, write=write, marked=marked)
        self._kinds: dict[str, set[str]] = {}
        self._remembered = Remembered(0)

    @staticmethod
    def create(folder: Path, meta: Mapping[str, object]) -> None:
        """Write an empty catalog into a folder that has none.

        Raises:
            RetrievalError: the folder cannot be written.
        """
        start = {"generation": 0, "next_id": 0, "next_segment": 1, "items": 0}
        with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
            connection.executescript(
                f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT_VERSION};" + SCHEMA
            )
            connection.executemany(
                "INSERT INTO meta VALUES (?, ?)", [(key, json.dumps(value)) for key, value in {**start, **meta}.items()]
            )
            write_durably(folder / FILE, connection.serialize())

    # Reading

    def state(self) -> State:
        """What there is now; a reader keeps to it from here on."""
        with self.reading():
            self.reread()
            # Who reads unseen asks the file, which says what was forgotten.
            self._remembered = Remembered(_REMEMBERED if self._marked else 0)
            kinds: dict[str, set[str]] = {}
            for name, kind in self.all("SELECT name, kind FROM attribute_kinds"):
                kinds.setdefault(str(name), set()).add(str(kind))
            self._kinds = kinds  # kept, since a writer may change the table
            removed = self.all(_REMOVED)
            with self.damage_is_said():
                return State(
                    generation=self.generation,
                    items=int(self.meta["items"]),
                    segments=tuple(self._segments()),
                    structure=self._structure(),
                    removed=np.array([id_ for (id_,) in removed], dtype=np.int64),
                )

    def _segments(self) -> Iterable[SegmentRecord]:
        for id_, file, rows, size, checksum in self.all(
            "SELECT id, file, rows, size, checksum FROM segments ORDER BY id"
        ):
            if int(id_) >= self.meta["next_segment"]:
                raise ValueError(f"segment {id_} is there, and {self.meta['next_segment']} is said to be the next")
            if not (_is_within(file) and int(rows) > 0):
                raise ValueError(f"segment {id_} is said to have {rows} rows in {file!r}")
            yield SegmentRecord(int(id_), file, int(rows), int(size), str(checksum))

    def _structure(self) -> StructureRecord | None:
        end = int(self.meta["next_id"])
        for file, factory, parameters, ids, measured, size, checksum in self.all(
            "SELECT file, factory, parameters, ids, measured, size, checksum FROM structures ORDER BY id DESC LIMIT 1"
        ):
            if not _is_within(file):
                raise ValueError(f"a structure is said to lie in {file!r}")
            record = StructureRecord(
                str(file), str(factory), dict(json.loads(parameters)), from_runs(ids, end),
                dict(json.loads(measured)), int(size), str(checksum),
            )  # fmt: skip
            if not len(record.ids):
                raise ValueError("a structure is said to hold nothing")
            return record
        return None

    def files(self) -> set[str]:
        """Every file that belongs to the index, relative to its folder."""
        return {str(file) for (file,) in self.all("SELECT file FROM segments UNION SELECT file FROM structures")}

    def garbage(self) -> set[str]:
        """Files that no longer belong to it, and may still be there."""
        files = {file for (file,) in self.all("SELECT file FROM garbage")} - self.files()
        return {file for file in files if _is_within(file)}

    def missing(self, ids: Sequence[int]) -> int | None:
        """The first of these ids that no item of the index has, or None."""
        known = self._remembered.by_id
        unknown = [id_ for id_ in ids if id_ not in known]
        if not unknown:
            return None
        found: set[int] = set()
        for marks, some in _some_at_a_time(unknown):
            found.update(
                id_
                for (id_,) in self.all(f"SELECT id FROM items WHERE id IN ({marks}) AND {_LIVE}", **some)  # noqa: S608
            )
        return next((id_ for id_ in unknown if id_ not in found), None)

    def items(self, ids: Sequence[int]) -> dict[int, Item]:
        """The items among these ids that are in the index, and perhaps others."""
        remembered = self._remembered
        known = remembered.by_id
        unknown = [id_ for id_ in ids if id_ not in known]
        if not unknown:
            return known
        found: dict[int, Item] = {}
        for marks, some in _some_at_a_time(list(dict.fromkeys(unknown))):
            rows = self.all(f"SELECT {_ITEM} FROM items WHERE id IN ({marks}) AND {_LIVE}", **some)  # noqa: S608
            with self.damage_is_said():
                found.update([(row[0], _item(row)) for row in rows])
        return known if remembered.keep(found) is known else {id_: known[id_] for id_ in ids if id_ in known} | found

    def taken(self, paths: Iterable[str]) -> str | None:
        """One of these paths that an item has, or None."""
        wanted = list(paths)
        for start in range(0, len(wanted), _TOGETHER):
            named = {f"p{place}": path for place, path in enumerate(wanted[start : start + _TOGETHER])}
            marks = ",".join(f":{name}" for name in named)
            for (path,) in self.all(f"SELECT path FROM items WHERE path IN ({marks}) AND {_LIVE} LIMIT 1", **named):  # noqa: S608
                return str(path)
        return None

    def find(self, path: str) -> Item | None:
        """The item of this path."""
        if not is_unicode(path):
            return None  # there is none of such a name
        remembered = self._remembered
        known = remembered.by_path.get(path)
        if known is not None:
            self.require_open()
            return known
        for row in self.all(f"SELECT {_ITEM} FROM items WHERE path = :path AND {_LIVE}", path=path):  # noqa: S608
            with self.damage_is_said():
                item = _item(row)
            remembered.keep({item.id: item})
            return item
        return None

    def find_sha256(self, sha256: str) -> list[Item]:
        """The items whose files have this content, by ascending id."""
        remembered = self._remembered
        alone = remembered.alone(sha256)
        known = remembered.alike.get(sha256) if alone is None else (alone,)
        if known is not None:
            self.require_open()
            return [*known]
        self._know_shared(remembered)
        rows = self.all(
            f"SELECT {_ITEM} FROM items WHERE sha256 = :sha256 AND {_LIVE} ORDER BY id",  # noqa: S608
            sha256=sha256,
        )
        with self.damage_is_said():
            found = [_item(row) for row in rows]
        remembered.keep_alike(sha256, found)
        return found

    def _know_shared(self, remembered: Remembered) -> None:
        """See which contents several items may have, once many were asked for one by one: most are of one item, and
        whoever knows that one then need not ask for others."""
        if not self._marked:  # nothing is remembered
            return
        remembered.asked += 1
        items = int(self.meta["items"])
        if not remembered.looked and remembered.asked > items // _ASKED and items <= _LOOKED_THROUGH:
            remembered.looked = True
            ask = "SELECT sha256 FROM items GROUP BY sha256 HAVING count(*) > 1 LIMIT :most"
            found = [str(sha256) for (sha256,) in self.all(ask, most=_REMEMBERED + 1)]
            remembered.shared = frozenset(found) if len(found) <= _REMEMBERED else None

    def contents(self) -> npt.NDArray[np.bytes_]:
        """The first half of the SHA-256 of every content that items have, S16 (n,), ascending."""
        halves = self.all(f"SELECT DISTINCT substr(sha256, 1, 32) FROM items WHERE {_LIVE}")  # noqa: S608
        return np.sort(np.fromiter((bytes.fromhex(half) for (half,) in halves if _HALF.fullmatch(half)), "S16"))

    def known(self) -> dict[str, tuple[int, int]]:
        """path → (size, mtime_ns) of every item."""
        rows = self.all(f"SELECT path, size, mtime_ns FROM items WHERE {_LIVE} ORDER BY id")  # noqa: S608
        with self.damage_is_said():
            return {str(path): (int(size), int(mtime)) for path, size, mtime in rows}

    def paths(self) -> list[str]:
        """Every item's path, by ascending id."""
        return [str(path) for (path,) in self.all(f"SELECT path FROM items WHERE {_LIVE} ORDER BY id")]  # noqa: S608

    def labels(self) -> list[str | None]:
        """Every item's label, by ascending id."""
        rows = self.all(f"SELECT label FROM items WHERE {_LIVE} ORDER BY id")  # noqa: S608
        return [None if label is None else str(label) for (label,) in rows]

    def labels_of(self, ids: Sequence[int]) -> dict[int, str]:
        """The labels of those of these ids that are in the index and have one."""
        found: dict[int, str] = {}
        for marks, some in _some_at_a_time(ids):
            within = f"id IN ({marks}) AND label IS NOT NULL AND {_LIVE}"
            found.update(self.all(f"SELECT id, label FROM items WHERE {within}", **some))  # noqa: S608
        return found

    def items_changed(self) -> int:
        """The last generation in which items were added, removed or changed, or removed ones forgotten."""
        ((added, removed),) = self.all(
            "SELECT (SELECT max(added) FROM segments WHERE added <= :now), "
            "(SELECT max(removed) FROM items WHERE removed IS NOT NULL AND removed <= :now)"
        )
        purged = int(self.meta.get(PURGED, 0))
        return max(int(added or 0), int(removed or 0), purged if purged <= self.generation else 0)

    def label_counts(self) -> list[tuple[str | None, int]]:
        """How many items each label has, the largest first."""
        return self.all(_LABEL_COUNTS)

    def attributes(self, ids: Sequence[int]) -> dict[int, dict[str, Value]]:
        """The attributes of these items, those that have any."""
        found: dict[int, dict[str, Value]] = {}
        for marks, some in _some_at_a_time(ids):
            for item, name, value in self.all(
                f"SELECT item, name, value FROM attributes WHERE item IN ({marks}) AND {_LIVE} ORDER BY name",  # noqa: S608
                **some,
            ):
                found.setdefault(item, {})[str(name)] = value
        return found

    def values(self, name: str, ids: Sequence[int]) -> dict[int, Value]:
        """What these items have under one name, those that have it; see :meth:`retrieval.index.Index.values`."""
        if name in _COLUMNS:
            ask = f"SELECT id, {_COLUMNS[name]} FROM items WHERE {_LIVE}"  # noqa: S608
            some = ask + " AND id IN ({})"
        else:
            ask = f"SELECT item, value FROM attributes INDEXED BY attributes_by_value WHERE name = :name AND {_LIVE}"  # noqa: S608
            some = (
                "SELECT item, value FROM attributes INDEXED BY attributes_by_item "  # noqa: S608
                f"WHERE item IN ({{}}) AND name = :name AND {_LIVE}"
            )
        many = _SHARE * len(ids) > int(self.meta["items"])
        found: dict[int, Value] = {}
        asked = [(ask, {})] if many else [(some.format(marks), these) for marks, these in _some_at_a_time(ids)]
        for statement, these in asked:
            rows = self.all(statement, name=name, **these)
            with self.damage_is_said():
                if name != "folder" and {type(value) for _, value in rows} <= {int, str}:  # as they are
                    found.update(rows)
                else:
                    found.update((id_, _plain(name, value)) for id_, value in rows if value is not None)
        return found

    def counts(self, names: Sequence[str], ids: npt.NDArray[np.int64] | None) -> dict[str, dict[Value | None, int]]:
        """How many items have each value; see :meth:`retrieval.index.Index.counts`."""
        found: dict[str, dict[Value | None, int]] = {name: {} for name in names}

        def count(name: str, rows: Iterable[tuple[Any, int]]) -> None:
            counts = found[name]
            with self.damage_is_said():
                for value, n in rows:
                    kept = None if value is None else _plain(name, value)
                    counts[kept] = counts.get(kept, 0) + n

        asked, few = b"", ids is not None and (not len(ids) or _SHARE * len(ids) <= int(ids.max()))
        if ids is not None and len(ids) and not few:
            given = np.zeros(int(ids.max()) + 1, np.uint8)
            given[ids] = 1
            asked = given.tobytes()
        for marks, some in _some_at_a_time(ids.tolist()) if ids is not None and few else ():
            for name in names:
                if name in _COLUMNS:
                    within = f"FROM items WHERE id IN ({marks}) AND {_LIVE} GROUP BY 1"
                    count(name, self.all(f"SELECT {_COLUMNS[name]}, count(*) {within}", **some))
            for name, value, n in self.all(
                "SELECT name, value, count(*) FROM attributes INDEXED BY attributes_by_item "  # noqa: S608
                f"WHERE item IN ({marks}) AND {_LIVE} GROUP BY name, value",
                **some,
            ):
                if name in found:
                    count(name, [(value, n)])
        for name in () if few else names:
            chosen = "" if ids is None else f" AND {_ASKED_FOR.format('id' if name in _COLUMNS else 'item')}"
            if name in _COLUMNS:  # of a million different values SQLite sorts all for what a dictionary does
                ask = f"SELECT {_COLUMNS[name]} FROM items NOT INDEXED WHERE {_LIVE}{chosen}"  # noqa: S608
                count(name, Counter(itertools.chain.from_iterable(self.all(ask, asked=asked))).items())
            else:
                ask = (
                    "SELECT value, count(*) FROM attributes INDEXED BY attributes_by_value "  # noqa: S608
                    f"WHERE name = :name AND {_LIVE}{chosen} GROUP BY 1"
                )
                count(name, self.all(ask, name=name, asked=asked))
        return found

    def attribute_kinds(self) -> dict[str, set[str]]:
        """name → which of "number" and "text" its values have been."""
        return self._kinds

    def select(self, where: str) -> npt.NDArray[np.int64]:
        """The ids, ascending, of the items that an expression matches; see :mod:`retrieval.index.filters`."""
        from retrieval.index import filters

        condition, values = filters.compile(where, self.attribute_kinds())
        ask = f"SELECT group_concat(id) FROM items WHERE {_LIVE} AND ({condition})"  # noqa: S608
        return np.sort(self._numbers(ask, **values))

    def column(self, name: str, ids: npt.NDArray[np.int64]) -> Column:
        """What all items have under one name; see :meth:`retrieval.index.Index.column`."""
        if name in _COLUMNS:
            return Column.of(self._texts_or_numbers(name, ids))
        of_name = f"FROM attributes INDEXED BY attributes_by_value WHERE name = :name AND {_LIVE}"
        # Both in the order of that index: each different value once, and the items of one after those of another.
        different = self.all(f"SELECT value, count(*) {of_name} GROUP BY value ORDER BY value", name=name)
        items = self._numbers(
            f"SELECT group_concat(item) FROM (SELECT item {of_name} ORDER BY value, item)",  # noqa: S608
            name=name,
        )
        with self.damage_is_said():
            values = [_plain(name, value) for value, _ in different]
            times = np.array([count for _, count in different], np.int64)
            at = np.searchsorted(ids, items)
            if times.sum() != len(items) or (len(items) and (at.max() >= len(ids) or (ids[at] != items).any())):
                raise ValueError(f"{name!r:.60} belongs to items that are not there")
            codes = np.full(len(ids), -1, np.int32)
            codes[at] = np.repeat(np.arange(len(values), dtype=np.int32), times)
        return Column(values, codes)

    def _texts_or_numbers(self, name: str, ids: npt.NDArray[np.int64]) -> list[Value | None]:
        """What every item has, by ascending id: a block of items in one text of JSON."""
        column = COLUMNS["path" if name == "folder" else name]
        ask = (
            f"SELECT json_group_array({column}) FROM (SELECT * FROM items "  # noqa: S608
            f"WHERE id >= :first AND id < :end AND {_LIVE} ORDER BY id) AS items"
        )
        found: list[Value | None] = []
        for first in range(0, int(ids[-1]) + 1 if len(ids) else 0, _BLOCK):
            ((text,),) = self.all(ask, first=first, end=first + _BLOCK)
            with self.damage_is_said():
                found += json.loads(text)
        with self.damage_is_said():
            if len(found) != len(ids):
                raise ValueError(f"there are {len(found)} items, and {len(ids)} are said to be")
            if name == "folder":
                found = [_plain(name, str(path)[: str(path).rfind("/") + 1]) for path in found]
        return found

    def _numbers(self, ask: str, **values: object) -> npt.NDArray[np.int64]:
        """The whole numbers that a statement gives joined by commas.

        A row for each would be made and taken apart one by one, and other threads wait for each of them.
        """
        ((text,),) = self.all(ask, **values)
        with self.damage_is_said():
            return np.fromstring(text, np.int64, sep=",") if text else np.empty(0, np.int64)

    def changed(self, name: str) -> tuple[int, ...]:
        """What is another one whenever what items have under a name has changed."""
        if name in _COLUMNS:
            return (self.items_changed(),)
        ((added, removed),) = self.all(
            "SELECT max(CASE WHEN added <= :now THEN added END), max(CASE WHEN removed <= :now THEN removed END) "
            "FROM attributes INDEXED BY attributes_by_value WHERE name = :name",
            name=name,
        )
        return self.items_changed(), int(added or 0), int(removed or 0)

    def skipped(self) -> list[tuple[str, str]]:
        """(path, reason) of each file that the last build left out."""
        return self.all("SELECT path, reason FROM skipped ORDER BY path")

    def facts(self, id_: int) -> Facts:
        """What an item's own file told."""
        if not self._has("facts"):
            return ()
        return tuple(self.all("SELECT name, value FROM facts WHERE item = :item ORDER BY name", item=id_))

    def left_out(self) -> list[LeftOut]:
        """What a build need not look into again, by path."""
        if not self._has("left_out"):
            return []
        return self.all("SELECT path, size, mtime_ns, reason, decoder FROM left_out ORDER BY path")

    # Writing: one transaction each

    def add(
        self,
        segment: SegmentRecord,
        first_id: int,
        items: Sequence[NewItem],
        merged: Iterable[SegmentRecord],
        facts: Sequence[Facts] = (),
        attributes: Sequence[Mapping[str, Value | None]] = (),
        *,
        new: bool = False,
    ) -> None:
        """Commit a segment and its new items, whose ids count up from ``first_id``; live paths among them are replaced.

        Args:
            segment: its file is on the disk.
            first_id: of the items.
            items: those that are new in it.
            merged: segments whose vectors it holds, too, and that go.
            facts: what the items' own files tell, one for each, or nothing.
            attributes: those of the items, one for each, or nothing.
            new: no item has one of these paths, so that none need be looked up.
        """
        with self.change() as (connection, now):
            self._replace_segments(connection, now, segment, merged)
            old = connection.executemany(
                "UPDATE items SET removed = ? WHERE path = ? AND removed IS NULL",
                [] if new else [(now, item.path) for item in items],
            )
            replaced = max(old.rowcount, 0)
            connection.executemany(
                "INSERT INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
                ((first_id + place, *_fields(item), now) for place, item in enumerate(items)),
            )
            told = [(first_id + place, *fact) for place, some in enumerate(facts) for fact in some]
            given: list[tuple[int, str, Any, int]] = [
                (first_id + place, name, value, now)
                for place, pairs in enumerate(attributes)
                for name, value in pairs.items()
                if value is not None
            ]
            if replaced or told:
                connection.execute(FACTS)
            if replaced:  # what the user attached to a path stays with it, and what the old file told goes
                connection.execute(
                    "INSERT INTO attributes SELECT new.id, name, value, :now, NULL FROM items AS old "
                    "JOIN items AS new ON new.path = old.path AND new.removed IS NULL "
                    "JOIN attributes ON item = old.id AND attributes.removed IS NULL WHERE old.removed = :now "
                    "AND NOT EXISTS (SELECT 1 FROM facts WHERE facts.item = old.id AND facts.name = attributes.name "
                    "AND facts.value = attributes.value)",
                    {"now": now},
                )
                connection.execute(
                    "UPDATE attributes SET removed = :now WHERE removed IS NULL AND item IN "
                    "(SELECT id FROM items WHERE removed = :now)",
                    {"now": now},
                )
            if given:
                # In the order of the index over values, which they would otherwise come into all over.
                given.sort(key=lambda one: (one[1], isinstance(one[2], str), one[2]))
                connection.executemany("INSERT INTO attributes VALUES (?, ?, ?, ?, NULL)", given)
                self._count_kinds(connection, {name for _, name, _, _ in given})
            if told:
                self._tell(connection, now, told)
            self.put(connection, "next_id", first_id + len(items))
            self.put(connection, "items", int(self.meta["items"]) + len(items) - replaced)

    def compact(self, segment: SegmentRecord | None, merged: Iterable[SegmentRecord]) -> None:
        """Commit a segment that takes the place of others.

        Args:
            segment: None if nothing is left.
            merged: the others.
        """
        with self.change() as (connection, now):
            self._replace_segments(connection, now, segment, merged)

    def become(self, segments: Sequence[SegmentRecord], meta: Mapping[str, object]) -> None:
        """Turn a copy into the catalog of another index with the same items: its segments are these, it has no
        structure and nothing that was measured, and what was removed is forgotten."""
        with self.change() as (connection, now):
            for table in ("segments", "structures", "garbage"):
                connection.execute(f"DELETE FROM {table}")  # noqa: S608
            connection.executemany(
                "INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?)",
                [(one.id, one.file, one.rows, one.size, one.checksum, now) for one in segments],
            )
            connection.execute("DELETE FROM meta WHERE key IN ('tuning', 'calibration')")
            for key, value in meta.items():
                self.put(connection, key, value)
        if any(self.all(f"SELECT 1 FROM {table} WHERE removed IS NOT NULL LIMIT 1") for table in _VERSIONED):  # noqa: S608
            self.purge()

    def purge(self) -> None:
        """Forget removed items and attributes for good, which no reader may still want to see."""
        with self.change() as (connection, now):
            connection.execute("DELETE FROM items WHERE removed IS NOT NULL")
            connection.execute("DELETE FROM attributes WHERE removed IS NOT NULL")
            connection.execute(FACTS)
            connection.execute("DELETE FROM facts WHERE item NOT IN (SELECT id FROM items)")
            connection.execute("DELETE FROM attribute_kinds")
            connection.execute(_KINDS)
            self.put(connection, PURGED, now)
        # Give the room back, too; if somebody opens the catalog just now, a later call does.
        with self._turn, contextlib.suppress(sqlite3.Error):
            self._connection.execute("VACUUM")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def update(self, items: Mapping[int, NewItem]) -> None:
        """Begin a new version of items that are in the index."""
        with self.change() as (connection, now):
            connection.executemany(
                "UPDATE items SET removed = ? WHERE id = ? AND removed IS NULL", [(now, id_) for id_ in items]
            )
            connection.executemany(
                "INSERT INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
                ((id_, *_fields(item), now) for id_, item in items.items()),
            )

    def remove(self, ids: Sequence[int]) -> None:
        """Mark items removed; each must be in the index."""
        with self.change() as (connection, now):
            for table, column in (("items", "id"), ("attributes", "item")):
                connection.executemany(
                    f"UPDATE {table} SET removed = ? WHERE {column} = ? AND removed IS NULL",  # noqa: S608
                    [(now, id_) for id_ in ids],
                )
            self.put(connection, "items", int(self.meta["items"]) - len(ids))

    def attach(self, attributes: Mapping[int, Mapping[str, Value | None]]) -> None:
        """Set attributes of items that are in the index; None takes one away."""
        flat = [(item, name, value) for item, pairs in attributes.items() for name, value in pairs.items()]
        with self.change() as (connection, now):
            ((last,),) = connection.execute("SELECT coalesce(max(item), -1) FROM attributes").fetchall()
            connection.executemany(
                "UPDATE attributes INDEXED BY attributes_by_item SET removed = ? "
                "WHERE item = ? AND name = ? AND removed IS NULL",
                [(now, item, name) for item, name, _ in flat if item <= last],  # new items have none
            )
            connection.executemany(
                "INSERT INTO attributes VALUES (?, ?, ?, ?, NULL)",
                [(item, name, value, now) for item, name, value in flat if value is not None],
            )
            self._count_kinds(connection, {name for _, name, _ in flat})

    def set_structure(self, record: StructureRecord | None) -> None:
        """Make a structure the one in use, or have none."""
        with self.change() as (connection, now):
            connection.execute("INSERT OR IGNORE INTO garbage SELECT file FROM structures")
            connection.execute("DELETE FROM structures")
            if record is not None:
                connection.execute(
                    "INSERT INTO structures VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (now, record.file, record.factory, json.dumps(dict(record.parameters)), to_runs(record.ids),
                     json.dumps(dict(record.measured)), record.size, record.checksum, now),
                )  # fmt: skip

    def forget_garbage(self, files: Iterable[str]) -> None:
        """Say that files are gone."""
        with self.change() as (connection, _):
            connection.executemany("DELETE FROM garbage WHERE file = ?", [(file,) for file in files])

    def set_skipped(self, skipped: Iterable[tuple[str, str]]) -> None:
        """Replace the list of files that were left out."""
        with self.change() as (connection, _):
            connection.execute("DELETE FROM skipped")
            connection.executemany("INSERT INTO skipped VALUES (?, ?)", skipped)

    def set_left_out(self, rows: Iterable[LeftOut]) -> None:
        """Replace what a build need not look into again."""
        with self.change() as (connection, _):
            connection.execute(LEFT_OUT)
            connection.execute("DELETE FROM left_out")
            connection.executemany("INSERT INTO left_out VALUES (?, ?, ?, ?, ?)", rows)

    def set_meta(self, key: str, value: object) -> None:
        """Change one thing that the index knows about itself."""
        with self.change() as (connection, _):
            self.put(connection, key, value)

    # Inside

    def _replace_segments(
        self,
        connection: sqlite3.Connection,
        now: int,
        segment: SegmentRecord | None,
        merged: Iterable[SegmentRecord],
    ) -> None:
        old = list(merged)
        connection.executemany("DELETE FROM segments WHERE id = ?", [(record.id,) for record in old])
        connection.executemany("INSERT OR IGNORE INTO garbage VALUES (?)", [(record.file,) for record in old])
        if segment is not None:
            connection.execute(
                "INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?)",
                (segment.id, segment.file, segment.rows, segment.size, segment.checksum, now),
            )
            self.put(connection, "next_segment", segment.id + 1)

    @staticmethod
    def _count_kinds(connection: sqlite3.Connection, names: Iterable[str]) -> None:
        """See anew which kinds of values these attributes have."""
        for name in sorted(names):
            connection.execute("DELETE FROM attribute_kinds WHERE name = ?", (name,))
            connection.execute(_KINDS_OF_ONE, {"name": name})

    @staticmethod
    def _tell(connection: sqlite3.Connection, now: int, told: Sequence[tuple[int, str, Value]]) -> None:
        """Note what items' own files tell, and make attributes of it where there are none of these names."""
        connection.executemany("INSERT INTO facts VALUES (?, ?, ?)", told)
        connection.executemany(
            "INSERT INTO attributes SELECT :item, :name, :value, :now, NULL WHERE NOT EXISTS "
            "(SELECT 1 FROM attributes WHERE item = :item AND name = :name AND removed IS NULL)",
            [{"item": item, "name": name, "value": value, "now": now} for item, name, value in told],
        )
        for name in sorted({name for _, name, _ in told}):
            connection.execute("DELETE FROM attribute_kinds WHERE name = ?", (name,))
            connection.execute(_KINDS + "AND name = ?", (name,))

    def _has(self, table: str) -> bool:
        """Whether there is a table that an earlier release did not make."""
        return bool(self.all("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = :table", table=table))


def _item(row: tuple[Any, ...]) -> Item:
    id_, path, label, width, height, size, mtime, sha = row
    label = None if label is None else str(label)
    return Item(int(id_), str(path), label, int(width), int(height), int(size), int(mtime), str(sha))


def _some_at_a_time(ids: Sequence[int]) -> Iterator[tuple[str, dict[str, int]]]:
    """Ids as a statement takes them, as many at a time as one statement asks for: its marks, and their values.

    The last one is repeated up to a power of two, so that there are few different statements, and SQLite need not
    prepare each anew: that takes longer than to answer it.
    """
    for start in range(0, len(ids), _TOGETHER):
        some = [id_ if 0 <= id_ < 1 << 63 else -1 for id_ in ids[start : start + _TOGETHER]]  # which nothing has
        size = 1 << (len(some) - 1).bit_length()
        yield _marks(size), dict(zip(_NAMES, some + some[-1:] * (size - len(some)), strict=False))


_NAMES = [f"id{place}" for place in range(_TOGETHER)]


@cache
def _marks(count: int) -> str:
    return ",".join(f":{name}" for name in _NAMES[:count])


def _plain(name: str, value: object) -> Value:
    """A value as attributes have them, and folders without the slash at their end.

    Raises:
        ValueError: it is something else, which a damaged file may hold.
    """
    if not isinstance(value, str | int | float) or not (isinstance(value, str) or math.isfinite(value)):
        raise ValueError(f"{name!r:.60} of an item is {value!r:.60}")
    return value.rstrip("/") or value if name == "folder" and isinstance(value, str) else value


def _is_within(file: object) -> bool:
    """Whether a name from the catalog is that of a file in one of the index's own folders."""
    return isinstance(file, str) and re.fullmatch(r"[a-z]+/[\w.-]+", file) is not None
