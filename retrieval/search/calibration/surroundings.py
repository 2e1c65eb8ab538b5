"""What surrounds a hit: numbers from which it can be told whether it is a match, besides its own score.

They are made of the *first hits* of a query, the :data:`DEPTH` best of the whole index without the query itself and
its copies, and of a *cohort*, items drawn at random, which say how the query and the hit score with just anything. So
they do not depend on how many hits are shown, and on which filter. :data:`COLUMNS` names them; docs/calibration.md has
the formulas and what each is worth.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from retrieval.measures import UNLABELLED

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

DEPTH = 50
"""First hits that are looked at."""

TEN = 10
"""Those of them that count apart, and that say whether there is any match."""

COHORT = 256
"""Items that are drawn at random."""

HIT = ("score", "ten", "fifty", "vote", "gap", "lead")
"""The numbers of a hit, in their order:

- score: its own;
- ten, fifty: the log-odds that another one of the first 10, of the first 50, has its label;
- vote: the same of all 50, each counting exp(4 · (score − best) / (best − last));
- gap: its score less that of the last of the first hits;
- lead: its score less the best of the others.
"""

COLUMNS = (*HIT, "cohort")
"""The numbers of a query: those of its best hit, but ten, fifty and vote the mean over the first ten hits; and

- cohort: the best score in standard deviations from the mean that the query has with the cohort, and that the hit has;
  the mean of both (the s-norm of speaker recognition, Kenny 2010).
"""

WORDS = {"ten": "labels", "fifty": "labels", "vote": "labels", "lead": "gap"}
"""Which part of the evidence a column is, in a word, where that is not its name."""

LABEL_COLUMNS = ("ten", "fifty", "vote")

_HALF = 0.5
"""Added to either side of a count, so that none is certain."""

_FLAT = 1e-6
"""Added to a variance, which may be 0."""

_LEAST = 0.05
"""Added to either side of a vote, as a share of it all."""


class First(NamedTuple):
    """The first hits of some queries.

    Attributes:
        ids: int64 (b, m), best first, padded with −1: m is :data:`DEPTH`, or less.
        scores: float64 (b, m), padded with −inf.
        labels: int64 (b, m), a number for each label, −1 where there is none.
    """

    ids: Ints
    scores: Doubles
    labels: Ints

    def top(self, k: int) -> First:
        """The first k of each."""
        return First(self.ids[:, :k], self.scores[:, :k], self.labels[:, :k])


def columns(hits: First, first: First) -> Doubles:
    """The numbers of each hit, float64 (b, k, :data:`HIT`); of padding they mean nothing.

    Args:
        hits: of each query those to be judged, whether among the first or not.
        first: of each query the first hits.
    """
    there = np.isfinite(first.scores)
    others = there[:, None, :] & (hits.ids[:, :, None] != first.ids[:, None, :])
    known = others & (first.labels != UNLABELLED)[:, None, :]
    same = known & (hits.labels[:, :, None] == first.labels[:, None, :])
    best = np.where(there[:, :1], first.scores[:, :1], 0.0)
    last = np.min(first.scores, axis=1, where=there, initial=np.inf)[:, None]
    last = np.where(np.isfinite(last), last, best)
    spread = (best - last) / 4
    weights = np.where(there, np.exp((np.where(there, first.scores, best) - best) / np.maximum(spread, 1e-6)), 0.0)
    cast, all_cast = (np.einsum("bkm,bm->bk", some.astype(np.float64), weights) for some in (same, known))
    scores = np.where(np.isfinite(hits.scores), hits.scores, 0.0)
    rivals = np.where(others, first.scores[:, None, :], -np.inf).max(axis=2, initial=-np.inf)
    return np.stack(
        [
            scores,
            _log_odds(same[:, :, :TEN].sum(axis=2), known[:, :, :TEN].sum(axis=2), _HALF),
            _log_odds(same.sum(axis=2), known.sum(axis=2), _HALF),
            _log_odds(cast, all_cast, np.maximum(_LEAST * all_cast, 1e-12)),
            scores - last,
            np.where(np.isfinite(rivals), scores - rivals, 0.0),
        ],
        axis=2,
    )


def of_query(of_first: Doubles, there: Mask, standard: Doubles) -> Doubles:
    """The numbers of each query, float64 (b, :data:`COLUMNS`).

    Args:
        of_first: float64 (b, up to 10, :data:`HIT`), of the first hits. there: bool (b, up to 10), which there are.
        standard: float64 (b,), the best score as the cohort standardises it.
    """
    found = of_first[:, 0].copy()
    weight = there / np.maximum(there.sum(axis=1, keepdims=True), 1)
    for name in LABEL_COLUMNS:
        place = HIT.index(name)
        found[:, place] = (of_first[:, :, place] * weight).sum(axis=1)
    return np.column_stack([found, standard])


def standardised(scores: Doubles, *cohorts: tuple[Doubles, Mask]) -> Doubles:
    """Scores (b,) in standard deviations from the mean of each cohort, the mean over the cohorts; float64 (b,).

    Args:
        scores: these.
        cohorts: the scores (b, c) of the query with some items, or of the hit, and which of these count.
    """
    found = []
    for with_, counted in cohorts:
        n = counted.sum(axis=1)
        mean = (with_ * counted).sum(axis=1) / np.maximum(n, 1)
        variance = ((with_ - mean[:, None]) ** 2 * counted).sum(axis=1) / np.maximum(n, 1)
        found.append(np.where(n > 1, (scores - mean) / np.sqrt(variance + _FLAT), 0.0))
    both: Doubles = np.mean(found, axis=0)
    return both


def _log_odds(of: npt.NDArray[Any], out_of: npt.NDArray[Any], added: float | Doubles) -> Doubles:
    """ln of how many are against how many are not."""
    odds: Doubles = np.log((of + added) / (out_of - of + added))
    return odds
