"""How sure a figure is: intervals over queries or over classes, and whether two systems differ.

One construction serves all of them. A figure's standard error comes from how much each query (or class) moves it: for
means in closed form, by leaving each out (the jackknife of Tukey 1958), for curves and rates from a bootstrap (Efron
1979). As many errors as Student's distribution asks for are laid to both sides on the scale of log-odds, so that no end
leaves what is possible, and the side with more room is the longer one. The degrees of freedom are those that the moves'
own kurtosis leaves (:func:`_freedom`): where few queries or classes decide, the error itself is unsure.
docs/measuring.md has what else was tried, and how often each holds the truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval.base.given import seeded
from retrieval.errors import RetrievalError

RESAMPLES = 1000
"""Of a bootstrap, where nobody says."""

A_SAMPLE = 20
"""So many classes (or labels, or queries) at least make a sample for an interval: with ten classes of unequal size some
miss too often, with twenty they hold what they say (benchmarks/intervals.py)."""

FEWEST = 5
"""Values below which the interval of a group would say more than it knows."""

FREEDOM = 5
"""Degrees of freedom that a kurtosis leaves at least: the fewest with which Student's distribution has one."""

SHARE = (0.0, 1.0)
"""Between which most measures lie."""

Limits = tuple[npt.ArrayLike, npt.ArrayLike] | None
"""Between which values lie, one number or one a column each; None where nobody can say."""

Table = npt.NDArray[np.float64]
Statistic = Callable[[Table], npt.ArrayLike]
"""Figures (m,) if each unit counts as often as its number (units,) says; NaN where there is none."""

FLIPS = 9999
"""So many are drawn; with the one that was seen the smallest p-value is 1/10,000."""

MOVED = 200
"""Units that are left out one by one, at most, of a figure that is no mean."""

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


