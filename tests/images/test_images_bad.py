"""Every kind of bad file, and finding pictures among them."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_sets import FORMATS, gradient

from retrieval import images
from retrieval.errors import RetrievalError
from retrieval.images import UnreadableImage

# pytest puts its own filters over those with which Pillow's warnings are kept from users.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


# --- Bad files


def reason(path: Path | io.BytesIO, **options: int) -> str:
    with pytest.raises(UnreadableImage) as caught:
        images.open_picture(path, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize("share", [0.1, 0.6, 0.95])
@pytest.mark.parametrize("ending", FORMATS)
def test_truncated_files_are_named_so(ending: str, share: float) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, Image.registered_extensions()[f".{ending}"], **FORMATS[ending])
    whole = buffer.getvalue()
    assert reason(io.BytesIO(whole[: int(len(whole) * share)])) == "truncated"


def test_what_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("this is a text, not a picture")
    (tmp_path / "postscript.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (tmp_path / "link.png").symlink_to("gone.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    assert reason(tmp_path / "empty.jpg") == "empty file"
    assert reason(io.BytesIO()) == "empty file"
    assert reason(tmp_path / "text.jpg") == "not a picture"
    assert reason(tmp_path / "postscript.png") == "not a picture"
    assert reason(tmp_path / "link.png") == "broken link"
    assert reason(tmp_path / "loop.png") == "too many levels of symbolic links"
    assert reason(tmp_path / "folder.png") == "a folder"
    assert reason(tmp_path / "pipe.png") == "not a regular file"
    assert reason(Path("/dev/zero")) == "not a regular file"
    assert reason(tmp_path / "nowhere.png") == "no such file"
    for name in ("a\0b.png", "\ud800.png"):
        assert reason(tmp_path / name) == "not a possible file name"


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no users here")
def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.png"
    gradient().save(path)
    if os.geteuid() == 0:  # for whom no mode is a hindrance

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "open", refuse)
    else:
        path.chmod(0)
    assert reason(path) == "no permission"


def png_header(width: int, height: int) -> bytes:
    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + body
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def test_too_many_pixels_are_refused_before_decoding() -> None:
    idat = b"IDAT" + zlib.compress(b"\0" * 100)
    bomb = png_header(30000, 30000) + struct.pack(">I", len(idat) - 4) + idat + struct.pack(">I", zlib.crc32(idat))
    assert reason(io.BytesIO(bomb)) == "too many pixels (30000×30000)"
    buffer = io.BytesIO()
    gradient().save(buffer, "PNG")
    assert reason(io.BytesIO(buffer.getvalue()), max_pixels=60 * 40 - 1) == "too many pixels (60×40)"
    buffer.seek(0)
    assert images.open_picture(buffer, max_pixels=60 * 40).size == (60, 40)
    assert not buffer.closed


def test_damaged_bytes_never_raise_anything_else() -> None:
    rng = np.random.default_rng(2)
    for ending, options in FORMATS.items():
        buffer = io.BytesIO()
        gradient().save(buffer, Image.registered_extensions()[f".{ending}"], **options)
        for _ in range(40):
            data = np.frombuffer(buffer.getvalue(), np.uint8).copy()
            where = rng.integers(4, min(len(data), 400), 6)
            data[where] = rng.integers(0, 256, 6)
            try:
                images.open_picture(io.BytesIO(data.tobytes()), max_pixels=10**6)
            except UnreadableImage as error:
                assert error.reason


def test_damaged_exif_does_not_cost_the_picture(tmp_path: Path) -> None:
    gradient().save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 40)
    assert images.open_picture(tmp_path / "a.jpg").size == (60, 40)


def test_nothing_leaks_to_stderr(tmp_path: Path) -> None:
    """Warnings and log lines of Pillow's, in a process of its own, since pytest has its own filters."""
    Image.new("L", (9600, 9600)).save(tmp_path / "large.png")  # above the size from which Pillow warns
    gradient().save(tmp_path / "a.tif")
    data = (tmp_path / "a.tif").read_bytes()
    height = next(struct.pack("<HHI", 257, kind, 1) for kind in (3, 4) if struct.pack("<HHI", 257, kind, 1) in data)
    (tmp_path / "b.tif").write_bytes(data.replace(height, height[:4] + b"\2\0\0\0"))  # one height too many
    gradient().save(tmp_path / "p.png")
    code = (
        "import sys, warnings\nfrom retrieval import images\n"
        "for path in sys.argv[1:]:\n"
        "    try: print(images.open_picture(path).size)\n"
        "    except images.UnreadableImage as error: print(error.reason)\n"
    )
    files = [str(path) for path in sorted(tmp_path.iterdir())]
    done = subprocess.run([sys.executable, "-c", code, *files], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == len(files) and "(9600, 9600)" in done.stdout
    assert done.stderr == ""


def test_error_travels_between_processes() -> None:
    error = pickle.loads(pickle.dumps(UnreadableImage("a.png", "truncated")))  # noqa: S301 (our own bytes)
    assert (error.path, error.reason) == ("a.png", "truncated")
    assert str(error) == "The picture 'a.png' cannot be read: truncated."


# --- Finding


def test_find_lists_pictures_and_reports_the_rest(tmp_path: Path) -> None:
    for name in (
        "b.JPG",
        "a/c.png",
        "a/b/deep.webp",
        "a.tiff",
        "notes.txt",
        ".hidden.png",
        ".git/x.png",
        "png",
        ".png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "folder.png/inside.gif").touch()
    (tmp_path / "good.png").symlink_to("b.JPG")
    (tmp_path / "broken.png").symlink_to("gone.png")
    (tmp_path / "a/up").symlink_to("..")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "outside").symlink_to("/")
    (tmp_path / "album.jpg").symlink_to("a")
    os.mkfifo(tmp_path / "pipe.bmp")
    found = images.find(tmp_path)
    assert found.paths == ("a.tiff", "a/b/deep.webp", "a/c.png", "b.JPG", "folder.png/inside.gif", "good.png")
    assert found.skipped == (
        ("a/up", "link to a folder"),
        ("album.jpg", "link to a folder"),
        ("broken.png", "broken link"),
        ("outside", "link to a folder"),
        ("pipe.bmp", "not a regular file"),
    )


def test_find_reports_names_that_are_not_utf8(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"caf\xe9.png")).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    (folder / "x.png").touch()
    (tmp_path / "café.png").touch()
    found = images.find(tmp_path)
    assert found.paths == ("café.png",)
    assert found.skipped == (("\\xff/x.png", "name is not UTF-8"), ("caf\\xe9.png", "name is not UTF-8"))
    assert reason(tmp_path / os.fsdecode(b"caf\xe9.png")) == "empty file"  # and its message can be printed


def test_find_reports_folders_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open/a.png").touch()
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def guarded(path: str) -> object:
        if str(path).endswith("closed"):  # for root, no mode is a hindrance
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    found = images.find(tmp_path)
    assert found.paths == ("open/a.png",)
    assert found.skipped == (("closed", "folder: no permission"),)


def test_find_asks_for_several_folders_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a server's disk takes its time to answer for each; all of it is found, however deep."""
    paths = [f"{one}/{deeper}x.png" for one in range(8) for deeper in ("", "a/", "a/b/", "a/b/c/")]
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    scandir, all_of_them = os.scandir, threading.Barrier(8)

    def late(path: str) -> object:
        if Path(path).parent == tmp_path and Path(path) != tmp_path:
            all_of_them.wait(20)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", late)
    assert images.find(tmp_path).paths == tuple(sorted(paths))
    assert all_of_them.n_waiting == 0 and not all_of_them.broken


def test_find_wants_a_folder(tmp_path: Path) -> None:
    with pytest.raises(RetrievalError, match="no folder"):
        images.find(tmp_path / "nowhere")
