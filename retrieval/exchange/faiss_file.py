"""FAISS files: ids and vectors, or the structure that makes an index fast."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.base.progress import bar
from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.exchange.export_rows import Contents, Ids
from retrieval.exchange.import_rows import Part, Source, require_rows


def write(contents: Contents, path: Path) -> None:
    """Write all vectors of an index under their ids; the caller gives the file a temporary name.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    from retrieval.index.nearest.faiss_exchange import write_flat

    def blocks() -> Iterator[tuple[npt.NDArray[Any], Ids]]:
        with bar(len(contents), "Exporting", "vectors") as progress:
            for ids, rows in contents.blocks():
                yield rows, ids
                progress.update(len(rows))

    write_flat(path, contents.index.dim, blocks(), binary=contents.binary)


def read(path: Path) -> Source:
    """The vectors of any FAISS index that can give them back, as a process beside this one reads them.

    Raises:
        RetrievalError: it cannot be read, is damaged, or gives no vectors back.
    """
    from retrieval.index.nearest.faiss_exchange import read_vectors

    found = read_vectors(path)
    values, counts = np.unique(found.ids, return_counts=True)
    if len(values) < len(found.ids):
        twice = int(values[np.argmax(counts)])
        raise RetrievalError(f"{printable(path)!r} has the id {twice} {counts.max()} times; give each vector its own.")
    vectors = require_rows(found.vectors, str(path))
    binary = vectors.dtype == np.uint8
    note, distance = None, None if binary else found.distance
    if not found.exact:
        note = f"{found.kind} keeps only something near the vectors that it was given"
        if distance == "euclidean":  # and so nobody can say of what length they were
            note += "; if those were not of unit length, an index, which compares by the angle, ranks them otherwise"
            distance = None
    return Source([Part(str(path), vectors, found.ids)], distance, binary, note)
