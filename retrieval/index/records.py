"""What the catalog keeps, one row each."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from retrieval.errors import RetrievalError
from retrieval.index.filters import BUILT_IN

Value = str | int | float
"""What an attribute of an item can be."""


Facts = tuple[tuple[str, Value], ...]
"""Names and values of attributes that an item's own file tells."""

LeftOut = tuple[str, int, int, str | None, str]
"""A file that is not looked into again while it is as it was: its path, size and time of change; why it cannot be read,
or None if it is no picture; and the decoder that this holds for."""


NO_ENCODER = "imported:"
"""How the encoder's hash of an index begins that was imported without a model; a checksum of its vectors follows."""


AUTO, FOLDERS, NONE, CSV = "auto", "folders", "none", "csv"


class Column(NamedTuple):
    """What all items have under one name, each different value once.

    Attributes:
        values: ascending, numbers before texts, these by code point.
        codes: int32 (n,), for each item, by ascending id, the place of its value among these; -1 of one that has none.
    """

    values: list[Value]
    codes: npt.NDArray[np.int32]

    @classmethod
    def of(cls, all_: Sequence[Value | None]) -> Self:
        """That of the values of all items (n,), None of one that has none."""
        first: dict[Value | None, int] = {}
        places = np.fromiter(map(first.setdefault, all_, itertools.count()), np.int64, len(all_))
        first.pop(None, None)
        numbers = sorted(value for value in first if value is not None and not isinstance(value, str))
        values: list[Value] = [*numbers, *sorted(value for value in first if isinstance(value, str))]
        code_at = np.full(len(all_), -1, np.int32)
        code_at[[first[value] for value in values]] = np.arange(len(values), dtype=np.int32)
        return cls(values, code_at[places])


def order_of(value: Value) -> tuple[bool, Value]:
    """What values of one name are ordered by: numbers stand before texts, texts by code point."""
    return isinstance(value, str), value


