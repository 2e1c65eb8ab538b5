"""The labelled set of pictures that every source becomes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from retrieval import images
from retrieval.base.given import seeded
from retrieval.base.notebook import SIDE, Tile, tiles
from retrieval.errors import RetrievalError
from retrieval.images import Pixels, Preprocessing, Skipped, UnreadableImage

SPLITS = ("train", "val", "test")

Progress = Callable[[int], object]
"""Called with the number of pictures that were done since the last call (`progress.bar(...).update`)."""

SHOWN = 24
"""Pictures that a notebook shows, spread over the set."""

_T = TypeVar("_T")
_CHUNK = 8
"""Files that a thread takes at a time: enough that handing them out costs nothing."""

_WORTH_A_THREAD = 0.0005
"""Seconds a picture takes from which threads gain: below, they wait for one another's interpreter lock."""


@dataclass(frozen=True)
class PictureSet:
    """Pictures, in memory or as files, with what is known about each of them.

    Attributes:
        name: a short one, as in "cifar10".
        names: one relative, "/"-separated name a picture, unique ("test/cat/00001.png").
        classes: the classes' names; () if nothing is labelled.
        labels: int64 (n,), an index into `classes`, −1 where there is no label.
        splits: <U5 (n,), each "train", "val" or "test"; all "train" where the source knows of none.
        pixels: uint8 (n, h, w, c), c 1 or 3, if the set lives in memory ...
        files: ... otherwise one file a picture.
        levels: a coarser group of each picture's class (Omniglot's alphabet), or None.
        skipped: what the source held besides and could not be taken.
        root: the folder that the files should lie in: that of the list which names them, for example.
    """

    name: str
    names: Sequence[str]
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    splits: NDArray[np.str_]
    pixels: Pixels | None = None
    files: tuple[Path, ...] | None = None
    levels: Sequence[str] | None = None
    skipped: tuple[Skipped, ...] = ()
    root: Path | None = None

    def __post_init__(self) -> None:
        if (self.pixels is None) == (self.files is None):
            raise ValueError("a PictureSet has either pixels or files")
        parts = (self.labels, self.splits, self.pixels, self.files, self.levels)
        if any(len(part) != len(self.names) for part in parts if part is not None):
            raise ValueError(f"a PictureSet of {len(self.names)} names has parts of other lengths")

    def __len__(self) -> int:
        return len(self.names)

    def _repr_html_(self) -> str:
        from PIL import Image

        from retrieval.images.embedded import data_address, embedded

        rows = np.unique(np.linspace(0, len(self) - 1, SHOWN).round().astype(int)).tolist() if len(self) else []
        shown = []
        for row in rows:
            label = int(self.labels[row])
            if self.files is not None:
                source = embedded(self.files[row], SIDE)
            else:
                assert self.pixels is not None
                pixels = self.pixels[row]
                source = data_address(Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels))
            shown.append(Tile(source, self.names[row], [self.classes[label] if label >= 0 else "", self.names[row]]))
        return tiles(f"{self.name}: {len(self):,} pictures, {len(self.classes):,} classes", shown)

    def select(self, which: NDArray[Any] | Sequence[int] | str) -> PictureSet:
        """Some of the pictures. The classes keep their numbers, whether any picture of them is left or not.

        Args:
            which: indices, a boolean mask (n,), or a split's name.
        """
        if isinstance(which, str):
            if which not in SPLITS:
                raise RetrievalError(f"There is no split {which!r}; give one of {', '.join(SPLITS)}.")
            which = self.splits == which
        rows = np.asarray(which)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)
        return replace(
            self,
            names=_pick(self.names, rows),
            labels=self.labels[rows],
            splits=self.splits[rows],
            pixels=None if self.pixels is None else _rows(self.pixels, rows),
            files=None if self.files is None else _pick(self.files, rows),
            levels=None if self.levels is None else _pick(self.levels, rows),
        )

    def read(
        self,
        p: Preprocessing,
        indices: NDArray[Any] | Sequence[int] | None = None,
        progress: Progress | None = None,
    ) -> Pixels:
        """The pictures as a network's input, all of them in memory at once.

        Args:
            p: what the network expects.
            indices: which pictures, in which order; all if None.
            progress: called with the number of pictures done since the last call.

        Returns:
            uint8 (n, size, size, channels); not to be written to, since it may be the set's own memory.

        Raises:
            RetrievalError: if files cannot be read; it names the first and counts them all. :meth:`check`
                finds them beforehand.
        """
        rows = np.arange(len(self)) if indices is None else np.asarray(indices, np.int64)
        if self.pixels is not None:
            fitted = images.fit_array(_rows(self.pixels, rows), p)
            if progress is not None:
                progress(len(rows))
            return fitted
        files = _pick(self.files or (), rows)
        fitted = np.empty((len(files), p.size, p.size, p.channels), np.uint8)
        bad: list[UnreadableImage] = []

        def read(row: int) -> None:
            try:
                fitted[row] = images.read(files[row], p)
            except UnreadableImage as error:
                bad.append(error)

        for _ in _on_all_cores(read, len(files), progress):
            pass
        if bad:
            first = min(bad, key=lambda error: error.path)
            raise RetrievalError(
                f"{len(bad)} of {len(files)} pictures cannot be read, the first is {first.path!r} ({first.reason}); "
                "take them out or mend them."
            )
        return fitted

    def check(self, progress: Progress | None = None) -> tuple[PictureSet, list[Skipped]]:
        """Open every file once.

        Args:
            progress: called with the number of pictures done since the last call.

        Returns:
            The set without the files that cannot be read, and those with the reason for each, together with
            what was :attr:`skipped` when the set was loaded.
        """
        if self.files is None:
            return self, list(self.skipped)
        files = self.files

        def reason(row: int) -> str | None:
            try:
                # Grey and at 1/8: every byte of a JPEG is still read, but hardly a pixel computed.
                images.open_picture(files[row], size=1, mode="L")
            except UnreadableImage as error:
                return error.reason
            return None

        reasons = list(_on_all_cores(reason, len(files), progress))
        skipped = [Skipped(name, why) for name, why in zip(self.names, reasons, strict=True) if why is not None]
        readable = self if not skipped else self.select(np.array([why is None for why in reasons]))
        return readable, [*self.skipped, *skipped]

    def split_validation(self, fraction: float, seed: int) -> PictureSet:
        """Move part of every class from "train" to "val", unless there is a "val" already.

        Args:
            fraction: between 0 and 1. Of each class with at least two training pictures at least one is moved
                and at least one stays.
            seed: the same seed moves the same pictures.
        """
        if not 0 < fraction < 1:
            raise RetrievalError(f"The validation fraction is {fraction}; give a number between 0 and 1.")
        if (self.splits == "val").any():
            return self
        rng = seeded(seed)
        splits = self.splits.copy()
        train = np.flatnonzero(splits == "train")
        for label in np.unique(self.labels[train]):
            rows = train[self.labels[train] == label]
            count = min(max(round(fraction * len(rows)), 1), len(rows) - 1)
            splits[rng.permutation(rows)[:count]] = "val"
        return replace(self, splits=splits)


