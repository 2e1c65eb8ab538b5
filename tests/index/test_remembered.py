"""Items that are kept for whoever asks again: never those of another generation, and never too many."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from vectors import unit

from retrieval.errors import RetrievalError
from retrieval.index import Index, NewItem
from retrieval.index.records import Item
from retrieval.index.remembered import Remembered

ANOTHER_PROCESS = """
import sys
import numpy as np
from retrieval.index import Index, NewItem
with Index.open(sys.argv[1], write=True) as index:
    index.upsert(np.eye(4, dtype=np.float32)[:1], [NewItem("a.png", "new", sha256="other")])
    index.remove([1])
"""


def item(id_: int) -> Item:
    return Item(id_, f"{id_}.png", None, 0, 0, 0, 0, f"{id_}")


def test_no_more_than_so_many_are_kept() -> None:
    some = Remembered(3)
    both = {id_: item(id_) for id_ in (1, 2)}
    assert some.keep(both) is some.by_id
    old = some.by_id
    assert some.keep({3: item(3), 4: item(4)}) is some.by_id is not old
    assert sorted(some.by_id) == [3, 4] and sorted(some.by_path) == ["3.png", "4.png"]
    assert sorted(old) == [1, 2]  # who has it goes on reading it
    many = {id_: item(id_) for id_ in range(9)}
    assert some.keep(many) is many and sorted(some.by_id) == [3, 4]
    for place in range(50):
        some.keep_alike(f"{place}", [item(place)] * (place % 3))
        assert sum(len(found) + 1 for found in some.alike.values()) <= 3
    some.keep_alike("many", [item(1)] * 4)
    assert "many" not in some.alike


def test_who_reads_sees_one_state_and_who_opens_anew_the_next(tmp_path: Path) -> None:
    with Index.create(tmp_path / "index", 4, root="", encoder_hash="", details={}) as index:
        index.add(unit(3, 4), [NewItem(f"{name}.png", "old", sha256="same") for name in "abc"])
    with Index.open(tmp_path / "index") as index:

        def seen(index: Index) -> tuple[object, ...]:
            found, gone = index.find("a.png"), index.find("b.png")
            alike = [(one.id, one.path) for one in index.find_sha256("same")]
            return found and (found.id, found.label), gone and gone.id, alike, index.find_sha256("other") == []

        before = (0, "old"), 1, [(0, "a.png"), (1, "b.png"), (2, "c.png")], True
        assert seen(index) == before == seen(index)
        subprocess.run([sys.executable, "-c", ANOTHER_PROCESS, str(tmp_path / "index")], check=True)
        assert seen(index) == before
        with index.renewed() as renewed:
            for _ in range(2):
                assert seen(renewed) == ((3, "new"), None, [(2, "c.png")], False)
        assert seen(index) == before


def test_who_writes_sees_what_was_written(tmp_path: Path) -> None:
    with Index.create(tmp_path / "index", 4, root="", encoder_hash="", details={}) as index:
        index.add(unit(2, 4), [NewItem("a.png", "old", sha256="1"), NewItem("b.png", sha256="1")])
        assert index.find("a.png").label == "old" and len(index.find_sha256("1")) == 2
        index.upsert(unit(1, 4), [NewItem("a.png", "new", sha256="2")])
        assert index.find("a.png").label == "new" and [one.id for one in index.find_sha256("1")] == [1]
        index.remove([1])
        assert index.find("b.png") is None and index.find_sha256("1") == []


def test_contents_of_one_item_are_known_once_many_were_asked_for(tmp_path: Path, monkeypatch) -> None:
    contents = [f"{row}" for row in range(200)] + ["7", "9", "9"]
    items = [NewItem(f"{row}.png", sha256=sha256) for row, sha256 in enumerate(contents)]
    with Index.create(tmp_path / "index", 4, root="", encoder_hash="", details={}) as index:
        index.add(unit(len(items), 4), items)
        index.upsert(unit(1, 4), [NewItem("11.png", sha256="12")])  # 12 becomes that of two, and 11 of none
        expected = {}
        for row, sha256 in enumerate(contents):
            expected.setdefault(sha256, []).append(row)
        expected["11"], expected["12"] = [], [12, len(contents)]
    with Index.open(tmp_path / "index") as index:
        index.items(index.ids())
        asked = []
        ask = index._catalog.all
        monkeypatch.setattr(index._catalog, "all", lambda sql, **values: asked.append(sql) or ask(sql, **values))
        for _ in range(2):
            for sha256, ids in expected.items():
                assert [one.id for one in index.find_sha256(sha256)] == ids, sha256
        assert len(asked) < 20  # a few before they are looked at, the look itself, and those that several have


def test_what_is_closed_tells_nothing(tmp_path: Path) -> None:
    with Index.create(tmp_path / "index", 4, root="", encoder_hash="", details={}) as index:
        index.add(unit(1, 4), [NewItem("a.png", sha256="1")])
        index.find("a.png"), index.find_sha256("1"), index.find_sha256("2")
    for ask in (lambda: index.find("a.png"), lambda: index.find_sha256("1")):
        with pytest.raises(RetrievalError, match="was closed; open it again"):
            ask()
