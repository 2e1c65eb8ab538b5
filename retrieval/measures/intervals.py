"""How sure a figure is: bootstrap intervals over queries."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval.errors import RetrievalError

RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval; low and high are NaN where fewer than two values leave it open.

    Attributes:
        value: the mean. low, high: the interval's ends. n: how many values the mean is of.
    """

    value: float
    low: float
    high: float
    n: int


def bootstrap(
    values: npt.ArrayLike, *, confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> list[Interval]:
    """Percentile bootstrap interval of each column's mean (Efron 1979).

    All columns see the same resamples, so that measures of the same queries vary together. The interval says
    how much the mean would move with other queries of the same kind; gallery, network and training stay as
    they are.

    Args:
        values: (n, m), one row a query and one column a measure; (n,) for one measure.
        confidence: share of the resampled means that lie inside, between 0 and 1.
        resamples: how many times n queries are drawn with replacement.
        seed: of the draws; the same seed gives the same interval.

    Raises:
        RetrievalError: there is no value, or one is not a number.
    """
    table = np.asarray(values, np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or not table.size or np.isnan(table).any():
        raise RetrievalError(
            f"an interval needs numbers, not an array of shape {table.shape} with gaps: leave those out"
        )
    if not 0 < confidence < 1 or resamples < 1:
        raise RetrievalError(
            f"confidence {confidence} and {resamples} resamples make no interval: "
            "give a share between 0 and 1, and 1 or more"
        )
    n = len(table)
    centre = table.mean(axis=0)
    if n < 2:
        return [Interval(float(mean), math.nan, math.nan, n) for mean in centre]
    generator = np.random.default_rng(seed)
    means = np.empty((resamples, table.shape[1]))
    for row in means:  # one resample at a time: n × resamples numbers would not fit for large n
        row[:] = np.bincount(generator.integers(0, n, n), minlength=n) @ table
    tail = (1 - confidence) / 2
    low, high = np.quantile(means / n, [tail, 1 - tail], axis=0)
    return [Interval(float(m), float(a), float(b), n) for m, a, b in zip(centre, low, high, strict=True)]


def difference(
    a: npt.ArrayLike, b: npt.ArrayLike, *, confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Interval of mean(a) − mean(b) for two systems measured on the same queries (n,), query by query.

    The pairs are drawn together, which takes out what makes a query easy or hard for both. If the interval
    holds 0, this sample cannot tell the two apart.
    """
    left, right = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if left.ndim != 1 or left.shape != right.shape:
        raise RetrievalError(
            f"a paired difference needs the same queries twice, not {left.shape} and {right.shape}: "
            "measure both on them"
        )
    return bootstrap(left - right, confidence=confidence, resamples=resamples, seed=seed)[0]
