"""Builds on a cluster of two nodes: item for item what one machine makes, whatever is killed meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
from compared import everything
from PIL import Image
from ray_nodes import RayNodes

from retrieval import HeadRecipe, RayCluster, map_index, train_head
from retrieval.base import progress
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.ingest import add_pictures, build, sync

BATCH = 4
EACH = 100


@pytest.fixture(scope="module")
def model(cluster_or_none: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory)


@pytest.fixture(scope="module")
def cluster_or_none(nodes: RayNodes) -> RayNodes:
    """Nothing is made for tests that are skipped."""
    return nodes


@pytest.fixture(scope="module")
def pictures(cluster_or_none: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes; one content under several names, near and far; files that cannot be read, and one of them twice."""
    root = tiny.folder(tmp_path_factory.mktemp("cluster") / "pictures", each=EACH)
    for place in ("cat/0copy.png", "dog/copy.png", "dog/zcopy.png"):
        shutil.copy(root / "cat" / "0.png", root / place)
    for place in ("cat/000.png", "cat/001.png", "dog/zz.png"):
        (root / place).write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (root / "dog" / "empty.png").write_bytes(b"")
    exif = Image.Exif()
    exif[0x0110] = "Box 3"
    tiny.picture(7).save(root / "dog" / "camera.jpg", exif=exif)
    return root


@pytest.fixture(scope="module")
def alone(pictures: Path, model: Path) -> Callable[[str], dict[str, Any]]:
    """What one machine makes of them, in each kind of vectors."""
    made: dict[str, dict[str, Any]] = {}

    def of(vectors: str) -> dict[str, Any]:
        if vectors not in made:
            out = pictures.parent / vectors
            build(pictures, out, model=model, vectors=vectors, threads=1, batch=BATCH)
            made[vectors] = everything(out)
        return made[vectors]

    return of


def once_at(count: int, act: Callable[[], None]) -> Any:
    """Does something when so many pictures are done, but not all."""
    done = threading.Event()

    def listen(what: str, so_far: int, total: int | None) -> None:
        if what == "Indexing" and total is not None and count <= so_far < total and not done.is_set():
            done.set()
            act()

    return done, progress.told_to(listen)


def command(*arguments: object) -> subprocess.Popen[str]:
    """A verb in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen(
        [sys.executable, "-m", "retrieval", *map(str, arguments)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_as_one_machine(cluster: RayNodes, pictures: Path, model: Path, alone: Any, tmp_path: Path) -> None:
    out = tmp_path / "index"
    verb = command(
        "build", pictures, "--model", model, "--out", out, "--ray", cluster.address, "--workers", 2, "--batch", BATCH,
        "--memory", "2GB", "--json",
    )  # fmt: skip
    said, told = verb.communicate(timeout=120)
    assert verb.returncode == 0, told
    report = json.loads(said)
    assert (report["added"], report["copied"], len(report["skipped"])) == (2 * EACH + 4, 3, 4)
    assert everything(out) == alone("float32")
    again = build(pictures, out, on=RayCluster(cluster.address))
    assert not again.changed and again.kept == report["total"] and again.runtime is None


def test_a_worker_is_killed(
    cluster: RayNodes,
    pictures: Path,
    model: Path,
    alone: Any,
    many_tasks: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is stopped first, so that it is lost in the middle of a task; the rest of its work goes to others."""
    earlier = cluster.workers()  # of a build before, which may take a while to end

    def kill() -> None:
        victim = next(worker for worker in cluster.workers() if worker not in earlier)
        os.kill(victim, signal.SIGSTOP)
        threading.Timer(0.5, os.kill, (victim, signal.SIGKILL)).start()

    done, listening = once_at(4 * BATCH, kill)
    with listening:
        build(
            pictures, tmp_path / "index", model=model, vectors="float16", batch=BATCH, on=RayCluster(cluster.address, 2)
        )
    assert done.is_set()
    told = capsys.readouterr()
    assert "a worker of the cluster was lost; 8 pictures, from " in told.err
    assert told.out == ""  # where results go
    assert everything(tmp_path / "index") == alone("float16")
    with Index.open(tmp_path / "index") as index:
        assert 1 < index.info()["segments"] < 16, "commits were many, and merged"


def test_a_node_is_killed(
    cluster: RayNodes, pictures: Path, model: Path, alone: Any, many_tasks: None, tmp_path: Path
) -> None:
    done, listening = once_at(2 * BATCH, cluster.kill_other)
    with listening:
        build(
            pictures,
            tmp_path / "index",
            model=model,
            vectors="binary",
            batch=BATCH,
            on=RayCluster(cluster.address, 2, 0),
        )
    assert done.is_set()
    assert everything(tmp_path / "index") == alone("binary")


