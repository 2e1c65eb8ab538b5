"""The batches of a training, grouped into steps."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retrieval.sampling import Sampler
from retrieval.training.pictures import Source


class Batch(NamedTuple):
    """Pictures that one loss compares with one another.

    Attributes:
        pixels: uint8 (n, h, w, c).
        labels: int64 (n,).
    """

    pixels: Tensor
    labels: Tensor


class Batches:
    """What the steps of an epoch learn from.

    Args:
        sampler: which pictures make a batch.
        source: the pictures, which have ``labels`` int64 (n,).
        accumulate: batches a step; the last step of an epoch may have fewer.
    """

    def __init__(self, sampler: Sampler, source: Source, labels: NDArray[np.int64], accumulate: int = 1) -> None:
        self.sampler = sampler
        self.source = source
        self.labels = labels
        self.accumulate = accumulate

    def __len__(self) -> int:
        """The steps of an epoch."""
        return -(-len(self.sampler) // self.accumulate)

    def epoch(self, number: int, skip: int = 0) -> Iterator[list[Batch]]:
        """The batches of each step of an epoch, without its first ``skip`` steps."""
        indices = itertools.islice(self.sampler.epoch(number), skip * self.accumulate, None)
        batches = (Batch(self.source.read(i), torch.from_numpy(self.labels[i])) for i in indices)
        while step := list(itertools.islice(batches, self.accumulate)):
            yield step
