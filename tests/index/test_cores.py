"""Searches on any number of cores: the same bits, and no thread without work."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import faiss
import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits
from vectors import brute, clustered, unit

from retrieval.base import compiled
from retrieval.index.nearest import cores, exact, kinds
from retrieval.index.nearest.exact import Allowed, exact_search, range_search, search_after
from retrieval.index.nearest.ranking import by_query

compiled_only = pytest.mark.skipif(compiled.kernel is None, reason="there was no compiler")


@pytest.fixture(params=[pytest.param("compiled", marks=compiled_only), "NumPy"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "NumPy":
        monkeypatch.setattr(compiled, "kernel", None)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is looked for is worth some threads, and taken apart."""
    monkeypatch.setattr(exact, "_EACH", (1, 1))
    monkeypatch.setattr(exact, "_ROWS", (64, 100))
    monkeypatch.setattr(exact, "_GROUP", 16)


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    yield
    faiss.omp_set_num_threads(before)


def on(threads: int, ask: Callable[[], Any]) -> Any:
    faiss.omp_set_num_threads(threads)
    found = ask()
    assert faiss.omp_get_max_threads() == threads
    return found


@pytest.mark.kernels
@pytest.mark.usefixtures("way", "small_pieces")
@pytest.mark.parametrize("asking", [3, 40])
@pytest.mark.parametrize("filtered", [False, True])
def test_all_above_a_score_are_the_same_on_any_cores(asking: int, filtered: bool) -> None:
    vectors, queries = clustered(500, 24), clustered(asking, 24, seed=4)
    vectors[100:140] = vectors[7]  # equal scores
    queries[0] = vectors[7]
    ids, mask = np.arange(500) * 3, np.arange(500) % 3 > 0
    allowed = Allowed(mask) if filtered else None
    some = mask if filtered else np.ones(500, bool)
    everything, order = brute(queries, vectors[some], ids[some], int(some.sum()))
    for score in (-1.0, 0.4, float(everything[1, 5]), 1.0, 2.0):
        for threads in (1, 2, 3):
            found = on(threads, lambda score=score: range_search(queries, vectors, ids, score, allowed))
            assert len(found) == asking
            for row, (scores, hits) in enumerate(found):
                keep = everything[row] >= score
                np.testing.assert_array_equal(scores, everything[row][keep])
                np.testing.assert_array_equal(hits, order[row][keep])


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("asking", [1, 7, 60])
def test_the_nearest_are_the_same_on_any_cores(asking: int) -> None:
    vectors, queries = clustered(2000, 16), clustered(asking, 16, seed=4)
    ids, allowed = np.arange(2000), Allowed(np.arange(2000) % 5 > 0)
    after = np.full(asking, 0.5, np.float32), np.zeros(asking, np.int64)
    for ask in (
        lambda: exact_search(queries, vectors, ids, 9),
        lambda: exact_search(queries, vectors, ids, 9, allowed=allowed),
        lambda: search_after(queries, vectors, ids, 9, after),
    ):
        first, *others = [on(threads, ask) for threads in (1, 2, 3)]
        for other in others:
            np.testing.assert_array_equal(other[0], first[0])
            np.testing.assert_array_equal(other[1], first[1])
    np.testing.assert_array_equal(exact_search(queries, vectors, ids, 9)[1], brute(queries, vectors, ids, 9)[1])


def test_a_search_has_the_threads_that_its_work_is_worth(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, ids, seen = unit(300, 8), np.arange(300), []
    real = faiss.knn_inner_product
    monkeypatch.setattr(
        faiss, "knn_inner_product", lambda *given: (seen.append(faiss.omp_get_max_threads()), real(*given))
    )
    for each in (2, 8):  # the queries that FAISS compares one by one, and those that it multiplies
        monkeypatch.setattr(exact, "_EACH", (each * 300 * 8, each * 300 * 8))
        for asking in (1, each, 3 * each):
            on(4, lambda asking=asking: exact_search(vectors[:asking], vectors, ids, 3))
    assert seen == [1, 1, 3, 1, 1, 3]
    structure, asked = kinds.build("IVF4,Flat", vectors, seed=0), []
    monkeypatch.setattr(cores, "threads", lambda work, each: asked.append((work, each)) or 1)
    structure.candidates(vectors[:40], 5, {"nprobe": 2})
    assert asked == [(40, cores.EACH)]


def test_other_threads_keep_theirs() -> None:
    faiss.omp_set_num_threads(3)
    inside, left = threading.Event(), threading.Event()
    seen: list[int] = []

    def work() -> None:
        faiss.omp_set_num_threads(5)
        inside.wait()
        seen.append(faiss.omp_get_max_threads())
        left.wait()
        seen.append(faiss.omp_get_max_threads())

    other = threading.Thread(target=work)
    other.start()
    with cores.at_most(1):
        inside.set()
        while not seen:
            left.wait(0.01)
        assert seen == [5] and faiss.omp_get_max_threads() == 1
        with cores.at_most(2):
            assert faiss.omp_get_max_threads() == 1
    left.set()
    other.join()
    assert seen == [5, 5] and faiss.omp_get_max_threads() == 3


def test_products_have_one_thread_as_long_as_somebody_wants_that() -> None:
    def blas() -> set[int]:
        return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}

    with threadpool_limits(2, user_api="blas"):
        assert blas() == {2}
        with cores.one_for_products():
            with cores.one_for_products():
                assert blas() == {1}
            assert blas() == {1}
        assert blas() == {2}


