"""A new version of an index in Milvus, made beside the one that has the name, which is an alias and then goes over."""

from __future__ import annotations

import base64
import contextlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy.typing as npt

from retrieval.engines.address import Address
from retrieval.engines.engine import APPLICATION, Engine, Loading, NoIndexError, Row, another_program
from retrieval.engines.milvus_connections import PATIENCE, collection_name, connect, sentences
from retrieval.engines.milvus_index import FORMAT, MilvusIndex
from retrieval.engines.milvus_lease import Lease
from retrieval.engines.milvus_rows import ENCODER, LARGEST_DIM, PART, Vectors, of_document, of_part, schema
from retrieval.engines.milvus_state import MilvusState
from retrieval.engines.milvus_structure import Structure
from retrieval.errors import RetrievalError

_LOAD = 600.0
"""Seconds that Milvus may take to open a collection."""


class MilvusLoading(Loading):
    """One of two collections, of which the other may have the name."""

    def __init__(self, address: Address, kind: type[MilvusIndex]) -> None:
        self.address = address
        self._kind = kind
        self._client = connect(address)
        self._lease: Lease | None = None
        try:
            self._lease = Lease(self._client, address)
            self._name = collection_name(address.name)
            self._present, self._making = self._slots()
        except BaseException:
            self.__exit__()
            raise
        self._engine: MilvusIndex | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lease is not None:
            self._lease.release()
        self._client.close()

    def present(self) -> Engine | None:
        """See :meth:`.Loading.present`."""
        if self._present is None:
            return None
        with contextlib.suppress(NoIndexError):
            return self._kind(self.address, self._client, self._present, self._lease)
        return None

    def begin(self, source: Mapping[str, Any], meta: Mapping[str, Any]) -> int:
        """See :meth:`.Loading.begin`."""
        if meta["dim"] > LARGEST_DIM:
            raise RetrievalError(
                f"Milvus holds vectors of at most {LARGEST_DIM:,} numbers, or bits, and these have {meta['dim']:,}; "
                "choose another engine, or a model with fewer."
            )
        engine = self._begun(source)
        if engine is None:
            self._create(source, meta)
            engine = self._kind(self.address, self._client, self._making, self._lease)
        self._engine = engine
        engine._delete(f"id == {ENCODER}")  # its files are put each time
        return int(self._state["last"])

    def put(self, rows: Sequence[Row], vectors: npt.NDArray[Any]) -> None:
        """See :meth:`.Loading.put`."""
        engine, state = self._loaded, self._loaded._state
        assert state is not None
        engine._insert(engine._made(itertools.count(state.row + 1), state.generation, rows, vectors))
        engine._write_state(
            replace(state, row=state.row + len(rows)),
            items=state.items + len(rows),
            loading={**self._state, "last": rows[-1].item.id},
        )

    def put_encoder(self, name: str, parts: Iterable[bytes]) -> None:
        """See :meth:`.Loading.put_encoder`."""
        engine, state = self._loaded, self._loaded._state
        assert state is not None
        number, part = state.row, 0
        for some in parts:
            rows = []
            for start in range(0, len(some), PART // 5 * 4):
                content = base64.b85encode(some[start : start + PART // 5 * 4]).decode()
                number += 1
                rows.append(of_part(number, state.generation, ENCODER, name, part, content, engine._vectors.nothing()))
                part += 1
            engine._insert(rows)
        engine._write_state(replace(state, row=number))

    def finished(self) -> Engine:
        """See :meth:`.Loading.finished`."""
        return self._loaded

    def take_place(self) -> None:
        """See :meth:`.Loading.take_place`."""
        with sentences(self.address):
            if self._present is None:
                self._client.create_alias(self._making, self._name, timeout=PATIENCE)
            else:
                self._client.alter_alias(self._making, self._name, timeout=PATIENCE)
                self._client.drop_collection(self._present, timeout=PATIENCE)

    @property
    def _loaded(self) -> MilvusIndex:
        assert self._engine is not None  # begin() comes first
        return self._engine

    @property
    def _state(self) -> dict[str, Any]:
        state = self._loaded._state
        assert state is not None and state.loading is not None  # until it is finished
        return state.loading

    def _slots(self) -> tuple[str | None, str]:
        """The collection that has the name, and the one that will have it."""
        one, other = f"{self._name}_va", f"{self._name}_vb"
        with sentences(self.address):
            if not self._client.has_collection(self._name, timeout=PATIENCE):
                return None, one
            there = str(self._client.describe_collection(self._name, timeout=PATIENCE)["collection_name"])
        if there not in (one, other):
            raise another_program(self.address)
        return there, other if there == one else one

    def _begun(self, source: Mapping[str, Any]) -> MilvusIndex | None:
        """What was begun of the same source; None if nothing was."""
        with sentences(self.address):
            if not self._client.has_collection(self._making, timeout=PATIENCE):
                return None
            with contextlib.suppress(Exception):  # it was not even made whole
                self._client.load_collection(self._making, timeout=_LOAD)
                engine = self._kind(self.address, self._client, self._making, self._lease)
                if engine._state is not None and (engine._state.loading or {}).get("source") == source:
                    return engine
            self._client.drop_collection(self._making, timeout=PATIENCE)
        return None

    def _create(self, source: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
        vectors = Vectors(meta["dim"], meta["storage"])
        with sentences(self.address):
            self._client.create_collection(
                self._making, schema=schema(*vectors), index_params=Structure(self._client, vectors).flat(),
                num_shards=1, consistency_level="Strong", timeout=_LOAD,
            )  # fmt: skip
            self._client.load_collection(self._making, timeout=_LOAD)
        first = {**meta, "application": APPLICATION, "format": FORMAT}
        numbers, rows = itertools.count(), list[dict[str, Any]]()
        for name, value in first.items():
            if name != "generation":
                rows += of_document(numbers, meta["generation"], name, value, vectors.nothing())
        loading = {"source": dict(source), "last": -1}
        state = MilvusState(row=next(numbers), generation=meta["generation"], items=0, loading=loading)
        with sentences(self.address):
            self._client.insert(self._making, [*rows, state.to_row(vectors.nothing())], timeout=PATIENCE)
