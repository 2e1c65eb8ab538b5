"""What changes an index besides adding and removing, and the segments that its vectors lie in."""

from __future__ import annotations

import numpy as np
import pytest
from vectors import brute, make, named, unit

from retrieval.errors import RetrievalError
from retrieval.index import Index, NewItem
from retrieval.index.records import SegmentRecord, from_runs, to_runs
from retrieval.index.segments import to_merge


def files(folder):
    return sorted(path.name for path in (folder / "segments").iterdir())


def same_answers(index, vectors, ids, queries, k=7):
    scores, found = index.search(queries, k)
    expected_scores, expected = brute(queries, vectors, ids, k)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(scores, expected_scores)


# Items


def test_upsert_replaces_by_path_and_keeps_what_was_attached(tmp_path):
    vectors = unit(30, 8)
    with make(tmp_path / "index", vectors[:20]) as index:
        index.attach({3: {"price": 2.5}, 4: {"price": 7}})
        there = index.items([3])[0]
        ids = index.upsert(vectors[20:22], [NewItem(there.path, "other"), NewItem("new.png")])
        assert ids.tolist() == [20, 21] and len(index) == 21
        assert index.find(there.path).id == 20 and index.find(there.path).label == "other"
        assert index.attributes([20, 21, 4]) == [{"price": 2.5}, {}, {"price": 7}]
        with pytest.raises(RetrievalError, match="no item 3"):
            index.items([3])
        kept = np.array([i for i in range(22) if i != 3])
        same_answers(index, vectors[kept], kept, unit(4, 8, seed=1))
        with pytest.raises(RetrievalError, match=r"is in the index .* already; remove it first, or use upsert"):
            index.add(vectors[22:23], [NewItem(there.path)])


def test_update_keeps_id_and_vector_and_readers_keep_their_state(tmp_path):
    vectors = unit(6, 4)
    with make(tmp_path / "index", vectors) as index, Index.open(tmp_path / "index") as reader:
        a, b, c = index.items([0, 1, 2])
        index.update({0: NewItem(b.path, "x"), 1: NewItem(a.path, "y")})  # they change places
        assert [item.path for item in index.items([0, 1])] == [b.path, a.path]
        assert index.find(a.path).id == 1 and index.find(a.path).label == "y"
        assert [item.path for item in reader.items([0, 1])] == [a.path, b.path]
        assert reader.find(a.path).id == 0
        np.testing.assert_array_equal(index.vectors([0, 1]), vectors[:2])
        for wrong, message in (
            ({0: NewItem(c.path)}, "already"),
            ({0: NewItem("z"), 1: NewItem("z")}, "stands twice"),
            ({77: NewItem("z")}, "no item 77"),
        ):
            with pytest.raises(RetrievalError, match=message):
                index.update(wrong)
        assert [item.path for item in index.items([0, 1, 2])] == [b.path, a.path, c.path]


def test_attributes_are_set_changed_and_taken_away(tmp_path):
    with make(tmp_path / "index", unit(5, 4)) as index, Index.open(tmp_path / "index") as before:
        index.attach({0: {"price": 1, "colour": "red"}, 1: {"price": 2.5}})
        index.attach({0: {"price": 3, "colour": None}})
        assert index.attributes([1, 0, 2]) == [{"price": 2.5}, {"price": 3}, {}]
        assert index.attribute_kinds() == {"price": {"number"}}
        assert before.attributes([0, 1]) == [{}, {}]
        for wrong in (float("nan"), float("inf"), [1], b"x"):
            with pytest.raises(RetrievalError, match="give a text or a finite number"):
                index.attach({0: {"price": wrong}})
        with pytest.raises(RetrievalError, match="no item 9"):
            index.attach({0: {"price": 9}, 9: {"price": 9}})
        assert index.attributes([0]) == [{"price": 3}]


def test_items_are_found_by_their_content(tmp_path):
    with Index.create(tmp_path / "index", 4, root="", encoder_hash="", details={}) as index:
        index.add(unit(3, 4), [NewItem("a", sha256="1"), NewItem("b", sha256="2"), NewItem("c", sha256="1")])
        assert [item.path for item in index.find_sha256("1")] == ["a", "c"]
        index.remove([0])
        assert [item.path for item in index.find_sha256("1")] == ["c"] and index.find_sha256("3") == []


# All above a score


@pytest.mark.parametrize("mapped", [False, True])
def test_range_search_finds_everything_above_a_score(tmp_path, mapped):
    vectors = unit(400, 5)
    vectors[50:60] = vectors[40]
    make(tmp_path / "index", vectors, parts=5).close()
    with Index.open(tmp_path / "index", mapped=mapped) as index:
        queries = np.concatenate([vectors[40:42], unit(6, 5, seed=2)])
        everything, order = brute(queries, vectors, np.arange(400), 400)
        for score in (-1.0, 0.2, float(everything[0, 3]), 0.99, 1.0, 2.0):
            limits, scores, ids = index.range_search(queries, score)
            assert limits.dtype == ids.dtype == np.int64 and scores.dtype == np.float32
            for row in range(len(queries)):
                keep = everything[row] >= score
                np.testing.assert_array_equal(ids[limits[row] : limits[row + 1]], order[row][keep])
                np.testing.assert_array_equal(scores[limits[row] : limits[row + 1]], everything[row][keep])
        limits, _, ids = index.range_search(queries[:1], 0.999, exclude=[[40, 52]])
        assert ids.tolist() == [50, 51, *range(53, 60)] and limits.tolist() == [0, 9]
        assert index.range_search(queries[:0], 0.5)[0].tolist() == [0]
        with pytest.raises(RetrievalError, match="not a number"):
            index.range_search(queries, float("nan"))


# What vectors are kept as


