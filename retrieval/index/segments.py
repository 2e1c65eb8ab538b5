"""Segments: immutable HDF5 files that hold the vectors.

A segment has two datasets, ``vectors`` (n × d; float32, float16, or uint8 for binary codes) and ``ids`` (int64, n,
ascending), uncompressed and in one piece each, so that rows can be read where they lie. It is written once and never
changed; small ones are merged into larger ones as they gather.
"""

from __future__ import annotations

import contextlib
import math
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.base.files import TEMPORARY, InOrder, name_durably
from retrieval.base.hdf5 import make_room, reason_of, write_at
from retrieval.base.open_file import DamagedFileError, OpenFile
from retrieval.errors import RetrievalError
from retrieval.index.records import SegmentRecord

FOLDER = "segments"
FORMAT = "retrieval-segment"
VERSION = 2

STORAGES = {"float32": "<f4", "float16": "<f2", "binary": "|u1"}
"""What vectors can be kept as, and HDF5's name for it."""

FULL_CHECK = 1 << 30
"""Bytes up to which a segment's checksum is compared even if only a few of its rows are wanted: some tenths of a
second at most. Larger ones are then checked by their size (and HDF5's own checksums of its headers), and in full by
``retrieval verify``; a search that copies them to memory checks them in full, too."""

FANOUT = 16
"""Segments of about one size that are merged into the next one: see :func:`to_merge`."""

PART = ".part"
"""How the name of a file ends that another process wrote for the writer, who alone makes a segment of it."""

_COPIED = 1 << 23
"""Bytes of vectors that are copied at a time from an old segment to a new one."""


def file_name(number: int) -> str:
    """Where segment ``number`` lies, relative to the index folder."""
    return f"{FOLDER}/{number:08d}.h5"


def columns(dim: int, storage: str) -> int:
    """How many numbers a row of a segment has: a byte holds eight bits of a binary code."""
    return dim // 8 if storage == "binary" else dim


def to_merge(records: Sequence[SegmentRecord], rows: int) -> list[SegmentRecord]:
    """The segments that a new one of so many rows should take in, so that their number stays small.

    Sizes fall into classes, each :data:`FANOUT` times the last. Where the youngest segments are as many of one class
    (or smaller), they become one. So n rows added one at a time make at most ``15 · log16(n)`` segments, and each row
    is written at most ``log16(n)`` times (the log-structured merge tree of O'Neil et al. 1996, in its tiered form).
    """
    merged: list[SegmentRecord] = []
    while True:
        size = max(rows, 1)
        rest = records[: len(records) - len(merged)]
        run = 0
        while run < len(rest) and _tier(rest[-1 - run].rows) <= _tier(size):
            run += 1
        if run < FANOUT - 1:
            return merged
        taken = list(rest[len(rest) - run :])
        merged = taken + merged
        rows += sum(record.rows for record in taken)


def _tier(rows: int) -> int:
    return (rows.bit_length() - 1) // 4  # powers of 16


