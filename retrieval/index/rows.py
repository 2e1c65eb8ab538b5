"""The vectors of an index as rows, numbered over all its segments, in memory or where they lie on the disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from retrieval.errors import RetrievalError
from retrieval.index.segments import Segment

if TYPE_CHECKING:
    from retrieval.index.nearest.exact import Allowed

Vectors = npt.NDArray[Any]
Ids = npt.NDArray[np.int64]

_BLOCK = 1 << 22
"""Numbers that are converted at a time where vectors are kept as float16 on the disk: 16 MB."""


class Returnable(NamedTuple):
    """Which rows a search may return.

    Attributes:
        mask: bool (n,).
        rows: how many they are.
        pieces: by the first row of a piece of :meth:`Rows.pieces`, the same of that piece; None for all of it. Made as
            searches need them.
    """

    mask: npt.NDArray[np.bool_]
    rows: int
    pieces: dict[int, Allowed | None]


class Rows:
    """Rows in ascending order of their ids.

    Attributes:
        ids: int64 (n,).
        arrays: the vectors in some pieces, in the same order, each C-contiguous (m, width).
    """

    def __init__(self, ids: Sequence[Ids], arrays: Sequence[Vectors], width: int) -> None:
        self.arrays = tuple(arrays)
        self.ids: Ids = np.concatenate([np.empty(0, np.int64), *ids])
        self._starts = np.concatenate([[0], np.cumsum([len(array) for array in arrays], dtype=np.int64)])
        self._width = width
        if (np.diff(self.ids) <= 0).any():
            raise RetrievalError(
                "The segments hold ids that do not ascend from one to the next; bring the index back from a copy."
            )

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def mapped(cls, segments: Sequence[Segment], width: int) -> Rows:
        """Rows that are read from the disk when they are looked at."""
        both = [segment.read(full=False) for segment in segments]
        return cls([ids for ids, _ in both], [vectors for _, vectors in both], width)

    @classmethod
    def loaded(cls, segments: Sequence[Segment], width: int, removed: Ids, before: Rows | None = None) -> Rows:
        """Rows in memory, floats as float32, checked against their checksums.

        Args:
            segments: where they lie.
            width: numbers in a row.
            removed: ids to leave out, ascending.
            before: those that are in memory already; what is added comes after them.
        """
        last = before.ids[-1] if before is not None and len(before) else -1
        parts = []
        for segment in segments:
            ids, vectors = segment.read(full=True)
            if ids[-1] > last:
                keep = ids > last
                if len(removed):
                    keep &= ~np.isin(ids, removed, assume_unique=True)
                parts.append((ids, vectors, keep))
        dtype = np.uint8 if parts and parts[0][1].dtype == np.uint8 else np.float32
        out = np.empty((sum(int(keep.sum()) for *_, keep in parts), width), dtype)
        start = 0
        for _, vectors, keep in parts:
            end = start + int(keep.sum())
            out[start:end] = vectors if keep.all() else vectors[keep]
            start = end
        kept = [ids[keep] for ids, _, keep in parts]
        arrays: list[Vectors] = [out] if len(out) else []
        if before is not None:
            kept, arrays = [before.ids, *kept], [*before.arrays, *arrays]
        return cls(kept, arrays, width)

    def hold(self, vectors: Vectors) -> None:
        """Keep somebody else's vectors in place of the own, where they are the same to the last bit: once in memory is
        enough.

        Args:
            vectors: float32 (m, width), C-contiguous, that nobody changes.
        """
        if len(self.arrays) != 1 or vectors.shape != self.arrays[0].shape or vectors.dtype != self.arrays[0].dtype:
            return
        step = max(1, _BLOCK // self._width)
        blocks = [slice(start, start + step) for start in range(0, len(vectors), step)]
        if all(np.array_equal(vectors[block], self.arrays[0][block]) for block in blocks):
            self.arrays = (vectors,)

    def at(self, ids: Ids) -> Ids:
        """The row of each id (m,), −1 where there is none."""
        if not len(self.ids):
            return np.full(len(ids), -1, np.int64)
        rows = self.ids.searchsorted(ids)
        there = self.ids.take(rows, mode="clip") == ids
        return rows if there.all() else np.where(there, rows, -1)

    def gather(self, rows: Ids) -> Vectors:
        """The vectors (m, width) of these row numbers; floats as float32."""
        if len(self.arrays) == 1:
            vectors = self.arrays[0].take(rows, axis=0)  # a third of the time of indexing, for a few
            return vectors.astype(np.float32) if vectors.dtype == np.float16 else vectors
        dtype = np.uint8 if self.arrays and self.arrays[0].dtype == np.uint8 else np.float32
        out = np.empty((len(rows), self._width), dtype)
        owner = np.searchsorted(self._starts, rows, side="right") - 1
        for piece in sorted({*owner.tolist()}):
            mine = np.flatnonzero(owner == piece)
            out[mine] = self.arrays[piece][rows[mine] - self._starts[piece]]
        return out

    def pieces(self, first: int = 0) -> Iterator[tuple[slice, Vectors]]:
        """All vectors from a row on, in order: which rows, and the vectors, floats as float32 and C-contiguous."""
        for start, array in zip(self._starts, self.arrays, strict=False):
            begin = max(0, first - int(start))
            step = max(1, _BLOCK // self._width) if array.dtype == np.float16 else max(1, len(array))
            for low in range(begin, len(array), step):
                some = array[low : low + step]
                yield (
                    slice(int(start) + low, int(start) + low + len(some)),
                    some.astype(np.float32) if some.dtype == np.float16 else some,
                )
