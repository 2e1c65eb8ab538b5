"""What the simulation of benchmarks/intervals.py draws from, written down before any interval was tried on it.

Each population says what one draw of some queries or classes holds, and what its figure truly is: the mean, or the
rate, of all queries or classes that there could be. True means are 0.2, 0.5 and 0.9; values tie; classes are of unequal
size, and the larger ones are easier.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from retrieval.measures import Pairs, Roc, pair_scores

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Random = np.random.Generator

MEANS = (0.2, 0.5, 0.9)
PLENTY = 1_000_000
"""Queries, and classes, that stand for all there could be where their mean is not known exactly."""

DIM = 16
"""Numbers of a vector."""

SPREADS = (0.55, 0.9, 1.5)
"""How far classes lie apart, in units of the median class's own spread: hard, middling and easy to tell."""


class Means(NamedTuple):
    """A measure of queries.

    Attributes:
        name: of the measure and its true mean.
        draw: values of this shape, from the generator; of classes: from their sizes, one value a query.
        truth: the mean.
        limits: between which values lie.
    """

    name: str
    draw: Callable[..., Doubles]
    truth: float
    limits: tuple[float, float] = (0, 1)


def _share(rng: Random, shape: tuple[int, ...], mean: float) -> Doubles:
    return (rng.random(shape) < mean).astype(np.float64)


def _precision(rng: Random, shape: tuple[int, ...], mean: float) -> Doubles:
    return rng.binomial(10, rng.beta(2 * mean, 2 * (1 - mean), shape)) / 10


def _average(rng: Random, shape: tuple[int, ...], mean: float) -> Doubles:
    """Some queries are answered perfectly; the others lie anywhere, most near the ends."""
    perfect = {0.2: 0.0, 0.5: 0.2, 0.9: 0.6}[mean]
    rest = (mean - perfect) / (1 - perfect)
    return np.where(rng.random(shape) < perfect, 1.0, rng.beta(2 * rest, 2 * (1 - rest), shape))


def _changed_share(rng: Random, shape: tuple[int, ...], gains: float, losses: float) -> Doubles:
    lot = rng.random(shape)
    return (lot < gains).astype(np.float64) - (lot > 1 - losses)


def _changed_precision(rng: Random, shape: tuple[int, ...], gain: float) -> Doubles:
    chance = rng.beta(1, 1, shape)
    return (rng.binomial(10, chance + gain * (1 - chance)) - rng.binomial(10, chance)) / 10


def _changed_average(rng: Random, shape: tuple[int, ...], gains: float, losses: float) -> Doubles:
    """Most queries score the same twice; the others move some of the way to 1 or to 0."""
    before, lot, way = _average(rng, shape, 0.5), rng.random(shape), rng.random(shape)
    return np.where(lot < gains, (1 - before) * way, np.where(lot > 1 - losses, -before * way, 0.0))


OF_QUERIES = {
    "recall@1": [Means(f"{mean}", functools.partial(_share, mean=mean), mean) for mean in MEANS],
    "P@10": [Means(f"{mean}", functools.partial(_precision, mean=mean), mean) for mean in MEANS],
    "AP": [Means(f"{mean}", functools.partial(_average, mean=mean), mean) for mean in MEANS],
    "recall@1, paired": [
        Means(f"+{gain} −{loss}", functools.partial(_changed_share, gains=gain, losses=loss), gain - loss, (-1, 1))
        for gain, loss in ((0.05, 0.05), (0.1, 0.02), (0.25, 0.1))
    ],
    "P@10, paired": [
        Means(f"+{gain}", functools.partial(_changed_precision, gain=gain), gain / 2, (-1, 1)) for gain in (0.0, 0.1)
    ],
    "AP, paired": [
        Means(
            f"+{gain} −{loss}",
            functools.partial(_changed_average, gains=gain, losses=loss),
            (gain - loss) / 4,
            (-1, 1),
        )
        for gain, loss in ((0.25, 0.25), (0.3, 0.2), (0.2, 0.02))
    ],
}


def sizes(rng: Random, shape: tuple[int, ...], mean: float = 8, most: int = 40) -> Ints:
    """Queries of each class: mostly few, of some many."""
    return np.minimum(rng.geometric(1 / mean, shape), most)


def _qualities(rng: Random, of: Ints, mean: float) -> Doubles:
    """How well queries of each class do, the larger classes better."""
    odds = mean / (1 - mean) * np.sqrt(of / 12)
    level = odds / (1 + odds)
    return np.clip(rng.beta(4 * level, 4 * (1 - level)), 0.001, 0.999)


