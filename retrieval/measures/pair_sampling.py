"""Pairs of items with their scores: what verification is measured on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval.base.given import seeded
from retrieval.errors import RetrievalError
from retrieval.measures import arrays
from retrieval.measures.arrays import UNLABELLED, Ints, Vectors, groups

MOST_PAIRS = 2 * 10**7
"""All pairs are only taken where there are no more: about a gigabyte with everything that is made of them."""

BLOCK_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Pairs:
    """Pairs to be told apart: genuine ones are of one class.

    Attributes:
        scores: float32 (p,), the inner products, rounded from float64, so that equal vectors tie exactly.
        genuine: bool (p,).
        classes: int32 (p, 2), a number for each side's class, equal exactly in the genuine pairs.
        available: how many genuine and how many impostor pairs there were.
    """

    scores: Vectors
    genuine: npt.NDArray[np.bool_]
    classes: npt.NDArray[np.int32]
    available: tuple[int, int]


def pair_scores(
    queries: npt.ArrayLike,
    query_labels: npt.ArrayLike,
    gallery: npt.ArrayLike | None = None,
    gallery_labels: npt.ArrayLike | None = None,
    *,
    own: npt.ArrayLike | None = None,
    sample: int | None = None,
    balanced: bool = False,
    seed: int = 0,
) -> Pairs:
    """Pairs of embeddings with their scores.

    Args:
        queries: float32 (nq, d), unit rows if scores are to be cosines.
        query_labels: integers (nq,), −1 for none: those are left out.
        gallery: float32 (n, d). None: each two of the queries are a pair, once and never with themselves. Otherwise
            each query makes a pair with each item of the gallery.
        gallery_labels: integers (n,).
        own: integers (nq,), where each query itself stands in the gallery, −1 where it does not; that is no pair.
        sample: draw so many of the pairs at random, each as likely as any other and none twice; all of them where
            there are no more. None: all.
        balanced: draw half of them genuine and half impostor; as many as there are of the rarer kind at most.
        seed: of the draws, which do not depend on the order of queries and gallery.

    Raises:
        RetrievalError: the arrays do not fit together, one kind of pair is missing, or all pairs are too many.
    """
    arrays.require_sides(gallery, gallery_labels, own)
    if gallery is None or gallery_labels is None:
        items, _ = arrays.pair(queries, queries)
        space = _Space.within(*_labelled(items, query_labels, "queries")[:2])
    else:
        asked, shelf = arrays.pair(queries, gallery)
        positions = arrays.own_positions(own, len(asked), len(shelf))
        asked, asked_labels, kept = _labelled(asked, query_labels, "queries")
        shelf, shelf_labels, order = _labelled(shelf, gallery_labels, "gallery")
        place = np.full(np.shape(gallery)[0] + 1, -1)  # the last one is for −1
        place[order] = np.arange(len(order))
        space = _Space.between(asked, asked_labels, shelf, shelf_labels, place[positions[kept]])
    genuine, impostor = int(space.genuine.sum()), int(space.impostor.sum())
    if not genuine or not impostor:
        raise RetrievalError(
            f"there are {genuine} genuine and {impostor} impostor pairs: give items of two classes or more, and two "
            "or more of a class"
        )
    if sample is not None and sample < 2:
        raise RetrievalError(f"a sample of {sample} pairs cannot hold both kinds: draw more")
    generator = seeded(seed)
    if sample is None and not balanced:
        if genuine + impostor > MOST_PAIRS:
            raise RetrievalError(
                f"there are {genuine + impostor:,} pairs, and no more than {MOST_PAIRS:,} are taken all at once: "
                "give a sample"
            )
        return space.all((genuine, impostor))
    most = genuine + impostor if sample is None else sample
    if balanced:
        each = min(most // 2, genuine, impostor)
        drawn = _drawn(genuine, each, generator), _drawn(impostor, each, generator)
    else:
        both = _drawn(genuine + impostor, min(most, genuine + impostor), generator)
        drawn = both[both < genuine], both[both >= genuine] - genuine
    if not (drawn[0].size and drawn[1].size):
        raise RetrievalError(
            f"a sample of {sample} pairs holds {drawn[0].size} genuine and {drawn[1].size} impostor ones of {genuine} "
            f"and {impostor}: draw more, or balanced"
        )
    return space.some(*drawn, (genuine, impostor))


@dataclass(frozen=True)
class _Space:
    """All pairs in an order, without holding any: rows on the left, and on the right items sorted by label.

    Attributes:
        left, right: float32 (nq, d) and (n, d). left_classes, right_classes: int32, a number for each label.
        genuine, impostor: int64 (nq,), how many pairs of each kind a row makes.
        start, stop: int64 (nq,), the slice of the right side that has the row's label.
        skip: int64 (nq,), what stands in that slice and is no pair, −1 if nothing.
        once: whether both sides are the same, so that a row only meets what comes after it.
    """

    left: Vectors
    right: Vectors
    left_classes: npt.NDArray[np.int32]
    right_classes: npt.NDArray[np.int32]
    genuine: Ints
    impostor: Ints
    start: Ints
    stop: Ints
    skip: Ints
    once: bool

    @classmethod
    def within(cls, items: Vectors, labels: Ints) -> _Space:
        stop = np.searchsorted(labels, labels, side="right")
        start = np.arange(len(labels)) + 1
        numbers = np.unique(labels, return_inverse=True)[1].astype(np.int32)
        nothing = np.full(len(labels), -1)
        return cls(items, items, numbers, numbers, stop - start, len(labels) - stop, start, stop, nothing, True)

    @classmethod
    def between(cls, left: Vectors, left_labels: Ints, right: Vectors, right_labels: Ints, skip: Ints) -> _Space:
        start = np.searchsorted(right_labels, left_labels, side="left")
        stop = np.searchsorted(right_labels, left_labels, side="right")
        strange = int(((skip >= 0) & ((skip < start) | (skip >= stop))).sum())
        if strange:
            raise RetrievalError(
                f"{strange} queries have another label than they themselves in the gallery: check `own`"
            )
        numbers = np.unique(np.concatenate([left_labels, right_labels]), return_inverse=True)[1].astype(np.int32)
        genuine = stop - start - (skip >= 0)
        impostor = len(right) - (stop - start)
        sides = numbers[: len(left)], numbers[len(left) :]
        return cls(left, right, *sides, genuine, impostor, start, stop, skip, False)

    def some(self, genuine: Ints, impostor: Ints, available: tuple[int, int]) -> Pairs:
        """The pairs of these numbers."""
        row, place = _located(self.genuine, genuine)
        place += self.start[row]
        place += (self.skip[row] >= 0) & (place >= self.skip[row])
        other_row, other = _located(self.impostor, impostor)
        if self.once:
            other += self.stop[other_row]
        else:
            other += (self.stop - self.start)[other_row] * (other >= self.start[other_row])
        rows, places = np.concatenate([row, other_row]), np.concatenate([place, other])
        scores = np.empty(len(rows), np.float32)
        step = max(1, BLOCK_BYTES // (16 * self.left.shape[1]))
        for first in range(0, len(rows), step):
            part = slice(first, first + step)
            one, two = self.left[rows[part]].astype(np.float64), self.right[places[part]].astype(np.float64)
            scores[part] = np.einsum("ij,ij->i", one, two)
        classes = np.stack([self.left_classes[rows], self.right_classes[places]], axis=1)
        return Pairs(scores, np.arange(len(rows)) < len(row), classes, available)

    def all(self, available: tuple[int, int]) -> Pairs:
        """All of them, a block of rows at a time."""
        total = sum(available)
        scores, genuine = np.empty(total, np.float32), np.empty(total, bool)
        classes = np.empty((total, 2), np.int32)
        right = self.right.astype(np.float64).T
        step, done = max(1, BLOCK_BYTES // (8 * len(self.right))), 0
        for first in range(0, len(self.left), step):
            block = self.left[first : first + step].astype(np.float64) @ right
            for row, row_scores in enumerate(block, start=first):
                kept = np.ones(len(self.right), bool)
                kept[: row + 1 if self.once else 0] = False
                if self.skip[row] >= 0:
                    kept[self.skip[row]] = False
                places = np.flatnonzero(kept)
                part = slice(done, done + places.size)
                scores[part] = row_scores[places]
                genuine[part] = self.right_classes[places] == self.left_classes[row]
                classes[part, 0], classes[part, 1] = self.left_classes[row], self.right_classes[places]
                done += places.size
        return Pairs(scores, genuine, classes, available)


def _labelled(items: Vectors, labels: npt.ArrayLike, what: str) -> tuple[Vectors, Ints, Ints]:
    """The items with a label, sorted by it and by vector, so that a sample does not depend on how they were given:
    vectors, labels, and where each stood."""
    numbers = arrays.labels(labels, len(items), what)
    kept = np.flatnonzero(numbers != UNLABELLED)
    order = kept[np.lexsort((groups(items[kept]), numbers[kept]))]
    return items[order], numbers[order], order


def _located(counts: Ints, numbers: Ints) -> tuple[Ints, Ints]:
    """The row that each of these numbers falls into, where each row takes up its count, and where in it."""
    ends = np.cumsum(counts)
    rows = np.searchsorted(ends, numbers, side="right")
    return rows, numbers - (ends - counts)[rows]


def _drawn(total: int, size: int, generator: np.random.Generator) -> Ints:
    """`size` different numbers below `total` in memory of that order, ascending."""
    if total <= 4 * size:
        return np.sort(generator.permutation(total)[:size])
    found = np.zeros(0, np.int64)
    while found.size < size:
        found = np.unique(np.concatenate([found, generator.integers(0, total, size)]))
    return np.sort(generator.choice(found, size, replace=False))
