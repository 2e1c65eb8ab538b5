"""A program of its own: where the plain arrays of an HDF5 file lie. See :mod:`retrieval.apart`.

Arguments: the file, and the names of data sets. The answer has ``attributes``, those of the root that are texts, and
``arrays``: name → [type, shape, offset in the file].
"""

from __future__ import annotations

import sys
from pathlib import Path

import h5py

from retrieval.apart import answer


def read(path: Path) -> dict[str, object]:
    """Look at a file.

    Raises:
        ValueError: a data set is missing, is no plain array, or lies elsewhere.
    """
    with h5py.File(path, "r", locking=False) as file:
        attributes = {name: file.attrs[name] for name in file.attrs}
        texts = {
            name: value.decode() if isinstance(value, bytes) else str(value)
            for name, value in attributes.items()
            if isinstance(value, bytes | str)
        }
        return {"attributes": texts, "arrays": {name: _place(file, name, path) for name in sys.argv[2:]}}


def _place(file: h5py.File, name: str, path: Path) -> tuple[str, tuple[int, ...], int]:
    if not isinstance(file.get(name, getlink=True), h5py.HardLink) or not isinstance(file[name], h5py.Dataset):
        raise ValueError(f"{name} is missing or lies in another file")
    dataset = file[name]
    if dataset.dtype.kind not in "fiub" or dataset.dtype.itemsize > 8:
        raise ValueError(f"{name} has the type {dataset.dtype}")
    if not dataset.size:
        return dataset.dtype.str, dataset.shape, 0
    offset = dataset.id.get_offset()
    if dataset.external or dataset.is_virtual or offset is None or dataset.id.get_storage_size() != dataset.nbytes:
        raise ValueError(f"{name} is compressed or in pieces; h5repack -l CONTI makes it plain")
    if offset + dataset.nbytes > path.stat().st_size:
        raise ValueError(f"{name} is cut off")
    return dataset.dtype.str, dataset.shape, int(offset)


if __name__ == "__main__":
    answer(read)
