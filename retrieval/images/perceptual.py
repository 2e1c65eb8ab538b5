"""Perceptual hashes: 64 bits that stay nearly the same when a picture is scaled, compressed or slightly brightened.

Two are taken of each picture, both of the same grey square of 32 × 32 pixels:

- **pHash** (C. Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010): which of the 64
  lowest frequencies of the discrete cosine transform (DCT-II, rows and columns 1 to 8) are above their median. The
  frequencies of row and column 0 are left out as there, so that brightness does not count. Scaling down with an
  anti-aliasing filter stands for Zauner's mean filter.
- **dHash** (N. Krawetz, Kind of Like That, 2013): in 8 rows of 9 means, which are darker than the one to their right.

Neither knows a turned, mirrored or cropped copy: that takes an embedding. Of a picture with next to no detail (a blank
page, a plain gradient) the bits say nothing; :attr:`Hashes.telling` is false there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from retrieval.base.placed_files import Root
from retrieval.errors import RetrievalError
from retrieval.images.decoding import UnreadableImage, read
from retrieval.images.folders import Skipped
from retrieval.images.preprocessing import Pixels, Preprocessing, fit_array

SIDE = 32
"""Side of the grey square that is hashed, pixels."""

PREPROCESSING = Preprocessing(SIDE, mode="L", fit="stretch", resample="bilinear")
"""What the hashes look at: the whole picture, its proportions ignored, as a thumbnail of another shape has them too."""

DETAIL = 2.0
"""Grey levels (of 255) of contrast in the frequencies of pHash below which noise decides its bits: strong compression
as JPEG changes a flat area by about one."""

_BLOCK = 4096  # pictures transformed at a time: 32 MiB of float64

Codes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Hashes:
    """The hashes of n pictures.

    Attributes:
        phash: uint64 (n,).
        dhash: uint64 (n,).
        detail: float32 (n,), root mean square contrast in the frequencies of pHash, grey levels of 255.
    """

    phash: Codes
    dhash: Codes
    detail: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        for name, dtype in (("phash", np.uint64), ("dhash", np.uint64), ("detail", np.float32)):
            array = getattr(self, name)
            if array.dtype != dtype or array.shape != self.phash.shape or array.ndim != 1:
                raise RetrievalError(
                    f"Hashes were given {name} as {array.dtype} {array.shape}; give uint64 (n,) twice and float32 (n,)."
                )

    def __len__(self) -> int:
        return len(self.phash)

    @property
    def telling(self) -> npt.NDArray[np.bool_]:
        """bool (n,): which pictures have enough detail for their hashes to mean anything."""
        return self.detail >= DETAIL

    def take(self, rows: npt.ArrayLike) -> Hashes:
        """Those of some pictures.

        Args:
            rows: integers or booleans, as they index an array.
        """
        some = np.asarray(rows)
        return Hashes(self.phash[some], self.dhash[some], self.detail[some])


class HashedFiles(NamedTuple):
    """What :func:`hash_files` did.

    Attributes:
        hashes: of the m files that could be read.
        rows: int64 (m,), ascending: the place of each among the paths that were given.
        skipped: the others, and why.
    """

    hashes: Hashes
    rows: npt.NDArray[np.int64]
    skipped: tuple[Skipped, ...]

    def aligned(self, n: int) -> Hashes:
        """One for each of the n paths that were given: without detail, and so like nothing, for those left out."""
        whole = Hashes(np.zeros(n, np.uint64), np.zeros(n, np.uint64), np.zeros(n, np.float32))
        for part in ("phash", "dhash", "detail"):
            getattr(whole, part)[self.rows] = getattr(self.hashes, part)
        return whole


def hash_files(
    paths: Sequence[str | os.PathLike[str]], root: str | Path | Root = "", *, threads: int | None = None
) -> HashedFiles:
    """Hash picture files; those that cannot be read are left out and reported.

    Args:
        paths: any number of files.
        root: where relative paths start from.
        threads: how many files are decoded at a time; by default one a core.

    Returns:
        The hashes, which files they belong to, and what was left out.
    """
    from retrieval.base.machine import cores
    from retrieval.base.progress import bar

    def one(path: str | os.PathLike[str]) -> Pixels | Skipped:
        try:
            return read(root / path if isinstance(root, Root) else Path(root, path), PREPROCESSING)
        except UnreadableImage as problem:
            return Skipped(problem.path, problem.reason)

    parts, rows, skipped = [hash_pixels(np.empty((0, SIDE, SIDE, 1), np.uint8))], [], []
    with ThreadPoolExecutor(threads or cores(), "hashing") as pool, bar(len(paths), "Hashing", "pictures") as shown:
        for start in range(0, len(paths), _BLOCK):  # a bounded number of squares in memory
            squares = []
            for row, square in enumerate(pool.map(one, paths[start : start + _BLOCK]), start):
                shown.update()
                if isinstance(square, Skipped):
                    skipped.append(square)
                else:
                    rows.append(row)
                    squares.append(square)
            if squares:
                parts.append(hash_pixels(np.stack(squares)))
    return HashedFiles(joined(parts), np.array(rows, np.int64), tuple(skipped))


def joined(parts: Sequence[Hashes]) -> Hashes:
    """Hashes one after the other.

    Args:
        parts: at least one.
    """
    return Hashes(
        np.concatenate([part.phash for part in parts]),
        np.concatenate([part.dhash for part in parts]),
        np.concatenate([part.detail for part in parts]),
    )


def hash_pixels(pixels: Pixels) -> Hashes:
    """Hash pictures that are in memory.

    Args:
        pixels: uint8 (n, h, w, c), c 1 or 3.

    Raises:
        RetrievalError: another shape or type.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] not in (1, 3) or not all(pixels.shape[1:3]):
        raise RetrievalError(
            f"Pictures to hash were given as {pixels.dtype} {pixels.shape}; give uint8 (n, h, w, 1) or (n, h, w, 3)."
        )
    n = len(pixels)
    made = Hashes(np.empty(n, np.uint64), np.empty(n, np.uint64), np.empty(n, np.float32))
    transform, (rows, columns) = _cosines()[1:9], _means()
    for start in range(0, n, _BLOCK):
        block = slice(start, start + _BLOCK)
        grey = fit_array(pixels[block], PREPROCESSING)[..., 0].astype(np.float64)
        waves = (transform @ grey @ transform.T).reshape(-1, 64)
        # A frequency that is absent comes out as rounding errors of either sign, which must not become bits.
        waves = np.round(waves, 6)
        made.phash[block] = _packed(waves > np.median(waves, axis=1, keepdims=True))
        made.detail[block] = np.sqrt((waves**2).sum(axis=1)) / SIDE  # Parseval: of the transform and of the pixels
        means = np.round(rows @ grey @ columns.T, 6)
        made.dhash[block] = _packed((means[:, :, :-1] < means[:, :, 1:]).reshape(-1, 64))
    return made


@cache
def _cosines() -> npt.NDArray[np.float64]:
    """The orthonormal DCT-II of 32 points, one frequency a row."""
    points = np.arange(SIDE)
    matrix: npt.NDArray[np.float64] = np.cos(np.pi / SIDE * (points + 0.5) * points[:, None])
    matrix *= np.sqrt(2 / SIDE)
    matrix[0] /= np.sqrt(2)
    return matrix


@cache
def _means() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """What takes the means of 8 and of 9 equal parts of 32 pixels, parts of pixels counted in parts."""

    def parts(count: int) -> npt.NDArray[np.float64]:
        limits = np.linspace(0, SIDE, count + 1)
        covered = np.clip(limits[:, None] - np.arange(SIDE), 0, 1)  # of each pixel, by what lies before the limit
        return np.diff(covered, axis=0) * count / SIDE

    return parts(8), parts(9)


def _packed(bits: npt.NDArray[np.bool_]) -> Codes:
    """bool (n, 64) as uint64 (n,), the first bit the highest."""
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)
