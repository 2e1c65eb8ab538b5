"""Attributes of indexed pictures, from a table that somebody made. ``docs/filters.md`` describes it for people."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval.base import moments
from retrieval.base.picture_names import PictureNames
from retrieval.base.table import CSV, PARQUET, Row, Table, short
from retrieval.base.text import printable
from retrieval.engines.by_place import or_place
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.index.filters import BUILT_IN
from retrieval.index.records import Value, unfit

MAX_NAME = 200
"""Most letters of an attribute's name."""

_KEYS = ("path", "id")


@dataclass(frozen=True)
class AttachReport:
    """What attaching a file did.

    Attributes:
        attached: how many pictures the file says something about.
        unknown: the paths or ids in it that are not in the index, printable, in its order.
        names: the attributes in it, sorted.
        notes: what a person should know, a sentence each: dates that were not understood.
    """

    attached: int
    unknown: tuple[str, ...]
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


@or_place(write=True)
def attach(index: Index, file: str | Path) -> AttachReport:
    """Attach what a file says to the pictures of an index: all of it, in one transaction, or nothing.

    Args:
        index: open for writing; or its folder.
        file: as :mod:`retrieval.base.table` reads it. ``path`` or ``id`` names the picture: a path as the index has
            it, or its place, absolute or as seen from the file's folder; see
            :class:`retrieval.base.picture_names.PictureNames`. Everything else is an attribute. An empty cell, or
            null, takes the attribute away from the picture.

    Raises:
        RetrievalError: the file cannot be read or is neither, with the number of the row; an attribute has a name
            that filters have another use for; or the file names no picture of the index.
    """
    file = Path(file)
    table = Table(file, "The attributes", _KEYS)
    if table.columns == ():
        raise RetrievalError(f"The attributes {printable(file)!r} are empty; give CSV, JSON or JSON lines.")
    find = _finder(index, file)
    found: dict[int, dict[str, Value | None]] = {}
    numbers: dict[int, int] = {}
    names: set[str] = set()
    unknown = []
    dates = moments.Doubts()
    for number, key, values in _said(table):
        names.update(values)
        id_ = find(key)
        if id_ is None:
            unknown.append(printable(str(key)))
        elif id_ in numbers:
            table.refuse(number, f"names {key!r} again, after {table.unit} {numbers[id_]}; take one of them out")
        else:
            numbers[id_], found[id_] = number, values
            for name, value in values.items():
                dates.see(name, value)
    if not names:
        raise RetrievalError(f"The attributes {printable(file)!r} name no attribute; add some beside path or id.")
    if not found:
        raise RetrievalError(
            f"{printable(file)!r} names none of the {len(index):,} pictures in the index {printable(index.name)!r}; "
            "give their ids, or paths relative to the index's root or to the file."
        )
    index.attach(found)
    return AttachReport(len(found), tuple(unknown), tuple(sorted(names)), tuple(dates.notes()))


def _finder(index: Index, file: Path) -> Callable[[str | int], int | None]:
    """What gives the id of the picture that a row names; None if it is not in the index."""
    ids: set[int] = set()
    last: dict[str, int] = {}  # the item that was found, by its path

    def there(path: str) -> bool:
        item = index.find(path)
        if item is not None:
            last.clear()
            last[path] = item.id
        return item is not None

    names = PictureNames(there, index.known, index.root, file.parent)

    def find(key: str | int) -> int | None:
        if isinstance(key, int):
            if not ids:
                ids.update(index.select("id is present").tolist())
            return key if key in ids else None
        path = names.find(key)
        if path is None or path in last or there(path):
            return None if path is None else last[path]
        return None

    return find


def _said(table: Table) -> Iterator[tuple[int, str | int, dict[str, Value | None]]]:
    """Number, picture and attributes of every row that says something."""
    if table.columns is not None:
        _check_columns(table, table.columns)
    checked: set[str] = set()
    for row in table.typed_rows(_KEYS):
        if table.form == CSV and not any(row.cells.values()):
            continue
        key = _key(table, row)
        picture = _picture(table, row.number, key, row.cells.pop(key))
        for name in row.cells.keys() - checked:
            _check_name(table, row.number, name)
            checked.add(name)
        yield row.number, picture, {name: _value(table, row.number, name, value) for name, value in row.cells.items()}


def _check_columns(table: Table, columns: tuple[str, ...]) -> None:
    """See that the columns name the pictures, and something besides."""
    keys = [name for name in columns if name in _KEYS]
    number = table.header
    if not keys:
        written = short(table.separator.join(columns))
        table.refuse(number, f"names no column path or id, but {written}; name the columns there")
    if len(keys) > 1:
        table.refuse(number, f"has the columns {keys[0]} and {keys[1]}; keep one to name the pictures by")
    if len(columns) == 1:
        table.refuse(number, f"has no column but {keys[0]}; add some attributes")
    for name in columns:
        if name not in keys:
            _check_name(table, number, name)


def _key(table: Table, row: Row) -> str:
    keys = [key for key in _KEYS if key in row.cells]
    if len(keys) != 1:
        table.refuse(row.number, f"has {' and '.join(keys) or 'neither path nor id'}; name the picture by one of them")
    return keys[0]


def _picture(table: Table, number: int, key: str, said: Any) -> str | int:
    """The path or id by which a row names its picture."""
    if table.form == CSV and not said:
        table.refuse(number, "names no picture; give its path, or take the line out")
    if table.form == CSV and key == "id":
        if not re.fullmatch(r"\s*[0-9]{1,18}\s*", said):
            table.refuse(number, f"has the id {short(said)}; give a whole number")
        return int(said)
    if type(said) is not (str if key == "path" else int) or unfit(said) is not None:
        wanted = "a text" if key == "path" else "a whole number"
        table.refuse(number, f"has the {key} {short(said)}; give {wanted}")
    picture: str | int = said
    return picture


def _value(table: Table, number: int, name: str, value: object) -> Value | None:
    """A cell as the index keeps it."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str) and table.form == CSV:
        value = value.strip() or None
    if value is None or (table.form == PARQUET and value != value):  # what pandas has for nothing
        return None
    trouble = unfit(value)
    if trouble is not None:
        table.refuse(number, f"has {short(value)} for {name!r}, {'; '.join(trouble)}")
    kept: Value = value  # type: ignore[assignment]
    return kept


def _check_name(table: Table, number: int, name: str) -> None:
    """Refuse what cannot be an attribute's name."""
    if name.lower() in BUILT_IN:
        table.refuse(number, f"has the attribute {name!r}, which every picture has of its own; rename it")
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        table.refuse(number, f"has an attribute called {short(name)}; give it 1 to {MAX_NAME} printable letters")
