"""Lists of what vectors belong to, one record an item: JSON lines, JSON, CSV and Parquet.

Read and written item by item or block by block, except JSON, which can only be read whole.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.exchange.list_rows import Record, Value

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")
"""What a list may be called; the first is what an export writes unless told otherwise."""

LINE = 1 << 24
"""Letters in a line of JSON beyond which it is not read."""

BATCH = 4096
"""Rows of a Parquet file that are in memory as Python objects at a time."""

Write = Callable[[Iterable[Mapping[str, Value]]], None]
Kinds = Mapping[str, str]
"""Column → "integer", "float" or "text"."""


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
    suffix = require_suffix(path)
    reader = {".jsonl": _read_lines, ".json": _read_json, ".csv": _read_csv, ".parquet": _read_parquet}[suffix]
    try:
        yield from reader(path)
    except OSError as error:  # Arrow raises it for damage, too, with an explanation of many lines
        reason = " ".join(str(error.strerror or error).split())[:200].rstrip(".")
        raise RetrievalError(f"The list {printable(path)!r} cannot be read ({reason}); write it anew.") from None
    except UnicodeDecodeError as error:
        raise RetrievalError(
            f"The list {printable(path)!r} is not UTF-8 text (byte {error.start}); save it as UTF-8."
        ) from None
    except (ValueError, TypeError, csv.Error, RecursionError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        raise RetrievalError(f"The list {printable(path)!r} is not {suffix[1:]} ({reason}); write it anew.") from None


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
        parquet = _parquet()
        import pyarrow

        types = {"integer": pyarrow.int64(), "float": pyarrow.float64(), "text": pyarrow.string()}
        schema = pyarrow.schema([(name, types[kind]) for name, kind in kinds.items()])
        with parquet.ParquetWriter(path, schema) as out:

            def write(records: Iterable[Mapping[str, Value]]) -> None:
                rows = [{name: _as(kind, record.get(name)) for name, kind in kinds.items()} for record in records]
                out.write_table(pyarrow.Table.from_pylist(rows, schema))

            yield write
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        if suffix == ".csv":
            table = csv.DictWriter(file, list(kinds), lineterminator="\n")
            table.writeheader()
            yield table.writerows
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


def _read_lines(path: Path) -> Iterator[Record]:
    with path.open(encoding="utf-8-sig") as file:
        number = 0
        while line := file.readline(LINE):
            number += 1
            if len(line) == LINE:
                raise ValueError(f"line {number} is longer than {LINE:,} letters")
            if line.strip():
                try:
                    yield _record(json.loads(line))
                except ValueError as error:
                    raise ValueError(f"line {number}: {error}") from None


def _read_json(path: Path) -> Iterator[Record]:
    with path.open(encoding="utf-8-sig") as file:
        content = json.load(file)
    if not isinstance(content, list):
        raise ValueError("it is no list of items")
    yield from map(_record, content)


def _record(value: object) -> Record:
    if isinstance(value, dict):
        return value
    if isinstance(value, str):
        return {"path": value}
    raise ValueError(f"{str(value)[:60]!r} is no item")


def _read_csv(path: Path) -> Iterator[Record]:
    """Twice through the file, as only a whole column tells whether it is one of numbers."""
    readers: list[Callable[[str], Value]] = []
    for columns, cells in _cells(path):
        readers = readers or [str if name in _TEXTS else _truth for name in columns]
        for place, cell in enumerate(cells):
            while cell and not _reads(readers[place], cell):
                readers[place] = _NEXT[readers[place]]
    for columns, cells in _cells(path):
        yield {name: read(cell) if cell else None for name, read, cell in zip(columns, readers, cells, strict=True)}


def _cells(path: Path) -> Iterator[tuple[list[str], list[str]]]:
    """The names of the columns and the cells of each line."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, strict=True)
        columns = next(rows, None)
        if columns is None or len(set(columns)) < len(columns):
            raise ValueError("its first line does not name the columns, each once")
        for cells in rows:
            if len(cells) != len(columns):
                raise ValueError(f"line {rows.line_num} has {len(cells)} cells for {len(columns)} columns")
            yield columns, cells


_TEXTS = ("path", "image_path", "label", "sha256")
"""Columns that are texts even where they look like numbers."""


def _truth(cell: str) -> Value:
    return {"true": 1, "false": 0}[cell.lower()]


def _number(cell: str) -> Value:
    """ "7" and "0.5" are numbers; "007", "nan" and what 64 bits cannot hold are none."""
    if re.fullmatch(r"-?(0|[1-9][0-9]{0,18})", cell) and -(2**63) <= int(cell) < 2**63:
        return int(cell)
    if re.fullmatch(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,30}([eE][-+]?[0-9]{1,2})?|[eE][-+]?[0-9]{1,2})", cell):
        return float(cell)
    raise ValueError(cell)


_NEXT: Mapping[Callable[[str], Value], Callable[[str], Value]] = {_truth: _number, _number: str}
"""What a column is if it is not this: truth values, numbers, texts."""


def _reads(read: Callable[[str], Value], cell: str) -> bool:
    try:
        read(cell)
    except (ValueError, KeyError):
        return False
    return True


def _read_parquet(path: Path) -> Iterator[Record]:
    parquet = _parquet()
    import pyarrow

    try:
        with parquet.ParquetFile(path) as file:
            if len(set(file.schema_arrow.names)) < len(file.schema_arrow.names):
                raise ValueError("two of its columns have one name")
            for batch in file.iter_batches(BATCH):
                yield from _plain(batch).to_pylist()
    except pyarrow.ArrowException as error:
        raise ValueError(str(error)) from error


def _plain(batch: Any) -> Any:
    """Rows whose times Python can hold: to the microsecond, and of no named time zone, which may be unknown here."""
    import pyarrow

    for place, field in enumerate(batch.schema):
        if pyarrow.types.is_timestamp(field.type):
            zone = "UTC" if field.type.tz else None
            times = batch.column(place).cast(pyarrow.timestamp("us", tz=zone), safe=False)
            batch = batch.set_column(place, field.name, times)
    return batch


def _parquet() -> Any:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise RetrievalError(
            "Parquet needs a library that is not installed (pip install pyarrow); install it, or use a .jsonl list."
        ) from None
    return parquet
