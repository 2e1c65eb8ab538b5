"""Distractors: vectors of a file that are looked through and right for nobody, left on the disk."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.evaluation.vector_files import rows_of
from retrieval.exchange.import_rows import blocks, unit
from retrieval.measures.streaming import hashes


class DistractorFile:
    """A file of vectors, ``.npy`` or HDF5, as :class:`retrieval.measures.streaming.Distractors`.

    Raises:
        RetrievalError: it cannot be read, or holds something else.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows = rows_of(path)
        self.shape: tuple[int, int] = self._rows.shape
        self._as_they_are = False

    @cached_property
    def hashes(self) -> npt.NDArray[np.void]:
        """Of each vector. While they are looked through, it is seen whether any has to be scaled.

        Raises:
            RetrievalError: one of them is zero or not finite.
        """
        found, scaled = [], 0
        for part in blocks(*self.shape):
            vectors, count = self._unit(part)
            found.append(hashes(vectors))
            scaled += count
        self._as_they_are = not scaled and self._rows.dtype == np.float32
        return np.concatenate(found)

    def __getitem__(self, part: slice) -> npt.NDArray[np.float32]:
        """Some of the vectors at unit length, as in :attr:`hashes`."""
        return np.asarray(self._rows[part]) if self._as_they_are else self._unit(part)[0]

    def _unit(self, part: slice) -> tuple[npt.NDArray[np.float32], int]:
        """Some of the vectors at unit length, and how many had another."""
        block = unit(self._rows[part])
        if not block.usable.all():
            raise RetrievalError(
                f"row {part.start + int(np.argmin(block.usable))} of {printable(self._path)!r} is zero or not finite: "
                "leave it out"
            )
        return block.vectors, block.scaled
