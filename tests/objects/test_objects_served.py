"""A service of an index whose pictures are objects: it shows them, and says when the store does not give one."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import tiny
from faulty_proxy import FaultyProxy
from PIL import Image
from s3_server import S3Server

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from served import form, serving

from retrieval.errors import RetrievalError
from retrieval.ingest import build
from retrieval.ingest.watch_folder import watch
from retrieval.places import bucket as bucket_module
from retrieval.traps.duplicates.find import find_duplicates


def test_objects_are_shown(
    server: S3Server, bucket: str, proxy: FaultyProxy, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny.folder(tmp_path / "pictures", each=3)
    server.upload(bucket, folder, "x")
    build(f"s3://{bucket}/x", tmp_path / "index", model=model)
    with serving(tmp_path / "index", cache=tmp_path / "cache") as service:
        small = service("GET", "/items/1/thumbnail?s=64")
        assert (small.status, Image.open(io.BytesIO(small.body)).size) == (200, (32, 32))
        whole = service("GET", "/items/1/image")
        assert whole.body == (folder / "cat/1.png").read_bytes() and whole.headers["content-type"] == "image/png"
        assert service("GET", "/items/1").json["served"] is True
        body, media = form([("a.png", whole.body)])
        hits = service("POST", "/search?k=3&same=1", body, media=media).json
        assert (hits["query"]["id"], hits["query"]["label"]) == (1, "cat")
        proxy.fault = lambda method, path: "503 SlowDown"
        monkeypatch.setattr(bucket_module, "BRIEF", 0.2)
        status, said = service.problem("GET", "/items/2/image")
        assert (status, "temporary: 503 SlowDown" in said, bucket in said) == (503, True, False)
        assert service.problem("GET", "/items/3/thumbnail")[0] == 503
        server.delete(bucket, "x/cat/2.png")
        proxy.fault = lambda method, path: None
        assert service.problem("GET", "/items/2/image")[0] == 404


def test_what_needs_a_folder_says_so(server: S3Server, bucket: str, tmp_path: Path, model: Path) -> None:
    server.upload(bucket, tiny.folder(tmp_path / "pictures", each=2))
    build(f"s3://{bucket}", tmp_path / "index", model=model)
    with pytest.raises(RetrievalError, match=r"lies in an object store, which tells nobody of changes"):
        watch(tmp_path / "index", done=print)
    for source in (tmp_path / "index", f"s3://{bucket}"):
        with pytest.raises(RetrievalError, match=r"are objects of a store, and near-duplicates are looked for among"):
            find_duplicates(source)
