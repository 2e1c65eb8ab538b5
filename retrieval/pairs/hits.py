"""What an encoder finds among labelled pictures: which of its hits are wrong, and how its scores go with a pair
network's."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from retrieval.datasets import PictureSet
from retrieval.encoder import Encoder
from retrieval.errors import RetrievalError
from retrieval.progress import bar
from retrieval.sampling import HitPairs, WrongHits
from retrieval.sampling.labels import Indices

TOP = 100
"""How many hits are looked at: as many as ``--rerank`` puts into a new order."""

GALLERY = 50_000
"""Where there are more pictures, the hits are looked for among so many, drawn at random."""

AT_ONCE = 1024

Vectors = NDArray[np.float32]


class Hits:
    """What an encoder finds among the training pictures of a pair network.

    Args:
        source: the encoder, as :meth:`retrieval.encoder.Encoder.load` takes it.
        train: labelled pictures.
        seed: of everything that is drawn.

    Attributes:
        encoder: as it was loaded.

    Raises:
        RetrievalError: there is no such encoder.
    """

    def __init__(self, source: str, train: PictureSet, seed: int) -> None:
        self.encoder = Encoder.load(source, threads=torch.get_num_threads())
        self.labels = train.labels
        self.seed = seed
        self._vectors = vectors_of(self.encoder, train)
        self._gallery = np.sort(np.random.default_rng(seed).permutation(len(train))[:GALLERY])

    def sampler(self, pairs: int) -> HitPairs:
        """Batches of so many training pairs, most impostors of which are wrong hits."""
        return HitPairs(self.labels, pairs, self.seed, self.wrong())

    def wrong(self) -> WrongHits:
        """Which of each training picture's first hits are of another class: the hard negatives of
        sentence-transformers' ``mine_hard_negatives``."""
        found, counts = [], np.zeros(len(self.labels), np.int64)
        for start in range(0, len(self.labels), AT_ONCE):
            rows = np.arange(start, min(start + AT_ONCE, len(self.labels)))
            hits = self._first(self._vectors[rows], rows)
            wrong = self.labels[hits] != self.labels[rows, None]
            found.append(hits[wrong])
            counts[rows] = wrong.sum(1)
        return WrongHits(np.concatenate(found), counts.cumsum() - counts, counts)

    def ask(self, pictures: PictureSet, count: int) -> Asked:
        """Draw a right and a wrong hit of pictures that are no training pictures.

        Args:
            pictures: labelled, with the classes of the training pictures.
            count: of so many pictures at most.

        Raises:
            RetrievalError: no picture has both.
        """
        random = np.random.default_rng(self.seed)
        rows = random.permutation(len(pictures))[:count]
        asked = pictures.select(rows)
        vectors = vectors_of(self.encoder, asked)
        hits = self._first(vectors)
        right = self.labels[hits] == asked.labels[:, None]
        # the place of one of each, every one as likely
        lots = random.random(hits.shape)
        places = np.stack([np.where(kind, lots, -1).argmax(1) for kind in (right, ~right)], axis=1)
        both = right.any(1) & ~right.all(1)
        if not both.any():
            raise RetrievalError(
                "No validation picture has both right and wrong hits, so that there is nothing to measure; train "
                "without --hits-of, or hold more pictures out (--validation)."
            )
        drawn = np.take_along_axis(hits, places, axis=1)[both]
        similarities = (vectors[both][:, None].astype(np.float64) * self._vectors[drawn]).sum(2)
        return Asked(rows[both], drawn, similarities)

    def _first(self, vectors: Vectors, own: Indices | None = None) -> Indices:
        """The hits of some vectors, int64 (m, up to TOP), best first; a picture itself is none of its own."""
        scores = torch.from_numpy(vectors) @ torch.from_numpy(self._vectors[self._gallery]).T
        if own is not None:
            place = np.searchsorted(self._gallery, own).clip(max=len(self._gallery) - 1)
            there = np.flatnonzero(self._gallery[place] == own)
            scores[there, place[there]] = -torch.inf
        found: Indices = self._gallery[scores.topk(min(TOP, len(self._gallery) - 1)).indices.numpy()]
        return found


class Asked(NamedTuple):
    """Pictures, and for each a right and a wrong hit of an encoder among the training pictures.

    Attributes:
        rows: int64 (n,), the pictures' positions.
        hits: int64 (n, 2), the right and the wrong hit's.
        similarities: float64 (n, 2), the encoder's scores of them.
    """

    rows: Indices
    hits: Indices
    similarities: NDArray[np.float64]


def vectors_of(encoder: Encoder, pictures: PictureSet) -> Vectors:
    """The unit vectors of all pictures, float32 (n, dim)."""
    vectors = np.empty((len(pictures), encoder.dim), np.float32)
    with bar(len(pictures), "Encoding", "pictures") as progress:
        for start in range(0, len(pictures), AT_ONCE):
            rows = np.arange(start, min(start + AT_ONCE, len(pictures)))
            vectors[rows] = encoder.encode(pictures.read(encoder.config.preprocessing, rows))
            progress.update(len(rows))
    return vectors