def write_segment(
    folder: Path,
    number: int | None,
    blocks: Iterable[tuple[npt.NDArray[np.int64], npt.NDArray[Any]]],
    rows: int,
    width: int,
    storage: str,
) -> SegmentRecord:
    """Write segment ``number`` of an index folder, durably; or a part, under a name that nobody else gives.

    Args:
        folder: the index folder.
        number: of the segment; None for a part, which any process may write, and the writer takes.
        blocks: ids (m,) and vectors (m, width), one after the other; only one is in memory at a time.
        rows: how many there are in all.
        width: numbers in a row.
        storage: a key of :data:`STORAGES`.

    Returns:
        The record to commit in the catalog, of a part the one for :func:`take_part`; until then the file belongs to
        nothing, and the next writer removes it.

    Raises:
        RetrievalError: the disk is full, or the folder cannot be written.
    """
    name = f"{FOLDER}/{uuid.uuid4().hex}{PART}" if number is None else file_name(number)
    path = folder / name
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        # "v110": headers carry checksums of their own.
        at_vectors, at_ids = make_room(
            temporary,
            {"vectors": ((rows, width), STORAGES[storage]), "ids": ((rows,), "<i8")},
            {"format": FORMAT, "version": VERSION},
            libver="v110",
        )
        # Plain writes into the room that HDF5 has made: a full disk is then an ordinary OSError at one place, and
        # blocks need not fit into memory together. The vectors, most of the file, are not read once more for its
        # checksum, unless a few ids lie before them.
        with temporary.open("r+b") as file:
            summed, before = InOrder(file), at_vectors < at_ids
            for ids, vectors in blocks:
                at_ids = write_at(file, at_ids, ids.astype("<i8", copy=False))
                stored = np.ascontiguousarray(vectors, STORAGES[storage])
                if before:
                    summed.take(at_vectors, stored.data)
                at_vectors = write_at(file, at_vectors, stored)
            record = SegmentRecord(
                -1 if number is None else number, name, rows, temporary.stat().st_size, summed.finish()
            )
    except (OSError, RuntimeError) as error:  # RuntimeError: HDF5, when it cannot even make room
        _discard(temporary)
        raise RetrievalError(
            f"{str(path)!r} cannot be written ({reason_of(error)}); make room, or allow writing there."
        ) from error
    except BaseException:
        _discard(temporary)
        raise
    name_durably(temporary, path)
    return record


def take_part(folder: Path, part: SegmentRecord, number: int) -> SegmentRecord:
    """Make a part segment ``number``; the record to commit in the catalog.

    Raises:
        RetrievalError: it is gone, or the folder cannot be written.
    """
    name = file_name(number)
    name_durably(folder / part.file, folder / name)
    return SegmentRecord(number, name, part.rows, part.size, part.checksum)


