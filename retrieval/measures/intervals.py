"""How sure a figure is: bootstrap intervals over queries or over classes, and whether two systems differ."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval.base.given import seeded
from retrieval.errors import RetrievalError

RESAMPLES = 2000

FEWEST = 5
"""Values below which the interval of a group would say more than it knows."""

DRAWN = 2**20
"""Numbers of a group's resamples that are in memory at a time."""

Table = npt.NDArray[np.float64]


FLIPS = 9999
"""So many are drawn; with the one that was seen the smallest p-value is 1/10,000."""

BLOCK = 2**22
"""Signs that are in memory at a time."""

ROUNDING = 1e-12
"""Sums that differ by no more of their size are the same sum in another order."""


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


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same queries.

    Attributes:
        first, second: the mean of each, with its own interval.
        difference: first − second, query by query, with the interval of that.
        verdict: which of them is higher and by how much, or that the sample cannot tell.
    """

    first: Interval
    second: Interval
    difference: Interval
    verdict: str


def bootstrap(
    values: npt.ArrayLike,
    *,
    over: npt.ArrayLike | None = None,
    strata: npt.ArrayLike | None = None,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Interval]:
    """Percentile bootstrap interval of each column's mean (Efron 1979).

    All columns see the same resamples, so that measures of the same queries vary together. The interval says
    how much the mean would move with other queries of the same kind; gallery, network and training stay as
    they are. With `over` whole classes are drawn, each with all its queries (the cluster bootstrap): that says how
    much the mean would move with other classes, too, and is the one to quote where the classes are a sample.

    Args:
        values: (n, m), one row a query and one column a measure; (n,) for one measure.
        over: integers (n,), the class of each query. Classes are drawn in place of queries; the mean stays one over
            queries.
        strata: integers (n,), the stratum of each query. Each keeps its number of draws: for samples that were
            stratified themselves. A class must not lie in two of them.
        confidence: share of the resampled means that lie inside, between 0 and 1.
        resamples: how many times as many are drawn with replacement as there are.
        seed: of the draws; the same seed gives the same interval.

    Raises:
        RetrievalError: there is no value, one is not a number, or classes and strata do not fit.
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
    units, of = (n, np.arange(n)) if over is None else _numbered(over, n, "classes")
    if units < 2:
        return [Interval(float(mean), math.nan, math.nan, n) for mean in centre]
    draws = Draws(units, None if strata is None else _strata(strata, of, units, n), seed)
    sums = table if over is None else np.stack([np.bincount(of, column, units) for column in table.T], axis=1)
    sizes = np.bincount(of, minlength=units).astype(np.float64)
    means = np.empty((resamples, table.shape[1]))
    for row in means:  # one resample at a time: n × resamples numbers would not fit for large n
        times = draws.next()
        row[:] = (times @ sums) / (times @ sizes)
    low, high = percentiles(means, confidence)
    return [Interval(float(m), float(a), float(b), n) for m, a, b in zip(centre, low, high, strict=True)]


