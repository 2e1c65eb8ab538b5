"""A store that drops connections, refuses, is slow, or is not there: asked again, and nothing is lost or made up."""

from __future__ import annotations

import itertools
import os
import threading
import time
from pathlib import Path

import pytest
import tiny
from faulty_proxy import Fault, FaultyProxy
from s3_server import CREDENTIALS, S3Server
from test_objects_build import counts, items

from retrieval import images
from retrieval.base.placed_files import NotReachedError
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.ingest import build, sync
from retrieval.places import bucket as bucket_module
from retrieval.places import patience
from retrieval.places.roots import root_at


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No patience of half a minute."""
    monkeypatch.setattr(bucket_module, "LONG", 2.0)
    monkeypatch.setattr(bucket_module, "BRIEF", 1.0)


@pytest.fixture
def pictures(server: S3Server, bucket: str, tmp_path: Path) -> Path:
    folder = tiny.folder(tmp_path / "pictures", each=8)
    server.upload(bucket, folder)
    return folder


def test_now_and_then_something_fails(
    bucket: str, pictures: Path, proxy: FaultyProxy, tmp_path: Path, model: Path
) -> None:
    """Every third request, in five ways: what is built is what a folder gives."""
    number = itertools.count()
    faults = itertools.cycle(["drop", "503 SlowDown", "cut", "500 InternalError", 0.2])
    lock = threading.Lock()

    def fault(method: str, path: str) -> Fault:
        with lock:
            return next(faults) if next(number) % 3 == 0 else None

    proxy.fault = fault
    report = build(f"s3://{bucket}", tmp_path / "index", model=model)
    assert (report.added, report.skipped) == (16, ()) and len(proxy.asked) > 16 + 3 + 6
    build(pictures, tmp_path / "of_files", model=model)
    assert items(tmp_path / "index") == items(tmp_path / "of_files")


@pytest.mark.parametrize("fault", ["503 SlowDown", "drop", "cut", "403 AccessDenied"])
def test_what_is_not_given_is_left_out_for_today(
    server: S3Server,
    bucket: str,
    pictures: Path,
    proxy: FaultyProxy,
    tmp_path: Path,
    model: Path,
    fault: str,
) -> None:
    """And not for good, nor does what was indexed of it go."""
    proxy.fault = lambda method, path: fault if "cat/3.png" in path else None
    began = time.monotonic()
    report = build(f"s3://{bucket}", tmp_path / "index", model=model)
    (left_out,) = report.skipped
    assert left_out.path == "cat/3.png" and left_out.reason.startswith("temporary: ")
    assert report.added == 15 and time.monotonic() - began < 60
    proxy.fault = lambda method, path: None
    assert counts(sync(tmp_path / "index")) == {"added": 1, "kept": 15}
    # It changes, and is not given again.
    before = items(tmp_path / "index")
    server.put(bucket, "cat/3.png", (pictures / "cat/4.png").read_bytes() + b".")
    proxy.fault = lambda method, path: fault if "cat/3.png" in path else None
    report = sync(tmp_path / "index")
    assert (counts(report), len(report.skipped)) == ({"kept": 16}, 1)
    assert items(tmp_path / "index") == before
    proxy.fault = lambda method, path: None
    assert counts(sync(tmp_path / "index")) == {"replaced": 1, "kept": 15}


def test_a_listing_that_is_cut_off_takes_nothing_out(
    server: S3Server, bucket: str, pictures: Path, proxy: FaultyProxy, tmp_path: Path, model: Path
) -> None:
    build(f"s3://{bucket}", tmp_path / "index", model=model)
    before = items(tmp_path / "index")
    server.delete(bucket, "cat/0.png")
    proxy.fault = lambda method, path: "503 SlowDown" if "prefix=dog" in path else None
    for again in (lambda: sync(tmp_path / "index"), lambda: build(f"s3://{bucket}", tmp_path / "index")):
        with pytest.raises(RetrievalError, match=r"could not be listed to the end \(503 SlowDown\).*nothing was chan"):
            again()
        assert items(tmp_path / "index") == before
    # A part that may not be listed is told, and what lies in it stays.
    proxy.fault = lambda method, path: "403 AccessDenied" if "dog" in path else None
    report = sync(tmp_path / "index")
    assert [(one.path, one.reason) for one in report.skipped] == [("dog", "folder: no permission")]
    assert counts(report) == {"removed": 1, "kept": 15}
    proxy.fault = lambda method, path: None
    assert counts(sync(tmp_path / "index")) == {"kept": 15}


def test_a_listing_that_changes_meanwhile(
    server: S3Server, bucket: str, pictures: Path, proxy: FaultyProxy, tmp_path: Path, model: Path
) -> None:
    """One goes and one becomes another between the listing and the reading."""
    other = (pictures / "dog/0.png").read_bytes() + b"another"

    def fault(method: str, path: str) -> Fault:
        if path.endswith("cat/1.png"):
            server.delete(bucket, "cat/1.png")
        if path.endswith("cat/2.png"):
            server.put(bucket, "cat/2.png", other)
        return None

    proxy.fault = fault
    report = build(f"s3://{bucket}", tmp_path / "index", model=model)
    assert [tuple(one) for one in report.skipped] == [("cat/1.png", "no such file")]
    proxy.fault = lambda method, path: None
    with Index.open(tmp_path / "index") as index:
        item = index.find("cat/2.png")
        assert item is not None and item.size == len(other)
    assert counts(sync(tmp_path / "index")) == {"kept": 15}


def test_a_store_that_is_gone_stops_the_job(
    bucket: str, pictures: Path, proxy: FaultyProxy, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not waited for picture by picture; the next run goes on."""
    monkeypatch.setattr(patience, "SILENCE", 1.0)
    proxy.fault = lambda method, path: "drop" if ".png" in path else None
    began = time.monotonic()
    with pytest.raises(RetrievalError, match=rf"'s3://{bucket}' has given nothing for .* goes on from there"):
        build(f"s3://{bucket}", tmp_path / "index", model=model, threads=1)
    assert time.monotonic() - began < 30
    proxy.fault = lambda method, path: None
    assert build(f"s3://{bucket}", tmp_path / "index", model=model).added == 16
    proxy.fault = lambda method, path: "drop"
    proxy.close()
    with pytest.raises(RetrievalError, match=r"could not be listed|has given nothing"):
        sync(tmp_path / "index")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("403 AccessDenied", r"may not be listed \(403 AccessDenied\).*credentials.*s3fs"),
        ("403 SignatureDoesNotMatch", r"may not be listed \(403 SignatureDoesNotMatch\)"),
        ("404 NoSuchBucket", r"There is no 's3://bucket.*', or no bucket of that name"),
    ],
)
def test_who_may_not_is_told_in_one_sentence(
    bucket: str, proxy: FaultyProxy, tmp_path: Path, model: Path, fault: str, said: str
) -> None:
    proxy.fault = lambda method, path: fault
    with pytest.raises(RetrievalError, match=said) as refused:
        build(f"s3://{bucket}/x", tmp_path / "index", model=model)
    assert "\n" not in str(refused.value) and proxy.secret not in str(refused.value)
    assert len(proxy.asked) == 1 and not (tmp_path / "index").exists()  # it is not asked again


