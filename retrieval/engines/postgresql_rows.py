"""Items and vectors as PostgreSQL's binary COPY takes them, and as pgvector sends vectors."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

from retrieval.base import moments
from retrieval.engines.engine import Ids, Row
from retrieval.index.records import Value

COPIED = (
    "id", "path", "label", "width", "height", "size", "mtime_ns", "sha256", "attributes", "moments", "facts",
    "embedding", "checksum",
)  # fmt: skip
_KINDS = ("int", "text", "text", "int", "int", "int", "int", "text", "jsonb", "jsonb", "jsonb")
_TUPLE = struct.pack(">h", len(COPIED))
_INT, _NULL = struct.Struct(">iq"), struct.pack(">i", -1)


def cells(row: Row) -> tuple[Any, ...]:
    """A row's columns but for the vector."""
    item = row.item
    return (
        item.id, item.path, item.label, item.width, item.height, item.size, item.mtime_ns, item.sha256,
        _json(row.attributes), _json(moments_of(row.attributes)), _json(row.facts),
    )  # fmt: skip


def moments_of(attributes: Mapping[str, Value]) -> dict[str, int]:
    """Of the attributes that name one: microseconds since 1970, UTC."""
    found = {name: moments.start(value) for name, value in attributes.items()}
    return {name: at for name, at in found.items() if at is not None}


def checksum_of(vector: bytes) -> int:
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
    pairs = (
        f"{json.dumps(name, ensure_ascii=False)}:"
        + (json.dumps(value, ensure_ascii=False) if isinstance(value, str | int) else _digits(value))
        for name, value in values.items()
    )
    return "{" + ",".join(pairs) + "}"


def _digits(value: float) -> str:
    return repr(value) if abs(value) < 2**53 else f"{int(value)}.0"


def _turned(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Codes with the bits of each byte the other way round: here the first is the lowest, there the highest."""
    return np.packbits(np.unpackbits(np.ascontiguousarray(codes), axis=-1, bitorder="little"), axis=-1)


def copied(row: Row, vector: bytes) -> bytes:
    """A row of ``items`` as COPY takes it, in the order of :data:`COPIED`.

    Args:
        vector: as :meth:`Vectors.encoded` gives it.
    """
    fields = map(_field, cells(row), _KINDS)
    return b"".join([_TUPLE, *fields, struct.pack(">i", len(vector)), vector, _INT.pack(8, checksum_of(vector))])


class Vectors(NamedTuple):
    """How vectors of one index are written.

    Attributes:
        dim: numbers in one, or bits.
        storage: "float32", "float16" or "binary".
    """

    dim: int
    storage: str

    def spelled(self, query: npt.NDArray[Any]) -> str:
        """A query (width,) as a parameter."""
        if self.storage == "binary":
            return "".join(map(str, np.unpackbits(query, bitorder="little").tolist()))
        return str(query.tolist())  # every digit: pgvector reads them as float32 again

    def encoded(self, vectors: npt.NDArray[Any]) -> Iterator[bytes]:
        """Each vector (n, width) as the server takes it."""
        if self.storage == "binary":
            head, rows = struct.pack(">i", self.dim), _turned(vectors)
        else:
            head = struct.pack(">hh", self.dim, 0)
            rows = vectors.astype(">f4" if self.storage == "float32" else ">f2")
        for row in rows:
            yield head + row.tobytes()

    def decoded(self, rows: Sequence[tuple[Any, ...]]) -> tuple[Ids, npt.NDArray[Any]]:
        """Ids (n,) and vectors (n, width) of rows that begin with an id and a vector as the server sends it."""
        ids = np.fromiter((row[0] for row in rows), np.int64, len(rows))
        sent = b"".join(row[1] for row in rows)
        if self.storage == "binary":
            codes = np.frombuffer(sent, np.dtype([("bits", ">i4"), ("code", "u1", (self.dim // 8,))]))["code"]
            return ids, _turned(codes)
        kind = ">f4" if self.storage == "float32" else ">f2"
        vectors = np.frombuffer(sent, np.dtype([("dim", ">i2"), ("", ">i2"), ("vector", kind, (self.dim,))]))["vector"]
        return ids, np.ascontiguousarray(vectors, np.float32)
