"""Writers at work beside the service: everything is picked up, no request is dropped, no answer is of two states."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from served import Served, serving, until

from retrieval.errors import RetrievalError
from retrieval.index import Index, NewItem
from retrieval.ingest import build
from retrieval.search.search import Search
from retrieval.service import collections
from retrieval.service.collections import Collection
from retrieval.service.server import Server
from retrieval.service.settings import Settings

DIM = 16


def unit(seed: int, count: int) -> Any:
    rows = np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def made(folder: Path, seed: int, count: int = 200) -> Path:
    """An index of vectors without files."""
    with Index.create(folder, DIM, root=str(folder), encoder_hash="imported:x", details={}) as index:
        index.add(unit(seed, count), [NewItem(f"{seed}/{number}", label=str(seed)) for number in range(count)])
    return folder


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return made(tmp_path / "index", 1)


class Asking:
    """Threads that ask all the while, and what they were answered."""

    def __init__(self, service: Served, threads: int = 4) -> None:
        self._service = service
        self._stop = threading.Event()
        self.wrong: list[object] = []
        self.generations: set[int] = set()
        self.count = 0
        self._threads = [threading.Thread(target=self._run, args=(one,)) for one in range(threads)]

    def __enter__(self) -> Asking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        vector = unit(100 + number, 1)[0].tolist()
        while not self._stop.is_set():
            try:
                said = self._service("POST", "/search", {"vector": vector, "k": 5})
            except OSError as error:
                self.wrong.append(error)
                continue
            if said.status != 200 or len(said.json["hits"]) != 5:
                self.wrong.append(said)
                continue
            self.generations.add(said.json["generation"])
            labels = {hit["label"] for hit in said.json["hits"]}
            if len(labels) != 1:  # every state that there ever is has one label
                self.wrong.append(said)
            self.count += 1


def test_what_a_writer_commits_is_seen_and_nothing_is_dropped(index: Path) -> None:
    with serving(index) as service, Asking(service) as asking:
        for _ in range(5):
            with Index.open(index, write=True) as opened:
                ids = opened.add(unit(7, 20), [NewItem(f"new/{one}", label="1") for one in range(20)])
            until(lambda now=opened.generation: service("GET", "/info").json["indexes"][0]["generation"] == now)
            with Index.open(index, write=True) as opened:
                opened.remove(ids.tolist())
                opened.compact()
            until(lambda now=opened.generation: service("GET", "/info").json["indexes"][0]["generation"] == now)
    assert asking.wrong == []
    assert len(asking.generations) >= 10
    assert asking.count > 20


def test_a_whole_new_index_in_the_same_place(index: Path, tmp_path: Path) -> None:
    with serving(index) as service, Asking(service) as asking:
        for seed in (2, 3, 4):
            made(tmp_path / "next", seed)
            index.rename(tmp_path / "old")
            (tmp_path / "next").rename(index)
            shutil.rmtree(tmp_path / "old")
            until(lambda seed=seed: service("GET", "/items?k=1").json["items"][0]["label"] == str(seed))
    assert asking.wrong == []


def test_an_index_that_is_taken_away_is_answered_from_all_the_same(index: Path, tmp_path: Path) -> None:
    with serving(index) as service:
        vector = unit(5, 1)[0].tolist()
        before = service("POST", "/search", {"vector": vector}).json
        index.rename(tmp_path / "old")  # at once, or SQLite may begin a file meanwhile
        shutil.rmtree(tmp_path / "old")
        threading.Event().wait(0.6)
        assert service("POST", "/search", {"vector": vector}).json == before


def test_old_files_are_let_go(index: Path) -> None:
    """No generation's vectors but the last one's are held open once nobody asks for them."""

    def held() -> set[str]:
        found = set()
        for file in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):  # the folder that is being read
                if file.readlink().is_relative_to(index):
                    found.add(file.readlink().name.removesuffix(" (deleted)"))
        return found

    def compacted() -> None:
        with Index.open(index, write=True) as opened:
            opened.remove([int(opened.ids()[0])])
            opened.compact()

    collection = Collection("index", index)
    collection.refresh()
    with collection.lease() as first:
        compacted()
        collection.refresh()
        with collection.lease() as second:
            assert second.index.generation > first.index.generation
            assert first.query_ids([0], 3)[0].hits  # goes on with what it has
        assert len([name for name in held() if name.endswith(".h5")]) == 2
    del first, second
    for _ in range(3):
        compacted()
        collection.refresh()
    (last,) = (index / "segments").iterdir()
    assert {name for name in held() if name.endswith(".h5")} == {last.name}
    collection.close()
    assert held() == set()


def test_a_renewed_search_has_no_vector_twice(index: Path) -> None:
    with Search.open(index) as search:
        search.query_ids([0], 3)
        with Index.open(index, write=True) as opened:
            opened.remove([5])
        renewed = search.renewed()
        assert renewed is not None
        with renewed:
            assert len(renewed.index) == 199
            with Search.open(index) as fresh:
                assert renewed.query_ids([0], 10)[0].hits == fresh.query_ids([0], 10)[0].hits
            mine, theirs = renewed.index._now.live_rows()[0].arrays, search.index._now.live_rows()[0].arrays
            assert all(map(np.shares_memory, mine, theirs))


KILLED = """
import sys, numpy as np
from retrieval.index import Index, NewItem
rows = np.eye(16, dtype=np.float32)
number = 0
while True:
    with Index.open(sys.argv[1], write=True) as index:
        ids = index.add(rows, [NewItem(f"k/{sys.argv[2]}/{number}/{one}", label="1") for one in range(16)])
        index.remove(ids.tolist())
    number += 1
    print(number, flush=True)
