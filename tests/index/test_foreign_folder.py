"""An index folder from anybody: links and pipes behind its own names, a catalog that runs for ever, odd segments."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from vectors import make, unit

from retrieval.cli import main
from retrieval.errors import RetrievalError
from retrieval.index import Index, database
from retrieval.index.nearest import kinds

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("foreign") / "index"
    with make(folder, unit(300, 8), parts=3) as index:
        index.remove([5])
        ids, vectors = index.all_vectors()
        index.set_structure(kinds.build("HNSW8,Flat", vectors, seed=0), {"efSearch": 16}, ids=ids)
        index.attach({7: {"iso": 100}})
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "index")
    return tmp_path / "index"


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


WRITE = {
    "add": lambda index: index.add(unit(1, 8, seed=3), make_item()),
    "remove": lambda index: index.remove([1]),
    "compact": lambda index: index.compact(),
    "attach": lambda index: index.attach({1: {"iso": 3}}),
    "drop structure": lambda index: index.set_structure(None),
}


def make_item():
    from retrieval.index import NewItem

    return [NewItem("new.png", None, 1, 1, 1, 1, "ab" * 32)]


@pytest.mark.parametrize("name", ["ann", "segments", "encoder"])
def test_a_folder_that_is_a_link_is_followed_by_nobody(folder: Path, tmp_path: Path, name: str) -> None:
    """Whoever compacts, adds or removes would delete what lies behind it."""
    mine = tmp_path / "mine"
    mine.mkdir()
    for file in ("00000001.ann", "00000009.h5", "00000004.h5.tmp", "notes.txt"):
        (mine / file).write_text("mine")
    before = tree(mine)
    shutil.rmtree(folder / name, ignore_errors=True)
    (folder / name).symlink_to(mine)
    for write in (False, True):
        with pytest.raises(RetrievalError, match=f"{name}' is a link"):
            Index.open(folder, write=write)
    assert tree(mine) == before


@pytest.mark.parametrize("name", ["writer.lock", "readers.lock", "catalog.sqlite", "catalog.sqlite-wal", "skipped.csv"])
@pytest.mark.parametrize("there", [True, False])
def test_a_file_that_is_a_link_is_neither_read_nor_made(folder: Path, tmp_path: Path, name: str, there: bool) -> None:
    mine = tmp_path / "mine.txt"
    if there:
        mine.write_text("mine")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(mine)
    for write in (False, True):
        with pytest.raises(RetrievalError, match=r"link|no index|not an index"):
            Index.open(folder, write=write)
    assert mine.exists() == there and (not there or mine.read_text() == "mine")


@pytest.mark.parametrize("name", ["writer.lock", "readers.lock", "catalog.sqlite", "catalog.sqlite-shm", "skipped.csv"])
def test_nobody_waits_at_a_pipe(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    for write in (False, True):
        with pytest.raises(RetrievalError, match=r"no regular file|not an index"):
            Index.open(folder, write=write)


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_files_of_vectors_behind_a_link_or_a_pipe_are_not_read(folder: Path, tmp_path: Path, kind: str) -> None:
    """Not even where the content is right: what lies elsewhere is not the index's."""
    segment = sorted((folder / "segments").iterdir())[0]
    segment.rename(tmp_path / "moved.h5")
    if kind == "link":
        segment.symlink_to(tmp_path / "moved.h5")
    else:
        os.mkfifo(segment)
    with Index.open(folder) as index, pytest.raises(RetrievalError, match=r"link|not a regular file"):
        index.all_vectors()


