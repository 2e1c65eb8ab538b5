"""Maps from scores to probabilities that never fall as the score rises, and which of them suits some hits.

Platt (1999) fits a logistic curve, Zadrozny and Elkan (2002) the isotonic regression, which is free in all but its
order. The curve needs few hits; isotonic regression follows any shape but overfits below about a thousand
(Niculescu-Mizil and Caruana, 2005). So it has to win: on hits that neither map was fitted to.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from retrieval.base.given import seeded
from retrieval.errors import RetrievalError

Doubles = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

ENOUGH = 1000
"""Hits below which isotonic regression is not tried."""

FOLDS = 5

_WITHIN = 1e-9
"""Least distance of a probability from 0 and 1 where its logarithm is taken."""


@dataclass(frozen=True)
class Logistic:
    """P = 1 / (1 + exp(−slope · score − intercept)).

    Attributes:
        slope: 0 or more. intercept: any finite number.
    """

    slope: float
    intercept: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.slope) and math.isfinite(self.intercept) and self.slope >= 0):
            raise ValueError(f"a curve of slope {self.slope} and intercept {self.intercept}")

    def __call__(self, scores: npt.ArrayLike) -> Doubles:
        """Probabilities, float64, of the same shape."""
        steepness = np.asarray(scores, np.float64) * self.slope + self.intercept
        probabilities: Doubles = 0.5 * (1 + np.tanh(steepness / 2))  # which never overflows
        return probabilities


@dataclass(frozen=True)
class Isotonic:
    """Straight lines between knots, level beyond the first and the last.

    Attributes:
        scores: of the knots, ascending. probabilities: at them, from 0 to 1, never falling.
    """

    scores: tuple[float, ...] = field(repr=False)
    probabilities: tuple[float, ...] = field(repr=False)

    def __post_init__(self) -> None:
        x, y = np.array(self.scores, np.float64), np.array(self.probabilities, np.float64)
        if not x.size or x.size != y.size or not np.isfinite(x).all() or (np.diff(x) <= 0).any():
            raise ValueError(f"{x.size} knots that do not ascend, with {y.size} probabilities")
        if not ((y >= 0) & (y <= 1)).all() or (np.diff(y) < 0).any():
            raise ValueError("probabilities that fall, or are none")
        object.__setattr__(self, "_knots", (x, y))  # as arrays, once

    def __call__(self, scores: npt.ArrayLike) -> Doubles:
        """Probabilities, float64, of the same shape."""
        knots: tuple[Doubles, Doubles] = getattr(self, "_knots")  # noqa: B009  (no field: it is not to be compared)
        return np.interp(np.asarray(scores, np.float64), *knots)


ScoreMap = Logistic | Isotonic


def fit_logistic(scores: npt.ArrayLike, matched: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Logistic:
    """The logistic curve of the greatest likelihood that does not fall.

    As Platt has it, a match counts as (m + 1)/(m + 2) of one and a mismatch as 1/(w + 2), where m and w are their
    numbers: hits that are told apart without a mistake would make the curve infinitely steep otherwise.

    Args:
        scores: (n,). matched: bool (n,).
        weights: more than 0 (n,), how often each counts; once if None.

    Raises:
        RetrievalError: there is no hit, or the arrays do not fit together.
    """
    x, true, weight = _checked(scores, matched, weights)
    matches, total = float(weight @ true), float(weight.sum())
    target = np.where(true, (matches + 1) / (matches + 2), 1 / (total - matches + 2))
    centre, spread = float(x.mean()), float(x.std())
    share = float(weight @ target) / total
    prior = math.log(share / (1 - share))
    if spread < 1e-12:
        return Logistic(0.0, prior)
    z = (x - centre) / spread

    sides = np.stack([z, np.ones_like(z)])

    def loss(parameters: Doubles) -> float:
        """Mean negative log-likelihood."""
        steepness = parameters @ sides
        return float(weight @ (np.logaddexp(0, steepness) - target * steepness)) / total

    at = np.array([0.0, prior])
    for _ in range(100):  # Newton's method, the step halved until it gains: the loss is convex
        p = 0.5 * (1 + np.tanh(at @ sides / 2))
        downhill = sides @ (weight * (p - target))
        step = np.linalg.solve((sides * (weight * p * (1 - p))) @ sides.T + 1e-12 * np.eye(2), downhill)
        if float(downhill @ step) < 1e-12 * total:
            break
        before = loss(at)
        while loss(at - step) > before:
            step /= 2
        at = at - step
    if at[0] < 0:  # a higher score tells against a match
        return Logistic(0.0, prior)
    slope = float(at[0]) / spread
    return Logistic(slope, float(at[1]) - slope * centre)


def fit_isotonic(scores: npt.ArrayLike, matched: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Isotonic:
    """The never falling map of the least squared error.

    One match more is put at the lowest score and one mismatch more at the highest, so that no probability is 0 or 1:
    n hits cannot show that, and one hit to the contrary would cost an infinite log loss.

    Args, Raises: as for :func:`fit_logistic`.
    """
    from sklearn.isotonic import IsotonicRegression  # here, because a query fits nothing

    x, true, weight = _checked(scores, matched, weights)
    levels, places = np.unique(x, return_inverse=True)
    counts = np.bincount(places, weight)
    matches = np.bincount(places, weight * true)
    matches[0] += 1
    counts[0] += 1
    counts[-1] += 1
    pooled = IsotonicRegression().fit(levels, matches / counts, sample_weight=counts)
    # The means of blocks can differ from one another by rounding alone.
    heights = np.maximum.accumulate(np.clip(pooled.y_thresholds_, 0, 1))
    return Isotonic(tuple(pooled.X_thresholds_.tolist()), tuple(heights.tolist()))


def log_loss(probabilities: npt.ArrayLike, matched: npt.ArrayLike) -> Doubles:
    """What each probability (n,) costs: −ln of that of what was the case; float64 (n,)."""
    p = np.clip(np.asarray(probabilities, np.float64), _WITHIN, 1 - _WITHIN)
    cost: Doubles = -np.log(np.where(np.asarray(matched, bool), p, 1 - p))
    return cost


def fit(
    scores: npt.ArrayLike,
    matched: npt.ArrayLike,
    groups: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    *,
    seed: int = 0,
) -> tuple[ScoreMap, dict[str, float]]:
    """The map that suits these hits: isotonic if that has the lower cross-validated log loss, else logistic.

    Args:
        scores: (n,). matched: bool (n,).
        groups: integers (n,): hits of one group (label, or query) are never in two of the :data:`FOLDS` folds.
        weights: more than 0 (n,), how often each hit counts; once if None.
        seed: of the folds.

    Returns:
        The map, fitted to all hits, and the mean log loss of each kind that was tried, by name.

    Raises:
        RetrievalError: there is no hit, or the arrays do not fit together.
    """
    x, true, weight = _checked(scores, matched, weights)
    fold = folds(groups, seed)
    if fold.shape != x.shape:
        raise RetrievalError(f"{len(x)} hits come with groups of shape {fold.shape}: give one for each")
    kinds: dict[str, Callable[[Doubles, Mask, Doubles], ScoreMap]] = {"logistic": fit_logistic}
    if weight.sum() >= ENOUGH:
        kinds["isotonic"] = fit_isotonic
    losses = {name: held_out_loss(fitted, x, true, weight, fold) for name, fitted in kinds.items() if fold.any()}
    best = min(losses, key=losses.__getitem__, default="logistic")
    return kinds[best](x, true, weight), losses


def folds(groups: npt.ArrayLike, seed: int) -> npt.NDArray[np.int64]:
    """The fold of each hit, int64, from 0 to below :data:`FOLDS`: all of a group in the same; all 0 for one group."""
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    found: npt.NDArray[np.int64] = seeded(seed).permutation(len(names))[group] % min(FOLDS, len(names))
    return found


def held_out_loss(
    fitted: Callable[[Doubles, Mask, Doubles], Callable[[Doubles], Doubles]],
    x: Doubles,
    matched: Mask,
    weight: Doubles,
    fold: npt.NDArray[np.int64],
) -> float:
    """The mean log loss of hits in cross-validation: what something costs that is fitted to the other folds.

    Args:
        fitted: makes it of some hits, their matches and weights.
        x: (n, ...), what it takes. matched: bool (n,). weight: (n,).
        fold: int64 (n,), of two folds or more.
    """
    costs = np.empty(len(x))
    for one in np.unique(fold):
        held = fold == one
        costs[held] = log_loss(fitted(x[~held], matched[~held], weight[~held])(x[held]), matched[held])
    return float(weight @ costs / weight.sum())


def _checked(
    scores: npt.ArrayLike, matched: npt.ArrayLike, weights: npt.ArrayLike | None
) -> tuple[Doubles, Mask, Doubles]:
    x, true = np.asarray(scores, np.float64), np.asarray(matched)
    weight = np.ones(x.shape) if weights is None else np.asarray(weights, np.float64)
    if x.ndim != 1 or x.shape != true.shape or true.dtype != np.bool_ or not x.size or not np.isfinite(x).all():
        raise RetrievalError(
            f"a map is fitted to scores {x.shape} and matches {true.shape} ({true.dtype}): give one finite score and "
            "one yes or no for each hit, and one hit at least"
        )
    if weight.shape != x.shape or not (np.isfinite(weight) & (weight > 0)).all():
        raise RetrievalError(f"{len(x)} hits come with weights {weight.shape}: give one above 0 for each")
    return x, true, weight
