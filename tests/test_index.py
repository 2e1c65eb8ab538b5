"""The index against brute force in float64."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.index import Index, NewItem
from retrieval.index.lock import WriterLock

REPOSITORY = Path(__file__).resolve().parents[1]


def unit(n: int, d: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((n, d))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def clustered(n: int, d: int, seed: int = 0) -> np.ndarray:
    centres = np.random.default_rng(99).standard_normal((20, d))
    rng = np.random.default_rng(seed)
    vectors = centres[rng.integers(0, 20, n)] + 0.5 * rng.standard_normal((n, d))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def named(n: int, start: int = 0) -> list[NewItem]:
    return [NewItem(f"class{i % 7}/{i:05d}.png", f"class{i % 7}", 32, 24, 100 + i, i) for i in range(start, start + n)]


def make(folder: Path, vectors: np.ndarray, parts: int = 1) -> Index:
    index = Index.create(folder, vectors.shape[1], root="pictures", encoder_hash="abc", details={})
    for rows in np.array_split(np.arange(len(vectors)), parts):
        if len(rows):
            index.add(vectors[rows], named(len(rows), int(rows[0])))
    return index


def brute(queries, vectors, ids, k, exclude=None):
    """The slow obvious version: every score in float64, rounded once, sorted by (−score, id)."""
    scores = np.full((len(queries), k), -np.inf, np.float32)
    found = np.full((len(queries), k), -1)
    for q, query in enumerate(queries):
        exact = (vectors.astype(np.float64) * query.astype(np.float64)).sum(axis=1)
        exact = np.clip(exact.astype(np.float32), -1, 1)
        keep = np.flatnonzero(~np.isin(ids, exclude[q])) if exclude is not None else np.arange(len(ids))
        order = keep[np.lexsort((ids[keep], -exact[keep]))][:k]
        scores[q, : len(order)], found[q, : len(order)] = exact[order], ids[order]
    return scores, found


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
        index.build_structure(exact_limit=0)


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


def test_one_writer_at_a_time_and_it_is_named(tmp_path):
    folder = tmp_path / "index"
    with make(folder, unit(5, 4)):
        with pytest.raises(RetrievalError, match=rf"written by process {os.getpid()} on \S+ since 2"):
            Index.open(folder, write=True)
        with Index.open(folder) as reader:
            assert len(reader) == 5
    with Index.open(folder, write=True) as index:
        assert len(index) == 5
        index.close()  # twice is harmless
    (tmp_path / "new").mkdir()
    lock = WriterLock(tmp_path / "new")  # another process is just making one there
    with pytest.raises(RetrievalError, match="being written by process"):
        Index.create(tmp_path / "new", 4, root="", encoder_hash="", details={})
    lock.release()
    lock.release()
    Index.create(tmp_path / "new", 4, root="", encoder_hash="", details={}).close()


def test_a_reader_sees_one_state_while_a_writer_works(tmp_path):
    vectors = unit(30, 8)
    folder = tmp_path / "index"
    make(folder, vectors[:10]).close()
    with Index.open(folder) as early, Index.open(folder, write=True) as writer:
        writer.add(vectors[10:], named(20, 10))
        writer.remove([2, 15])
        writer.add(vectors[2:3], [NewItem("class2/00002.png")])
        assert len(early) == 10
        assert early.find("class2/00002.png").id == 2
        assert early.items([2])[0].label == "class2"
        assert early.find("class4/00011.png") is None
        assert len(early.labels()) == len(early.known()) == 10
        np.testing.assert_array_equal(
            early.search(vectors[:3], 5)[1], brute(vectors[:3], vectors[:10], np.arange(10), 5)[1]
        )
        with Index.open(folder) as late:
            assert len(late) == len(writer) == 29
            assert late.find("class2/00002.png").id == 30


def test_a_reader_does_not_wait_for_a_transaction(tmp_path):
    folder = tmp_path / "index"
    make(folder, unit(10, 8)).close()
    writer = sqlite3.connect(folder / "catalog.sqlite", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE items SET label = 'half done'")
    start = time.perf_counter()
    with Index.open(folder) as index:
        assert index.labels()[0] == "class0"
        assert index.search(unit(1, 8), 1)[1].shape == (1, 1)
    assert time.perf_counter() - start < 5  # SQLite would wait for ten seconds
    writer.execute("ROLLBACK")
    writer.close()


READ_AS_NOBODY = """
import os, sys
import h5py, mmap, shutil, tempfile
from retrieval.index import Index, nearest
if os.getuid() == 0:  # after the imports, since nobody may not be let into the folder that Python is in
    os.setgid(65534); os.setuid(65534)
assert not os.access(sys.argv[1], os.W_OK)
with Index.open(sys.argv[1]) as index:
    print(len(index), index.items([0])[0].path, index.search(index.vectors([len(index) - 1]), 1)[1][0, 0])
try:
    Index.open(sys.argv[1], write=True)
except Exception as error:
    print(type(error).__name__, error)
"""

DIE_AFTER_COMMIT = """
import os, sys, numpy
from retrieval.index import Index, NewItem
index = Index.open(sys.argv[1], write=True)
index.add(numpy.eye(8, dtype=numpy.float32), [NewItem(f"late/{i}") for i in range(8)])
os._exit(9)
"""


@pytest.mark.parametrize("killed", [False, True])
def test_a_folder_that_cannot_be_written_can_be_read(tmp_path, killed):
    folder = tmp_path / "index"
    make(folder, unit(10, 8)).close()
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    if killed:  # what it committed is still in the write-ahead log
        subprocess.run([sys.executable, "-c", DIE_AFTER_COMMIT, folder], env=environment, check=False)
        assert (folder / "catalog.sqlite-wal").stat().st_size > 0
    for path in [*folder.rglob("*"), folder]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    for parent in folder.parents:  # pytest's own, which are closed to others, up to the system's
        if parent == Path(tempfile.gettempdir()).resolve():
            break
        parent.chmod(parent.stat().st_mode | stat.S_IXOTH | stat.S_IROTH)
    try:
        for leave in ((), ("catalog.sqlite-shm",)):
            folder.chmod(0o755)
            for name in leave:  # as on a medium that was copied without it
                (folder / name).unlink(missing_ok=True)
            folder.chmod(0o555)
            done = subprocess.run(
                [sys.executable, "-c", READ_AS_NOBODY, folder],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            items = 18 if killed else 10
            assert done.returncode == 0, done.stderr
            first, second = done.stdout.splitlines()
            assert first == f"{items} class0/00000.png {items - 1}"
            assert second.startswith("RetrievalError The index")
    finally:
        folder.chmod(0o755)
        for path in folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
    with Index.open(folder) as index:
        assert len(index) == items


def test_threads_share_one_index(tmp_path):
    vectors = clustered(2000, 32)
    make(tmp_path / "index", vectors).close()
    with Index.open(tmp_path / "index") as index:
        answers: list[tuple[np.ndarray, list[str]]] = []

        def ask() -> None:
            _, ids = index.search(vectors[:20], 5)
            answers.append((ids, [item.path for row in ids for item in index.items(row)]))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(answers) == 4
        for ids, paths in answers:
            np.testing.assert_array_equal(ids, answers[0][0])
            assert paths == answers[0][1]


# The approximate structure


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


# House rules


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
