"""One process's share of the batches that several train on together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from retrieval.errors import RetrievalError
from retrieval.sampling.labels import Indices


class Sampler(Protocol):
    """What makes the batches of an epoch."""

    @property
    def parts(self) -> int:
        """Of how many equally long sections a batch is made, row by row together."""

    def __len__(self) -> int:
        """The batches of an epoch."""

    def epoch(self, number: int) -> Iterator[Indices]:
        """The positions of each batch's pictures, int64 (b,)."""


class Shard:
    """The rows of each batch that fall to one of several processes.

    Each process draws the same batches and takes its rows: neighbouring ones, so that classes stay together, and of
    batches of pairs or triplets the same rows of each section. Put together, the shards of all processes are the batch
    of one process alone, no row twice and none missing; their lengths differ by at most one row a section.

    Args:
        sampler: what makes the batches.
        rank: which process, from 0.
        world: how many there are.
    """

    def __init__(self, sampler: Sampler, rank: int, world: int) -> None:
        if not 0 <= rank < world:
            raise RetrievalError(f"Of {world} processes none has the number {rank}; they are numbered from 0.")
        self.sampler = sampler
        self.rank = rank
        self.world = world

    @property
    def parts(self) -> int:
        return self.sampler.parts

    def __len__(self) -> int:
        return len(self.sampler)

    def epoch(self, number: int) -> Iterator[Indices]:
        """This process's share of each batch, the sections one after the other."""
        for batch in self.sampler.epoch(number):
            sections = batch.reshape(self.parts, -1)
            yield np.array_split(sections, self.world, axis=1)[self.rank].reshape(-1)
