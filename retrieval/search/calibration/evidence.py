"""What queries found in an index and what they should have found: all that a calibration is fitted to and judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval import measures
from retrieval.base import progress
from retrieval.index import Index
from retrieval.index.vectors import packed, signs
from retrieval.measures import UNLABELLED, Pairs

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

PAIRS = 200_000
"""Pairs of each kind, genuine and impostor, that are drawn at most."""

_BLOCK = 2**25
"""Scores at a time."""

_BATCH = 256
"""Queries at a time."""


@dataclass(frozen=True)
class Evidence:
    """Queries with what they found.

    Attributes:
        labels: int64 (nq,).
        scores: float64 (nq, k), those of the hits as a query shows them, best first, padded with −inf.
        matched: bool (nq, k), whether a hit has the query's label.
        known: bool (nq, k), whether there is a hit and its label is known.
        has_match: bool (nq,), whether the index holds a picture of the query's label besides the query itself.
        without: float64 (nq, k), the scores of the hits if the index held nothing of the query's label, best first: of
            a query without a match, by construction. Padded with −inf.
    """

    labels: Ints
    scores: Doubles
    matched: Mask
    known: Mask
    has_match: Mask
    without: Doubles

    def __len__(self) -> int:
        return len(self.labels)

    def of(self, rows: Mask) -> Evidence:
        """That of some of the queries."""
        return Evidence(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def hits(self) -> tuple[Doubles, Mask, Ints]:
        """The hits with a known label, one after the other: scores, matches, and the number of the query."""
        return self.scores[self.known], self.matched[self.known], np.nonzero(self.known)[0]

    def best(self) -> Doubles:
        """The best scores (m,) of the queries that have a match."""
        first: Doubles = self.scores[self.has_match, 0]
        return first


def gather(
    index: Index,
    vectors: npt.NDArray[np.generic],
    labels: Ints,
    gallery_labels: Ints,
    left_out: Sequence[Ints],
    k: int,
) -> Evidence:
    """Ask an index, and judge its answers by the labels.

    Args:
        index: to be asked as it will be, with its structure.
        vectors: of the queries, as the index takes them. labels: int64 (nq,), none of them unlabelled.
        gallery_labels: int64 (n,), of the index's items by ascending id, in the same numbering.
        left_out: for each query the places (by ascending id) of itself and its exact copies.
        k: hits a query.
    """
    ids, items = index.ids(), _exact(index, index.all_vectors()[1])
    asked = _exact(index, vectors)
    count = np.bincount(gallery_labels[gallery_labels != UNLABELLED], minlength=int(labels.max()) + 1)
    own = [int((gallery_labels[places] == label).sum()) for places, label in zip(left_out, labels, strict=True)]
    scores = np.full((len(labels), k), -np.inf)
    found = np.full((len(labels), k), UNLABELLED)
    without = np.full((len(labels), k), -np.inf)
    some = min(k, len(ids))
    step = max(1, min(_BATCH, _BLOCK // max(1, len(ids))))
    with progress.bar(len(labels), "Asking", "queries") as bar:
        for start in range(0, len(labels), step):
            rows = slice(start, start + step)
            best, hits = index.search(vectors[rows], k, exclude=[ids[places].tolist() for places in left_out[rows]])
            scores[rows] = best
            there = hits >= 0
            found[rows][there] = gallery_labels[np.searchsorted(ids, hits[there])]
            others = _scores(index, asked[rows] @ items.T)
            others[(labels[rows, None] == gallery_labels) | (gallery_labels == UNLABELLED)] = -np.inf
            for row, places in zip(others, left_out[rows], strict=True):
                row[places] = -np.inf
            np.negative(others, out=others)
            others.partition(some - 1, axis=1)
            without[rows, :some] = -np.sort(others[:, :some], axis=1)
            bar.update(len(best))
    known = np.isfinite(scores) & (found != UNLABELLED)
    return Evidence(labels, scores, known & (found == labels[:, None]), known, count[labels] > own, without)


def pairs(
    index: Index,
    vectors: npt.NDArray[np.generic],
    labels: Ints,
    gallery: npt.NDArray[np.generic] | None,
    gallery_labels: Ints | None,
    seed: int,
) -> Pairs:
    """Pairs of pictures, up to :data:`PAIRS` of each kind, with the scores that the index gives them.

    Args:
        index: whose vectors they are. vectors, labels: of one side.
        gallery, gallery_labels: of the other; None: each two of the one side, once.
        seed: of the draws.

    Raises:
        RetrievalError: there are no two pictures of one label, or none of two.
    """
    left = _exact(index, vectors)
    sides = (left, labels) if gallery is None else (left, labels, _exact(index, gallery), gallery_labels)
    drawn = measures.pair_scores(*sides, sample=PAIRS, seed=seed)
    if sum(drawn.available) > PAIRS:  # genuine pairs are rare among them
        some = measures.pair_scores(*sides, sample=2 * PAIRS, balanced=True, seed=seed)
        impostor, genuine = ~drawn.genuine, some.genuine
        drawn = Pairs(
            np.concatenate([drawn.scores[impostor], some.scores[genuine]]),
            np.concatenate([drawn.genuine[impostor], some.genuine[genuine]]),
            np.concatenate([drawn.classes[impostor], some.classes[genuine]]),
            drawn.available,
        )
    return Pairs(_scores(index, drawn.scores), drawn.genuine, drawn.classes, drawn.available)


def _exact(index: Index, vectors: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """Vectors float32 (n, dim) as they are; codes as ±1, whose inner products no rounding can touch."""
    return signs(packed(vectors)) if index.storage == "binary" else np.asarray(vectors, np.float32)


def _scores(index: Index, products: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Inner products of :func:`_exact` as scores."""
    return products / np.float32(index.dim) if index.storage == "binary" else products