@dataclass(frozen=True)
class SegmentRecord:
    """What the catalog knows of one segment file."""

    id: int
    file: str
    rows: int
    size: int
    checksum: str


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
        file: its file, relative to the index folder.
        factory: what it is ("HNSW32,Flat").
        parameters: those of a search.
        ids: int64 (items,), ascending: the item at each of its positions. Items above the last are searched exactly.
        measured: what was found out about it when it was built ("recall", "queries", ...), as JSON can hold it.
        size: of the file, in bytes.
        checksum: of the file.
    """

    file: str
    factory: str
    parameters: Mapping[str, int]
    ids: npt.NDArray[np.int64] = field(repr=False, compare=False)
    measured: Mapping[str, Any]
    size: int
    checksum: str

    @property
    def items(self) -> int:
        """How many vectors it holds, those removed since included."""
        return len(self.ids)

    @property
    def last_item(self) -> int:
        """The highest id in it."""
        return int(self.ids[-1])


@dataclass(frozen=True)
class State:
    """What the catalog says at one generation.

    Attributes:
        generation: the number of the last change.
        items: how many items there are.
        segments: by ascending id; their items' ids ascend, too.
        structure: the approximate structure in use, if there is one.
        removed: ids int64, ascending, that are no longer in the index and may still be in a segment.
    """

    generation: int
    items: int
    segments: tuple[SegmentRecord, ...]
    structure: StructureRecord | None
    removed: npt.NDArray[np.int64] = field(repr=False, compare=False)


def new_paths(items: Sequence[NewItem]) -> set[str]:
    """The paths of new items.

    Raises:
        RetrievalError: one stands twice or is empty, or something in an item is not of its kind.
    """
    paths, labels, sha256, *numbers = list(zip(*map(_fields, items), strict=True)) or [()] * 7
    if not (
        {str}.issuperset(map(type, (*paths, *sha256)))
        and {str, type(None)}.issuperset(map(type, labels))
        and all(paths)
        and is_unicode("".join((*paths, *sha256, *filter(None, labels))))
        and all({int}.issuperset(map(type, column)) for column in numbers)
        and all(fits(number) for column in numbers for number in {*column})
        and len({*paths}) == len(paths)
    ):
        _require_new(items)  # one by one, to say which it is
    return {*paths}


_fields = attrgetter("path", "label", "sha256", "width", "height", "size", "mtime_ns")


def _require_new(items: Sequence[NewItem]) -> None:
    seen: set[str] = set()
    for item in items:
        texts: Mapping[str, object] = {"path": item.path, "label": item.label or "", "sha256": item.sha256}
        for name, text in texts.items():
            if not isinstance(text, str):
                raise RetrievalError(f"The {name} of an item is {text!r:.100}; give a text.")
        if not item.path:
            raise RetrievalError("An item has an empty path; give each its own.")
        if not (is_unicode(item.path) and is_unicode(item.label or "") and is_unicode(item.sha256)):
            raise RetrievalError(f"The path {item.path!r} or its label is not Unicode; rename the file.")
        numbers: Mapping[str, object] = {name: getattr(item, name) for name in ("width", "height", "size", "mtime_ns")}
        for name, number in numbers.items():
            if not (isinstance(number, int) and fits(number)):
                raise RetrievalError(f"The {name} of {item.path!r} is {number!r:.100}; give an int below 2**63.")
        if item.path in seen:
            raise RetrievalError(f"The path {item.path!r} stands twice among the new items; give it once.")
        seen.add(item.path)


def attribute(name: str, value: object) -> Value | None:
    """The value of an attribute as the catalog keeps it.

    Args:
        name: its name. value: a text or a number, of Python's or of NumPy's; None for none.

    Raises:
        RetrievalError: the catalog can keep no such thing.
    """
    require_name(name)
    kept: Any = value.item() if isinstance(value, np.generic) else value
    trouble = None if kept is None else unfit(kept)
    if trouble is not None:
        remedy = trouble[1] if isinstance(kept, int) else "give a text or a finite number"
        raise RetrievalError(f"The attribute {name!r} cannot be {value!r:.100}, {trouble[0]}; {remedy}.")
    found: Value | None = int(kept) if isinstance(kept, bool) else kept
    return found


def attributes_of(pairs: Mapping[str, object]) -> dict[str, Value | None]:
    """Those of an item, as :func:`attribute` gives each."""
    return {name: attribute(name, value) for name, value in pairs.items()}


@lru_cache(64)
def _is_name(name: str) -> bool:
    return is_unicode(name) and name.lower() not in BUILT_IN


def require_name(name: object) -> None:
    """See to it that an attribute may be called so.

    Raises:
        RetrievalError: it is no name, or one that every item has of its own.
    """
    if isinstance(name, str) and _is_name(name):
        return
    if not isinstance(name, str) or not is_unicode(name):
        raise RetrievalError(f"An attribute is called {name!r:.100}; give it a name of letters.")
    raise RetrievalError(f"Every item has {name!r} already; give the attribute another name.")


def unfit(value: object) -> tuple[str, str] | None:
    """Why the catalog cannot keep something as an attribute, and what to do about it; None if it can."""
    if isinstance(value, str):
        return None if is_unicode(value) and "\0" not in value else ("which is not Unicode text", "type it anew")
    if isinstance(value, int):
        return None if fits(value) else ("which is larger than the index can keep", "give it as a text")
    if isinstance(value, float):
        return None if math.isfinite(value) else ("which is no finite number", "leave it empty")
    return "which is a list or an object", "give a number, a text, true, false or null"


def fits(value: int) -> bool:
    """Whether SQLite can keep a whole number."""
    return -(2**63) <= value < 2**63


def is_unicode(text: str) -> bool:
    """Whether SQLite can keep a text: file names that are not Unicode have halves of characters in them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def to_runs(ids: npt.NDArray[np.int64]) -> bytes:
    """Ascending ids as pairs (first, how many) of consecutive ones: int64, little-endian."""
    breaks = np.flatnonzero(np.diff(ids) != 1) + 1
    firsts = ids[np.concatenate([[0], breaks])] if len(ids) else ids
    counts = np.diff(np.concatenate([[0], breaks, [len(ids)]])) if len(ids) else ids
    return np.stack([firsts, counts], axis=1).astype("<i8").tobytes()


def from_runs(runs: bytes, end: int) -> npt.NDArray[np.int64]:
    """What :func:`to_runs` wrote.

    Args:
        runs: a few bytes can stand for any number of ids, so that a damaged one could fill the memory.
        end: all ids are below this one.

    Raises:
        ValueError: it wrote no such thing.
    """
    pairs = np.frombuffer(runs, "<i8").reshape(-1, 2)
    firsts, counts = pairs[:, 0], pairs[:, 1]
    if len(pairs) and (
        firsts.min() < 0
        or counts.min() < 1
        or firsts.max() >= end
        or counts.max() > end
        or (firsts[1:] <= (firsts + counts)[:-1]).any()
        or firsts[-1] + counts[-1] > end
    ):
        raise ValueError("runs of ids that do not ascend")
    ends = np.cumsum(counts)
    ids: npt.NDArray[np.int64] = np.repeat(firsts - (ends - counts), counts)
    return ids + np.arange(len(ids), dtype=np.int64)
