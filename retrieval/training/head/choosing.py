"""How a head is made: which layers, how much shrunk and how mixed, by cross-validation over pictures and over classes.

What pictures of known classes gain is easily lost on classes that the head never saw. So every candidate is judged on
both, on held-out pictures of learned classes and on held-out classes, and the two count the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from retrieval.base.given import seeded
from retrieval.base.machine import cores
from retrieval.base.threads import in_order
from retrieval.encoder.head_map import HeadMap, unit
from retrieval.training.head.discriminant import Discriminant, Floats, Ints, Layer, Sums

Part = Literal["plain", "white", "learned"]
"""The vectors as they are, whitened, or what was learned to tell the classes apart."""

NAMES: dict[Part, str] = {
    "plain": "the vectors as they are",
    "white": "whitened within classes",
    "learned": "what tells classes apart",
}

Learn = Callable[[npt.NDArray[np.bool_]], Layer]
"""What learns a layer from some of the rows by gradient."""

SHRINKAGES = (0.1, 0.3, 0.6)
MIXES = (0.25, 0.5, 1.0, 2.0, 4.0)

FOLDS = 3

QUERIES, GALLERY = 600, 3000
"""At most so many pictures of a fold ask, and are looked through."""

FEW = 8
"""Classes up to which a discriminant never stands alone."""

FIRST, DEPTH = 10, 100
"""Hits that people look at, and that are looked at at most."""


@dataclass(frozen=True)
class Choice:
    """How a head is made.

    Attributes:
        first: its first part.
        second: the part beside it, None where there is none.
        mix: how much that counts.
        shrinkage: of the scatter.
    """

    first: Part
    second: Part | None
    mix: float
    shrinkage: float

    def __str__(self) -> str:
        beside = "" if self.second is None else f", with {self.mix:g} times {NAMES[self.second]}"
        return f"{NAMES[self.first]}{beside}; shrinkage {self.shrinkage:g}"


SHAPES: tuple[tuple[Part, Part | None], ...] = (
    ("learned", None),
    ("white", None),
    ("learned", "plain"),
    ("learned", "white"),
    ("white", "plain"),
)
"""What is tried, the shorter vectors first."""


@dataclass(frozen=True)
class Learner:
    """Labelled vectors, and what can be learned of them.

    Attributes:
        vectors: float32 (n, d), unit rows.
        labels: int64 (n,), from 0 up to the number of classes.
        learn: how the learned part is made; None: the discriminant.
        dim: the most numbers of a vector; None: as many as it takes.
    """

    vectors: Floats
    labels: Ints
    learn: Learn | None = None
    dim: int | None = None

    @property
    def classes(self) -> int:
        """How many there are."""
        return int(self.labels.max(initial=-1)) + 1

    def made(self, choice: Choice) -> HeadMap:
        """The head that learned from everything."""
        known = Discriminant(Sums.of(self.vectors, self.labels, self.classes))
        own = None
        if self.learn is not None and choice.first == "learned":
            own = self.learn(np.ones(len(self.labels), bool))
        return joined(choice, known, own, self.vectors.shape[1], self.dim)


def part_layer(part: Part, shrinkage: float, size: int, known: Discriminant, own: Layer | None) -> Layer | None:
    """One part of a head; None for the vectors as they are.

    Args:
        size: its length, at most. known: of the vectors. own: the learned part, where it is no discriminant.
    """
    if part == "plain":
        return None
    if part == "white":
        return known.whitening(shrinkage, size)
    return known.discriminant(shrinkage, size) if own is None else own


def joined(choice: Choice, known: Discriminant, own: Layer | None, d: int, dim: int | None) -> HeadMap:
    """A head of its parts.

    Args:
        d: length of the vectors below. dim: of those above, at most.
    """
    most = dim or 2 * d
    first = part_layer(choice.first, choice.shrinkage, min(d, most), known, own)
    assert first is not None
    left = most - len(first[0])
    if choice.second is None or left < 1:
        return HeadMap(*first)
    if choice.second == "plain" and left >= d:
        return HeadMap(*first, None, choice.mix)
    # What does not fit is cut to where the vectors spread most; shrunk all the way, nothing is whitened.
    shrinkage = 1.0 if choice.second == "plain" else choice.shrinkage
    return HeadMap(*first, known.whitening(shrinkage, min(d, left)), choice.mix)


def choose(
    learner: Learner, *, shrinkage: float | None = None, mix: float | None = None, seed: int = 0
) -> tuple[Choice, Mapping[Choice, float]]:
    """The shortest head whose quality is within a standard error of the best one's.

    Quality is the mean of the share of matches among the first ten hits and of MAP@R, on held-out pictures of learned
    classes and on held-out classes, which count the same.

    Args:
        shrinkage, mix: what is settled already.

    Returns:
        The choice, and the quality of every candidate.
    """
    shrinkages = SHRINKAGES if shrinkage is None else (shrinkage,)
    mixes = MIXES if mix is None else (mix,)
    # One or two numbers would tell classes apart, and pictures of one class not at all: all of them would tie.
    short = learner.learn is None and learner.classes <= FEW and mix is None
    candidates = [
        Choice(first, second, weight, shrunk)
        for first, second in SHAPES
        if not (short and (first, second) == ("learned", None))
        if learner.learn is None or first == "learned"
        if mix is None or (second is None) == (mix == 0)
        for weight in ((0.0,) if second is None else mixes)
        for shrunk in shrinkages
    ]
    scores: dict[Choice, list[Floats]] = {candidate: [] for candidate in candidates}
    for trial in _trials(learner, seed):
        plain = learner.vectors[trial.queries] @ learner.vectors[trial.gallery].T
        for shrunk in shrinkages:
            found = {"plain": plain, **trial.similarities(learner, shrunk)}
            some = [candidate for candidate in candidates if candidate.shrinkage == shrunk]
            judged = in_order(lambda one, of=trial, by=found: of.quality(_mixed(one, by)), some, cores())  # type: ignore[misc]
            for candidate, quality in zip(some, judged, strict=True):
                scores[candidate].append(quality)
    quality = {candidate: float(np.mean([fold.mean() for fold in folds])) for candidate, folds in scores.items()}
    best = max(candidates, key=lambda candidate: quality[candidate])
    return next(c for c in candidates if _as_good(scores[c], scores[best])), quality


def _as_good(some: list[Floats], best: list[Floats]) -> bool:
    """Whether the mean over folds is within a standard error of the best, query by query."""
    gaps = [b - s for s, b in zip(some, best, strict=True)]
    error = np.sqrt(sum(gap.var() / len(gap) for gap in gaps)) / len(gaps)
    return bool(np.mean([gap.mean() for gap in gaps]) <= error)


def _mixed(choice: Choice, similarities: Mapping[Part, Floats]) -> Floats:
    """The similarity that a head gives, of those of its parts."""
    first = similarities[choice.first]
    if choice.second is None:
        return first
    return first + np.float32(choice.mix**2) * similarities[choice.second]


@dataclass(frozen=True)
class _Trial:
    """One fold: what was learned without it, and who asks what.

    Attributes:
        known: of the rows that are learned from. own: the layer learned by gradient.
        queries, gallery: places of the rows.
    """

    known: Discriminant
    own: Layer | None
    queries: Ints
    gallery: Ints
    relevant: npt.NDArray[np.bool_]
    same: npt.NDArray[np.bool_]

    def similarities(self, learner: Learner, shrinkage: float) -> dict[Part, Floats]:
        """float32 (queries, gallery), the inner products of each part that has a layer."""
        d = learner.vectors.shape[1]
        found: dict[Part, Floats] = {}
        for part in ("white", "learned"):
            layer = part_layer(part, shrinkage, min(d, learner.dim or d), self.known, self.own)
            assert layer is not None
            asked, shelf = (
                unit(learner.vectors[rows] @ layer[0].T + layer[1]) for rows in (self.queries, self.gallery)
            )
            found[part] = asked @ shelf.T
        return found

    def quality(self, similar: Floats) -> Floats:
        """float32 (queries,): the mean of the share of matches among the first ten and of MAP@R.

        Of fewer matches than ten their number is what ten is; of more than a hundred, a hundred is what R is.
        """
        similar = np.where(self.same, np.finfo(np.float32).min, similar)
        depth = min(DEPTH, similar.shape[1])
        # What is no match is written into the last bit of its similarity, and so comes first among equals: sorting
        # numbers is twice as fast as sorting places.
        marked = (similar.view(np.uint32) & ~np.uint32(1) | ~self.relevant).view(np.float32)
        best = np.sort(np.partition(marked, -depth, axis=1)[:, -depth:], axis=1)[:, ::-1]
        right = np.ascontiguousarray(best).view(np.uint32) & 1 == 0
        r = np.minimum(depth, self.relevant.sum(1))[:, None]
        ranks = np.arange(1, depth + 1)
        precise = np.where(right & (ranks <= r), right.cumsum(1) / ranks, 0).sum(1) / r[:, 0]
        first = right[:, :FIRST].sum(1) / np.minimum(FIRST, r[:, 0])
        quality: Floats = ((first + precise) / 2).astype(np.float32)
        return quality


def _trials(learner: Learner, seed: int) -> Iterator[_Trial]:
    """The folds, over pictures and over classes."""
    random = seeded(seed)
    labels, classes = learner.labels, learner.classes
    by_class = random.permutation(classes) % FOLDS
    order = random.permutation(len(labels))
    by_picture = np.empty(len(labels), np.int64)
    by_picture[order[np.argsort(labels[order], kind="stable")]] = np.arange(len(labels)) % FOLDS  # each class is spread
    cells = {
        (i, j): Sums.of(learner.vectors[rows], labels[rows], classes)
        for i, j in itertools.product(range(FOLDS), repeat=2)
        for rows in [(by_picture == i) & (by_class[labels] == j)]
    }
    for which, folds in enumerate((by_picture, by_class[labels])):
        for fold in range(FOLDS):
            held = folds == fold
            parts = [sums for place, sums in cells.items() if place[which] != fold]
            if len(np.unique(labels[~held])) < 2 or (which and len(np.unique(labels[held])) < 2):
                continue
            known = Discriminant(sum(parts[1:], start=parts[0]))
            own = None if learner.learn is None else learner.learn(~held)
            asking = np.sort(random.permutation(np.flatnonzero(held))[:QUERIES])
            shelf = np.sort(random.permutation(np.flatnonzero(held if which else ~held))[:GALLERY])
            same = asking[:, None] == shelf
            relevant = (labels[asking][:, None] == labels[shelf]) & ~same
            asks = relevant.any(1)
            if asks.any():
                yield _Trial(known, own, asking[asks], shelf, relevant[asks], same[asks])
