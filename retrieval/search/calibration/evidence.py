"""What queries found in an index and what they should have found: all that a calibration is fitted to and judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval import measures
from retrieval.base import progress
from retrieval.index import Index
from retrieval.index.vectors import packed, signs
from retrieval.measures import UNLABELLED, Pairs
from retrieval.measures.arrays import groups
from retrieval.search.calibration.cohort import Cohort
from retrieval.search.calibration.surroundings import DEPTH, TEN, First, columns, of_query

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
class Found:
    """What queries found.

    Attributes:
        scores: float64 (nq, k), those of the hits as a query shows them, best first, padded with −inf.
        hits: float64 (nq, k, HIT), what surrounds each; of padding it means nothing.
        query: float64 (nq, COLUMNS), what surrounds the query.
    """

    scores: Doubles
    hits: Doubles
    query: Doubles

    def best(self) -> Doubles:
        """The best score (nq,) of each query."""
        first: Doubles = self.scores[:, 0]
        return first


@dataclass(frozen=True)
class Evidence:
    """Queries with what they found.

    Attributes:
        labels: int64 (nq,).
        found: in the index as it is.
        matched: bool (nq, k), whether a hit has the query's label.
        known: bool (nq, k), whether there is a hit and its label is known.
        has_match: bool (nq,), whether the index holds a picture of the query's label besides the query itself.
        without: what they would find if the index held nothing of the query's label and nothing unlabelled: what a
            query without a match finds, by construction. All of it, the hits' surroundings and the cohort, too, is
            made without them.
        other: float64 (nq, COLUMNS), what surrounds the query if the index held nothing of another label, drawn at
            random, and nothing unlabelled. Whether there is a match is learned from this against `without`: both ask
            an index of one label less, or its being emptier would tell.
    """

    labels: Ints
    found: Found
    matched: Mask
    known: Mask
    has_match: Mask
    without: Found
    other: Doubles

    def __len__(self) -> int:
        return len(self.labels)

    def of(self, rows: Mask) -> Evidence:
        """That of some of the queries."""
        found, without = (
            Found(one.scores[rows], one.hits[rows], one.query[rows]) for one in (self.found, self.without)
        )
        seen = self.matched[rows], self.known[rows], self.has_match[rows]
        return Evidence(self.labels[rows], found, *seen, without, self.other[rows])


def gather(
    index: Index,
    vectors: npt.NDArray[np.generic],
    labels: Ints,
    gallery_labels: Ints,
    left_out: Sequence[Ints],
    cohort: Cohort,
    k: int,
    generator: np.random.Generator,
) -> Evidence:
    """Ask an index, and judge its answers by the labels.

    Args:
        index: to be asked as it will be, with its structure.
        vectors: of the queries, as the index takes them. labels: int64 (nq,), none of them unlabelled.
        gallery_labels: int64 (n,), of the index's items by ascending id, in the same numbering.
        left_out: for each query the places (by ascending id) of itself and its exact copies.
        cohort: of the index.
        k: hits a query.
        generator: draws the labels that are left out besides.
    """
    ids, items = index.ids(), _exact(index, index.all_vectors()[1])
    asked = _exact(index, vectors)
    # A matrix product may round the score of equal vectors differently, and equal scores are in order of their ids.
    alike = groups(items)
    _, first = np.unique(alike, return_index=True)
    copies = np.flatnonzero(first[alike] != np.arange(len(items)))
    originals = first[alike[copies]]
    of_cohort = gallery_labels[np.searchsorted(ids, cohort.ids)]
    count = np.bincount(gallery_labels[gallery_labels != UNLABELLED], minlength=int(labels.max()) + 1)
    own = [int((gallery_labels[places] == label).sum()) for places, label in zip(left_out, labels, strict=True)]
    depth = max(k, min(DEPTH, len(ids)))
    known = np.flatnonzero(count)
    drawn = known[generator.integers(0, len(known), len(labels))]
    drawn = np.where(drawn == labels, known[(np.searchsorted(known, drawn) + 1) % len(known)], drawn)
    parts: list[tuple[Found, Ints, Found, Doubles]] = []
    step = max(1, min(_BATCH, _BLOCK // max(1, len(ids))))
    with progress.bar(len(labels), "Asking", "queries") as bar:
        for start in range(0, len(labels), step):
            rows = slice(start, start + step)
            apart = [ids[places].tolist() for places in left_out[rows]]

            def look(near: First, counted: Mask | None, rows: slice = rows, apart: list[list[int]] = apart) -> Found:
                table = columns(near.top(max(k, TEN)), near.top(DEPTH))
                there = np.isfinite(near.top(TEN).scores)
                standard = cohort.standard(vectors[rows], apart, near, counted)
                return Found(near.scores[:, :k], table[:, :k], of_query(table[:, :TEN], there, standard))

            best, hits = index.search(vectors[rows], depth, exclude=apart)
            there = hits >= 0
            found = np.full(hits.shape, UNLABELLED)
            found[there] = gallery_labels[np.searchsorted(ids, hits[there])]
            as_is = look(First(hits, best.astype(np.float64), found), None)

            scores = _scores(index, asked[rows] @ items.T)
            scores[:, copies] = scores[:, originals]
            scores[:, gallery_labels == UNLABELLED] = -np.inf
            for row, places in zip(scores, left_out[rows], strict=True):
                row[places] = -np.inf

            def lacking(gone: Ints, scores: npt.NDArray[np.float32] = scores, look: Any = look) -> Found:
                """What is found if the index holds nothing of a label, another for each query."""
                some = np.where(gone[:, None] == gallery_labels, np.float32(-np.inf), scores)
                counted = (gone[:, None] != of_cohort) & (of_cohort != UNLABELLED)
                seen: Found = look(_first(some, ids, gallery_labels, depth), counted)
                return seen

            parts.append((as_is, found[:, :k], lacking(labels[rows]), lacking(drawn[rows]).query))
            bar.update(len(best))
    all_found = np.concatenate([found for _, found, _, _ in parts])
    as_is, without = (
        Found(*(np.concatenate([getattr(one, name) for one in some]) for name in ("scores", "hits", "query")))
        for some in ([part[0] for part in parts], [part[2] for part in parts])
    )
    seen = np.isfinite(as_is.scores) & (all_found != UNLABELLED)
    return Evidence(
        labels,
        as_is,
        seen & (all_found == labels[:, None]),
        seen,
        count[labels] > own,
        without,
        np.concatenate([part[3] for part in parts]),
    )


def _first(scores: npt.NDArray[np.float32], ids: Ints, labels: Ints, depth: int) -> First:
    """The best of all scores (b, n), equal ones by ascending id."""
    some = np.sort(np.argpartition(-scores, min(depth, scores.shape[1]) - 1, axis=1)[:, :depth], axis=1)
    best = np.take_along_axis(scores, some, axis=1)
    order = np.argsort(-best, axis=1, kind="stable")
    some, best = np.take_along_axis(some, order, axis=1), np.take_along_axis(best, order, axis=1)
    there = np.isfinite(best)
    return First(np.where(there, ids[some], -1), best.astype(np.float64), np.where(there, labels[some], UNLABELLED))


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
