"""Labels from a file that anybody made: one record a vector, in the vectors' order.

====================  ==========================================================================================
``.npy``              integers (n,), −1 for none; texts (n,), empty for none; or booleans (n, classes), which of them
                      each shows
any other             a table, as :mod:`retrieval.base.table` reads it, with a column ``label`` (and maybe ``name``,
                      ``path`` or ``id``); a JSON list of labels, or one a line; or text without such a column: one
                      label a line, an empty one or −1 for none
====================  ==========================================================================================

Several labels of one picture stand in one text, with ``;`` between them, or in JSON as a list. The labels of two files
are the same where their texts are, so 3 and "3" are one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.base.npy import mapped
from retrieval.base.table import CSV, Table, short
from retrieval.base.text import printable, texts
from retrieval.errors import RetrievalError
from retrieval.evaluation.labelled_vectors import SEPARATOR
from retrieval.measures import UNLABELLED

SUFFIXES = (".npy", ".csv", ".tsv", ".txt", ".json", ".jsonl", ".parquet")

WANTED = "integers or texts (n,), or booleans (n, classes), as labels.astype(int) or labels.astype(str) makes them"
"""What an array of labels may hold, for messages."""

BYTES = (1 << 20, 1 << 12)
"""A file of labels may have so many bytes, and so many more for each vector."""

NONE = ("", str(UNLABELLED))
"""Texts that are no label."""

LONGEST = 1000
"""Letters of a label or a name; every name takes as much memory as the longest."""

SETS = 1 << 31
"""Bytes that a table of which item shows which class may take."""

NAMES = ("name", "path", "image_path", "id")
"""Columns that say what a vector is of; the first there is counts."""


@dataclass(frozen=True)
class Labels:
    """What a file says.

    Attributes:
        classes: the labels' texts, those that are all numbers by number, others by letters.
        labels: int64 (n,), an index into `classes`, −1 where there is none.
        sets: bool (n, classes), where a picture has several labels; then all of `labels` are −1.
        names: of the vectors, where the file has them.
    """

    classes: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    sets: npt.NDArray[np.bool_] | None = None
    names: tuple[str, ...] | None = None


def read_labels(path: Path, n: int) -> Labels:
    """The labels of `n` vectors.

    Raises:
        RetrievalError: the file cannot be read, is not what its name says, or is of another number of vectors.
    """
    if path.suffix not in SUFFIXES:
        raise RetrievalError(f"The labels {printable(path)!r} are called neither {', '.join(SUFFIXES)}; rename them.")
    if not path.is_file():
        raise RetrievalError(f"The labels {printable(path)!r} are not there, or no regular file; give one.")
    if path.suffix == ".npy":
        return of_array(mapped(path, WANTED), n, str(path))
    size = path.stat().st_size
    if size > BYTES[0] + BYTES[1] * n:
        raise RetrievalError(
            f"The labels {printable(path)!r} cannot be read (its {size:,} bytes are too many for {n:,} vectors); write "
            "them anew."
        )
    found, names = _of_table(Table(path, "The labels", ("label", *NAMES), ("label", object)))
    _require(len(found), n, str(path))
    return _numbered(found, names, str(path))


def of_array(array: npt.NDArray[Any], n: int, name: str) -> Labels:
    """The same from an array of a file.

    Args:
        array: integers or texts (n,), or booleans (n, classes); bytes are UTF-8.
        n: how many vectors there are.
        name: of the file, for messages.

    Raises:
        RetrievalError: it is something else.
    """
    kind, shape = array.dtype.kind, array.shape
    _require(shape[0] if shape else 0, n, name)
    if kind == "b" and array.ndim == 2 and shape[1] and array.size <= SETS:
        sets = np.array(array).view(np.uint8) != 0  # a byte of a file may be neither 0 nor 1
        return Labels(tuple(map(str, range(shape[1]))), np.full(n, UNLABELLED), sets)
    if kind in "iu" and array.ndim == 1:
        numbers, places = np.unique(np.asarray(array), return_inverse=True)
        if numbers.size and numbers[0] < UNLABELLED:
            raise RetrievalError(
                f"The labels {printable(name)!r} reach down to {numbers[0]}; number classes from 0, and give −1 for "
                "none."
            )
        none = int(numbers.size > 0 and numbers[0] == UNLABELLED)
        return Labels(tuple(str(number) for number in numbers[none:].tolist()), places.astype(np.int64) - none)
    if kind in "US" and array.ndim == 1 and 0 < array.dtype.itemsize <= 4 * LONGEST:
        try:
            found = [_split(text) for text in texts(array)]
        except ValueError:
            raise RetrievalError(f"The labels {printable(name)!r} are no text; save them as UTF-8.") from None
        return _numbered(found, None, name)
    raise RetrievalError(f"The labels {printable(name)!r} are {array.dtype} of shape {shape}; give {WANTED}.")


def _require(found: int, n: int, name: str) -> None:
    if found != n:
        raise RetrievalError(f"The labels {printable(name)!r} are of {found:,} vectors, and there are {n:,}.")


def _of_table(table: Table) -> tuple[list[list[str]], list[str] | None]:
    """The labels of each row, and the names, where all have some."""
    found: list[list[str]] = []
    names: list[str] = []
    if table.form == CSV and "label" not in (table.columns or ()):
        for number, cells in table.cells():
            if len(cells) > 1 or "\t" in "".join(cells):
                table.refuse(number, "has several cells, and no column is called label; name the columns")
            found.append(_split(cells[0]) if cells else [])
        return found, None
    for row in table.rows():
        if "label" not in row.cells:
            table.refuse(row.number, "has no label; give one, or null")
        value = row.cells["label"]
        found.append(
            [label for one in (value if isinstance(value, list) else [value]) for label in _one(table, row.number, one)]
        )
        name = next((row.cells[column] for column in NAMES if column in row.cells), None)
        if isinstance(name, str | int):
            names.append(str(name))
    return found, names if len(names) == len(found) else None


def _one(table: Table, number: int, value: object) -> list[str]:
    """The labels of a value."""
    if isinstance(value, float) and value.is_integer():  # pandas makes floats of integers where some are missing
        value = int(value)
    if value is None or value != value:
        return []
    if isinstance(value, bool) or not isinstance(value, str | int):
        table.refuse(number, f"has the label {short(value)}; give a text or a whole number")
    return _split(str(value))


def _split(text: str) -> list[str]:
    return [part for part in (piece.strip() for piece in text.split(SEPARATOR)) if part not in NONE]


def _numbered(found: Iterable[list[str]], names: list[str] | None, name: str) -> Labels:
    """The labels by number, as sets where an item has several."""
    lists = list(found)
    known = {label for labels in lists for label in labels}
    longest = max((len(text) for text in (*known, *(names or ()))), default=0)
    if longest > LONGEST:
        raise RetrievalError(
            f"The labels {printable(name)!r} hold a text of {longest:,} letters; give labels and names of up to "
            f"{LONGEST:,}."
        )
    numeric = all(label.isascii() and label.isdigit() for label in known)
    classes = sorted(known, key=(lambda label: (len(label.lstrip("0")), label.lstrip("0"), label)) if numeric else None)
    number = {label: place for place, label in enumerate(classes)}
    kept = None if names is None else tuple(names)
    several = any(len(set(labels)) > 1 for labels in lists)
    if not several:
        labels = np.array([number[labels[0]] if labels else UNLABELLED for labels in lists], np.int64)
        return Labels(tuple(classes), labels, None, kept)
    if len(lists) * len(classes) > SETS:
        raise RetrievalError(
            f"The labels {printable(name)!r} are of {len(classes):,} classes, several a picture, for {len(lists):,} "
            "vectors, which is more than memory should hold; keep the commonest classes."
        )
    sets = np.zeros((len(lists), len(classes)), bool)
    for row, shown in zip(sets, lists, strict=True):
        row[[number[label] for label in shown]] = True
    return Labels(tuple(classes), np.full(len(lists), UNLABELLED), sets, kept)
