"""An index with an approximate structure: what it has to do itself, whatever the structure is."""

from __future__ import annotations

import gc
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import test_conformance
from vectors import brute, clustered, make, named, unit

from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.index.nearest import kinds

N, D = 4000, 24


def give_structure(index: Index, factory: str = "HNSW32,Flat", **parameters: int) -> None:
    ids, vectors = index.all_vectors()
    structure = kinds.build(factory, vectors, seed=0)
    index.set_structure(structure, parameters or {"efSearch": 64}, ids=ids, measured={"recall": 0.99})


@pytest.fixture(scope="module")
def structured(tmp_path_factory) -> tuple[Path, np.ndarray]:
    vectors = clustered(N, D)
    folder = tmp_path_factory.mktemp("structured") / "index"
    with make(folder, vectors, parts=3) as index:
        give_structure(index)
    return folder, vectors


@pytest.fixture
def folder(structured, tmp_path) -> Path:
    return Path(shutil.copytree(structured[0], tmp_path / "index"))


def recall(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.mean([len(np.intersect1d(a, b)) / len(b) for a, b in zip(found, expected, strict=True)]))


@pytest.mark.parametrize("mapped", [False, True])
def test_a_structure_finds_nearly_all_and_scores_exactly(structured, mapped):
    folder, vectors = structured
    queries = clustered(200, D, seed=5)
    with Index.open(folder, mapped=mapped) as index:
        recorded = index.info()["structure"]
        assert recorded["items"] == N and recorded["measured"] == {"recall": 0.99}
        scores, ids = index.search(queries, 10)
        expected_scores, expected = brute(queries, vectors, np.arange(N), 10)
        assert recall(ids, expected) >= 0.97
        same = ids == expected
        np.testing.assert_array_equal(scores[same], expected_scores[same])  # re-scored, not as the graph rounds
        for row in range(0, 200, 17):
            alone = index.search(queries[row : row + 1], 10)
            np.testing.assert_array_equal(alone[0][0], scores[row])
            np.testing.assert_array_equal(alone[1][0], ids[row])
        assert index.warnings == []
        # so many that exact search answers
        np.testing.assert_array_equal(
            index.search(queries[:2], 900)[1], brute(queries[:2], vectors, np.arange(N), 900)[1]
        )
        assert (index.search(queries[:1], N + 5)[1] >= 0).sum() == N
        _, others = index.search(vectors[:50], 10, exclude=[[i] for i in range(50)])
        assert (others >= 0).all() and (others != np.arange(50)[:, None]).all()


@pytest.mark.parametrize("compacted", [False, True])
def test_changes_after_a_structure_are_searched_exactly(structured, folder, compacted):
    vectors = np.concatenate([structured[1], clustered(100, D, seed=9)])
    with Index.open(folder, write=True) as index:
        removed = sorted(set(index.search(vectors[:30], 3)[1][:, 1].tolist()))
        index.add(vectors[N:], named(100, N))
        index.remove(removed)
        if compacted:
            index.compact()  # positions of the structure lose their row
        assert index.structure is not None
        ids = index.search(vectors[N:], 5)[1]
        np.testing.assert_array_equal(ids[:, 0], np.arange(N, N + 100))
        assert not np.isin(index.search(vectors[:30], 50)[1], removed).any()
        kept = np.setdiff1d(np.arange(N + 100), removed)
        expected = brute(vectors[:60], vectors[kept], kept, 10)[1]
        ids = index.search(vectors[:60], 10)[1]
        assert recall(ids, expected) >= 0.97
    with Index.open(folder) as index:
        np.testing.assert_array_equal(index.search(vectors[:60], 10)[1], ids)
    with Index.open(folder, write=True) as index:
        index.set_structure(None)
        assert index.structure is None and not list((folder / "ann").iterdir())
        np.testing.assert_array_equal(index.search(vectors[:60], 10)[1], expected)


def test_an_index_that_changes_goes_on_with_the_structure_it_has_read(structured, folder, monkeypatch):
    with Index.open(folder, write=True) as index:
        before = index.search(structured[1][:5], 3)[1]
        monkeypatch.setattr(kinds, "read", None)  # it would be called
        index.add(clustered(5, D, seed=3), named(5, N))
        index.remove([N])
        np.testing.assert_array_equal(index.search(structured[1][:5], 3)[1], before)


