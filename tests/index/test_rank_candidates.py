"""Both ways of ranking, compiled and by NumPy, against sums of Python's own."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator

import faiss
import numpy as np
import pytest
from vectors import brute, clustered, unit

from retrieval.base import compiled
from retrieval.index import approximate
from retrieval.index.nearest import exact_search, kinds
from retrieval.index.nearest.ranking import Ranker, scores_of
from retrieval.index.rows import Rows

WAYS = [
    pytest.param("compiled", marks=pytest.mark.skipif(compiled.kernel is None, reason="there was no compiler")),
    "NumPy",
]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "NumPy":
        monkeypatch.setattr(compiled, "kernel", None)
    yield request.param


def slow(query: np.ndarray, row: np.ndarray) -> np.float32:
    """The inner product without rounding, then rounded once."""
    exact = math.fsum(float(a) * float(b) for a, b in zip(query, row, strict=True))
    return np.float32(min(max(exact, -1.0), 1.0))


@pytest.mark.kernels
@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("d", [1, 7, 8, 31, 33, 64, 129, 784])
def test_a_score_is_the_exact_product_rounded_once(d: int) -> None:
    queries, vectors = unit(5, d), unit(15, d, seed=1)
    vectors[::3] = queries  # which score 1, or a little above
    vectors[1::3] = -queries
    scores = scores_of(queries, vectors)
    assert scores.dtype == np.float32 and scores.shape == (15,)
    expected = [slow(queries[i // 3], vectors[i]) for i in range(15)]
    np.testing.assert_array_equal(scores, expected)
    found = np.arange(15, dtype=np.int64)[None].repeat(5, axis=0)
    ranked, ids, lacking = Ranker(np.arange(15), vectors).rank(queries, found, 15)
    assert lacking == 0
    for query in range(5):
        np.testing.assert_array_equal(ranked[query], [slow(queries[query], vectors[i]) for i in ids[query]])


def expected(queries, vectors, ids, found, k, row_of, mask, exclude):
    """The same in plain Python."""
    scores, hits = np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1, np.int64)
    for q, query in enumerate(queries):
        rows = [int(place) if row_of is None else int(row_of[place]) for place in found[q] if place >= 0]
        may = [
            row
            for row in rows
            if row >= 0 and (mask is None or mask[row]) and (exclude is None or ids[row] not in exclude[q])
        ]
        ranked = sorted((-slow(query, vectors[row]), row) for row in may)[:k]
        for place, (score, row) in enumerate(ranked):
            scores[q, place], hits[q, place] = -score, ids[row]
    return scores, hits, int((hits[:, -1] < 0).sum()) if k else 0


@pytest.mark.parametrize("named", [np.int64, np.uint32])
@pytest.mark.parametrize("gathered", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_ranking_is_what_python_says(way: str, seed: int, gathered: bool, named: type) -> None:
    rng = np.random.default_rng(seed)
    n, d, nq, m = 60, 12, int(rng.integers(1, 7)), int(rng.choice([1, 9, 30, 60]))
    vectors, ids = clustered(n, d, seed), np.sort(rng.permutation(500)[:n])
    vectors[rng.permutation(n)[:20]] = vectors[0]  # equal scores
    queries = np.concatenate([vectors[:1], clustered(nq, d, seed + 9)])[:nq]
    row_of = None if seed % 2 else np.where(rng.random(n) < 0.2, -1, rng.permutation(n))
    found = np.stack([rng.permutation(n)[:m] for _ in range(nq)]).astype(named)
    if named is np.int64:
        found[rng.random(found.shape) < 0.1] = -1
    mask = None if seed % 3 else rng.random(n) < 0.7
    exclude = None if seed % 3 == 1 else [np.sort(rng.choice(ids, int(rng.integers(0, 9)))).tolist() for _ in queries]
    ranker = Ranker(ids, (lambda rows: vectors[rows]) if gathered else vectors, row_of)
    assert (ranker._compiled is not None) == (way == "compiled" and not gathered)
    for k in (1, 10, 70):
        before = found.copy()
        got = ranker.rank(queries, found, k, mask=mask, exclude=exclude)
        for mine, slowly in zip(got, expected(queries, vectors, ids, found, k, row_of, mask, exclude), strict=True):
            np.testing.assert_array_equal(mine, slowly)
        np.testing.assert_array_equal(found, before)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("factory", "parameters"),
    [
        ("PCA8,SQ8", {"candidates": 2}),
        ("IVF16,PQ4x4fs", {"nprobe": 16, "candidates": 2}),
        ("HNSW16,Flat", {"efSearch": 16}),
        ("SymphonyQG32", {"ef": 10}),
        ("BHNSW16", {"efSearch": 20, "candidates": 2}),
        ("Lists16x16", {"nprobe": 2, "candidates": 2}),
    ],
)
def test_what_others_must_not_get_changes_no_answer(factory: str, parameters: dict[str, int]) -> None:
    """Beside a query that leaves out much, others get the same hits, though a third is gone since it was built."""
    if not kinds.available(factory):
        pytest.skip("its library is not here")
    vectors, queries = unit(2000, 64), unit(5, 64, seed=3)
    structure, ids = kinds.build(factory, vectors, seed=0), np.arange(2000)
    kept = np.flatnonzero(np.arange(2000) % 3)
    search = approximate.Approximate(structure, parameters, ids, Rows([kept], [vectors[kept]], 64)).search
    exclude = [[], [kept[5]], kept[:90].tolist(), [], kept[:600].tolist()]
    together = search(queries, 10, exclude)
    for row in range(5):
        alone = search(queries[[row]], 10, [exclude[row]])
        np.testing.assert_array_equal(alone[1][0], together[1][row])
        np.testing.assert_array_equal(alone[0][0], together[0][row])
        assert not set(together[1][row].tolist()) & set(exclude[row])


@pytest.mark.usefixtures("way")
def test_what_stands_behind_the_excluded_is_not_excluded() -> None:
    """In memory the ids of the next query do."""
    vectors, exclude = unit(50, 8), [[3, 9], [20, 40]]
    ranker, found = Ranker(np.arange(50), vectors), np.arange(50)[None].repeat(2, axis=0)
    _, ids, _ = ranker.rank(vectors[:2], found, 48, exclude=exclude)
    assert [sorted(set(range(50)) - set(row)) for row in ids.tolist()] == [[3, 9], [20, 40]]


@pytest.mark.kernels
@pytest.mark.usefixtures("way")
def test_a_search_is_the_same_either_way() -> None:
    """Through all that stands above: candidates by the dozen, what came later, what went, filters, exact search."""
    vectors, queries = clustered(900, 32), clustered(20, 32, seed=3)
    ids = np.arange(900) * 2
    np.testing.assert_array_equal(
        exact_search(queries, vectors, ids, 7, [[i, 40] for i in range(20)])[1],
        brute(queries, vectors, ids, 7, [[i, 40] for i in range(20)])[1],
    )
    structure = kinds.build("IVF8,PQ16x4fs", vectors[:800], seed=0)
    for arrays in ([vectors], [vectors[:500], vectors[500:]]):
        rows = Rows([ids], arrays, 32)
        search = approximate.Approximate(structure, {"nprobe": 8, "candidates": 16}, ids[:800], rows).search
        scores, found = search(queries, 5)
        expected_scores, expected_ids = brute(queries, vectors, ids, 5)
        assert (found == expected_ids).mean() > 0.95
        same = found == expected_ids
        np.testing.assert_array_equal(scores[same], expected_scores[same])
        for query in range(20):
            np.testing.assert_array_equal(search(queries[query : query + 1], 5)[0], scores[query : query + 1])


@pytest.mark.usefixtures("way")
def test_threads_change_no_bit() -> None:
    vectors, queries = clustered(300, 16), clustered(1100, 16, seed=2)
    rng = np.random.default_rng(0)
    found = np.stack([rng.permutation(300)[:20] for _ in queries])
    exclude = [sorted({*rng.choice(300, int(rng.integers(0, 20))).tolist()}) for _ in queries]
    threads, answers = faiss.omp_get_max_threads(), []
    for count in (1, 2, 3):
        faiss.omp_set_num_threads(count)
        try:
            answers.append(Ranker(np.arange(300), vectors).rank(queries, found, 18, exclude=exclude))
        finally:
            faiss.omp_set_num_threads(threads)
    assert 0 < answers[0][2] < 1100
    for other in answers[1:]:
        for mine, its in zip(other, answers[0], strict=True):
            np.testing.assert_array_equal(mine, its)


@pytest.mark.skipif(compiled.kernel is None, reason="there was no compiler")
def test_what_does_not_fit_is_refused_and_touches_no_memory() -> None:
    vectors, ids = unit(20, 8), np.arange(20)
    ranker = compiled.kernel.Ranker(vectors, ids, None)
    scores, hits = np.empty((2, 3), np.float32), np.empty((2, 3), np.int64)
    found = np.zeros((2, 4), np.int64)
    with pytest.raises(IndexError, match="names a vector that there is not"):
        ranker.into(scores, hits, vectors[:2], found + 20, None, None)
    with pytest.raises(IndexError):
        compiled.kernel.Ranker(vectors, ids, np.full(20, 77)).into(scores, hits, vectors[:2], found, None, None)
    for wrong in (
        (scores, hits[:1], vectors[:2], found, None, None),
        (scores, hits, vectors[:2], found, np.ones(19, bool), None),
        (scores, hits, vectors[:2], found, None, [[1, 2]]),
        (scores, hits, vectors[:2], found, None, [[1], 2]),
        (scores, hits, vectors[:2], found, None, [[1], ["2"]]),
        (scores, hits, vectors[:2], found, None, 7),
        (scores, hits, vectors[:2].astype(np.float64), found, None, None),
        (scores, hits, np.asfortranarray(vectors)[:2], found, None, None),
        (scores, hits, vectors[:2], found.astype(np.int16), None, None),
        (scores, hits, vectors[:2], found),
    ):
        with pytest.raises((TypeError, ValueError, IndexError, BufferError)):
            ranker.into(*wrong)
    for arguments in ((vectors[:7], ids, None), (vectors, ids.astype(np.int32), None), (vectors[:0], ids[:0], None)):
        with pytest.raises((TypeError, ValueError)):
            compiled.kernel.Ranker(*arguments)
    for arguments in ((scores, vectors[:4], vectors[:5], 8), (scores.ravel(), vectors[:2], vectors[:6], 0)):
        with pytest.raises(ValueError):
            compiled.kernel.scores_into(*arguments)


def test_without_a_compiler_and_without_rabitqlib_it_still_searches() -> None:
    """Blocked as if they had not been built or could not be installed."""
    code = """
import sys
sys.modules["rabitqlib"] = None
sys.modules["retrieval.base._kernel"] = None
import numpy as np
from retrieval.base import compiled
from retrieval.index.nearest import exact_search, kinds
assert compiled.kernel is None and not kinds.available("SymphonyQG32") and kinds.available("HNSW32,Flat")
vectors = np.eye(40, dtype=np.float32)
print(exact_search(vectors[3:5], vectors, np.arange(40), 1)[1].ravel().tolist())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[3, 4]\n", "")
