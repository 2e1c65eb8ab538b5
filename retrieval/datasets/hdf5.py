"""Sets of pictures as one HDF5 file.

Attributes: `format` ("retrieval pictures"), `version` (1), `name`, `sha256` (of the images' bytes,
hexadecimal). Datasets, uncompressed: `images` uint8 (n, h, w, c); `labels` int64 (n,), −1 for none;
`classes`, `names`, `splits` and, where the set has them, `levels`, as UTF-8 strings of fixed length.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.base.hdf5 import arrays
from retrieval.base.text import printable
from retrieval.datasets.memory import resident
from retrieval.datasets.picture_set import SPLITS, PictureSet, Progress
from retrieval.errors import RetrievalError
from retrieval.images import Pixels

FORMAT = "retrieval pictures"
VERSION = 1


def save(pictures: PictureSet, path: str | os.PathLike[str], progress: Progress | None = None) -> None:
    """Write a set as one file, whole or not at all.

    Args:
        pictures: in memory, or files that all have one size.
        path: where to; ends in ".h5". What is there is replaced.
        progress: called with the number of pictures read since the last call, where the set consists of
            files.

    Raises:
        RetrievalError: if the pictures differ in size, or the place cannot be written to.
    """
    import h5py

    path = Path(path)
    pictures = resident(pictures, progress)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(temporary, "w") as file:
            file.attrs["format"] = FORMAT
            file.attrs["version"] = VERSION
            file.attrs["name"] = pictures.name
            file.attrs["sha256"] = _digest(pictures.pixels)
            file["images"] = pictures.pixels
            file["labels"] = pictures.labels
            for key in ("classes", "names", "splits", "levels"):
                texts = getattr(pictures, key)
                if texts is not None:
                    file[key] = np.array([text.encode() for text in texts], dtype=bytes)
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise RetrievalError(
            f"The file {printable(path)!r} cannot be written ({error.strerror or error}); choose another place."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def load(path: str | os.PathLike[str], *, verify: bool = False) -> PictureSet:
    """A set that :func:`save` wrote, in memory.

    Args:
        path: the file. Nothing in it is trusted: no links to other files, no compression, every size checked.
        verify: compare the pixels with their checksum too.

    Raises:
        RetrievalError: for any other file, and a damaged one.
    """
    path = Path(path)
    try:
        return _read(path, verify)
    except (OSError, ValueError) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise RetrievalError(f"{printable(path)!r} is no whole set of pictures ({reason}); make it anew.") from error


def holds(path: str | os.PathLike[str], pictures: PictureSet) -> bool:
    """Whether a file is whole and holds just this set, which is in memory."""
    try:
        kept = load(path, verify=True)
    except RetrievalError:
        return False
    return (
        (kept.name, kept.classes, kept.names) == (pictures.name, pictures.classes, tuple(pictures.names))
        and (None if kept.levels is None else tuple(kept.levels))
        == (None if pictures.levels is None else tuple(pictures.levels))
        and np.array_equal(kept.labels, pictures.labels)
        and np.array_equal(kept.splits, pictures.splits)
        and np.array_equal(np.asarray(kept.pixels), np.asarray(pictures.pixels))
    )


def _read(path: Path, verify: bool) -> PictureSet:
    """Raises ValueError with the reason."""
    attributes, found = arrays(path, ("images", "labels", "names", "classes", "splits", "levels"))
    if attributes.get("format") != FORMAT:
        raise ValueError("its format is another one")
    if attributes.get("version") != VERSION:
        raise ValueError(f"its version is {attributes.get('version')}, this program reads {VERSION}")
    pixels, labels = _array(found, "images", "|u1", 4), _array(found, "labels", "<i8", 1)
    names, classes, splits = (_texts(found, key) for key in ("names", "classes", "splits"))
    levels = _texts(found, "levels") if "levels" in found else None
    if pixels.shape[3] not in (1, 3):
        raise ValueError(f"its pictures have {pixels.shape[3]} channels")
    if len({len(pixels), len(labels), len(names), len(splits), len(pixels if levels is None else levels)}) > 1:
        raise ValueError("its parts differ in length")
    if len(labels) and not -1 <= labels.min() <= labels.max() < len(classes):
        raise ValueError("a label has no class")
    if not set(splits) <= set(SPLITS):
        raise ValueError("a split is neither train nor val nor test")
    if verify and attributes.get("sha256") != _digest(pixels):
        raise ValueError("the pixels do not fit their checksum")
    name = str(attributes.get("name"))
    return PictureSet(name, names, classes, labels, np.array(splits, "<U5"), pixels, levels=levels)


def _array(found: dict[str, Any], key: str, kind: str, dimensions: int) -> Any:
    """One array, in memory."""
    if key not in found:
        raise ValueError(f"{key} is missing")
    values = found[key]
    if not values.dtype.str.startswith(kind) or values.ndim != dimensions:
        raise ValueError(f"{key} has type {values.dtype} and {values.ndim} dimensions")
    return np.array(values)


def _texts(found: dict[str, Any], key: str) -> tuple[str, ...]:
    return tuple([text.decode() for text in _array(found, key, "|S", 1).tolist()])


def _digest(pixels: Pixels | None) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()
