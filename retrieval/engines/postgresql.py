"""PostgreSQL with pgvector as an engine; ``docs/engines.md`` has the tables.

An index is a schema of its name, so that all its tables are exchanged at once by renaming it. Names and values never
become SQL: names are quoted by :mod:`psycopg.sql`, all else is a parameter or goes by COPY.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import sql
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from retrieval.base import progress
from retrieval.engines import postgresql_filters
from retrieval.engines.address import Address
from retrieval.engines.engine import (
    APPLICATION,
    LARGE,
    ROUNDED,
    Change,
    Engine,
    Ids,
    Loading,
    Near,
    NoIndexError,
    Row,
    require_known,
)
from retrieval.engines.postgresql_connections import (
    arguments,
    connect,
    locked,
    prepare_reader,
    reason,
    require_vector,
    sentences,
    set_path,
)
from retrieval.engines.postgresql_filters import COLUMNS
from retrieval.engines.postgresql_rows import COPIED, Vectors, cells, checksum_of, copied, moments_of
from retrieval.errors import RetrievalError
from retrieval.index import Item
from retrieval.index.records import Value
from retrieval.index.vectors import UNIT_TOLERANCE

FORMAT = 1
"""The version of the tables."""

PATIENCE = 30.0
"""Seconds that a question waits for a server to be there again, or another in its place."""

CONNECTIONS = 8
"""That readers of one index have open at once, at most."""

PLAIN = 6000
"""Bytes of a vector up to which it stays in its row; a page has 8,192."""

SAMPLE = 1000
"""Items whose vectors are looked at in a verification."""

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

Cursor = psycopg.Cursor[Any]


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
                address.database, kwargs=arguments(address, "prefer-standby"), min_size=0, max_size=CONNECTIONS,
                configure=prepare_reader, check=ConnectionPool.check_connection, timeout=PATIENCE, open=True,
            )  # fmt: skip
        try:
            meta = self._require_index()
        except BaseException:
            if self._pool is not None:
                self._pool.close()
            raise
        self.expected = int(meta["generation"])
        self._dim, self._storage = int(meta["dim"]), str(meta["storage"])
        self._vectors = Vectors(self._dim, self._storage)

    @classmethod
    def open(cls, address: Address, *, write: bool) -> Self:
        """See :meth:`.Engine.open`."""
        if not write:
            connect(address, "prefer-standby").close()  # which says why it cannot be reached; a pool does not
            return cls(address, address.name, None)
        connection = locked(address)
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
        found = {key: json.loads(value) for key, value in self._all(ask, large=list(LARGE))}
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
        found, vectors = self._vectors.decoded(self._all(ask, ids=wanted.tolist()))
        if len(found) != len(wanted):
            gone = np.setdiff1d(wanted, found)[0]
            raise RetrievalError(f"The index {self.address.shown!r} has no item {gone} any more; ask again.")
        return vectors[np.searchsorted(found, ids)]

    def everything(self) -> tuple[Ids, npt.NDArray[Any]]:
        """See :meth:`.Engine.everything`."""
        parts = [self._vectors.decoded([])]
        block: list[tuple[Any, ...]] = []
        for row in self._stream(f"SELECT id, {self._sent} FROM {{schema}}.items ORDER BY id"):  # noqa: S608
            block.append(row)
            if len(block) == 4096:
                parts.append(self._vectors.decoded(block))
                block = []
        parts.append(self._vectors.decoded(block))
        return np.concatenate([ids for ids, _ in parts]), np.concatenate([vectors for _, vectors in parts])

    def nearest(
        self,
        query: npt.NDArray[Any],
        count: int,
        exclude: Sequence[int],
        where: str | None,
        *,
        below: float | None = None,
        effort: int | None = None,
    ) -> Near:
        """See :meth:`.Engine.nearest`."""
        condition, values = self._condition(where)
        values |= {"query": self._vectors.spelled(query), "count": count, "exclude": list(exclude)}
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
            return Near(*self._vectors.decoded(sorted(rows)), math.nan)
        if below is not None:
            condition += f" AND {self._score} <= %(below)s"
            values["below"] = below + ROUNDED
        # The vectors are fetched of the best alone: what is sorted is only ids and scores.
        scored = f"SELECT id, {self._score} AS score FROM {{schema}}.items WHERE {condition}"  # noqa: S608
        ask = (
            f"WITH best AS MATERIALIZED (SELECT * FROM ({scored}) AS scored ORDER BY score DESC, id LIMIT %(count)s) "  # noqa: S608
            f"SELECT id, {self._sent}, score FROM best JOIN {{schema}}.items USING (id) ORDER BY id"
        )
        rows = self._ask(ask, values, {})
        worst = -math.inf if len(rows) < count else min((float(row[2]) for row in rows), default=math.inf)
        return Near(*self._vectors.decoded(rows), worst)

    def within(self, query: npt.NDArray[Any], least: float, where: str | None) -> tuple[Ids, npt.NDArray[Any]]:
        """See :meth:`.Engine.within`."""
        condition, values = self._condition(where)
        values |= {"query": self._vectors.spelled(query), "least": max(least, -2.0) - ROUNDED}
        ask = (
            f"SELECT id, {self._sent} FROM {{schema}}.items WHERE {condition} "  # noqa: S608
            f"AND {self._score} >= %(least)s ORDER BY id"
        )
        return self._vectors.decoded(self._ask(ask, values, {}))

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
        changed = sum(checksum_of(vector) != checksum for vector, checksum, *_ in rows)
        undated = sum(moments_of(attributes) != times for *_, attributes, times in rows)
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
                sets = ", ".join(f"{name} = %({name})s" for name in COPIED[1:-2])
                query = self._formed(f"UPDATE {{schema}}.items SET {sets} WHERE id = %(id)s")  # noqa: S608
                cursor.executemany(query, [dict(zip(COPIED, cells(row), strict=False)) for row in change.changed])
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
        with ThreadPoolExecutor(1) as pool, self._told():
            building = pool.submit(self._build_graph)
            try:
                self._watch(building)
            except BaseException:
                self._writing.cancel_safe()
                raise
            building.result()
        return {"factory": "HNSW16 of pgvector", "efforts": list(_EFFORTS)}

    # Inside

    def _build_graph(self, workers: int | None = None) -> None:
        """Make the graph, beside whoever reads.

        Args:
            workers: processes beside one, at most; None for what the server has by default.
        """
        assert self._writing is not None
        kind = "bit_hamming_ops" if self._storage == "binary" else "halfvec_ip_ops"
        try:
            with self._writing.transaction(), self._writing.cursor() as cursor:
                ((items,),) = self._do(cursor, "SELECT count(*) FROM {schema}.items").fetchall()
                # A graph that does not fit is built many times slower; what is asked for is what it takes, up to 2 GB.
                room = min(max(items * (2 * self._dim + 700) // 1000, 65_536), 2_097_151)
                cursor.execute("SELECT set_config('maintenance_work_mem', %s, true)", [f"{room}kB"])
                if workers is not None:
                    query = "SELECT set_config('max_parallel_maintenance_workers', %s, true)"
                    cursor.execute(query, [str(workers)])
                graph = f"hnsw ({self._indexed} {kind})"
                self._do(cursor, f"CREATE INDEX IF NOT EXISTS nearest ON {{schema}}.items USING {graph}")
                self._do(cursor, "ANALYZE {schema}.items")
        except (psycopg.errors.DiskFull, psycopg.errors.OutOfMemory):
            if workers is not None:
                raise
            self._build_graph(0)  # several share it in /dev/shm, which is small in a container

    def _watch(self, building: Future[None]) -> None:
        """Show how far the graph has come, as another connection tells."""
        assert self._writing is not None
        ask = "SELECT blocks_done, blocks_total FROM pg_stat_progress_create_index WHERE pid = %s AND blocks_total > 0"
        with progress.bar(100, "Linking", "%") as bar:
            if wait([building], 2).done:  # which most take no longer than, and nobody hears of
                return
            with connect(self.address, "read-write") as other:
                other.autocommit = True
                while not wait([building], 1).done:
                    for done, total in other.execute(ask, [self._writing.info.backend_pid]).fetchall():
                        bar.update(100 * done // total - bar.n)

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
                    if settings:
                        each = ", ".join(["set_config(%s, %s, true)"] * len(settings))
                        given = [str(part) for setting in settings.items() for part in setting]
                        cursor.execute(f"SELECT {each}", given)
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
        with sentences(self.address):
            yield

    def _require_index(self) -> dict[str, Any]:
        try:
            meta = self.meta()
        except RetrievalError as error:
            if isinstance(error.__cause__, psycopg.errors.UndefinedTable | psycopg.errors.InvalidSchemaName):
                raise NoIndexError(self.address) from None
            raise
        require_known(self.address, meta, FORMAT)
        return meta

    def _put(self, cursor: Any, documents: Mapping[str, Any]) -> None:
        query = self._formed(
            "INSERT INTO {schema}.meta VALUES (%s, %s) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        )
        cursor.executemany(query, [(key, json.dumps(value)) for key, value in documents.items()])

    def _copy(self, cursor: Any, rows: Sequence[Row], vectors: npt.NDArray[Any]) -> None:
        """Add rows by COPY in its binary form, which takes a tenth of the time that INSERT takes."""
        into = self._formed(f"COPY {{schema}}.items ({', '.join(COPIED)}) FROM STDIN (FORMAT BINARY)")
        with cursor.copy(into) as copy:
            copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
            for row, vector in zip(rows, self._vectors.encoded(vectors), strict=True):
                copy.write(copied(row, vector))
            copy.write(b"\xff\xff")


class PostgreSQLLoading(Loading):
    """A new version in a schema beside it."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._connection = locked(address)
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
        with sentences(self.address), self._connection.cursor() as cursor:
            require_vector(cursor, self.address)
            set_path(cursor)
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
        with sentences(self.address), self._connection.transaction(), self._connection.cursor() as cursor:
            engine._copy(cursor, rows, vectors)

    def put_encoder(self, name: str, parts: Iterable[bytes]) -> None:
        """See :meth:`.Loading.put_encoder`."""
        engine = self._loaded
        with sentences(self.address), self._connection.transaction(), self._connection.cursor() as cursor:
            engine._do(cursor, "DELETE FROM {schema}.encoder WHERE file = %(name)s", name=name)
            for number, part in enumerate(parts):
                insert = "INSERT INTO {schema}.encoder VALUES (%(name)s, %(number)s, %(part)s)"
                engine._do(cursor, insert, name=name, number=number, part=part)

    def finished(self) -> Engine:
        """See :meth:`.Loading.finished`."""
        engine = self._loaded
        with sentences(self.address), self._connection.transaction(), self._connection.cursor() as cursor:
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
        with sentences(self.address), self._connection.transaction(), self._connection.cursor() as cursor:
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
        with sentences(self.address), self._connection.transaction(), self._connection.cursor() as cursor:
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
                    f"({reason(error)}); drop that, or the schema {schema!r}, yourself, and export again."
                ) from None


def _column(name: str) -> str:
    return COLUMNS.get(name, "attributes->%(name)s")


def _plain(name: str, value: Any) -> Value:
    found: Value = value.rstrip("/") or value if name == "folder" else value
    return found


def _some(ids: Iterable[int]) -> list[int]:
    """Ids, but for those that no item can have."""
    return [int(id_) for id_ in ids if -(2**63) <= id_ < 2**63]


def _bytes_of(meta: Mapping[str, Any]) -> int:
    return int({"float32": 4, "float16": 2, "binary": 0.125}[meta["storage"]] * meta["dim"])


def _composed(query: str, **names: sql.Composable) -> sql.Composed:
    return sql.SQL(query).format(**names)
