"""How much memory a build takes."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tiny
from built import contents
from PIL import Image

from retrieval.encoder import Encoder
from retrieval.errors import RetrievalError
from retrieval.images.decoding import UnreadableImage, Wanted, needed_for
from retrieval.images.room import Room
from retrieval.index import Index
from retrieval.ingest import build, memory_limits

TOP = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory)


def test_a_room_is_never_overfull() -> None:
    room = Room(100)
    held: list[int] = []
    most: list[int] = []

    def work(count: int) -> None:
        for _ in range(20):
            with room.hold(count):
                held.append(count)
                most.append(sum(held))
                time.sleep(0)
                held.remove(count)

    threads = [threading.Thread(target=work, args=(count,)) for count in (1, 10, 30, 50, 60, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert max(most) <= 100
    assert len(most) == 20 * 6


def test_a_room_that_is_left_by_an_error_is_free_again() -> None:
    room = Room(10)
    with pytest.raises(KeyError), room.hold(10):
        raise KeyError
    with room.hold(10):
        pass


def written(picture: Image.Image, form: str, **options: object) -> io.BytesIO:
    file = io.BytesIO()
    picture.save(file, form, **options)
    file.seek(0)
    return file


def decoding_bytes(file: io.BytesIO, size: int) -> int:
    needed = needed_for(file, "a file", Wanted(size))
    assert file.tell() == 0
    return needed


def test_what_decoding_takes_is_read_off_the_header() -> None:
    picture = tiny.picture(0, 400, 300)
    plain = decoding_bytes(written(picture, "png"), 32)
    assert 400 * 300 * 4 < plain < 400 * 300 * 12
    assert decoding_bytes(written(picture.convert("RGBA"), "png"), 32) > 2 * plain
    assert decoding_bytes(written(picture.convert("P"), "png", transparency=0), 32) > 2 * plain
    assert decoding_bytes(written(picture, "bmp"), 32) == plain
    reduced = decoding_bytes(written(picture, "jpeg"), 32)
    assert reduced < plain / 10  # decoded at an eighth
    assert decoding_bytes(written(picture, "jpeg"), 200) > plain
    coefficients = 2 * 3 * 400 * 300
    assert decoding_bytes(written(picture, "jpeg", progressive=True), 32) == reduced + coefficients
    for content in (b"", b"no picture", written(picture, "png").getvalue()[:20]):
        with pytest.raises(UnreadableImage):
            decoding_bytes(io.BytesIO(content), 32)


def test_a_picture_that_needs_more_is_left_out(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tiny.folder(tmp_path / "pictures", each=2)
    tiny.picture(9, 3000, 3000).save(root / "cat/big.png")
    monkeypatch.setattr(memory_limits, "_growth", lambda *_: 0)
    monkeypatch.setattr(memory_limits, "resident", lambda: 0)
    report = build(root, tmp_path / "index", model=model, memory=120 * 10**6, threads=2)
    assert (report.total, [skipped.path for skipped in report.skipped]) == (4, ["cat/big.png"])
    assert report.skipped[0].reason.startswith("needs 90.")
    report = build(root, tmp_path / "index", memory=190 * 10**6)
    assert (report.added, report.kept, report.skipped) == (1, 4, ())


def test_what_fits(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder.load(model, threads=1)
    monkeypatch.setattr(memory_limits, "_growth", lambda *_: 50 * 10**6)
    monkeypatch.setattr(memory_limits, "resident", lambda: 200 * 10**6)
    assert memory_limits.limits(encoder, 8, None, None) == memory_limits.Limits(8, None, memory_limits.COMMIT_PICTURES)
    for memory in (400, 500, 1000, 4000):
        found = memory_limits.limits(encoder, 8, None, memory * 10**6)
        assert found.room is not None
        waiting = found.commit * (2000 + 20 * encoder.dim)
        assert 200e6 + found.threads * 50e6 + found.room.size + waiting <= memory * 1e6
        assert found.room.size >= 32e6 * found.threads
    assert memory_limits.limits(encoder, 8, None, 400 * 10**6).threads < found.threads == 8
    with pytest.raises(RetrievalError, match=r"memory of 300 MB is too little .* at least 3") as raised:
        memory_limits.limits(encoder, 1, None, 300 * 10**6)
    enough = int(str(raised.value).split("at least ")[1].split()[0]) * 10**6
    assert memory_limits.limits(encoder, 1, None, enough).threads == 1


BUILD = """
import sys
from retrieval.cli import main
code = main(["build", *sys.argv[1:]])
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(status["VmHWM"].split()[0])
sys.exit(code)
"""
"""A build that says its peak itself: what the system tells about a child counts its parent's memory, too."""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says how much memory a process had")
def test_the_whole_process_keeps_to_it(tmp_path: Path, model: Path) -> None:
    root = tmp_path / "pictures"
    root.mkdir()
    for number in range(4):
        Image.new("RGBA", (3200, 2600), (number, 2, 3, 4)).save(root / f"{number}.png")
    files = sorted(root.iterdir())
    wanted = Wanted(tiny.SIZE, "RGB")
    together = 0
    for file in files:
        with file.open("rb") as opened:
            together += needed_for(opened, file.name, wanted)
    command = [sys.executable, "-c", BUILD, str(root), "--model", str(model), "--threads", "4", "--batch", "1"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "index"), "--memory", "450MB"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(TOP)},
    )
    assert done.returncode == 0, done.stderr
    # Whether four threads decode at the same moment is up to the machine; that they could not have is not.
    assert 1024 * int(done.stdout.split()[-1]) < 450e6 < together
    assert len(contents(tmp_path / "index")) == 4


def test_half_the_size_on_the_disk(tmp_path: Path, model: Path) -> None:
    root = tiny.folder(tmp_path / "pictures", each=4)
    build(root, tmp_path / "whole", model=model)
    build(root, tmp_path / "half", model=model, vectors="float16")
    with Index.open(tmp_path / "whole") as whole, Index.open(tmp_path / "half") as half:
        assert (whole.storage, half.storage) == ("float32", "float16")
        np.testing.assert_allclose(whole.all_vectors()[1], half.all_vectors()[1], atol=1e-3)
    assert not build(root, tmp_path / "half").changed
    with pytest.raises(RetrievalError, match="with vectors as float16, not float32"):
        build(root, tmp_path / "half", vectors="float32")
    build(root, tmp_path / "half", vectors="float32", overwrite=True)
    with Index.open(tmp_path / "half") as index:
        assert index.storage == "float32"
