"""From what queries found to a map and two thresholds, and how well these hold for other queries."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval.errors import RetrievalError
from retrieval.measures import Interval, Pairs, Roc, bootstrap, mean_intervals
from retrieval.measures.intervals import A_SAMPLE, RESAMPLES
from retrieval.measures.roc import ROUNDING
from retrieval.search.calibration.evidence import Evidence, Found
from retrieval.search.calibration.record import EVIDENCE, Judged, Question, Told, fold, kind
from retrieval.search.calibration.reliability import auc, reliability, telling
from retrieval.search.calibration.score_map import ScoreMap, fit, folds, held_out_loss
from retrieval.search.calibration.surroundings import COLUMNS
from retrieval.search.calibration.weights import Weights, fit_weights

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

MARGIN = 1e-6
"""By so much scores of different kernels may differ."""


@dataclass(frozen=True)
class Fitted:
    """What is fitted to some of the labels.

    Attributes:
        map: P(match) by the score alone. evidence: P(match) by all that surrounds a hit; None where that was not
            better on labels that it was not fitted to. losses: what each cost there, by name.
        threshold: from which score on two pictures match.
        no_match_below: below which best score there is no match, where the score is all that is known.
        has_match: whether there is any, by all that surrounds a query; None as above. no_match_under: under which of
            its log-odds there is none.
    """

    map: ScoreMap
    evidence: Weights | None
    losses: dict[str, float]
    threshold: float
    no_match_below: float
    has_match: Weights | None
    no_match_under: float

    def chances(self, found: Found) -> Doubles:
        """P(match) of all hits (nq, k)."""
        return self.map(found.scores) if self.evidence is None else self.evidence(found.hits)

    def whether(self, query: Doubles) -> Doubles:
        """How much speaks for a match at all, for each query (nq,): log-odds, or the best score.

        Args:
            query: float64 (nq, COLUMNS), what surrounds it.
        """
        return query[:, COLUMNS.index("score")] if self.has_match is None else self.has_match.log_odds(query)

    @property
    def least(self) -> float:
        """Of :meth:`whether`, below which there is no match."""
        return self.no_match_below if self.has_match is None else self.no_match_under


def fit_to(
    evidence: Evidence,
    of_pairs: Pairs,
    fmr: float,
    miss: float,
    seed: int,
    question: Question,
) -> Fitted:
    """Fit the maps and the thresholds.

    Args:
        evidence: of the queries. of_pairs: the pairs. fmr, miss, seed: as for :func:`calibrate`.
        question: what a match is.

    Raises:
        RetrievalError: there are too few pairs to tell such a rate, or no hit.
    """
    impostors = int((~of_pairs.genuine).sum())
    if fmr * impostors < 1:
        raise RetrievalError(
            f"A false match rate of {fmr:g} is less than one of the {impostors:,} pairs of two labels that there are "
            f"to measure it by; give at least {1.06 / impostors:.2g}."  # which rounding does not make too little
        )
    seen = evidence.known, np.isfinite(evidence.without.scores)
    both = evidence.found, evidence.without
    scores = np.concatenate([found.scores[there] for found, there in zip(both, seen, strict=True)])
    table = np.concatenate([found.hits[there] for found, there in zip(both, seen, strict=True)])
    matched = np.concatenate([evidence.matched[seen[0]], np.zeros(int(seen[1].sum()), bool)])
    weight = np.repeat([1 - question.without, question.without], [int(there.sum()) for there in seen])
    one_label = len(np.unique(evidence.labels)) == 1
    unit = np.arange(len(evidence)) if one_label else evidence.labels
    groups = np.concatenate([unit[np.nonzero(there)[0]] for there in seen])
    map_, losses = fit(scores, matched, groups, weight, seed=seed)
    weights, loss = _all_evidence(table, matched, weight, groups, question.of_hit, seed)
    # With a label left out of two, all that is found agrees, and agreement would seem to speak against a match.
    losses |= {} if loss is None or not weights.heeds_labels else {"evidence": loss}

    no_match_below = no_match_threshold(evidence.found.best()[evidence.has_match], miss)
    there = seen[1][:, 0]
    queries = np.concatenate([evidence.other[evidence.has_match], evidence.without.query[there]])
    has = np.repeat([True, False], [evidence.has_match.sum(), there.sum()])
    evenly = np.where(has, 0.5 / max(1, has.sum()), 0.5 / max(1, (~has).sum())) * len(has)
    of_query = np.concatenate([unit[evidence.has_match], unit[there]])
    has_match = None
    if (~has).any():
        has_match, loss = _all_evidence(queries, has, evenly, of_query, question.of_query, seed)
        _, by_score = _all_evidence(queries, has, evenly, of_query, ("score",), seed)
        if loss is None or by_score is None or loss >= by_score:
            has_match = None
    return Fitted(
        map=map_,
        evidence=weights if min(losses, key=losses.__getitem__, default="") == "evidence" else None,
        losses=losses,
        threshold=match_threshold(of_pairs.scores, of_pairs.genuine, fmr),
        no_match_below=no_match_below,
        has_match=has_match,
        no_match_under=0.0 if has_match is None else _least(has_match, evidence, miss),
    )


def _least(has_match: Weights, evidence: Evidence, miss: float) -> float:
    """The log-odds under which there is no match: the highest that misses no more than it may; but down to midway to
    the likeliest query without a match below, since that misses fewer and costs nothing."""
    found = has_match.log_odds(evidence.found.query[evidence.has_match])
    without = has_match.log_odds(evidence.without.query[np.isfinite(evidence.without.best())])
    least = no_match_threshold(found, miss)
    below = without[without < least]
    return (float(below.max()) + least) / 2 if below.size else least


def _all_evidence(
    table: Doubles, matched: Mask, weight: Doubles, groups: Ints, columns: tuple[str, ...], seed: int
) -> tuple[Weights, float | None]:
    """A model of some columns, and its log loss in cross-validation; None where there is one group alone."""

    def fitted(rows: Doubles, true: Mask, weights: Doubles) -> Weights:
        return fit_weights(rows, true, weights, columns)

    fold = folds(groups, seed)
    return fitted(table, matched, weight), (held_out_loss(fitted, table, matched, weight, fold) if fold.any() else None)


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
    fitted: Fitted,
    evidence: Evidence,
    of_pairs: Pairs,
    *,
    disjoint: str,
    fitted_on: Evidence,
    without_match: float,
    seed: int,
) -> Judged:
    """How well something holds that was fitted to other labels.

    Args:
        fitted: that. evidence: of the queries to judge it by. of_pairs: the pairs.
        disjoint: what these do not share with what it was fitted to. fitted_on: that; only its size is looked at.
        without_match: the share of queries without a match that P reckons with.
        seed: of the bootstraps.
    """
    by_label = len(np.unique(evidence.labels)) >= A_SAMPLE
    unit = evidence.labels if by_label else np.arange(len(evidence))
    query = np.nonzero(evidence.known)[0]
    matched, chances = evidence.matched[evidence.known], fitted.chances(evidence.found)
    alone, said, true, of = (
        fitted.map(evidence.found.scores[evidence.known]),
        chances[evidence.known],
        matched,
        unit[query],
    )
    if without_match == 0.5:  # P is judged on queries like those that it reckons with: half of them have no match
        seen = np.isfinite(evidence.without.scores)
        alone = np.concatenate([alone, fitted.map(evidence.without.scores[seen])])
        said = np.concatenate([said, fitted.chances(evidence.without)[seen]])
        true = np.concatenate([true, np.zeros(int(seen.sum()), bool)])
        of = np.concatenate([of, unit[np.nonzero(seen)[0]]])
    false_match, false_non_match = pair_rates(of_pairs, fitted.threshold, seed=seed)
    there = np.isfinite(evidence.without.best())
    asked = np.concatenate([unit[evidence.has_match], unit[there]])
    has = np.repeat([True, False], [evidence.has_match.sum(), there.sum()])
    equal = np.concatenate([evidence.other[evidence.has_match], evidence.without.query[there]])
    whether = fitted.whether(evidence.found.query)[evidence.has_match], fitted.whether(evidence.without.query)[there]
    best = evidence.found.best()[evidence.has_match], evidence.without.best()[there]
    kept = _kept(chances, evidence.known)[evidence.known]

    def rate(values: Mask, over: Ints) -> Interval | None:
        return mean_intervals(values, over=over)[0] if len(values) else None

    return Judged(
        disjoint=disjoint,
        over="labels" if by_label else "queries",
        fitted_labels=len(np.unique(fitted_on.labels)),
        fitted_queries=len(fitted_on),
        labels=len(np.unique(evidence.labels)),
        queries=len(evidence),
        threshold=fitted.threshold,
        map=kind(fitted.map) if fitted.evidence is None else EVIDENCE,
        false_match=false_match,
        false_non_match=false_non_match,
        by_evidence=Told(
            hits=telling(said, true, of, seed),
            has_match=auc(fitted.whether(equal), has, asked, seed),
            missed=rate(whether[0] < fitted.least, unit[evidence.has_match]),
            false_alarm=rate(whether[1] >= fitted.least, unit[there]),
        ),
        by_score=Told(
            hits=telling(alone, true, of, seed),
            has_match=auc(equal[:, COLUMNS.index("score")], has, asked, seed),
            missed=rate(best[0] < fitted.no_match_below, unit[evidence.has_match]),
            false_alarm=rate(best[1] >= fitted.no_match_below, unit[there]),
        ),
        kept_match=rate(matched[kept], unit[query][kept]),
        matches_kept=rate(kept[matched], unit[query][matched]),
        reliability=reliability(said, true, of, seed=seed),
    )


def _kept(chances: Doubles, known: Mask) -> Mask:
    """Which hits (nq, k) lie within the fold of their query, hits of unknown labels passed over."""
    kept = np.zeros(chances.shape, bool)
    for row, these in enumerate(known):
        places = np.flatnonzero(these)
        kept[row, places[: fold(chances[row, places])]] = True
    return kept


def pair_rates(
    of_pairs: Pairs, threshold: float, *, confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Interval, Interval]:
    """False match rate and false non-match rate of a threshold, with intervals over labels.

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

    def rates(times: Doubles) -> list[float]:
        found = []
        for genuine, (left, right, count, wrong) in both.items():
            weights = times[left] if genuine else times[left] * times[right]
            total = float(weights @ count)
            found.append(float(weights @ wrong) / total if total else math.nan)
        return found

    found = bootstrap(rates, used.size, confidence=confidence, resamples=resamples, seed=seed)
    numbers = [int(count.sum()) for _, _, count, _ in both.values()]
    of_impostors, of_genuine = (
        Interval(float(value), float(low), float(high), n) for value, low, high, n in zip(*found, numbers, strict=True)
    )
    return of_impostors, of_genuine
