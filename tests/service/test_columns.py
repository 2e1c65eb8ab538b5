"""What all pictures have under a name: read at once as one by one, sorted as it was, beside whoever asks meanwhile."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from served import serving

from retrieval.index import Index, NewItem
from retrieval.index.records import order_of
from retrieval.search import paging
from retrieval.search.facets import facets
from retrieval.service.listing import Order

DIM = 8
DRAW = np.random.default_rng(0)
MOMENTS = [f"20{DRAW.integers(10, 25)}-0{DRAW.integers(1, 9)}-1{DRAW.integers(0, 9)}T10:00:00" for _ in range(300)]
VALUES: list[Any] = [None, 3, 3.0, -1.5, 2**40, 1e-9, 0.1 + 0.2, "", "a", "ä", "\U0001f600", "a,b", '"', "2019-05-01"]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index with all kinds of values, of which some items have gone, and some were changed."""
    folder = tmp_path_factory.mktemp("many") / "index"
    rows = DRAW.normal(size=(300, DIM)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    places = ["", "a/", "a/b/", "/abs/", "a,b/", "x//"]
    with Index.create(folder, DIM, root=str(folder), encoder_hash="imported:x", details={}) as index:
        items = [
            NewItem(f"{places[n % 6]}{n}.jpg", label=[None, "b", "a", ""][n % 4], width=n % 7, mtime_ns=n * 10**15)
            for n in range(300)
        ]
        mixed = [{"mixed": VALUES[n % len(VALUES)], "taken": MOMENTS[n] if n % 3 else None} for n in range(300)]
        index.add(rows, items, mixed)
        index.remove([5, 17, 200])
        index.update({8: NewItem("a/new.jpg", label="c")})
        index.attach({9: {"mixed": "z", "taken": None}, 10: {"mixed": None}})
    return folder


@pytest.mark.parametrize("name", ["label", "path", "folder", "width", "modified", "size", "id", "mixed", "taken"])
def test_a_column_is_what_each_has(many: Path, name: str) -> None:
    with Index.open(many) as index:
        found = index.column(name)
        assert [None if code < 0 else found.values[code] for code in found.codes] == index.values(name, index.ids())
        assert found.values == sorted(set(found.values), key=order_of)


def test_what_a_filter_lets_through_is_counted_as_one_by_one(many: Path, tmp_path: Path) -> None:
    where = 'mixed is present and label != "b"'
    with serving(many, cache=tmp_path) as service, Index.open(many) as index:
        for filter_, ids in (("", None), (where, index.select(where))):
            told = service("GET", "/facets?filter=" + filter_.replace(" ", "%20").replace('"', "%22")).json
            assert told["facets"] == [one.to_json() for one in facets(index, ids)]


@pytest.mark.parametrize(
    "sort", ["mixed", "mixed:desc", "taken", "taken:desc", "label", "path:desc", "id:desc", "score"]
)
def test_pages_have_everything_once_and_in_order(many: Path, tmp_path: Path, sort: str) -> None:
    with serving(many, cache=tmp_path) as service, Index.open(many) as index:
        found, cursor = [], ""
        while cursor is not None:
            page = service("GET", f"/items?k=37&sort={sort}&cursor={cursor}").json
            found += [item["id"] for item in page["items"]]
            cursor = page["cursor"]
        ids = index.ids().tolist()
        values = dict(zip(ids, index.values(sort.partition(":")[0], ids), strict=True))
        there = [id_ for id_ in ids if values[id_] is not None]
        there.sort(key=lambda id_: order_of(values[id_]), reverse=sort.endswith("desc"))
        assert found == there + [id_ for id_ in ids if values[id_] is None]


@pytest.mark.parametrize("descends", [False, True])
def test_a_page_begins_behind_what_has_gone(descends: bool) -> None:
    """Behind a place that is nobody's any more comes what came behind it."""
    values = [1, 2.5, "a", "c"]
    codes = DRAW.integers(-1, 4, 60).astype(np.int32)
    all_ = np.arange(0, 120, 2)
    whole = Order.of(all_, codes, values, descends=descends)
    for gone in range(60):
        kept = np.arange(60) != np.flatnonzero(all_ == whole.ids[gone])[0]
        used = [value for at, value in enumerate(values) if at in codes[kept]]
        places = np.array([used.index(values[code]) if code >= 0 else -1 for code in codes[kept]], np.int32)
        order = Order.of(all_[kept], places, used, descends=descends)
        start = order.behind(paging.Cursor("0" * 16, 0.0, int(whole.ids[gone]), 1, whole.value(gone)))
        assert order.ids[start:].tolist() == whole.ids[gone + 1 :].tolist()
        assert whole.ids[
            whole.behind(paging.Cursor("", 0.0, int(whole.ids[gone]), 1, whole.value(gone))) :
        ].tolist() == (whole.ids[gone + 1 :].tolist())


BOTH = """
import sys, threading, time
from retrieval.index import Index
with Index.open(sys.argv[1]) as index:
    end = time.monotonic() + 1
    def filtered():
        while time.monotonic() < end:
            index.select("taken >= 2012-01-01 or taken < 2011-05-01")
    other = threading.Thread(target=filtered)
    other.start()
    while time.monotonic() < end:
        index.items([int(end * 1e6) % 7 + 20]); index.attributes([21, 22])
    other.join()
print("both ended")
"""


def test_two_threads_on_one_catalog_do_not_wait_for_each_other_for_ever(many: Path) -> None:
    """A filter by dates calls Python from within SQLite while another thread asks SQLite for something."""
    done = subprocess.run([sys.executable, "-c", BOTH, many], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "both ended\n", done.stderr


def test_what_takes_long_holds_nobody_up(many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a filter is worked out, others are answered, also those who ask with none."""
    go, select = threading.Event(), Index.select

    def slowly(self: Index, where: str) -> Any:
        go.wait(30)
        return select(self, where)

    with serving(many, cache=tmp_path) as service:
        monkeypatch.setattr(Index, "select", slowly)
        waiting = [
            threading.Thread(target=service, args=args)
            for args in (
                ("GET", "/items?filter=width%20=%203"),
                ("POST", "/search?filter=width%20=%202", {"like": ["id:3"]}),
            )
        ]
        for one in waiting:
            one.start()
        assert service("POST", "/search", {"like": ["id:3"]}).status == 200
        assert service("GET", "/items?k=3").status == 200
        assert all(one.is_alive() for one in waiting)
        go.set()
        for one in waiting:
            one.join()
