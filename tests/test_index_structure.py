"""An index with an approximate structure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from vectors import brute, clustered, make, named, unit

from retrieval.index import Index

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def structured(tmp_path_factory) -> tuple[Path, np.ndarray]:
    vectors = clustered(4000, 24)
    folder = tmp_path_factory.mktemp("structured") / "index"
    with make(folder, vectors, parts=3) as index:
        index.build_structure(exact_limit=1000)
    return folder, vectors


def test_a_structure_is_measured_and_meets_its_recall(structured):
    folder, vectors = structured
    queries = clustered(200, 24, seed=5)
    with Index.open(folder) as index:
        recorded = index.info()["structure"]
        assert recorded["items"] == 4000 and recorded["measured_on"] == 400
        scores, ids = index.search(queries, 10)
        expected_scores, expected_ids = brute(queries, vectors, np.arange(4000), 10)
        recall = np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(ids, expected_ids, strict=True)])
        assert recorded["recall@10"] >= 0.99 and recall >= 0.97
        same = ids == expected_ids
        np.testing.assert_array_equal(scores[same], expected_scores[same])  # re-scored, not as the graph rounds
        for row in range(0, 200, 17):
            alone = index.search(queries[row : row + 1], 10)
            np.testing.assert_array_equal(alone[0][0], scores[row])
            np.testing.assert_array_equal(alone[1][0], ids[row])
        assert index.warnings == []
        # so many that exact search answers
        np.testing.assert_array_equal(
            index.search(queries[:2], 900)[1], brute(queries[:2], vectors, np.arange(4000), 900)[1]
        )
        assert (index.search(queries[:1], 4005)[1] >= 0).sum() == 4000
        _, others = index.search(vectors[:50], 10, exclude=[[i] for i in range(50)])
        assert (others >= 0).all() and (others != np.arange(50)[:, None]).all()


def copy_of(folder: Path, to: Path) -> Path:
    import shutil

    shutil.copytree(folder, to)
    return to


def test_changes_after_a_structure_are_searched_exactly(structured, tmp_path):
    folder = copy_of(structured[0], tmp_path / "index")
    vectors = np.concatenate([structured[1], clustered(100, 24, seed=9)])
    with Index.open(folder, write=True) as index:
        file = index.info()["structure"]["factory"], sorted((folder / "ann").iterdir())
        removed = index.search(vectors[:30], 3)[1][:, 1].tolist()
        index.add(vectors[4000:], named(100, 4000))
        index.remove(set(removed))
        ids = index.search(vectors[4000:], 5)[1]
        np.testing.assert_array_equal(ids[:, 0], np.arange(4000, 4100))
        assert not np.isin(index.search(vectors[:30], 50)[1], removed).any()
        kept = np.setdiff1d(np.arange(4100), removed)
        expected = brute(vectors[:60], vectors[kept], kept, 10)[1]
        ids = index.search(vectors[:60], 10)[1]
        assert np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(ids, expected, strict=True)]) >= 0.97
        index.build_structure(exact_limit=1000)  # little has changed, so it stays
        assert file == (index.info()["structure"]["factory"], sorted((folder / "ann").iterdir()))
        index.add(clustered(600, 24, seed=10), named(600, 4100))
        index.build_structure(exact_limit=1000)  # much has
        assert index.info()["structure"]["items"] == len(index)
        assert len(list((folder / "ann").iterdir())) == 1 and file[1] != sorted((folder / "ann").iterdir())
        index.build_structure(exact_limit=10**9)
        assert index.info()["structure"] is None and not list((folder / "ann").iterdir())


@pytest.mark.parametrize("how", ["flipped", "truncated", "missing"])
def test_a_damaged_structure_is_worked_around_and_rebuilt(structured, tmp_path, how):
    folder = copy_of(structured[0], tmp_path / "index")
    (file,) = (folder / "ann").iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    if how == "missing":
        file.unlink()
    else:
        file.write_bytes(content if how == "flipped" else content[:-100])
    vectors = structured[1]
    with Index.open(folder) as index:
        np.testing.assert_array_equal(
            index.search(vectors[:5], 4)[1], brute(vectors[:5], vectors, np.arange(4000), 4)[1]
        )
        (warning,) = index.warnings
        assert file.name in warning and "searching exactly" in warning
    with Index.open(folder, write=True) as index:
        index.build_structure(exact_limit=1000)
        index.search(vectors[:5], 4)
        assert index.warnings == [] and index.info()["structure"] is not None


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
        index.build_structure(exact_limit=0)
        ids = index.search(vectors[:4], 20)[1]
        assert all(len(set(row[row >= 0])) == min(20, len(vectors)) for row in ids.tolist() for row in [np.array(row)])
        assert (index.info()["structure"] is None) == (kind == "few")


def test_vectors_that_no_graph_can_order_stay_exact(tmp_path, monkeypatch):
    from retrieval.index import nearest

    monkeypatch.setattr(nearest, "RECALL", 1.1)
    with make(tmp_path / "index", unit(500, 8)) as index:
        index.build_structure(exact_limit=0)
        assert index.info()["structure"] is None and not list((tmp_path / "index" / "ann").iterdir())