def mean_intervals(
    values: npt.ArrayLike,
    *,
    over: npt.ArrayLike | None = None,
    strata: npt.ArrayLike | None = None,
    limits: Limits = SHARE,
    confidence: float = 0.95,
) -> list[Interval]:
    """The mean of each column, with its interval.

    The interval says how much the mean would move with other queries of the same kind; gallery, network and training
    stay as they are. With `over` whole classes are left out, each with all its queries (the cluster jackknife, CV3 of
    MacKinnon, Nielsen and Webb 2023): that says how much the mean would move with other classes, too, and is the one to
    quote where the classes are a sample.

    Where all score the same, nothing moves the mean, and as many others are reckoned with as may have been missed,
    lying anywhere between the limits: Wilson's (1927) upper end for none of so many.

    Args:
        values: (n, m), one row a query and one column a measure; (n,) for one measure.
        over: integers (n,), the class of each query. Classes are left out in place of queries; the mean stays one over
            queries.
        strata: integers (n,), the stratum of each query: for samples that were stratified themselves. A class must not
            lie in two of them. One that is alone in its stratum is set beside the mean of all.
        limits: between which values lie.
        confidence: how often such an interval holds the true mean, between 0 and 1.

    Returns:
        An interval a column; open where there is one query, or one class.

    Raises:
        RetrievalError: there is no value, one is not a number or beyond the limits, or classes and strata do not fit.
    """
    table = np.asarray(values, np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or not table.size or np.isnan(table).any():
        raise RetrievalError(
            f"an interval needs numbers, not an array of shape {table.shape} with gaps: leave those out"
        )
    _within(table, limits)
    _share(confidence)
    n = len(table)
    units, of = (n, np.arange(n)) if over is None else _numbered(over, n, "classes")
    centre = table.mean(axis=0)
    if units < 2:
        return [Interval(float(mean), math.nan, math.nan, n) for mean in centre]
    sums = table if over is None else np.stack([np.bincount(of, column, units) for column in table.T], axis=1)
    sizes = np.bincount(of, minlength=units).astype(np.float64)
    without = (sums.sum(axis=0) - sums) / (n - sizes)[:, None]
    if strata is None:
        moves, kinds = (without - without.mean(axis=0)) * math.sqrt((units - 1) / units), 1
    else:
        stratum, kinds = _strata(strata, of, units, n)
        moves = _within_strata(without, stratum, kinds)
    effective = n**2 / (sizes**2).sum()  # so many classes of one size tell as much (Kish 1965)
    error = np.sqrt((moves**2).sum(axis=0))
    low, high = _ends(centre, error, moves, units, max(1, units - kinds), effective - 1, limits, confidence)
    return [Interval(float(m), float(a), float(b), n) for m, a, b in zip(centre, low, high, strict=True)]


def mean_intervals_of_groups(
    values: npt.ArrayLike,
    groups: npt.ArrayLike,
    count: int,
    *,
    fewest: int = FEWEST,
    limits: Limits = SHARE,
    confidence: float = 0.95,
) -> tuple[Table, Table, Table]:
    """The mean of each group by itself, such as each class, as :func:`mean_intervals` has it.

    Args:
        values: (n, m), one row a query and one column a measure.
        groups: integers (n,) from 0 to `count` − 1.
        count: how many groups there are.
        fewest: a group of fewer values has no interval.
        limits, confidence: as for :func:`mean_intervals`.

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
        means[group] = table[places].mean(axis=0)
        if places.size >= max(2, fewest):
            found = mean_intervals(table[places], limits=limits, confidence=confidence)
            low[group], high[group] = [one.low for one in found], [one.high for one in found]
    return means, low, high


def bootstrap(
    statistic: Statistic,
    units: int,
    *,
    limits: Limits = SHARE,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[Table, Table, Table]:
    """Figures that are no plain means, with their intervals: the standard error is the bootstrap's (Efron 1979).

    As many units as there are, queries or classes, are drawn with replacement, again and again, and the figures are
    computed anew. How far each unit moves a figure, whose kurtosis the degrees of freedom need, is seen by leaving it
    out, of many a sample. (That jackknife's own error is not used: it is unsteady where a figure jumps from score to
    score.) A resample without a figure, such as one that holds no genuine pair, is passed over.

    Args:
        statistic: the figures (m,), of how often each unit counts: float64 (units,).
        units: how many there are.
        limits: between which the figures lie.
        confidence: how often such an interval holds the true figure, between 0 and 1.
        resamples: how many are drawn.
        seed: of the draws; the same seed gives the same interval.

    Returns:
        The figures, their lower and their upper ends, float64 (m,) each; ends are NaN where there are fewer than two
        units or two resamples with that figure.
    """
    _share(confidence)
    values = np.asarray(statistic(np.ones(units)), np.float64)
    if units < 2:
        return values, *np.full((2, values.size), math.nan)
    generator = seeded(seed)
    drawn = np.empty((resamples, values.size))
    for row in drawn:
        row[:] = statistic(np.bincount(generator.integers(0, units, units), minlength=units).astype(np.float64))
    known = np.isfinite(drawn)
    count = known.sum(axis=0)
    without = []
    for unit in generator.permutation(units)[:MOVED]:
        times = np.ones(units)
        times[unit] = 0
        without.append(statistic(times))
    moves = np.asarray(without, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        off = np.where(known, drawn - np.where(known, drawn, 0).sum(axis=0) / count, 0)
        # a resample of n scatters as (n − 1) / n of what is drawn from
        error = np.sqrt((off**2).sum(axis=0) / count * units / (units - 1))
    moves -= moves.mean(axis=0)
    low, high = _ends(values, error, moves, units, units - 1, None, limits, confidence)
    open_ = ~np.isfinite(values) | (count < 2)
    return values, np.where(open_, math.nan, low), np.where(open_, math.nan, high)


def compare(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    *,
    names: tuple[str, str] = ("the first", "the second"),
    over: npt.ArrayLike | None = None,
    strata: npt.ArrayLike | None = None,
    limits: Limits = SHARE,
    confidence: float = 0.95,
) -> Comparison:
    """Two systems on the same queries: what each scores, their difference, and what can be said about it.

    Both stay and go together, which takes out what makes a query easy or hard for both. If the difference's interval
    holds 0, this sample cannot tell the two apart.

    Args:
        a, b: (n,), what each query scored with the one and with the other, in the same order.
        names: what to call them.
        over, strata, limits, confidence: as for :func:`mean_intervals`; a difference lies between minus and plus what
            lies between the limits.
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
        limits=limits,
        confidence=confidence,
    )[0]


