"""The parts of a tuning: estimates, the search that is measured, recall, and what the labels say."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tuned import D, N, index_at
from vectors import brute, clustered, make

from retrieval.index import Index
from retrieval.index.nearest import kinds
from retrieval.tuning.candidates import candidates, estimate_bytes
from retrieval.tuning.held_out import Trial
from retrieval.tuning.label_loss import losses
from retrieval.tuning.timing import Measuring


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return index_at(tmp_path_factory.mktemp("original") / "index")


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "index"))


def test_every_structure_takes_about_what_is_estimated() -> None:
    vectors = clustered(1100, 64)
    for candidate in (found for found in candidates(1100, 64) if kinds.available(found.factory)):
        taken = kinds.build(candidate.factory, vectors, seed=0).bytes()
        off = estimate_bytes(candidate.factory, 1100, 64) - taken
        assert abs(off) < 0.6 * taken + 4 * 64 * 64, candidate.factory  # give or take a matrix


@pytest.mark.kernels
def test_a_neighbour_counts_by_its_score(tmp_path: Path) -> None:
    """Copies stand for each other; what is worse than the true k-th does not count."""
    vectors = np.repeat(clustered(50, D), 40, axis=0)
    with make(tmp_path / "index", vectors) as index:
        trial = Trial(index, np.empty(0, np.int64))
        measuring = Measuring(trial, clustered(30, D, seed=2), 10)
        assert (measuring.found(trial.exact) == 1).all()

        def last_copies(queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
            scores, places = trial.exact(queries, 40)
            return scores[:, -k:], places[:, -k:]

        assert (measuring.found(last_copies) == 1).all()

        def half(queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
            scores, places = trial.exact(queries, 41)
            return np.concatenate([scores[:, :5], scores[:, -1:].repeat(5, axis=1)], axis=1), places[:, :k]

        assert (measuring.found(half) == 0.5).all()


def test_speeds_are_taken_by_the_machines_own_clocks(folder: Path) -> None:
    with Index.open(folder) as index:
        trial = Trial(index, np.empty(0, np.int64))
    measuring = Measuring(trial, clustered(30, D, seed=2), 10)
    found, first = measuring.first(trial.exact, 0.002)
    assert (found == 1).all()
    in_turns = measuring.speeds({"one": trial.exact, "other": trial.exact}, 0.002)
    assert set(in_turns) == {"one", "other"}
    for speed in (first, *in_turns.values()):
        assert all(0 < value < np.inf for value in (speed.single, speed.latency, speed.batched))
    assert measuring.glance(trial.exact)[0] == 1 and 0 < measuring.glance(trial.exact)[1] < np.inf


@pytest.mark.kernels
def test_a_trial_answers_as_the_index_will(folder: Path) -> None:
    structure = None
    queries = clustered(40, D, seed=4)
    with Index.open(folder, write=True) as index:
        trial = Trial(index, np.empty(0, np.int64))
        for factory in ("HNSW16,Flat", "IVF16,SQ8"):
            structure = kinds.build(factory, trial.vectors, seed=0)
            for parameters in kinds.efforts(factory, N)[:3]:
                index.set_structure(structure, parameters)
                search = trial.search(structure, parameters)
                for asked, k in ((queries, 10), (queries[:1], 10), (queries, 40)):  # 40 take more effort
                    scores, ids = index.search(asked, k)
                    mine = search(asked, k)
                    np.testing.assert_array_equal(mine[0], scores)
                    np.testing.assert_array_equal(trial.ids[mine[1]], ids)


@pytest.mark.kernels
def test_held_out_vectors_are_not_found(folder: Path) -> None:
    with Index.open(folder, write=True) as index:
        index.remove([5, 6])
        held = np.array([3, 700, N - 1])
        trial = Trial(index, held)
        assert len(trial) == N - 5 and not {3, 5, 6, 700, N - 1} & set(trial.ids.tolist())
        scores, places = trial.exact(index.vectors(held), 5)
        np.testing.assert_array_equal(trial.vectors[places[:, 0]], index.vectors(trial.ids[places[:, 0]]))
        ids, vectors = index.all_vectors()
        rest = ~np.isin(ids, held)
        expected = brute(index.vectors(held), vectors[rest], ids[rest], 5)
        np.testing.assert_array_equal(trial.ids[places], expected[1])
        np.testing.assert_array_equal(scores, expected[0])


def test_losses_by_labels_are_the_measures_of_both_searches(folder: Path) -> None:
    generator = np.random.default_rng(0)
    with Index.open(folder) as index:
        trial = Trial(index, np.empty(0, np.int64))
    labels = generator.integers(-1, 7, N)
    queries, asked = clustered(60, D, seed=8), generator.integers(-1, 9, 60)  # labels 7 and 8 nobody has

    def poor(queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        scores, places = trial.exact(queries, 2 * k)
        return scores[:, ::2], places[:, ::2]  # misses every other one

    found = losses(trial.exact, poor, queries, asked, labels, 10)
    assert list(found) == ["P@10", "MAP@R"]
    assert {loss.difference.n for loss in found.values()} == {int(((asked >= 0) & (asked < 7)).sum())}

    def slow(places: list[int], label: int, total: int, k: int) -> tuple[float, float]:
        right = [labels[place] == label for place in places]
        hits = np.cumsum(right)
        return hits[k - 1] / k, sum(hits[i] / (i + 1) for i in range(total) if right[i]) / total

    expected: dict[str, list[tuple[float, float]]] = {"exact": [], "approximate": []}
    for query, label in zip(queries, asked, strict=True):
        total = int((labels == label).sum())
        if label >= 0 and total:
            for name, search in (("exact", trial.exact), ("approximate", poor)):
                first = search(query[None], 10)[1][0].tolist()
                all_ = search(query[None], total)[1][0].tolist()
                expected[name].append((slow(first, label, 10, 10)[0], slow(all_, label, total, 1)[1]))
    for column, loss in enumerate(found.values()):
        exact, approximate = (np.mean(expected[name], axis=0)[column] for name in ("exact", "approximate"))
        assert loss.first.value == pytest.approx(approximate) and loss.second.value == pytest.approx(exact)
        assert loss.difference.value == pytest.approx(approximate - exact)
        assert loss.difference.low <= loss.difference.value <= loss.difference.high
    same = losses(trial.exact, trial.exact, queries, asked, labels, 10)
    for loss in same.values():  # other queries may differ, where none of these does
        assert loss.difference.value == 0 and -0.1 < loss.difference.low < 0 < loss.difference.high < 0.1
    assert losses(trial.exact, poor, queries, np.full(60, -1), labels, 10) == {}
