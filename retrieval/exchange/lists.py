"""Lists of what vectors belong to, one record an item: JSON lines, JSON, CSV and Parquet.

Written item by item or block by block, and read as :mod:`retrieval.base.table` reads any table. A record is a flat
mapping. ``path`` (or ``image_path``), ``label``, ``width``, ``height``, ``size``, ``mtime_ns`` and ``sha256`` are an
item's own; ``id`` is the one it had where it came from; every other key is an attribute.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from retrieval.base.object_address import is_object
from retrieval.base.table import Table, csv_text, parquet_library
from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.index import Item, NewItem
from retrieval.index.filters import BUILT_IN

Value = str | int | float
Record = Mapping[str, object]

PATHS = ("path", "image_path")
"""What the path may be called; the second is clip-retrieval's name."""

SOURCE_ID = "source_id"
"""The attribute that keeps the id that an item had elsewhere, where it is not the one that it gets here."""

_FACTS = ("width", "height", "size", "mtime_ns")
_OWN = frozenset({*BUILT_IN, *PATHS, *_FACTS, "sha256"})
_LONGEST_NAME = 200
_INT64 = 1 << 63

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")
"""What a list may be called; the first is what an export writes unless told otherwise."""

Write = Callable[[Iterable[Mapping[str, Value]]], object]
Kinds = Mapping[str, str]
"""Column → "integer", "float" or "text"."""

_TEXTS = ("path", "image_path", "label", "sha256")
"""Columns that are texts even where they look like numbers."""


def beside(path: Path) -> Path | None:
    """The list that lies beside a file of vectors, by its name; None if there is none.

    Raises:
        RetrievalError: there are several.
    """
    found = [path.with_suffix(suffix) for suffix in (*SUFFIXES, ".tsv") if path.with_suffix(suffix).is_file()]
    if len(found) > 1:
        raise RetrievalError(
            f"Beside {printable(path)!r} lie both {found[0].name!r} and {found[1].name!r}; say which with --list."
        )
    return found[0] if found else None


def require_suffix(path: Path) -> str:
    """The ending of a list's name.

    Raises:
        RetrievalError: it is another one.
    """
    if path.suffix not in SUFFIXES:
        raise RetrievalError(f"The list {printable(path)!r} is called neither {', '.join(SUFFIXES)}; rename it.")
    return path.suffix


def read(path: Path) -> Iterator[Record]:
    """The records of a list, one after the other.

    A JSON list may also consist of paths alone. A column of a CSV file is numbers if all its cells look like numbers,
    and empty cells are nothing.

    Raises:
        RetrievalError: it cannot be read or is not what its name says.
    """
    table = Table(path, "The list", ("path", "label", "id"), ("path", str))
    if table.columns == ():
        raise RetrievalError(
            f"The list {printable(path)!r} does not name the columns in its first line; write it anew."
        )
    for row in table.typed_rows(_TEXTS):
        yield row.cells


@contextmanager
def writer(path: Path, suffix: str, kinds: Kinds) -> Iterator[Write]:
    """Write a list.

    Args:
        path: the file; the caller gives it a temporary name.
        suffix: of its final name, one of :data:`SUFFIXES`.
        kinds: every column that a record may have; JSON and JSON lines need none.

    Returns:
        A context in which there is a function that takes records.

    Raises:
        RetrievalError: pyarrow is missing.
        OSError: the disk is full, or the folder cannot be written.
    """
    if suffix == ".parquet":
        pyarrow = parquet_library()
        types = {"integer": pyarrow.int64(), "float": pyarrow.float64(), "text": pyarrow.string()}
        schema = pyarrow.schema([(name, types[kind]) for name, kind in kinds.items()])
        with pyarrow.parquet.ParquetWriter(path, schema) as out:

            def write(records: Iterable[Mapping[str, Value]]) -> None:
                rows = [{name: _as(kind, record.get(name)) for name, kind in kinds.items()} for record in records]
                out.write_table(pyarrow.Table.from_pylist(rows, schema))

            yield write
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        if suffix == ".csv":
            file.write(csv_text([kinds]))
            yield lambda records: file.write(csv_text([record.get(name) for name in kinds] for record in records))
        elif suffix == ".jsonl":
            yield lambda records: file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        else:
            begun = False

            def write_json(records: Iterable[Mapping[str, Value]]) -> None:
                nonlocal begun
                for record in records:
                    file.write((",\n" if begun else "[\n") + json.dumps(record, ensure_ascii=False))
                    begun = True

            yield write_json
            file.write("\n]\n" if begun else "[]\n")


def kinds_of(blocks: Iterable[Sequence[Mapping[str, Value]]]) -> Kinds:
    """Every column of records and what it holds: a number that is nowhere a text, and an integer nowhere a float."""
    order = ("integer", "float", "text")
    found = {"id": "integer", "path": "text"}
    for block in blocks:
        for record in block:
            for name, value in record.items():
                kind = "text" if isinstance(value, str) else "float" if isinstance(value, float) else "integer"
                found[name] = max(found.get(name, kind), kind, key=order.index)
    return found


