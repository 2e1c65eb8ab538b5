"""``.fvecs``, the format of the TEXMEX sets: each row is its length as a little-endian int32, then float32 numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.base.progress import bar
from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.exchange.export_rows import Contents
from retrieval.exchange.import_rows import BLOCK_BYTES, Part, Source


def write(contents: Contents, path: Path) -> None:
    """Write all vectors of an index; the caller gives the file a temporary name.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    with path.open("wb") as file, bar(len(contents), "Exporting", "vectors") as progress:
        for _, rows in contents.blocks():
            out = np.empty((len(rows), contents.width + 1), "<f4")
            out[:, :1].view("<i4")[:] = contents.width
            out[:, 1:] = rows
            file.write(out.data)
            progress.update(len(rows))


def read(path: Path) -> Source:
    """The vectors of a file, mapped.

    Raises:
        RetrievalError: it cannot be read, its size is no multiple of a row's, or rows differ in length.
    """
    name = printable(path)
    try:
        size = path.stat().st_size
        words: Any = np.memmap(path, "<i4", "r", shape=(size // 4,)) if size >= 4 else np.empty(0, "<i4")
    except (OSError, ValueError) as error:
        raise RetrievalError(f"{name!r} cannot be read ({getattr(error, 'strerror', None) or error}).") from None
    dim = int(words[0]) if len(words) else 0
    if dim < 1 or size % (4 * (dim + 1)):
        raise RetrievalError(
            f"{name!r} is no .fvecs file or is cut off, as {size:,} bytes are no rows of {dim:,} numbers; copy it anew."
        )
    table = words.reshape(-1, dim + 1)
    step = max(1, BLOCK_BYTES // (4 * (dim + 1)))
    for start in range(0, len(table), step):
        wrong: npt.NDArray[np.intp] = np.flatnonzero(table[start : start + step, 0] != dim)
        if len(wrong):
            row = start + int(wrong[0])
            raise RetrievalError(
                f"{name!r} is damaged: row {row:,} says it has {int(table[row, 0]):,} numbers where the first has "
                f"{dim:,}; copy it anew."
            )
    return Source([Part(str(path), table[:, 1:].view("<f4"))])