def _discard(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


class Segment:
    """One segment file, open: it can be read even after a writer has merged it away and deleted it.

    Args:
        folder: the index folder.
        record: what the catalog knows of it.
        dim: how many numbers a vector has.
        storage: a key of :data:`STORAGES`.
    """

    def __init__(self, folder: Path, record: SegmentRecord, dim: int, storage: str) -> None:
        self.record = record
        self._width = columns(dim, storage)
        self._dtype = np.dtype(STORAGES[storage])
        self.file = OpenFile(folder / record.file)
        self._checked = False
        self._offset: int | None = None  # of the vectors in the file, where they lie in one piece
        self._mapped: tuple[npt.NDArray[np.int64], npt.NDArray[Any]] | None = None

    def read(self, *, full: bool) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
        """Ids (n,), ascending, and vectors (n, width) where they lie in the file.

        Args:
            full: compare the checksum of all of it, however large it is.

        Raises:
            DamagedFileError: it is missing, or not what the catalog says.
        """
        full = full or self.record.size <= FULL_CHECK
        mapped = self._mapped  # which another thread may let go meanwhile
        if mapped is None or (full and not self._checked):
            if not self._checked:
                self.file.check(self.record.size, self.record.checksum, full=full)
            if mapped is None:
                self._mapped = mapped = self._parse()
            if full and not self._checked:
                self._require_numbers(mapped[1])
            self._checked = self._checked or full
        return mapped

    def let_go(self) -> None:
        """Forget where its rows lie, for who has copied them: what was looked at of the file counts as memory as long
        as it is mapped. Whoever reads it again finds it again."""
        self._mapped = None

    def _require_numbers(self, vectors: npt.NDArray[Any]) -> None:
        """Unit vectors add up to a number; with one that is not finite among them they do not."""
        if vectors.dtype.kind == "f":
            with np.errstate(invalid="ignore", over="ignore"):
                total = vectors.sum(dtype=np.float32)
            if not np.isfinite(total):
                raise DamagedFileError(self.file.path, "holds numbers that are not finite")

    def live(self, removed: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
        """Which of its rows are not among the removed ids."""
        return np.flatnonzero(~np.isin(self.read(full=False)[0], removed, assume_unique=True))

    def live_blocks(self, removed: npt.NDArray[np.int64]) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[Any]]]:
        """Ids and vectors of those rows, some at a time. What was not compared with its checksum before is compared on
        the way, so that a large file is read once: nothing made of the blocks counts before the last one has come.

        Raises:
            DamagedFileError: as :meth:`read`; also at the end.
        """
        ids, vectors = self.read(full=False)
        live = np.zeros(len(ids), np.bool_)
        live[self.live(removed)] = True
        step = max(1, _COPIED // (vectors.shape[1] * vectors.itemsize))
        with contextlib.ExitStack() as opened:
            summed = None
            if not self._checked and self._offset is not None:
                summed = InOrder(opened.enter_context(self.file.reader()))
            elif not self._checked:
                self.read(full=True)
            for start in range(0, len(ids), step):
                block, some = vectors[start : start + step], live[start : start + step]
                if summed is not None and self._offset is not None:
                    summed.take(self._offset + start * block.strides[0], block.data)
                    self._require_numbers(block)
                if some.all():
                    yield ids[start : start + step], block  # where they lie, without a copy
                elif some.any():
                    yield ids[start : start + step][some], block[some]
            if summed is not None:
                self.file.require(summed.finish(), self.record.checksum)
                self._checked = True

    def blocks(self, rows: npt.NDArray[np.intp]) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[Any]]]:
        """Ids and vectors of these rows, in their order, some at a time."""
        ids, vectors = self.read(full=True)
        step = max(1, _COPIED // (vectors.shape[1] * vectors.itemsize))
        for start in range(0, len(rows), step):
            some = rows[start : start + step]
            # One after the other they are taken where they lie, without a copy.
            whole = int(some[-1] - some[0]) == len(some) - 1 and bool((np.diff(some) == 1).all())
            part = slice(some[0], some[-1] + 1) if whole else some
            yield ids[part], vectors[part]

    def _parse(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
        import h5py

        path, shape = self.file.path, (self.record.rows, self._width)
        try:
            with (
                self.file.reader() as raw,
                h5py.File(raw, "r", locking=False) as file,  # HDF5's own locks fail on read-only disks
            ):
                dataset, numbers = file["vectors"], file["ids"]
                for part in (dataset, numbers):
                    how = part.id.get_create_plist() if isinstance(part, h5py.Dataset) else None
                    # What lies in another file is not ours to read, and HDF5 crashes on some of it.
                    if how is None or how.get_layout() == h5py.h5d.VIRTUAL or how.get_external_count():
                        raise DamagedFileError(path, f"does not hold {part.name[1:]!r} itself")
                if math.prod(shape) * self._dtype.itemsize + 8 * shape[0] > self.record.size:
                    raise DamagedFileError(path, f"has no room for the {shape[0]:,} vectors that it is said to hold")
                if dataset.shape != shape or dataset.dtype != self._dtype or numbers.shape != shape[:1]:
                    raise DamagedFileError(
                        path,
                        f"holds vectors {dataset.shape} of {dataset.dtype} where the catalog says {shape} of "
                        f"{self._dtype}",
                    )
                ids: Any = numbers[:]
                offset = dataset.id.get_offset()
                self._offset = offset
                vectors: Any = dataset[:] if offset is None else None  # a foreign writer's chunked dataset
            if vectors is None:
                with self.file.reader() as raw:
                    # A plain view of the map: every operation on a numpy.memmap makes another one.
                    vectors = np.asarray(np.memmap(raw, self._dtype, "r", offset, shape))
        except (OSError, KeyError, RuntimeError, ValueError, TypeError, MemoryError) as error:
            reason = " ".join(str(error).split())
            raise DamagedFileError(path, f"is not a segment that can be read ({reason})") from error
        if ids.dtype.kind != "i" or (np.diff(ids) <= 0).any():
            raise DamagedFileError(path, "holds ids that do not ascend")
        return np.ascontiguousarray(ids, dtype=np.int64), vectors
