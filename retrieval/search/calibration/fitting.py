"""From what queries found to a map and two thresholds, and how well these hold for other queries."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval.errors import RetrievalError
from retrieval.measures import Interval, Pairs, Roc, bootstrap
from retrieval.measures.intervals import Draws
from retrieval.measures.roc import ROUNDING
from retrieval.search.calibration.evidence import Evidence
from retrieval.search.calibration.record import Judged, kind
from retrieval.search.calibration.reliability import RESAMPLES, reliability
from retrieval.search.calibration.score_map import ScoreMap, fit

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

WITHOUT_MATCH = 0.01
"""Share of the queries that P(match) takes to have no match in the index. Labelled pictures of the index all have one,
as a rule, so that nothing says how many; but with none at all P(match) would be high wherever they never scored."""

MARGIN = 1e-6
"""By so much scores of different kernels may differ."""

A_SAMPLE = 20
"""So many labels at least make a sample that intervals can be drawn over."""


@dataclass(frozen=True)
class Fitted:
    """What is fitted to some of the labels.

    Attributes:
        map: of P(match). losses: what each kind of map cost in cross-validation.
        threshold: of a match. no_match_below: of there being any.
    """

    map: ScoreMap
    losses: dict[str, float]
    threshold: float
    no_match_below: float


def fit_to(evidence: Evidence, of_pairs: Pairs, fmr: float, miss: float, seed: int) -> Fitted:
    """Fit the map and both thresholds.

    Args:
        evidence: of the queries. of_pairs: the pairs. fmr, miss, seed: as for :func:`calibrate`.

    Raises:
        RetrievalError: there are too few pairs to tell such a rate, or no hit.
    """
    impostors = int((~of_pairs.genuine).sum())
    if fmr * impostors < 1:
        raise RetrievalError(
            f"A false match rate of {fmr:g} is less than one of the {impostors:,} pairs of two labels that there are "
            f"to measure it by; give at least {1.06 / impostors:.2g}."  # which rounding does not make too little
        )
    scores, matched, query = evidence.hits()
    asked, place = np.nonzero(np.isfinite(evidence.without))
    groups = np.concatenate([query, asked])
    if len(np.unique(evidence.labels)) > 1:
        groups = evidence.labels[groups]
    map_, losses = fit(
        np.concatenate([scores, evidence.without[asked, place]]),
        np.concatenate([matched, np.zeros(len(asked), bool)]),
        groups,
        np.concatenate([np.full(len(scores), 1 - WITHOUT_MATCH), np.full(len(asked), WITHOUT_MATCH)]),
        seed=seed,
    )
    return Fitted(
        map_, losses, match_threshold(of_pairs.scores, of_pairs.genuine, fmr), no_match_threshold(evidence.best(), miss)
    )


def match_threshold(scores: npt.ArrayLike, genuine: npt.ArrayLike, fmr: float) -> float:
    """The lowest threshold that accepts no more than a share `fmr` of the impostor pairs.

    It lies midway between the lowest score that it accepts and the next below, so that scores which another kernel
    rounds otherwise stay on their side.

    Args:
        scores: (p,). genuine: bool (p,).
    """
    roc = Roc.of(scores, genuine)
    at = roc.threshold_at(fmr)
    top = float(roc.thresholds[0])
    if at > top:  # nothing is accepted
        return _single(top + MARGIN)
    below = roc.thresholds[roc.thresholds < at]
    return _between(float(below[0]), at) if below.size else _single(at - MARGIN)


def no_match_threshold(best: npt.ArrayLike, miss: float) -> float:
    """The highest threshold below which no more than a share `miss` of the best scores (n,) of queries lie that have
    a match; midway between two scores, as in :func:`match_threshold`.

    Raises:
        RetrievalError: there is no score.
    """
    ordered = np.sort(np.asarray(best, np.float64))
    ordered = ordered[np.isfinite(ordered)]
    if not ordered.size:
        raise RetrievalError("No query has a match in the index, so that nobody can say how good one is.")
    at = float(ordered[int(miss * ordered.size + ROUNDING)])
    below = ordered[ordered < at]
    return _between(float(below[-1]), at) if below.size else _single(at - MARGIN)


def _between(below: float, at: float) -> float:
    middle = _single((below + at) / 2)
    return middle if middle > below else at


def _single(threshold: float) -> float:
    """As float32, which scores are and what they are compared in."""
    return float(np.float32(threshold))


def judge(
    fitted: Fitted, evidence: Evidence, of_pairs: Pairs, *, disjoint: str, fitted_on: Evidence, seed: int
) -> Judged:
    """How well something holds that was fitted to other labels.

    Args:
        fitted: that. evidence: of the queries to judge it by. of_pairs: the pairs.
        disjoint: what these do not share with what it was fitted to. fitted_on: that; only its size is looked at.
        seed: of the bootstraps.
    """
    by_label = len(np.unique(evidence.labels)) >= A_SAMPLE
    scores, matched, query = evidence.hits()
    false_match, false_non_match = pair_rates(of_pairs, fitted.threshold, seed=seed)
    missed = evidence.best() < fitted.no_match_below
    alarmed = evidence.without[:, 0] >= fitted.no_match_below

    def rate(values: Mask, labels: Ints) -> Interval:
        return bootstrap(values, over=labels if by_label else None, resamples=RESAMPLES, seed=seed)[0]

    return Judged(
        disjoint=disjoint,
        over="labels" if by_label else "queries",
        fitted_labels=len(np.unique(fitted_on.labels)),
        fitted_queries=len(fitted_on),
        labels=len(np.unique(evidence.labels)),
        queries=len(evidence),
        threshold=fitted.threshold,
        no_match_below=fitted.no_match_below,
        map=kind(fitted.map),
        false_match=false_match,
        false_non_match=false_non_match,
        missed=rate(missed, evidence.labels[evidence.has_match]),
        false_alarm=rate(alarmed, evidence.labels),
        reliability=reliability(fitted.map(scores), matched, evidence.labels[query] if by_label else query, seed=seed),
    )


def pair_rates(
    of_pairs: Pairs, threshold: float, *, confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Interval, Interval]:
    """False match rate and false non-match rate of a threshold, with bootstrap intervals over labels.

    As in :func:`retrieval.measures.verify`, a genuine pair counts as often as its label was drawn and an impostor
    pair as often as one label was drawn times the other.
    """
    accepted = of_pairs.scores.astype(np.float64) >= threshold
    used, classes = np.unique(of_pairs.classes, return_inverse=True)
    sides = classes.reshape(-1, 2)
    both = {}
    for genuine, wrong in ((False, accepted), (True, ~accepted)):
        kept = of_pairs.genuine == genuine
        # All pairs of the same two labels go together, so that a resample looks at each two labels once.
        cells, cell = np.unique(sides[kept, 0] * used.size + sides[kept, 1], return_inverse=True)
        both[genuine] = cells // used.size, cells % used.size, np.bincount(cell), np.bincount(cell, wrong[kept])
    draws = Draws(used.size, None, seed)

    def rates(times: Doubles) -> list[float]:
        found = []
        for genuine, (left, right, count, wrong) in both.items():
            weights = times[left] if genuine else times[left] * times[right]
            total = float(weights @ count)
            found.append(float(weights @ wrong) / total if total else math.nan)
        return found

    values = rates(np.ones(used.size))
    drawn = np.array([rates(draws.next().astype(np.float64)) for _ in range(resamples)])
    tail = (1 - confidence) / 2
    ends = np.nanquantile(drawn, [tail, 1 - tail], axis=0)  # NaN: only one label was drawn
    numbers = [int(count.sum()) for _, _, count, _ in both.values()]
    of_impostors, of_genuine = (
        Interval(value, float(low), float(high), n) for value, low, high, n in zip(values, *ends, numbers, strict=True)
    )
    return of_impostors, of_genuine
