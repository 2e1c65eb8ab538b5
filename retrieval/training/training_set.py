"""The pictures of a training: the readable ones, what tells one set from another, and how they reach the network."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retrieval.base.given import seeded
from retrieval.base.progress import bar
from retrieval.datasets import PictureSet
from retrieval.errors import RetrievalError
from retrieval.images import Preprocessing
from retrieval.training.processes import World
from retrieval.training.sampling.sampler import Sampler

IN_MEMORY = 4 << 30
"""Bytes of decoded pictures up to which a set is decoded once and kept; larger ones are decoded batch by batch."""

NAMED = 5
"""Files that the warning of those that cannot be read names."""

AHEAD = 3
"""Batches that are read from disk before they are asked for."""


class Source:
    """The pictures of a set as the network's input, decoded once where they fit in memory.

    Index i + p·len(pictures) is picture i in pose p of ``poses``. With ``turns`` 4, the first four are quarter turns,
    none to three of them; with ``mirrored``, the second half is the mirror images of the first.
    """

    def __init__(
        self, pictures: PictureSet, preprocessing: Preprocessing, turns: int = 1, mirrored: bool = False
    ) -> None:
        self.pictures = pictures
        self.preprocessing = preprocessing
        self.turns = turns
        self.poses = 2 * turns if mirrored else turns
        each = preprocessing.size**2 * preprocessing.channels
        self.pixels = None
        if len(pictures) * each <= IN_MEMORY:
            with bar(len(pictures), "Reading", "pictures") as progress:
                self.pixels = pictures.read(preprocessing, progress=progress.update)

    def read(self, indices: NDArray[np.int64]) -> Tensor:
        """uint8 (len(indices), size, size, channels)."""
        poses, rows = np.divmod(indices, len(self.pictures))
        found = self.pixels[rows] if self.pixels is not None else self.pictures.read(self.preprocessing, rows)
        if self.poses > 1:
            found = found.copy()  # it may be the set's own memory
            mirrors, turns = np.divmod(poses, self.turns)
            for turn in range(1, self.turns):
                found[turns == turn] = np.rot90(found[turns == turn], turn, axes=(1, 2))
            found[mirrors == 1] = found[mirrors == 1][:, :, ::-1]
        return torch.from_numpy(found)

    def stream(self, batches: Iterable[NDArray[np.int64]]) -> Iterator[Tensor]:
        """What :meth:`read` gives for each of many, in order.

        From disk, :data:`AHEAD` batches are decoded while an earlier one is used, by all cores.
        """
        if self.pixels is not None:
            yield from map(self.read, batches)
            return
        waiting: deque[Future[Tensor]] = deque()
        pool = ThreadPoolExecutor(AHEAD, thread_name_prefix="reading")
        try:
            for indices in batches:
                waiting.append(pool.submit(self.read, indices))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # also where nobody wants the rest
            pool.shutdown(cancel_futures=True)

    def sample(self, count: int, seed: int) -> Tensor:
        """So many pictures at random, or all."""
        return self.read(seeded(seed).permutation(len(self.pictures))[:count])


def taught(pictures: PictureSet) -> PictureSet:
    """The training and validation pictures, and no class but theirs: test pictures are not opened, and no loss gets to
    know that classes exist which are for testing."""
    kept = pictures.select(pictures.splits != "test")
    shown = np.unique(kept.labels[kept.labels >= 0])
    number = np.full(len(kept.classes) + 1, -1)  # −1 is the last place
    number[shown] = np.arange(len(shown))
    return replace(kept, classes=tuple(kept.classes[place] for place in shown), labels=number[kept.labels])


def readable(pictures: PictureSet, report: Callable[[str], None]) -> PictureSet:
    """The set without the files that cannot be opened; they are reported, and never stop the job."""
    if pictures.files is None:
        return pictures
    with bar(len(pictures), "Checking", "pictures") as progress:
        readable, skipped = pictures.check(progress.update)
    if skipped:
        named = ", ".join(f"{one.path} ({one.reason})" for one in skipped[:NAMED])
        others = f" and {len(skipped) - NAMED:,} others" if len(skipped) > NAMED else ""
        report(f"{len(skipped):,} of the files were left out because they cannot be read: {named}{others}.")
    return readable


def fingerprint(pictures: PictureSet) -> str:
    """The same for the same pictures, labels and splits; of files, their names stand for their content."""
    digest = hashlib.sha256()
    digest.update(np.ascontiguousarray(pictures.labels).tobytes())
    digest.update(json.dumps([list(pictures.classes), list(pictures.names), pictures.splits.tolist()]).encode())
    if pictures.pixels is not None:
        digest.update(np.ascontiguousarray(pictures.pixels).data)
    return digest.hexdigest()


class Batch(NamedTuple):
    """Pictures that one loss compares with one another.

    Attributes:
        pixels: uint8 (m, h, w, c), this process's; of one process alone m = n.
        labels: int64 (n,), of the whole batch.
        mirrored: bool (n,), which of them ``flip`` shows in a mirror.
        start: which of the n the first of this process's pictures is.
    """

    pixels: Tensor
    labels: Tensor
    mirrored: Tensor
    start: int = 0


class Batches:
    """What the steps of an epoch learn from.

    Whether a picture is mirrored is drawn for the first epoch and changes with each, so that a network sees either side
    of all pictures in any two epochs (Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", section 3.6:
    alternating flip).

    Args:
        sampler: which pictures make a batch.
        source: the pictures, which have ``labels`` int64 (n,).
        accumulate: batches a step; the last step of an epoch may have fewer.
        seed: of which pictures are mirrored in the first epoch.
        world: the processes that share each batch.
    """

    def __init__(
        self, sampler: Sampler, source: Source, labels: NDArray[np.int64], accumulate: int, seed: int, world: World
    ) -> None:
        self.sampler = sampler
        self.source = source
        self.labels = labels
        self.accumulate = accumulate
        self.world = world
        self._first = seeded(seed, 0, 1).random(len(labels)) < 0.5  # no sampler draws from these numbers

    def __len__(self) -> int:
        """The steps of an epoch."""
        return -(-len(self.sampler) // self.accumulate)

    def epoch(self, number: int, skip: int = 0) -> Iterator[list[Batch]]:
        """The batches of each step of an epoch, without its first ``skip`` steps."""
        whole, ahead = itertools.tee(itertools.islice(self.sampler.epoch(number), skip * self.accumulate, None))
        read = self.source.stream(indices[self._rows(len(indices))] for indices in ahead)
        mirrored = self._first ^ bool(number % 2)
        batches = (
            Batch(
                pixels,
                torch.from_numpy(self.labels[indices]),
                torch.from_numpy(mirrored[indices]),
                self._rows(len(indices)).start,
            )
            for indices, pixels in zip(whole, read, strict=True)
        )
        while step := list(itertools.islice(batches, self.accumulate)):
            yield step

    def _rows(self, count: int) -> slice:
        if count < self.world.size:
            raise RetrievalError(
                f"A batch of {count} pictures cannot be shared by {self.world.size} processes; start fewer of them."
            )
        return self.world.rows(count)
