"""A CSV list of pictures: the columns `path`, and where wanted `label` and `split`."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NoReturn

import numpy as np

from retrieval.base.text import numbered, printable
from retrieval.datasets.layout import SPLIT_FOLDERS
from retrieval.datasets.picture_set import PictureSet
from retrieval.errors import RetrievalError


def load(path: Path) -> PictureSet:
    """A set of the pictures that a CSV file lists; no picture is opened.

    The first line names the columns, in any order; others than the three are passed over. Paths are relative
    to the CSV file, or absolute. An empty label means none, an empty split "train".

    Args:
        path: UTF-8, with commas.

    Raises:
        RetrievalError: for anything else, with the number of the line.
    """
    places: dict[str, int] = {}
    labels: list[str | None] = []
    splits: list[str] = []
    for line, row in _rows(path):
        place = row.get("path", "")
        if not place:
            _refuse(path, line, "has no path; give one or take the line out")
        if place in places:
            _refuse(path, line, f"lists {place!r} again (first in line {places[place]}); take one of them out")
        split = row.get("split", "") or "train"
        if split.lower() not in SPLIT_FOLDERS:
            _refuse(path, line, f"has the split {split!r}; give train, val or test")
        places[place] = line
        labels.append(row.get("label") or None)
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
        files=tuple(path.parent / place for place in places),
    )


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells by column of each line that is not empty."""
    columns: list[str] = []
    reader = None
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for cells in reader:
                cells = [cell.strip() for cell in cells]
                if not any(cells):
                    continue
                if not columns:
                    columns = [cell.lower() for cell in cells]
                    if "path" not in columns:
                        _refuse(
                            path, reader.line_num, "must name the columns: path,label,split (the last two if wanted)"
                        )
                    continue
                if len(cells) != len(columns):
                    _refuse(
                        path,
                        reader.line_num,
                        f"has {len(cells)} cells instead of {len(columns)}; quote commas in names",
                    )
                yield reader.line_num, dict(zip(columns, cells, strict=True))
    except UnicodeDecodeError as error:
        raise RetrievalError(
            f"The list {printable(path)!r} is not UTF-8 text (byte {error.start}); save it as UTF-8."
        ) from error
    except csv.Error as error:
        _refuse(path, reader.line_num if reader else 1, f"is not CSV ({error}); check its quotes")
    except OSError as error:
        raise RetrievalError(f"The list {printable(path)!r} cannot be read: {error.strerror}.") from error


def _name(place: str) -> str:
    """The path as a relative name: without a leading "/", and without ".."."""
    return "/".join(part for part in PurePosixPath(place).parts if part not in ("/", "..", "."))


def _refuse(path: Path, line: int, trouble: str) -> NoReturn:
    raise RetrievalError(f"Line {line} of {printable(path)!r} {trouble}.")
