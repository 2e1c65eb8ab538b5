"""Reading splits and classes off paths: the same rules for folders on disk and inside archives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval.base.text import numbered

SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What a folder may be called, in any case, to stand for a split."""


class Layout(NamedTuple):
    """What a list of paths says.

    Attributes:
        names: the paths without the folders that all of them share and that mean nothing.
        classes: sorted.
        labels: int64 (n,), −1 for a picture that lies in no class folder.
        splits: <U5 (n,).
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    splits: NDArray[np.str_]


def arrange(paths: Sequence[str]) -> Layout:
    """Split and class of each path.

    `[split/]class/…/picture`: the first folder names the class, folders within a class mean nothing, and a
    picture in no folder has no class. Folders above count as splits only if all of them are called like one.
    A folder that everything lies in (`att_faces/s1/1.pgm`) is passed over as long as there is another below
    it.

    Args:
        paths: relative, with "/".
    """
    parts = [path.split("/") for path in paths]
    while parts and not _is_split(parts[0][0]) and all(len(p) > 2 and p[0] == parts[0][0] for p in parts):
        parts = [p[1:] for p in parts]
    names = tuple("/".join(p) for p in parts)
    splits = np.full(len(parts), "train", "<U5")
    if parts and all(len(p) > 1 and _is_split(p[0]) for p in parts):
        splits = np.array([SPLIT_FOLDERS[p[0].lower()] for p in parts], "<U5")
        parts = [p[1:] for p in parts]
    classes, labels = numbered([p[0] if len(p) > 1 else None for p in parts])
    return Layout(names, classes, labels, splits)


def _is_split(folder: str) -> bool:
    return folder.lower() in SPLIT_FOLDERS
