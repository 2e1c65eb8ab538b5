"""Heads that learn from a labelled set which a cluster encodes: vector for vector what one machine makes."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from ray_nodes import RayNodes
from test_cluster_build import command

from retrieval import HeadRecipe, RayCluster, train_head
from retrieval.base import progress
from retrieval.base.npy import mapped
from retrieval.cli import main
from retrieval.cluster import set_encoding
from retrieval.cluster.refusal import Refusal, releases
from retrieval.cluster.set_worker import SetJob, SetWorker, Some
from retrieval.datasets import PictureSet, load
from retrieval.encoder import Encoder, encoder, file_encoding
from retrieval.errors import RetrievalError
from retrieval.ingest import build

BATCH = 4
RECIPE = {"shrinkage": 0.5, "mix": 0.5}
"""Of which nothing need be chosen, which would take longer than all else."""


@pytest.fixture
def model(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(encoder, "compare", tiny.only_vectors)
    return tiny.model(tmp_path_factory)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three classes, of which some ask; one content twice, files that cannot be read, and one that leads nowhere."""
    root = tmp_path / "set"
    tiny.folder(root / "train", ("cat", "dog", "eel"), each=30)
    tiny.folder(root / "val", ("cat", "dog"), each=6)
    tiny.folder(root / "test", ("cat", "dog"), each=3)
    shutil.copy(root / "train/cat/0.png", root / "train/dog/copy.png")
    for place in ("train/cat/000.png", "val/dog/zz.png"):
        (root / place).write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    rows = [f"{path.relative_to(tmp_path)},{path.parts[-2]},{path.parts[-3]}" for path in sorted(root.rglob("*.png"))]
    rows.insert(5, "set/train/cat/gone.png,cat,train")
    (tmp_path / "list.csv").write_text("path,label,split\n" + "\n".join(rows) + "\n")
    return tmp_path / "list.csv"


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here as on the cluster, which makes the batches that this machine would make; and a task of each two."""
    monkeypatch.setattr(file_encoding, "PICTURES_A_BATCH", BATCH)
    monkeypatch.setattr(set_encoding, "PICTURES", 2 * BATCH)
    monkeypatch.setattr(set_encoding, "TASKS", 1)


def all_of(run: Path) -> dict[str, Any]:
    """What a training leaves behind."""
    assert not (run / "parts").exists()
    return {
        "vectors": (run / "vectors.npy").read_bytes(),
        "about": json.loads((run / "vectors.json").read_text()),
        "gain": (run / "gain.json").read_bytes(),
        "encoder": Encoder.load(run).hash,
    }


def test_as_one_machine(
    cluster: RayNodes,
    pictures: Path,
    model: Path,
    small_batches: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Although all workers are killed in the middle."""
    recipe, done = HeadRecipe(on=str(model), **RECIPE), threading.Event()
    train_head(pictures, tmp_path / "alone", recipe)

    def kill(what: str, so_far: int, total: int | None) -> None:
        if what == "Encoding pictures" and so_far >= 2 * BATCH and not done.is_set():
            done.set()
            for worker in cluster.workers("SetWorker"):
                os.kill(worker, signal.SIGKILL)

    with progress.told_to(kill):
        train_head(pictures, tmp_path / "many", recipe, on=RayCluster(cluster.address, 2))
    assert done.is_set() and "a worker of the cluster was lost; 8 pictures, from " in capsys.readouterr().err
    assert all_of(tmp_path / "many") == all_of(tmp_path / "alone")
    assert len(mapped(tmp_path / "many" / "vectors.npy")) == 90 + 12 + 1


def test_a_training_that_was_killed_goes_on(
    cluster: RayNodes, pictures: Path, model: Path, small_batches: None, tmp_path: Path
) -> None:
    """What was encoded is not encoded again, unless it is damaged."""
    run, recipe = tmp_path / "many", HeadRecipe(on=str(model), **RECIPE)
    first = subprocess.Popen(
        [sys.executable, "-c", SLOW, "train", pictures, "--out", run, "--net", "head", "--on", model, "--ray",
         cluster.address, "--workers", "1"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}, stderr=subprocess.PIPE,
    )  # fmt: skip
    until = time.monotonic() + 60
    while first.poll() is None and time.monotonic() < until and len(parts(run)) < 4:
        time.sleep(0.01)
    first.kill()
    assert first.wait() == -signal.SIGKILL, first.stderr and first.stderr.read()
    while cluster.workers("SetWorker"):  # Ray ends those of a driver that is gone
        time.sleep(0.05)
    kept = parts(run)
    assert 4 <= len(kept) < 14
    with pytest.raises(RetrievalError, match="--resume"):
        train_head(pictures, run, recipe, on=RayCluster(cluster.address, 2))
    marked = np.array(mapped(kept[0]))
    np.save(kept[0], marked[:, ::-1])  # so that it can be seen that it was taken
    kept[1].write_bytes(kept[1].read_bytes()[:-8])
    train_head(pictures, run, recipe, on=RayCluster(cluster.address, 2), resume=True)
    train_head(pictures, tmp_path / "alone", recipe)
    alone, many = (np.array(mapped(out / "vectors.npy")) for out in (tmp_path / "alone", run))
    start = int(kept[0].name.partition("-")[0])
    there = ~np.isnan(marked[:, 0])
    first_row = json.loads((run / "vectors.json").read_text())["rows"].index(start + int(np.flatnonzero(there)[0]))
    here = slice(first_row, first_row + int(there.sum()))
    assert many[here].tobytes() == np.ascontiguousarray(alone[here, ::-1]).tobytes()
    alone[here] = many[here]
    assert many.tobytes() == alone.tobytes()
    assert not (run / "parts").exists()


