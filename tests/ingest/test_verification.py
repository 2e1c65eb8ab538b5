"""`verify`: a whole index is whole, each kind of damage is named, and nothing is changed."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import pytest
import tiny
from index_model import clustered, create, named

from retrieval import cli
from retrieval.base.files import checksum
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.index.integrity import verify
from retrieval.index.nearest import kinds
from retrieval.ingest import verify_index

DIM = 8
VECTORS = clustered(60, DIM)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verification") / "index"
    with create(folder, DIM) as index:
        index.add(VECTORS[:40], named(40))
        index.add(VECTORS[40:], named(20, 40))
        index.attach({id_: {"price": id_, "shop": "a"} for id_ in range(9)})
        built = kinds.build("HNSW8,Flat", index.all_vectors()[1])
        index.set_structure(built, {"efSearch": 16}, measured={"recall": 1.0})
        index.remove([5, 50])
        index.upsert(VECTORS[:1], named(1, 7))
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "index")
    return tmp_path / "index"


def sql(*statements: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with closing(sqlite3.connect(folder / "catalog.sqlite")) as connection:
            for statement in statements:
                assert connection.execute(statement).rowcount != 0
            connection.commit()

    return change


def cut(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (path,) = folder.glob(name)
        path.write_bytes(path.read_bytes()[:-7])

    return change


def flip(name: str, place: int = -5) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (path,) = folder.glob(name)
        content = bytearray(path.read_bytes())
        content[place] ^= 4
        path.write_bytes(content)

    return change


def lose(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (path,) = folder.glob(name)
        path.unlink()

    return change


def rewrite(vectors: np.ndarray, ids: np.ndarray) -> Callable[[Path], None]:
    """Another second segment, with the right checksum."""

    def change(folder: Path) -> None:
        path = folder / "segments" / "00000002.h5"
        with h5py.File(path, "w") as file:
            file["vectors"], file["ids"] = vectors, ids
        values = len(ids), path.stat().st_size, checksum(path)
        with closing(sqlite3.connect(folder / "catalog.sqlite")) as connection:
            connection.execute("UPDATE segments SET rows = ?, size = ?, checksum = ? WHERE id = 2", values)
            connection.commit()

    return change


SECOND = np.arange(40, 60)


@pytest.mark.parametrize(
    ("damage", "where", "what", "rebuildable"),
    [
        (cut("segments/00000001.h5"), "segments/00000001.h5", "bytes where the catalog says", False),
        (flip("segments/00000002.h5"), "segments/00000002.h5", "checksum differs", False),
        (lose("segments/00000001.h5"), "segments/00000001.h5", "No such file", False),
        (lose("segments/00000001.h5"), "segments", "none that can be read, for 38 items", False),
        (rewrite(VECTORS[40:] * 1.01, SECOND), "segments/00000002.h5", "20 vectors that are not of unit", False),
        (rewrite(VECTORS[40:], SECOND - 1), "segments/00000002.h5", "ids that the segments before it hold", False),
        (rewrite(VECTORS[40:], SECOND[::-1]), "segments/00000002.h5", "ids that do not ascend", False),
        (rewrite(VECTORS[40:], np.arange(400, 420)), "segments", "20 items that never were", False),
        (rewrite(VECTORS[40:, :7], SECOND), "segments/00000002.h5", r"\(20, 7\) .* catalog says", False),
        (rewrite(VECTORS[40:].astype(np.float64), SECOND), "segments/00000002.h5", "float64", False),
        (cut("ann/*"), "ann/.*", "bytes where the catalog says", True),
        (flip("ann/*"), "ann/.*", "checksum differs", True),
        (lose("ann/*"), "ann/.*", "No such file", True),
        (sql("UPDATE structures SET measured = '{\"recall\": 7}'"), "ann/.*", "recall of 7", True),
        (sql('UPDATE structures SET parameters = \'{"efSearch": "all"}\''), "ann/.*", "searched with", True),
        (sql("UPDATE structures SET ids = x'00'"), "catalog.sqlite", "buffer size", False),
        (sql("DELETE FROM items WHERE id = 8"), "catalog.sqlite", "57 items and counts 58", False),
        (sql("UPDATE meta SET value = '59' WHERE key = 'items'"), "catalog.sqlite", "58 items and counts 59", False),
        (sql("UPDATE meta SET value = '7' WHERE key = 'next_id'"), "catalog.sqlite", "id that is still to be", False),
        (sql("DELETE FROM meta WHERE key = 'dim'"), "catalog.sqlite", "no dim", False),
        (sql("UPDATE meta SET value = '1' WHERE key = 'next_segment'"), "catalog.sqlite", "3 segments with", False),
        (sql("UPDATE items SET added = 999 WHERE id = 8"), "catalog.sqlite", "1 items from a change that", False),
        (sql("UPDATE items SET size = 'big' WHERE id = 8"), "catalog.sqlite", "1 items that are not made of", False),
        (sql("UPDATE attributes SET item = 999 WHERE item = 3"), "catalog.sqlite", "2 attributes of items", False),
        (sql("UPDATE attributes SET value = x'00' WHERE item = 3"), "catalog.sqlite", "neither number nor", False),
        (sql("UPDATE attributes SET name = 'shop' WHERE item = 3"), "catalog.sqlite", "has twice", False),
        (sql("UPDATE attributes SET added = 999 WHERE item = 3"), "catalog.sqlite", "2 attributes from a ch", False),
        (sql("DELETE FROM attribute_kinds"), "catalog.sqlite", "16 attributes of a kind that", False),
        (
            sql("ALTER TABLE skipped RENAME COLUMN reason TO treason"),
            "catalog.sqlite",
            "table skipped is not ours",
            False,
        ),
        (sql("DROP INDEX items_by_sha256"), "catalog.sqlite", "index items_by_sha256 is missing", False),
        (sql("INSERT INTO garbage SELECT file FROM segments"), "catalog.sqlite", "3 files that are given up", False),
        (sql("UPDATE segments SET file = '../secret' WHERE id = 1"), "catalog.sqlite", "is said to have", False),
        (sql("PRAGMA application_id = 7"), "catalog.sqlite", "belongs to another program", False),
        (sql("PRAGMA user_version = 99"), "catalog.sqlite", "newer release", False),
        (flip("catalog.sqlite", 3), "catalog.sqlite", "not a database", False),
        (cut("catalog.sqlite"), "catalog.sqlite", "damaged|malformed", False),
        (
            sql(
                "DROP INDEX items_by_path",
                "UPDATE items SET path = 'one' WHERE id IN (8, 9)",
                "CREATE INDEX items_by_path ON items (path, coalesce(removed, 0))",
                "PRAGMA writable_schema = ON",
                "UPDATE sqlite_schema SET sql = replace(sql, 'INDEX', 'UNIQUE INDEX') WHERE name = 'items_by_path'",
            ),
            "catalog.sqlite",
            "1 paths that two items have",
            False,
        ),
    ],
)
def test_damage_is_named(folder: Path, damage, where: str, what: str, rebuildable: bool) -> None:
    damage(folder)
    found = verify(folder)
    assert not found.ok
    mine = [p for p in found.problems if re.fullmatch(where, p.where) and re.search(what, p.what)]
    assert mine, found.problems
    assert mine[0].rebuildable == rebuildable and mine[0].remedy.endswith(".")
    assert all("\n" not in problem.what for problem in found.problems)


@pytest.mark.parametrize("storage", ["float32", "float16", "binary"])
def test_a_whole_index_is_whole_and_stays_as_it_is(tmp_path: Path, storage: str) -> None:
    folder = tmp_path / "index"
    with create(folder, 16, storage) as index:
        assert verify(folder).ok  # empty, and while somebody writes
        index.add(clustered(90, 16), named(90))
        index.remove([3])
        index.attach({4: {"price": 2.5}})
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found = verify(folder)
    assert found.problems == () and found.notes == ()
    counts = {"items": 89, "removed": 1, "attributes": 1, "segments": 1, "vectors": 90, "structures": 0}
    assert counts.items() <= found.counts.items() and found.counts["bytes"] > 90 * 2
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_leftovers_are_noted_and_no_damage(folder: Path) -> None:
    left = {
        "catalog.sqlite.tmp": False, "segments/00000004.h5": True, "segments/00000009.h5.tmp": True,
        "ann/00000099.ann": True, "segments/notes.txt": False,
    }  # fmt: skip
    for name in left:
        (folder / name).write_bytes(b"left")
    (folder / "tuning.png").write_bytes(b"for people")
    found = verify(folder)
    assert found.ok and len(found.notes) == len(left)
    for name, goes in left.items():
        (note,) = [note for note in found.notes if repr(name) in note]
        assert ("the next writer deletes it" in note) == goes
    Index.open(folder, write=True).close()
    assert {name for name in left if (folder / name).exists()} == {name for name, goes in left.items() if not goes}


def test_what_is_no_index_cannot_be_verified(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(RetrievalError, match=r"is not an index|There is no index"):
            verify(folder)


# The encoder, and the command line


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from retrieval.ingest import build

    base = tmp_path_factory.mktemp("built")
    build(tiny.folder(base / "pictures", each=2), base / "index", model=tiny.model(tmp_path_factory))
    return base / "index"


def other_preprocessing(folder: Path) -> None:
    path = folder / "encoder" / "config.json"
    values = json.loads(path.read_text())
    values["preprocessing"]["mean"] = [0.1] * len(values["preprocessing"]["mean"])
    path.write_text(json.dumps(values))


def outside(folder: Path) -> None:
    path = folder / "encoder" / "config.json"
    values = json.loads(path.read_text())
    values["files"]["../catalog.sqlite"] = "0" * 64
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("damage", "where", "what"),
    [
        (flip("encoder/weights.safetensors"), "encoder/weights.safetensors", "checksum differs"),
        (lose("encoder/weights.safetensors"), "encoder/weights.safetensors", "No such file"),
        (flip("encoder/config.json", 0), "encoder", "is not JSON"),
        (other_preprocessing, "encoder", "is not the one that made the vectors"),
        (outside, "encoder/config.json", "outside"),
    ],
)
def test_a_damaged_encoder_is_named(built: Path, tmp_path: Path, damage, where: str, what: str) -> None:
    shutil.copytree(built, tmp_path / "index")
    assert verify_index.verify(tmp_path / "index").problems == ()
    damage(tmp_path / "index")
    (problem,) = verify_index.verify(tmp_path / "index").problems
    assert problem.where == where and what in problem.what and not problem.rebuildable
    assert "Queries by id" in problem.remedy
    with Index.open(tmp_path / "index") as index:  # which is true
        assert index.search(index.vectors([0]), 2)[1][0, 0] == 0


def test_the_command_says_what_is_wrong(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", str(folder)]) == 0
    assert "whole, 58 items, 61 vectors" in capsys.readouterr().out
    flip("ann/*")(folder)
    cut("segments/00000002.h5")(folder)
    assert cli.main(["verify", str(folder)]) == 1
    out = capsys.readouterr().out
    assert "DAMAGED segments/00000002.h5" in out and "--overwrite" in out and "3 problems" in out
    assert "Nothing is lost: search is exact until" in out
    assert cli.main(["verify", str(folder), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is False and {p["rebuildable"] for p in found["problems"]} == {True, False}


def test_the_command_compacts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compact", str(folder), "--json"]) == 0
    sizes = json.loads(capsys.readouterr().out)
    assert (sizes["items"], sizes["before"]["segments"], sizes["after"]["segments"]) == (58, 3, 1)
    assert (sizes["before"]["removed"], sizes["after"]["removed"]) == (3, 0)
    assert cli.main(["compact", str(folder)]) == 0
    assert "58 items" in capsys.readouterr().out
    assert verify(folder).ok
