"""Lists of vectors in few numbers: the kernel and NumPy name the same, and what a file must not say."""

from __future__ import annotations

import numpy as np
import pytest
from vectors import clustered, unit

from retrieval.base import compiled
from retrieval.base.open_file import DamagedFileError
from retrieval.index.nearest import exact_search, kinds

N, D = 2000, 48
needs_kernel = pytest.mark.skipif(compiled.kernel is None, reason="there was no compiler")


def by_numpy(structure, queries, count, probes) -> np.ndarray:
    return np.stack([structure._named(query, count, probes) for query in queries])


@needs_kernel
@pytest.mark.kernels
@pytest.mark.parametrize(
    ("factory", "d"), [("Lists16x16", 16), ("Lists32x16", 33), ("Lists16x48", 48), ("Lists16x128", 129)]
)
def test_the_kernel_names_what_numpy_names(factory, d):
    vectors = clustered(N, d)
    vectors[1000:1400] = vectors[:400]  # whose scores tie
    structure = kinds.build(factory, vectors, seed=0)
    queries = np.concatenate([clustered(20, d, seed=1), vectors[:20], np.eye(d, dtype=np.float32)[:10]])
    for count, probes in ((1, 1), (10, 3), (14, 16), (64, 5), (65, 5), (90, 2), (N, 16), (N + 7, 500), (9, -1)):
        expected = by_numpy(structure, queries, count, min(max(probes, 1), 32))
        np.testing.assert_array_equal(structure.candidates(queries, count, {"nprobe": probes}), expected)
        alone = [structure.candidates(queries[[row]], count, {"nprobe": probes})[0] for row in range(len(queries))]
        np.testing.assert_array_equal(alone, expected)


def test_without_the_kernel_numpy_answers(monkeypatch):
    structure = kinds.build("Lists16x16", clustered(N, D), seed=0)
    queries = clustered(5, D, seed=1)
    expected = structure.candidates(queries, 14, {"nprobe": 4})
    monkeypatch.setattr(compiled, "kernel", None)
    other = kinds.build("Lists16x16", clustered(N, D), seed=0)
    np.testing.assert_array_equal(other.candidates(queries, 14, {"nprobe": 4}), expected)


@pytest.mark.kernels
def test_scores_are_those_of_the_vectors_but_for_what_is_left_out():
    """With as many numbers as there are, and all lists, the order is the exact one but for eight bits."""
    vectors, queries = clustered(N, D), clustered(50, D, seed=3)
    structure = kinds.build("Lists16x48", vectors, seed=0)
    truth = exact_search(queries, vectors, np.arange(N), 10)[0]
    found = structure.candidates(queries, 10, {"nprobe": 16})
    scores = np.take_along_axis(queries @ vectors.T, found, axis=1)
    assert (scores.min(axis=1) > truth[:, -1] - 0.02).all()
    assert np.mean(scores >= truth[:, -1:] - 1e-6) > 0.95
    alike = np.sort(structure.candidates(queries, N, {"nprobe": 16}), axis=1)
    assert (alike == np.arange(N)).all()  # each once


def test_of_an_embedding_of_few_directions_few_numbers_tell_all():
    """Eight of 48 directions have all of the spread: sixteen numbers are as good as all."""
    rng = np.random.default_rng(0)
    both = (rng.standard_normal((N + 50, 8)) @ np.linalg.qr(rng.standard_normal((48, 8)))[0].T).astype(np.float32)
    both /= np.linalg.norm(both, axis=1, keepdims=True)
    vectors, queries = both[:N], both[N:]
    truth = exact_search(queries, vectors, np.arange(N), 10)[0]
    structure = kinds.build("Lists16x16", vectors, seed=0)
    found = structure.candidates(queries, 20, {"nprobe": 16})
    scores = np.sort(np.take_along_axis(queries @ vectors.T, found, axis=1), axis=1)[:, :-11:-1]
    assert np.mean(scores >= truth[:, -1:] - 1e-6) > 0.99
    assert structure.bytes() < vectors.nbytes / 4


def test_equal_vectors_and_few_of_them_are_no_trouble():
    for vectors in (np.repeat(unit(1, D), 40, axis=0), unit(16, D)):
        structure = kinds.build("Lists16x16", vectors, seed=0)
        found = structure.candidates(vectors[:2], len(vectors), {"nprobe": 16})
        assert (np.sort(found, axis=1) == np.arange(len(vectors))).all()


@pytest.mark.parametrize(
    ("which", "value"),
    [
        ("positions", N), ("positions", -2), ("positions", -1), ("positions", 5), ("starts", -1), ("starts", 10**6),
        ("steps", 0), ("steps", np.nan), ("centres", np.inf), ("rotation", np.nan),
    ],
)  # fmt: skip
def test_what_a_file_must_not_say_is_damage(which, value, tmp_path):
    structure = kinds.build("Lists16x16", clustered(N, D), seed=0)
    array = getattr(structure._arrays, which).copy()
    places = np.flatnonzero(array >= 0) if which == "positions" else [len(array) // 2]
    array[places[0] if array.ravel()[places[0]] != value else places[1]] = value
    structure._arrays = structure._arrays._replace(**{which: array})
    structure.write(tmp_path / "x.ann")
    for mapped in (False, True):
        with pytest.raises(DamagedFileError, match="not the structure"):
            kinds.read("Lists16x16", tmp_path / "x.ann", D, N, mapped=mapped)


@needs_kernel
def test_arrays_that_do_not_fit_are_refused():
    structure = kinds.build("Lists16x16", clustered(N, D), seed=0)
    lists, queries = structure._compiled, clustered(3, D)
    found = np.empty((3, 5), np.int64)
    for bad in (
        (found[:2], queries, 1), (found, queries[:2], 1), (found, queries, 0), (found, queries[:, :40].copy(), 1),
        (found.astype(np.int32), queries, 1), (found, queries.astype(np.float64), 1), (found, queries),
    ):  # fmt: skip
        with pytest.raises((TypeError, ValueError)):
            lists.into(*bad)
    a = structure._arrays
    good = [16, structure._turning, np.zeros_like(structure._centres), structure._halves, a.steps, a.starts,
            a.codes.view("<u4"), a.positions]  # fmt: skip
    assert compiled.kernel.Lists(*good) is not None
    for place, wrong in (
        (0, 8), (0, 144), (1, structure._turning[:5, :5].copy()), (2, np.zeros((3, 16))), (3, structure._halves[:1]),
        (4, a.steps[:2]), (5, a.starts[::-1].copy()), (5, a.starts[:-1]), (6, a.codes[:1].view("<u4")),
        (7, a.positions[:-16]), (7, a.positions.astype(np.int64)),
    ):  # fmt: skip
        with pytest.raises((TypeError, ValueError)):
            compiled.kernel.Lists(*good[:place], wrong, *good[place + 1 :])
