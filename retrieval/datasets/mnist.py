"""MNIST and its likes in the original IDX files, gzipped or not.

The format: four bytes (0, 0, type, number of dimensions), each dimension as a big-endian uint32, then the
values; type 8 is uint8. See http://yann.lecun.com/exdb/mnist/.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from retrieval.base.text import printable
from retrieval.datasets.archives import gunzipped
from retrieval.datasets.picture_set import PictureSet
from retrieval.errors import RetrievalError
from retrieval.images import MAX_BYTES, Pixels

FASHION = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag"),
    "Ankle boot",
)
"""The class names of Fashion-MNIST, in label order."""

_PARTS = {"train": "train", "test": "t10k"}
# Both sets use the same file names; their first labels tell them apart.
_FASHION_BEGINS = {"train": (9, 0, 0, 3, 0, 2, 7, 2, 5, 5), "test": (9, 2, 1, 1, 6, 1, 4, 6, 5, 7)}


def recognises(folder: Path) -> bool:
    """Whether a folder holds IDX files of these names."""
    return any(_file(folder, split, "images") is not None for split in _PARTS)


def load(folder: Path) -> PictureSet:
    """The set from `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the two of `t10k`, each with or
    without `.gz`.

    One of the two splits is enough.

    Raises:
        RetrievalError: if a labels file is missing or a file is not what it should be, with its name.
    """
    pixels, labels, splits = [], [], []
    fashion = True
    for split, part in _PARTS.items():
        pictures_file, labels_file = _file(folder, split, "images"), _file(folder, split, "labels")
        if pictures_file is None:
            continue
        if labels_file is None:
            raise RetrievalError(
                f"{printable(folder)!r} lacks {part}-labels-idx1-ubyte.gz; put it beside the pictures."
            )
        pictures, marks = read_idx(pictures_file), read_idx(labels_file)
        if pictures.ndim != 3 or marks.ndim != 1 or len(pictures) != len(marks) or not len(marks):
            raise RetrievalError(
                f"{printable(pictures_file)!r} holds values of shape {pictures.shape} and its labels {marks.shape}; "
                "they do not belong together."
            )
        fashion = fashion and tuple(marks[:10].tolist()) == _FASHION_BEGINS[split]
        pixels.append(pictures[..., None])
        labels.append(marks.astype(np.int64))
        splits.append(np.full(len(marks), split, "<U5"))
    if len({part.shape[1:] for part in pixels}) > 1:
        raise RetrievalError(f"The train and test pictures in {printable(folder)!r} differ in size; get them anew.")
    every = np.concatenate(labels)
    classes = FASHION if fashion else tuple(str(number) for number in range(max(10, int(every.max()) + 1)))
    names = [
        f"{split}/{classes[label].replace('/', '-')}/{place:05d}.png"
        for marks, part in zip(labels, splits, strict=True)
        for place, (label, split) in enumerate(zip(marks.tolist(), part.tolist(), strict=True))
    ]
    return PictureSet(
        name="fashion-mnist" if fashion else "mnist",
        names=tuple(names),
        classes=classes,
        labels=every,
        splits=np.concatenate(splits),
        pixels=np.concatenate(pixels),
    )


def read_idx(path: Path) -> Pixels:
    """One IDX file of bytes.

    Args:
        path: the file, gzipped or not.

    Returns:
        uint8, of the shape that the file names.

    Raises:
        RetrievalError: for any other file.
    """
    data = gunzipped(path, MAX_BYTES)
    dimensions = data[3] if len(data) > 3 else 0
    shape = [int.from_bytes(data[at : at + 4], "big") for at in range(4, 4 + 4 * dimensions, 4)]
    if data[:3] != b"\0\0\x08" or not 1 <= dimensions <= 4 or len(data) != 4 + 4 * dimensions + math.prod(shape):
        raise RetrievalError(f"{printable(path)!r} is not a whole IDX file of bytes; get it once more.")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def _file(folder: Path, split: str, what: str) -> Path | None:
    stem, digits = f"{_PARTS[split]}-{what}", 3 if what == "images" else 1
    names = [f"{stem}{dot}idx{digits}-ubyte{end}" for dot in "-." for end in (".gz", "")]
    return next((folder / name for name in names if (folder / name).is_file()), None)
