"""The comparison of libraries (benchmarks/neighbours.py): what it counts and what it keeps, against slow ways."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
D = 12


@pytest.fixture
def contest(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The modules of benchmarks/contest."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    modules = ("data", "report", "rounds")
    return SimpleNamespace(**{name: importlib.import_module(f"contest.{name}") for name in modules})


def unit(n: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((n, D)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def true_order(base: np.ndarray, queries: np.ndarray) -> np.ndarray:
    return np.argsort(-(queries.astype(np.float64) @ base.T.astype(np.float64)), axis=1, kind="stable")


def make(contest: SimpleNamespace, work: Path, base: np.ndarray, queries: np.ndarray):
    request = {"items": 0, "queries": len(queries), "seed": 0}
    return contest.data.prepare(work, "task", "random", request, lambda: (base, queries))


def test_tenth_scores_over_several_blocks(contest: SimpleNamespace) -> None:
    base, queries = unit(40_000, 0), unit(5, 1)
    scores = -np.sort(-(queries.astype(np.float64) @ base.T.astype(np.float64)), axis=1)
    np.testing.assert_allclose(contest.data.tenth_scores(base, queries), scores[:, 9], atol=1e-12)


def test_recall_counts_the_share_that_was_found(contest: SimpleNamespace, tmp_path: Path) -> None:
    task = make(contest, tmp_path, unit(300, 0), unit(4, 1))
    order = true_order(task.base(), task.queries())
    assert task.recall(order[:, :10]) == 1
    assert task.recall(order[:, 9::-1]) == 1  # in whatever order
    assert task.recall(np.hstack([order[:, :7], order[:, 10:13]])) == 0.7
    assert task.recall(np.hstack([order[:, :7], np.full((4, 3), -1)])) == 0.7
    assert task.recall(np.repeat(order[:, :1], 10, axis=1)) == 0.1  # one neighbour ten times is one neighbour
    assert task.recall(order[:2, 10:20]) == 0


def test_recall_takes_any_of_equal_neighbours(contest: SimpleNamespace, tmp_path: Path) -> None:
    base = np.repeat(unit(30, 0), 6, axis=0)  # each vector six times: of the second six, four are among the ten
    task = make(contest, tmp_path, base, unit(3, 1))
    order = true_order(task.base(), task.queries())
    assert task.recall(np.hstack([order[:, :6], order[:, 8:12]])) == 1
    assert task.recall(np.hstack([order[:, :6], order[:, 12:16]])) == 0.6


def test_a_task_is_not_begun_anew_with_other_vectors(contest: SimpleNamespace, tmp_path: Path) -> None:
    task = make(contest, tmp_path, unit(50, 0), unit(4, 1))
    assert make(contest, tmp_path, unit(60, 2), unit(4, 3)).base().shape == task.base().shape  # what is there stays
    with pytest.raises(contest.data.RetrievalError, match="another --work folder"):
        make(contest, tmp_path, unit(50, 0), unit(3, 1))


def found(recall: float, speed: float) -> dict[str, dict[str, float]]:
    return {"one": {"recall": recall, "speed": speed}, "many": {"recall": recall, "speed": 2 * speed}}


def test_settings_that_cannot_matter_are_left_out(contest: SimpleNamespace) -> None:
    def done(**recalls: float) -> dict[str, dict[str, dict[str, float]]]:
        return {contest.rounds.key({"ef": int(ef[1:])}): found(recall, 1) for ef, recall in recalls.items()}

    idle, beaten, key = contest.rounds.idle, contest.rounds.beaten, contest.rounds.key
    assert not idle({"ef": 40}, done(_10=0.9, _20=0.99))
    assert idle({"ef": 40}, done(_10=0.9, _20=0.9996))  # everything is found already
    assert not idle({"ef": 40}, done(_10=0.9, _20=0.9))
    assert idle({"ef": 80}, done(_10=0.9, _20=0.9, _40=0.9))  # nothing more is found
    assert not idle({"ef": 80}, done(_10=0.1, _20=0.1, _40=0.1))
    assert not idle({"ef": 5}, done(_10=0.9996))  # a cheaper one
    assert not idle({"nprobe": 9}, done(_1=0.9996))  # other parameters
    three = {key({"ef": 1}): found(0.9, 100), key({"ef": 2}): found(0.95, 90), key({"ef": 3}): found(0.95, 50)}
    assert [beaten(three, name) for name in three] == [False, False, True]


def test_results_go_on_after_a_killed_run(contest: SimpleNamespace, tmp_path: Path) -> None:
    task = make(contest, tmp_path, unit(50, 0), unit(4, 1))
    results = contest.rounds.Results(task)
    results.add(system="x", failed="no compiler")
    results.add(system="x", built={"settings": [{"ef": 10}, {"ef": 20}]})
    results.add(system="x", round=0, setting={"ef": 10}, found=found(0.9, 100))
    with (task.folder / "results.jsonl").open("a") as file:
        file.write('{"system": "x", "round": 0, "sett')
    again = contest.rounds.Results(task)
    assert again.failed == {} and again.open_settings("x", 0) == [{"ef": 20}]
    again.add(system="x", round=0, setting={"ef": 20}, found=found(0.99, 50))
    assert contest.rounds.Results(task).open_settings("x", 0) == []
    assert contest.rounds.Results(task).open_settings("x", 1) == [{"ef": 10}, {"ef": 20}]


def test_the_fastest_that_reaches_a_recall(contest: SimpleNamespace, tmp_path: Path) -> None:
    results = contest.rounds.Results(make(contest, tmp_path, unit(50, 0), unit(4, 1)))
    for system, factor in (("ours exact", 1), ("hnswlib", 2)):
        results.add(system=system, built={"settings": []})
        for turn, noise in enumerate((1.0, 1.2, 0.8)):
            for ef, recall, speed in ((10, 0.9, 400), (20, 0.96, 200), (30, 0.95, 100)):
                row = found(recall, factor * noise * speed)
                results.add(system=system, round=turn, setting={"ef": ef}, found=row)
    report = contest.report
    assert report.fastest(results, "hnswlib", "one", 0.95).speeds == [400, 480, 320]
    assert report.fastest(results, "hnswlib", "one", 0.97) is None
    assert [pace.recall for pace in report.front(report.paces(results, "hnswlib", "one"))] == [0.9, 0.96]
    rows = {row["ours against"]: row for row in report.ratio_table(results, ["ours exact", "hnswlib"])}
    assert rows["hnswlib"]["0.95"] == "0.50 (0.50–0.50)" and rows["hnswlib"]["0.99"] == "–"
    report.plot({"a": (results, ["ours exact", "hnswlib"])}, tmp_path / "plot.svg")
    assert (tmp_path / "plot.svg").read_text().count("<path") > 20


def test_exact_searches_side_by_side(tmp_path: Path) -> None:
    command = [sys.executable, BENCHMARKS / "neighbours.py", "million", "--work", tmp_path, "--items", "800", "--json"]
    few = ["--queries", "60", "--rounds", "1", "--ours", "exact", "--peers", "faiss Flat"]
    done = subprocess.run([*map(str, command), *few], check=True, capture_output=True, text=True)
    (task,) = json.loads(done.stdout).values()
    assert task["items"] == 800 and task["failed"] == {}
    assert set(task["measured"]) == {"ours exact", "faiss Flat"}
    for rounds in task["measured"].values():
        (answers,) = rounds["0"].values()
        assert answers["one"]["recall"] == answers["many"]["recall"] == 1
        assert answers["many"]["queries"] == 60
    assert not (tmp_path / "million" / "places").exists()