def test_filters_reach_into_the_structure(structured, folder):
    vectors = structured[1]
    with Index.open(folder, write=True) as index:
        index.attach({i: {"half": i % 2, "rare": i % 100} for i in range(N)})
        for where, mask in (
            ("half = 1", np.arange(N) % 2 == 1),
            ("rare = 7", np.arange(N) % 100 == 7),
            ("half = 5", np.zeros(N, bool)),
        ):
            kept = np.flatnonzero(mask)
            expected_scores, expected = brute(vectors[:40], vectors[kept], kept, 10)
            scores, ids = index.search(vectors[:40], 10, where=where)
            assert np.isin(ids[ids >= 0], kept).all()
            assert ((ids >= 0).sum(axis=1) == min(10, len(kept))).all()
            assert not len(kept) or recall(ids, expected) >= 0.97
            if len(kept) < 0.05 * N:
                np.testing.assert_array_equal(ids, expected)
                np.testing.assert_array_equal(scores, expected_scores)


@pytest.mark.parametrize("how", ["flipped", "truncated", "missing"])
def test_a_damaged_structure_is_worked_around(structured, folder, how):
    (file,) = (folder / "ann").iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    if how == "missing":
        file.unlink()
    else:
        file.write_bytes(content if how == "flipped" else content[:-100])
    vectors = structured[1]
    with Index.open(folder) as index:
        np.testing.assert_array_equal(index.search(vectors[:5], 4)[1], brute(vectors[:5], vectors, np.arange(N), 4)[1])
        (warning,) = index.warnings
        assert file.name in warning and "searching exactly" in warning


def test_a_structure_whose_library_is_missing_is_done_without(tmp_path, monkeypatch):
    pytest.importorskip("rabitqlib")
    vectors = clustered(2000, 64)
    with make(tmp_path / "index", vectors) as index:
        give_structure(index, "SymphonyQG32", ef=40)
    monkeypatch.setitem(sys.modules, "rabitqlib", None)
    with Index.open(tmp_path / "index") as index:
        assert len(index.all_vectors()[0]) == len(index.ids()) == 2000
        assert not index.warnings  # no vector needs the structure
        np.testing.assert_array_equal(
            index.search(vectors[:5], 4)[1], brute(vectors[:5], vectors, np.arange(2000), 4)[1]
        )
        (warning,) = index.warnings
        assert "pip install rabitqlib" in warning


@pytest.mark.parametrize("kind", ["identical", "two points", "few"])
def test_a_structure_over_degenerate_vectors_still_gives_k(tmp_path, kind):
    vectors = unit(1200, 8)
    if kind == "identical":
        vectors[:] = vectors[0]
    elif kind == "two points":
        vectors[:600], vectors[600:] = vectors[0], vectors[1]
    else:
        vectors = vectors[:15]
    with make(tmp_path / "index", vectors) as index:
        give_structure(index)
        ids = index.search(vectors[:4], 20)[1]
        for row in ids:
            assert len(set(row[row >= 0].tolist())) == min(20, len(vectors))


def test_a_structure_of_other_vectors_is_refused(tmp_path):
    with make(tmp_path / "index", unit(50, 8)) as index:
        for other in (unit(49, 8), unit(50, 6)):
            with pytest.raises(RetrievalError, match="does not fit"):
                index.set_structure(kinds.build("HNSW32,Flat", other, seed=0), {"efSearch": 16})
        assert index.structure is None


def test_more_neighbours_take_more_effort(structured, folder):
    """Or those that an effort for ten does not find would be missing from a hundred."""
    vectors = structured[1]
    with Index.open(folder, write=True) as index:
        give_structure(index, "IVF64,Flat", nprobe=2)
        queries = clustered(40, D, seed=6)
        recalls = {
            k: recall(index.search(queries, k)[1], brute(queries, vectors, np.arange(N), k)[1]) for k in (10, 100)
        }
        assert recalls[100] >= recalls[10] - 0.02


@pytest.mark.parametrize(
    "factory",
    [
        "SymphonyQG32",
        "IVF32,SQ8",
        *(pytest.param(factory, marks=pytest.mark.long) for factory in ("HNSW16_SQ8", "PCA32,HNSW16_SQ8", "RaBitQ")),
    ],
)
def test_any_k_finds_about_as_many_as_ten(factory, tmp_path, monkeypatch, long):
    n, many = (20_000, (300, 1500)) if long else (4000, (60, 300))
    if "Symphony" in factory:
        pytest.importorskip("rabitqlib")
        # Of half a million vectors it would be so many; beyond that every vector is looked at.
        monkeypatch.setattr("retrieval.index.nearest.symphony_structure._WIDEST", many[-1])
    vectors, queries = clustered(n, 64), clustered(20, 64, seed=6)
    with make(tmp_path / "index", vectors) as index:
        structure = kinds.build(factory, vectors, seed=0)
        expected = brute(queries, vectors, np.arange(n), many[-1])[1]
        for effort in kinds.efforts(factory, n):
            index.set_structure(structure, effort)
            found = {k: index.search(queries, k)[1] for k in (10, *many)}
            recalls = {k: recall(ids, expected[:, :k]) for k, ids in found.items()}
            if recalls[10] >= 0.9:
                break
        assert min(recalls.values()) >= recalls[10] - 0.02, (effort, recalls)


