"""An index whose files were cut, changed or lost, and writers that were killed."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from retrieval.base import files
from retrieval.errors import RetrievalError
from retrieval.index import Index, NewItem
from retrieval.index.nearest import kinds

REPOSITORY = Path(__file__).resolve().parents[2]
N, D = 120, 6


def unit(n: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((n, D))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def named(n: int, start: int = 0) -> list[NewItem]:
    return [NewItem(f"{i:04d}.png", f"class{i % 3}", 32, 32, 100, i, "ab" * 32) for i in range(start, start + n)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("damage") / "index"
    with Index.create(folder, D, root="pictures", encoder_hash="h", details={"note": "x" * 50}) as index:
        index.add(unit(N)[:70], named(70))
        index.add(unit(N)[70:], named(50, 70))
        index.remove([5])
        index.record_skipped([("a", "empty file")])
        ids, vectors = index.all_vectors()
        index.set_structure(kinds.build("HNSW32,Flat", vectors, seed=0), {"efSearch": 64}, ids=ids)
    return folder


@pytest.fixture
def folder(whole, tmp_path) -> Path:
    shutil.copytree(whole, tmp_path / "index")
    return tmp_path / "index"


def use_everything(folder: Path) -> list[np.ndarray]:
    """Every way of reading; the vectors and answers are returned."""
    with Index.open(folder) as index:
        ids, vectors = index.all_vectors()
        items = index.items(ids)
        assert all(isinstance(item.path, str) and isinstance(item.size, int) for item in items)
        answers = index.search(unit(3, seed=8), 5)
        index.items(answers[1][0])
        index.labels()
        index.known()
        index.find("0001.png")
        index.skipped()
        json.dumps(index.info())
        return [ids, vectors, *answers]


def damaged(content: bytes, seed: int) -> bytes:
    """A few bytes changed, or the end cut off."""
    rng = np.random.default_rng(seed)
    if seed % 3 == 2:
        return content[: int(rng.integers(0, len(content)))]
    changed = bytearray(content)
    # Most of SQLite's bookkeeping is in the first bytes of its pages, and HDF5's in the file's first 2 kB.
    places = rng.integers(0, len(content), 8) if seed % 3 else rng.integers(0, min(2048, len(content)), 4)
    for place in places:
        changed[place] ^= int(rng.integers(1, 256))
    return bytes(changed)


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("name", ["segments/00000001.h5", "segments/00000002.h5"])
def test_a_damaged_segment_is_named_and_never_used(folder, name, seed):
    path = folder / name
    path.write_bytes(damaged(path.read_bytes(), seed))
    with Index.open(folder) as index:
        assert len(index) == N - 1 and index.find("0001.png") is not None  # the catalog is enough for this
    with pytest.raises(RetrievalError, match=path.name) as caught:
        use_everything(folder)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("seed", range(15))
def test_a_damaged_structure_changes_no_answer(whole, folder, seed):
    (path,) = (folder / "ann").iterdir()
    path.write_bytes(damaged(path.read_bytes(), seed))
    for found, expected in zip(use_everything(folder), use_everything(whole), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("seed", range(45))
def test_a_damaged_catalog_is_an_error_or_does_no_harm(whole, folder, seed):
    path = folder / "catalog.sqlite"
    path.write_bytes(damaged(path.read_bytes(), seed))
    try:
        ids, vectors, *_ = use_everything(folder)
    except RetrievalError as error:
        assert len(str(error).splitlines()) == 1
    else:  # SQLite has no checksums: a changed letter in a path goes unseen, but no vector is another item's
        expected = use_everything(whole)
        kept = np.isin(ids, expected[0])
        np.testing.assert_array_equal(vectors[kept], expected[1][np.isin(expected[0], ids)])
    try:
        with Index.open(folder, write=True) as index:
            index.add(unit(1, seed=4), [NewItem("new.png")])
    except RetrievalError as error:
        assert len(str(error).splitlines()) == 1


def test_a_catalog_that_forgot_a_segment_does_not_cost_it(folder):
    with sqlite3.connect(folder / "catalog.sqlite") as connection:
        connection.execute("UPDATE segments SET file = 'segments/0000000q.h5' WHERE id = 1")
    connection.close()
    Index.open(folder, write=True).close()
    assert (folder / "segments" / "00000001.h5").exists()
    with pytest.raises(RetrievalError, match="0000000q"):
        use_everything(folder)


def set_version(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 3")
    connection.close()


def drop_dim(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM meta WHERE key = 'dim'")
    connection.close()


def other_program(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE notes (text)")
    connection.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_version, r"newer release \(format 3, this one reads up to 2\); upgrade"),
        (drop_dim, "meta has no dim"),
        (other_program, "belongs to another program"),
        (lambda path: path.write_bytes(b""), "belongs to another program"),
        (lambda path: path.write_bytes(b"not a database at all, " * 100), "file is not a database"),
        (lambda path: path.unlink(), "is not an index"),
    ],
)
def test_foreign_and_newer_catalogs_are_refused(folder, change: Callable[[Path], object], message):
    change(folder / "catalog.sqlite")
    before = sorted(folder.rglob("*"))
    for write in (False, True):
        with pytest.raises(RetrievalError, match=message):
            Index.open(folder, write=write)
    assert [path for path in before if not path.exists()] == []  # and nothing is deleted as an orphan


def test_a_missing_segment_is_named(folder):
    (folder / "segments" / "00000002.h5").unlink()
    with pytest.raises(RetrievalError, match=r"00000002\.h5' cannot be read: No such file"):
        use_everything(folder)


@pytest.mark.parametrize("wrong", ["shape", "type", "order", "name", "ids"])
def test_a_segment_with_the_right_checksum_and_the_wrong_content_is_refused(folder, wrong):
    path = folder / "segments" / "00000002.h5"
    ids, vectors = np.arange(70, 120), unit(N)[70:]
    with h5py.File(path, "w") as file:
        file["vektors" if wrong == "name" else "vectors"] = {
            "shape": vectors[:, :5],
            "type": vectors.astype(np.float64),
        }.get(wrong, vectors)
        file["ids"] = {"order": ids[::-1], "ids": ids[:40]}.get(wrong, ids)
    with sqlite3.connect(folder / "catalog.sqlite") as connection:
        connection.execute(
            "UPDATE segments SET size = ?, checksum = ? WHERE id = 2", (path.stat().st_size, files.checksum(path))
        )
    connection.close()
    with pytest.raises(RetrievalError, match=r"00000002\.h5"):
        use_everything(folder)


def test_a_segment_may_be_compressed_by_somebody_else(folder, whole):
    path = folder / "segments" / "00000002.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("vectors", data=unit(N)[70:], chunks=(7, 3), compression="gzip")
        file["ids"] = np.arange(70, 120)
    with sqlite3.connect(folder / "catalog.sqlite") as connection:
        connection.execute(
            "UPDATE segments SET size = ?, checksum = ? WHERE id = 2", (path.stat().st_size, files.checksum(path))
        )
    connection.close()
    for found, expected in zip(use_everything(folder), use_everything(whole), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_large_segments_are_still_checked_in_full_when_read_in_full(folder, monkeypatch):
    monkeypatch.setattr("retrieval.index.segments.FULL_CHECK", 0)
    path = folder / "segments" / "00000001.h5"
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1  # a vector: the ids are the last 560 bytes
    path.write_bytes(content)
    with Index.open(folder) as index:
        index.vectors([3])  # its size is right
        with pytest.raises(RetrievalError, match="checksum differs"):
            index.all_vectors()


@pytest.mark.parametrize("bad", [False, True])
@pytest.mark.parametrize("rows", [70, 3000])  # the ids of few lie before the vectors
def test_a_large_segment_is_checked_while_it_is_copied(tmp_path, monkeypatch, rows, bad):
    """It is read once, and what was made of a damaged one is thrown away."""
    folder, vectors = tmp_path / "index", unit(rows)
    with Index.create(folder, D, root="pictures", encoder_hash="h", details={}) as index:
        index.add(vectors, named(rows))
    monkeypatch.setattr("retrieval.index.segments.FULL_CHECK", 0)
    monkeypatch.setattr("retrieval.index.segments._COPIED", 25 * vectors.strides[0])
    path = folder / "segments" / "00000001.h5"
    if bad:
        content = bytearray(path.read_bytes())
        content[content.find(vectors[-1].tobytes())] ^= 1
        path.write_bytes(content)
    turned = {"dim": D, "encoder_hash": "other", "details": {}}

    def turn(segments):
        return [segment.write(lambda block: -block, None) for segment in segments]

    with Index.open(folder, write=True, mapped=True) as index:
        index.remove([5])
        if bad:
            with pytest.raises(RetrievalError, match="checksum differs"):
                index.copy_mapped(tmp_path / "turned", turn, **turned)
            with pytest.raises(RetrievalError, match="checksum differs"):
                index.compact()
            assert [file.name for file in path.parent.iterdir()] == [path.name]
            assert not [*(tmp_path / "turned" / "segments").iterdir()]
            return
        read: list[str] = []
        monkeypatch.setattr("retrieval.base.open_file.checksum", lambda path: read.append(path) or files.checksum(path))
        index.copy_mapped(tmp_path / "turned", turn, **turned)
        index.compact()
        assert not read
    for copy, sign in ((folder, 1), (tmp_path / "turned", -1)):
        with Index.open(copy) as index:  # which compares the checksums that were made on the way
            np.testing.assert_array_equal(index.all_vectors()[1], sign * np.delete(vectors, 5, axis=0))
            assert index.info()["removed"] == 0


# Killed writers

KILLED_WRITER = """
import os, random, signal, sys, time
from pathlib import Path
import h5py
import numpy as np
from retrieval.index import Index, NewItem
folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
random.seed(7)
vectors = np.eye(6, dtype=np.float32)[:5]
for round in range(rounds):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        index = Index.open(folder, write=True)
        for batch in range(10**9):
            ids = index.add(vectors, [NewItem(f"{round}-{batch}-{i}") for i in range(5)])
            os.write(write, b"%d\\n" % ids[-1])
            if batch % 3 == 2:
                index.remove(ids)
    os.close(write)
    first = os.read(read, 100) if round == 0 else b""  # however slow the machine is, one addition gets done
    time.sleep(random.uniform(0.005, 0.06))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    told = (first + os.read(read, 10**6)).split()
    os.close(read)
    print(max(map(int, told), default=-1), flush=True)
    with Index.open(folder) as index:
        ids, stored = index.all_vectors()
        assert len(index) == len(ids) == len(index.labels()), (len(index), len(ids))
        assert len(ids) % 5 == 0 and (ids.reshape(-1, 5)[:, 0] % 5 == 0).all(), "half a batch"
        assert (stored == vectors[ids % 5]).all()
        index.items(ids)
