"""Segments made of rows that lie in files already, by whichever process has the folder at hand.

So the vectors of a build on many machines need not come to the one that commits them: it says which rows, in which
order and under which ids, and somebody else copies them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from retrieval.base.machine import cores
from retrieval.base.threads import in_order
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


@dataclass(frozen=True)
class MappedSegment:
    """A segment of one index that is to be one of another, with other vectors. It is plain values, too.

    Attributes:
        source: the folder of the one index. record: the segment. dim, storage: of that index.
        removed: ids, int64, ascending, that do not come along.
        folder: of the other index. width: numbers in a row of it. kept_as: its storage.
        rows: how many come along.
    """

    source: Path
    record: SegmentRecord
    dim: int
    storage: str
    removed: npt.NDArray[np.int64]
    folder: Path
    width: int
    kept_as: str
    rows: int

    def write(self, make: Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]], threads: int | None) -> SegmentRecord:
        """Write it, as a part; memory is bounded.

        Args:
            make: what turns some rows, as they are stored, into the other's; asked by several threads at a time.
            threads: how many; as many as there are cores by default.

        Raises:
            RetrievalError: the segment is damaged, or the disk is full.
        """
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped,unused-ignore]

        old = Segment(self.source, self.record, self.dim, self.storage).live_blocks(self.removed)
        blocks = in_order(lambda block: (block[0], make(block[1])), old, threads or cores())
        with threadpool_limits(1, user_api="blas"):  # each block has a core of its own
            return write_segment(self.folder, None, blocks, self.rows, self.width, self.kept_as)
