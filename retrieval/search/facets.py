"""Facets: how many of the matches have each label, each folder and each value of an attribute.

Counts are exact, over all matches within the cut-off and not only over those that are shown. Texts are counted by
value; dates in bins, and numbers too unless there are few different ones.
"""

from __future__ import annotations

import datetime
import itertools
import math
import sys
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from retrieval.base.text import for_terminal
from retrieval.index import Index
from retrieval.index.filters import BUILT_IN
from retrieval.index.records import Value, order_of
from retrieval.search.columns import FOLDER, Different, Kind, known_name
from retrieval.search.grouping import day, moment

TOP = 20
"""Values of a text that are counted each, the most frequent ones; and different numbers up to which these are."""

BINS = 20
"""Bins that numbers are counted in, at most. Their width is 1, 2 or 5 times a power of ten."""

MOST_BINS = 40
"""Bins that dates are counted in, at most: days, months, years, or ten or a hundred years."""

_NOT_COUNTED = ("id", "path")
_DAY = 86_400_000_000
_HUGE = sys.float_info.max

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Bin:
    """A count of what lies from `start` up to but not including `end`: numbers, or dates as ISO 8601 has them."""

    start: float | str
    end: float | str
    count: int


@dataclass(frozen=True)
class Facet:
    """How often the values of one name come up among some items.

    Attributes:
        name: of the filter language, or "folder".
        kind: "text", "number" or "date".
        values: values and their counts, the most frequent first; of numbers in their order. None where there are bins.
        bins: in their order, empty ones too. None where there are values.
        other: how many items have another value than these: less frequent ones, or ones of another kind.
        missing: how many have none.
        least, most: of numbers and dates; None where there is none.
    """

    name: str
    kind: Kind
    values: tuple[tuple[Value, int], ...] | None
    bins: tuple[Bin, ...] | None
    other: int
    missing: int
    least: float | str | None = None
    most: float | str | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it; what there is not is left out."""
        found: dict[str, Any] = {"name": self.name, "kind": self.kind}
        if self.values is not None:
            found["values"] = [{"value": value, "count": count} for value, count in self.values]
        if self.bins is not None:
            found["bins"] = [{"from": one.start, "to": one.end, "count": one.count} for one in self.bins]
        if self.least is not None:
            found |= {"least": self.least, "most": self.most}
        return {**found, "other": self.other, "missing": self.missing}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """What :meth:`to_json` gave.

        Raises:
            KeyError, TypeError: it gave no such thing.
        """
        values, bins = found.get("values"), found.get("bins")
        return cls(
            found["name"],
            found["kind"],
            None if values is None else tuple((one["value"], one["count"]) for one in values),
            None if bins is None else tuple(Bin(one["from"], one["to"], one["count"]) for one in bins),
            found["other"],
            found["missing"],
            found.get("least"),
            found.get("most"),
        )

    def line(self) -> str:
        """For a terminal, on one line."""
        parts = [f"{_shown(value)} {count:,}" for value, count in self.values or ()]
        parts += [f"{_shown(one.start)} to {_shown(one.end)} {one.count:,}" for one in self.bins or () if one.count]
        parts += [f"others {self.other:,}"] if self.other else []
        parts += [f"none {self.missing:,}"] if self.missing else []
        return f"{for_terminal(self.name)}: " + ", ".join(parts or ["nothing"])


def _shown(value: Value) -> str:
    if isinstance(value, str):
        return for_terminal(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.10g}"


def facets(index: Index, ids: NDArray[np.int64] | None = None, names: Sequence[str] | None = None) -> tuple[Facet, ...]:
    """Count what some items have.

    Args:
        index: of the items.
        ids: int64 (n,), each once; None for all items. Those of a filter are ``index.select(where)``.
        names: what to count; by default the label, the folder, what every item has, and all attributes.

    Raises:
        RetrievalError: there is no such name.
    """
    names = counted_names(index) if names is None else [known_name(index, name, (), "to count") for name in names]
    counts = index.counts(names, ids)
    total = len(index) if ids is None else len(ids)
    return tuple(facet(name, counts[name], total) for name in names)


def counted_names(index: Index) -> list[str]:
    """What is counted where nobody says what: the label, the folder, what every item has, and all attributes."""
    own = [name for name in BUILT_IN if name not in (*_NOT_COUNTED, "label")]
    return ["label", FOLDER, *own, *sorted(set(index.attribute_kinds()) - {FOLDER})]


def facet(name: str, counts: Mapping[Value | None, int], total: int) -> Facet:
    """One facet.

    Args:
        name: of the facet. counts: value → how many items have it; None may stand for those that have none.
        total: how many items there are.
    """
    values = sorted((value for value in counts if value is not None), key=order_of)
    return facet_of(name, Different(name, values), np.array([counts[value] for value in values], np.int64), total)


def facet_of(name: str, different: Different, times: NDArray[np.int64], total: int) -> Facet:
    """The same of values that are known, and int64 (n,) how many items have each; values that none has are none."""
    there = times > 0
    with_one = int(times.sum())
    missing = total - with_one
    if different.are_dates(there):
        dated = there & different.dated
        at, of_dates = different.moments[dated], times[dated]
        ends = (moment(int(at.min())), moment(int(at.max()))) if len(at) else (None, None)
        return Facet(name, "date", None, _date_bins(at, of_dates), with_one - int(of_dates.sum()), missing, *ends)
    places = np.flatnonzero(there[: different.numbers])
    of_numbers = int(times[places].sum())
    if 2 * of_numbers > with_one:
        other = with_one - of_numbers
        numbers = [different.values[place] for place in places.tolist()]
        counts = times[places]
        least, most = numbers[0], numbers[-1]
        if len(numbers) <= TOP:
            return Facet(
                name, "number", tuple(zip(numbers, counts.tolist(), strict=True)), None, other, missing, least, most
            )
        return Facet(name, "number", None, _number_bins(numbers, counts), other, missing, least, most)
    few = _most_frequent(different, times)
    first = sorted(
        ((different.values[place], int(times[place])) for place in few), key=lambda one: (-one[1], str(one[0]))
    )
    return Facet(name, "text", tuple(first[:TOP]), None, with_one - sum(n for _, n in first[:TOP]), missing)


def _most_frequent(different: Different, times: NDArray[np.int64]) -> list[int]:
    """The places of the most frequent values, and of all numbers as frequent as the last: texts stand as they sort."""
    places = np.flatnonzero(times)
    if len(places) <= TOP:
        return [int(place) for place in places]
    least = np.partition(times[places], -TOP)[-TOP]
    level = places[times[places] == least]
    level = np.concatenate([level[level < different.numbers], level[level >= different.numbers][:TOP]])
    return [*places[times[places] > least].tolist(), *level.tolist()]


def _added(pairs: Iterable[tuple[Key, int]]) -> dict[Key, int]:
    found: dict[Key, int] = {}
    for key, count in pairs:
        found[key] = found.get(key, 0) + count
    return found


def _number_bins(numbers: Sequence[Any], times: NDArray[np.int64]) -> tuple[Bin, ...]:
    """Bins of numbers, ascending, and how often each is there."""
    least, most = float(numbers[0]), float(numbers[-1])
    width = max(most / BINS - least / BINS, math.ulp(max(abs(least), abs(most))), 1e-300)
    power = math.floor(math.log10(width))
    for step in (factor * 10.0**exponent for exponent in (power, power + 1) for factor in (1, 2, 5)):
        first, last = math.floor(least / step), math.floor(most / step)
        if last - first < BINS:
            break
    edges = np.clip([round(place * step, max(0, -power)) for place in range(first, last + 2)], -_HUGE, _HUGE)
    values = np.array(numbers, np.float64)
    at = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    sums = np.zeros(len(edges) - 1, np.int64)
    np.add.at(sums, at, times)
    ends = [int(edge) if edge.is_integer() and abs(edge) < 2**53 else edge for edge in edges.tolist()]
    return tuple(Bin(*pair, count) for pair, count in zip(itertools.pairwise(ends), sums.tolist(), strict=True))


def _date_bins(at: NDArray[np.int64], times: NDArray[np.int64]) -> tuple[Bin, ...]:
    if not len(at):
        return ()
    numbers, place_of = np.unique(at // _DAY, return_inverse=True)  # of which there are far fewer
    sums_of = np.zeros(len(numbers), np.int64)
    np.add.at(sums_of, place_of, times)
    days = _added(
        (datetime.date.fromisoformat(day(number * _DAY)), count)
        for number, count in zip(numbers.tolist(), sums_of.tolist(), strict=True)
    )
    first, last = min(days), max(days)
    place, written = next(step for step in _STEPS if step[0](last) - step[0](first) < MOST_BINS)
    sums = _added((place(one), count) for one, count in days.items())
    return tuple(Bin(written(n), written(n + 1), sums.get(n, 0)) for n in range(place(first), place(last) + 1))


def _years(some: int) -> tuple[Callable[[datetime.date], int], Callable[[int], str]]:
    return lambda date: date.year // some, lambda place: f"{place * some:04d}-01-01"


_STEPS: tuple[tuple[Callable[[datetime.date], int], Callable[[int], str]], ...] = (
    (datetime.date.toordinal, lambda place: day((place - datetime.date(1970, 1, 1).toordinal()) * _DAY)),
    (lambda date: 12 * date.year + date.month - 1, lambda place: f"{place // 12:04d}-{place % 12 + 1:02d}-01"),
    *(_years(some) for some in (1, 10, 100, 1000)),
)
"""From fine to coarse: the number of the bin that a day is in, and the first day of a bin."""
