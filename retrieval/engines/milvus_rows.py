"""Items, documents and vectors as Milvus keeps them: one collection holds all of an index, so that all is as of one
time.

Values are kept twice: as they are, for whoever reads the collection, and, in ``terms``, as texts whose order by code
point is that of the values, without rounding. Filters compare these alone: Milvus 2.3 would compare large numbers as
floats, and reads what stands in quotes by rules of its own.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash
from pymilvus import CollectionSchema, DataType, MilvusClient

from retrieval.base import moments
from retrieval.base.text import printable
from retrieval.engines.engine import Ids, Row
from retrieval.errors import RetrievalError
from retrieval.index import Item
from retrieval.index.records import Value

STATE, DOCUMENT, ENCODER, DEAD = -1, -2, -3, -4
"""What stands for the id of an item in rows that are none: which generation is true, a part of something else that is
kept, of a file of the encoder, and of the list of rows that a large change makes untrue."""

LONGEST_TEXT, LONGEST_JSON = 65_535, 65_536
"""Bytes that a VARCHAR and a JSON field of Milvus hold."""

PART = 60_000
"""Bytes of one part of what is longer."""

LARGEST_DIM = 32_768
"""Numbers, or bits, of a vector that Milvus takes."""

ROW = ("row", "id", "path", "label", "labelled", "width", "height", "size", "mtime_ns", "sha256", "attributes", "facts")
"""The fields of a row that make a :class:`.Row`."""

_HIGH, _LOW = "ABCDEFGHIJKLMNOP", "abcdefghijklmnop"
_PAIRS = [_HIGH[byte >> 4] + _LOW[byte & 15] for byte in range(256)]

TEXT, NUMBER = "t", "n"
"""What a term begins with, by the kind of its value."""


def spelled(text: str) -> str:
    """A text in letters that mean nothing anywhere, in the same order; what it contains, it contains also then."""
    return "".join([_PAIRS[byte] for byte in text.encode()])


def text_term(text: str) -> str:
    return TEXT + spelled(text)


def number_term(number: int | float) -> str:
    """The float next below a number, and what is left of it: in the order of all numbers, whole ones and others."""
    below = float(number)
    if below > number:
        below = float(np.nextafter(below, -np.inf))
    (bits,) = struct.unpack(">Q", struct.pack(">d", below + 0.0))
    ordered = bits ^ (2**64 - 1 if bits >> 63 else 2**63)
    rest = number - int(below) if isinstance(number, int) else 0
    return f"{NUMBER}{ordered:016x}{rest:04x}"


def attribute_key(name: str) -> str:
    """Under which ``terms`` has an attribute."""
    return "a" + spelled(name)


def moment_key(name: str) -> str:
    """Under which ``terms`` has the moment that an attribute names."""
    return "m" + spelled(name)


def terms_of(item: Item, attributes: Mapping[str, Value]) -> dict[str, str]:
    """What filters compare."""
    found = {"path": text_term(item.path)}
    if item.label is not None:
        found["label"] = text_term(item.label)
    for name, value in attributes.items():
        found[attribute_key(name)] = text_term(value) if isinstance(value, str) else number_term(value)
        moment = moments.start(value)
        if moment is not None:
            found[moment_key(name)] = number_term(moment)
    return found


def path_key(path: str) -> str:
    """By which a path is found."""
    return xxhash.xxh3_128_hexdigest(path.encode())


def checksum_of(vector: bytes) -> int:
    return xxhash.xxh3_64_intdigest(vector) - 2**63


class Vectors(NamedTuple):
    """How vectors of one index are kept.

    Attributes:
        dim: numbers in one, or bits.
        storage: "float32", "float16" (which Milvus 2.3 has not, and keeps as float32) or "binary".
    """

    dim: int
    storage: str

    @property
    def binary(self) -> bool:
        return self.storage == "binary"

    @property
    def bytes(self) -> int:
        """Of one vector in Milvus."""
        return self.dim // 8 if self.binary else 4 * self.dim

    @property
    def metric(self) -> str:
        return "HAMMING" if self.binary else "IP"

    def encoded(self, vectors: npt.NDArray[Any]) -> Iterator[Any]:
        """Each vector (n, width) as pymilvus takes it."""
        if self.binary:
            yield from (vector.tobytes() for vector in np.ascontiguousarray(vectors, np.uint8))
        else:
            kept = vectors.astype(np.float16) if self.storage == "float16" else vectors
            yield from np.ascontiguousarray(kept, np.float32)

    def decoded(self, sent: Sequence[Any]) -> npt.NDArray[Any]:
        """Vectors (n, width) as pymilvus gives them."""
        if self.binary:
            codes = b"".join(bytes(one[0]) if isinstance(one, list) else bytes(one) for one in sent)
            return np.frombuffer(codes, np.uint8).reshape(len(sent), self.dim // 8).copy()
        return np.array(sent, np.float32).reshape(len(sent), self.dim)

    def nothing(self) -> Any:
        """What stands for a vector where there is none."""
        return bytes(self.dim // 8) if self.binary else np.zeros(self.dim, np.float32)


def schema(dim: int, storage: str) -> CollectionSchema:
    """That of a collection."""
    made = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    made.add_field("row", DataType.INT64, is_primary=True)
    for name in ("id", "since", "width", "height", "size", "mtime_ns", "checksum"):
        made.add_field(name, DataType.INT64)
    made.add_field("labelled", DataType.BOOL)
    for name in ("path", "label", "content"):
        made.add_field(name, DataType.VARCHAR, max_length=LONGEST_TEXT)
    for name in ("path_key", "sha256"):
        made.add_field(name, DataType.VARCHAR, max_length=64)
    for name in ("attributes", "facts", "terms"):
        made.add_field(name, DataType.JSON)
    made.add_field("embedding", DataType.BINARY_VECTOR if storage == "binary" else DataType.FLOAT_VECTOR, dim=dim)
    return made


def of_item(number: int, since: int, row: Row, vector: Any) -> dict[str, Any]:
    """An item as a row.

    Args:
        number: the row's. since: generation from which on it is true. vector: as :meth:`Vectors.encoded` gives it.

    Raises:
        RetrievalError: Milvus cannot hold it.
    """
    item = row.item
    made = {
        "row": number, "id": item.id, "since": since, "path": item.path, "label": item.label or "",
        "labelled": item.label is not None, "width": item.width, "height": item.height, "size": item.size,
        "mtime_ns": item.mtime_ns, "sha256": item.sha256, "path_key": path_key(item.path), "content": "",
        "attributes": dict(row.attributes), "facts": dict(row.facts), "terms": terms_of(item, row.attributes),
        "embedding": vector, "checksum": checksum_of(bytes(vector)),
    }  # fmt: skip
    for name in ("path", "label"):
        _require(item, name, len(made[name].encode()), LONGEST_TEXT)
    for name in ("attributes", "facts", "terms"):
        _require(item, name, len(json.dumps(made[name], ensure_ascii=False).encode()), LONGEST_JSON)
    return made


def _require(item: Item, name: str, size: int, most: int) -> None:
    if size > most:
        what = "path, label and attributes, as filters compare them," if name == "terms" else name
        raise RetrievalError(
            f"Milvus can neither keep nor look for what was given ({what} of {printable(item.path)[:80]!r} would take "
            f"{size:,} bytes, and it holds {most:,}); shorten it, or leave it out."
        )


def of_part(number: int, since: int, kind: int, name: str, part: int, content: str, nothing: Any) -> dict[str, Any]:
    """A part of what is no item, as a row."""
    return {
        "row": number, "id": kind, "since": since, "path": name, "label": "", "labelled": False, "width": part,
        "height": 0, "size": 0, "mtime_ns": 0, "sha256": "", "path_key": path_key(name), "content": content,
        "attributes": {}, "facts": {}, "terms": {}, "embedding": nothing, "checksum": 0,
    }  # fmt: skip


def of_document(numbers: Iterator[int], since: int, name: str, value: Any, nothing: Any) -> list[dict[str, Any]]:
    """Something else that is kept, as rows, each with the next number."""
    text = json.dumps(value)
    parts = [text[start : start + PART] for start in range(0, len(text), PART)]
    return [of_part(next(numbers), since, DOCUMENT, name, number, part, nothing) for number, part in enumerate(parts)]


def to_row(found: Mapping[str, Any]) -> Row:
    """What :data:`ROW` gave."""
    item = Item(
        found["id"], found["path"], found["label"] if found["labelled"] else None, found["width"], found["height"],
        found["size"], found["mtime_ns"], found["sha256"],
    )  # fmt: skip
    return Row(item, dict(found["attributes"]), dict(found["facts"]))


def ids_of(found: Sequence[Mapping[str, Any]]) -> Ids:
    return np.fromiter((one["id"] for one in found), np.int64, len(found))
