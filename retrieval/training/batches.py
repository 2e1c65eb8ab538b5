"""The batches of a training, grouped into steps."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retrieval.errors import RetrievalError
from retrieval.training.processes import World
from retrieval.training.sampling import Sampler
from retrieval.training.training_set import Source


class Batch(NamedTuple):
    """Pictures that one loss compares with one another.

    Attributes:
        pixels: uint8 (m, h, w, c), this process's; of one process alone m = n.
        labels: int64 (n,), of the whole batch.
        start: which of the n the first of this process's pictures is.
    """

    pixels: Tensor
    labels: Tensor
    start: int = 0


class Batches:
    """What the steps of an epoch learn from.

    Args:
        sampler: which pictures make a batch.
        source: the pictures, which have ``labels`` int64 (n,).
        accumulate: batches a step; the last step of an epoch may have fewer.
        world: the processes that share each batch.
    """

    def __init__(
        self, sampler: Sampler, source: Source, labels: NDArray[np.int64], accumulate: int, world: World
    ) -> None:
        self.sampler = sampler
        self.source = source
        self.labels = labels
        self.accumulate = accumulate
        self.world = world

    def __len__(self) -> int:
        """The steps of an epoch."""
        return -(-len(self.sampler) // self.accumulate)

    def epoch(self, number: int, skip: int = 0) -> Iterator[list[Batch]]:
        """The batches of each step of an epoch, without its first ``skip`` steps."""
        whole, ahead = itertools.tee(itertools.islice(self.sampler.epoch(number), skip * self.accumulate, None))
        read = self.source.stream(indices[self._rows(len(indices))] for indices in ahead)
        batches = (
            Batch(pixels, torch.from_numpy(self.labels[indices]), self._rows(len(indices)).start)
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
