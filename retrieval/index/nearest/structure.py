"""What a structure for fast search promises."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]


class Structure(Protocol):
    """What names about the nearest of unit vectors, by the positions that these had when it was built.

    Attributes:
        factory: what it is.
        dim: numbers in a vector.
    """

    factory: str
    dim: int

    def __len__(self) -> int: ...

    def candidates(self, queries: Floats, count: int, parameters: Mapping[str, int]) -> Positions:
        """About the `count` nearest of each query (nq, d): int64 (nq, count), −1 where fewer were found."""
        ...

    def write(self, path: Path) -> None:
        """Write it durably."""
        ...

    def bytes(self) -> int:
        """About how much memory it takes."""
        ...