class Whole:
    """The simplest structure: it looks at every vector."""

    vectors = None

    def __init__(self, factory: str, vectors: np.ndarray) -> None:
        self.factory, self.dim, self._vectors = factory, vectors.shape[1], vectors

    def __len__(self) -> int:
        return len(self._vectors)

    @classmethod
    def build(cls, factory, vectors, *, seed, progress):
        return cls(factory, vectors)

    @classmethod
    def read(cls, factory, path, dim, items, *, mapped):
        return cls(factory, np.fromfile(path, np.float32).reshape(items, dim))

    @staticmethod
    def efforts(factory, n):
        return [{"candidates": 1}]

    def candidates(self, queries, count, parameters):
        return np.ascontiguousarray(np.argsort(-queries @ self._vectors.T, axis=1)[:, :count])

    def write(self, path):
        self._vectors.tofile(path)

    def bytes(self):
        return self._vectors.nbytes


def test_a_new_kind_is_a_file_and_a_line_in_the_table(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "retrieval.index.nearest.whole", SimpleNamespace(Whole=Whole))
    monkeypatch.setattr(kinds, "KINDS", (kinds.Kind("Whole", "whole", "Whole", library="h5py"), *kinds.KINDS))
    assert kinds.available("Whole") and kinds.efforts("Whole", N) == [{"candidates": 1}]
    vectors, queries = clustered(600, D), clustered(30, D, seed=3)
    with make(tmp_path / "index", vectors[:500]) as index:
        give_structure(index, "Whole", candidates=1)
        index.add(vectors[500:], named(100, 500))
        index.remove([3, 550])
    left = np.setdiff1d(np.arange(600), [3, 550])
    with Index.open(tmp_path / "index") as index:
        found = index.search(queries, 10)
        assert index.structure.factory == "Whole" and index.warnings == []
    for mine, slow in zip(found, brute(queries, vectors[left], left, 10), strict=True):
        np.testing.assert_array_equal(mine, slow)


@pytest.mark.parametrize("factory", ["SymphonyQG32_SQ8", "RR16,IVF16,RaBitQfs"])
def test_what_came_later_answers_as_the_others_do(tmp_path, factory):
    test_conformance.life(tmp_path / "index", "float32", factory, 400, 16)


@pytest.mark.parametrize("factory", ["SymphonyQG32_SQ8", "RR32,IVF16,RaBitQfs"])
def test_it_does_so_of_equal_vectors_too(tmp_path, factory):
    test_conformance.test_of_equal_vectors_the_lowest_ids_come_first(tmp_path, "float32", factory)


def test_vectors_that_a_structure_holds_are_held_once(tmp_path):
    vectors, queries = clustered(900, D), clustered(10, D, seed=3)
    with make(tmp_path / "index", vectors, parts=2) as index:
        give_structure(index, "HNSW16,Flat", efSearch=200)
    with Index.open(tmp_path / "index") as index:
        expected = index.search(queries, 5)
        held = index._now._approximate._structure.vectors
        assert np.shares_memory(index.all_vectors()[1], held)
        np.testing.assert_array_equal(index.all_vectors()[1], vectors)
        with Index.open(tmp_path / "index", write=True) as writer:
            writer.remove([3])
            writer.add(unit(2, D, seed=8), named(2, 900))
            writer.set_structure(None)
        newer = index.renewed()
        del held
    del index  # and with it the structure, but for its vectors
    gc.collect()
    with newer:
        for mine, slow in zip(
            newer.search(queries, 5),
            brute(queries, newer.all_vectors()[1], newer.all_vectors()[0], 5),
            strict=True,
        ):
            np.testing.assert_array_equal(mine, slow)
        assert expected[1].shape == (10, 5) and len(newer) == 901
    other = kinds.build("HNSW16,Flat", clustered(900, D, seed=5), seed=0)
    with Index.open(tmp_path / "index", write=True) as index:
        index.compact()
        index.remove(index.ids()[-1:].tolist())
        index.compact()
        index.set_structure(other, {"efSearch": 200})  # another's vectors are none of ours
    with Index.open(tmp_path / "index") as index:
        index.search(queries, 5)
        np.testing.assert_array_equal(index.all_vectors()[1][:3], vectors[:3])
