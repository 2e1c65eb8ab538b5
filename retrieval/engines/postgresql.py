"""PostgreSQL with pgvector as an engine; ``docs/engines.md`` has the tables. The only module that knows psycopg.

An index is a schema of its name, so that all its tables are exchanged at once by renaming it. Names and values never
become SQL: names are quoted by :mod:`psycopg.sql`, all else is a parameter or goes by COPY.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import struct
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
import psycopg
import xxhash
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from retrieval.base import moments
from retrieval.engines import postgresql_filters
from retrieval.engines.address import Address
from retrieval.engines.engine import Change, Engine, Ids, Loading, Near, NoIndexError, Row
from retrieval.engines.postgresql_filters import COLUMNS
from retrieval.errors import RetrievalError
from retrieval.index import Item
from retrieval.index.lock import WriterAtWorkError
from retrieval.index.records import Value
from retrieval.index.vectors import UNIT_TOLERANCE

APPLICATION, FORMAT = "retrieval", 1
"""What stands in ``meta`` of every index, and the version of the tables."""

PATIENCE = 30.0
"""Seconds that a question waits for a server to be there again, or another in its place."""

ROUNDED = 1e-5
"""More than the float32 sums of pgvector are off in practice: their bound, d·2⁻²⁴, is reached by no vectors."""

CONNECTIONS = 8
"""That readers of one index have open at once, at most."""

PLAIN = 6000
"""Bytes of a vector up to which it stays in its row; a page has 8,192."""

SAMPLE = 1000
"""Items whose vectors are looked at in a verification."""

_LARGE = ("skipped", "left_out")
"""Documents that are not read each time."""

_ITEM = "id, path, label, width, height, size, mtime_ns, sha256"
_ROW = f"{_ITEM}, attributes, facts"
_TYPES = {"float32": "vector", "float16": "halfvec", "binary": "bit"}
_HNSW_MOST = {"float32": 4000, "float16": 4000, "binary": 64_000}
"""Numbers of a vector that pgvector's graph takes: it is made of halves, so that it has half the size."""

_EFFORTS = (40, 80, 160, 320, 640, 1000)

_TABLES = """
CREATE TABLE {schema}.meta (key text PRIMARY KEY, value text NOT NULL);
CREATE TABLE {schema}.items (
    id         bigint PRIMARY KEY,
    path       text COLLATE "C" NOT NULL,
    label      text COLLATE "C",
    width      bigint NOT NULL,
    height     bigint NOT NULL,
    size       bigint NOT NULL,
    mtime_ns   bigint NOT NULL,
    sha256     text COLLATE "C" NOT NULL,
    attributes jsonb NOT NULL CHECK (jsonb_typeof(attributes) = 'object'),
    moments    jsonb NOT NULL,
    facts      jsonb NOT NULL,
    embedding  {type}({dim}) NOT NULL,
    checksum   bigint NOT NULL
);
CREATE TABLE {schema}.encoder (file text, part int, content bytea NOT NULL, PRIMARY KEY (file, part));
"""

# Hashes, since a path may be longer than what a B-tree takes.
_INDEXES = """
ALTER TABLE {schema}.items ADD CONSTRAINT one_path EXCLUDE USING hash (path WITH =) DEFERRABLE INITIALLY DEFERRED;
CREATE INDEX items_by_label ON {schema}.items USING hash (label);
CREATE INDEX items_by_sha256 ON {schema}.items USING hash (sha256);
"""

_NAMES = ("items", "meta", "encoder")

T = TypeVar("T")
Cursor = psycopg.Cursor[Any]

logging.getLogger("psycopg.pool").addHandler(logging.NullHandler())  # what it would print is told as an error


