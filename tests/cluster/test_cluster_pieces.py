"""What of a build on a cluster can be seen without one: who gets what, what a worker refuses, and what is asked."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import re
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from retrieval import RayCluster
from retrieval.cluster import connection
from retrieval.cluster.connection import Seats, share_out
from retrieval.cluster.refusal import Refusal, releases
from retrieval.cluster.worker import Job, Made, Ready, Worker, _Contents
from retrieval.engines.engine_index import EngineIndex
from retrieval.errors import RetrievalError
from retrieval.index import Index, NewItem
from retrieval.index.gathering import Gathering, StoredRow
from retrieval.index.records import SegmentRecord
from retrieval.ingest import build
from retrieval.ingest.update import Means
from retrieval.places.folder import Folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("pieces") / "pictures", each=3)


@pytest.fixture(scope="module")
def made(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = pictures.parent / "index"
    build(pictures, out, model=tiny.model(tmp_path_factory), threads=1)
    return out


@pytest.fixture
def out(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "index"))


@pytest.fixture
def job(out: Path, pictures: Path) -> Job:
    with Index.open(out) as index:
        return Job(
            folder=out,
            name="index",
            encoder_hash=index.encoder_hash,
            dim=index.dim,
            storage=index.storage,
            decoder=index.decoder,
            root=str(pictures),
            allowed={},
            threads=1,
            batch=None,
            memory=None,
            versions=releases(),
        )


@pytest.mark.parametrize(
    ("nodes", "asked", "threads", "seats"),
    [
        ([(8, 0), (8, 0)], RayCluster(), None, Seats(2, 8, 0)),  # one for each node
        ([(8, 0), (3, 0)], RayCluster(), None, Seats(2, 4, 0)),  # of as many cores together as there can be
        ([(8, 0), (6, 0)], RayCluster(), None, Seats(2, 6, 0)),
        ([(8, 0), (8, 0)], RayCluster(workers=5), None, Seats(5, 2, 0)),  # 3 would leave room for four
        ([(8, 0), (8, 0)], RayCluster(workers=3), 1, Seats(3, 1, 0)),
        ([(0, 0), (4, 0)], RayCluster(), None, Seats(1, 4, 0)),  # a head that only looks after the others
        ([(16, 4), (16, 4), (16, 0)], RayCluster(gpus_per_worker=1), None, Seats(8, 4, 1)),
        ([(16, 1)], RayCluster(gpus_per_worker=0.5), None, Seats(2, 8, 0.5)),
        ([(16, 1)], RayCluster(gpus_per_worker=0.1), None, Seats(10, 1, 0.1)),
    ],
)
def test_seats(nodes: list[tuple[int, float]], asked: RayCluster, threads: int | None, seats: Seats) -> None:
    assert share_out(nodes, asked.workers, asked.gpus_per_worker, threads) == seats


@pytest.mark.parametrize(
    ("nodes", "asked", "threads"),
    [
        ([(2, 0), (2, 0)], RayCluster(workers=5), None),
        ([(2, 0), (2, 0)], RayCluster(), 3),
        ([(2, 0)], RayCluster(gpus_per_worker=1), None),
        ([], RayCluster(), None),
    ],
)
def test_no_room_is_one_sentence(nodes: list[tuple[int, float]], asked: RayCluster, threads: int | None) -> None:
    with pytest.raises(RetrievalError, match=r"^The Ray cluster has room for \d+ workers with [^.]*not for \d+"):
        share_out(nodes, asked.workers, asked.gpus_per_worker, threads)


@pytest.mark.parametrize(
    ("cluster", "sentence"),
    [
        (RayCluster(workers=0), "workers is 0; give a whole number"),
        (RayCluster(gpus_per_worker=-1), "gpus_per_worker is -1; give a share"),
        (RayCluster(gpus_per_worker=1.5), "gpus_per_worker is 1.5; give a share"),
        (RayCluster(gpus_per_worker=float("nan")), "gpus_per_worker is nan; give a share"),
        (RayCluster("somewhere"), "'somewhere' is no address of a Ray cluster; give HOST:PORT"),
        (RayCluster("ray://127.0.0.1:10001"), "is no address of a Ray cluster; give HOST:PORT"),
        (RayCluster("127.0.0.1:99999"), "No Ray cluster can be reached at '127.0.0.1:99999'"),
        (RayCluster("nobody.invalid:6379"), "No Ray cluster can be reached at 'nobody.invalid:6379'"),
    ],
)
def test_what_cannot_be_reached(cluster: RayCluster, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_is_installed", lambda: True)  # nothing here comes as far as Ray
    with pytest.raises(RetrievalError, match=sentence.replace("(", r"\(")):
        cluster.reach()


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_is_installed", lambda: True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(RetrievalError, match=f"No Ray cluster can be reached at '{address}' .*refused"):
            RayCluster(address).reach()


def test_without_ray_the_extra_is_named(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "ray" else find(name, *more))
    with pytest.raises(
        RetrievalError, match=r"^Ray is not installed; install the extra \(pip install 'retrieval\[ray\]'\)"
    ):
        build(pictures, tmp_path / "index", on=RayCluster())
    assert not (tmp_path / "index").exists()


def test_a_database_is_refused(job: Job) -> None:
    index = EngineIndex.__new__(EngineIndex)
    monkey: Any = type("Named", (EngineIndex,), {"name": "postgresql://there/photos"})
    index.__class__ = monkey
    with pytest.raises(RetrievalError, match="is in a database, and a cluster writes folders"):
        RayCluster().encoding(index, Folder(Path(job.root)), Means())


def test_a_worker_writes_what_a_build_does(job: Job, out: Path, pictures: Path) -> None:
    """Also what it knows already, meets twice, and cannot read."""
    paths = [f"{name}/{one}.png" for name in ("cat", "dog") for one in range(3)]
    worker = Worker(job)
    ready = worker.ready()
    assert isinstance(ready, Ready) and ready.runtime == "onnx"
    known = hashlib.sha256((pictures / "dog/2.png").read_bytes()).hexdigest()
    twice = worker.work([*paths, "cat/0.png", "missing.png"], np.array([bytes.fromhex(known[:32])], "S16"))
    assert isinstance(twice, Made) and twice.part is not None
    assert twice.rows == [0, 1, 2, 3, 4, None, None, None]
    assert [getattr(one, "reason", "") for one in twice.pictures] == [""] * 7 + ["no such file"]
    with Index.open(out, write=True) as index:
        before = index.all_vectors()[1].copy()
        assert not (out / twice.part.file).exists(), "a part that nobody took is removed by the next writer"
        part = worker.work(paths, None).part
        rows = [StoredRow(part, row) for row in (5, 0, 1, 1)] + index.stored([0])
        items = [NewItem(f"more/{number}") for number in range(5)]
        new = index.upsert_stored(rows, items, [()] * 5, worker.gather)
        assert new.tolist() == [6, 7, 8, 9, 10]
        assert index.vectors(new).tobytes() == before[[5, 0, 1, 1, 0]].tobytes()
        with pytest.raises(RetrievalError, match="empty path"):
            index.upsert_stored(rows[:1], [NewItem("")], [()], worker.gather)
    assert sorted(file.name for file in (out / "segments").glob("*.h5")) == [
        "00000001.h5",
        "00000002.h5",
    ]


def test_segments_are_merged_by_whoever_gathers(job: Job, out: Path) -> None:
    """What was removed does not come along."""
    worker = Worker(job)
    asked: list[Gathering] = []
    with Index.open(out, write=True) as index:
        index.remove([2])
        before = index.all_vectors()[1].copy()
        part = index.stored([0])[0].record

        def gather(gathering: Gathering) -> SegmentRecord:
            asked.append(gathering)
            found = worker.gather(gathering)
            assert isinstance(found, SegmentRecord)
            return found

        for number in range(20):
            index.upsert_stored([StoredRow(part, 0)], [NewItem(f"more/{number}")], [()], gather)
            part = index.stored([0])[0].record
        assert max(len(one.merged) for one in asked) > 1
        ids, vectors = index.all_vectors()
        assert ids.tolist() == [0, 1, 3, 4, 5, *range(6, 26)]
        assert vectors.tobytes() == np.concatenate([before, before[[0] * 20]]).tobytes()
        assert index.info()["segments"] < 16


def test_what_a_worker_refuses(job: Job, tmp_path: Path) -> None:
    """Where it runs is what is wrong, and another one may do it; but for what is wrong with the work itself."""
    empty = tmp_path / "empty"
    empty.mkdir()
    for changed, here, sentence in (
        ({"folder": tmp_path / "nowhere"}, True, "is not there on the node"),
        ({"root": str(tmp_path / "nowhere")}, True, "of the pictures is not there on the node"),
        ({"root": str(empty)}, True, "or empty; a cluster needs one"),
        (
            {"versions": {**job.versions, "pillow": "1.0"}},
            True,
            "has pillow .*, and the machine that asks 1.0; install the same",
        ),
        ({"versions": {}}, True, "and the machine that asks none; install the same"),
        ({"encoder_hash": "0" * 64}, False, "is not the one that it was built with"),
        ({"memory": 10**6}, False, "The memory of 1.0 MB is too little"),
    ):
        said = Worker(dataclasses.replace(job, **changed)).ready()
        assert isinstance(said, Refusal) and said.here is here, changed
        assert re.search(sentence, said.reason), said.reason


def test_pictures_that_vanish_are_no_pictures_that_are_gone(job: Job, tmp_path: Path) -> None:
    """A disk that a node lost in the middle would have a sync take everything out."""
    root = tiny.folder(tmp_path / "pictures", each=1)
    worker = Worker(dataclasses.replace(job, root=str(root)))
    assert isinstance(worker.ready(), Ready)
    root.rename(tmp_path / "elsewhere")
    said = worker.work(["cat/0.png"], None)
    assert isinstance(said, Refusal) and said.here


def test_contents_are_found_whatever_their_bytes() -> None:
    """Also those whose digests begin alike, or end in zeros, which NumPy does not keep."""
    halves = [b"\x01" + bytes(15), b"\x01" * 15 + b"\x00", b"\xff" * 16, bytes(16)]
    contents = _Contents(np.sort(np.array(halves, "S16")))
    for half in halves:
        assert not contents.claim(half.hex() + "00" * 16)
    other = (b"\x01" * 16).hex() + "00" * 16
    assert contents.claim(other) and not contents.claim(other)
    assert _Contents(None).claim(other)