def compare_columns(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    *,
    names: tuple[str, str] = ("the first", "the second"),
    over: npt.ArrayLike | None = None,
    strata: npt.ArrayLike | None = None,
    limits: Limits = SHARE,
    confidence: float = 0.95,
) -> list[Comparison]:
    """:func:`compare` for several measures (n, m) at once."""
    left, right = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if left.ndim != 2 or left.shape != right.shape:
        raise RetrievalError(
            f"a comparison needs the same queries twice, not {left.shape} and {right.shape}: measure both on them"
        )
    room = 0.0 if limits is None else np.subtract(limits[1], limits[0])
    gaps = None if limits is None else (-room, room)
    firsts, seconds, differences = (
        mean_intervals(table, over=over, strata=strata, limits=between, confidence=confidence)
        for table, between in ((left, limits), (right, limits), (left - right, gaps))
    )
    return [
        Comparison(one, other, gap, _verdict(gap, names))
        for one, other, gap in zip(firsts, seconds, differences, strict=True)
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


def _ends(
    values: Table,
    error: Table,
    moves: Table,
    units: int,
    freedom: float,
    most: float | None,
    limits: Limits,
    confidence: float,
) -> tuple[Table, Table]:
    """Lower and upper ends, float64 (m,) each.

    Args:
        values, error: float64 (m,), the figures and their standard errors.
        moves: float64 (u, m), how far units move each figure, on any scale; NaN where one leaves none.
        units: how many there are; as many as moves, or more.
        freedom: degrees of freedom if the moves were normal.
        most: how many degrees of freedom there can be, if values of queries lie between the limits; then no error is
            made larger than it is where each is at one of them. None: nothing is known of either.
        limits, confidence: as for :func:`mean_intervals`.
    """
    still = error <= ROUNDING * np.maximum(1, np.abs(values))
    plain = _quantile(freedom, confidence)
    fewest = min(FREEDOM, freedom)
    free = np.clip(_freedom(moves, units), fewest, freedom if most is None else min(freedom, max(most, fewest)))
    half = _quantile(free, confidence) * error
    if limits is None:
        return values - half, values + half
    floor, room = np.asarray(limits[0], np.float64), np.subtract(limits[1], limits[0])
    share, half = (values - floor) / room, half / room
    scatter = share * (1 - share)
    if most is not None:
        half = np.maximum(plain * error / room, np.minimum(half, plain * np.sqrt(np.maximum(scatter, 0) / freedom)))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        odds, step = np.log(share / (1 - share)), half / scatter
        low, high = 1 / (1 + np.exp(step - odds)), 1 / (1 + np.exp(-step - odds))
    unseen = plain**2 / (units + plain**2)
    flat = still | (scatter <= 0)
    low = np.where(flat, np.clip(share - np.maximum(unseen * share, half), 0, 1), low)
    high = np.where(flat, np.clip(share + np.maximum(unseen * (1 - share), half), 0, 1), high)
    return floor + room * low, floor + room * high


def _freedom(moves: Table, units: int) -> Table:
    """How many degrees of freedom the variance of as many units has, by the kurtosis of moves (u, m): float64 (m,).

    Satterthwaite (1946): twice the squared variance by the variance of its estimate, which is (κ/n + 2/(n − 1)) σ⁴ with
    excess kurtosis κ, here Fisher's (G₂ of Joanes and Gill 1998). Infinite below four moves, 0 where one is not known.
    """
    n = len(moves)
    if n < 4:
        return np.full(moves.shape[1], math.inf)
    squares = moves**2
    total = squares.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        excess = np.where(total == 0, 0, n * (squares**2).sum(axis=0) / total**2 - 3)
    excess = (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * excess + 6)
    found: Table = 2 / (np.maximum(excess, 0) / units + 2 / (units - 1))
    return np.nan_to_num(found)


def _quantile(freedom: npt.ArrayLike, confidence: float) -> Table:
    """How many standard errors of so many degrees of freedom lie to each side, by Student's distribution."""
    from scipy.special import stdtrit  # which takes a while to import

    return np.asarray(stdtrit(freedom, (1 + confidence) / 2))


def _within_strata(without: Table, stratum: npt.NDArray[np.int64], kinds: int) -> Table:
    """Moves (units, m) of the means (units, m) without each unit, against the others of its stratum."""
    sizes = np.bincount(stratum, minlength=kinds)
    means = np.stack([np.bincount(stratum, column, kinds) for column in without.T], axis=1) / sizes[:, None]
    alone = sizes[stratum] == 1
    centre = np.where(alone[:, None], without.mean(axis=0), means[stratum])
    moves: Table = (without - centre) * np.sqrt(np.where(alone, 1, 1 - 1 / sizes[stratum]))[:, None]
    return moves


def limits_of(table: Table) -> Limits:
    """0 and 1, between which measures lie; further where the values of a column (n, m) reach further, as a score of 4
    does."""
    return np.minimum(table.min(axis=0), 0), np.maximum(table.max(axis=0), 1)


def _within(table: Table, limits: Limits) -> None:
    if limits is None:
        return
    wrong = (table < np.asarray(limits[0]) - ROUNDING) | (table > np.asarray(limits[1]) + ROUNDING)
    if wrong.any():
        raise RetrievalError(
            f"{int(wrong.sum())} of {wrong.size} values, such as {table[wrong][0]:g}, do not lie between the limits, "
            f"{np.min(limits[0]):g} and {np.max(limits[1]):g}: give those that they lie between, or None"
        )


def _share(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise RetrievalError(f"a confidence of {confidence:g} makes no interval: give a share between 0 and 1")


def _numbered(given: npt.ArrayLike, n: int, what: str) -> tuple[int, npt.NDArray[np.int64]]:
    """How many different ones there are, and int64 (n,), which each is."""
    array = np.asarray(given)
    if array.shape != (n,):
        raise RetrievalError(f"{n} values come with {what} of shape {array.shape}: give one for each")
    different, places = np.unique(array, return_inverse=True)
    return different.size, places


def _strata(given: npt.ArrayLike, of: npt.NDArray[np.int64], units: int, n: int) -> tuple[npt.NDArray[np.int64], int]:
    """int64 (units,), the stratum of each unit, and how many strata there are."""
    count, places = _numbered(given, n, "strata")
    stratum = np.empty(units, np.int64)
    stratum[of] = places
    if (stratum[of] != places).any():
        raise RetrievalError("a class lies in two strata: draw over queries, or give strata that hold whole classes")
    return stratum, count


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
