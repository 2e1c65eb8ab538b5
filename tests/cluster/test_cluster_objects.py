"""Workers of two nodes that read from an object store: what one machine makes of it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import tiny
from compared import everything
from ray_nodes import RayNodes
from s3_server import S3Server
from test_cluster_build import BATCH, once_at

from retrieval import RayCluster
from retrieval.ingest import build, sync


def test_pictures_in_a_store(
    cluster: RayNodes,
    bucket: tuple[S3Server, str],
    many_tasks: None,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """With damage and copies among them, and a worker that is killed; then with what changes there."""
    server, name = bucket
    folder = tiny.folder(tmp_path / "pictures", each=30)
    (folder / "cat" / "000.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (folder / "dog" / "zcopy.png").write_bytes((folder / "cat" / "7.png").read_bytes())
    server.upload(name, folder, "in")
    server.put(name, "in/a//b.png", b"a name that is no path")
    address, model, on = f"s3://{name}/in", tiny.model(tmp_path_factory), RayCluster(cluster.address, 2)

    earlier = cluster.workers()  # of a build before, which may take a while to end

    def kill() -> None:
        os.kill(next(worker for worker in cluster.workers() if worker not in earlier), signal.SIGKILL)

    done, listening = once_at(2 * BATCH, kill)
    build(address, tmp_path / "alone", model=model, threads=1, batch=BATCH)
    with listening:
        report = build(address, tmp_path / "many", model=model, batch=BATCH, on=on)
    assert done.is_set()
    assert (report.added, report.copied, len(report.skipped)) == (61, 1, 2)
    assert everything(tmp_path / "many") == everything(tmp_path / "alone")

    tiny.picture(900).save(tmp_path / "new.png")
    server.put(name, "in/cat/0.png", (tmp_path / "new.png").read_bytes())
    server.put(name, "in/eel/new.png", (folder / "dog" / "1.png").read_bytes())
    server.delete(name, "in/dog/1.png")
    sync(tmp_path / "alone", threads=1, batch=BATCH)
    report = sync(tmp_path / "many", batch=BATCH, on=on)
    assert (report.replaced, report.renamed, report.added) == (1, 1, 0)
    assert everything(tmp_path / "many") == everything(tmp_path / "alone")
