"""A list of pictures: the columns `path`, and where wanted `label` and `split`."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np

from retrieval.base.picture_names import DiskNames
from retrieval.base.table import Table
from retrieval.base.text import numbered, printable
from retrieval.datasets.layout import SPLIT_FOLDERS
from retrieval.datasets.picture_set import PictureSet
from retrieval.errors import RetrievalError

_COLUMNS = ("path", "label", "split")


def load(path: Path) -> PictureSet:
    """A set of the pictures that a table lists, as :mod:`retrieval.base.table` reads it; no picture is opened.

    Columns other than the three are passed over. Paths are relative to the list, or absolute; a file that is there
    in another Unicode form or in other capitals is the one that is meant. An empty label means none, an empty split
    "train".

    Raises:
        RetrievalError: for anything else, with the number of the line.
    """
    table = Table(path, "The list", _COLUMNS)
    if table.columns and "path" not in table.columns:
        table.refuse(table.header, "must name the columns: path,label,split (the last two if wanted)")
    disk = DiskNames()
    files: dict[Path, int] = {}
    places: list[str] = []
    labels: list[str | None] = []
    splits: list[str] = []
    for row in table.rows():
        place, label, split = (table.text(row, column) for column in _COLUMNS)
        if not any(row.cells.values()):
            continue
        if not place:
            table.refuse(row.number, "has no path; give one or take the line out")
        file = disk.find(path.parent / place)
        if file in files:
            table.refuse(row.number, f"lists {place!r} again (first in {table.unit} {files[file]}); take one out")
        split = split or "train"
        if split.lower() not in SPLIT_FOLDERS:
            table.refuse(row.number, f"has the split {split!r}; give train, val or test")
        files[file] = row.number
        places.append(place)
        labels.append(label or None)
        splits.append(SPLIT_FOLDERS[split.lower()])
    if not places:
        raise RetrievalError(f"The list {printable(path)!r} has no pictures; add lines such as 'cat/1.jpg,cat'.")
    classes, numbers = numbered(labels)
    return PictureSet(
        name=path.stem,
        names=tuple(_name(place) for place in places),
        classes=classes,
        labels=numbers,
        splits=np.array(splits, "<U5"),
        files=tuple(files),
        root=path.parent,
    )


def _name(place: str) -> str:
    """The path as a relative name: without a leading "/", and without ".."."""
    return "/".join(part for part in PurePosixPath(place).parts if part not in ("/", "..", "."))
