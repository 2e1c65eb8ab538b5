"""Facets of values as they come: bins hold every number once, whatever there is; hostile values are values."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from vectors import make, unit

from retrieval.errors import RetrievalError
from retrieval.search.facets import BINS, MOST_BINS, TOP, facet, facets

RNG = np.random.default_rng(0)

NUMBERS = {
    "whole": RNG.integers(0, 5000, 300).tolist(),
    "negative": (-RNG.integers(1, 90, 300)).tolist(),
    "fractions": RNG.random(300).round(3).tolist(),
    "tenths": [n / 10 for n in range(60)],
    "small": (1e-9 * RNG.random(100)).tolist(),
    "tiny": (1e-310 * RNG.random(100)).tolist(),
    "close": [1e15 + n for n in range(100)],
    "next to one another": [float(np.nextafter(1, 2) * (1 + n * 2.0**-52)) for n in range(50)],
    "huge": [*(1e307 * RNG.standard_normal(100)).tolist(), sys.float_info.max, -sys.float_info.max],
    "large and whole": [2**63 - 1 - n for n in range(100)] + [-(2**63)],
    "skewed": [*range(100), 10**9],
}


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_is_in_the_bin_that_says_so(name: str) -> None:
    numbers = NUMBERS[name]
    found = facet("x", {value: numbers.count(value) for value in set(numbers)}, len(numbers) + 3)
    assert found.kind == "number" and found.missing == 3 and found.other == 0 and found.values is None
    assert found.bins is not None and 1 <= len(found.bins) <= BINS
    assert sum(one.count for one in found.bins) == len(numbers)
    assert (found.least, found.most) == (min(numbers), max(numbers))
    for place, one in enumerate(found.bins):
        last = place == len(found.bins) - 1
        assert math.isfinite(one.start) and math.isfinite(one.end)  # type: ignore[arg-type]
        assert one.count == sum(one.start <= v < one.end or (last and v >= one.end) for v in map(float, numbers))  # type: ignore[operator]
        if place:
            assert found.bins[place - 1].end == one.start
    json.loads(json.dumps(found.to_json(), allow_nan=False))


@pytest.mark.parametrize(
    ("dates", "first", "count"),
    [
        (["2024-05-01T10:00:00", "2024/5/3"], "2024-05-01", 3),
        (["2024-01-31", "2024-12-01"], "2024-01-01", 12),
        (["1990-01-01", "2024-01-01"], "1990-01-01", 35),
        (["1890-01-01", "2024-01-01"], "1890-01-01", 14),
        (["0001-01-01", "9999-12-31"], "0000-01-01", 10),
        (["9999-12-31"], "9999-12-31", 1),
        (["0001-01-01T00:30:00+05:00"], "0001-01-01", 1),
    ],
)
def test_dates_are_counted_in_steps_that_people_know(dates: list[str], first: str, count: int) -> None:
    found = facet("taken", dict.fromkeys(dates, 2), 2 * len(dates))
    assert found.kind == "date" and found.bins is not None
    assert (found.bins[0].start, len(found.bins)) == (first, count) and count <= MOST_BINS
    assert sum(one.count for one in found.bins) == 2 * len(dates)
    assert found.least is not None and found.line()


def test_texts_are_counted_by_value_and_the_rest_together() -> None:
    counts = {f"v{n:02d}": 100 - n for n in range(TOP + 5)} | {"a": 100}
    found = facet("camera", counts, sum(counts.values()))
    assert found.values is not None and found.values[:3] == (("a", 100), ("v00", 100), ("v01", 99))
    assert len(found.values) == TOP and found.other == sum(100 - n for n in range(TOP - 1, TOP + 5))
    assert "\x1b" not in facet("\x1b[2J", {"\x1b[31m": 1}, 1).line()


def test_of_both_kinds_the_more_frequent_is_counted() -> None:
    assert facet("x", {1: 5, 2: 1, "a": 2}, 9).values == ((1, 5), (2, 1))
    mostly = facet("x", {1: 1, "a": 2, "b": 2}, 5)
    assert mostly.kind == "text" and mostly.values is not None and dict(mostly.values) == {"a": 2, "b": 2, 1: 1}
    half = facet("x", {"2024-05-01": 1, "2024-05-02": 1, "soon": 7}, 9)
    assert (half.kind, half.other) == ("date", 7)
    nothing = facet("x", {}, 4)
    assert (nothing.values, nothing.missing) == ((), 4)


def test_all_items_of_an_index_are_counted(tmp_path: Path) -> None:
    with make(tmp_path / "index", unit(70, 8)) as index:
        index.attach({n: {"iso": n % 3} for n in range(0, 70, 2)})
        label, iso = facets(index, names=["label", "iso"])
        assert label.values == tuple((f"class{n}", 10) for n in range(7))
        assert iso.values == ((0, 12), (1, 11), (2, 12)) and iso.missing == 35
        assert facets(index, index.select("iso = 1"), ["iso"])[0].values == ((1, 11),)
        assert [one.name for one in facets(index)] == [
            "label", "folder", "width", "height", "size", "modified", "iso",
        ]  # fmt: skip
        with pytest.raises(RetrievalError, match="There is no 'nothing' to count"):
            facets(index, names=["nothing"])
