"""What the catalog keeps, one row each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class SegmentRecord:
    """What the catalog knows of one segment file."""

    id: int
    file: str
    rows: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class NewItem:
    """What a vector belongs to, before it has an id.

    Attributes:
        path: where the picture lies, relative to the index's root, with forward slashes; unique in the index.
        label: its class, if it has one.
        width: of the picture as shown, in pixels.
        height: likewise.
        size: of the file, in bytes.
        mtime_ns: when the file last changed, in nanoseconds since 1970.
        sha256: of the file's bytes, in hexadecimal.
    """

    path: str
    label: str | None = None
    width: int = 0
    height: int = 0
    size: int = 0
    mtime_ns: int = 0
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """What a vector belongs to: a :class:`NewItem` with its id, which is never given to another one."""

    id: int
    path: str
    label: str | None
    width: int
    height: int
    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True)
class StructureRecord:
    """What the catalog knows of one approximate structure.

    Attributes:
        file: its FAISS file, relative to the index folder.
        factory: what FAISS calls it.
        parameters: those of a search.
        items: how many vectors it holds.
        last_item: the highest id in it; what came later is searched exactly.
        recall: recall@10 against exact search, measured when it was built.
        queries: on how many held-out vectors it was measured.
        size: of the file, in bytes.
        sha256: of the file.
    """

    file: str
    factory: str
    parameters: Mapping[str, int]
    items: int
    last_item: int
    recall: float
    queries: int
    size: int
    sha256: str
