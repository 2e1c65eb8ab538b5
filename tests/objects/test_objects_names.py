"""Names that only an object store has, addresses that are none, and very many objects."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import tiny
from s3_server import S3Server

from retrieval import images
from retrieval.base.object_address import Address
from retrieval.base.placed_files import NotOpenedError
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.ingest import build, sync
from retrieval.places.bucket import Bucket
from retrieval.places.client import stamp_by
from retrieval.places.fsspec_client import FsspecClient
from retrieval.places.roots import root_at, root_of

S3Client: Any = pytest.importorskip("retrieval.places.s3_client", exc_type=ImportError).S3Client

TAKEN = (
    "a.png", "a.png/b.png", "new\nline.png", "caf\u00e9.png", "cafe\u0301.png", "tab\there.png", "q?versionId=1.png",
    "hash#1.png", "per%20cent.png", "plus+plus.png", "two  spaces.png", "back\\slash.png", "\U0001f600/x.png",
    "quote'\".png", "star*[1].png", " .png/ x.png",
)  # fmt: skip
"""Keys of pictures, all of which an index knows by just these names."""

REFUSED = ("/lead.png", "a//b.png", "a/../up.png", "../up.png", "./here.png", "a/./b.png", "..", "folder//")
"""Keys that would lead elsewhere where a path is joined."""


def test_every_possible_name_is_taken_and_no_other(server: S3Server, bucket: str, tmp_path: Path, model: Path) -> None:
    data = {}
    for number, key in enumerate((*TAKEN, *REFUSED)):
        tiny.picture(number).save(tmp_path / "one.png")
        data[key] = (tmp_path / "one.png").read_bytes()
        server.put(bucket, f"in/{key}", data[key])
    server.put(bucket, "in/", b"")  # as consoles make a folder
    server.put(bucket, "in/empty/", b"")
    server.put(bucket, "instead.png", data["a.png"])  # beside the folder, of whose name it has the beginning
    report = build(f"s3://{bucket}/in", tmp_path / "index", model=model)
    assert report.added == len(TAKEN)
    assert {one.reason for one in report.skipped} == {"not a possible path: a part of it is empty, . or .."}
    assert len(report.skipped) == len(REFUSED)
    with Index.open(tmp_path / "index") as index:
        assert set(index.paths()) == set(TAKEN)
        for key in TAKEN:
            with (index.pictures / key).open() as file:
                assert file.readall() == data[key], key
        for key in (*REFUSED, f"s3://{bucket}/instead.png", "/etc/hostname"):
            with pytest.raises(NotOpenedError):
                (index.pictures / key).open()
    assert sync(tmp_path / "index").kept == len(TAKEN)


@pytest.mark.parametrize("kind", [S3Client, FsspecClient])
def test_a_store_is_asked_alike_by_each_client(server: S3Server, bucket: str, tmp_path: Path, kind: type) -> None:
    """The one for S3, and the one for whatever fsspec knows."""
    client = S3Client(bucket) if kind is S3Client else FsspecClient("s3", bucket)
    for key in ("x/a.png", "x/b/c.png", "x/d", "y"):
        server.put(bucket, key, key.encode() * 1000)
    page = client.page("x/", None)
    assert sorted(one.name for one in page.objects) == ["a.png", "d"] and list(page.folders) == ["b"]
    assert {one.stamp for one in page.objects if one.name == "d"} == {client.stamp("x/d")}
    assert client.stamp("x/b") is None and client.stamp("x/nothing") is None
    assert client.head("x/a.png", 7) == b"x/a.png"
    with (tmp_path / "read").open("wb") as file:
        assert client.read("x/a.png", file, 10_000) == client.stamp("x/a.png")
    assert (tmp_path / "read").read_bytes() == b"x/a.png" * 1000
    with (tmp_path / "read").open("wb") as file, pytest.raises(NotOpenedError, match="too large"):
        client.read("x/a.png", file, 6999)
    with (tmp_path / "read").open("wb") as file, pytest.raises(FileNotFoundError):
        client.read("x/nothing", file, 10)
    assert sorted(one.name for one in client.page("", None).objects) == ["y"]


def test_pages_make_one_listing(server: S3Server, bucket: str) -> None:
    server.fill(bucket, 2600, folders=2)  # of which each has more objects than a page
    found = images.find(root_at(f"s3://{bucket}"))
    assert found.paths == tuple(sorted(f"{number % 2:02d}/{number:07d}.jpg" for number in range(2600)))


def test_a_hundred_thousand_objects(server: S3Server, bucket: str, request: pytest.FixtureRequest) -> None:
    """What a listing keeps grows with the pictures, and is a few hundred bytes for each."""
    if not request.config.getoption("--long"):
        pytest.skip("needs --long")
    server.fill(bucket, 100_000, folders=1)
    root = root_at(f"s3://{bucket}")
    tracemalloc.start()
    found = images.find(root)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.paths) == 100_000
    assert kept < 500 * 100_000 and peak < 700 * 100_000 + 64 * 2**20


def test_addresses() -> None:
    assert Address.of("S3://bucket/a/b/") == ("s3", "bucket", "a/b")
    assert str(Address.of("gs://bucket")) == "gs://bucket"
    root = root_of("s3://bucket/a", {"outside_named": True})
    assert isinstance(root, Bucket) and root.named and root.address == "s3://bucket/a"
    assert root.path_of("s3://bucket/a/b.png") == "b.png" and root.path_of("s3://bucket/ab.png") is None
    assert root.path_of("s3://bucket/a/../b.png") is None
    for wrong, said in {
        "memory://x": "no place that pictures are read from",
        "https://example.org/pictures": "no place that pictures are read from",
        "ftp://example.org/pictures": "no place that pictures are read from",
        "simplecache::s3://bucket": "no place that pictures are read from",
        "s3://": "no address in an object store",
        "s3:///a": "no address in an object store",
        "s3://bucket//a": "no address in an object store",
        "s3://bucket/a/../b": "no address in an object store",
        "s3://buc ket/a": "no address in an object store",
        "s3://key:hunter2@bucket/a": "may hold no user, password or signature",
        "s3://bucket/a?X-Amz-Signature=hunter2&x=1": "may hold no user, password or signature",
    }.items():
        with pytest.raises(RetrievalError, match=said) as refused:
            root_at(wrong)
        assert "hunter2" not in str(refused.value)


def test_the_time_of_an_object_is_another_one_after_every_change() -> None:
    one = stamp_by(5, "2026-01-02T03:04:05Z", '"abc"')
    assert one[1] // 10**9 == 1767323045 and one == stamp_by(5, "2026-01-02T03:04:05+00:00", "abc")
    assert one != stamp_by(5, "2026-01-02T03:04:05Z", '"abd"')
    assert stamp_by(5, 1767323045.25, None) == (5, 1767323045250000000)
    assert stamp_by(5, None, None) == (5, 0) == stamp_by(5, "yesterday", "")


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in ("s3fs", "gcsfs", "retrieval.places.s3_client"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RetrievalError, match=r"needs fsspec and s3fs; install them \(`pip install 'retrieval\[obj"):
        images.find(root_at("s3://a-bucket-of-nobody"))
    with pytest.raises(RetrievalError, match="needs fsspec and gcsfs"):
        images.find(root_at("gs://a-bucket-of-nobody"))