def test_the_driver_is_killed(cluster: RayNodes, pictures: Path, model: Path, alone: Any, tmp_path: Path) -> None:
    """With it go the workers; what it committed stays, and the same command goes on behind it."""
    out = tmp_path / "index"
    arguments = (
        "build", pictures, "--model", model, "--out", out, "--ray", cluster.address, "--threads", 1, "--batch", BATCH,
    )  # fmt: skip
    first = subprocess.Popen(
        [sys.executable, "-c", DRIVER, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}, stderr=subprocess.PIPE,
    )  # fmt: skip
    until = time.monotonic() + 60
    while first.poll() is None and time.monotonic() < until and _committed(out) < 5 * BATCH:
        time.sleep(0.01)
    first.kill()
    assert first.wait() == -signal.SIGKILL, first.stderr and first.stderr.read()
    before = _committed(out)
    assert 0 < before < 2 * EACH
    report = build(pictures, out, batch=BATCH, on=RayCluster(cluster.address, 2))
    assert report.added + report.kept == report.total == 2 * EACH + 4 and report.kept >= before
    assert everything(out) == alone("float32")


DRIVER = """
import sys, time
from retrieval.cli import main
from retrieval.cluster import cluster_encoding
from retrieval.ingest import encode_new
cluster_encoding.PICTURES, encode_new.COMMIT_SECONDS = 8, 0.0
put = cluster_encoding.ClusterEncoding.put
cluster_encoding.ClusterEncoding.put = lambda *given: (time.sleep(0.2), put(*given))
main(sys.argv[1:])
"""
"""A build that commits often, and slowly enough to be met in the middle."""


def _committed(out: Path) -> int:
    try:
        with Index.open(out) as index:
            return len(index)
    except RetrievalError:
        return 0


def test_sync_and_add(cluster: RayNodes, model: Path, tmp_path: Path) -> None:
    """New, changed, renamed, touched, exchanged and deleted pictures, and one from elsewhere."""
    root = tiny.folder(tmp_path / "pictures", each=12)
    on = RayCluster(cluster.address, 2, 0)
    ends = []
    for name in ("alone", "many"):
        build(root, tmp_path / name, model=model, batch=BATCH)
    tiny.picture(900).save(root / "cat" / "new.png")
    tiny.picture(901).save(root / "cat" / "1.png")
    shutil.copy(root / "dog" / "5.png", root / "dog" / "like5.png")
    (root / "cat" / "2.png").rename(root / "dog" / "from_cat.png")
    (root / "dog" / "3.png").unlink()
    os.utime(root / "dog" / "4.png")
    one, other = (root / "dog" / name for name in ("6.png", "7.png"))
    contents = one.read_bytes(), other.read_bytes()
    one.write_bytes(contents[1])
    other.write_bytes(contents[0])
    tiny.picture(902).save(tmp_path / "elsewhere.png")
    for name, means in (("alone", {}), ("many", {"on": on})):
        report = sync(tmp_path / name, batch=BATCH, **means)
        more = add_pictures(tmp_path / name, [tmp_path / "elsewhere.png"], batch=BATCH, **means)
        ends.append([{**one.to_json(), "index": 0, "seconds": 0, "encode_seconds": 0, "pictures_per_second": 0}
                     for one in (report, more)])  # fmt: skip
    assert ends[0] == ends[1]
    assert ends[0][0]["replaced"] == 1 and ends[0][0]["renamed"] == 3 and ends[0][0]["copied"] == 1
    assert everything(tmp_path / "alone") == everything(tmp_path / "many")


def test_too_little_memory_is_one_sentence(cluster: RayNodes, pictures: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(RetrievalError, match=r"^The memory of 50.0 MB is too little for a build with this encoder"):
        build(pictures, tmp_path / "index", model=model, memory=50 * 10**6, on=RayCluster(cluster.address))
    assert not (tmp_path / "index").exists()


def test_a_head_maps_vectors(cluster: RayNodes, pictures: Path, alone: Any, tmp_path: Path) -> None:
    """A worker a segment; the head as well as the index's vectors come from the shared folder."""
    alone("float32")
    index = Path(shutil.copytree(pictures.parent / "float32", tmp_path / "index"))
    tiny.picture(903).save(tmp_path / "elsewhere.png")
    add_pictures(index, [tmp_path / "elsewhere.png"], batch=BATCH)  # another segment
    with Index.open(index, write=True) as opened:
        opened.remove([3])
    train_head(index, tmp_path / "head", HeadRecipe())
    for name, means in (("here", {}), ("there", {"on": RayCluster(cluster.address, 2)})):
        assert map_index(index, tmp_path / name, model=tmp_path / "head", **means) == 2 * EACH + 4
    assert everything(tmp_path / "here") == everything(tmp_path / "there")
