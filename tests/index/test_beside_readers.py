"""Readers beside a writer that forgets what was removed, or that puts another index into the place of one."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tiny
from vectors import make, named, unit

from retrieval.errors import RetrievalError
from retrieval.index import Index, lock
from retrieval.ingest import build, index_folder
from retrieval.search import Search

N = 400


def removed_some(folder: Path) -> Path:
    with make(folder, unit(N, 8), parts=4) as index:
        index.remove(range(0, N, 2))
    return folder


def check(index: Index) -> None:
    """One state: every id has its item and its label, and the vectors are theirs."""
    ids, vectors = index.all_vectors()
    np.testing.assert_array_equal(vectors, unit(N, 8)[ids])
    assert [item.path for item in index.items(ids)] == [named(1, int(id_))[0].path for id_ in ids]
    assert index.labels() == [f"class{id_ % 7}" for id_ in ids]


def test_a_reader_that_comes_while_vectors_are_moved_has_its_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only forgetting keeps readers waiting, and it does not begin while one is there."""
    folder = removed_some(tmp_path / "index")
    readers = []
    write = Index._write

    def watched(self: Index, *args: object) -> None:
        readers.append(Index.open(folder))
        write(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Index, "_write", watched)
    with Index.open(folder, write=True) as index:
        index.compact()
        index.remove([1])
        index.compact()
    assert len(readers) == 2
    for reader, count in zip(readers, (N // 2, N // 2 - 1), strict=True):
        assert reader._catalog._marked
        assert len(reader) == count
        check(reader)
        reader.close()


def test_a_reader_waits_while_items_are_forgotten(tmp_path: Path) -> None:
    folder = removed_some(tmp_path / "index")
    opened: list[Index] = []
    with lock.nobody_reads(folder) as alone:
        assert alone
        thread = threading.Thread(target=lambda: opened.append(Index.open(folder)))
        thread.start()
        time.sleep(0.3)
        assert not opened
    thread.join(60)
    assert opened[0]._catalog._marked
    check(opened[0])
    opened[0].close()


def test_a_reader_without_a_mark_knows_what_was_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a disk without locks: never another answer than that of its own state, rather none."""
    folder = removed_some(tmp_path / "index")
    with Index.open(folder, write=True) as index:
        index.remove([1])
    with monkeypatch.context() as patch:
        patch.setattr(lock, "_open_readers", lambda _: -1)
        reader = Index.open(folder)
    check(reader)
    with Index.open(folder, write=True) as index:
        index.remove([3])
        index.compact()
    for ask in (
        lambda: reader.items([5]),
        reader.labels,
        reader.known,
        lambda: reader.find("class5/00005.png"),
        lambda: reader.select("size > 0"),
        lambda: reader.attributes([5]),
    ):
        with pytest.raises(RetrievalError, match="compacted while it was read"):
            ask()
    reader.close()
    with Index.open(folder) as again:
        check(again)


def test_readers_see_a_whole_index_while_another_takes_its_place(tmp_path: Path, long: bool) -> None:
    """Both indexes have files of the same names: never the catalog of one and the vectors of the other."""
    for name, seed in (("0", 0), ("1", 1)):
        with make(tmp_path / name, unit(200, 8, seed), parts=3):
            pass
    shutil.copytree(tmp_path / "0", tmp_path / "index")
    stop, problems, seen = threading.Event(), [], set()

    def read() -> None:
        while not stop.is_set():
            try:
                with Index.open(tmp_path / "index") as index:
                    vectors = index.all_vectors()[1]
                    seed = int(np.array_equal(vectors, unit(200, 8, 1)))
                    np.testing.assert_array_equal(vectors, unit(200, 8, seed))
                    seen.add(seed)
            except Exception as error:  # any at all is one too many
                problems.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(1, 1000 if long else 60):
        shutil.copytree(tmp_path / str(turn % 2), tmp_path / "new")
        assert index_folder.exchange(tmp_path / "index", tmp_path / "new")
        shutil.rmtree(tmp_path / "new")
    stop.set()
    for thread in threads:
        thread.join()
    assert problems == []
    assert seen == {0, 1}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return [tiny.model(tmp_path_factory, seed) for seed in (0, 1)]


@pytest.mark.parametrize("how", ["rebuilt with another model", "moved", "deleted"])
def test_what_is_open_stays_answerable(tmp_path: Path, models: list[Path], how: str) -> None:
    """Its encoder is loaded at the first picture, and that may be long after."""
    root = tiny.folder(tmp_path / "pictures")
    build(root, tmp_path / "index", model=models[0])
    with Search.open(tmp_path / "index") as search:
        (expected,) = search.query(root / "cat/0.png", k=5)
    with Search.open(tmp_path / "index") as search:
        if how == "moved":
            (tmp_path / "index").rename(tmp_path / "elsewhere")
        elif how == "deleted":
            shutil.rmtree(tmp_path / "index")
        else:
            build(root, tmp_path / "index", model=models[1], overwrite=True)
        (found,) = search.query(root / "cat/0.png", k=5)
        assert [hit.path for hit in found.hits] == [hit.path for hit in expected.hits]
        assert [hit.score for hit in found.hits] == pytest.approx([hit.score for hit in expected.hits], abs=1e-5)
    descriptors = len(list(Path("/dev/fd").iterdir()))
    for _ in range(5):
        if (tmp_path / "index").exists():
            Search.open(tmp_path / "index").close()
    assert len(list(Path("/dev/fd").iterdir())) <= descriptors
