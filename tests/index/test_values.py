"""Values of items under a name, and how many have each: against what was put in, of few items and of many."""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from vectors import unit

from retrieval.errors import RetrievalError
from retrieval.index import Index, NewItem

N = 400
NAMES = ("id", "path", "label", "width", "size", "modified", "folder", "iso", "camera", "odd`name", "nothing")


def filled(folder: Path) -> tuple[Index, dict[int, dict[str, object]]]:
    """Items with and without labels, at the top and in folders, changed and removed since; and what each has."""
    index = Index.create(folder, 8, root="", encoder_hash="", details={})
    places = ["", "a/", "a/b/", "/elsewhere/"]
    items = [
        NewItem(f"{places[n % 4]}{n}.png", f"c{n % 5}" if n % 7 else None, n % 3, 1, n, n * 10**9) for n in range(N)
    ]
    index.add(unit(N, 8), items)
    values = {
        n: {"iso": n % 6 / 2 if n % 3 else str(n % 2), "camera": f"x{n % 4}", "odd`name": n} for n in range(0, N, 2)
    }
    index.attach({**values, 4: {"iso": 99}})
    index.attach(values)
    index.update({n: NewItem(f"moved/{n}.png", "moved", 7, 1, n, n) for n in range(0, 60, 3)})
    index.remove(range(10, 40, 5))
    known: dict[int, dict[str, object]] = {}
    for item, attributes in zip(index.items(index.ids()), index.attributes(index.ids()), strict=True):
        own = {"id": item.id, "path": item.path, "label": item.label, "width": item.width, "size": item.size}
        parent = item.path.rpartition("/")[0]
        known[item.id] = {**own, "modified": item.mtime_ns, "folder": parent, **attributes}
    return index, known


@pytest.mark.parametrize("count", [0, 1, 9, 350])
def test_values_and_counts_are_those_of_the_items(tmp_path: Path, count: int) -> None:
    writer, known = filled(tmp_path / "index")
    ids = np.random.default_rng(count).permutation(sorted(known))[:count]
    with writer, Index.open(tmp_path / "index") as reader:
        for index in (writer, reader):
            for name in NAMES:
                assert index.values(name, ids) == [known[id_].get(name) for id_ in ids.tolist()]
            found = index.counts(NAMES, ids)
            assert list(found) == list(NAMES)
            for name, counts in found.items():
                expected = Counter(known[id_].get(name) for id_ in ids.tolist())
                if name in ("iso", "camera", "odd`name", "nothing"):
                    expected.pop(None, None)
                assert counts == dict(expected), name


def test_all_are_counted_where_no_ids_are_given(tmp_path: Path) -> None:
    index, known = filled(tmp_path / "index")
    with index:
        everything = index.counts(NAMES, sorted(known))
        assert index.counts(NAMES) == everything
        assert sum(everything["label"].values()) == len(known)


def test_a_reader_counts_what_it_sees(tmp_path: Path) -> None:
    writer, known = filled(tmp_path / "index")
    with writer, Index.open(tmp_path / "index") as reader:
        before = reader.counts(NAMES)
        writer.attach({0: {"iso": 7}, 399: {"camera": "new"}})
        writer.remove([2, 4])
        assert reader.counts(NAMES) == before
        assert writer.counts(NAMES)["camera"]["new"] == 1
        assert reader.values("camera", [399, 2]) == [None, known[2]["camera"]]


@pytest.mark.parametrize("value", [b"\xff", float("inf")])
def test_what_no_attribute_can_be_is_told_as_damage(tmp_path: Path, value: object) -> None:
    filled(tmp_path / "index")[0].close()
    with sqlite3.connect(tmp_path / "index/catalog.sqlite") as connection:
        connection.execute("UPDATE attributes SET value = ? WHERE item = 0 AND name = 'camera'", (value,))
    connection.close()
    with Index.open(tmp_path / "index") as index:
        for ask in (lambda: index.values("camera", [0]), lambda: index.counts(["camera"])):
            with pytest.raises(RetrievalError, match="cannot be used"):
                ask()
