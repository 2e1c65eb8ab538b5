"""What an export copies of a list that a stranger wrote: pictures below the list, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import tiny

from retrieval import datasets
from retrieval.base import placed_files
from retrieval.cli import main
from retrieval.datasets import exporting
from retrieval.errors import RetrievalError


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A folder with two pictures, a secret beside it, and a list that names both and worse."""
    here = tmp_path / "set"
    here.mkdir()
    tiny.picture(1).save(here / "good.png")
    tiny.picture(2).save(tmp_path / "private.png")
    (tmp_path / "secret.txt").write_text("a password")
    (here / "text.jpg").write_text("not a picture")
    (here / "leads_out.png").symlink_to(tmp_path / "private.png")
    (here / "leads_in.png").symlink_to("good.png")
    (here / "away").symlink_to(tmp_path)
    os.mkfifo(here / "pipe.png")
    (here / "device.png").symlink_to("/dev/zero")
    (here / "folder.png").mkdir()
    names = [
        "good.png", "../private.png", str(tmp_path / "private.png") + "/../private.png", "leads_out.png",
        "leads_in.png", "away/private.png", "/etc/passwd", "/dev/zero", "pipe.png", "device.png", "folder.png",
        "text.jpg", "../secret.txt", "gone.png", str(here / "x" / ".." / ".." / "private.png"),
    ]  # fmt: skip
    (here / "list.csv").write_text("path,label\n" + "".join(f"{name},cat\n" for name in names))
    return here / "list.csv"


def copied(folder: Path) -> set[bytes]:
    return {path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_only_pictures_below_the_list_are_copied(
    listed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", str(listed), "--export", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert copied(tmp_path / "out") == {(listed.parent / "good.png").read_bytes()}
    assert "2 pictures written, 13 left out" in said.out
    for reason in (
        "private.png: outside the folder of the pictures",
        "leads_out.png: a link out of the folder of the pictures",
        "passwd: outside the folder of the pictures",
        "pipe.png: not a regular file",
        "text.jpg: not a picture",
        "gone.png: no such file",
    ):
        assert reason in said.err


def test_pictures_elsewhere_are_copied_when_asked_for_and_nothing_else(listed: Path, tmp_path: Path) -> None:
    done = datasets.export(datasets.load(listed), tmp_path / "out", anywhere=True)
    assert copied(tmp_path / "out") == {path.read_bytes() for path in tmp_path.rglob("*.png") if path.is_file()}
    assert {reason for _, reason in done.skipped} >= {"not a regular file", "not a picture", "a folder"}


def test_nothing_to_copy_is_an_error(tmp_path: Path) -> None:
    here = tmp_path / "set"
    here.mkdir()
    (here / "list.csv").write_text("path\n/etc/passwd\n/dev/zero\n")
    with pytest.raises(RetrievalError, match=r"None of the 2 pictures .*outside the folder.* add --anywhere"):
        datasets.export(datasets.load(here / "list.csv"), tmp_path / "out")
    assert not copied(tmp_path / "out")
    with pytest.raises(RetrievalError, match="not a picture"):
        datasets.export(datasets.load(here / "list.csv"), tmp_path / "out", anywhere=True)


def test_a_folder_with_a_link_out_of_it(tmp_path: Path) -> None:
    tiny.folder(tmp_path / "pictures", each=2)
    tiny.picture(77).save(tmp_path / "private.png")
    (tmp_path / "pictures/cat/link.png").symlink_to(tmp_path / "private.png")
    done = datasets.export(datasets.load(tmp_path / "pictures"), tmp_path / "out")
    assert (done.written, [reason for _, reason in done.skipped]) == (4, ["a link out of the folder of the pictures"])
    assert (tmp_path / "private.png").read_bytes() not in copied(tmp_path / "out")


def test_a_file_swapped_for_a_link_between_the_look_and_the_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder becomes a link to another one right before the file is opened."""
    tiny.folder(tmp_path / "pictures", each=2)
    tiny.folder(tmp_path / "private/cat/..", each=2)
    pictures = datasets.load(tmp_path / "pictures")
    whole, swapped = os.open, []

    def swapping(path: object, *args: int, **options: int) -> int:
        if not swapped and str(path).endswith("cat/0.png"):
            swapped.append(path)
            (tmp_path / "pictures/cat").rename(tmp_path / "pictures/.moved")
            (tmp_path / "pictures/cat").symlink_to(tmp_path / "private/cat")
        return whole(path, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(placed_files.os, "open", swapping)
    done = datasets.export(pictures, tmp_path / "out")
    assert swapped
    assert {reason for _, reason in done.skipped} == {"a link out of the folder of the pictures"}
    assert done.written == 2


def test_what_is_copied_is_what_was_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that becomes another one after it was found to be a picture."""
    tiny.folder(tmp_path / "pictures", classes=("cat",), each=1)
    file = tmp_path / "pictures/cat/0.png"
    before, look = file.read_bytes(), exporting.images.open_picture

    def looking(*args: object, **options: object) -> object:
        found = look(*args, **options)  # type: ignore[arg-type]
        file.write_text("a password")
        return found

    monkeypatch.setattr(exporting.images, "open_picture", looking)
    assert datasets.export(datasets.load(tmp_path / "pictures"), tmp_path / "out").written == 1
    assert copied(tmp_path / "out") == {before}
