"""Attributes of indexed pictures, from a CSV file or JSON lines. ``docs/filters.md`` describes both for people."""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.index.by_folder import or_folder
from retrieval.index.filters import BUILT_IN

Value = str | int | float

MAX_LINE = 1 << 20
"""Most bytes of a line; a longer one is no list of attributes."""

MAX_NAME = 200
"""Most letters of an attribute's name."""

SEPARATORS = ",;\t"

_KEYS = ("path", "id")
_NUMBER = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NO_NUMBERS = frozenset(("nan", "inf", "-inf", "+inf", "infinity", "-infinity", "+infinity"))
_TRUTHS = {"true": 1, "false": 0}


@dataclass(frozen=True)
class AttachReport:
    """What attaching a file did.

    Attributes:
        attached: how many pictures the file says something about.
        unknown: the paths or ids in it that are not in the index, printable, in its order.
        names: the attributes in it, sorted.
    """

    attached: int
    unknown: tuple[str, ...]
    names: tuple[str, ...]


@dataclass
class _Row:
    """What one line says."""

    line: int
    key: str | int
    values: dict[str, Any]


@or_folder(write=True)
def attach(index: Index, file: str | Path) -> AttachReport:
    """Attach what a file says to the pictures of an index: all of it, in one transaction, or nothing.

    Args:
        index: open for writing; or its folder.
        file: CSV with a line of column names, separated by commas, semicolons or tabs, or JSON lines. ``path`` or
            ``id`` names the picture: a path as the index has it, or its place, absolute or as seen from the file's
            folder. Everything else is an attribute. An empty cell, or null, takes the attribute away from the picture.

    Raises:
        RetrievalError: the file cannot be read or is neither, with the number of the line; an attribute has a name
            that filters have another use for; or the file names no picture of the index.
    """
    file = Path(file)
    rows = _read(file)
    names = tuple(sorted({name for row in rows for name in row.values}))
    if not names:
        raise RetrievalError(f"The attributes {printable(file)!r} name no attribute; add some beside path or id.")
    find = _finder(index, file)
    found: dict[int, dict[str, Value | None]] = {}
    lines: dict[int, int] = {}
    unknown = []
    for row in rows:
        id_ = find(row.key)
        if id_ is None:
            unknown.append(printable(str(row.key)))
        elif id_ in lines:
            _refuse(file, row.line, f"names {row.key!r} again, after line {lines[id_]}; take one of them out")
        else:
            lines[id_], found[id_] = row.line, row.values
    if not found:
        raise RetrievalError(
            f"{printable(file)!r} names none of the {len(index):,} pictures in the index {printable(index.folder)!r}; "
            "give their ids, or paths relative to the index's root or to the file."
        )
    index.attach(found)
    return AttachReport(len(found), tuple(unknown), names)


def _finder(index: Index, file: Path) -> Callable[[str | int], int | None]:
    """What gives the id of the picture that a line names; None if it is not in the index."""
    root, folder = str(Path(index.root).resolve()), file.parent.resolve()
    ids: set[int] = set()

    def find(key: str | int) -> int | None:
        if isinstance(key, int):
            if not ids:
                ids.update(index.select("id is present").tolist())
            return key if key in ids else None
        item = index.find(key)
        if item is None and index.root:
            place = os.path.normpath(folder / key)
            if place.startswith(root + os.sep):
                item = index.find(place[len(root) + 1 :])
        return None if item is None else item.id

    return find


def _read(file: Path) -> list[_Row]:
    """Every line that says something.

    Raises:
        RetrievalError: as :func:`attach`.
    """
    try:
        with file.open("rb") as stream:
            lines = _lines(file, stream)
            number, first = next(((number, line) for number, line in lines if line.strip()), (0, ""))
            if not first:
                raise RetrievalError(f"The attributes {printable(file)!r} are empty; give CSV or JSON lines.")
            if first.lstrip().startswith("["):
                _refuse(file, number, "begins a JSON list; give an object on each line, without brackets around them")
            rest = itertools.chain([(number, first)], lines)
            return list((_json_rows if first.lstrip().startswith("{") else _csv_rows)(file, rest))
    except OSError as error:
        raise RetrievalError(
            f"The attributes {printable(file)!r} cannot be read ({error.strerror}); check the name and its permissions."
        ) from error


def _lines(file: Path, stream: BinaryIO) -> Iterator[tuple[int, str]]:
    """Number and text of every line, its end included."""
    for number in itertools.count(1):
        line = stream.readline(MAX_LINE + 1)
        if not line:
            return
        if len(line) > MAX_LINE:
            _refuse(file, number, f"is longer than {MAX_LINE:,} bytes; give a line for each picture")
        if b"\0" in line:
            _refuse(file, number, "has a zero byte; save the file as UTF-8 text")
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            _refuse(file, number, f"is not UTF-8 (byte {error.start + 1} of it); save the file as UTF-8")


def _csv_rows(file: Path, lines: Iterator[tuple[int, str]]) -> Iterator[_Row]:
    start, header = next(lines)
    separator, names = _columns(file, start, header)
    (key,) = (place for place, name in enumerate(names) if name.lower() in _KEYS)
    by_id = names[key].lower() == "id"
    rows: list[tuple[int, str | int, list[str]]] = []
    for line, cells in _cells(file, start, separator, lines):
        if len(cells) != len(names):
            _refuse(file, line, f"has {len(cells)} cells instead of {len(names)}; quote what has a separator in it")
        named = cells.pop(key)
        if by_id and not re.fullmatch(r"\s*[0-9]{1,18}\s*", named):
            _refuse(file, line, f"has the id {_short(named)}; give a whole number")
        if not named:
            _refuse(file, line, "names no picture; give its path, or take the line out")
        rows.append((line, int(named) if by_id else named, [cell.strip() for cell in cells]))
    del names[key]
    where = [line for line, _, _ in rows]
    columns = [_typed(file, name, where, [cells[place] for _, _, cells in rows]) for place, name in enumerate(names)]
    for place, (line, picture, _) in enumerate(rows):
        yield _Row(line, picture, {name: column[place] for name, column in zip(names, columns, strict=True)})


