"""What a linear classifier reads off an embedding: how well its classes can be told apart by hyperplanes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.errors import RetrievalError

COSTS = (0.01, 0.1, 1.0, 10.0, 100.0)
"""The values of C to choose from, for features whose squares sum to 1 on average."""

FIT_NUMBERS = 2 * 10**8
"""The fit reads at most so many feature values times classes: half a minute or so of one core."""

CHOICE_NUMBERS = 10**7
"""The same for each of the fits that only choose C."""


@dataclass(frozen=True)
class Probe:
    """A linear probe's answers.

    Attributes:
        correct: float64 (m,), 1 where the test item's class was named, else 0.
        cost: the C that validation within the training items chose. validation: its accuracy there.
        trained_on: how many items the probe was fitted on. available: how many there were.
        converged: whether the solver reached its tolerance; its last step is near enough to be used if not.
    """

    correct: npt.NDArray[np.float64]
    cost: float
    validation: float
    trained_on: int
    available: int
    converged: bool


def linear_probe(
    train: npt.NDArray[np.floating],
    train_labels: npt.NDArray[np.integer],
    test: npt.NDArray[np.floating],
    test_labels: npt.NDArray[np.integer],
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
        seed: of the samples and the split.

    Raises:
        RetrievalError: `train` holds fewer than two classes.
    """
    train, train_labels = train[train_labels >= 0], train_labels[train_labels >= 0]
    classes = np.unique(train_labels)
    if classes.size < 2:
        raise RetrievalError(
            f"a linear probe needs two classes to tell apart, but the training items show {classes.size}: "
            "give more, or leave the probe out"
        )
    generator = np.random.default_rng(seed)
    numbers = train.shape[1] * (classes.size if classes.size > 2 else 1)
    kept = _sample(train_labels, FIT_NUMBERS // numbers, generator)
    mean, deviation = train[kept].mean(axis=0), train[kept].std(axis=0)
    scale = deviation * np.sqrt(train.shape[1])
    scale[scale == 0] = 1  # a dead dimension stays 0
    features, labels = (train[kept] - mean) / scale, train_labels[kept]

    tried = _sample(labels, max(CHOICE_NUMBERS // numbers, 1000), generator)
    held = np.zeros(len(tried), bool)
    held[_sample(labels[tried], len(tried) // 5, generator)] = True
    fit, judge = tried[~held], tried[held]
    accuracies = [0.0] * len(costs)
    if len(costs) > 1 and judge.size and np.unique(labels[fit]).size > 1:
        accuracies = [
            float((_fit(features[fit], labels[fit], cost, seed).predict(features[judge]) == labels[judge]).mean())
            for cost in costs
        ]
    chosen = int(np.argmax(accuracies))  # of equals the smallest C: the wider margin
    machine = _fit(features, labels, costs[chosen], seed)
    correct = machine.predict((test - mean) / scale) == test_labels
    converged = bool(np.max(machine.n_iter_) < machine.max_iter)
    return Probe(correct.astype(np.float64), costs[chosen], accuracies[chosen], len(kept), len(train), converged)


def _fit(features: npt.NDArray[np.floating], labels: npt.NDArray[np.integer], cost: float, seed: int) -> Any:
    from sklearn.exceptions import ConvergenceWarning  # here, because scikit-learn takes a second to import
    from sklearn.svm import LinearSVC

    # The dual is several times faster where C is small, and its steps are bounded where C is large; a tighter
    # tolerance changes hardly an answer, only the time.
    machine = LinearSVC(C=cost, dual=True, tol=1e-3, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # reported as `converged`
        return machine.fit(features, labels)


def _sample(labels: npt.NDArray[np.integer], most: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Ascending positions of at most `most` items at random, each class with its share (but for rounding)."""
    if len(labels) <= most:
        return np.arange(len(labels))
    mixed = generator.permutation(len(labels))
    by_class = mixed[np.argsort(labels[mixed], kind="stable")]
    return np.sort(by_class[(np.arange(most) * len(labels)) // most])