class PostgreSQL(Engine):
    """An index in a schema of a database.

    Reading, it has a pool of connections, by default to a standby where the address names one, and asks again where a
    server goes away. Writing, it has one to the primary, which holds a lock until it ends, however it ends.
    """

    def __init__(self, address: Address, schema: str, connection: psycopg.Connection[Any] | None) -> None:
        """Use :meth:`open`."""
        self.address = address
        self.expected = -1
        self._schema = sql.Identifier(schema)
        self._name = schema
        self._writing = connection
        self._pool: ConnectionPool[Any] | None = None
        self._kinds: dict[str, set[str]] = {}
        if connection is None:
            self._pool = ConnectionPool(
                address.database, kwargs=_arguments(address, "prefer-standby"), min_size=0, max_size=CONNECTIONS,
                configure=_reader, check=ConnectionPool.check_connection, timeout=PATIENCE, open=True,
            )  # fmt: skip
        try:
            meta = self._require_index()
        except BaseException:
            if self._pool is not None:
                self._pool.close()
            raise
        self.expected = int(meta["generation"])
        self._dim, self._storage = int(meta["dim"]), str(meta["storage"])

    @classmethod
    def open(cls, address: Address, *, write: bool) -> Self:
        """See :meth:`.Engine.open`."""
        if not write:
            _connect(address, "prefer-standby").close()  # which says why it cannot be reached; a pool does not
            return cls(address, address.name, None)
        connection = _locked(address)
        try:
            return cls(address, address.name, connection)
        except BaseException:
            connection.close()
            raise

    @classmethod
    def load(cls, address: Address) -> Loading:
        """See :meth:`.Engine.load`."""
        return PostgreSQLLoading(address)

    def close(self) -> None:
        """See :meth:`.Engine.close`."""
        if self._pool is not None:
            self._pool.close()
        if self._writing is not None:
            self._writing.close()

    # Reading

    def meta(self) -> dict[str, Any]:
        """See :meth:`.Engine.meta`."""
        ask = "SELECT key, value FROM {schema}.meta WHERE key <> ALL(%(large)s)"
        found = {key: json.loads(value) for key, value in self._all(ask, large=list(_LARGE))}
        self._kinds = {name: {*kinds} for name, kinds in found.get("kinds", {}).items()}
        return found

    def document(self, name: str) -> Any:
        """See :meth:`.Engine.document`."""
        for (value,) in self._all("SELECT value FROM {schema}.meta WHERE key = %(name)s", name=name):
            return json.loads(value)
        return None

    def rows(self, ids: Sequence[int]) -> list[Row]:
        """See :meth:`.Engine.rows`."""
        return self._rows("id = ANY(%(ids)s::bigint[])", ids=_some(ids))

    def find(self, column: str, values: Iterable[str]) -> list[Row]:
        """See :meth:`.Engine.find`."""
        wanted = [value for value in values if "\0" not in value]
        return self._rows(f"{column} = ANY(%(values)s::text[])", values=wanted)

    def scan(self, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """See :meth:`.Engine.scan`."""
        ask = f"SELECT {', '.join(names)} FROM {{schema}}.items ORDER BY id"  # noqa: S608
        return self._stream(ask)

    def values(self, name: str, ids: Sequence[int]) -> dict[int, Value]:
        """See :meth:`.Engine.values`."""
        column = _column(name)
        ask = f"SELECT id, {column} FROM {{schema}}.items WHERE id = ANY(%(ids)s::bigint[]) AND {column} IS NOT NULL"  # noqa: S608
        return {id_: _plain(name, value) for id_, value in self._all(ask, ids=_some(ids), name=name)}

    def counts(self, name: str, ids: Ids | None) -> dict[Value | None, int]:
        """See :meth:`.Engine.counts`."""
        tests = [] if ids is None else ["id = ANY(%(ids)s::bigint[])"]
        tests += [] if name in COLUMNS else ["attributes ? %(name)s"]
        ask = f"SELECT {_column(name)}, count(*) FROM {{schema}}.items WHERE {' AND '.join(tests) or 'true'} GROUP BY 1"  # noqa: S608
        counts: dict[Value | None, int] = {}
        for value, n in self._all(ask, ids=_some(() if ids is None else ids), name=name):
            kept = None if value is None else _plain(name, value)
            counts[kept] = counts.get(kept, 0) + n
        return counts

    def select(self, where: str, most: int | None = None) -> Ids:
        """See :meth:`.Engine.select`."""
        condition, values = postgresql_filters.compile(where, self._kinds)
        end = "ORDER BY id" if most is None else "LIMIT %(most)s"
        rows = self._all(f"SELECT id FROM {{schema}}.items WHERE {condition} {end}", **values, most=most)  # noqa: S608
        return np.fromiter((id_ for (id_,) in rows), np.int64, len(rows))

    def vectors(self, ids: Ids) -> npt.NDArray[Any]:
        """See :meth:`.Engine.vectors`."""
        wanted = np.unique(ids)
        ask = f"SELECT id, {self._sent} FROM {{schema}}.items WHERE id = ANY(%(ids)s::bigint[]) ORDER BY id"  # noqa: S608
        found, vectors = self._decoded(self._all(ask, ids=wanted.tolist()))
        if len(found) != len(wanted):
            gone = np.setdiff1d(wanted, found)[0]
            raise RetrievalError(f"The index {self.address.shown!r} has no item {gone} any more; ask again.")
        return vectors[np.searchsorted(found, ids)]

    def everything(self) -> tuple[Ids, npt.NDArray[Any]]:
        """See :meth:`.Engine.everything`."""
        parts = [self._decoded([])]
        block: list[tuple[Any, ...]] = []
        for row in self._stream(f"SELECT id, {self._sent} FROM {{schema}}.items ORDER BY id"):  # noqa: S608
            block.append(row)
            if len(block) == 4096:
                parts.append(self._decoded(block))
                block = []
        parts.append(self._decoded(block))
        return np.concatenate([ids for ids, _ in parts]), np.concatenate([vectors for _, vectors in parts])

    def nearest(
        self,
        query: npt.NDArray[Any],
        count: int,
        exclude: Ids,
        where: str | None,
        *,
        below: float | None = None,
        effort: int | None = None,
    ) -> Near:
        """See :meth:`.Engine.nearest`."""
        condition, values = self._condition(where)
        values |= {"query": self._spelled(query), "count": count, "exclude": exclude.tolist()}
        if len(exclude):
            condition += " AND id <> ALL(%(exclude)s::bigint[])"
        if effort is not None:
            ask = (
                f"SELECT id, {self._sent}, 0.0::float8 FROM {{schema}}.items WHERE {condition} "  # noqa: S608
                f"ORDER BY {self._graph} LIMIT %(count)s"
            )
            settings = {
                "hnsw.ef_search": min(max(effort, count), _EFFORTS[-1]),
                "hnsw.iterative_scan": "relaxed_order",  # goes on until as many match as are wanted
                **({} if where else {"enable_seqscan": "off"}),
            }
            rows = self._ask(ask, values, settings)
            return Near(*self._decoded(sorted(rows)), math.nan)
        if below is not None:
            condition += f" AND {self._score} <= %(below)s"
            values["below"] = below + ROUNDED
        ask = (
            f"SELECT id, {self._sent}, {self._score} AS score FROM {{schema}}.items WHERE {condition} "  # noqa: S608
            "ORDER BY score DESC, id LIMIT %(count)s"
        )
        rows = self._ask(ask, values, {})
        worst = -math.inf if len(rows) < count else float(rows[-1][2]) if rows else math.inf
        return Near(*self._decoded(sorted(rows)), worst)

    def within(self, query: npt.NDArray[Any], least: float, where: str | None) -> tuple[Ids, npt.NDArray[Any]]:
        """See :meth:`.Engine.within`."""
        condition, values = self._condition(where)
        values |= {"query": self._spelled(query), "least": max(least, -2.0) - ROUNDED}
        ask = (
            f"SELECT id, {self._sent} FROM {{schema}}.items WHERE {condition} "  # noqa: S608
            f"AND {self._score} >= %(least)s ORDER BY id"
        )
        return self._decoded(self._ask(ask, values, {}))

    def encoder(self) -> Iterator[tuple[str, bytes]]:
        """See :meth:`.Engine.encoder`."""
        for file, content in self._stream("SELECT file, content FROM {schema}.encoder ORDER BY file, part"):
            yield str(file), bytes(content)

    def size(self) -> int:
        """See :meth:`.Engine.size`."""
        ask = (
            "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = %(schema)s AND relkind = 'r'"
        )
        return int(self._all(ask, schema=self._name)[0][0])

    def problems(self) -> Iterator[str]:
        """See :meth:`.Engine.problems`."""
        meta = self.meta()
        norm = "l2_norm(embedding)" if self._storage == "float16" else "vector_norm(embedding)"
        length = f"abs({norm} - 1) <= {UNIT_TOLERANCE + 2**-10:f}" if self._storage != "binary" else "true"
        counted = {
            "items with an id that is still to be given": f"id < 0 OR id >= {int(meta['next_id'])}",
            "items without a path": "path = ''",
            "vectors that are not of unit length": f"NOT ({length})",
            "attributes that are neither number nor text": "jsonb_path_exists(attributes, "
            '\'strict $.* ? (@.type() != "number" && @.type() != "string")\')',
        }
        sums = ", ".join(f"count(*) FILTER (WHERE {test})" for test in counted.values())
        ((items, *wrong),) = self._all(f"SELECT count(*), {sums} FROM {{schema}}.items")  # noqa: S608
        if items != meta["items"]:
            yield f"has {items:,} items and counts {meta['items']:,}"
        for count, what in zip(wrong, counted, strict=True):
            if count:
                yield f"has {count:,} {what}"
        there = self._all(
            "SELECT indisvalid AND indisready FROM pg_index JOIN pg_class c ON c.oid = indexrelid "
            "JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = %(schema)s AND relname = 'nearest'",
            schema=self._name,
        )
        yield from self._odd_rows()
        if meta.get("structure") and there != [(True,)]:
            yield "is said to have an HNSW index that is not there, or not whole; export it again with --overwrite"

    def _odd_rows(self) -> Iterator[str]:
        """What is wrong with some items, drawn at random."""
        ask = (
            f"SELECT {self._sent}, checksum, attributes, moments FROM {{schema}}.items "  # noqa: S608
            "ORDER BY md5(id::text) LIMIT %(most)s"
        )
        rows = self._all(ask, most=SAMPLE)
        changed = sum(_checksum(vector) != checksum for vector, checksum, *_ in rows)
        undated = sum(_moments(attributes) != times for *_, attributes, times in rows)
        if changed:
            yield f"has {changed:,} vectors of {len(rows):,} looked at that are not what was written"
        if undated:
            yield f"has {undated:,} items of {len(rows):,} looked at whose moments are not those of their attributes"

    # Writing

    def commit(self, change: Change) -> None:
        """See :meth:`.Engine.commit`."""
        assert self._writing is not None  # an Index that is read refuses to be changed
        with self._told(), self._writing.transaction(), self._writing.cursor() as cursor:
            self._do(cursor, "SELECT key, value FROM {schema}.meta WHERE key IN ('generation', 'items') FOR UPDATE")
            state = {key: int(value) for key, value in cursor.fetchall()}
            if state["generation"] != self.expected:
                raise RetrievalError(f"The index {self.address.shown!r} was changed by another writer; try again.")
            self._do(cursor, "DELETE FROM {schema}.items WHERE id = ANY(%(ids)s::bigint[])", ids=_some(change.gone))
            if change.changed:
                sets = ", ".join(f"{name} = %({name})s" for name in _COPIED[1:-2])
                query = self._formed(f"UPDATE {{schema}}.items SET {sets} WHERE id = %(id)s")  # noqa: S608
                cursor.executemany(query, [dict(zip(_COPIED, _cells(row), strict=False)) for row in change.changed])
            if change.new:
                assert change.vectors is not None
                self._copy(cursor, change.new, change.vectors)
            counted = {
                "generation": self.expected + 1,
                "items": state["items"] - len(change.gone) + len(change.new),
            }
            self._put(cursor, {**change.documents, **counted})
        self.expected += 1

    def recount(self, names: Iterable[str]) -> dict[str, list[str]]:
        """See :meth:`.Engine.recount`."""
        found = {}
        for name in names:
            tests = (
                f"EXISTS (SELECT 1 FROM {{schema}}.items WHERE jsonb_typeof(attributes->%(name)s) = '{kind}')"  # noqa: S608
                for kind in ("number", "string")
            )
            ((number, text),) = self._all(f"SELECT {', '.join(tests)}", name=name)
            found[name] = ["number"] * number + ["text"] * text
        return found

    def build(self) -> dict[str, Any] | None:
        """See :meth:`.Engine.build`."""
        assert self._writing is not None
        if self._dim > _HNSW_MOST[self._storage]:
            return None
        kind = {"float32": "halfvec_ip_ops", "float16": "halfvec_ip_ops", "binary": "bit_hamming_ops"}[self._storage]
        with self._told(), self._writing.transaction(), self._writing.cursor() as cursor:
            self._do(cursor, "SELECT count(*) FROM {schema}.items")
            ((items,),) = cursor.fetchall()
            # A graph that does not fit is built many times slower; what is asked for is what it takes, up to 2 GB.
            room = min(max(items * (2 * self._dim + 500) // 1000, 65_536), 2_097_151)
            cursor.execute("SELECT set_config('maintenance_work_mem', %s, true)", [f"{room}kB"])
            graph = f"hnsw ({self._indexed} {kind})"
            self._do(cursor, f"CREATE INDEX IF NOT EXISTS nearest ON {{schema}}.items USING {graph}")
            self._do(cursor, "ANALYZE {schema}.items")
        return {"factory": "HNSW16 of pgvector", "efforts": list(_EFFORTS)}

    # Inside

    @property
    def _indexed(self) -> str:
        """What the graph is over."""
        return f"(embedding::halfvec({self._dim}))" if self._storage == "float32" else "embedding"

    @property
    def _graph(self) -> str:
        """The order that the graph gives."""
        if self._storage == "binary":
            return f"embedding <~> %(query)s::bit({self._dim})"
        return f"{self._indexed} <#> %(query)s::halfvec({self._dim})"

    @property
    def _score(self) -> str:
        """The inner product, which no index gives, so that every item is looked at."""
        if self._storage == "binary":
            return f"(1 - 2 * (embedding <~> %(query)s::bit({self._dim})) / {self._dim})"
        return f"(-(embedding::vector({self._dim}) <#> %(query)s::vector({self._dim})))"

    @property
    def _sent(self) -> str:
        return {"float32": "vector_send", "float16": "halfvec_send", "binary": "bit_send"}[
            self._storage
        ] + "(embedding)"

    def _spelled(self, query: npt.NDArray[Any]) -> str:
        if self._storage == "binary":
            return "".join(map(str, np.unpackbits(query, bitorder="little").tolist()))
        return str(query.tolist())  # every digit: pgvector reads them as float32 again

    def _decoded(self, rows: Sequence[tuple[Any, ...]]) -> tuple[Ids, npt.NDArray[Any]]:
        """Ids and vectors of rows that begin with an id and a vector as the server sends it."""
        ids = np.fromiter((row[0] for row in rows), np.int64, len(rows))
        sent = b"".join(row[1] for row in rows)
        if self._storage == "binary":
            codes = np.frombuffer(sent, np.dtype([("bits", ">i4"), ("code", "u1", (self._dim // 8,))]))["code"]
            return ids, _turned(codes)
        kind = ">f4" if self._storage == "float32" else ">f2"
        vectors = np.frombuffer(sent, np.dtype([("dim", ">i2"), ("", ">i2"), ("vector", kind, (self._dim,))]))["vector"]
        return ids, np.ascontiguousarray(vectors, np.float32)

    def _condition(self, where: str | None) -> tuple[str, dict[str, Any]]:
        return ("true", {}) if where is None else postgresql_filters.compile(where, self._kinds)

    def _rows(self, condition: str, /, **values: object) -> list[Row]:
        found = self._all(f"SELECT {_ROW} FROM {{schema}}.items WHERE {condition} ORDER BY id", **values)  # noqa: S608
        return [Row(Item(*row[:8]), row[8], row[9]) for row in found]

    def _all(self, ask: str, /, **values: object) -> list[Any]:
        return self._ask(ask, values, {})

    def _ask(self, ask: str, values: Mapping[str, object], settings: Mapping[str, object]) -> list[Any]:
        """The rows of a query; asked again where a server went away, or the tables were just exchanged."""
        end, swaps = time.monotonic() + PATIENCE, 2
        while True:
            try:
                with self._told(), self._connected() as connection, connection.cursor(binary=True) as cursor:
                    for name, value in settings.items():
                        cursor.execute("SELECT set_config(%s, %s, true)", [name, str(value)])
                    found: list[Any] = self._do(cursor, ask, **values).fetchall()
                    return found
            except RetrievalError as error:
                cause = error.__cause__
                exchanged = isinstance(cause, psycopg.errors.UndefinedTable | psycopg.errors.InvalidSchemaName)
                swaps -= exchanged
                lost = isinstance(cause, psycopg.OperationalError) and not isinstance(cause, PoolTimeout | PoolClosed)
                if self._pool is None or not ((exchanged and swaps) or lost) or time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def _stream(self, ask: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a query over all items, as of the generation that is expected."""
        with self._told(), self._connected() as connection:
            with connection.cursor() as cursor:
                self._do(cursor, "SELECT value FROM {schema}.meta WHERE key = 'generation'")
                if int(cursor.fetchall()[0][0]) != self.expected:
                    raise RetrievalError(f"The index {self.address.shown!r} was changed meanwhile; try again.")
            with connection.cursor("all", binary=True) as cursor:
                cursor.itersize = 1000
                self._do(cursor, ask)
                yield from cursor

    @contextlib.contextmanager
    def _connected(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection, in a transaction that sees one state."""
        if self._writing is not None:
            with self._writing.transaction():
                yield self._writing
        else:
            assert self._pool is not None
            with self._pool.connection() as connection:
                yield connection

    def _formed(self, query: str) -> sql.Composed:
        """A query of ours, with the schema's name."""
        return sql.SQL(query).format(schema=self._schema)

    def _do(self, cursor: Any, query: str, /, **values: object) -> Any:
        return cursor.execute(self._formed(query), values)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        with _sentences(self.address):
            yield

    def _require_index(self) -> dict[str, Any]:
        try:
            meta = self.meta()
        except RetrievalError as error:
            if isinstance(error.__cause__, psycopg.errors.UndefinedTable | psycopg.errors.InvalidSchemaName):
                raise NoIndexError(
                    f"There is no index at {self.address.shown!r}; make one with `retrieval export INDEX --to` it."
                ) from None
            raise
        if meta.get("application") != APPLICATION:
            raise RetrievalError(f"What {self.address.shown!r} names belongs to another program; choose another name.")
        if meta["format"] > FORMAT:
            raise RetrievalError(
                f"{self.address.shown!r} was written by a newer release (format {meta['format']}, this one reads up to "
                f"{FORMAT}); upgrade retrieval."
            )
        return meta

    def _put(self, cursor: Any, documents: Mapping[str, Any]) -> None:
        query = self._formed(
            "INSERT INTO {schema}.meta VALUES (%s, %s) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        )
        cursor.executemany(query, [(key, json.dumps(value)) for key, value in documents.items()])

    def _copy(self, cursor: Any, rows: Sequence[Row], vectors: npt.NDArray[Any]) -> None:
        """Add rows by COPY in its binary form, which takes a tenth of the time that INSERT takes."""
        into = self._formed(f"COPY {{schema}}.items ({', '.join(_COPIED)}) FROM STDIN (FORMAT BINARY)")
        with cursor.copy(into) as copy:
            copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
            for row, vector in zip(rows, self._encoded(vectors), strict=True):
                cells = [_TUPLE, *map(_field, _cells(row), _KINDS), struct.pack(">i", len(vector)), vector]
                copy.write(b"".join([*cells, _INT.pack(8, _checksum(vector))]))
            copy.write(b"\xff\xff")

    def _encoded(self, vectors: npt.NDArray[Any]) -> Iterator[bytes]:
        """Each vector as the server takes it."""
        if self._storage == "binary":
            head, rows = struct.pack(">i", self._dim), _turned(vectors)
        else:
            head = struct.pack(">hh", self._dim, 0)
            rows = vectors.astype(">f4" if self._storage == "float32" else ">f2")
        for row in rows:
            yield head + row.tobytes()


class PostgreSQLLoading(Loading):
    """A new version in a schema beside it."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._connection = _locked(address)
        self._making, self._old = f"{address.name} (new)", f"{address.name} (old)"
        self._engine: PostgreSQL | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def present(self) -> Engine | None:
        """See :meth:`.Loading.present`."""
        with contextlib.suppress(NoIndexError):
            return PostgreSQL(self.address, self.address.name, self._connection)
        return None

    def begin(self, source: Mapping[str, Any], meta: Mapping[str, Any]) -> int:
        """See :meth:`.Loading.begin`."""
        with _sentences(self.address), self._connection.cursor() as cursor:
            _require_vector(cursor, self.address)
            _set_path(cursor)
            if self._source(self._making) != source:
                self._drop(self._making)
                names = {"schema": sql.Identifier(self._making), "dim": sql.Literal(meta["dim"])}
                with self._connection.transaction():
                    cursor.execute(sql.SQL("CREATE SCHEMA {schema}").format(**names))
                    for statement in _TABLES.split(";\n"):
                        if statement.strip():
                            cursor.execute(_composed(statement, **names, type=sql.SQL(_TYPES[meta["storage"]])))
                    if _bytes_of(meta) <= PLAIN:
                        plain = "ALTER TABLE {schema}.items ALTER COLUMN embedding SET STORAGE PLAIN"
                        cursor.execute(_composed(plain, **names))
                    first = {**meta, "application": APPLICATION, "format": FORMAT, "items": 0, "source": dict(source)}
                    insert = _composed("INSERT INTO {schema}.meta VALUES (%s, %s)", **names)
                    cursor.executemany(insert, [(key, json.dumps(value)) for key, value in first.items()])
            self._engine = PostgreSQL(self.address, self._making, self._connection)
            ((last,),) = self._engine._all("SELECT coalesce(max(id), -1) FROM {schema}.items")
        return int(last)

    def put(self, rows: Sequence[Row], vectors: npt.NDArray[Any]) -> None:
        """See :meth:`.Loading.put`."""
        engine = self._loaded
        with _sentences(self.address), self._connection.transaction(), self._connection.cursor() as cursor:
            engine._copy(cursor, rows, vectors)

    def put_encoder(self, name: str, parts: Iterable[bytes]) -> None:
        """See :meth:`.Loading.put_encoder`."""
        engine = self._loaded
        with _sentences(self.address), self._connection.transaction(), self._connection.cursor() as cursor:
            engine._do(cursor, "DELETE FROM {schema}.encoder WHERE file = %(name)s", name=name)
            for number, part in enumerate(parts):
                insert = "INSERT INTO {schema}.encoder VALUES (%(name)s, %(number)s, %(part)s)"
                engine._do(cursor, insert, name=name, number=number, part=part)

    def finished(self) -> Engine:
        """See :meth:`.Loading.finished`."""
        engine = self._loaded
        with _sentences(self.address), self._connection.transaction(), self._connection.cursor() as cursor:
            engine._do(cursor, "SELECT 1 FROM pg_constraint WHERE conname = 'one_path' AND conrelid = "
                       "(SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
                       "WHERE nspname = %(name)s AND relname = 'items')", name=self._making)  # fmt: skip
            if not cursor.fetchall():
                for statement in _INDEXES.split(";\n"):
                    if statement.strip():
                        engine._do(cursor, statement)
            engine._do(cursor, "UPDATE {schema}.meta SET value = (SELECT count(*) FROM {schema}.items)::text "
                       "WHERE key = 'items'")  # fmt: skip
            engine._do(cursor, "ANALYZE {schema}.items")
        return engine

    def take_place(self) -> None:
        """See :meth:`.Loading.take_place`."""
        name = self.address.name
        self._drop(self._old)
        rename = "ALTER SCHEMA {one} RENAME TO {other}"
        with _sentences(self.address), self._connection.transaction(), self._connection.cursor() as cursor:
            for one, other in ((name, self._old), (self._making, name)):
                cursor.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [one])
                if cursor.fetchall():
                    cursor.execute(_composed(rename, one=sql.Identifier(one), other=sql.Identifier(other)))
        self._drop(self._old)

    @property
    def _loaded(self) -> PostgreSQL:
        assert self._engine is not None  # begin() comes first
        return self._engine

    def _source(self, schema: str) -> Any:
        """Of what a schema is a version in the making; None if it is not there."""
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass(%s)", [sql.Identifier(schema, "meta").as_string(self._connection)])
            if cursor.fetchall() == [(None,)]:
                return None
            cursor.execute(
                _composed("SELECT value FROM {schema}.meta WHERE key = 'source'", schema=sql.Identifier(schema))
            )
            return next((json.loads(value) for (value,) in cursor.fetchall()), None)

    def _drop(self, schema: str) -> None:
        """Drop one of ours, and nothing that others have made of it."""
        with _sentences(self.address), self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [schema])
            if not cursor.fetchall():
                return
            try:
                for name in _NAMES:
                    table = sql.Identifier(schema, name)
                    cursor.execute(_composed("DROP TABLE IF EXISTS {table}", table=table))
                cursor.execute(_composed("DROP SCHEMA {schema}", schema=sql.Identifier(schema)))
            except psycopg.errors.DependentObjectsStillExist as error:
                raise RetrievalError(
                    f"What other programs have made of an old version of {self.address.shown!r} would be lost "
                    f"({_reason(error)}); drop that, or the schema {schema!r}, yourself, and export again."
                ) from None


_COPIED = (
    "id", "path", "label", "width", "height", "size", "mtime_ns", "sha256", "attributes", "moments", "facts",
    "embedding", "checksum",
)  # fmt: skip
_KINDS = ("int", "text", "text", "int", "int", "int", "int", "text", "jsonb", "jsonb", "jsonb")
_TUPLE = struct.pack(">h", len(_COPIED))
_INT, _NULL = struct.Struct(">iq"), struct.pack(">i", -1)


def _cells(row: Row) -> tuple[Any, ...]:
    """A row's columns but for the vector."""
    item = row.item
    return (
        item.id, item.path, item.label, item.width, item.height, item.size, item.mtime_ns, item.sha256,
        _json(row.attributes), _json(_moments(row.attributes)), _json(row.facts),
    )  # fmt: skip


def _moments(attributes: Mapping[str, Value]) -> dict[str, int]:
    """Of the attributes that name one: microseconds since 1970, UTC."""
    found = {name: moments.start(value) for name, value in attributes.items()}
    return {name: at for name, at in found.items() if at is not None}


def _checksum(vector: bytes) -> int:
    """Of a vector as the server takes and sends it."""
    return xxhash.xxh3_64_intdigest(vector) - 2**63


def _field(value: Any, kind: str) -> bytes:
    """A column as COPY takes it."""
    if value is None:
        return _NULL
    if kind == "int":
        return _INT.pack(8, value)
    content = value.encode()
    if kind == "jsonb":
        content = b"\x01" + content
    return struct.pack(">i", len(content)) + bytes(content)


def _json(values: Mapping[str, Value]) -> str:
    """An object whose numbers come back as they are; see :func:`.postgresql_filters.exactly`."""
    cells = (
        f"{json.dumps(name, ensure_ascii=False)}:"
        + (json.dumps(value, ensure_ascii=False) if isinstance(value, str | int) else _digits(value))
        for name, value in values.items()
    )
    return "{" + ",".join(cells) + "}"


def _digits(value: float) -> str:
    return repr(value) if abs(value) < 2**53 else f"{int(value)}.0"


def _column(name: str) -> str:
    return COLUMNS.get(name, "attributes->%(name)s")


def _plain(name: str, value: Any) -> Value:
    found: Value = value.rstrip("/") or value if name == "folder" else value
    return found


def _turned(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Codes with the bits of each byte the other way round: here the first is the lowest, there the highest."""
    return np.packbits(np.unpackbits(np.ascontiguousarray(codes), axis=-1, bitorder="little"), axis=-1)


def _some(ids: Iterable[int]) -> list[int]:
    """Ids, but for those that no item can have."""
    return [int(id_) for id_ in ids if -(2**63) <= id_ < 2**63]


def _bytes_of(meta: Mapping[str, Any]) -> int:
    return int({"float32": 4, "float16": 2, "binary": 0.125}[meta["storage"]] * meta["dim"])


def _composed(query: str, **names: sql.Composable) -> sql.Composed:
    return sql.SQL(query).format(**names)


# Connections


def _arguments(address: Address, wanted: str) -> dict[str, Any]:
    """How to connect, besides what the address says.

    Raises:
        RetrievalError: libpq does not understand it.
    """
    try:
        given = conninfo_to_dict(address.database)
    except psycopg.ProgrammingError:  # which may quote all of it, a password too
        raise RetrievalError(f"{address.shown!r} is no address that PostgreSQL understands; correct it.") from None
    found = {"connect_timeout": 10, "application_name": "retrieval", "target_session_attrs": wanted}
    return {name: value for name, value in found.items() if wanted == "read-write" or name not in given} | {
        "prepare_threshold": None  # a plan would outlive the exchange of the tables
    }


def _connect(address: Address, wanted: str) -> psycopg.Connection[Any]:
    arguments = _arguments(address, wanted)
    try:
        return psycopg.connect(address.database, **arguments)
    except psycopg.OperationalError as error:
        raise RetrievalError(
            f"{address.shown!r} cannot be reached ({_reason(error)}); see to the server, the address and the user."
        ) from None


def _locked(address: Address) -> psycopg.Connection[Any]:
    """A connection to the primary that alone may change an index.

    Raises:
        WriterAtWorkError: another has the lock.
        RetrievalError: there is no such server.
    """
    connection = _connect(address, "read-write")
    try:
        with _sentences(address):
            connection.autocommit = True
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            _set_path(connection)
            digest = hashlib.sha256(f"retrieval index {address.name}".encode()).digest()
            high, low = struct.unpack(">ii", digest[:8])
            ((got,),) = connection.execute("SELECT pg_try_advisory_lock(%s, %s)", [high, low]).fetchall()
            if not got:
                raise WriterAtWorkError(
                    f"The index {address.shown!r} is being written by {_holder(connection, high, low)}; wait until it "
                    "has finished, or stop it."
                )
        return connection
    except BaseException:
        connection.close()
        raise


def _holder(connection: psycopg.Connection[Any], high: int, low: int) -> str:
    found = connection.execute(
        "SELECT a.pid, coalesce(host(a.client_addr), 'its own machine'), a.backend_start::timestamptz(0) "
        "FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE locktype = 'advisory' AND granted AND objsubid = 2 "
        "AND classid = %s::int8::oid AND objid = %s::int8::oid",
        [high % 2**32, low % 2**32],
    ).fetchall()
    for pid, host, since in found:
        return f"session {pid} from {host} since {since.isoformat()}"
    return "another session"


def _reader(connection: psycopg.Connection[Any]) -> None:
    """What a pool does with a new connection."""
    _set_path(connection)
    connection.commit()
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.read_only = True


def _set_path(session: Any) -> None:
    """Names without a schema are PostgreSQL's and pgvector's, whoever else made some of that name."""
    session.execute("SET jit = off")  # which takes longer than what it saves, here
    session.execute(
        "SELECT set_config('search_path', 'pg_catalog' || coalesce((SELECT ', ' || quote_ident(nspname) "
        "FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'vector'), ''), false)"
    )


def _require_vector(cursor: Any, address: Address) -> None:
    """See to pgvector, and that texts are UTF-8.

    Raises:
        RetrievalError: it is not there and cannot be made, or is too old; or the database is of another encoding.
    """
    try:
        cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except psycopg.Error as error:
        raise RetrievalError(
            f"pgvector cannot be used at {address.shown!r} ({_reason(error)}); install it there, and have somebody who "
            "may say CREATE EXTENSION vector."
        ) from None
    cursor.execute("SELECT extversion, current_setting('server_encoding') FROM pg_extension WHERE extname = 'vector'")
    ((version, encoding),) = cursor.fetchall()
    if tuple(int(part) for part in version.split(".")[:2]) < (0, 8):
        raise RetrievalError(
            f"pgvector at {address.shown!r} is {version}, and this needs 0.8; say ALTER EXTENSION vector UPDATE."
        )
    if encoding != "UTF8":
        raise RetrievalError(f"The database at {address.shown!r} has the encoding {encoding}; choose one with UTF8.")


@contextlib.contextmanager
def _sentences(address: Address) -> Iterator[None]:
    """What the server says, as a sentence."""
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise RetrievalError(f"{address.shown!r} refuses it ({_reason(error)}); log in as who may do that.") from error
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise RetrievalError(
            f"The connection to {address.shown!r} was lost, or could not be had ({_reason(error)}); what was committed "
            "is there: try again."
        ) from error
    except (psycopg.DataError, psycopg.errors.ProgramLimitExceeded, UnicodeEncodeError) as error:
        raise RetrievalError(
            f"{address.shown!r} can neither keep nor look for what was given ({_reason(error)}); change or leave out "
            "what it names."
        ) from error
    except psycopg.Error as error:
        raise RetrievalError(f"{address.shown!r} cannot do it ({_reason(error)}); try again.") from error


def _reason(error: Exception) -> str:
    """The first line of what a server says, without what somebody may not see."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(lines[0].split()).rstrip(".")[:300]
