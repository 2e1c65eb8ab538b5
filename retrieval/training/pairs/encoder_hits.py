"""What an encoder finds among labelled pictures: which of its hits are wrong, and how its scores go with a pair
network's."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from retrieval.base.given import seeded
from retrieval.datasets import PictureSet
from retrieval.encoder import Encoder
from retrieval.encoder.file_encoding import encode_read
from retrieval.training.sampling.pairs import HitPairs, WrongHits
from retrieval.training.sampling.sampler import Indices

TOP = 100
"""How many hits are looked at: as many as ``--rerank`` puts into a new order."""

GALLERY = 50_000
"""Where there are more pictures, the hits are looked for among so many, drawn at random."""

AT_ONCE = 1024


class Hits:
    """What an encoder finds among the pictures of a training.

    Args:
        source: the encoder, as :meth:`retrieval.encoder.Encoder.load` takes it.
        train, validation: labelled pictures; a position is one among the training pictures, and after them among the
            validation pictures.
        seed: of everything that is drawn.

    Attributes:
        encoder: as it was loaded.

    Raises:
        RetrievalError: there is no such encoder.
    """

    def __init__(self, source: str, train: PictureSet, validation: PictureSet, seed: int) -> None:
        self.encoder = Encoder.load(source, threads=torch.get_num_threads())
        self.labels = np.concatenate([train.labels, validation.labels])
        self.train = len(train)
        self.seed = seed
        self._vectors = np.concatenate([encode_read(self.encoder, some, "pictures") for some in (train, validation)])
        self._gallery = np.sort(seeded(seed).permutation(self.train)[:GALLERY])

    def sampler(self, pairs: int) -> HitPairs:
        """Batches of so many training pairs, most impostors of which are wrong hits."""
        return HitPairs(self.labels[: self.train], pairs, self.seed, self.wrong())

    def wrong(self) -> WrongHits:
        """Which of each training picture's first hits are of another class: the hard negatives of
        sentence-transformers' ``mine_hard_negatives``."""
        found, counts = [], np.zeros(self.train, np.int64)
        for start in range(0, self.train, AT_ONCE):
            rows = np.arange(start, min(start + AT_ONCE, self.train))
            hits = self._first(rows, self._gallery)
            wrong = self.labels[hits] != self.labels[rows, None]
            found.append(hits[wrong])
            counts[rows] = wrong.sum(1)
        return WrongHits(np.concatenate(found), counts.cumsum() - counts, counts)

    def ask(self, count: int) -> Asked | None:
        """Draw a right and a wrong hit, among training and validation pictures, of so many validation pictures at most;
        None if no picture has both."""
        random = np.random.default_rng(self.seed)
        own = np.arange(self.train, len(self.labels))
        rows = random.permutation(own)[:count]
        hits = self._first(rows, np.concatenate([self._gallery, own]))
        right = self.labels[hits] == self.labels[rows, None]
        # the place of one of each, every one as likely
        lots = random.random(hits.shape)
        places = np.stack([np.where(kind, lots, -1).argmax(1) for kind in (right, ~right)], axis=1)
        both = right.any(1) & ~right.all(1)
        if not both.any():
            return None
        rows, drawn = rows[both], np.take_along_axis(hits, places, axis=1)[both]
        similarities = (self._vectors[rows][:, None].astype(np.float64) * self._vectors[drawn]).sum(2)
        return Asked(rows, drawn, similarities)

    def _first(self, rows: Indices, gallery: Indices) -> Indices:
        """The hits of some pictures, int64 (m, up to TOP), best first; a picture itself is none of its own.

        Args:
            gallery: ascending, where they are looked for.
        """
        scores = torch.from_numpy(self._vectors[rows]) @ torch.from_numpy(self._vectors[gallery]).T
        place = np.searchsorted(gallery, rows).clip(max=len(gallery) - 1)
        there = np.flatnonzero(gallery[place] == rows)
        scores[there, place[there]] = -torch.inf
        found: Indices = gallery[scores.topk(min(TOP, len(gallery) - 1)).indices.numpy()]
        return found


class Asked(NamedTuple):
    """Pictures, and for each a right and a wrong hit of an encoder.

    Attributes:
        rows: int64 (n,), the pictures' positions.
        hits: int64 (n, 2), the right and the wrong hit's.
        similarities: float64 (n, 2), the encoder's scores of them.
    """

    rows: Indices
    hits: Indices
    similarities: NDArray[np.float64]