SLOW = """
import sys, time
from retrieval.cli import main
from retrieval.cluster import set_encoding, set_worker
from retrieval.encoder import file_encoding
file_encoding.PICTURES_A_BATCH, set_encoding.PICTURES, set_encoding.TASKS = 4, 8, 1
in_order = set_encoding.Crew.in_order
def slowly(self, *given):
    for one in in_order(self, *given):
        time.sleep(0.2)
        yield one
set_encoding.Crew.in_order = slowly
main(sys.argv[1:])
"""
"""A training whose tasks are small, and are met in the middle."""


def parts(run: Path) -> list[Path]:
    """What was encoded so far, in the order of the set."""
    return sorted((run / "parts").glob("*.npy"), key=lambda path: int(path.name.partition("-")[0]))


def test_on_the_command_line(cluster: RayNodes, model: Path, tmp_path: Path) -> None:
    """A folder, by two workers of one core each; and nothing is left behind where there is no room for them."""
    root = tiny.folder(tmp_path / "set", ("cat", "dog"), each=20)
    asked = ("train", root, "--net", "head", "--on", model, "--shrinkage", 0.5, "--ray", cluster.address, "--workers")
    verb = command(*asked, 3, "--out", tmp_path / "run", "--json")
    said, told = verb.communicate(timeout=120)
    assert verb.returncode == 0, told
    assert json.loads(said)["dim"] == Encoder.load(tmp_path / "run").dim
    train_head(root, tmp_path / "alone", HeadRecipe(on=str(model), shrinkage=0.5))
    assert all_of(tmp_path / "run") == all_of(tmp_path / "alone")
    with pytest.raises(RetrievalError, match="has room for 4 workers"):
        train_head(root, tmp_path / "none", HeadRecipe(on=str(model)), on=RayCluster(cluster.address, 5))
    assert not (tmp_path / "none").exists()


def test_a_set_in_memory(cluster: RayNodes, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pixels go to the workers."""
    files = load(tiny.folder(tmp_path / "set", ("cat", "dog"), each=20))
    base = Encoder.load(model, threads=1)
    pixels = files.read(base.config.preprocessing)
    held = PictureSet("held", files.names, files.classes, files.labels, files.splits, pixels)
    monkeypatch.setattr(file_encoding, "PIXELS_IN_MEMORY", 8 * tiny.SIZE**2)
    found, there = RayCluster(cluster.address, 2).encoded(held, base, tmp_path / "parts")
    assert len(parts(tmp_path)) == 5 and there.all()
    np.testing.assert_allclose(found, base.encode(pixels), atol=1e-5)


def job(model: Path, folder: Path) -> SetJob:
    """What a worker here would be told."""
    base = Encoder.load(model, threads=1)
    base.save(folder / "encoder")
    return SetJob(folder, base.hash, batch=4, threads=1, versions=releases())


def test_what_a_worker_refuses(model: Path, tmp_path: Path) -> None:
    """A node without the pictures would have all of them left out."""
    root = tiny.folder(tmp_path / "set", ("cat",), each=3)
    files = [*(root / "cat" / f"{one}.png" for one in range(3)), root / "gone.png"]
    worker = SetWorker(job(model, tmp_path))
    assert worker.ready() is True
    assert worker.work(Some("0.npy", files, [True] * 3 + [False])) is True
    rows = mapped(tmp_path / "0.npy")
    assert np.isnan(rows).all(1).tolist() == [False] * 3 + [True]
    said = worker.work(Some("1.npy", files, [True] * 4))
    assert isinstance(said, Refusal) and said.here and "gone.png' is not there on the node" in said.reason
    assert not (tmp_path / "1.npy").exists()
    for changes, here, sentence in (
        ({"folder": tmp_path / "nowhere"}, True, "is not there on the node"),
        ({"versions": {"pillow": "1.0"}}, True, "install the same"),
        ({"encoder_hash": "0" * 64}, False, "is another one on the node"),
    ):
        refused = SetWorker(dataclasses.replace(job(model, tmp_path), **changes)).ready()
        assert isinstance(refused, Refusal) and refused.here is here and sentence in refused.reason


def test_where_nothing_is_to_be_encoded(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tiny.folder(tmp_path / "set", ("cat", "dog"), each=3)
    build(root, tmp_path / "index", model=model)
    for given, sentence in (
        ((tmp_path / "index", "--net", "head", "--ray", "auto"), "has its vectors already, so that a cluster"),
        ((root, "--net", "convnet", "--ray", "auto"), "--ray auto goes with --net head"),
        ((root, "--net", "two-channel", "--ray", "auto"), "--ray auto goes with --net head"),
        ((root, "--net", "head", "--workers", "2"), "--workers says nothing without --ray"),
    ):
        assert main(["train", *map(str, given), "--out", str(tmp_path / "run")]) == 1
        assert sentence in capsys.readouterr().err
        assert not (tmp_path / "run").exists()