def test_float16_is_half_the_size_and_its_scores_are_of_what_is_stored(tmp_path):
    vectors = unit(300, 64)
    rounded = vectors.astype(np.float16).astype(np.float32)
    for mapped in (False, True):
        folder = tmp_path / str(mapped)
        with Index.create(folder, 64, root="", encoder_hash="", details={}, storage="float16") as index:
            index.add(vectors[:100], named(100))
            index.add(vectors[100:], named(200, 100))
        assert sum(path.stat().st_size for path in (folder / "segments").iterdir()) < 300 * 64 * 2 + 300 * 8 + 20_000
        with Index.open(folder, mapped=mapped) as index:
            np.testing.assert_array_equal(index.vectors([5, 250]), rounded[[5, 250]])
            assert index.all_vectors()[1].dtype == np.float32
            same_answers(index, rounded, np.arange(300), unit(9, 64, seed=3))


def test_wrong_storages_are_refused(tmp_path):
    with pytest.raises(RetrievalError, match="no storage 'int3'"):
        Index.create(tmp_path / "a", 8, root="", encoder_hash="", details={}, storage="int3")
    with pytest.raises(RetrievalError, match="multiple of 8 bits"):
        Index.create(tmp_path / "a", 12, root="", encoder_hash="", details={}, storage="binary")


# Segments


def test_small_segments_merge_so_that_few_remain():
    records: list[SegmentRecord] = []
    most = written = 0
    for number in range(5000):
        merged = to_merge(records, 1)
        assert records[len(records) - len(merged) :] == merged
        rows = 1 + sum(record.rows for record in merged)
        records = [*records[: len(records) - len(merged)], SegmentRecord(number, "", rows, 0, "")]
        most, written = max(most, len(records)), written + rows
    assert sum(record.rows for record in records) == 5000
    assert most <= 15 * 4 and written <= 5000 * 5


def test_many_small_additions_stay_few_files_and_exact(tmp_path):
    vectors = unit(120, 6)
    with make(tmp_path / "index", vectors[:1]) as index, Index.open(tmp_path / "index") as first:
        for i in range(1, 120):
            index.add(vectors[i : i + 1], named(1, i))
            if i % 10 == 0:
                index.remove([i - 5])
        assert len(files(tmp_path / "index")) == index.info()["segments"] < 30
        gone = [i - 5 for i in range(10, 120, 10)]
        kept = np.setdiff1d(np.arange(120), gone)
        same_answers(index, vectors[kept], kept, unit(5, 6, seed=4))
        assert first.search(vectors[:2], 3)[1][:, 0].tolist() == [0, 0]  # its file is long gone


@pytest.mark.parametrize("mapped", [False, True])
def test_compacting_keeps_answers_and_open_readers(tmp_path, mapped):
    vectors = unit(200, 6)
    folder = tmp_path / "index"
    with make(folder, vectors, parts=9) as index:
        reader = Index.open(folder, mapped=mapped)
        index.remove(range(0, 200, 4))
        index.attach({1: {"price": 1}})
        late = Index.open(folder, mapped=mapped)
        index.compact()
        assert len(files(folder)) == 1 and index.info()["removed"] == 0
        kept = np.array([i for i in range(200) if i % 4])
        queries = unit(5, 6, seed=5)
        for one, ids in ((index, kept), (late, kept), (reader, np.arange(200))):
            same_answers(one, vectors[ids], ids, queries)
            one.items(ids)
        assert reader.attributes([1]) == [{}] and index.attributes([1]) == [{"price": 1}]
        reader.close()
        late.close()
        index.compact()  # nobody reads any more: what was removed is forgotten
        assert index._catalog.all("SELECT count(*) FROM items") == [(150,)]
        same_answers(index, vectors[kept], kept, queries)
        assert index.add(unit(1, 6), [NewItem("late.png")]).tolist() == [200]
        index.remove(index.all_vectors()[0])
        index.compact()
        assert len(index) == 0 and files(folder) == []
        assert index.add(unit(1, 6), [NewItem("later.png")]).tolist() == [201]
    with Index.open(folder, mapped=mapped) as index:
        assert index.search(queries, 3)[1][:, 0].tolist() == [201] * 5


@pytest.mark.parametrize("ids", [[], [0], [7], [0, 1, 2], [3, 4, 9, 11, 12, 2**40]])
def test_ids_survive_as_runs(ids):
    ids = np.array(ids, np.int64)
    np.testing.assert_array_equal(from_runs(to_runs(ids), 2**41), ids)


@pytest.mark.parametrize("pairs", [[[0, 0]], [[-1, 2]], [[5, 2], [6, 2]], [[0, 2**62]], [[5, 1], [2, 1]]])
def test_runs_that_do_not_ascend_are_refused(pairs):
    with pytest.raises(ValueError, match="do not ascend"):
        from_runs(np.array(pairs, "<i8").tobytes(), 100)


def test_when_the_items_changed_last(tmp_path):
    """With every item that comes, goes or becomes another, and with nothing that is only said of it."""
    vectors = unit(12, 8)
    with make(tmp_path / "index", vectors[:10]) as index:
        index.remove([0])
        with Index.open(tmp_path / "index") as reader:
            was = reader.items_changed
            assert was == index.items_changed == index.generation
            index.attach({1: {"price": 2.5}})
            index.record_details({"a": 1})
            assert index.items_changed == was < index.generation
            for change in (
                lambda: index.update({1: NewItem("other.png", "x")}),
                lambda: index.add(vectors[10:11], [NewItem("10.png")]),
                lambda: index.upsert(vectors[11:12], [NewItem("10.png")]),
                lambda: index.remove([2]),
            ):
                change()
                assert index.items_changed == index.generation
            assert reader.items_changed == was, "which sees what it saw"
        index.compact()
        assert index.items_changed > was
