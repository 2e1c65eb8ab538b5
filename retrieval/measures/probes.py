"""What a simple classifier reads off a frozen embedding: how well its classes can be told apart."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.base.given import seeded
from retrieval.errors import RetrievalError
from retrieval.measures.exhaustive import rank

COSTS = (0.01, 0.1, 1.0, 10.0, 100.0)
"""The values of C to choose from, for features whose squares sum to 1 on average."""

NEIGHBOURS = (1, 5, 10, 20, 50)
"""The numbers of neighbours to choose from."""

FIT_NUMBERS = 2 * 10**8
"""A linear fit reads at most so many feature values times classes: half a minute or so of one core."""

CHOICE_NUMBERS = 10**7
"""The same for each of the fits that only choose C."""

KERNEL_ITEMS = 10_000
"""A fit with a kernel compares each two items, so it takes no more of them; a fifth of that to choose C."""

CHOICE_QUERIES = 500
"""So many of the training items ask the others for their nearest neighbours, to choose how many."""

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Probe:
    """A probe's answers.

    Attributes:
        correct: float64 (m,), 1 where the test item's class was named, else 0; for nearest neighbours the probability
            of that.
        chosen: the C that validation within the training items chose; for nearest neighbours how many of them.
        validation: its accuracy there.
        trained_on: how many items the probe was fitted on. available: how many there were.
        converged: whether the solver reached its tolerance; its last step is near enough to be used if not.
    """

    correct: npt.NDArray[np.float64]
    chosen: float
    validation: float
    trained_on: int
    available: int
    converged: bool


def linear_probe(
    train: Floats,
    train_labels: Integers,
    test: Floats,
    test_labels: Integers,
    *,
    costs: tuple[float, ...] = COSTS,
    seed: int = 0,
) -> Probe:
    """Accuracy of a linear support vector machine fitted on `train` and judged on `test`.

    scikit-learn's LinearSVC (one against the rest, squared hinge loss, L2 penalty) on features standardised by the mean
    and deviation of `train`, and divided by √d so that C means the same for every d. C is chosen by a stratified fifth
    of `train` that the choosing fits do not see; then the machine is fitted on all of `train`. `test` has no part in
    any choice. Where `train` is so large that a fit would take too long (:data:`FIT_NUMBERS`), a stratified sample is
    taken, and `trained_on` says so.

    Args:
        train: (n, d); train_labels: integers (n,), −1 for items to be ignored.
        test: (m, d); test_labels: integers (m,). A test item of a class that `train` lacks counts as wrong.
        costs: the values of C to choose from.
        seed: of the samples and the split.

    Raises:
        RetrievalError: `train` holds fewer than two classes.
    """

    def machine(cost: float) -> Any:
        from sklearn.svm import LinearSVC

        # The dual is several times faster where C is small, and its steps are bounded where C is large; a tighter
        # tolerance changes hardly an answer, only the time.
        return LinearSVC(C=cost, dual=True, tol=1e-3, random_state=seed)

    return _probe(machine, _linear_items, train, train_labels, test, test_labels, costs, seed)


def logistic_probe(
    train: Floats,
    train_labels: Integers,
    test: Floats,
    test_labels: Integers,
    *,
    costs: tuple[float, ...] = COSTS,
    seed: int = 0,
) -> Probe:
    """The same of a logistic regression: scikit-learn's, multinomial, L2 penalty, L-BFGS of at most 300 steps.

    Arguments and protocol as for :func:`linear_probe`.
    """

    def machine(cost: float) -> Any:
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=cost, tol=1e-3, max_iter=300)

    return _probe(machine, _linear_items, train, train_labels, test, test_labels, costs, seed)


def kernel_probe(
    train: Floats,
    train_labels: Integers,
    test: Floats,
    test_labels: Integers,
    *,
    costs: tuple[float, ...] = COSTS,
    seed: int = 0,
) -> Probe:
    """The same of a support vector machine with a Gaussian kernel: scikit-learn's SVC with γ = 1, one class against
    one, on features whose squares sum to 1 on average. It sees :data:`KERNEL_ITEMS` items at most.

    Arguments and protocol as for :func:`linear_probe`.
    """

    def machine(cost: float) -> Any:
        from sklearn.svm import SVC

        return SVC(C=cost, gamma=1.0)

    def most(dim: int, classes: int) -> tuple[int, int]:
        return KERNEL_ITEMS, KERNEL_ITEMS // 5

    return _probe(machine, most, train, train_labels, test, test_labels, costs, seed)


def knn_probe(
    train: Floats,
    train_labels: Integers,
    test: Floats,
    test_labels: Integers,
    *,
    neighbours: tuple[int, ...] = NEIGHBOURS,
    seed: int = 0,
) -> Probe:
    """Accuracy of the nearest neighbours' plain vote by inner product, ties by expectation.

    How many vote is chosen by at most :data:`CHOICE_QUERIES` items of `train`, a stratified fifth of it or fewer, asked
    against the others. Arguments as for :func:`linear_probe`.
    """
    train, train_labels = _two_classes(train, train_labels)

    def correct(items: Integers, asked: Floats, labels: Integers, k: int) -> npt.NDArray[np.float64]:
        answers = np.zeros(len(labels))
        known = np.isin(labels, train_labels[items])
        if known.any():
            ranked = rank(asked[known], labels[known], train[items], train_labels[items], ks=(), neighbours=k)
            answers[np.flatnonzero(known)[ranked.queries]] = ranked.values[f"kNN accuracy (k={k})"]
        return answers

    judge = _sample(train_labels, min(len(train) // 5, CHOICE_QUERIES), seeded(seed))
    rest = np.setdiff1d(np.arange(len(train)), judge)
    accuracies = [0.0] * len(neighbours)
    if len(neighbours) > 1 and judge.size:
        accuracies = [float(correct(rest, train[judge], train_labels[judge], k).mean()) for k in neighbours]
    chosen = int(np.argmax(accuracies))  # of equals the fewest
    answers = correct(np.arange(len(train)), test, test_labels, neighbours[chosen])
    return Probe(answers, neighbours[chosen], accuracies[chosen], len(train), len(train), True)


def _probe(
    machine: Callable[[float], Any],
    most: Callable[[int, int], tuple[int, int]],
    train: Floats,
    train_labels: Integers,
    test: Floats,
    test_labels: Integers,
    costs: tuple[float, ...],
    seed: int,
) -> Probe:
    """`machine` makes an unfitted classifier with a C; `most` says how many items it may see at last, and how many
    while C is chosen, by dimensions and classes."""
    train, train_labels = _two_classes(train, train_labels)
    generator = seeded(seed)
    all_of_it, choosing = most(train.shape[1], np.unique(train_labels).size)
    kept = _sample(train_labels, all_of_it, generator)
    mean, deviation = train[kept].mean(axis=0), train[kept].std(axis=0)
    scale = deviation * np.sqrt(train.shape[1])
    scale[scale == 0] = 1  # a dead dimension stays 0
    features, labels = (train[kept] - mean) / scale, train_labels[kept]

    tried = _sample(labels, choosing, generator)
    held = np.zeros(len(tried), bool)
    held[_sample(labels[tried], len(tried) // 5, generator)] = True
    fit, judge = tried[~held], tried[held]
    accuracies = [0.0] * len(costs)
    if len(costs) > 1 and judge.size and np.unique(labels[fit]).size > 1:
        for place, cost in enumerate(costs):
            answers = _fitted(machine(cost), features[fit], labels[fit])[0].predict(features[judge])
            accuracies[place] = float((answers == labels[judge]).mean())
    chosen = int(np.argmax(accuracies))  # of equals the smallest C: the wider margin
    fitted, converged = _fitted(machine(costs[chosen]), features, labels)
    correct = fitted.predict((test - mean) / scale) == test_labels
    return Probe(correct.astype(np.float64), costs[chosen], accuracies[chosen], len(kept), len(train), converged)


def _linear_items(dim: int, classes: int) -> tuple[int, int]:
    numbers = dim * (classes if classes > 2 else 1)
    return FIT_NUMBERS // numbers, max(CHOICE_NUMBERS // numbers, 1000)


def _fitted(machine: Any, features: Floats, labels: Integers) -> tuple[Any, bool]:
    """The machine, fitted, and whether it converged."""
    from sklearn.exceptions import ConvergenceWarning  # here, because scikit-learn takes a second to import

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        machine.fit(features, labels)
    return machine, not any(issubclass(one.category, ConvergenceWarning) for one in warned)


def _two_classes(train: Floats, train_labels: Integers) -> tuple[Floats, Integers]:
    """Without the unlabelled items."""
    train, train_labels = train[train_labels >= 0], train_labels[train_labels >= 0]
    classes = np.unique(train_labels).size
    if classes < 2:
        raise RetrievalError(
            f"a probe needs two classes to tell apart, but the training items show {classes}: "
            "give more, or leave the probe out"
        )
    return train, train_labels


def _sample(labels: Integers, most: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Ascending positions of at most `most` items at random, each class with its share (but for rounding)."""
    if len(labels) <= most:
        return np.arange(len(labels))
    mixed = generator.permutation(len(labels))
    by_class = mixed[np.argsort(labels[mixed], kind="stable")]
    return np.sort(by_class[(np.arange(most) * len(labels)) // most])
