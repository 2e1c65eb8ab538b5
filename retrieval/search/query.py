"""What a query is before it is asked: picture files found, and vectors made fit for an index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval import images
from retrieval.base.placed_files import Placed
from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.index import Item
from retrieval.index.vectors import directions


@dataclass(frozen=True)
class Question:
    """A query on its way, besides its vector.

    Attributes:
        query: as it was asked. picture: its file. item: itself, where it is in the index. sha256: of its file.
        label: where it is known.
        calibrated: whether its scores are like those of pictures, so that what was calibrated with these holds.
    """

    query: str
    picture: Path | Placed | None = None
    item: Item | None = None
    sha256: str | None = None
    label: str | None = None
    calibrated: bool = True


def picture_files(given: Sequence[str | Path], skipped: list[images.Skipped]) -> list[Path]:
    """Picture files, with each folder replaced by the pictures in it.

    Args:
        given: files and folders.
        skipped: takes in what a folder holds that is no picture to read.
    """
    files: list[Path] = []
    for one in map(Path, given):
        try:
            folder = one.is_dir()
        except OSError:  # reading it will say why
            folder = False
        if not folder:
            files.append(one)
            continue
        found = images.find(one)
        files.extend(one / path for path in found.paths)
        skipped.extend(images.Skipped(f"{printable(one)}/{path}", reason) for path, reason in found.skipped)
    return files


def placed(file: Path) -> Path:
    """Where a file lies, absolute; if it is a link, where the link lies, as an index has it."""
    return file.parent.resolve() / file.name


def unit_rows(vectors: NDArray[Any], dim: int, folder: Path) -> NDArray[np.float32]:
    """Vectors (n, dim) or (dim,), of any real type, as float32 (n, dim), each scaled to unit length.

    Args:
        vectors: these. dim: what the index takes. folder: where it lies, for the message.

    Raises:
        RetrievalError: another shape or type, or a row is zero or not finite.
    """
    rows = vectors[None] if vectors.ndim == 1 else vectors
    if rows.ndim != 2 or rows.shape[1] != dim or rows.dtype.kind not in "fiu":
        raise RetrievalError(
            f"The vectors are {vectors.dtype} of shape {vectors.shape}, and the index "
            f"{printable(folder)!r} takes real numbers of shape (n, {dim}); "
            "make them with the encoder that the index was built with."
        )
    unit, lengths = directions(rows)
    wrong = np.flatnonzero(np.isnan(lengths))
    if len(wrong):
        raise RetrievalError(
            f"Row {wrong[0]} of the vectors is zero or not finite, and so has no direction; leave it out."
        )
    return unit.astype(np.float32)