def bootstrap_groups(
    values: npt.ArrayLike,
    groups: npt.ArrayLike,
    count: int,
    *,
    fewest: int = FEWEST,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[Table, Table, Table]:
    """The mean of each group by itself, such as each class, with its percentile bootstrap interval.

    Args:
        values: (n, m), one row a query and one column a measure.
        groups: integers (n,) from 0 to `count` − 1.
        count: how many groups there are.
        fewest: a group of fewer values has no interval.
        confidence, resamples, seed: as for :func:`bootstrap`.

    Returns:
        Means, lower and upper ends, float64 (count, m) each; NaN where there is none.

    Raises:
        RetrievalError: the arrays do not fit together.
    """
    table, of = np.asarray(values, np.float64), np.asarray(groups)
    if table.ndim != 2 or of.shape != table.shape[:1] or (of.size and not 0 <= of.min() <= of.max() < count):
        raise RetrievalError(
            f"values of shape {table.shape} come with {of.shape} groups: give each a number below {count}"
        )
    means, low, high = np.full((3, count, table.shape[1]), math.nan)
    ends = np.cumsum(np.bincount(of, minlength=count))
    members = np.split(np.argsort(of, kind="stable"), ends[:-1])
    for group, places in enumerate(members):
        if not places.size:
            continue
        own = table[places]
        means[group] = own.mean(axis=0)
        if places.size < max(2, fewest):
            continue
        # by the group and not by what came before it, so that one more class changes no other's interval
        generator = seeded(seed, group)
        drawn = np.empty((resamples, own.shape[1]))
        step = max(1, DRAWN // own.size)
        for start in range(0, resamples, step):
            part = drawn[start : start + step]
            part[:] = own[generator.integers(0, places.size, (len(part), places.size))].mean(axis=1)
        low[group], high[group] = percentiles(drawn, confidence)
    return means, low, high


def compare(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    *,
    names: tuple[str, str] = ("the first", "the second"),
    over: npt.ArrayLike | None = None,
    strata: npt.ArrayLike | None = None,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Two systems on the same queries: what each scores, their difference, and what can be said about it.

    The pairs are drawn together, which takes out what makes a query easy or hard for both. If the difference's interval
    holds 0, this sample cannot tell the two apart.

    Args:
        a, b: (n,), what each query scored with the one and with the other, in the same order.
        names: what to call them.
        over, strata, confidence, resamples, seed: as for :func:`bootstrap`.
    """
    left, right = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if left.ndim != 1 or left.shape != right.shape:
        raise RetrievalError(
            f"a comparison needs the same queries twice, not {left.shape} and {right.shape}: measure both on them"
        )
    return compare_columns(
        left[:, None],
        right[:, None],
        names=names,
        over=over,
        strata=strata,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )[0]


def compare_columns(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    *,
    names: tuple[str, str] = ("the first", "the second"),
    over: npt.ArrayLike | None = None,
    strata: npt.ArrayLike | None = None,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Comparison]:
    """:func:`compare` for several measures (n, m) at once, on the same resamples."""
    left, right = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if left.ndim != 2 or left.shape != right.shape:
        raise RetrievalError(
            f"a comparison needs the same queries twice, not {left.shape} and {right.shape}: measure both on them"
        )
    table = np.concatenate([left - right, left, right], axis=1)
    found = bootstrap(table, over=over, strata=strata, confidence=confidence, resamples=resamples, seed=seed)
    m = left.shape[1]
    return [
        Comparison(one, other, gap, _verdict(gap, names))
        for gap, one, other in zip(found[:m], found[m : 2 * m], found[2 * m :], strict=True)
    ]


def _verdict(gap: Interval, names: tuple[str, str]) -> str:
    if gap.low > 0:
        return f"{names[0]} is higher than {names[1]} by {gap.value:.4f} ({gap.low:.4f} to {gap.high:.4f})"
    if gap.high < 0:
        return f"{names[1]} is higher than {names[0]} by {-gap.value:.4f} ({-gap.high:.4f} to {-gap.low:.4f})"
    if math.isnan(gap.low):
        return f"one value cannot tell {names[0]} and {names[1]} apart"
    return (
        f"the sample cannot tell {names[0]} and {names[1]} apart: they differ by {gap.value:+.4f} "
        f"({gap.low:+.4f} to {gap.high:+.4f})"
    )


def percentiles(drawn: Table, confidence: float) -> Table:
    """float64 (2, …): between which lies that share of the resamples (r, …), as many below as above."""
    tail = (1 - confidence) / 2
    ends: Table = np.quantile(drawn, [tail, 1 - tail], axis=0)
    return ends


class Draws:
    """Resample after resample: how often each unit is drawn."""

    def __init__(self, units: int, strata: list[npt.NDArray[np.int64]] | None, seed: int) -> None:
        """Of `units` units, or of each of the strata (positions of units) as many as it has."""
        self._units, self._strata = units, strata
        self._generator = seeded(seed)

    def next(self) -> npt.NDArray[np.int64]:
        """int64 (units,): their numbers of draws."""
        if self._strata is None:
            return np.bincount(self._generator.integers(0, self._units, self._units), minlength=self._units)
        times = np.empty(self._units, np.int64)
        for members in self._strata:
            drawn = self._generator.integers(0, members.size, members.size)
            times[members] = np.bincount(drawn, minlength=members.size)
        return times


def _numbered(given: npt.ArrayLike, n: int, what: str) -> tuple[int, npt.NDArray[np.int64]]:
    """How many different ones there are, and int64 (n,), which each is."""
    array = np.asarray(given)
    if array.shape != (n,):
        raise RetrievalError(f"{n} values come with {what} of shape {array.shape}: give one for each")
    different, places = np.unique(array, return_inverse=True)
    return different.size, places


def _strata(given: npt.ArrayLike, of: npt.NDArray[np.int64], units: int, n: int) -> list[npt.NDArray[np.int64]]:
    """The units of each stratum."""
    count, places = _numbered(given, n, "strata")
    stratum = np.empty(units, np.int64)
    stratum[of] = places
    if (stratum[of] != places).any():
        raise RetrievalError("a class lies in two strata: draw over queries, or give strata that hold whole classes")
    return [np.flatnonzero(stratum == one) for one in range(count)]


def wilson(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """The interval of a share that was found among ``count`` (Wilson 1927); 95 % for the default ``z``."""
    middle = share + z**2 / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return (middle - half) / (1 + z**2 / count), (middle + half) / (1 + z**2 / count)


def sign_flip_test(
    differences: npt.ArrayLike, *, over: npt.ArrayLike | None = None, flips: int = FLIPS, seed: int = 0
) -> npt.NDArray[np.float64]:
    """Two-sided p-values of mean paired differences (Fisher's randomisation test, with random sign flips).

    If it made no difference which system is which, each query's difference could as well have the other sign. The
    p-value is the share of such flips, the one that was seen among them, whose mean is at least as far from 0:
    (1 + those) / (1 + drawn), as Phipson and Smyth (2010) advise. All columns see the same flips.

    Args:
        differences: numbers (n, m), one row a query and one column a measure; (n,) for one measure.
        over: integers (n,), the class of each query: then whole classes flip, which is right where the queries of a
            class are alike and the classes are a sample.
        flips: how many are drawn.
        seed: of the draws.

    Returns:
        float64 (m,); 1 where every difference is 0.

    Raises:
        RetrievalError: there is no difference, one is no number, or classes do not fit.
    """
    table = np.asarray(differences, np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or not table.size or not np.isfinite(table).all():
        raise RetrievalError(
            f"a test needs differences, not an array of shape {table.shape} with gaps: leave those queries out"
        )
    if over is not None:
        places = _numbered(over, len(table), "classes")[1]
        table = np.stack([np.bincount(places, column) for column in table.T], axis=1)
    generator = seeded(seed)
    total = table.sum(axis=0)
    least = np.abs(total) - ROUNDING * np.abs(table).sum(axis=0)
    as_far, step = np.ones(table.shape[1]), max(1, BLOCK // len(table))
    for start in range(0, flips, step):
        kept = generator.integers(0, 2, (min(step, flips - start), len(table)), np.int8).astype(np.float64)
        as_far += (np.abs(2 * (kept @ table) - total) >= least).sum(axis=0)
    return as_far / (1 + flips)
