"""Who may open an index, when, and what each sees."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from vectors import brute, clustered, make, named, unit

from retrieval.errors import RetrievalError
from retrieval.index import Index, NewItem
from retrieval.index.lock import WriterLock

REPOSITORY = Path(__file__).resolve().parents[2]

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
    with Index.open(folder) as index:  # whoever waited for the transaction would wait in vain, and SQLite would say so
        assert index.labels()[0] == "class0"
        assert index.search(unit(1, 8), 1)[1].shape == (1, 1)
    writer.execute("ROLLBACK")
    writer.close()


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


def test_a_filter_that_is_given_up_while_somebody_asks_with_it_is_found_anew(tmp_path, monkeypatch):
    """Another thread may ask with so many that this one's is no longer kept."""
    vectors = unit(40, 8)
    with make(tmp_path / "index", vectors) as index:
        asked = [f"id >= {first}" for first in range(20)]
        for where in asked:
            assert index.search(vectors[:1], 40, where=where)[1].max() == 39
        assert not index.keeps_filter(asked[0]) and index.keeps_filter(asked[-1])
        select, given = index._now._select, []

        def given_up(where):
            given.append(where)
            for other in asked[:19]:
                index._now.keep_filter(other, select(other))
            return select(where)

        monkeypatch.setattr(index._now, "_select", given_up)
        for where in (asked[-1], "id >= 30"):
            hits = index.search(vectors[:1], 40, where=where)[1]
            assert sorted(hits[hits >= 0].tolist()) == list(range(int(where[6:]), 40))
        assert given == ["id >= 30"]