def _columns(file: Path, line: int, header: str) -> tuple[str, list[str]]:
    """The separator, and the names of the columns."""
    best: tuple[str, list[str]] | None = None
    for separator in SEPARATORS:
        with contextlib.suppress(csv.Error, StopIteration):
            names = [name.strip() for name in next(csv.reader([header], delimiter=separator, strict=True))]
            if {name.lower() for name in names} & set(_KEYS) and (best is None or len(names) > len(best[1])):
                best = separator, names
    if best is None:
        _refuse(file, line, f"names no column path or id, but {_short(header.strip())}; name the columns there")
    names = best[1]
    keys = [name for name in names if name.lower() in _KEYS]
    if len(keys) > 1:
        _refuse(file, line, f"has the columns {keys[0]} and {keys[1]}; keep one to name the pictures by")
    if len(names) == 1:
        _refuse(file, line, f"has no column but {keys[0]}; add some attributes")
    for place, name in enumerate(names):
        if name in names[:place]:
            _refuse(file, line, f"has the column {_short(name)} twice; rename one")
        if name not in keys:
            _check_name(file, line, name)
    return best


def _cells(file: Path, start: int, separator: str, lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, list[str]]]:
    """Number and cells of every line after the header that is not empty."""
    reader = csv.reader((text for _, text in lines), delimiter=separator, strict=True, skipinitialspace=True)
    while True:
        line = start + reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            _refuse(file, line, f"is not CSV ({error}); check its quotes")
        if any(cell.strip() for cell in cells):
            yield line, cells


def _typed(file: Path, name: str, lines: Sequence[int], cells: Sequence[str]) -> list[Value | None]:
    """A column's values: numbers if it holds nothing else, text otherwise; None for empty cells."""
    given = [cell.lower() for cell in cells if cell]
    if given and all(cell in _TRUTHS for cell in given):
        return [_TRUTHS[cell.lower()] if cell else None for cell in cells]
    numbers = sum(_NUMBER.fullmatch(cell) is not None for cell in given)
    if not numbers or not all(_NUMBER.fullmatch(cell) or cell in _NO_NUMBERS for cell in given):
        return [cell or None for cell in cells]
    values: list[Value | None] = []
    for line, cell in zip(lines, cells, strict=True):
        if cell.lstrip("-").isdecimal():
            if len(cell) > 20 or not -(2**63) <= int(cell) < 2**63:
                return [cell or None for cell in cells]  # a name made of digits, which rounding would spoil
            values.append(int(cell))
        else:
            value = float(cell) if cell else None
            if value is not None and not math.isfinite(value):
                _refuse(file, line, f"has {_short(cell)} for {name!r}, which is no finite number; leave the cell empty")
            values.append(value)
    return values


def _json_rows(file: Path, lines: Iterator[tuple[int, str]]) -> Iterator[_Row]:
    checked: set[str] = set()
    for line, text in lines:
        if not text.strip():
            continue
        try:
            values = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            _refuse(file, line, f"is not a JSON object ({str(error).rstrip('.')}); give one on each line")
        if not isinstance(values, dict):
            _refuse(file, line, "is not a JSON object; give one on each line")
        keys = [key for key in _KEYS if key in values]
        if len(keys) != 1:
            _refuse(file, line, f"has {' and '.join(keys) or 'neither path nor id'}; name the picture by one of them")
        picture: Any = values.pop(keys[0])
        if type(picture) is not (str if keys == ["path"] else int) or not _is_text(picture):
            wanted = "a text" if keys == ["path"] else "a whole number"
            _refuse(file, line, f"has the {keys[0]} {_short(picture)}; give {wanted}")
        for name in values.keys() - checked:
            _check_name(file, line, name)
            checked.add(name)
        yield _Row(line, picture, {name: _plain(file, line, name, value) for name, value in values.items()})


def _plain(file: Path, line: int, name: str, value: object) -> Value | None:
    """A value from JSON as the index keeps it."""
    if isinstance(value, bool):
        return int(value)
    if value is None or (isinstance(value, str) and _is_text(value)):
        return value
    if (isinstance(value, int) and -(2**63) <= value < 2**63) or (isinstance(value, float) and math.isfinite(value)):
        return value
    trouble = {
        str: "which is not Unicode text; type it anew",
        int: "which is larger than the index can keep; give it as a text",
        float: "which is larger than a number can be; leave it out",
    }.get(type(value), "which is a list or an object; give a number, a text, true, false or null")
    _refuse(file, line, f"has {_short(value)} for {name!r}, {trouble}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("it has a name twice")
    return values


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _check_name(file: Path, line: int, name: str) -> None:
    """Refuse what cannot be an attribute's name."""
    if name.lower() in BUILT_IN:
        _refuse(file, line, f"has the attribute {name!r}, which every picture has of its own; rename it")
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        _refuse(file, line, f"has an attribute called {_short(name)}; give it 1 to {MAX_NAME} printable letters")


def _is_text(value: object) -> bool:
    """Whether SQLite can keep it; anything but a text it can."""
    return not isinstance(value, str) or not any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _refuse(file: Path, line: int, trouble: str) -> NoReturn:
    raise RetrievalError(f"Line {line} of {printable(file)!r} {trouble}.")
