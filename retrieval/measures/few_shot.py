"""N-way K-shot trials: which of N classes, known from K examples each, does a query belong to?

(Lake, Salakhutdinov and Tenenbaum, "Human-level concept learning", Science 2015; Koch, Zemel and Salakhutdinov,
"Siamese neural networks for one-shot image recognition", 2015.) The true class stands in a random slot, and classes
that share the highest score are answered as often as each other. So a network that says the same to everything scores
1/N; with the true class always in slot 0 and ``argmax`` it would score 100 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval.base.given import seeded
from retrieval.errors import RetrievalError
from retrieval.measures import arrays
from retrieval.measures.arrays import UNLABELLED, Ints

BLOCK_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Trials:
    """What is asked, as positions of items.

    Attributes:
        queries: int64 (t,).
        support: int64 (t, ways, shots), the examples in each slot.
        truth: int64 (t,), the slot of the query's class.
        labels: int64 (t,), the query's class.
    """

    queries: Ints
    support: Ints
    truth: Ints
    labels: Ints


@dataclass(frozen=True)
class FewShot:
    """What came out.

    Attributes:
        correct: float64 (t,), the probability that the true class is answered: 1 or 0, a share where classes tie.
        labels: int64 (t,), the query's class of each trial, to draw intervals over.
        accuracy: the mean. chance: 1/ways.
    """

    correct: npt.NDArray[np.float64]
    labels: Ints
    accuracy: float
    chance: float


def draw_trials(
    labels: npt.ArrayLike,
    *,
    ways: int,
    shots: int = 1,
    trials: int = 1000,
    seed: int = 0,
    groups: npt.ArrayLike | None = None,
) -> Trials:
    """Draw trials from labelled items.

    Each trial draws `ways` of the classes that have more than `shots` items, each as likely as any other, one of them
    as the true one, in a random slot; then `shots` different examples of each, and one further item of the true class,
    the query.

    Args:
        labels: integers (n,), −1 for none: those take no part.
        ways, shots, trials: N, K and how many.
        seed: of the draws.
        groups: integers (n,), such as alphabets: then the classes of a trial are of one group, and each group with
            enough classes is as likely as any other. None: classes of any groups meet.

    Raises:
        RetrievalError: there are not enough classes or items, or a class lies in two groups.
    """
    if ways < 2 or shots < 1 or trials < 1:
        raise RetrievalError(
            f"{trials} trials of {ways} ways and {shots} shots say nothing: give at least 1 trial, 2 ways and 1 shot"
        )
    numbers = arrays.labels(labels, np.size(labels), "items")
    classes, sizes = np.unique(numbers, return_counts=True)
    start = np.cumsum(sizes) - sizes  # where the items of each class begin once they are sorted
    order = np.argsort(numbers, kind="stable")
    of = np.zeros(classes.size, np.int64) if groups is None else _groups_of(groups, order, classes, start, sizes)
    usable = (sizes > shots) & (classes != UNLABELLED)
    pools = [pool for pool in (np.flatnonzero(usable & (of == group)) for group in np.unique(of)) if pool.size >= ways]
    if not pools:
        among = "" if groups is None else " in one group"
        raise RetrievalError(
            f"{ways} ways of {shots} shots need {ways} classes{among} with {shots + 1} items each, and there are "
            f"{int(usable.sum())} such classes in all: ask for less"
        )
    generator = seeded(seed)
    pool = generator.integers(0, len(pools), trials)
    pool_sizes = np.array([pool.size for pool in pools])
    table = np.zeros((len(pools), pool_sizes.max()), np.int64)
    for row, members in zip(table, pools, strict=True):
        row[: members.size] = members
    slots = table[pool[:, None], _subsets(pool_sizes[pool], ways, generator)]
    items = _subsets(sizes[slots].ravel(), shots + 1, generator).reshape(trials, ways, shots + 1)
    items = order[start[slots][:, :, None] + items]
    truth = generator.integers(0, ways, trials)
    every = np.arange(trials)
    return Trials(items[every, truth, shots], items[:, :, :shots], truth, classes[slots[every, truth]])


def few_shot(
    vectors: npt.ArrayLike,
    labels: npt.ArrayLike,
    ways: int,
    shots: int = 1,
    trials: int = 1000,
    seed: int = 0,
    groups: npt.ArrayLike | None = None,
) -> FewShot:
    """N-way K-shot accuracy of embeddings: a class's score is the mean inner product of the query with its K examples,
    which is that with their mean.

    Args:
        vectors: float32 (n, d), unit rows if scores are to be cosines.
        labels, ways, shots, trials, seed, groups: as for :func:`draw_trials`.

    Raises:
        RetrievalError: as for :func:`draw_trials`, or the vectors are not numbers.
    """
    items = arrays.vectors(vectors, "items")
    drawn = draw_trials(
        arrays.labels(labels, len(items), "items"), ways=ways, shots=shots, trials=trials, seed=seed, groups=groups
    )
    return few_shot_of_scores(trial_scores(items, drawn), drawn)


def trial_scores(items: npt.NDArray[np.floating], trials: Trials) -> npt.NDArray[np.float32]:
    """The mean inner product of each trial's query with the examples in each slot.

    Args:
        items: numbers (n, d).
        trials: of these items.

    Returns:
        float32 (t, ways). Slots with the same examples score exactly the same.
    """
    t, ways, shots = trials.support.shape
    scores = np.empty((t, ways), np.float32)
    step = max(1, BLOCK_BYTES // (8 * ways * shots * items.shape[1]))
    for first in range(0, t, step):
        part = slice(first, first + step)
        examples = items[trials.support[part]].astype(np.float64)
        examples *= items[trials.queries[part], None, None]
        # one sum a slot, all in the same order, and rounded: classes with the same examples tie exactly
        scores[part] = examples.sum(axis=3).mean(axis=2)
    return scores


def few_shot_of_scores(scores: npt.ArrayLike, trials: Trials) -> FewShot:
    """The same from scores that something else made for the trials, such as a network that looks at pairs.

    Args:
        scores: numbers (t, ways), one for each slot, higher is more alike.
        trials: what was asked.

    Raises:
        RetrievalError: the shapes differ, or a score is NaN.
    """
    table = np.asarray(scores)
    t, ways = trials.support.shape[:2]
    if table.shape != (t, ways):
        raise RetrievalError(
            f"scores of shape {table.shape} answer {t} trials of {ways} ways: one row a trial, one column a slot"
        )
    if np.isnan(table).any():
        raise RetrievalError(f"{int(np.isnan(table).any(axis=1).sum())} trials have scores that are not a number")
    highest = table == table.max(axis=1, keepdims=True)
    correct = highest[np.arange(t), trials.truth] / highest.sum(axis=1)
    return FewShot(correct, trials.labels, math.fsum(correct) / t, 1 / ways)


def _groups_of(given: npt.ArrayLike, order: Ints, classes: Ints, start: Ints, sizes: Ints) -> Ints:
    """The group of each class."""
    groups = np.asarray(given)
    if groups.shape != order.shape or not np.issubdtype(groups.dtype, np.integer):
        raise RetrievalError(
            f"{order.size} items come with groups of shape {groups.shape} and type {groups.dtype}: give one integer "
            "for each"
        )
    of = groups[order[start]]
    if (np.repeat(of, sizes) != groups[order])[np.repeat(classes, sizes) != UNLABELLED].any():
        raise RetrievalError("a class lies in two groups: number classes so that those of different groups differ")
    return of


def _subsets(sizes: Ints, many: int, generator: np.random.Generator) -> Ints:
    """For each size (m,) `many` different numbers below it in random order: int64 (m, many). Floyd's algorithm, all
    rows at once."""
    chosen = np.empty((sizes.size, many), np.int64)
    for column in range(many):
        last = sizes - many + column
        number = generator.integers(0, last + 1)
        taken = (chosen[:, :column] == number[:, None]).any(axis=1)
        chosen[:, column] = np.where(taken, last, number)
    return generator.permuted(chosen, axis=1)
