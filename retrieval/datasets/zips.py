"""Zip archives of class folders, read into memory."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np

from retrieval.base.text import printable
from retrieval.datasets.archives import opened_zip
from retrieval.datasets.layout import arrange
from retrieval.datasets.memory import stack
from retrieval.datasets.picture_set import PictureSet, Progress
from retrieval.errors import RetrievalError
from retrieval.images import SUFFIXES, is_system


def load(path: Path, progress: Progress | None = None) -> PictureSet:
    """A set of the pictures in a zip archive, laid out like a folder (see :func:`.layout.arrange`).

    Args:
        path: the archive.
        progress: called with the number of pictures read since the last call.

    Raises:
        RetrievalError: if there is no picture, or the pictures differ in size.
    """
    pictures = unlabelled(path, progress)
    return replace(pictures, **arrange(pictures.names)._asdict())


def unlabelled(path: Path, progress: Progress | None = None) -> PictureSet:
    """The pictures of a zip archive under their full names, without classes; errors as :func:`load`."""
    with opened_zip(path) as (members, read):
        names = [name for name in members if Path(name).suffix.lower() in SUFFIXES and not _is_hidden(name)]
        if not names:
            raise RetrievalError(f"There is no picture in {printable(path)!r}; give an archive of class folders.")
        advice = f"unpack {printable(path.name)} and give the folder"
        pixels, kept, skipped = stack(names, lambda row: io.BytesIO(read(names[row])), advice, progress)
    return PictureSet(
        name=path.stem,
        names=tuple([names[row] for row in kept]),
        classes=(),
        labels=np.full(len(kept), -1),
        splits=np.full(len(kept), "train", "<U5"),
        pixels=pixels,
        skipped=tuple(skipped),
    )


def _is_hidden(name: str) -> bool:
    """Whether a member is hidden, or belongs to an archiver or a system, as what macOS puts into `__MACOSX`."""
    *folders, file = name.split("/")
    return file.startswith(".") or any(is_system(folder) for folder in folders)
