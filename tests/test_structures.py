"""Every structure behind the one interface, against brute force."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import faiss
import numpy as np
import pytest
from vectors import clustered, unit

from retrieval.errors import RetrievalError
from retrieval.index.damage import DamagedFileError
from retrieval.index.nearest import exact_search, rank, structures

FACTORIES = [
    "Flat", "SQfp16", "SQ8", "PQ32x4fs", "RaBitQ", "HNSW16,Flat", "HNSW32_SQ8", "HNSW16_SQfp16", "PCA32,HNSW16_SQ8",
    "IVF16,Flat", "IVF16,SQ8", "IVF16,PQ32x4fs", "IVF16,RaBitQ", "PCA32,IVF16,SQ8", "NSG32,Flat",
    "BFlat", "BHNSW32", "BIVF16", "SymphonyQG32",
]  # fmt: skip
N, D = 2500, 64


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return clustered(N, D)


@pytest.fixture(scope="module")
def built(vectors) -> dict[str, structures.Structure]:
    return {factory: structures.build(factory, vectors, seed=0) for factory in FACTORIES}


def answers(structure, vectors, queries, parameters, k=10) -> tuple[np.ndarray, np.ndarray]:
    count = min((k + 2) * parameters.get("candidates", 1), len(structure))
    return rank(queries, structure.candidates(queries, count, parameters), lambda rows: vectors[rows], k)


@pytest.mark.parametrize("factory", FACTORIES)
def test_more_effort_finds_more_up_to_nearly_all(built, vectors, factory):
    queries = clustered(60, D, seed=1)
    truth, _ = exact_search(queries, vectors, np.arange(N), 10)
    efforts = structures.efforts(factory, N)
    recalls = [np.mean(answers(built[factory], vectors, queries, effort)[0] >= truth[:, -1:]) for effort in efforts]
    assert recalls[-1] >= (0.9 if factory.startswith("NSG") else 0.99), recalls
    assert recalls[0] <= recalls[-1]
    assert all(set(effort) <= {"efSearch", "nprobe", "ef", "candidates"} for effort in efforts)
    assert len({tuple(effort.items()) for effort in efforts}) == len(efforts)


@pytest.mark.parametrize("factory", FACTORIES)
def test_an_answer_does_not_depend_on_the_batch(built, vectors, factory):
    queries = clustered(45, D, seed=2)
    parameters = structures.efforts(factory, N)[len(structures.efforts(factory, N)) // 2]
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
    read = structures.read(factory, tmp_path / "x.ann", D, N, mapped=mapped)
    assert (len(read), read.dim, read.factory) == (N, D, factory)
    assert 0.5 < read.bytes() / (tmp_path / "x.ann").stat().st_size < 2
    parameters = structures.efforts(factory, N)[0]
    queries = clustered(20, D, seed=3)
    np.testing.assert_array_equal(
        read.candidates(queries, 12, parameters), built[factory].candidates(queries, 12, parameters)
    )
    for dim, items in ((D + 8, N), (D, N - 1)):
        with pytest.raises(DamagedFileError, match="not the structure that the catalog describes"):
            structures.read(factory, tmp_path / "x.ann", dim, items)
    (tmp_path / "x.ann").write_bytes((tmp_path / "x.ann").read_bytes()[:-200])
    with pytest.raises(DamagedFileError):
        structures.read(factory, tmp_path / "x.ann", D, N, mapped=mapped)


@pytest.mark.parametrize("factory", [f for f in FACTORIES if "Symphony" not in f and "NSG" not in f])
def test_one_seed_builds_the_same_bytes(factory, vectors, tmp_path):
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        for name in ("a", "b"):
            structures.build(factory, vectors[:1200], seed=3).write(tmp_path / name)
    finally:
        faiss.omp_set_num_threads(threads)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("d", [1, 3, 20, 70])
@pytest.mark.parametrize("factory", ["HNSW16,Flat", "SQ8", "IVF4,Flat", "BFlat", "SymphonyQG32"])
def test_short_and_odd_vectors_are_found_too(factory, d):
    vectors = unit(300, d)
    if factory == "BFlat" and d < 20:
        pytest.skip("the signs of so few numbers say nothing")
    structure = structures.build(factory, vectors, seed=0)
    truth, _ = exact_search(vectors[:20], vectors, np.arange(300), 10)
    scores, _ = answers(structure, vectors, vectors[:20], structures.efforts(factory, 300)[-1])
    assert np.mean(scores >= truth[:, -1:]) >= 0.9


def test_what_cannot_be_built_is_one_sentence(monkeypatch):
    for factory, n, message in (
        ("IVF16,Flat", 10, "at least 16 vectors, not 10"),
        ("BIVF16", 10, "at least 16 vectors, not 10"),
        ("SymphonyQG32", 30, "more than 32 vectors"),
        ("SymphonyQG7", 300, "no structure 'SymphonyQG7'"),
        ("Nonsense", 300, "no structure 'Nonsense'"),
        ("BNonsense", 300, "no structure 'BNonsense'"),
    ):
        with pytest.raises(RetrievalError, match=message):
            structures.build(factory, unit(n, 64), seed=0)
    monkeypatch.setitem(sys.modules, "rabitqlib", None)
    with pytest.raises(RetrievalError, match="pip install rabitqlib"):
        structures.build("SymphonyQG32", unit(300, 64), seed=0)


HOSTILE = """
import sys
from pathlib import Path
import numpy as np
from retrieval.errors import RetrievalError
from retrieval.index.nearest import structures
factory, file = sys.argv[1], Path(sys.argv[2])
whole, rng = file.read_bytes(), np.random.default_rng(0)
queries = np.eye(64, dtype=np.float32)[:5]
for turn in range(40):
    damaged = bytearray(whole)
    damaged[int(rng.integers(0, min(len(whole), 400)))] ^= 1 << int(rng.integers(8))  # the head, which FAISS parses
    file.write_bytes(damaged)
    try:
        structures.read(factory, file, 64, 400)
    except RetrievalError:
        pass
print("alive")
"""


@pytest.mark.parametrize("factory", ["HNSW16,Flat", "IVF16,SQ8", "BHNSW32", "BIVF16", "SQ8"])
def test_a_damaged_head_is_an_error_and_no_crash(factory, tmp_path):
    structures.build(factory, clustered(400, 64), seed=0).write(tmp_path / "x.ann")
    done = subprocess.run(
        [sys.executable, "-c", HOSTILE, factory, tmp_path / "x.ann"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    assert done.stdout.strip() == "alive", done.stderr[-2000:]


# What FAISS does that structures have to know


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
    monkeypatch.setattr("retrieval.index.nearest.faiss_structures._SAMPLE", 200)
    vectors = np.concatenate([unit(1500, D), clustered(500, D)])
    vectors = vectors[np.argsort(vectors[:, 0])]
    structure = structures.build("IVF8,Flat", vectors, seed=0)
    centres = structure._index.quantizer.reconstruct_n(0, 8)
    assert (centres[:, 0] < 0).any() and (centres[:, 0] > 0).any()
