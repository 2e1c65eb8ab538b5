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
    picture in no folder has no class. Folders above count as splits if all of them are called like one, or most
    pictures lie in class folders of two splits; others have no class then. A folder that everything lies in
    (`att_faces/s1/1.pgm`) is passed over as long as there is another below it. A few pictures that lie elsewhere, a
    cover or a folder of thumbnails, change nothing about the rest.

    Args:
        paths: relative, with "/".
    """
    parts = [path.split("/") for path in paths]
    while wrapper := _wrapper(parts):
        parts = [p[1:] if p[0] == wrapper and len(p) > 1 else p for p in parts]
    names = tuple("/".join(p) for p in parts)
    splits = np.full(len(parts), "train", "<U5")
    if _has_splits(parts):
        inside = [len(p) > 1 and _is_split(p[0]) for p in parts]
        splits = np.array(
            [SPLIT_FOLDERS[p[0].lower()] if one else "train" for p, one in zip(parts, inside, strict=True)]
        )
        parts = [p[1:] if one else p[-1:] for p, one in zip(parts, inside, strict=True)]
    classes, labels = numbered([p[0] if len(p) > 1 else None for p in parts])
    return Layout(names, classes, labels, splits)


def _wrapper(parts: Sequence[list[str]]) -> str | None:
    """The folder that all folders lie in and that is no class itself; None if there is none."""
    first = {p[0] for p in parts if len(p) > 1}
    if len(first) != 1 or _is_split(*first):
        return None
    deeper = [p for p in parts if len(p) > 2]
    most = 2 * len(deeper) > len(parts) and len({p[1] for p in deeper}) > 1
    return first.pop() if most or len(deeper) == len(parts) else None


def _has_splits(parts: Sequence[list[str]]) -> bool:
    """Whether the first folders are splits."""
    first = [p[0] for p in parts if len(p) > 1]
    if first and all(_is_split(folder) for folder in first):
        return True
    classes = [SPLIT_FOLDERS[p[0].lower()] for p in parts if len(p) > 2 and _is_split(p[0])]
    return 2 * len(classes) > len(parts) and len(set(classes)) > 1


def _is_split(folder: str) -> bool:
    return folder.lower() in SPLIT_FOLDERS
