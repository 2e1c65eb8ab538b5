"""A segment put together of rows that lie in files of the index's folder, by whichever process has that at hand.

So the vectors of a build on many machines need not come to the one that commits them: it says which rows, in which
order and under which ids, and somebody else copies them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from retrieval.index.records import SegmentRecord
from retrieval.index.segments import Segment, columns, write_segment


class StoredRow(NamedTuple):
    """Where a vector lies.

    Attributes:
        record: its file, a segment or a part.
        row: of that.
    """

    record: SegmentRecord
    row: int


@dataclass(frozen=True)
class Gathering:
    """What a new segment is to hold. It is plain values, so that it can be sent to another machine.

    Attributes:
        folder: of the index, as every machine calls it.
        dim: how many numbers a vector has, or bits a code.
        storage: what vectors are kept as.
        merged: segments whose rows come first, but for those of removed ids.
        removed: int64, ascending.
        first: the id of the first new row; the others count on.
        runs: the new rows, in order: a file and int64 rows of it each.
    """

    folder: Path
    dim: int
    storage: str
    merged: tuple[SegmentRecord, ...]
    removed: npt.NDArray[np.int64]
    first: int
    runs: tuple[tuple[SegmentRecord, npt.NDArray[np.int64]], ...]

    @classmethod
    def of(
        cls,
        folder: Path,
        dim: int,
        storage: str,
        rows: Sequence[StoredRow],
        first: int,
        merged: Sequence[SegmentRecord],
        removed: npt.NDArray[np.int64],
    ) -> Gathering:
        """That of single rows, those of one file that follow each other taken together."""
        runs = tuple(
            (record, np.array([one.row for one in some], np.int64))
            for record, some in groupby(rows, lambda one: one[0])
        )
        return cls(folder, dim, storage, tuple(merged), removed, first, runs)

    def write(self) -> SegmentRecord:
        """Write it, as a part; only some megabytes are in memory at a time.

        Raises:
            RetrievalError: a file is damaged or gone, or the disk is full.
        """
        old = [Segment(self.folder, record, self.dim, self.storage) for record in self.merged]
        count = sum(len(segment.live(self.removed)) for segment in old) + sum(len(rows) for _, rows in self.runs)
        width = columns(self.dim, self.storage)
        return write_segment(self.folder, None, self._blocks(old), count, width, self.storage)

    def _blocks(self, old: Sequence[Segment]) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[Any]]]:
        for segment in old:
            yield from segment.live_blocks(self.removed)
        number = self.first
        for record, rows in self.runs:
            for _, vectors in Segment(self.folder, record, self.dim, self.storage).blocks(rows):
                yield np.arange(number, number + len(vectors), dtype=np.int64), vectors
                number += len(vectors)
