"""Are these two of one class? How well a score tells genuine pairs from impostors.

A pair is accepted if its score is at least the threshold. So pairs of the same score are accepted together or not at
all, and no rate depends on the order in which they are stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval.errors import RetrievalError
from retrieval.measures.intervals import RESAMPLES, Interval, Table, bootstrap
from retrieval.measures.pair_sampling import Pairs

Doubles = npt.NDArray[np.float64]

ROUNDING = 1e-12
"""Rates are sums of weights; they count as equal within this."""


@dataclass(frozen=True)
class Roc:
    """The rates at every threshold that makes a difference.

    Attributes:
        thresholds: float64 (t,), the different scores, highest first.
        false_match: float64 (t,), the share of the impostor pairs that is accepted: FMR, FAR, FPR.
        true_match: float64 (t,), the share of the genuine pairs that is accepted: TMR, TPR, recall; 1 − FNMR (FRR).
    """

    thresholds: Doubles
    false_match: Doubles
    true_match: Doubles

    @classmethod
    def of(cls, scores: npt.ArrayLike, genuine: npt.ArrayLike) -> Roc:
        """From pairs.

        Args:
            scores: numbers (p,), higher is more alike.
            genuine: bool (p,), which pairs are of one class.

        Raises:
            RetrievalError: the shapes differ, a score is NaN, or one kind of pair is missing.
        """
        return _Sorted(scores, genuine).roc(None)

    def auc(self) -> float:
        """Area under the curve: the probability that a genuine pair scores higher than an impostor, a tie counting
        half. (Between two thresholds the curve is a straight line, which is just that.)"""
        steps = np.diff(self.false_match, prepend=0.0)
        means = self.true_match - np.diff(self.true_match, prepend=0.0) / 2
        return float(steps @ means)

    def equal_error(self) -> tuple[float, float]:
        """The equal error rate, and the score at which it is reached.

        Where no threshold makes both rates equal, it lies on the straight line between the two neighbouring points of
        the curve: what is reached if the pairs of that very score are accepted by lot.
        """
        false_match = np.append(0.0, self.false_match)
        gap = 1 - np.append(0.0, self.true_match) - false_match  # falls from 1 to −1
        after = int(np.argmax(gap <= ROUNDING))
        share = gap[after - 1] / (gap[after - 1] - gap[after])
        rate = false_match[after - 1] + share * (false_match[after] - false_match[after - 1])
        return float(rate), float(self.thresholds[after - 1])

    def rates(self, threshold: float) -> tuple[float, float]:
        """The share of the impostors that a threshold accepts (FAR), and that of the genuine pairs that it rejects
        (FRR)."""
        accepted = int(np.searchsorted(-self.thresholds, -threshold, side="right"))
        if not accepted:
            return 0.0, 1.0
        return float(self.false_match[accepted - 1]), float(1 - self.true_match[accepted - 1])

    def false_match_at(self, recall: float = 0.95) -> float:
        """The share of the impostors that is accepted at the highest threshold that accepts at least this share of
        the genuine pairs; no interpolation. FPR at 95 % recall by default.

        Raises:
            RetrievalError: the recall is not above 0 and at most 1.
        """
        if not 0 < recall <= 1:
            raise RetrievalError(f"recall is {recall}: give a share above 0 and up to 1")
        return float(self.false_match[np.argmax(self.true_match >= recall - ROUNDING)])

    def true_match_at(self, false_match: Doubles) -> Doubles:
        """The share of the genuine pairs that is accepted where these shares of the impostors are: on the straight
        line between two thresholds, and the upper end where the curve rises upright."""
        # of points that lie above each other np.interp takes the last, the highest
        rates: Doubles = np.interp(false_match, np.append(0.0, self.false_match), np.append(0.0, self.true_match))
        return rates

    def threshold_at(self, false_match_rate: float) -> float:
        """The lowest threshold that accepts no more than this share of the impostors.

        Where even the highest score would accept more, a threshold just above it, which accepts nothing.

        Raises:
            RetrievalError: the rate is not between 0 and 1.
        """
        if not 0 <= false_match_rate <= 1:
            raise RetrievalError(f"the false match rate is {false_match_rate}: give a share from 0 to 1")
        allowed = int((self.false_match <= false_match_rate + ROUNDING).sum())
        return float(self.thresholds[allowed - 1]) if allowed else float(np.nextafter(self.thresholds[0], np.inf))


def verify(
    pairs: Pairs,
    *,
    recall: float = 0.95,
    false_match_rates: Sequence[float] = (),
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """What a reviewer asks of a verification, with intervals over classes (:func:`retrieval.measures.bootstrap`).

    Classes (subjects) are drawn with replacement. A genuine pair counts as often as its class was drawn, an impostor
    pair as often as one class was drawn times the other; so pairs that share a picture are not taken for independent.
    Draws that leave no pair of one kind are passed over.

    Args:
        pairs: as from :func:`retrieval.measures.pair_scores`.
        recall: of the false positive rate.
        false_match_rates: for each the recall at the threshold that keeps to it.
        confidence, resamples, seed: of the intervals.

    Returns:
        ``AUC``, ``EER``, ``FPR at 95 % recall`` and ``TPR at FPR 0.001`` by name; `n` is the number of pairs.
    """
    both = _Sorted(pairs.scores, pairs.genuine)

    def measured(roc: Roc) -> list[float]:
        at = [1 - roc.rates(roc.threshold_at(rate))[1] for rate in false_match_rates]
        return [roc.auc(), roc.equal_error()[0], roc.false_match_at(recall), *at]

    names = ["AUC", "EER", f"FPR at {100 * recall:g} % recall"]
    names += [f"TPR at FPR {rate:g}" for rate in false_match_rates]
    found = _over_classes(pairs, both, measured, confidence, resamples, seed)
    n = len(pairs.scores)
    return {
        name: Interval(float(value), float(low), float(high), n)
        for name, value, low, high in zip(names, *found, strict=True)
    }


def roc_curve(
    pairs: Pairs, false_match: npt.ArrayLike, *, confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Doubles, Doubles, Doubles]:
    """The true match rate at each of some false match rates, with an interval over classes as in :func:`verify`, on the
    same draws: a band that holds each point by itself, not the whole curve. It rises as the curve does, which is no
    lower at a higher false match rate.

    Between two thresholds the curve is the straight line, and where it rises upright its upper end counts.

    Args:
        pairs: as from :func:`retrieval.measures.pair_scores`.
        false_match: numbers (m,) from 0 to 1, ascending.
        confidence, resamples, seed: of the intervals.

    Returns:
        The rates, their lower and their upper ends, float64 (m,) each.
    """
    at = np.asarray(false_match, np.float64)
    both = _Sorted(pairs.scores, pairs.genuine)
    rates, low, high = _over_classes(pairs, both, lambda roc: roc.true_match_at(at), confidence, resamples, seed)
    low = np.where(at >= 1, 1.0, low)  # where everything is accepted
    return rates, np.maximum.accumulate(low), np.minimum.accumulate(high[::-1])[::-1]


def _over_classes(
    pairs: Pairs,
    both: _Sorted,
    measured: Callable[[Roc], npt.ArrayLike],
    confidence: float,
    resamples: int,
    seed: int,
) -> tuple[Table, Table, Table]:
    """What is measured of the curve, and the ends of its intervals."""
    used, classes = np.unique(pairs.classes, return_inverse=True)
    left, right = classes.reshape(-1, 2).astype(np.int32).T
    nothing = np.full_like(np.asarray(measured(both.roc(None)), np.float64), np.nan)

    def figures(times: Doubles) -> npt.ArrayLike:
        weights = np.where(pairs.genuine, times[left], times[left] * times[right])
        kinds = min(weights @ pairs.genuine, weights @ ~pairs.genuine)
        return measured(both.roc(weights)) if kinds else nothing

    return bootstrap(figures, used.size, confidence=confidence, resamples=resamples, seed=seed)


class _Sorted:
    """Pairs by descending score, to be weighted again and again."""

    def __init__(self, scores: npt.ArrayLike, genuine: npt.ArrayLike) -> None:
        given, kinds = np.asarray(scores), np.asarray(genuine)
        if given.ndim != 1 or given.shape != kinds.shape or kinds.dtype != np.bool_:
            raise RetrievalError(
                f"scores {given.shape} and genuine {kinds.shape} ({kinds.dtype}) must be one row each of the same "
                "length, the second of booleans: give one score and one yes or no for each pair"
            )
        if np.isnan(given).any():
            raise RetrievalError(f"{int(np.isnan(given).sum())} scores are not a number: leave those pairs out")
        if kinds.all() or not kinds.any():
            raise RetrievalError(f"{int(kinds.sum())} of {kinds.size} pairs are genuine: give pairs of both kinds")
        self._order = np.argsort(-given, kind="stable")
        ordered = given[self._order]
        self._ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
        self._thresholds = ordered[self._ends].astype(np.float64)
        self._genuine = kinds[self._order]

    def roc(self, weights: Doubles | None) -> Roc:
        """The curve if each pair counts as often as its weight says (p,)."""
        counted = np.ones(len(self._order)) if weights is None else weights[self._order]
        accepted = np.cumsum(counted)[self._ends]
        true_match = np.cumsum(counted * self._genuine)[self._ends]
        false_match = accepted - true_match
        return Roc(self._thresholds, false_match / false_match[-1], true_match / true_match[-1])