"""


def test_a_killed_writer_leaves_whole_batches_and_no_lock(tmp_path):
    folder = tmp_path / "index"
    Index.create(folder, 6, root="", encoder_hash="", details={}).close()
    done = subprocess.run(
        [sys.executable, "-c", KILLED_WRITER, folder, "25"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = max(map(int, done.stdout.split()))
    assert told > 0
    with Index.open(folder) as index:
        there, next_segment = index.info()["segments"], index._catalog.meta["next_segment"]
    (folder / "segments" / f"{next_segment:08d}.h5").write_bytes(b"orphan")
    (folder / "segments" / f"{next_segment:08d}.h5.tmp").write_bytes(b"orphan")
    (folder / "ann" / "00000007.ann.tmp").write_bytes(b"orphan")
    (folder / "segments" / "notes.txt").write_text("somebody's own")
    Index.open(folder, write=True).close()
    assert len(list((folder / "segments").iterdir())) == there + 1  # the notes are one more
    with Index.open(folder, write=True) as index:
        assert index.add(np.eye(6, dtype=np.float32)[:1], [NewItem("last")])[0] > told  # what was told was kept
        names = {path.name for path in (folder / "segments").iterdir()}
        assert len(names) == index.info()["segments"] + 1 and "notes.txt" in names
        assert not list((folder / "ann").iterdir())


def test_a_killed_creation_can_be_made_again(tmp_path):
    folder = tmp_path / "index"
    for name in ("segments", "ann", "encoder"):
        (folder / name).mkdir(parents=True)
    (folder / "catalog.sqlite.tmp").write_bytes(b"half")
    with Index.create(folder, 6, root="", encoder_hash="", details={}) as index:
        index.add(unit(2), named(2))
    assert not (folder / "catalog.sqlite.tmp").exists()


@pytest.mark.parametrize("step", ["write", "fsync", "replace", "sync_folder", "commit"])
def test_a_failed_addition_changes_nothing(folder, whole, monkeypatch, step):
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fail_in_sqlite(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    expected = use_everything(whole)
    with Index.open(folder, write=True) as index:
        with monkeypatch.context() as patch:
            if step == "write":
                patch.setattr("retrieval.base.files.os.fsync", lambda _: None)
                patch.setattr(Path, "open", fail)
            elif step == "fsync":
                patch.setattr("retrieval.base.files.os.fsync", fail)
            elif step == "replace":
                patch.setattr(Path, "replace", fail)
            elif step == "sync_folder":
                patch.setattr("retrieval.base.files.sync_folder", fail)
            else:
                patch.setattr("retrieval.index.database.Database.put", fail_in_sqlite)
            with pytest.raises(RetrievalError, match=r"(No space left on device|disk is full)"):
                index.add(unit(4, seed=3), named(4, 500))
        for found, expected_array in zip(use_everything(folder), expected, strict=True):
            np.testing.assert_array_equal(found, expected_array)
        assert index.add(unit(4, seed=3), named(4, 500)).tolist() == [120, 121, 122, 123]
        assert {path.name for path in (folder / "segments").iterdir()} == {f"{i:08d}.h5" for i in (1, 2, 3)}