def test_a_lock_that_is_another_name_of_a_file_leaves_it_whole(folder: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    (folder / "writer.lock").unlink(missing_ok=True)
    os.link(mine, folder / "writer.lock")
    with Index.open(folder, write=True) as index:
        index.remove([1])
    assert mine.read_text() == "mine"


@pytest.mark.parametrize("verb", WRITE)
def test_a_writer_deletes_no_file_that_it_did_not_make(folder: Path, verb: str) -> None:
    mine = {"ann/notes.txt": b"mine", "segments/notes.txt": b"mine", "ann/more/a.ann": b"mine", "readme": b"mine"}
    for name, content in mine.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    with Index.open(folder, write=True) as index:
        WRITE[verb](index)
    found = tree(folder)
    assert {name: found.get(name) for name in mine} == mine


def test_what_lies_where_a_file_will_be_written_is_not_followed(folder: Path, tmp_path: Path) -> None:
    """A temporary name is known beforehand: somebody may have put a link there."""
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    for number in range(1, 9):
        for place in (f"segments/{number:08d}.h5.tmp", f"ann/{number:08d}.ann.tmp"):
            (folder / place).symlink_to(mine)
    with Index.open(folder, write=True) as index:
        index.add(unit(1, 8, seed=3), make_item())
        index.compact()
    assert mine.read_text() == "mine"


HOSTILE = {
    "a view in place of a table": "DROP TABLE skipped; CREATE VIEW skipped AS WITH RECURSIVE r(n) AS "
    "(SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n AS path, n AS reason FROM r;",
    "a view beside the tables": "CREATE VIEW more AS SELECT 1;",
    "a trigger": "CREATE TRIGGER t AFTER INSERT ON attributes BEGIN DELETE FROM items; END;",
    "a check that computes": "ALTER TABLE garbage RENAME TO g; CREATE TABLE garbage (file TEXT PRIMARY KEY "
    "CHECK (length(hex(zeroblob(100000000))) > 0)); DROP TABLE g;",
    "a column that computes": "ALTER TABLE meta ADD COLUMN more GENERATED ALWAYS AS (hex(zeroblob(99999))) VIRTUAL;",
    "an index that computes": "CREATE INDEX more ON items (hex(zeroblob(100000)));",
    "a virtual table": "CREATE VIRTUAL TABLE more USING fts5(a);",
    "a table that is missing": "DROP TABLE garbage;",
    "an index that is missing": "DROP INDEX attributes_by_item;",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_catalog_holds_our_tables_and_nothing_that_runs(folder: Path, what: str) -> None:
    with sqlite3.connect(folder / "catalog.sqlite") as connection:
        connection.executescript(HOSTILE[what])
    connection.close()
    for write in (False, True):
        with pytest.raises(RetrievalError, match=r"cannot be used \(its (table|index|view|trigger) "):
            Index.open(folder, write=write)


def test_the_statistics_of_sqlite_are_no_harm(folder: Path) -> None:
    with sqlite3.connect(folder / "catalog.sqlite") as connection:
        connection.execute("ANALYZE")
    connection.close()
    with Index.open(folder) as index:
        assert len(index) == 299


ENDLESS = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r"


def test_a_statement_without_an_end_has_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "STEPS", 1_000_000)
    with Index.open(folder) as index:
        with pytest.raises(RetrievalError, match="cannot be used"):
            index._catalog.all(ENDLESS)
        assert len(index.items([7])) == 1  # the next one has its own steps


def test_ctrl_c_ends_a_statement(folder: Path) -> None:
    code = f"""
import os, signal, sys, threading
from retrieval.index import Index
signal.signal(signal.SIGINT, signal.default_int_handler)
index = Index.open(sys.argv[1])
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    from retrieval.index import database
    database.STEPS = 10**15
    index._catalog.all({ENDLESS!r})
except KeyboardInterrupt:
    print("stopped")
"""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=120, cwd=ROOT
    )
    assert done.stdout == "stopped\n", done.stderr
    assert time.monotonic() - began < 100


def test_our_own_statements_come_nowhere_near_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundredth of what the size of the file alone grants is enough for all that an index asks."""
    monkeypatch.setattr(database, "STEPS", 0)
    monkeypatch.setattr(database, "STEPS_A_BYTE", 2)
    monkeypatch.setattr(database, "_LOOK", 10)
    with make(tmp_path / "index", unit(3000, 8)) as index:
        index.attach({id_: {"iso": id_, "camera": f"c{id_ % 9}"} for id_ in range(3000)})
        index.remove(range(0, 3000, 3))
    with Index.open(tmp_path / "index") as index:
        index.info(), index.labels(), index.known(), index.select("iso > 5 and camera = 'c3' or label = 'class2'")
    with Index.open(tmp_path / "index", write=True) as index:
        index.compact()
        assert len(index) == 2000


def rewrite(folder: Path, change) -> None:
    """Change a segment and let the catalog vouch for it."""
    from retrieval.base.files import checksum

    path = sorted((folder / "segments").iterdir())[0]
    change(path)
    with sqlite3.connect(folder / "catalog.sqlite") as connection:
        connection.execute(
            "UPDATE segments SET size = ?, checksum = ? WHERE file = ?",
            (path.stat().st_size, checksum(path), f"segments/{path.name}"),
        )
    connection.close()


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_no_answer_comes_from_vectors_that_are_no_numbers(folder: Path, mapped: bool, number: float) -> None:
    def change(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            file["vectors"][3, 2] = number

    rewrite(folder, change)
    with Index.open(folder, write=True) as index:
        index.set_structure(None)
    with Index.open(folder, mapped=mapped) as index, pytest.raises(RetrievalError, match="not finite"):
        index.search(unit(1, 8), 3)


def test_a_segment_that_unpacks_to_more_than_its_file_is_refused(folder: Path) -> None:
    rows = 20_000_000

    def change(path: Path) -> None:
        with h5py.File(path, "w") as file:
            file.attrs["format"], file.attrs["version"] = "retrieval-segment", 2
            file.create_dataset("vectors", (rows, 8), "<f4", chunks=(1 << 16, 8), compression="gzip")
            file.create_dataset("ids", (rows,), "<i8", chunks=(1 << 16,), compression="gzip")

    rewrite(folder, change)
    with sqlite3.connect(folder / "catalog.sqlite") as connection:
        connection.execute("UPDATE segments SET rows = ? WHERE id = (SELECT min(id) FROM segments)", (rows,))
    connection.close()
    with Index.open(folder) as index, pytest.raises(RetrievalError, match="has no room for the 20,000,000 vectors"):
        index.all_vectors()


def test_the_command_line_says_it_in_one_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(folder / "ann")
    (folder / "ann").symlink_to("/")
    for command in (["info"], ["verify"], ["compact"], ["query"], ["tune"], ["remove"]):
        more = {"query": ["--id", "1"], "remove": ["--id", "1"]}.get(command[0], [])
        assert main([*command, str(folder), *more]) == 1
        said = capsys.readouterr()
        assert "is a link" in said.err + said.out, command
        assert "Traceback" not in said.err
        assert command[0] == "verify" or said.err.count("\n") == 1, said.err
