"""Distractors: vectors of a file that are looked through and right for nobody, left on the disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.evaluation.vector_files import rows_of
from retrieval.exchange.import_rows import unit


class DistractorFile:
    """A file of vectors, ``.npy`` or HDF5, as :class:`retrieval.measures.streaming.Distractors`.

    Raises:
        RetrievalError: it cannot be read, or holds something else.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows = rows_of(path)
        self.shape: tuple[int, int] = self._rows.shape

    def __getitem__(self, part: slice) -> npt.NDArray[np.float32]:
        """Some of the vectors at unit length.

        Raises:
            RetrievalError: one of them is zero or not finite.
        """
        block = unit(self._rows[part])
        if not block.usable.all():
            raise RetrievalError(
                f"row {part.start + int(np.argmin(block.usable))} of {printable(self._path)!r} is zero or not finite: "
                "leave it out"
            )
        return block.vectors
