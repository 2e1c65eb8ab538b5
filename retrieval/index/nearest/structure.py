"""What a structure for fast search promises."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from retrieval.errors import RetrievalError

Floats = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64] | npt.NDArray[np.uint32]
"""int64 wherever some are missing."""


class Structure(Protocol):
    """What names about the nearest of unit vectors, by the positions that these had when it was built.

    Attributes:
        factory: what it is.
        dim: numbers in a vector.
        vectors: float32 (n, dim), C-contiguous: those that it was built from, where it keeps them so; None elsewhere.
            They outlive the structure.
    """

    factory: str
    dim: int
    vectors: Floats | None

    @classmethod
    def build(cls, factory: str, vectors: Floats, *, seed: int, progress: Any) -> Self:
        """Build one.

        Args:
            factory: what.
            vectors: (n, d), unit rows.
            seed: the same structure comes of the same seed, where its library has one.
            progress: whose ``update`` is called with the vectors added since the last call; None for nobody.

        Raises:
            RetrievalError: there is no such structure, or none of these vectors, or its library is not installed.
        """
        ...

    @classmethod
    def read(cls, factory: str, path: Path, dim: int, items: int, *, mapped: bool) -> Self:
        """Read what :meth:`write` wrote, and whose checksum has been compared.

        Args:
            factory: what it should be.
            path: the file.
            dim: numbers in a vector.
            items: how many vectors it should hold.
            mapped: leave what is large on the disk, if its library can.

        Raises:
            DamagedFileError: it is not what it should be.
            RetrievalError: its library is not installed.
        """
        ...

    @staticmethod
    def efforts(factory: str, n: int) -> list[dict[str, int]]:
        """Search parameters over n vectors, from cheap to thorough."""
        ...

    def __len__(self) -> int: ...

    def candidates(self, queries: Floats, count: int, parameters: Mapping[str, int]) -> Positions:
        """About the `count` nearest of each query (nq, d): (nq, count), C-contiguous, about the nearest first, −1 where
        fewer were found."""
        ...

    def write(self, path: Path) -> None:
        """Write it durably."""
        ...

    def bytes(self) -> int:
        """About how much memory it takes."""
        ...


def finite(vectors: Floats) -> Floats:
    """The vectors, C-contiguous.

    Raises:
        RetrievalError: one holds numbers that are infinite or none.
    """
    if not np.isfinite(vectors).all():
        raise RetrievalError("A vector holds numbers that are infinite or none; encode its picture again.")
    return np.ascontiguousarray(vectors)
