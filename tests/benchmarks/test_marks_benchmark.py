"""The simulation of benchmarks/marks.py against loops, and the page that it writes."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from vectors import clustered

from retrieval.search.learned import OTHERS_WEIGHT, RIDGE

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("marks")


def sample(program: ModuleType, n: int = 150):
    rows = clustered(n, 12)
    return program.Vectors(rows, (rows[:, 0] > 0).astype(np.int64))


def slow(vectors, query: int, towards: float, away: float, rounds: int) -> list[float]:
    """AP@100 by Rocchio's rule before each round: what was marked is taken out of everything."""
    rows, labels = vectors.rows.astype(float), vectors.labels
    marked: list[int] = []
    found = []
    for _ in range(rounds + 1):
        right = [rows[i] for i in marked if labels[i] == labels[query]]
        wrong = [rows[i] for i in marked if labels[i] != labels[query]]
        sought = rows[query].copy()
        if right:
            sought += towards * np.mean(right, axis=0)
        if wrong:
            sought -= away * np.mean(wrong, axis=0)
        left = [i for i in range(len(rows)) if i != query and i not in marked]
        order = sorted(left, key=lambda i: -float(rows[i] @ sought))
        hits, total = 0, 0.0
        for rank, i in enumerate(order[:100], 1):
            if labels[i] == labels[query]:
                hits += 1
                total += hits / rank
        found.append(total / min(100, sum(labels[i] == labels[query] for i in left)))
        marked += order[:5]
    return found


@pytest.mark.parametrize("weights", [(0.75, 0.15), (0.0, 0.0), (2.0, 1.0)])
def test_marks_are_simulated_as_said(program, weights):
    vectors, queries = sample(program), np.array([3, 70, 149])
    way = lambda *given: program.rocchio(*given, towards=weights[0], away=weights[1])  # noqa: E731
    found = program.simulate(way, vectors, queries)
    truth = [slow(vectors, int(query), *weights, program.ROUNDS) for query in queries]
    np.testing.assert_allclose(found, truth, atol=1e-6)


def test_the_page_has_the_tables(program, tmp_path, monkeypatch, capsys):
    sets = {(encoder, part): sample(program) for encoder in program.PICTURES for part in ("choose", "test")}
    monkeypatch.setattr(program, "encoded", lambda *_: sets)
    monkeypatch.setattr(program.datasets, "load", lambda _: None)
    page = tmp_path / "page.md"
    page.write_text("before\n{}\nold\n{}\nafter\n".format(*program.PAGE))
    words = ["marks.py", "data", "--out", str(tmp_path), "--queries", "4", "--choosing", "2", "--into", str(page)]
    monkeypatch.setattr("sys.argv", words)
    assert program.main() == 0
    said, written = capsys.readouterr().out, page.read_text()
    assert written.startswith("before\n") and written.endswith("\nafter\n") and "old" not in written
    assert said.strip() in written and said.count(program.LEARNED) == 2
    assert said.count("| Rocchio 1, 0.75, 0.15 |") == 4
    assert "2 queries" not in said and "4 queries for each encoder" in said


def test_what_was_chosen_is_what_is_used():
    page = (BENCHMARKS.parent / "docs" / "marks.md").read_text()
    assert f"{OTHERS_WEIGHT:g} for all random items together and {RIDGE:g} for the squared length" in page
