"""Vectors from elsewhere, and as an index takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.exchange.lists import Record
from retrieval.index.vectors import UNIT_TOLERANCE, directions

BLOCK_BYTES = 1 << 25
"""Bytes of float32 vectors that are in memory at a time, and that become one segment of an index."""

BLOCK_ROWS = 1 << 16
"""Vectors that are in memory at a time, as each brings a record."""


@dataclass(frozen=True)
class Part:
    """One array of vectors, and what they belong to.

    Attributes:
        name: the file, for messages.
        vectors: (n, d), sliceable by rows; mapped, not in memory.
        ids: int64 (n,), where the file has its own.
        list_name: the file with the records.
        records: opens that, one record a vector in their order; None where there is no list.
    """

    name: str
    vectors: Any
    ids: npt.NDArray[np.int64] | None = None
    list_name: str | None = None
    records: Callable[[], Iterator[Record]] | None = None


@dataclass(frozen=True)
class Source:
    """What an import reads.

    Attributes:
        parts: at least one, whose vectors have one width and one type.
        distance: what its vectors are compared by ("angular", "inner product", "euclidean", ...), where the file says
            so.
        binary: whether the rows are packed codes, eight bits a byte.
        note: what a person should know about it.
    """

    parts: Sequence[Part]
    distance: str | None = None
    binary: bool = False
    note: str | None = None

    @property
    def dim(self) -> int:
        """Numbers in a vector, or bits in a code."""
        return int(self.parts[0].vectors.shape[1]) * (8 if self.binary else 1)

    def __len__(self) -> int:
        return sum(len(part.vectors) for part in self.parts)


class Unit(NamedTuple):
    """Rows as an index takes them.

    Attributes:
        vectors: float32 (n, d); those not `usable` are anything.
        usable: bool (n,), false where a row is zero or not finite and so has no direction.
        scaled: how many had another length than 1 and were scaled.
    """

    vectors: npt.NDArray[np.float32]
    usable: npt.NDArray[np.bool_]
    scaled: int


def unit(rows: npt.NDArray[Any]) -> Unit:
    """Scale rows (n, d) to unit length.

    Rows of float32 that an index would take as they are stay as they are, to the last bit. All others are scaled in
    float64 and rounded once, even if they are nearly of unit length, as those of float16 are.
    """
    wide, length = directions(rows)
    usable = ~np.isnan(length)
    off = ~(np.abs(length - 1) <= UNIT_TOLERANCE)
    vectors = wide.astype(np.float32)
    if rows.dtype == np.float32:
        vectors[~off] = rows[~off]
    return Unit(vectors, usable, int(np.count_nonzero(off & usable)))


def require_rows(vectors: Any, name: str) -> Any:
    """An array, if it is real numbers of shape (n, d), d at least 1.

    Raises:
        RetrievalError: it is something else.
    """
    if vectors.ndim != 2 or vectors.shape[1] < 1 or vectors.dtype.kind not in "fiu" or vectors.dtype.itemsize > 8:
        raise RetrievalError(
            f"{printable(name)!r} holds {vectors.dtype} of shape {tuple(vectors.shape)} where vectors are real numbers "
            "of shape (n, d); save them so."
        )
    return vectors


def blocks(n: int, width: int) -> Iterator[slice]:
    """The rows of an array (n, width), block by block."""
    step = max(1, min(BLOCK_ROWS, BLOCK_BYTES // (4 * width)))
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))
