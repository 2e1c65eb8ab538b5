"""The curves of a report, as few points with their intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval import measures

Doubles = npt.NDArray[np.float64]

LEVELS = np.linspace(0, 1, 51)
"""Recall levels of the precision–recall curve."""

RATES = np.unique(np.concatenate([[0], np.geomspace(1e-4, 1, 61), np.linspace(0, 1, 51)]))
"""False match rates of the ROC curve, close together where they are small."""


@dataclass(frozen=True)
class Curve:
    """A curve.

    Attributes:
        x, y: float64 (p,), its points, x ascending.
        low, high: float64 (p,), the interval of each point by itself; NaN where there is none.
        x_name, y_name: what the axes are.
        how: in words, what lies between its points and what its interval covers.
    """

    x: Doubles
    y: Doubles
    low: Doubles
    high: Doubles
    x_name: str
    y_name: str
    how: str


def precision_recall(curves: Doubles, classes: npt.NDArray[np.int64] | None, *, confidence: float) -> Curve:
    """The mean over queries of their interpolated precision at :data:`LEVELS`.

    Args:
        curves: float64 (m, levels), as of :func:`retrieval.measures.rank`.
        classes: the class of each query, for an interval over classes; None: over queries.
        confidence: of the interval.
    """
    points = measures.mean_intervals(curves, over=classes, confidence=confidence)
    return Curve(
        x=LEVELS,
        y=np.array([point.value for point in points]),
        low=np.array([point.low for point in points]),
        high=np.array([point.high for point in points]),
        x_name="recall",
        y_name="precision",
        how="At each recall level the mean over queries of the highest precision at any rank that reaches this recall "
        f"(interpolated as TREC does); each point's interval is over "
        f"{'queries' if classes is None else 'classes'}.",
    )


def roc(pairs: measures.Pairs, *, confidence: float, seed: int) -> Curve:
    """The true match rate at each of :data:`RATES`."""
    rates, low, high = measures.roc_curve(pairs, RATES, confidence=confidence, resamples=500, seed=seed)
    return Curve(
        x=RATES,
        y=rates,
        low=low,
        high=high,
        x_name="false match rate",
        y_name="true match rate",
        how=f"Of {len(pairs.scores):,} pairs, straight between two thresholds; each point's interval by a bootstrap "
        "over classes.",
    )
