"""Do things happen as often as a forecast says, and does it tell them apart? Reliability curve, expected calibration
error, Brier score; area under the ROC curve, log loss."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval.errors import RetrievalError
from retrieval.measures.intervals import RESAMPLES, Interval, bootstrap, mean_intervals
from retrieval.search.calibration.score_map import log_loss

Doubles = npt.NDArray[np.float64]

BINS = 15
"""As Guo et al. (2017) have them, but of equal mass rather than of equal width."""


@dataclass(frozen=True)
class Bin:
    """Hits whose probabilities lie together.

    Attributes:
        low, high: the least and the greatest probability in it.
        predicted: the mean probability.
        observed: the share that were matches; `n` is the number of hits.
    """

    low: float
    high: float
    predicted: float
    observed: Interval


@dataclass(frozen=True)
class Reliability:
    """How far probabilities can be taken at their word.

    Attributes:
        bins: by ascending probability.
        ece: expected calibration error (Naeini et al. 2015, Guo et al. 2017): the mean over hits of
            |observed − predicted| of their bin. Sampling alone makes it more than 0, and its interval leans upwards.
        brier: the mean of (probability − outcome)² (Brier 1950); 0 is best.
        base_rate: the share that were matches.
    """

    bins: tuple[Bin, ...]
    ece: Interval
    brier: Interval
    base_rate: Interval

    @property
    def brier_of_base_rate(self) -> float:
        """The Brier score of who says the base rate whatever the score."""
        return self.base_rate.value * (1 - self.base_rate.value)


@dataclass(frozen=True)
class Telling:
    """How well a forecast tells what happens from what does not.

    Attributes:
        auc: area under the ROC curve: the chance that of one that happens and one that does not the former was given
            the higher probability, a tie counting half; None where all happen, or none.
        log_loss: the mean of −ln of the probability of what was the case; 0 is best.
    """

    auc: Interval | None
    log_loss: Interval


def telling(probabilities: Doubles, matched: npt.NDArray[np.bool_], over: npt.NDArray[np.int64], seed: int) -> Telling:
    """Of probabilities (n,); `over` as for :func:`reliability`."""
    loss = mean_intervals(log_loss(probabilities, matched), over=over, limits=None)[0]
    return Telling(auc(probabilities, matched, over, seed), loss)


def auc(
    scores: Doubles, happened: npt.NDArray[np.bool_], over: npt.NDArray[np.int64], seed: int, confidence: float = 0.95
) -> Interval | None:
    """Area under the ROC curve of scores (n,); None where all happened or none. `over` as for :func:`reliability`."""
    if happened.all() or not happened.any():
        return None
    names, unit = np.unique(over, return_inverse=True)
    order = np.argsort(scores, kind="stable")
    unit, true = unit[order], happened[order]
    starts = np.flatnonzero(np.append(True, np.diff(scores[order]) > 0))  # of equal scores

    def area(times: Doubles) -> float:
        weight = times[unit]
        right, wrong = (np.add.reduceat(weight * side, starts) for side in (true, ~true))
        below = np.cumsum(wrong) - wrong / 2
        kinds = right.sum() * wrong.sum()
        return float(right @ below / kinds) if kinds else math.nan

    found = bootstrap(lambda times: [area(times)], len(names), confidence=confidence, seed=seed)
    value, low, high = (float(one[0]) for one in found)
    return Interval(value, low, high, len(scores))


def reliability(
    probabilities: npt.ArrayLike,
    matched: npt.ArrayLike,
    over: npt.ArrayLike,
    *,
    bins: int = BINS,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Reliability:
    """Compare probabilities with what was the case.

    The bins hold equally many hits, except that equal probabilities are never in two of them. They stay as they are
    in all resamples.

    Args:
        probabilities: (n,), from 0 to 1. matched: bool (n,), what was the case.
        over: integers (n,), what is drawn with replacement for the intervals: hits of one query, or of all queries
            of one label, come and go together.
        bins: how many, at most.
        confidence, resamples, seed: of the intervals (:func:`retrieval.measures.bootstrap`).

    Raises:
        RetrievalError: the arrays do not fit together, or a probability is none.
    """
    p, true, units = np.asarray(probabilities, np.float64), np.asarray(matched), np.asarray(over)
    if p.ndim != 1 or not p.size or p.shape != true.shape or true.dtype != np.bool_ or p.shape != units.shape:
        raise RetrievalError(
            f"{p.shape} probabilities, {true.shape} outcomes ({true.dtype}) and {units.shape} units do not fit "
            "together: give one of each for each hit"
        )
    if not ((p >= 0) & (p <= 1)).all():
        raise RetrievalError("a probability is not from 0 to 1: pass what a map gives, not scores")
    place = _bins(p, bins)
    count = int(place.max()) + 1
    sizes = np.bincount(place, minlength=count).astype(np.float64)

    names, unit = np.unique(units, return_inverse=True)
    cells = unit * count + place
    shape = (len(names), count)

    def table(values: Doubles | None) -> Doubles:
        """Sums of the values, or numbers of hits, by unit and bin."""
        return np.bincount(cells, values, len(names) * count).reshape(shape).astype(np.float64)

    hits, matches, gaps = table(None), table(true.astype(np.float64)), table(true - p)
    squares = np.bincount(unit, (true - p) ** 2, len(names))

    def figures(times: Doubles) -> Doubles:
        """ECE, Brier score, base rate, and the share of matches in each bin, if units count so often."""
        n, of_bins, of_matches = times @ hits.sum(axis=1), times @ hits, times @ matches
        with np.errstate(invalid="ignore"):
            shares = of_matches / of_bins  # NaN where no hit of a bin was drawn
        return np.array([np.abs(times @ gaps).sum() / n, times @ squares / n, of_matches.sum() / n, *shares])

    values, low, high = bootstrap(figures, len(names), confidence=confidence, resamples=resamples, seed=seed)
    numbers = [p.size, p.size, p.size, *sizes.astype(int)]
    ece, brier, base, *observed = (
        Interval(float(v), float(a), float(b), int(n)) for v, a, b, n in zip(values, low, high, numbers, strict=True)
    )
    means = np.bincount(place, p, count) / sizes
    edges = [(float(p[place == one].min()), float(p[place == one].max())) for one in range(count)]
    return Reliability(
        tuple(Bin(a, b, float(mean), seen) for (a, b), mean, seen in zip(edges, means, observed, strict=True)),
        ece,
        brier,
        base,
    )


def _bins(p: Doubles, bins: int) -> npt.NDArray[np.int64]:
    """The number of each probability's bin, from 0 without a gap."""
    order = np.argsort(p, kind="stable")
    starts = np.unique(np.arange(bins) * p.size // bins)
    # A bin begins with the first of all that are equal to where it would begin.
    edges = np.unique(p[order][starts])
    return np.searchsorted(edges, p, side="right") - 1