def _on_all_cores(job: Callable[[int], _T], count: int, progress: Progress | None) -> Iterator[_T]:
    """`job` of 0 … count − 1, in order; in threads where the jobs are long enough to gain by it."""

    def chunk(start: int) -> list[_T]:
        return [job(row) for row in range(start, min(start + _CHUNK, count))]

    def finish(results: list[_T]) -> list[_T]:
        if progress is not None:
            progress(len(results))
        return results

    started = time.perf_counter()
    yield from finish(chunk(0))
    starts = range(_CHUNK, count, _CHUNK)
    if time.perf_counter() - started < _CHUNK * _WORTH_A_THREAD:
        for start in starts:
            yield from finish(chunk(start))
        return
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            for results in pool.map(chunk, starts):
                yield from finish(results)
        except BaseException:  # Ctrl-C: do not finish what nobody waits for
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _pick(values: Sequence[_T], rows: NDArray[np.int64]) -> tuple[_T, ...]:
    return tuple([values[row] for row in rows.tolist()])


def _rows(pixels: Pixels, rows: NDArray[np.int64]) -> Pixels:
    """Those rows; without a copy where they follow one another, as a split's do in most sets."""
    if len(rows) and rows[0] >= 0 and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
        return pixels[rows[0] : rows[-1] + 1]
    return pixels[rows]
