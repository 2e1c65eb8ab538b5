"""Plain arrays in HDF5 files: of a file from elsewhere, and into a new one; the numbers themselves go past HDF5.

HDF5 can run for ever on a damaged file, so this is a program too, which says where the arrays lie
(:mod:`retrieval.base.sandbox`): they are then read without HDF5. And it crashes where the disk is full when it closes a
file, so it only makes room in a new one.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from retrieval.base.sandbox import answer, ask

_ALIGNED = 4096


def arrays(path: Path, names: Sequence[str]) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Look at a file.

    Args:
        path: the file.
        names: of data sets; those that it lacks are left out.

    Returns:
        The root's attributes that are texts or integers, and the arrays where they lie in the file, mapped.

    Raises:
        ValueError: it cannot be read, or an array is compressed, in pieces, cut off, or lies elsewhere; in words that
            follow the file's name in parentheses.
        OSError: there is no such file.
    """
    found = ask(Path(__file__), path, *names)
    return found["attributes"], {name: _mapped(path, *place) for name, place in found["arrays"].items()}


def _mapped(path: Path, dtype: str, shape: Sequence[int], offset: int) -> npt.NDArray[Any]:
    if not shape or 0 in shape:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", offset, tuple(shape))


def make_room(
    path: Path,
    arrays: Mapping[str, tuple[tuple[int, ...], str]],
    attributes: Mapping[str, str | int],
    *,
    libver: str = "earliest",
) -> list[int]:
    """Begin an HDF5 file whose arrays lie in one piece each, to be filled by :func:`write_at`.

    Plain writes into room that is there make a full disk an ordinary OSError at one place, and need no more memory
    than what is written at a time.

    Args:
        path: the file; what was there is replaced.
        arrays: of each its name, shape and dtype ("<f4").
        attributes: of the root.
        libver: the version of HDF5 that must be able to read it.

    Returns:
        Where in the file each array begins.

    Raises:
        OSError, RuntimeError: the disk is full; :func:`reason_of` has it in words.
    """
    import h5py

    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    places = []
    options = {"libver": libver, "alignment_threshold": _ALIGNED, "alignment_interval": _ALIGNED}
    with h5py.File(path, "w", **options) as file:
        file.attrs.update(attributes)
        for key, (shape, dtype) in arrays.items():
            kind = h5py.h5t.py_create(np.dtype(dtype))
            space = h5py.h5s.create_simple(shape)
            places.append(h5py.h5d.create(file.id, key.encode(), kind, space, plist).get_offset())
    return places


def write_at(file: IO[bytes], place: int, array: npt.NDArray[Any]) -> int:
    """Write numbers as they lie in memory; where they end."""
    file.seek(place)
    file.write(np.ascontiguousarray(array).data.cast("B"))
    return place + array.nbytes


def reason_of(error: OSError | RuntimeError) -> str:
    """What went wrong, in a few words: HDF5 tells half a page."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    said = re.search("error message = '([^']*)'", str(error))
    return said[1] if said else " ".join(str(error).split())


def _read(path: Path) -> dict[str, object]:
    import h5py  # here, as only the program needs it

    with h5py.File(path, "r", locking=False) as file:
        attributes: dict[str, str | int] = {}
        for name, value in ((name, file.attrs[name]) for name in file.attrs):
            if isinstance(value, bytes | str):
                attributes[name] = value.decode() if isinstance(value, bytes) else str(value)
            elif isinstance(value, np.integer):
                attributes[name] = int(value)
        there = [name for name in sys.argv[2:] if file.get(name, getlink=True) is not None]
        return {"attributes": attributes, "arrays": {name: _place(file, name, path) for name in there}}


def _place(file: Any, name: str, path: Path) -> tuple[str, tuple[int, ...], int]:
    import h5py

    if not isinstance(file.get(name, getlink=True), h5py.HardLink) or not isinstance(file[name], h5py.Dataset):
        raise ValueError(f"{name} lies in another file, or is no array")
    dataset = file[name]
    numbers = dataset.dtype.kind in "fiub" and dataset.dtype.itemsize <= 8
    if h5py.check_string_dtype(dataset.dtype) is not None and dataset.dtype.kind == "O":
        raise ValueError(f"{name} has texts of variable length; np.array({name}).astype('S') makes plain ones")
    if not dataset.ndim or not (numbers or dataset.dtype.kind == "S"):
        raise ValueError(f"{name} has the type {dataset.dtype} and {dataset.ndim} dimensions")
    if not dataset.size:
        return dataset.dtype.str, dataset.shape, 0
    offset = dataset.id.get_offset()
    if dataset.external or dataset.is_virtual or offset is None or dataset.id.get_storage_size() != dataset.nbytes:
        raise ValueError(f"{name} is compressed or in pieces; h5repack -l CONTI makes it plain")
    if offset + dataset.nbytes > path.stat().st_size:
        raise ValueError(f"{name} is cut off")
    return dataset.dtype.str, dataset.shape, int(offset)


if __name__ == "__main__":
    answer(_read)
