"""How costs grow, and what they come to beyond what was measured."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def growth(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("growth")


def rows(growth: Any, **costs: float) -> list[dict[str, object]]:
    """Sizes whose costs are the same power of the number of vectors, one cost each."""
    found = []
    for n in (10_000, 100_000, 1_000_000):
        row = {"items": n, "dim": 128, "structure": growth.EXACT, "recall": 1.0, **dict.fromkeys(growth.COSTS, 1.0)}
        found.append({**row, **{name: (n / 10_000) ** power for name, power in costs.items()}})
    return found


def test_the_power_of_a_cost_is_found(growth: Any):
    measured = rows(growth, query=0.5, memory=1.0)
    assert growth.power(measured, "query") == pytest.approx(0.5)
    assert growth.power(measured, "memory") == pytest.approx(1.0)


def test_a_cost_goes_on_by_its_power_and_memory_at_least_in_proportion(growth: Any):
    measured = rows(growth, query=0.5, memory=0.9)
    assert growth.at(measured, "query", 1e8, 128) == pytest.approx(100.0)
    assert growth.at(measured, "memory", 1e8, 256) == pytest.approx(2 * 100 * 100**0.9)


def test_vectors_of_another_length_do_not_bend_the_power(growth: Any):
    measured = [*rows(growth, query=1.0), {**rows(growth)[0], "items": growth.LONG, "dim": growth.LONG_DIM}]
    assert growth.power(measured, "query") == pytest.approx(1.0)


def test_a_billion_is_shared_by_as_many_machines_as_hold_it(growth: Any):
    measured = [{**row, "memory": row["items"] * 512.0} for row in rows(growth, query=1.0)]
    text = growth.billion(measured, 1e9, 128, 50.0, growth.Machine(16, 64.0, 0.05))
    assert "| `exact` | 512 | 10 |" in text
    assert "5,556 core hours (278 at 0.05 an hour)" in text


@pytest.mark.long
def test_a_size_is_measured_for_real(growth: Any, tmp_path: Path):
    row = growth.measure(2000, "IVFLISTS,PQHALFx4fs", 0, tmp_path)
    assert row["recall"] >= growth.RECALL
    assert all(row[name] > 0 for name in growth.COSTS)
    again = growth.measure(2000, growth.EXACT, 0, tmp_path)
    assert again["recall"] == 1.0
    assert again["fill"] == row["fill"]  # filled once
