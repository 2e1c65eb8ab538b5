"""Segments: immutable HDF5 files that hold the vectors.

A segment has two datasets, ``vectors`` (float32, n × d) and ``ids`` (int64, n, ascending), uncompressed and
in one piece each, so that rows can be read where they lie. It is written once and never changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.files import write_durably
from retrieval.index.damage import DamagedFileError, check
from retrieval.index.records import SegmentRecord

FOLDER = "segments"
FORMAT = "retrieval-segment"
VERSION = 1

FULL_CHECK = 1 << 26
"""Bytes up to which a segment's checksum is compared even if only a few of its rows are wanted.

Hashing runs at 0.5 to 1 GB/s, so this is a tenth of a second at most. Larger ones are then checked by their
size (and HDF5's own checksums of its headers); a search that reads them whole checks them whole.
"""


def file_name(number: int) -> str:
    """Where segment ``number`` lies, relative to the index folder."""
    return f"{FOLDER}/{number:08d}.h5"


def write_segment(
    folder: Path, number: int, vectors: npt.NDArray[np.float32], ids: npt.NDArray[np.int64]
) -> SegmentRecord:
    """Write vectors (n, d) and their ids (n,) as segment ``number`` of an index folder, durably.

    Returns:
        The record to commit in the catalog; until then the file belongs to nothing.
    """
    import h5py

    # Made in memory: a full disk is then an ordinary OSError at one place, and not HDF5's at any.
    # "v110": headers carry checksums of their own.
    with h5py.File("segment", "w", driver="core", backing_store=False, libver="v110") as file:
        file.attrs["format"] = FORMAT
        file.attrs["version"] = VERSION
        file.create_dataset("vectors", data=vectors, dtype="<f4")
        file.create_dataset("ids", data=ids, dtype="<i8")
        file.flush()
        image = file.id.get_file_image()
    name = file_name(number)
    write_durably(folder / name, image)
    return SegmentRecord(number, name, len(ids), len(image), hashlib.sha256(image).hexdigest())


class Segments:
    """The vectors of an index, read from its segments.

    Rows are memory-mapped where only some are wanted, and copied to memory where all are.

    Args:
        folder: the index folder.
        records: its segments, in ascending order of their ids.
        dim: how many numbers a vector has.
    """

    def __init__(self, folder: Path, records: Sequence[SegmentRecord], dim: int) -> None:
        self._folder = folder
        self._records = tuple(records)
        self._dim = dim
        self._checked: set[int] = set()
        self._firsts: npt.NDArray[np.int64] | None = None  # each segment's lowest id; segments ascend
        self._open: dict[int, tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]] = {}

    def load(
        self, removed: npt.NDArray[np.int64], after: int = -1
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Everything above an id, in memory, checked against its checksums.

        Args:
            removed: ids to leave out, ascending.
            after: only items whose id is above this one.

        Returns:
            ids (n,) ascending, and vectors (n, d), C-contiguous.

        Raises:
            DamagedFileError: a segment is missing or not what the catalog says.
        """
        parts = []
        for number, record in enumerate(self._records):
            ids, vectors = self._read(number, full=True)
            if record.rows and ids[-1] > after:
                keep = ids > after
                if len(removed):
                    keep &= ~np.isin(ids, removed, assume_unique=True)
                parts.append((ids, vectors) if keep.all() else (ids[keep], vectors[keep]))
        if not parts:
            return np.empty(0, np.int64), np.empty((0, self._dim), np.float32)
        return np.concatenate([ids for ids, _ in parts]), np.concatenate([vectors for _, vectors in parts])

    def rows(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """The vectors (n, d) of these ids (n,), in any order, each of which must be in some segment.

        Raises:
            DamagedFileError: a segment is missing, not what the catalog says, or lacks an id.
        """
        out = np.empty((len(ids), self._dim), np.float32)
        if not len(ids):
            return out
        if self._firsts is None:
            firsts = [self._read(number, full=False)[0][0] for number in range(len(self._records))]
            self._firsts = np.array(firsts, np.int64)
        owner = np.searchsorted(self._firsts, ids, side="right") - 1
        if owner.min() < 0:
            raise DamagedFileError(self._folder, "has items in its catalog that no segment holds")
        for number in np.unique(owner):
            held, vectors = self._read(int(number), full=False)
            mine = np.flatnonzero(owner == number)
            rows = np.searchsorted(held, ids[mine])
            if rows.max() >= len(held) or (held[rows] != ids[mine]).any():
                raise DamagedFileError(self._folder, "has items in its catalog that no segment holds")
            out[mine] = vectors[rows]
        return out

    def _read(self, number: int, *, full: bool) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        record = self._records[number]
        full = full or record.size <= FULL_CHECK
        if number not in self._open or (full and number not in self._checked):
            check(self._folder / record.file, record.size, record.sha256, full=full)
            if full:
                self._checked.add(number)
        if number not in self._open:
            self._open[number] = self._parse(record)
        return self._open[number]

    def _parse(self, record: SegmentRecord) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        import h5py

        path = self._folder / record.file
        try:
            with h5py.File(path, "r", locking=False) as file:  # HDF5's own locks fail on read-only disks
                ids: Any = file["ids"][:]
                dataset = file["vectors"]
                shape, dtype, offset = dataset.shape, dataset.dtype, dataset.id.get_offset()
                if shape != (record.rows, self._dim) or dtype != "<f4" or ids.shape != (record.rows,):
                    raise DamagedFileError(
                        path,
                        f"holds vectors {shape} of {dtype} where the catalog says "
                        f"{(record.rows, self._dim)} of float32",
                    )
                vectors: Any = dataset[:] if offset is None else None  # a foreign writer's chunked dataset
        except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
            raise DamagedFileError(path, f"is not a segment that can be read ({error})") from error
        if (np.diff(ids) <= 0).any():
            raise DamagedFileError(path, "holds ids that do not ascend")
        if vectors is None:
            vectors = np.memmap(path, "<f4", "r", offset, shape)
        return np.ascontiguousarray(ids, dtype=np.int64), vectors
