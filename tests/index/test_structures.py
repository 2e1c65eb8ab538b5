"""Every structure behind the one interface, against brute force."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import faiss
import numpy as np
import pytest
from vectors import clustered, unit

from retrieval.base.open_file import DamagedFileError
from retrieval.errors import RetrievalError
from retrieval.index.nearest import exact_search, kinds
from retrieval.index.nearest.exact import matrix_products
from retrieval.index.nearest.faiss_options import linear, project
from retrieval.index.nearest.ranking import Ranker

FACTORIES = [
    "Flat", "SQfp16", "SQ8", "PQ32x4fs", "RaBitQ", "HNSW16,Flat", "HNSW32_SQ8", "HNSW16_SQfp16", "PCA32,HNSW16_SQ8",
    "IVF16,Flat", "IVF16,SQ8", "IVF16,PQ32x4fs", "IVF16,RaBitQ", "PCA32,IVF16,SQ8", "RR64,IVF16,RaBitQfs", "NSG32,Flat",
    "BFlat", "BHNSW32", "BIVF16", "SymphonyQG32", "SymphonyQG32_SQ8", "Lists16x32",
]  # fmt: skip
N, D = 2500, 64


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return clustered(N, D)


@pytest.fixture(scope="module")
def built(vectors) -> dict[str, kinds.Structure]:
    return {factory: kinds.build(factory, vectors, seed=0) for factory in FACTORIES}


def answers(structure, vectors, queries, parameters, k=10) -> tuple[np.ndarray, np.ndarray]:
    count = min((k + 2) * parameters.get("candidates", 1), len(structure))
    found = structure.candidates(queries, count, parameters)
    return Ranker(np.arange(len(vectors)), vectors).rank(queries, found, k)[:2]


@pytest.mark.kernels
@pytest.mark.parametrize("factory", FACTORIES)
def test_more_effort_finds_more_up_to_nearly_all(built, vectors, factory):
    queries = clustered(60, D, seed=1)
    truth, _ = exact_search(queries, vectors, np.arange(N), 10)
    efforts = kinds.efforts(factory, N)
    recalls = [np.mean(answers(built[factory], vectors, queries, effort)[0] >= truth[:, -1:]) for effort in efforts]
    assert recalls[-1] >= (0.9 if factory.startswith("NSG") else 0.99), recalls
    assert recalls[0] <= recalls[-1]
    assert all(set(effort) <= {"efSearch", "nprobe", "ef", "candidates"} for effort in efforts)
    assert len({tuple(effort.items()) for effort in efforts}) == len(efforts)


@pytest.mark.kernels
@pytest.mark.parametrize("factory", FACTORIES)
def test_an_answer_does_not_depend_on_the_batch(built, vectors, factory):
    queries = clustered(45, D, seed=2)
    parameters = kinds.efforts(factory, N)[len(kinds.efforts(factory, N)) // 2]
    together = answers(built[factory], vectors, queries, parameters)
    for size in (1, 2, 20):
        parts = [
            answers(built[factory], vectors, queries[at : at + size], parameters) for at in range(0, len(queries), size)
        ]
        for place in (0, 1):
            np.testing.assert_array_equal(np.concatenate([part[place] for part in parts]), together[place])


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("factory", FACTORIES)
def test_what_is_read_is_what_was_written(built, vectors, factory, mapped, tmp_path):
    built[factory].write(tmp_path / "x.ann")
    assert [path.name for path in tmp_path.iterdir()] == ["x.ann"]
    read = kinds.read(factory, tmp_path / "x.ann", D, N, mapped=mapped)
    assert (len(read), read.dim, read.factory) == (N, D, factory)
    assert 0.5 < read.bytes() / (tmp_path / "x.ann").stat().st_size < 2
    parameters = kinds.efforts(factory, N)[0]
    queries = clustered(20, D, seed=3)
    np.testing.assert_array_equal(
        read.candidates(queries, 12, parameters), built[factory].candidates(queries, 12, parameters)
    )
    for dim, items in ((D + 8, N), (D, N - 1)):
        with pytest.raises(DamagedFileError, match="not the structure that the catalog describes"):
            kinds.read(factory, tmp_path / "x.ann", dim, items)
    (tmp_path / "x.ann").write_bytes((tmp_path / "x.ann").read_bytes()[:-200])
    with pytest.raises(DamagedFileError):
        kinds.read(factory, tmp_path / "x.ann", D, N, mapped=mapped)


@pytest.mark.kernels
@pytest.mark.parametrize("factory", [f for f in FACTORIES if "Symphony" not in f and "NSG" not in f])
def test_one_seed_builds_the_same_bytes(factory, vectors, tmp_path):
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        for name in ("a", "b"):
            kinds.build(factory, vectors[:1200], seed=3).write(tmp_path / name)
    finally:
        faiss.omp_set_num_threads(threads)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.kernels
@pytest.mark.parametrize("d", [1, 3, 20, 70])
@pytest.mark.parametrize("factory", ["HNSW16,Flat", "SQ8", "IVF4,Flat", "BFlat", "SymphonyQG32"])
def test_short_and_odd_vectors_are_found_too(factory, d):
    vectors = unit(300, d)
    if factory == "BFlat" and d < 20:
        pytest.skip("the signs of so few numbers say nothing")
    structure = kinds.build(factory, vectors, seed=0)
    truth, _ = exact_search(vectors[:20], vectors, np.arange(300), 10)
    scores, _ = answers(structure, vectors, vectors[:20], kinds.efforts(factory, 300)[-1])
    assert np.mean(scores >= truth[:, -1:]) >= 0.9


def test_what_cannot_be_built_is_one_sentence(monkeypatch):
    for factory, n, message in (
        ("IVF16,Flat", 10, "at least 16 vectors, not 10"),
        ("BIVF16", 10, "at least 16 vectors, not 10"),
        ("SymphonyQG32", 30, "more than 32 vectors"),
        ("PQ32x4fs", 10, "cannot build PQ32x4fs over 10 vectors"),
        ("IVF2,PQ32x4fs", 10, "cannot build IVF2,PQ32x4fs over 10 vectors"),
        ("PCA32,HNSW16_SQ8", 20, "cannot build PCA32,HNSW16_SQ8 over 20 vectors"),
        ("PCA65,SQ8", 300, "cannot build PCA65,SQ8 over 300 vectors of 64 numbers"),
        ("PQ7x4fs", 300, "cannot make PQ7x4fs for vectors of 64 numbers"),
        ("NSG32,Flat", 60, "cannot build NSG32,Flat over 60 vectors"),
        ("SQ8", 0, "cannot build SQ8 over 0 vectors"),
        ("IDMap,SQ8", 300, "no structure 'IDMap,SQ8'"),
        ("HNSW16,Flat,RFlat", 300, "no structure 'HNSW16,Flat,RFlat'"),
        ("SymphonyQG7", 300, "no structure 'SymphonyQG7'"),
        ("Nonsense", 300, "no structure 'Nonsense'"),
        ("BNonsense", 300, "no structure 'BNonsense'"),
        ("Lists16x80", 300, "keeps 80 numbers of each vector, which has 64"),
        ("Lists32x16", 20, "at least 32 vectors, not 20"),
        ("Lists10x16", 300, "no structure 'Lists10x16'"),
        ("Lists16x144", 300, "no structure 'Lists16x144'"),
    ):
        with pytest.raises(RetrievalError, match=message):
            kinds.build(factory, unit(n, 64), seed=0)
    monkeypatch.setitem(sys.modules, "rabitqlib", None)
    with pytest.raises(RetrievalError, match="pip install rabitqlib"):
        kinds.build("SymphonyQG32", unit(300, 64), seed=0)


@pytest.mark.parametrize("factory", ["HNSW16,Flat", "PCA32,SQ8", "IVF4,Flat", "SQfp16", "NSG32,Flat", "Lists16x16"])
def test_what_is_no_number_is_refused(factory):
    vectors = unit(300, D)
    vectors[250, 3] = np.nan
    with pytest.raises(RetrievalError, match="infinite or none"):
        kinds.build(factory, vectors, seed=0)


@pytest.mark.parametrize("factory", ["NSG32,Flat", "HNSW16,Flat", "BFlat"])
def test_progress_comes_to_all(factory, vectors, monkeypatch):
    monkeypatch.setattr("retrieval.index.nearest.faiss_structure._PIECE", 400)
    monkeypatch.setattr("retrieval.index.nearest.binary_structure._PIECE", 400)
    steps = []
    progress = SimpleNamespace(update=steps.append)
    assert len(kinds.build(factory, vectors[:1000], seed=0, progress=progress)) == 1000
    assert steps == ([1000] if factory.startswith("NSG") else [400, 400, 200])  # NSG cannot grow


def test_who_waits_for_a_graph_can_give_it_up(vectors, monkeypatch):
    monkeypatch.setattr("retrieval.index.nearest.symphony_structure._PATIENCE", 0.001)

    def no_longer(_: int) -> None:
        raise TimeoutError("no time left")

    with pytest.raises(TimeoutError, match="no time left"):
        kinds.build("SymphonyQG32", vectors, progress=SimpleNamespace(update=no_longer))


@pytest.mark.kernels
def test_one_bit_a_number_wants_a_rotation():
    """Where a few numbers have most of the spread the signs of the others say nothing."""
    rng = np.random.default_rng(0)
    both = rng.standard_normal((2040, 64)) / np.arange(1, 65)
    both = (both / np.linalg.norm(both, axis=1, keepdims=True)).astype(np.float32)
    vectors, queries = both[:2000], both[2000:]
    truth = exact_search(queries, vectors, np.arange(2000), 10)[0][:, -1:]
    found = {}
    for factory in ("IVF16,RaBitQ", "RR64,IVF16,RaBitQfs"):
        structure = kinds.build(factory, vectors, seed=0)
        scores, _ = answers(structure, vectors, queries, {"nprobe": 16, "candidates": 4})
        found[factory] = np.mean(scores >= truth)
    assert found["RR64,IVF16,RaBitQfs"] > found["IVF16,RaBitQ"] + 0.1, found


def test_threads_that_search_with_different_widths_get_their_own_answers(built):
    queries = clustered(200, D, seed=5)
    for factory in ("HNSW32_SQ8", "PCA32,IVF16,SQ8", "SymphonyQG32"):
        structure = built[factory]
        efforts = kinds.efforts(factory, N)
        alone = [structure.candidates(queries[:1], 10, effort) for effort in efforts]

        def answer(effort, structure=structure):
            return [structure.candidates(queries[:1], 10, effort) for _ in range(50)]

        with ThreadPoolExecutor(8) as pool:
            for expected, found in zip(alone, pool.map(answer, efforts), strict=True):
                assert all((one == expected).all() for one in found)


def test_what_symphony_cannot_reach_is_missing_and_no_error(built):
    structure = built["SymphonyQG32"]

    class Fussy:
        num_points = N

        def search(self, queries, k, ef, threads):
            if k > np.where(queries[:, 0] > 0, 4, 0).min():
                raise RuntimeError("QuantizedGraph search could not produce k results")
            return structure._index.search(queries, k, ef, threads)

    queries = clustered(20, D, seed=6)
    found = type(structure)("SymphonyQG32", Fussy(), D).candidates(queries, 13, {"ef": 20})
    assert found.shape == (20, 13)
    near = queries[:, 0] > 0
    assert ((found >= 0).sum(axis=1) == np.where(near, 3, 0)).all()
    np.testing.assert_array_equal(found[near, :3], structure.candidates(queries[near], 3, {"ef": 20}))
    assert structure.candidates(queries, N + 5, {"ef": 20}).shape == (20, N + 5)


# What FAISS does that structures have to know


@pytest.mark.kernels
def test_a_projection_under_inner_product_would_be_wrong():
    """It centres; that is why everything here searches unit vectors by Euclidean distance."""
    vectors = clustered(2000, D) + 0.5
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = vectors[:100] + 0.02 * unit(100, D, seed=4)
    queries = (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)
    vectors = vectors.astype(np.float32)
    truth = exact_search(queries, vectors, np.arange(2000), 10)[1]
    found = {}
    for metric in (faiss.METRIC_INNER_PRODUCT, faiss.METRIC_L2):
        index = faiss.index_factory(D, "PCA48,Flat", metric)
        index.train(vectors)
        index.add(vectors)
        ids = index.search(queries, 10)[1]
        found[metric] = np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(ids, truth, strict=True)])
    assert found[faiss.METRIC_INNER_PRODUCT] < found[faiss.METRIC_L2] - 0.02


def test_training_takes_a_sample_of_all(monkeypatch):
    """The first rows of a sorted set are of one class."""
    monkeypatch.setattr("retrieval.index.nearest.faiss_structure._SAMPLE", 200)
    vectors = np.concatenate([unit(1500, D), clustered(500, D)])
    vectors = vectors[np.argsort(vectors[:, 0])]
    structure = kinds.build("IVF8,Flat", vectors, seed=0)
    centres = structure._index.quantizer.reconstruct_n(0, 8)
    assert (centres[:, 0] < 0).any() and (centres[:, 0] > 0).any()


@pytest.mark.kernels
@pytest.mark.parametrize(("dim", "bits"), [(128, 64), (784, 96), (20, 8)])
def test_a_projection_does_not_depend_on_the_batch(dim, bits):
    """Multiplied as matrices, one vector rounds otherwise than several."""
    rng = np.random.default_rng(0)
    transform = linear(rng.standard_normal((bits, dim)), rng.standard_normal(bits))
    vectors = unit(60, dim)
    together = project(transform, vectors)
    np.testing.assert_array_equal(np.concatenate([project(transform, vectors[[i]]) for i in range(60)]), together)
    matrix = faiss.vector_to_array(transform.A).reshape(bits, dim).astype(np.float64)
    # float32 sums of hundreds of products, in whatever order the processor's kernels take them
    expected = vectors @ matrix.T + faiss.vector_to_array(transform.b)
    np.testing.assert_allclose(together, expected, rtol=1e-5, atol=1e-4)


FACTS = {
    "Flat": (False, True, True), "SQ8": (False, True, True), "HNSW16,Flat": (False, False, True),
    "NSG16,Flat": (False, False, False), "PQ32x4fs": (False, True, False), "IVF8,Flat": (True, True, True),
    "IVF8,PQ32x4fs": (True, True, True), "IDMap2,HNSW16,Flat": (True, False, True),
}  # fmt: skip


@pytest.mark.parametrize("factory", FACTS)
def test_what_faiss_can_do_to_a_kind(factory, vectors):
    """Whether it takes ids, deletes, and searches only some: positions, marks and dropping suit every kind."""
    index = faiss.index_factory(D, factory)
    index.train(vectors[:1000])

    def works(call) -> bool:
        try:
            call()
        except RuntimeError:
            return False
        return True

    takes_ids = works(lambda: index.add_with_ids(vectors[:1000], np.arange(5000, 6000)))
    if not takes_ids:
        index.add(vectors[:1000])
    selector = faiss.IDSelectorRange(5100, 5200) if takes_ids else faiss.IDSelectorRange(100, 200)
    kind = faiss.SearchParameters
    if "HNSW" in factory:
        kind = faiss.SearchParametersHNSW
    if "IVF" in factory:
        kind = faiss.SearchParametersIVF
    # Not by Python's own `search`: pytorch-metric-learning has FAISS replace it by one that takes no parameters.
    found = np.empty((5, 3), np.float32), np.empty((5, 3), np.int64)
    pointers = faiss.swig_ptr(vectors[:5]), 3, *map(faiss.swig_ptr, found)
    selects = works(lambda: index.search_c(5, *pointers, kind(sel=selector)))
    deletes = works(lambda: index.remove_ids(np.array([5003 if takes_ids else 3])))
    assert (takes_ids, deletes, selects) == FACTS[factory]


@pytest.mark.kernels
def test_lists_are_found_alike_for_one_query_and_for_many(vectors, monkeypatch):
    """FAISS multiplies matrices from 20 queries on, also to find lists; that rounds otherwise."""
    structure = kinds.build("IVF16,Flat", vectors, seed=0)
    thresholds = []
    search = structure._inner.search_c
    monkeypatch.setattr(
        structure._inner,
        "search_c",
        lambda *args: (thresholds.append(faiss.cvar.distance_compute_blas_threshold), search(*args)),
        raising=False,
    )
    before = faiss.cvar.distance_compute_blas_threshold
    for n in (1, 19, 20, 300):
        structure.candidates(clustered(n, D, seed=7), 10, {"nprobe": 2})
    assert all(threshold > n for threshold, n in zip(thresholds, (1, 19, 20, 300), strict=True))
    assert faiss.cvar.distance_compute_blas_threshold == before


def test_threads_that_want_matrix_products_do_not_reach_those_that_must_not():
    """The setting is the whole process's: a build in one thread may not change how another one's search rounds."""
    before = faiss.cvar.distance_compute_blas_threshold
    began = matrix_products(True)
    with matrix_products(True):
        assert faiss.cvar.distance_compute_blas_threshold == 1
        with matrix_products(False):
            other = threading.Thread(target=lambda: began.__enter__())
            other.start()
            other.join()
            assert faiss.cvar.distance_compute_blas_threshold > 10**6
        assert faiss.cvar.distance_compute_blas_threshold == 1
    began.__exit__(None, None, None)
    assert faiss.cvar.distance_compute_blas_threshold == before
