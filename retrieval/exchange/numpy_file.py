"""``.npy``: one array of vectors, with a list beside it."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from retrieval.base.npy import mapped
from retrieval.base.progress import bar
from retrieval.exchange.export_rows import Contents
from retrieval.exchange.import_rows import Part, Source, require_rows


def write(contents: Contents, path: Path) -> None:
    """Write all vectors of an index; the caller gives the file a temporary name.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    with path.open("wb") as file, bar(len(contents), "Exporting", "vectors") as progress:
        write_header(file, len(contents), contents)
        for _, rows in contents.blocks():
            file.write(rows.data)
            progress.update(len(rows))


def write_header(file: BinaryIO, n: int, contents: Contents) -> None:
    """Begin an array of `n` vectors of an index; the rows follow as they lie in memory."""
    descr = "|u1" if contents.binary else "<f4"
    header = {"descr": descr, "fortran_order": False, "shape": (n, contents.width)}
    np.lib.format.write_array_header_1_0(file, header)


def read(path: Path) -> Source:
    """The vectors of a file, mapped. One that holds Python objects is refused, not unpickled.

    Raises:
        RetrievalError: it cannot be read, or holds something else.
    """
    return Source([Part(str(path), require_rows(mapped(path), str(path)))])
