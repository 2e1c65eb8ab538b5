"""An index in Milvus, asked and changed; ``docs/engines.md`` says how it lies there.

Written for what Milvus 2.3 to 3.0 share, without filter templates and without search by id. Names and values never
become part of an expression: only numbers do, and letters that mean nothing (:mod:`.milvus_rows`).
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
from pymilvus import MilvusClient

from retrieval.engines import milvus_filters
from retrieval.engines.address import Address
from retrieval.engines.engine import (
    LARGE,
    ROUNDED,
    Change,
    Engine,
    Ids,
    Near,
    NoIndexError,
    Row,
    another_program,
    require_known,
)
from retrieval.engines.milvus_connections import (
    PATIENCE,
    GoneError,
    LostError,
    collection_name,
    connect,
    sentences,
)
from retrieval.engines.milvus_filters import fields_of, value_of
from retrieval.engines.milvus_lease import Lease
from retrieval.engines.milvus_rows import (
    DEAD,
    DOCUMENT,
    ENCODER,
    NUMBER,
    ROW,
    STATE,
    TEXT,
    Vectors,
    attribute_key,
    ids_of,
    of_document,
    of_item,
    of_part,
    path_key,
    to_row,
)
from retrieval.engines.milvus_state import FEW_DEAD, MilvusState
from retrieval.engines.milvus_structure import Structure, efforts
from retrieval.errors import RetrievalError
from retrieval.index.records import Value

FORMAT = 1
"""The version of the collections."""

MOST = 16_384
"""Hits of a search that Milvus gives at most."""

MESSAGE = 8 * 2**20
"""Bytes of vectors in one message; a server takes and gives some 64 MB."""

NAMED = 2000
"""Ids in one expression: Milvus takes 40 microseconds to read one."""

FETCHED = 250
"""Items in one answer with all that is known of them, each of which may have 64 KB."""

WHOLE = 30.0
"""Seconds that a question waits for a large change to be ended."""

TAIL = 4000
"""Rows that are not in the structure, which are looked at one by one, at most; and a twentieth of all."""

Found = TypeVar("Found")
Rows = list[dict[str, Any]]


class MilvusIndex(Engine):
    """An index in a collection.

    What is read is as of one generation, which is looked up before and after. Reading, a question is asked again
    where the server went away for a moment or another version took the place of this one.
    """

    def __init__(self, address: Address, client: MilvusClient, collection: str | None, lease: Lease | None) -> None:
        """Use :meth:`open`.

        Args:
            collection: another than the one that has the name now. lease: held by who may write.
        """
        self.address = address
        self.expected = -1
        self._client = client
        self._given, self._lease = collection, lease
        self._kinds: dict[str, set[str]] = {}
        self._tail: tuple[int, Ids, npt.NDArray[Any]] | None = None
        self._collection = collection or self._named()
        self._state: MilvusState | None = self._read_state("Strong")
        kept = self._documents(self._state, 'path in ["dim", "storage"]')
        self._vectors = Vectors(int(kept["dim"]), str(kept["storage"]))
        self._begun = lease is not None  # something may have been begun, by another writer, and not ended
        self._structure = Structure(client, self._vectors)
        if lease is not None:
            self._recover()
        self.expected = int(self._require_index()["generation"])

    @classmethod
    def open(cls, address: Address, *, write: bool) -> Self:
        """See :meth:`.Engine.open`."""
        client = connect(address)
        lease: Lease | None = None
        try:
            lease = Lease(client, address) if write else None
            return cls(address, client, None, lease)
        except BaseException:
            if lease is not None:
                lease.release()
            client.close()
            raise

    def close(self) -> None:
        """See :meth:`.Engine.close`."""
        if self._given is not None:
            return  # the client, and the lease, are those of who makes a new version
        if self._lease is not None:
            self._lease.release()
        self._client.close()

    # Reading

    def meta(self) -> dict[str, Any]:
        """See :meth:`.Engine.meta`."""
        self._state = None  # so that it is read anew, and as it is now
        state, found = self._asked(lambda state: (state, self._documents(state, f"path not in {json.dumps(LARGE)}")))
        self._kinds = {name: {*kinds} for name, kinds in found.get("kinds", {}).items()}
        return {**found, "generation": state.generation, "items": state.items}

    def document(self, name: str) -> Any:
        """See :meth:`.Engine.document`."""
        if name == "generation":
            return self._read_state("Strong").generation
        return self._asked(lambda state: self._documents(state, f'path == "{name}"')).get(name)

    def rows(self, ids: Sequence[int]) -> list[Row]:
        """See :meth:`.Engine.rows`."""
        return [to_row(one) for some in _some(ids, FETCHED) for one in self._items(f"id in {some}", ROW)]

    def find(self, column: str, values: Iterable[str]) -> list[Row]:
        """See :meth:`.Engine.find`."""
        wanted = {*values}
        if column == "path":
            keys = [path_key(path) for path in wanted]
        else:
            keys = [value for value in wanted if value.isascii() and value.isalnum()]
        field = "path_key" if column == "path" else column
        found: Rows = []
        for some in _chunks(sorted(keys), FETCHED):
            found += self._items(f"{field} in {json.dumps(some)}", ROW)
        rows = [to_row(one) for one in sorted(found, key=_id_of)]
        return [row for row in rows if getattr(row.item, column) in wanted]

    def scan(self, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """See :meth:`.Engine.scan`."""
        fields = [*names, "labelled"] if "label" in names else names
        for block in self._pages(fields, strict=True):
            for one in block:
                yield tuple(None if name == "label" and not one["labelled"] else one[name] for name in names)

    def values(self, name: str, ids: Sequence[int]) -> dict[int, Value]:
        """See :meth:`.Engine.values`."""
        found = {}
        for some in _some(ids, NAMED):
            for one in self._items(f"id in {some}", fields_of(name)):
                value = value_of(one, name)
                if value is not None:
                    found[int(one["id"])] = value
        return found

    def counts(self, name: str, ids: Ids | None) -> dict[Value | None, int]:
        """See :meth:`.Engine.counts`."""
        counts: dict[Value | None, int] = {}
        if ids is None:
            blocks = self._pages(fields_of(name))
        else:
            blocks = (self._items(f"id in {some}", fields_of(name)) for some in _some(ids, NAMED))
        for block in blocks:
            for one in block:
                value = value_of(one, name)
                if value is not None or name == "label":
                    counts[value] = counts.get(value, 0) + 1
        return counts

    def select(self, where: str, most: int | None = None) -> Ids:
        """See :meth:`.Engine.select`."""
        asked = milvus_filters.compile(where, self._kinds)
        if asked.exact and most is not None and most <= MOST:
            return np.sort(ids_of(self._items(asked.expression, ["id"], limit=max(most, 1))))[:most]
        found, fields = [np.empty(0, np.int64)], ["id"] if asked.exact else milvus_filters.FIELDS
        for block in self._pages(fields, asked.expression):
            found.append(ids_of([one for one in block if asked.exact or asked.matches(one)]))
            if most is not None and sum(map(len, found)) >= most:
                break
        return np.concatenate(found)[:most]

    def vectors(self, ids: Ids) -> npt.NDArray[Any]:
        """See :meth:`.Engine.vectors`."""
        wanted = np.unique(ids)
        found, vectors = self._fetched(wanted)
        if len(found) != len(wanted):
            gone = np.setdiff1d(wanted, found)[0]
            raise RetrievalError(f"The index {self.address.shown!r} has no item {gone} any more; ask again.")
        return vectors[np.searchsorted(found, ids)]

    def everything(self) -> tuple[Ids, npt.NDArray[Any]]:
        """See :meth:`.Engine.everything`."""
        return self._stacked(self._decoded(block) for block in self._pages(["id", "embedding"], strict=True))

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
        asked = None if where is None else milvus_filters.compile(where, self._kinds)
        if (asked is not None and not asked.exact) or count > MOST or len(exclude) > NAMED:
            return self._looked_through(query, count, exclude, where, below)
        condition = "" if asked is None else f" and {asked.expression}"
        if len(exclude):
            condition += f" and id not in {[int(id_) for id_ in exclude]}"
        limits = {} if below is None else self._above_distance(below)
        return self._asked(lambda state: self._near(state, query, count, condition, limits, effort))

    def within(self, query: npt.NDArray[Any], least: float, where: str | None) -> tuple[Ids, npt.NDArray[Any]]:
        """See :meth:`.Engine.within`."""
        return self._stacked(
            (ids[near], vectors[near])
            for ids, vectors in self._matching(where)
            for near in [self._scores(vectors, query) >= least - ROUNDED]
        )

    def encoder(self) -> Iterator[tuple[str, bytes]]:
        """See :meth:`.Engine.encoder`."""
        listed = self._asked(lambda state: self._query(f"id == {ENCODER} and {state.there}", ["row", "path", "width"]))
        listed.sort(key=lambda one: (one["path"], one["width"]))
        for some in _chunks(listed, 32):
            found = self._query(f"row in {[one['row'] for one in some]}", ["row", "content"])
            content = {one["row"]: one["content"] for one in found}
            for one in some:
                yield str(one["path"]), base64.b85decode(content.get(one["row"], ""))

    def size(self) -> int:
        """See :meth:`.Engine.size`."""
        with self._told():
            segments = self._client.list_loaded_segments(self._collection, timeout=PATIENCE)
        return sum(max(int(one.mem_size), int(one.num_rows) * self._vectors.bytes) for one in segments)

    # Writing

    def commit(self, change: Change) -> None:
        """See :meth:`.Engine.commit`."""
        assert self._lease is not None  # an Index that is read refuses to be changed
        self._lease.require()
        state = self._recover() if self._begun or self._state is None else self._state
        if state.generation != self.expected:
            raise RetrievalError(f"The index {self.address.shown!r} was changed by another writer; try again.")
        rows, made = self._changed(state, change)
        self._begun = True
        self._insert(rows)
        self._make_true(made)
        self.expected = made.generation
        with contextlib.suppress(LostError):  # what is left to be done is done before the next change
            self._state = self._swept(made)
            self._begun = False
            if made.lists and self._tail_length(self._state) > max(TAIL, made.items // 20):
                self._settle(self._state)

    def _make_true(self, state: MilvusState) -> None:
        """Add a state that makes a change true."""
        try:
            self._insert([state.to_row(self._vectors.nothing())])
        except LostError:
            if self._read_state("Strong").row != state.row:
                raise

    def _changed(self, state: MilvusState, change: Change) -> tuple[Rows, MilvusState]:
        """What a change adds, and the state that makes it true."""
        generation, numbers = state.generation + 1, itertools.count(state.row + 1)
        dead = [int(one["row"]) for some in _some(change.gone, NAMED) for one in self._items(f"id in {some}", ["row"])]
        if len(dead) != len(change.gone):
            raise RetrievalError(f"The index {self.address.shown!r} was changed by another program; verify it.")
        dead += self._document_rows(state, change.documents)
        rows: Rows = []
        for block in _chunks(change.changed, self._step):
            there = self._items(f"id in {[row.item.id for row in block]}", ["row", "id", "embedding"])
            dead += [int(one["row"]) for one in there]
            ids, vectors = self._decoded(there)
            places = np.searchsorted(ids, [row.item.id for row in block])
            rows += self._made(numbers, generation, block, vectors[places])
        if change.new:
            assert change.vectors is not None
            rows += self._made(numbers, generation, change.new, change.vectors)
        for name, value in change.documents.items():
            rows += of_document(numbers, generation, name, value, self._vectors.nothing())
        few = len(dead) <= FEW_DEAD
        if not few:
            for number, some in enumerate(_chunks(dead, NAMED)):
                content = json.dumps(some)
                rows.append(of_part(next(numbers), generation, DEAD, "", number, content, self._vectors.nothing()))
        return rows, replace(
            state,
            row=next(numbers),
            generation=generation,
            items=state.items - len(change.gone) + len(change.new),
            dead=tuple(dead) if few else (),
            sweeping=not few,
            loading=None,
        )

    def recount(self, names: Iterable[str]) -> dict[str, list[str]]:
        """See :meth:`.Engine.recount`."""
        found = {}
        for name in names:
            field = f'terms["{attribute_key(name)}"]'
            kinds = ((NUMBER, "o", "number"), (TEXT, "u", "text"))
            found[name] = [
                kind
                for low, high, kind in kinds
                if self._items(f'{field} >= "{low}" and {field} < "{high}"', ["id"], limit=1)
            ]
        return found

    def build(self) -> dict[str, Any] | None:
        """See :meth:`.Engine.build`."""
        if self._given is None:
            return None  # nobody could ask meanwhile; a version in the making is asked by nobody
        state = self._read_state("Strong")
        with self._told():
            lists = self._structure.build(self._collection, state.items)
        self._write_state(state, settled=state.generation, lists=lists)
        return {"factory": self._structure.name(lists), "efforts": efforts(lists)}

    # Inside: what is true

    def _asked(self, ask: Callable[[MilvusState], Found], *, strict: bool = False) -> Found:
        """What is found in one state.

        Args:
            strict: it must be of the generation that is expected.
        """
        began = time.monotonic()
        while True:
            try:
                state = self._state = self._state or self._read_state("Strong")
                if not state.sweeping:
                    if strict and state.generation != self.expected:
                        raise RetrievalError(f"The index {self.address.shown!r} was changed meanwhile; try again.")
                    found = ask(state)
                    now = state if self._lease is not None else self._read_state("Eventually")
                    if now.generation == state.generation:
                        return found
                elif time.monotonic() > began + WHOLE:
                    raise RetrievalError(
                        f"A large change of {self.address.shown!r} has not been ended by who made it; any verb that "
                        "changes it ends it."
                    )
                else:
                    time.sleep(0.1)
                    now = self._read_state("Strong")
                self._state = now
            except (GoneError, LostError) as error:
                if self._lease is not None or time.monotonic() > began + PATIENCE:
                    raise
                time.sleep(0.05)
                self._state = None
                if isinstance(error, GoneError):
                    self._collection = self._named()

    def _read_state(self, consistency: str) -> MilvusState:
        found = MilvusState.of(self._query(f"id == {STATE}", ["row", "content"], consistency=consistency))
        if found is None:
            raise GoneError(f"The index {self.address.shown!r} is not there, or not whole; export it again.")
        return found

    def _write_state(self, state: MilvusState, **changed: Any) -> MilvusState:
        """Add a state of the same generation, and delete those before."""
        made = replace(state, **changed, row=state.row + 1)
        self._insert([made.to_row(self._vectors.nothing())])
        self._delete(f"id == {STATE} and row < {made.row}")
        self._state = self._read_state("Strong")
        return self._state

    def _swept(self, state: MilvusState) -> MilvusState:
        """Delete what is not true any more."""
        seen = self._read_state("Strong")  # and this one's own changes are seen from here on
        if seen.row != state.row:
            raise RetrievalError(f"The index {self.address.shown!r} was changed by another writer; open it again.")
        dead = [*state.dead]
        if state.sweeping:
            for one in self._query(f"id == {DEAD}", ["content"]):
                dead += json.loads(one["content"])
        for some in _chunks(dead, NAMED):
            self._delete_rows(some)
        if state.sweeping:
            self._delete(f"id == {DEAD}")
        return self._write_state(state, dead=(), sweeping=False)

    def _recover(self) -> MilvusState:
        """Take back what a writer began and did not make true, and end what it did."""
        state = self._read_state("Strong")
        self._delete(f"row > {state.row}")
        if state.dead or state.sweeping:
            state = self._swept(state)
        self._state, self._begun = state, False
        return state

    def _tail_length(self, state: MilvusState) -> int:
        (counted,) = self._query(f"{state.items_there} and since > {state.settled}", ["count(*)"])
        return int(counted["count(*)"])

    def _settle(self, state: MilvusState) -> None:
        """Have the structure take in all rows."""
        with self._told():
            self._structure.settle(self._collection)
        self._write_state(state, settled=state.generation)

    # Inside: rows

    def _made(self, numbers: Iterator[int], since: int, rows: Sequence[Row], vectors: npt.NDArray[Any]) -> Rows:
        encoded = self._vectors.encoded(vectors)
        return [of_item(next(numbers), since, row, vector) for row, vector in zip(rows, encoded, strict=True)]

    def _document_rows(self, state: MilvusState, names: Iterable[str]) -> list[int]:
        wanted = [*names]
        if not wanted:
            return []
        found = self._query(f"id == {DOCUMENT} and {state.there} and path in {json.dumps(wanted)}", ["row"])
        return [int(one["row"]) for one in found]

    def _documents(self, state: MilvusState, condition: str) -> dict[str, Any]:
        found = self._query(f"id == {DOCUMENT} and {state.there} and {condition}", ["path", "width", "content"])
        texts: dict[str, list[str]] = {}
        for one in sorted(found, key=lambda one: (one["path"], one["width"])):
            texts.setdefault(one["path"], []).append(one["content"])
        return {name: json.loads("".join(some)) for name, some in texts.items()}

    def _insert(self, rows: Rows) -> None:
        for some in _chunks(rows, self._step):
            with self._told():
                self._client.insert(self._collection, some, timeout=PATIENCE)

    def _delete(self, condition: str) -> None:
        """Delete the rows of a condition."""
        while found := self._query(condition, ["row"], consistency="Strong", limit=MOST):
            for some in _chunks([int(one["row"]) for one in found], NAMED):
                self._delete_rows(some)

    def _delete_rows(self, rows: Sequence[int]) -> None:
        with self._told():
            self._client.delete(self._collection, ids=list(rows), timeout=PATIENCE)

    def _query(
        self, condition: str, fields: Sequence[str], *, consistency: str = "Eventually", limit: int | None = None
    ) -> Rows:
        asked = {} if limit is None else {"limit": limit}
        with self._told():
            found = self._client.query(
                self._collection, filter=condition, output_fields=list(fields), consistency_level=consistency,
                timeout=PATIENCE, **asked,
            )  # fmt: skip
            return [dict(one) for one in found]

    def _items(self, condition: str, fields: Sequence[str], *, limit: int | None = None, strict: bool = False) -> Rows:
        """Fields of the items of a condition, in any order."""
        return self._asked(
            lambda state: self._query(f"{state.items_there} and {condition}", fields, limit=limit), strict=strict
        )

    def _pages(self, fields: Sequence[str], condition: str = "id >= 0", *, strict: bool = False) -> Iterator[Rows]:
        """Fields of all items of a condition, by ascending id, in blocks: so many ids as have no more items than
        fit."""
        most, wanted = self._step if "embedding" in fields else MOST // 8, [*{*fields, "id"}]
        found = self._items(condition, wanted, limit=most + 1, strict=strict)
        if len(found) <= most:
            yield sorted(found, key=_id_of)
            return
        first, last, step = 0, self._asked(lambda _: self._last_id(), strict=strict), most
        while first < last:
            end = min(first + step, last)
            found = self._items(f"{condition} and id >= {first} and id < {end}", wanted, limit=most + 1, strict=strict)
            if len(found) > most:
                step = max(step // 2, 1)
                continue
            yield sorted(found, key=_id_of)
            first = end
            step = step * 4 if len(found) < most // 4 else step

    def _last_id(self) -> int:
        state = self._state
        assert state is not None
        return int(self._documents(state, 'path == "next_id"')["next_id"])

    # Inside: vectors

    @property
    def _step(self) -> int:
        """Rows in one message."""
        return max(1, min(4096, MESSAGE // (self._vectors.bytes + 2048)))

    def _decoded(self, found: Rows) -> tuple[Ids, npt.NDArray[Any]]:
        """Ids, ascending, and vectors."""
        rows = sorted(found, key=_id_of)
        return ids_of(rows), self._vectors.decoded([one["embedding"] for one in rows])

    def _fetched(self, ids: Ids) -> tuple[Ids, npt.NDArray[Any]]:
        """Those of some items, of ascending ids, that are there."""
        return self._stacked(
            self._decoded(self._items(f"id in {some}", ["id", "embedding"]))
            for some in _some(ids.tolist(), min(self._step, NAMED))
        )

    def _stacked(self, blocks: Iterable[tuple[Ids, npt.NDArray[Any]]]) -> tuple[Ids, npt.NDArray[Any]]:
        all_ = [self._decoded([]), *blocks]
        return np.concatenate([ids for ids, _ in all_]), np.concatenate([vectors for _, vectors in all_])

    def _scores(self, vectors: npt.NDArray[Any], query: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        if self._vectors.binary:
            apart: npt.NDArray[np.int64] = np.bitwise_count(vectors ^ query).sum(axis=1, dtype=np.int64)
            return np.asarray(1 - 2 * apart / self._vectors.dim, np.float64)
        found: npt.NDArray[np.float64] = vectors.astype(np.float64) @ query.astype(np.float64)
        return found

    def _above_distance(self, below: float) -> dict[str, float]:
        """What scores at most so much, as Milvus says it."""
        if self._vectors.binary:
            return {"radius": float(2 * self._vectors.dim), "range_filter": self._distance(below)}
        return {"radius": -4.0, "range_filter": below + ROUNDED}

    def _distance(self, score: float) -> float:
        """The Hamming distance of a score, and a little less."""
        return max(0.0, math.floor((1 - score) * self._vectors.dim / 2 - 1e-6))

    def _most(self, distance: float) -> float:
        """What is not among hits scores no more than this, if the last of them has this distance; as Milvus does not
        break ties by id, of codes something between that score and the next."""
        return 1 - (2 * distance - 1) / self._vectors.dim if self._vectors.binary else distance

    def _near(
        self,
        state: MilvusState,
        query: npt.NDArray[Any],
        count: int,
        condition: str,
        limits: Mapping[str, float],
        effort: int | None,
    ) -> Near:
        """The nearest that Milvus finds in its structure, and all that is not in it yet."""
        inside = f"{state.items_there} and since <= {state.settled}" if state.lists else state.items_there
        settings = {"nprobe": effort or state.lists} if state.lists else {}
        together = count * self._vectors.bytes <= MESSAGE
        with self._told():
            (found,) = self._client.search(
                self._collection, data=[next(self._vectors.encoded(query[None]))], anns_field="embedding",
                filter=inside + condition, limit=count, output_fields=["id", "embedding"] if together else ["id"],
                search_params={"metric_type": self._vectors.metric, "params": {**settings, **limits}},
                consistency_level="Eventually", timeout=PATIENCE,
            )  # fmt: skip
        hits = [{**one["entity"], "distance": one["distance"]} for one in found]
        worst = -math.inf if len(hits) < count else min((self._most(one["distance"]) for one in hits), default=math.inf)
        if together:
            ids, vectors = self._decoded(hits)
        else:
            ids, vectors = self._fetched(np.sort(ids_of(hits)))
        if state.lists:
            more, theirs = self._tail_of(state, condition)
            both, all_ = np.concatenate([ids, more]), np.concatenate([vectors, theirs])
            order = np.argsort(both)
            ids, vectors = both[order], all_[order]
        return Near(ids, vectors, math.nan if effort is not None else worst)

    def _tail_of(self, state: MilvusState, condition: str) -> tuple[Ids, npt.NDArray[Any]]:
        """What is not in the structure, of a condition."""
        since = f"{state.items_there} and since > {state.settled}"
        tail = self._tail
        if tail is None or tail[0] != state.row:
            ids = np.sort(ids_of(self._query(since, ["id"])))
            found = [
                self._decoded(self._query(f"{since} and id in {some}", ["id", "embedding"]))
                for some in _some(ids.tolist(), min(self._step, NAMED))
            ]
            tail = self._tail = (state.row, *self._stacked(found))
        _, ids, vectors = tail
        if not condition or not len(ids):
            return ids, vectors
        kept = np.isin(ids, ids_of(self._query(since + condition, ["id"])))
        return ids[kept], vectors[kept]

    def _matching(self, where: str | None) -> Iterator[tuple[Ids, npt.NDArray[Any]]]:
        """All items of a filter, in blocks."""
        asked = None if where is None else milvus_filters.compile(where, self._kinds)
        if asked is None or asked.exact:
            for block in self._pages(["id", "embedding"], "id >= 0" if asked is None else asked.expression):
                yield self._decoded(block)
        else:
            for some in _chunks(self.select(str(where)), self._step):
                yield self._fetched(some)

    def _looked_through(
        self, query: npt.NDArray[Any], count: int, exclude: Sequence[int], where: str | None, below: float | None
    ) -> Near:
        """The nearest of all that match, each looked at: where Milvus cannot say what is asked, or give so many."""
        ids, vectors = self._decoded([])
        scores, worst, out = np.empty(0), -math.inf, np.array(list(exclude), np.int64)
        for some, theirs in self._matching(where):
            own = self._scores(theirs, query)
            kept = ~np.isin(some, out) if below is None else ~np.isin(some, out) & (own <= below + ROUNDED)
            ids, vectors = np.concatenate([ids, some[kept]]), np.concatenate([vectors, theirs[kept]])
            scores = np.concatenate([scores, own[kept]])
            if len(ids) > count:
                best = np.sort(np.lexsort((ids, -scores))[:count])
                ids, vectors, scores = ids[best], vectors[best], scores[best]
                worst = float(scores.min())
        return Near(ids, vectors, worst)

    # Inside: what there is

    def _named(self) -> str:
        """The collection that has the name now."""
        name = collection_name(self.address.name)
        with self._told():
            if not self._client.has_collection(name, timeout=PATIENCE):
                raise NoIndexError(self.address)
            found = str(self._client.describe_collection(name, timeout=PATIENCE)["collection_name"])
        if found == name or not found.startswith(f"{name}_v"):
            raise another_program(self.address)
        return found

    def _require_index(self) -> dict[str, Any]:
        meta = self.meta()
        require_known(self.address, meta, FORMAT)
        return meta

    def _told(self) -> contextlib.AbstractContextManager[None]:
        return sentences(self.address)


def _id_of(found: Mapping[str, Any]) -> int:
    return int(found["id"])


def _chunks(all_: Sequence[Any] | Ids, size: int) -> Iterator[Any]:
    for start in range(0, len(all_), size):
        yield all_[start : start + size]


def _some(ids: Sequence[int] | Ids, size: int) -> Iterator[list[int]]:
    """Ids in lists of at most some, but for those that no item can have."""
    yield from _chunks([int(id_) for id_ in ids if 0 <= id_ < 2**63], size)