def _class_share(rng: Random, of: Ints, mean: float) -> Doubles:
    return (rng.random(int(of.sum())) < np.repeat(_qualities(rng, of, mean), of)).astype(np.float64)


def _class_precision(rng: Random, of: Ints, mean: float) -> Doubles:
    return rng.binomial(10, np.repeat(_qualities(rng, of, mean), of)) / 10


def _class_average(rng: Random, of: Ints, mean: float) -> Doubles:
    quality = np.repeat(_qualities(rng, of, mean), of)
    return rng.beta(2 * quality, 2 * (1 - quality))


def _class_changed_share(rng: Random, of: Ints, gains: float, losses: float) -> Doubles:
    up, down = (np.repeat(rng.beta(1, 1 / share - 1, of.shape), of) for share in (gains, losses))
    lot = rng.random(len(up))
    # a class's gains and losses are drawn apart, and together they may be more than all
    return (lot < up).astype(np.float64) - (rng.random(len(up)) < down)


def _class_changed_average(rng: Random, of: Ints, gain: float) -> Doubles:
    effect = np.repeat(rng.normal(gain, 0.08, of.shape), of)
    moved = np.clip(effect + rng.laplace(0, 0.1, len(effect)), -1, 1)
    return np.where(rng.random(len(effect)) < 0.5, 0.0, moved)


def _mean_of_all(draw: Callable[..., Doubles]) -> float:
    rng = np.random.default_rng(0)
    return float(draw(rng, sizes(rng, (PLENTY,))).mean())


@functools.cache
def of_classes() -> dict[str, list[Means]]:
    """As :data:`OF_QUERIES`, for whole classes of queries."""

    def all_of(draw: Callable[..., Doubles]) -> list[Means]:
        given = [functools.partial(draw, mean=mean) for mean in MEANS]
        return [Means(f"{mean}", one, _mean_of_all(one)) for mean, one in zip(MEANS, given, strict=True)]

    shares = [
        functools.partial(_class_changed_share, gains=gain, losses=loss) for gain, loss in ((0.05, 0.05), (0.15, 0.05))
    ]
    averages = [functools.partial(_class_changed_average, gain=gain) for gain in (0.0, 0.06)]
    return {
        "recall@1": all_of(_class_share),
        "P@10": all_of(_class_precision),
        "AP": all_of(_class_average),
        "recall@1, paired": [
            Means(name, one, truth, (-1, 1))
            for name, one, truth in zip(("+0.05 −0.05", "+0.15 −0.05"), shares, (0.0, 0.1), strict=True)
        ],
        "AP, paired": [
            Means(name, one, _mean_of_all(one), (-1, 1)) for name, one in zip(("+0", "+0.06"), averages, strict=True)
        ],
    }


class Embedding(NamedTuple):
    """Vectors of classes, to be verified.

    Attributes:
        name: of it. spread: how far classes lie apart. codes: whether vectors are signs, so that most scores tie.
    """

    name: str
    spread: float
    codes: bool = False

    def vectors(self, rng: Random, classes: int) -> tuple[npt.NDArray[np.float32], Ints]:
        """Unit vectors (n, d) and labels (n,): some classes lie closer together than others."""
        of = 1 + sizes(rng, (classes,), 5, 20)
        labels = np.repeat(np.arange(classes), of)
        centres = self.spread * rng.normal(size=(classes, DIM))
        own = np.exp(0.4 * rng.normal(size=classes))
        vectors = centres[labels] + own[labels, None] * rng.normal(size=(len(labels), DIM))
        if self.codes:
            vectors = np.where(vectors > 0, 1.0, -1.0)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors.astype(np.float32), labels

    def draw(self, rng: Random, classes: int) -> Pairs:
        """As `evaluate` takes pairs: half of them genuine, of all there are."""
        return pair_scores(*self.vectors(rng, classes), sample=20_000, balanced=True, seed=int(rng.integers(2**31)))

    def truth(self) -> dict[str, float]:
        """The figures of as many classes as there could be."""
        vectors, labels = self.vectors(np.random.default_rng(0), PLENTY // 20)
        pairs = pair_scores(vectors, labels, sample=2 * PLENTY, balanced=True)
        roc = Roc.of(pairs.scores, pairs.genuine)
        return {"AUC": roc.auc(), "EER": roc.equal_error()[0], "FPR at 95 % recall": roc.false_match_at(0.95)}


EMBEDDINGS = [
    *(Embedding(name, spread) for name, spread in zip(("hard", "middling", "easy"), SPREADS, strict=True)),
    Embedding("codes", SPREADS[2], codes=True),
]
