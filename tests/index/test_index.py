"""The index against brute force in float64."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from vectors import brute, clustered, make, named, unit

from retrieval.errors import RetrievalError
from retrieval.index import Index, NewItem

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("d", [1, 2, 3, 16, 128, 1000, 2048])
@pytest.mark.parametrize("n", [0, 1, 17, 300])
def test_search_is_exact_for_every_size(tmp_path, n, d):
    vectors = unit(n, d)
    queries = np.concatenate([vectors[:3], unit(3, d, seed=1)])
    with make(tmp_path / "index", vectors, parts=3) as index:
        assert len(index) == n
        for k in (0, 1, 10, n + 5):
            scores, ids = index.search(queries, k)
            assert scores.shape == ids.shape == (len(queries), k)
            assert scores.dtype == np.float32 and ids.dtype == np.int64
            expected_scores, expected_ids = brute(queries, vectors, np.arange(n), k)
            np.testing.assert_array_equal(ids, expected_ids)
            np.testing.assert_array_equal(scores, expected_scores)
        assert index.search(queries[:0], 3)[0].shape == (0, 3)


@pytest.mark.parametrize("d", [1, 2, 40, 128])
@pytest.mark.parametrize("k", [1, 10, 100])
def test_search_is_exact_when_faiss_chooses_the_candidates(tmp_path, d, k):
    vectors = clustered(3000, d)
    queries = np.concatenate([vectors[:20], unit(20, d, seed=1)])
    with make(tmp_path / "index", vectors, parts=4) as index:
        scores, ids = index.search(queries, k)
        expected_scores, expected_ids = brute(queries, vectors, np.arange(3000), k)
        np.testing.assert_array_equal(ids, expected_ids)
        np.testing.assert_array_equal(scores, expected_scores)


@pytest.mark.parametrize("d", [1, 7, 128, 1280])
def test_a_query_gets_the_same_answer_in_any_batch(tmp_path, d):
    vectors = clustered(2000, d)
    queries = clustered(60, d, seed=1)
    with make(tmp_path / "index", vectors) as index:
        scores, ids = index.search(queries, 10)
        for size in (1, 7, 8, 30):
            parts = [index.search(queries[start : start + size], 10) for start in range(0, 60, size)]
            np.testing.assert_array_equal(np.concatenate([p[1] for p in parts]), ids)
            np.testing.assert_array_equal(np.concatenate([p[0] for p in parts]).view(np.int32), scores.view(np.int32))


def test_of_a_thousand_identical_vectors_the_lowest_ids_win(tmp_path):
    vectors = unit(3000, 64)
    same = np.random.default_rng(3).permutation(3000)[:1000]
    vectors[same] = vectors[same[0]]
    with make(tmp_path / "index", vectors, parts=2) as index:
        for queries in (vectors[same[:1]], np.repeat(vectors[same[:1]], 30, axis=0)):
            scores, ids = index.search(queries, 10)
            np.testing.assert_array_equal(ids, np.tile(np.sort(same)[:10], (len(queries), 1)))
            assert (scores == scores[0, 0]).all()
            _, ids = index.search(queries, 10, exclude=[np.sort(same)[:5]] * len(queries))
            np.testing.assert_array_equal(ids, np.tile(np.sort(same)[5:15], (len(queries), 1)))


@pytest.mark.parametrize("noise", [0, 1e-8, 1e-6])
def test_a_collapsed_index_is_ranked_as_brute_force_ranks_it(tmp_path, noise):
    vectors = np.repeat(unit(1, 48), 2000, axis=0) + noise * np.random.default_rng(1).standard_normal((2000, 48))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    with make(tmp_path / "index", vectors) as index:
        scores, ids = index.search(vectors[:12], 15)
        expected_scores, expected_ids = brute(vectors[:12], vectors, np.arange(2000), 15)
        np.testing.assert_array_equal(ids, expected_ids)
        np.testing.assert_array_equal(scores, expected_scores)


@pytest.mark.parametrize("n", [40, 1500])
def test_excluded_ids_stay_out_and_k_others_come(tmp_path, n):
    vectors = clustered(n, 16)
    rng = np.random.default_rng(0)
    exclude = [rng.choice(n, size, replace=False).tolist() for size in (0, 1, 5, 30, n - 3)]
    exclude.append([*range(n)])
    exclude.append([3, 3, 10**9, -5, 3])  # twice, and not in the index
    queries = vectors[: len(exclude)]
    with make(tmp_path / "index", vectors) as index:
        for some in (exclude[:4], exclude):
            scores, ids = index.search(queries[: len(some)], 10, exclude=some)
            expected_scores, expected_ids = brute(queries[: len(some)], vectors, np.arange(n), 10, some)
            np.testing.assert_array_equal(ids, expected_ids)
            np.testing.assert_array_equal(scores, expected_scores)
        assert (ids[5] == -1).all()


def test_removed_items_are_gone_and_ids_are_never_reused(tmp_path):
    vectors = unit(50, 8)
    with make(tmp_path / "index", vectors, parts=2) as index:
        index.remove([0, 7, 49])
        index.remove([])
        assert len(index) == 47 and index.find("class0/00000.png") is None
        kept = np.setdiff1d(np.arange(50), [0, 7, 49])
        np.testing.assert_array_equal(index.search(vectors, 60)[1], brute(vectors, vectors[kept], kept, 60)[1])
        with pytest.raises(RetrievalError, match="no item 7"):
            index.remove([1, 7])
        assert len(index) == 47
        assert index.add(vectors[:2], [NewItem("class0/00000.png"), NewItem("new.png")]).tolist() == [50, 51]
        index.remove([50, 51])
    with Index.open(tmp_path / "index", write=True) as index:
        assert index.add(vectors[:1], [NewItem("class0/00000.png")]).tolist() == [52]
        with pytest.raises(RetrievalError, match="no item 50"):
            index.vectors([50])
        np.testing.assert_array_equal(index.vectors([52, 3]), vectors[[0, 3]])
        ids, everything = index.all_vectors()
        assert ids.tolist() == [*kept.tolist(), 52] and everything.flags.c_contiguous
        np.testing.assert_array_equal(everything, vectors[[*kept, 0]])


def test_items_come_back_as_they_went_in(tmp_path):
    items = [
        NewItem("b/ä.png", "b", 640, 480, 12345, 1_700_000_000_123_456_789, "f" * 64),
        NewItem("a.png", None, 1, 2, 3, 4, ""),
        NewItem("c'; DROP TABLE items; --.png", "b", 1, 1, 1, -5, "0" * 64),
    ]
    with Index.create(
        tmp_path / "index", 4, root="../pictures", encoder_hash="h", details={"a": [1, None]}, decoder="pillow 11"
    ) as index:
        index.add(unit(3, 4), items)
        index.record_skipped([("z.png", "truncated"), ("a.txt", "not a picture")])
    with Index.open(tmp_path / "index") as index:
        found = index.items([2, 0, 1, 0])
        assert [item.id for item in found] == [2, 0, 1, 0]
        for item in found:
            new = items[item.id]
            assert all(getattr(item, name) == getattr(new, name) for name in NewItem.__slots__)
        assert index.find("b/ä.png") == found[1]
        assert index.find("nothing") is None
        assert index.labels() == ["b", None, "b"]
        assert index.known() == {item.path: (item.size, item.mtime_ns) for item in items}
        assert (index.dim, index.root, index.encoder_hash, index.decoder) == (4, "../pictures", "h", "pillow 11")
        assert index.details == {"a": [1, None]}
        assert index.skipped() == [("a.txt", "not a picture"), ("z.png", "truncated")]
        info = json.loads(json.dumps(index.info()))
        assert (info["items"], info["labels"], info["labelled"], info["largest"]) == (3, 1, 2, {"b": 2})
        with pytest.raises(RetrievalError, match="no item 3"):
            index.items([0, 3])
        with pytest.raises(RetrievalError, match="write=True"):
            index.add(unit(1, 4), [NewItem("d.png")])


def test_an_empty_index_answers(tmp_path):
    with Index.create(tmp_path / "index", 4, root="", encoder_hash="", details={}) as index:
        assert index.add(np.empty((0, 4), np.float32), []).shape == (0,)
        assert index.labels() == [] and index.known() == {} and len(index) == 0
        scores, ids = index.search(unit(2, 4), 3)
        assert (scores == -np.inf).all() and (ids == -1).all()
        assert index.all_vectors()[1].shape == (0, 4)
        assert index.vectors([]).shape == (0, 4)
        assert not list((tmp_path / "index" / "segments").iterdir())
        index.set_structure(None)
        index.compact()


def wrong_length(rows: np.ndarray) -> np.ndarray:
    rows[1] *= 1.002
    return rows


def with_value(value: float):
    def change(rows: np.ndarray) -> np.ndarray:
        rows[2, 0] = value
        return rows

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:, :5], r"shape \(3, 5\) where this index takes \(n, 6\)"),
        (lambda rows: rows[0], r"shape \(6,\)"),
        (lambda rows: rows.astype(np.float64), "float64"),
        (lambda rows: rows.astype(np.float16), "float16"),
        (wrong_length, "Row 1 .* length 1.002"),
        (with_value(np.nan), "Row 2 .* length nan"),
        (with_value(np.inf), "Row 2 .* length inf"),
        (with_value(3e38), "Row 2 .* length inf"),
        (lambda rows: rows * 0, "Row 0 .* length 0"),
        (lambda rows: rows[:2], "2 vectors for 3 items"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(tmp_path, change, message):
    with Index.create(tmp_path / "index", 6, root="", encoder_hash="", details={}) as index:
        with pytest.raises(RetrievalError, match=message):
            index.add(change(unit(3, 6)), named(3))
        if "items" not in message:
            with pytest.raises(RetrievalError, match=message):
                index.search(change(unit(3, 6)), 1)
        assert len(index) == 0
        index.add(unit(3, 6) * np.float32(1.0009), named(3))
        assert index.search(unit(3, 6), 1)[0].max() <= 1


def test_paths_must_be_new(tmp_path):
    with Index.create(tmp_path / "index", 6, root="", encoder_hash="", details={}) as index:
        index.add(unit(2, 6), named(2))
        before = sorted((tmp_path / "index" / "segments").iterdir())
        with pytest.raises(RetrievalError, match=r"'x\.png' stands twice"):
            index.add(unit(2, 6), [NewItem("x.png"), NewItem("x.png")])
        with pytest.raises(RetrievalError, match=r"'class1/00001\.png' is in the index"):
            index.add(unit(2, 6), [NewItem("x.png"), NewItem("class1/00001.png")])
        with pytest.raises(RetrievalError, match="not Unicode"):
            index.add(unit(1, 6), [NewItem("\udcff.png")])
        with pytest.raises(RetrievalError, match="empty path"):
            index.add(unit(1, 6), [NewItem("")])
        assert len(index) == 2 and sorted((tmp_path / "index" / "segments").iterdir()) == before


def test_other_mistakes_are_one_sentence(tmp_path):
    folder = tmp_path / "index"
    with make(folder, unit(5, 4)) as index:
        with pytest.raises(RetrievalError, match="k is -1"):
            index.search(unit(1, 4), -1)
        with pytest.raises(RetrievalError, match="2 lists of excluded ids for 1 queries"):
            index.search(unit(1, 4), 1, exclude=[[1], [2]])
    with pytest.raises(RetrievalError, match="is an index already"):
        Index.create(folder, 4, root="", encoder_hash="", details={})
    with pytest.raises(RetrievalError, match="at least one number"):
        Index.create(tmp_path / "zero", 0, root="", encoder_hash="", details={})
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").touch()
    with pytest.raises(RetrievalError, match=r"not empty \(it has 'cat\.png'\)"):
        Index.create(tmp_path / "photos", 4, root="", encoder_hash="", details={})
    with pytest.raises(RetrievalError, match="is not an index"):
        Index.open(tmp_path / "photos")
    with pytest.raises(RetrievalError, match="is not an index"):
        Index.open(tmp_path / "photos", write=True)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat.png"]
    with pytest.raises(RetrievalError, match="There is no index"):
        Index.open(tmp_path / "nowhere")
    with pytest.raises(RetrievalError, match="No index can be made"):
        Index.create(tmp_path / "photos" / "cat.png", 4, root="", encoder_hash="", details={})


def test_faiss_is_imported_in_one_package_and_torch_in_none():
    importing = [
        path.relative_to(REPOSITORY).as_posix()
        for path in (REPOSITORY / "retrieval").rglob("*.py")
        if re.search(r"^\s*(import|from) faiss", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert importing and all(name.startswith("retrieval/index/nearest/") for name in importing)
    code = (
        "import sys, retrieval.index; assert not {'faiss', 'torch', 'h5py', 'scipy'} & set(sys.modules); "
        "import retrieval.index.nearest; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, check=True)