def _as(kind: str, value: Value | None) -> Value | None:
    if value is None or kind == "integer":
        return value
    return str(value) if kind == "text" else float(value)


def to_record(item: Item, attributes: Mapping[str, Value]) -> dict[str, Value]:
    """The record of an item; what is unknown is left out.

    Raises:
        RetrievalError: an attribute is called like something else in a record.
    """
    if taken := _OWN & attributes.keys():
        raise RetrievalError(
            f"The attribute {min(taken)!r} of {item.path!r} has the name of something else in a list; rename it first."
        )
    record: dict[str, Value] = {"id": item.id, "path": item.path}
    if item.label is not None:
        record["label"] = item.label
    for name in (*_FACTS, "sha256"):
        if value := getattr(item, name):
            record[name] = value
    return {**record, **attributes}


def to_item(record: Record, made_up: str, relative: Callable[[str], str]) -> tuple[NewItem, dict[str, Value]]:
    """The item of a record, and its attributes.

    Args:
        record: as it was read; nothing in it is trusted.
        made_up: the path of an item that has none.
        relative: makes a path one below the index's root, where it lies there.

    Raises:
        ValueError: the path or the label is no text, in words that follow the item's name.
    """
    keys = _keys(tuple(record))
    paths = [_text(record[name], name) for name in keys.paths]
    label = _text(record["label"], "label") if keys.label else ""
    facts = {name: _count(record[name]) for name in keys.facts}
    sha256 = record["sha256"] if keys.sha256 else ""
    if not (isinstance(sha256, str) and re.fullmatch(r"[0-9a-f]{64}", sha256)):
        sha256 = ""
    path = next(filter(None, paths), None)
    counted = {name: value for name, value in facts.items() if value is not None}
    item = NewItem(relative(path) if path else made_up, label or None, **counted, sha256=sha256)
    values: dict[str, Value] = {}
    for name, free in keys.attributes:
        if (name == "sha256" and sha256) or facts.get(name) is not None:
            continue
        value = to_value(record[name])
        if value is not None:
            values[free] = value
    return item, values


class _Keys(NamedTuple):
    """Which keys of a record are an item's own.

    Attributes:
        paths: those of its path, the first first.
        facts: those of its numbers.
        label, sha256: whether there is one.
        attributes: all others, and facts and sha256 for the case that they are none; and what to call them.
    """

    paths: tuple[str, ...]
    facts: tuple[str, ...]
    label: bool
    sha256: bool
    attributes: tuple[tuple[str, str], ...]


@lru_cache(16)
def _keys(names: tuple[str, ...]) -> _Keys:
    """Those of a record with these keys; one row after the other has the same."""
    others = [name for name in names if name not in ("id", "label", *PATHS) and name.strip()]
    return _Keys(
        tuple(name for name in PATHS if name in names),
        tuple(name for name in _FACTS if name in names),
        "label" in names,
        "sha256" in names,
        tuple((name, _free(name)) for name in others),
    )


def to_value(value: object) -> Value | None:
    """Anything as an attribute can hold it: a number, a text, or None for nothing.

    What is nested becomes JSON, bytes become hexadecimal, and integers beyond 64 bits text.
    """
    if value is None:
        return None
    if isinstance(value, int):  # a truth value is one, too
        return int(value) if -_INT64 <= value < _INT64 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return _whole(value)
    if isinstance(value, bytes):
        return value.hex()
    return json.dumps(value, default=str)


def below(root: str) -> Callable[[str], str]:
    """What makes an absolute path below a folder relative to it, and leaves any other as it is, but for a ``./``.

    Args:
        root: the folder, or its address in an object store.
    """
    folder = PurePosixPath(root)

    def relative(path: str) -> str:
        path = re.sub(r"^(\./+)+(?=.)", "", path)
        if is_object(root) and path.startswith(f"{root}/"):
            return path[len(root) + 1 :]
        if not path.startswith("/"):
            return path
        place = PurePosixPath(path)
        return place.relative_to(folder).as_posix() if place != folder and place.is_relative_to(folder) else path

    return relative


def _whole(text: str) -> str:
    """A text that can be stored: halves of surrogate pairs, which JSON can hold, and zeros become escapes."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode(errors="backslashreplace").decode().replace("\0", r"\x00")


def _free(name: str) -> str:
    """A name that an attribute can have: printable, not too long, and not one that every item has of its own."""
    name = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name)[:_LONGEST_NAME]
    return name + "_" if name.lower() in BUILT_IN else name


def _text(value: object, name: str) -> str:
    if isinstance(value, str):
        return _whole(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "" if value != value else str(value)  # pandas writes NaN for nothing
    if value is None:
        return ""
    raise ValueError(f"has {str(value)[:60]!r} for its {name}, which is no text")


def _count(value: object) -> int | None:
    """A number that an item can hold; None for anything else."""
    if isinstance(value, float) and value.is_integer():  # pandas makes floats of integers where some are missing
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _INT64 else None
