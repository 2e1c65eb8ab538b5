"""One line of a list: what a vector belongs to, as other programs read and write it.

A record is a flat mapping. ``path`` (or ``image_path``), ``label``, ``width``, ``height``, ``size``, ``mtime_ns`` and
``sha256`` are an item's own; ``id`` is the one it had where it came from; every other key is an attribute.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

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
    rest = {name: value for name, value in record.items() if name != "id"}
    paths = [_text(rest.pop(name), name) for name in PATHS if name in rest]
    path = next(filter(None, paths), None)
    label = _text(rest.pop("label", None), "label")
    facts = {name: _count(rest, name) for name in _FACTS}
    sha256 = rest.get("sha256")
    if isinstance(sha256, str) and re.fullmatch(r"[0-9a-f]{64}", sha256):
        del rest["sha256"]
    else:
        sha256 = ""
    item = NewItem(
        relative(path) if path else made_up,
        label or None,
        **facts,
        sha256=sha256,
    )
    values = {_free(name): to_value(value) for name, value in rest.items() if name.strip()}
    return item, {name: value for name, value in values.items() if value is not None}


def to_value(value: object) -> Value | None:
    """Anything as an attribute can hold it: a number, a text, or None for nothing.

    Dates become ISO 8601, what is nested becomes JSON, bytes become hexadecimal, and integers beyond 64 bits text.
    """
    if value is None:
        return None
    if isinstance(value, int):  # a truth value is one, too
        return int(value) if -_INT64 <= value < _INT64 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return _whole(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return json.dumps(value, default=str)


def below(root: str) -> Callable[[str], str]:
    """What makes an absolute path below a folder relative to it, and leaves any other as it is."""
    folder = PurePosixPath(root)

    def relative(path: str) -> str:
        place = PurePosixPath(path)
        return place.relative_to(folder).as_posix() if place != folder and place.is_relative_to(folder) else path

    return relative


def _whole(text: str) -> str:
    """A text that can be stored: halves of surrogate pairs, which JSON can hold, and zeros become escapes."""
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


def _count(rest: dict[str, object], name: str) -> int:
    """Takes a number out of a record, where it is one that an item can hold."""
    value = rest.get(name)
    if isinstance(value, float) and value.is_integer():  # pandas makes floats of integers where some are missing
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _INT64:
        del rest[name]
        return value
    return 0
