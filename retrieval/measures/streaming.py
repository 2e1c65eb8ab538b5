"""Inner products with more items than memory should hold: distractors, read from where they lie, block by block.

Distractors are right for nobody. A million of them are eight gigabytes of vectors, but a query's scores of them are
four megabytes: so as many queries as fit ask at a time, and the distractors go by once for these.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from retrieval.base.units import show_bytes
from retrieval.errors import RetrievalError
from retrieval.measures.arrays import Vectors
from retrieval.measures.inner_products import Products, judge
from retrieval.measures.ranking_task import Asked, Judged

MEMORY = 1 << 30
"""Bytes that scores and blocks of distractors may take, where nobody says another number."""

BLOCK = 1 << 25
"""Bytes of a block of distractors, at most."""

COPIES = 4
"""What making a block takes, in times of its size: as it lies there, in float64, and scaled."""


class Distractors(Protocol):
    """Vectors (m, d) that need not be in memory."""

    @property
    def shape(self) -> tuple[int, int]: ...

    @property
    def hashes(self) -> npt.NDArray[np.void]:
        """Of each, as :func:`hashes` makes them; found once, and kept."""

    def __getitem__(self, rows: slice) -> Vectors:
        """Some of them, float32, of unit length where the gallery's are."""


class Streamed:
    """Scores of the gallery, and behind them those of the distractors.

    Equal vectors get one score, wherever they lie; that they are equal is seen by a hash of 128 bits of their bytes.

    Attributes:
        items, rows: see :class:`retrieval.measures.ranking_task.Scorer`.
    """

    def __init__(
        self,
        near: Products,
        queries: Vectors,
        gallery: Vectors,
        distractors: Distractors,
        *,
        memory: int = MEMORY,
        threads: int = 1,
    ) -> None:
        """Look through the distractors once, for those that are equal.

        Args:
            near: scores `gallery` into the room that it is given.
            queries: float32 (nq, d). gallery: float32 (n, d). distractors: (m, d).
            memory: bytes that scores and blocks may take. threads: that share it.

        Raises:
            RetrievalError: the distractors are not as wide as the gallery, or memory is too small for one query.
        """
        count, width = distractors.shape
        if width != gallery.shape[1]:
            raise RetrievalError(
                f"the distractors have {width} dimensions and the gallery {gallery.shape[1]}: encode both by one model"
            )
        self._near, self._queries, self._distractors = near, queries, distractors
        self.items = near.items + count
        share = memory // max(1, threads)
        block = min(BLOCK, share // (2 * COPIES))
        self._step = max(1, block // (4 * width))
        self.rows = min((share - COPIES * block) // (4 * self.items), -(-len(queries) // max(1, threads)))
        if self.rows < 1:
            needed = show_bytes(2 * 4 * self.items * max(1, threads))
            raise RetrievalError(
                f"the scores of {self.items:,} items do not fit into {show_bytes(memory)}: give {needed} or more"
            )
        keys = np.concatenate([hashes(gallery), distractors.hashes])
        first, group = np.unique(keys, return_index=True, return_inverse=True)[1:]
        originals = first[group.ravel()]
        self._copies = np.flatnonzero(originals != np.arange(self.items))
        self._originals = originals[self._copies]

    def room(self) -> Vectors:
        return np.empty((self.rows, self.items), np.float32)

    def judge(self, asked: Asked, room: Vectors) -> Iterator[Judged]:
        scores = room[: len(asked.queries)]
        self._near.score(asked.queries, scores[:, : self._near.items])
        queries = self._queries[asked.queries]
        for part in self._parts():
            out = scores[:, self._near.items + part.start : self._near.items + part.stop]
            np.matmul(queries, self._distractors[part].T, out=out)
        for row in scores:
            row[self._copies] = row[self._originals]
        return judge(scores, asked)

    def _parts(self) -> Iterator[slice]:
        count = self._distractors.shape[0]
        for start in range(0, count, self._step):
            yield slice(start, min(start + self._step, count))


def hashes(rows: Vectors) -> npt.NDArray[np.void]:
    """16 bytes a row, equal where the rows are."""
    import xxhash

    plain = np.ascontiguousarray(rows + np.float32(0))  # −0 + 0 is 0: both have the same bytes
    return np.frombuffer(b"".join(xxhash.xxh3_128_digest(row) for row in plain), np.dtype((np.void, 16)))
