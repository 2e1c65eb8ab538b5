"""Texts from files that nobody vouches for, labels by number, and texts for terminals: columns, JSON, what a stream can
take."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

SHORT = 60
"""Letters of a name that shares its line with others."""

DIGITS = 6
"""Digits behind the point of the many numbers of a curve or a table."""


def terminal_width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def padded(text: str, width: int) -> str:
    return text + " " * (width - terminal_width(text))


def texts(array: npt.NDArray[Any]) -> list[str]:
    """The texts of an array (n,), of NumPy's letters or of bytes of UTF-8.

    Raises:
        ValueError: some are no text: NumPy itself stumbles over a letter beyond Unicode.
    """
    if array.dtype.kind == "S":
        return [text.decode() for text in array.tolist()]
    rows = np.ascontiguousarray(array)
    letters = rows.view(np.dtype("u4").newbyteorder(rows.dtype.byteorder)) if rows.dtype.itemsize else np.zeros(1)
    if letters.max(initial=0) > sys.maxunicode:
        raise ValueError("a letter lies beyond Unicode")
    found: list[str] = rows.tolist()
    "".join(found).encode()  # half a pair of surrogates is no letter either
    return found


def numbered(labels: Sequence[str | None]) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """The labels that occur, sorted, and int64 (n,), which of them each is; −1 for None."""
    names = tuple(sorted({label for label in labels if label is not None}))
    place = {name: row for row, name in enumerate(names)}
    return names, np.array([-1 if label is None else place[label] for label in labels], np.int64)


def for_terminal(text: str) -> str:
    """A text from a file as a terminal may show it, without what would steer it."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def printable(path: str | os.PathLike[str]) -> str:
    """A path as text that any stream can take; bytes that are not UTF-8 become backslash escapes."""
    text = os.fspath(path)
    try:
        return text.encode(errors="surrogateescape").decode(errors="backslashreplace")
    except UnicodeEncodeError:  # surrogates that stand for no byte: not from a file system, but from JSON
        return text.encode(errors="backslashreplace").decode()


def plain(value: Any) -> Any:
    """A value as JSON can hold it.

    A record becomes its fields, unless it has a `to_json` of its own; a path becomes text; an array becomes nested
    lists, floats in it to :data:`DIGITS` digits; a float that is no number, or endless, becomes None.
    """
    if isinstance(value, np.ndarray):
        return plain((value.round(DIGITS) if value.dtype.kind == "f" else value).tolist())
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if dataclasses.is_dataclass(value):
        return value.to_json() if hasattr(value, "to_json") else plain(vars(value))
    if isinstance(value, os.PathLike):
        return printable(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def ends(low: float, high: float, form: str = ".4f") -> str:
    """An interval in words; "open" where there is none."""
    return "open" if low != low else f"{low:{form}} to {high:{form}}"


def json_text(value: Any, indent: str = "") -> str:
    """JSON, one line for each key and each sentence, but for a row of numbers or of short names a single one."""
    inner = indent + "  "
    if isinstance(value, dict) and value:
        rows = [
            f"{inner}{json.dumps(str(key), ensure_ascii=False)}: {json_text(one, inner)}" for key, one in value.items()
        ]
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
    if isinstance(value, list | tuple) and any(isinstance(one, dict | list | tuple) or _long(one) for one in value):
        return "[\n" + ",\n".join(inner + json_text(one, inner) for one in value) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _long(value: object) -> bool:
    return isinstance(value, str) and len(value) > SHORT


def aligned(rows: Sequence[Sequence[str]], words: int = 1) -> list[str]:
    """Columns of even width, the first `words` of them to the left and the others, numbers, to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column < words else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