"""


def test_a_writer_that_is_killed(index: Path, long: bool) -> None:
    with serving(index) as service, Asking(service, 2) as asking:
        for number in range(20 if long else 3):
            writer = subprocess.Popen(
                [sys.executable, "-c", KILLED, str(index), str(number)], stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )  # fmt: skip
            assert writer.stdout is not None
            for _ in range(2 + number):
                writer.stdout.readline()
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            writer.stdout.close()
        with Index.open(index, write=True) as opened:
            opened.remove([1])
        until(lambda: service("GET", "/info").json["indexes"][0]["generation"] == opened.generation)
    assert asking.wrong == []


# Folders that are made into an index


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_is_built_and_answers_meanwhile(
    here: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retrieval import ingest

    pictures = tiny.folder(here / "pictures", each=3)
    go = threading.Event()
    model = tiny.model(tmp_path_factory)

    def slowly(root: Path, out: Path, **options: object) -> None:
        go.wait(60)
        build(root, out, model=model, threads=1)

    monkeypatch.setattr(ingest, "build", slowly)
    with serving(pictures) as service:
        status, detail = service.problem("POST", "/search", {"like": ["id:0"]})
        assert (status, "being made" in detail) == (503, True)
        assert service("POST", "/search", {"like": ["id:0"]}).headers["retry-after"] == "2"
        assert service.problem("GET", "/readyz")[0] == 503
        assert service("GET", "/healthz").status == 200
        (told,) = service("GET", "/info").json["indexes"]
        assert (told["name"], told["items"], told["building"]["done"]) == ("pictures", 0, 0)
        go.set()
        until(lambda: service("GET", "/info").json["indexes"][0]["building"] is None)
        until(lambda: service("GET", "/items").json.get("total") == 6)
        assert service("GET", "/readyz").status == 200
    assert (here / "indexes" / "pictures" / "catalog.sqlite").exists()


def test_a_folder_is_not_taken_for_another_of_its_name(here: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    first = tiny.folder(here / "a" / "photos", each=2)
    second = tiny.folder(here / "b" / "photos", each=2)
    build(first, here / "indexes" / "photos", model=tiny.model(tmp_path_factory), threads=1)
    with pytest.raises(RetrievalError, match="is an index of"):
        Server([second], Settings(port=0))
    with serving(first) as service:
        until(lambda: service("GET", "/info").json["indexes"][0]["building"] is None)
        assert service("GET", "/items").json["total"] == 4


def test_a_folder_without_pictures_says_so_and_takes_in_what_comes(
    here: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retrieval import ingest

    model = tiny.model(tmp_path_factory)
    monkeypatch.setattr(ingest, "build", lambda root, out, **_: build(root, out, model=model, threads=1))
    monkeypatch.setattr(collections, "ARRIVING", 0.05)
    (here / "empty").mkdir()
    with serving(here / "empty") as service:
        until(lambda: service("GET", "/info").json["indexes"][0]["building"]["error"])
        status, detail = service.problem("GET", "/items")
        assert (status, "There is no picture" in detail, str(here) in detail) == (503, True, False)
        tiny.picture(1).save(here / "empty" / "first.png")
        until(lambda: service("GET", "/items").json.get("total") == 1)
        until(lambda: service("GET", "/info").json["indexes"][0]["building"] is None)
