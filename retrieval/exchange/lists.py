"""Lists of what vectors belong to, one record an item: JSON lines, JSON, CSV and Parquet.

Written item by item or block by block, and read as :mod:`retrieval.base.table` reads any table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from retrieval.base.table import Table, csv_text, parquet_library
from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.exchange.list_rows import Record, Value

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
    found = [path.with_suffix(suffix) for suffix in SUFFIXES if path.with_suffix(suffix).is_file()]
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
