"""Omniglot: handwritten characters of fifty alphabets, in three levels (Lake, Salakhutdinov, Tenenbaum 2015).

`images_background/Alphabet/characterNN/drawing.png` are for training, `images_evaluation/…` for testing. A
character's number means nothing without its alphabet, so a class is called "Alphabet/characterNN" and the
alphabet is its level. See https://github.com/brendenlake/omniglot.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from retrieval import images
from retrieval.base.text import numbered
from retrieval.datasets import zips
from retrieval.datasets.archives import opened_zip
from retrieval.datasets.memory import resident
from retrieval.datasets.picture_set import PictureSet, Progress
from retrieval.errors import RetrievalError

PARTS = {"images_background": "train", "images_evaluation": "test"}
"""The two parts, as folders or with ".zip", and the split that each of them is."""

_SMALL = ("images_background_small1", "images_background_small2")
_DRAWING = re.compile(r"(?:.*/)?([^/]+)/(character\d+)/([^/]+)")
_PART = re.compile(r"(?:^|/)images_(background|evaluation)")


def recognises(source: Path) -> bool:
    """Whether a folder or a zip archive holds Omniglot's levels."""
    if source.is_dir():
        if _parts(source):
            return True
        children = [child for child in source.iterdir() if child.is_dir()]
        return any(grandchild.name == "character01" for child in children for grandchild in child.glob("character*"))
    with opened_zip(source) as (names, _):
        return any("/character01/" in name for name in names)


def load(source: Path, progress: Progress | None = None) -> PictureSet:
    """Omniglot from a folder of the two parts (as folders or zip archives), or from one of them.

    Zip archives are read into memory, uint8 (n, 105, 105, 1), ink 0 on paper 255; folders are left as files.

    Args:
        source: a folder or a zip archive.
        progress: called with the number of pictures read since the last call.
    """
    parts = _parts(source) if source.is_dir() else []
    sets = [_part(part, progress) for part in parts or [source]]
    return sets[0] if len(sets) == 1 else _joined(sets)


def _parts(folder: Path) -> list[Path]:
    """The parts in a folder: the two complete ones, or else the small background sets."""
    for names in (tuple(PARTS), _SMALL):
        candidates = [(folder / name, folder / f"{name}.zip") for name in names]
        parts = [plain if plain.is_dir() else packed for plain, packed in candidates]
        if present := [part for part in parts if part.exists()]:
            return present
    return []


def _part(source: Path, progress: Progress | None) -> PictureSet:
    if source.is_dir():
        found = images.find(source)
        paths = found.paths
        rows = PictureSet(
            "omniglot",
            paths,
            (),
            np.full(len(paths), -1),
            np.full(len(paths), "train", "<U5"),
            files=tuple([source / path for path in paths]),
            skipped=found.skipped,
        )
    else:
        rows = zips.unlabelled(source, progress)
    return _three_levels(rows, source.name)


def _three_levels(rows: PictureSet, source: str) -> PictureSet:
    matches = [_DRAWING.fullmatch(name) for name in rows.names]
    rows = rows.select(np.array([match is not None for match in matches]))
    if not len(rows):
        raise RetrievalError(f"There is no Alphabet/characterNN/drawing.png in {source!r}; give Omniglot's folder.")
    levels, characters, files = zip(*(match.groups() for match in matches if match is not None), strict=True)
    classes, labels = numbered([f"{level}/{one}" for level, one in zip(levels, characters, strict=True)])
    part = _PART.search(source) or _PART.search(rows.names[0])
    split = "test" if part is not None and part[1] == "evaluation" else "train"
    return replace(
        rows,
        name="omniglot",
        names=tuple(f"{split}/{classes[label]}/{file}" for label, file in zip(labels, files, strict=True)),
        classes=classes,
        labels=labels,
        splits=np.full(len(rows), split, "<U5"),
        levels=levels,
    )


def _joined(sets: Sequence[PictureSet]) -> PictureSet:
    """The parts as one set, each drawing once; where only some parts are in memory the others are read
    too."""
    if len({part.pixels is None for part in sets}) > 1:
        sets = [resident(part) for part in sets]
    classes, labels = numbered([part.classes[label] for part in sets for label in part.labels])
    joined = PictureSet(
        name=sets[0].name,
        names=tuple(name for part in sets for name in part.names),
        classes=classes,
        labels=labels,
        splits=np.concatenate([part.splits for part in sets]),
        pixels=None
        if sets[0].pixels is None
        else np.concatenate([part.pixels for part in sets if part.pixels is not None]),
        files=None if sets[0].files is None else tuple(file for part in sets for file in part.files or ()),
        levels=tuple(level for part in sets for level in part.levels or ()),
        skipped=tuple(skipped for part in sets for skipped in part.skipped),
    )
    # The two small sets share drawings.
    _, first = np.unique(np.array(joined.names), return_index=True)
    return joined if len(first) == len(joined) else joined.select(np.sort(first))