@compiled_only
def test_what_does_not_fit_is_refused_and_touches_no_memory() -> None:
    queries, vectors = unit(4, 8), unit(20, 8, seed=1)
    near = queries @ vectors.T
    for wrong in (
        (queries[:3], vectors, near, None, 8, 0.0, 0.0),
        (queries, vectors[:19], near, None, 8, 0.0, 0.0),
        (queries, vectors, near, np.ones(19, bool), 8, 0.0, 0.0),
        (queries, vectors, near, None, 0, 0.0, 0.0),
        (queries, vectors, near.astype(np.float64), None, 8, 0.0, 0.0),
    ):
        with pytest.raises((ValueError, TypeError)):
            compiled.kernel.above(*wrong)
    scores, rows = np.empty(3, np.float32), np.empty(3, np.int64)
    pairs = np.zeros(3, np.int32), np.zeros(3, np.float32), np.zeros(3, np.int64)
    for limits, first, end in (
        ([0, 2, 3], 0, 2),  # the first query has three
        ([0, 3, 9], 0, 2),
        ([0, 3, 1], 0, 2),
        ([0, 3, 3], 0, 3),
        ([0, 3, 3], -1, 2),
        ([0, 3, 3], 2, 1),
    ):
        with pytest.raises(ValueError, match=r"limits say|fit each other"):
            compiled.kernel.gather_into(scores, rows, np.array(limits), *pairs, first, end)


@pytest.mark.usefixtures("way")
def test_nothing_above_is_no_error() -> None:
    limits, scores, rows = by_query([], 3, 2)
    assert limits.tolist() == [0, 0, 0, 0] and not len(scores) and not len(rows)
    assert [len(ids) for _, ids in range_search(unit(3, 8), unit(0, 8), np.arange(0), 0.5)] == [0, 0, 0]
    assert range_search(unit(0, 8), unit(5, 8), np.arange(5), 0.5) == []


@compiled_only
@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("k", [5, 140])
def test_many_queries_are_multiplied_and_find_the_same(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "_BLOCK", (24, 100))
    vectors, queries = clustered(1000, 16), clustered(90, 16, seed=4)
    vectors[200:260] = vectors[3]  # more equal scores than there are candidates
    queries[1] = vectors[3]
    ids, exclude = np.arange(1000) * 2, [[2 * row, 400] for row in range(90)]
    expected = brute(queries, vectors, ids, k, exclude)
    for threads in (1, 2, 3):
        found = on(threads, lambda: exact_search(queries, vectors, ids, k, exclude))
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])
    called: list[int] = []
    monkeypatch.setattr(exact, "_by_products", lambda asked, *_: called.append(len(asked)) or 1 / 0)
    if k == 5:
        with pytest.raises(ZeroDivisionError):
            exact_search(queries, vectors, ids, k)
    for asked in (queries[:31], queries[:1]):
        exact_search(asked, vectors, ids, k)
    assert called == [90] * (k == 5)


@compiled_only
def test_the_best_so_far_are_kept_in_order() -> None:
    near = np.random.default_rng(0).permutation(300).reshape(3, 100).astype(np.float32)
    near[1, 7] = np.nan
    scores, rows = np.full((3, 8), -np.inf, np.float32), np.full((3, 8), -1, np.int64)
    for first in range(0, 100, 30):
        compiled.kernel.keep_best(scores, rows, np.ascontiguousarray(near[:, first : first + 30]), 3, first)
    order = np.argsort(-np.nan_to_num(near, nan=-1), axis=1)[:, :8]
    np.testing.assert_array_equal(rows, order)
    np.testing.assert_array_equal(scores, np.take_along_axis(near, order, axis=1))
    for wrong in (
        (scores, rows[:2], near, 3, 0),
        (scores, rows, near[:, :50].copy()[:2], 3, 0),
        (scores, rows, near, 0, 0),
    ):
        with pytest.raises(ValueError, match="fit each other"):
            compiled.kernel.keep_best(*wrong)


@pytest.mark.skipif(sys.platform != "linux", reason="another OpenMP tells otherwise what it is")
@pytest.mark.parametrize(("given", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_faiss_sleeps_while_it_waits_and_others_are_left_alone(given: str | None, expected: str) -> None:
    code = "import os; import retrieval.index.nearest.kinds; print(os.environ.get('OMP_WAIT_POLICY'))"
    environment = {**os.environ, "OMP_DISPLAY_ENV": "TRUE"}
    environment.pop("OMP_WAIT_POLICY", None)
    if given is not None:
        environment["OMP_WAIT_POLICY"] = given
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert f"OMP_WAIT_POLICY = '{expected}'" in done.stderr
    assert done.stdout.strip() == str(given)