def test_no_credentials_and_no_such_profile(
    bucket: str, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in CREDENTIALS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(RetrievalError, match=r"may not be listed .*; give the credentials of somebody who may"):
        build(f"s3://{bucket}", tmp_path / "index", model=model)
    monkeypatch.setenv("AWS_PROFILE", "nobodys")
    with pytest.raises(RetrievalError, match=r"may not be listed .*; give the credentials of somebody who may"):
        build(f"s3://{bucket}-too", tmp_path / "index", model=model)


def test_no_secret_is_kept(bucket: str, pictures: Path, tmp_path: Path, model: Path) -> None:
    build(f"s3://{bucket}", tmp_path / "index", model=model)
    for folder, _, names in os.walk(tmp_path / "index"):
        for name in names:
            data = Path(folder, name).read_bytes()
            assert not any(secret.encode() in data for secret in CREDENTIALS.values()), name


def test_a_huge_object_is_refused_before_it_is_read(
    server: S3Server, bucket: str, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = root_at(f"s3://{bucket}")
    server.put(bucket, "huge.png", bytes(3 * 2**20))
    assert isinstance(root, bucket_module.Bucket)
    with pytest.raises(Exception, match=r"too large \(3,145,728 bytes\)"):
        root.read("huge.png", 2**20)
    monkeypatch.setattr(bucket_module, "_AHEAD", 2**20)  # what is large waits for its turn, and is read then
    with (root / "huge.png").fetched().open() as file:
        assert (len(file.readall()), file.stamp()[0]) == (3 * 2**20, 3 * 2**20)


def test_what_is_fetched_ahead_is_in_order_and_bounded(bucket: str, pictures: Path, proxy: FaultyProxy) -> None:
    """Several are on their way while one is looked at, and no more than that."""
    from retrieval.images.reading import at_hand

    root = root_at(f"s3://{bucket}")
    paths = images.find(root).paths
    proxy.asked.clear()
    proxy.fault = lambda method, path: 0.3
    began = time.monotonic()
    ahead = at_hand(paths, root)
    first = next(ahead)
    assert len(proxy.asked) <= root.readers + 1
    got = [first, *ahead]
    assert time.monotonic() - began < 0.3 * len(paths) / 2
    for path, placed in zip(paths, got, strict=True):
        with placed.open() as file:  # type: ignore[union-attr]
            assert file.readall() == (pictures / path).read_bytes()


def test_whoever_looks_does_not_wait_long(bucket: str, pictures: Path, proxy: FaultyProxy) -> None:
    from retrieval.places.roots import root_of

    proxy.fault = lambda method, path: "503 SlowDown"
    began = time.monotonic()
    with pytest.raises(NotReachedError, match="503 SlowDown"):
        (root_of(f"s3://{bucket}", {}) / "cat/0.png").open()
    assert time.monotonic() - began < 15
