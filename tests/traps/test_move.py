"""Copies are moved away and back; whatever goes wrong, no picture is lost and none is written over."""

from __future__ import annotations

import argparse
import errno
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_sets import scene

from retrieval.cli import dedup
from retrieval.errors import RetrievalError
from retrieval.traps.duplicates import move
from retrieval.traps.duplicates.find import find_duplicates
from retrieval.traps.duplicates.move import Moved, move_copies, undo_move

SUPPORT = Path(__file__).resolve().parents[1] / "support"


def contents(folder: Path) -> dict[bytes, bytes]:
    """Every file below a folder by its path, which need not be UTF-8."""
    found = {}
    for inside, _, names in os.walk(os.fsencode(folder)):
        for name in names:
            path = inside + b"/" + name
            found[os.path.relpath(path, os.fsencode(folder))] = Path(os.fsdecode(path)).read_bytes()
    return found


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three pictures; two have copies, one of which has sidecars and a film."""
    root = tmp_path / "photos"
    (root / "more").mkdir(parents=True)
    for seed in range(3):
        scene(seed, 96).save(root / f"{seed}.png")
    shutil.copy(root / "0.png", root / "more" / "same.png")
    scene(1, 96).resize((48, 48)).save(root / "more" / "small.jpg", quality=90)
    (root / "more" / "small.xmp").write_text("stars")
    (root / "more" / "small.jpg.json").write_text("{}")
    (root / "more" / "small.MOV").write_bytes(b"a film")
    return root


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder on another file system."""
    if (
        not os.access("/dev/shm", os.W_OK)
        or Path("/dev/shm").stat().st_dev == Path(tempfile.gettempdir()).stat().st_dev
    ):
        pytest.skip("there is no second file system")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def undo_file(moved: Moved) -> Path:
    assert moved.undo is not None
    return moved.undo


def test_copies_go_with_what_belongs_to_them_and_come_back(photos: Path, tmp_path: Path) -> None:
    before = contents(photos)
    found = find_duplicates(photos)
    assert {copy.path for copy in found.could_go} == {"more/same.png"}  # the film is nowhere else
    (photos / "more" / "small.MOV").unlink()
    before.pop(b"more/small.MOV")
    found = find_duplicates(photos)
    moved = move_copies(found, tmp_path / "away")
    assert set(moved.photographs) == {
        ("more/same.png",),
        ("more/small.jpg", "more/small.xmp", "more/small.jpg.json"),
    }
    assert moved.left == () and moved.size == sum(
        len(content) for path, content in before.items() if path.startswith(b"more/")
    )
    assert contents(photos) == {path: content for path, content in before.items() if not path.startswith(b"more/")}
    away = contents(tmp_path / "away")
    assert away.pop(os.fsencode(undo_file(moved).name))
    assert away == {path: content for path, content in before.items() if path.startswith(b"more/")}
    undone = undo_move(undo_file(moved))
    assert (len(undone.back), undone.in_place, undone.left) == (4, 0, ())
    assert contents(photos) == before and set(contents(tmp_path / "away")) == {os.fsencode(undo_file(moved).name)}
    again = undo_move(undo_file(moved))
    assert (again.back, again.in_place, again.left) == ((), 4, ())


def test_another_file_system_gets_a_copy_first(photos: Path, elsewhere: Path) -> None:
    (photos / "more" / "small.MOV").unlink()
    os.utime(photos / "more" / "same.png", ns=(1_600_000_000_123_456_789, 1_600_000_000_987_654_321))
    (photos / "more" / "same.png").chmod(0o640)
    before = contents(photos)
    moved = move_copies(find_duplicates(photos), elsewhere / "a" / "b")
    status = (elsewhere / "a" / "b" / "more" / "same.png").stat()
    assert status.st_mtime_ns == 1_600_000_000_987_654_321 and stat.S_IMODE(status.st_mode) == 0o640
    assert status.st_dev != photos.stat().st_dev and not (photos / "more" / "same.png").exists()
    os.utime(elsewhere / "a" / "b" / "more" / "same.png", (1, 1))  # a stick may keep no such time; the bytes tell
    assert undo_move(undo_file(moved)).left == ()
    assert contents(photos) == before


def test_what_changed_meanwhile_stays(photos: Path, tmp_path: Path) -> None:
    for disturb, why in (
        (lambda: os.utime(photos / "more" / "same.png", (5, 5)), "it has changed"),
        (lambda: shutil.copy(photos / "2.png", photos / "more" / "same.png"), "no longer those"),
        (lambda: (photos / "more" / "same.png").unlink(), "no such file"),
        (lambda: os.utime(photos / "0.png", (5, 5)), "what it is a copy of has changed"),
        (lambda: (photos / "0.png").unlink(), "what it is a copy of is gone"),
    ):
        saved = tmp_path / "saved"
        shutil.copytree(photos, saved)
        found = find_duplicates(photos)
        disturb()
        before = contents(photos)
        moved = move_copies(found, tmp_path / "away")
        assert moved.photographs == () and why in moved.left[0].reason, why
        assert contents(photos) == before
        shutil.rmtree(photos)
        saved.rename(photos)


def test_bytes_are_compared_once_more(photos: Path, tmp_path: Path) -> None:
    found = find_duplicates(photos)
    file = photos / "more" / "same.png"
    status = file.stat()
    with file.open("r+b") as opened:  # a bit of it turns, and the file keeps its size and time
        opened.seek(status.st_size // 2)
        opened.write(b"?!")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    moved = move_copies(found, tmp_path / "away")
    assert moved.photographs == () and "no longer those" in moved.left[0].reason and file.exists()


def test_nothing_is_written_over(photos: Path, tmp_path: Path) -> None:
    (photos / "more" / "small.MOV").unlink()
    away = tmp_path / "away"
    (away / "more").mkdir(parents=True)
    (away / "more" / "same.png").write_text("somebody else's")
    (away / "more" / "small.xmp").write_text("somebody else's")  # the picture would fit, what belongs to it does not
    before = contents(photos)
    moved = move_copies(find_duplicates(photos), away)
    assert moved.photographs == () and {one.reason for one in moved.left} == {"a file of its name is there already"}
    assert contents(photos) == before
    assert (away / "more" / "same.png").read_text() == (away / "more" / "small.xmp").read_text() == "somebody else's"
    undone = undo_move(undo_file(moved))
    assert undone.back == () and contents(photos) == before


def test_a_photograph_whose_files_cannot_all_go_nor_come_back(photos: Path, tmp_path: Path, monkeypatch) -> None:
    (photos / "more" / "small.MOV").unlink()
    real, broken = move._rename, []

    def failing(here: int, name: str, there: int, new: str) -> None:
        if name == "small.xmp" or (broken and name == "small.jpg"):
            broken.append(name)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(here, name, there, new)

    before = contents(photos)
    monkeypatch.setattr(move, "_rename", failing)
    moved = move_copies(find_duplicates(photos), tmp_path / "away" / "deep")
    monkeypatch.undo()
    assert [one.path for one in moved.left] == ["more/small.jpg"] and moved.photographs == (("more/same.png",),)
    assert "only an undo brings them back" in moved.left[0].reason
    assert contents(tmp_path / "away" / "deep")[b"more/small.jpg"] == before[b"more/small.jpg"]
    assert undo_move(undo_file(moved)).left == () and contents(photos) == before


def test_undo_leaves_what_is_there_again(photos: Path, tmp_path: Path) -> None:
    moved = move_copies(find_duplicates(photos), tmp_path / "away")
    (photos / "more" / "same.png").write_text("new")
    undone = undo_move(undo_file(moved))
    assert undone.back == () and undone.left[0].reason == "a file of its name is there already"
    assert (photos / "more" / "same.png").read_text() == "new" and (tmp_path / "away/more/same.png").exists()
    (photos / "more" / "same.png").unlink()
    shutil.copy(photos / "2.png", tmp_path / "away/more/same.png")
    assert undo_move(undo_file(moved)).left[0].reason == "another file has its name now"
    (tmp_path / "away/more/same.png").unlink()
    assert "neither" in undo_move(undo_file(moved)).left[0].reason


def test_odd_names_and_folders(tmp_path: Path) -> None:
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/ph\xf6tos"))  # no UTF-8
    (root / "new\nline").mkdir(parents=True)
    scene(0, 96).save(root / "a.png")
    for name in ("new\nline/b\n.png", "B.png", "b.png", "-rf.png", "ß\u0301 «x».png"):
        shutil.copy(root / "a.png", root / name)
    before = contents(root)
    moved = move_copies(find_duplicates(root, keep="largest"), tmp_path / "away\nhere")
    assert len(moved.photographs) == 5 and len(contents(root)) == 1
    assert json.loads(json.dumps(moved.to_json()))["moved"]
    assert undo_move(undo_file(moved)).left == () and contents(root) == before


def test_a_folder_that_may_not_be_written(photos: Path, tmp_path: Path, monkeypatch) -> None:
    real = move._rename

    def refused(here: int, name: str, there: int, new: str) -> None:
        if name == "same.png":
            raise PermissionError(errno.EACCES, "Permission denied")
        real(here, name, there, new)

    monkeypatch.setattr(move, "_rename", refused)
    before = contents(photos)
    moved = move_copies(find_duplicates(photos), tmp_path / "away")
    assert moved.left[0].reason == "no permission" and contents(photos) == before


@pytest.mark.parametrize("call", ["rename", "unlink"])
def test_what_cannot_be_taken_away_does_not_stay_twice(photos: Path, elsewhere: Path, monkeypatch, call) -> None:
    rename, unlink, refusals = move._rename, os.unlink, []

    def refuse(name: str) -> None:
        if name.endswith(".going") and not refusals:  # the first is that of the picture, in its own folder
            refusals.append(name)
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def renamed(here: int, name: str, there: int, new: str) -> None:
        if call == "rename":
            refuse(new)
        rename(here, name, there, new)

    def unlinked(name: str, **options: int) -> None:
        if call == "unlink":
            refuse(name)
        unlink(name, **options)

    monkeypatch.setattr(move, "_rename", renamed)
    monkeypatch.setattr(os, "unlink", unlinked)
    before = contents(photos)
    moved = move_copies(find_duplicates(photos), elsewhere)
    assert moved.left[0].reason == "read-only file system" and refusals
    assert contents(photos) == before and set(contents(elsewhere)) == {os.fsencode(undo_file(moved).name)}


def test_a_disk_that_says_no_and_did_it_all_the_same(photos: Path, elsewhere: Path, monkeypatch) -> None:
    real = os.unlink

    def late(name: str, **options: int) -> None:
        real(name, **options)
        if name.endswith(".going"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    before = contents(photos)
    monkeypatch.setattr(os, "unlink", late)
    moved = move_copies(find_duplicates(photos), elsewhere)
    monkeypatch.undo()
    assert len(moved.left) == 1 and contents(elsewhere)[b"more/same.png"] == before[b"more/same.png"]
    assert undo_move(undo_file(moved)).left == () and contents(photos) == before


def test_a_link_in_the_way_is_not_followed(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "away").mkdir()
    (tmp_path / "trap").mkdir()
    (tmp_path / "away" / "more").symlink_to(tmp_path / "trap")
    before = contents(photos)
    moved = move_copies(find_duplicates(photos), tmp_path / "away")
    assert "link" in moved.left[0].reason and contents(photos) == before and not list((tmp_path / "trap").iterdir())


def test_places_that_are_refused(photos: Path, tmp_path: Path) -> None:
    found = find_duplicates(photos)
    (tmp_path / "door").symlink_to(photos)
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "catalog.sqlite").write_bytes(b"")
    (tmp_path / "file").write_text("")
    for target, words in (
        (photos, "lies in"),
        (photos / "more" / "deeper", "lies in"),
        (tmp_path / "door" / "more", "lies in"),
        (tmp_path, "holds"),
        (tmp_path / "index" / "x", "an index"),
        (tmp_path / "file", "no folder"),
        (tmp_path / "file" / "x", "cannot be made"),
    ):
        before = contents(photos)
        with pytest.raises(RetrievalError, match=words):
            move_copies(found, target)
        assert contents(photos) == before


def test_an_undo_file_of_a_stranger(photos: Path, tmp_path: Path) -> None:
    moved = move_copies(find_duplicates(photos), tmp_path / "away")
    file = undo_file(moved)
    good = json.loads(file.read_text())
    (tmp_path / "victim.png").write_bytes(b"whole")
    (tmp_path / "away" / ".hidden.png").write_bytes(b"x")
    (tmp_path / "away" / "run.sh").write_bytes(b"#!/bin/sh")
    (tmp_path / "away" / "link.png").symlink_to(tmp_path / "victim.png")

    def one(path: object, **other: object) -> dict[str, object]:
        return {"files": [{"path": path, "size": 1, "mtime_ns": 1, "sha256": "", **other}]}

    before = contents(tmp_path)
    del before[os.fsencode(os.path.relpath(file, tmp_path))]
    for change in (
        one("../victim.png"),
        one("/etc/passwd"),
        one("more/../../victim.png"),
        one("more//same.png"),
        one(".hidden.png"),
        one(""),
        one("a\0b.png"),
        one("\ud800.png"),
        one(7),
        one("more/same.png", size="1"),
        one("more/same.png", mtime_ns=True),
        {"files": ["x"]},
        {"files": None},
        {"token": "../../x"},
        {"token": None},
        {"from": "photos"},
        {"from": 3},
        {"format": "another"},
    ):
        file.write_text(json.dumps({**good, **change}))
        with pytest.raises(RetrievalError, match=r"nothing was moved"):
            undo_move(file)
    for text in ("", "[]", "null", "{", "[" * 100_000, "\xff"):
        file.write_bytes(text.encode("latin-1"))
        with pytest.raises(RetrievalError, match=r"nothing was moved"):
            undo_move(file)
    for where in (tmp_path / "away", tmp_path / "away" / "more", tmp_path):  # a file would be its own copy there
        file.write_text(json.dumps({**good, "from": str(where)}))
        with pytest.raises(RetrievalError, match="lie apart"):
            undo_move(file)
    file.write_text(json.dumps({**good, "from": str(tmp_path / "nowhere")}))
    with pytest.raises(RetrievalError, match="cannot be opened"):
        undo_move(file)
    with pytest.raises(RetrievalError, match="cannot be read"):
        undo_move(tmp_path / "nothing.json")
    for name in ("run.sh", "link.png"):  # possible paths, and nothing that a move took there
        status = (tmp_path / "away" / name).lstat()
        entry = one(name, size=status.st_size, mtime_ns=status.st_mtime_ns)
        file.write_text(json.dumps({**good, **entry}))
        assert len(undo_move(file).left) == 1
    after = contents(tmp_path)
    del after[os.fsencode(os.path.relpath(file, tmp_path))]
    assert after == before and not (photos / "run.sh").exists()
    file.write_text(json.dumps(good))
    assert undo_move(file).back == ("more/same.png",)


def test_a_target_that_fills_up_stops_the_move(photos: Path, elsewhere: Path, monkeypatch) -> None:
    (photos / "more" / "small.MOV").unlink()
    before = contents(photos)
    found = find_duplicates(photos)
    real = move._copy_status

    def full(source: int, copy: int) -> None:
        if len(contents(elsewhere)) > 2:  # the undo file, one picture, and the part of the next
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, copy)

    monkeypatch.setattr(move, "_copy_status", full)
    with pytest.raises(RetrievalError, match=r"is full; 1 of 2 pictures .*--undo"):
        move_copies(found, elsewhere)
    monkeypatch.undo()
    (file,) = elsewhere.glob("undo-*.json")
    assert not list(elsewhere.rglob(".retrieval*"))
    assert undo_move(file).left == () and contents(photos) == before


def test_without_an_undo_file_nothing_is_moved(photos: Path, tmp_path: Path, monkeypatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = contents(photos)
    found = find_duplicates(photos)
    monkeypatch.setattr(move, "_rename", full)
    with pytest.raises(RetrievalError, match="so nothing was moved"):
        move_copies(found, tmp_path / "away")
    assert contents(photos) == before and contents(tmp_path / "away") == {}


def test_file_systems_that_can_do_less(photos: Path, tmp_path: Path, monkeypatch) -> None:
    """One that cannot flush folders does; one that can neither rename without overwriting nor link moves nothing."""
    real = os.fsync

    def flush(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    before = contents(photos)
    monkeypatch.setattr(os, "fsync", flush)
    moved = move_copies(find_duplicates(photos), tmp_path / "away")
    assert moved.left == () and undo_move(undo_file(moved)).left == () and contents(photos) == before

    def no_links(*args: object, **options: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(move, "_renameat2", lambda: None)
    monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(RetrievalError, match="not supported"):
        move_copies(find_duplicates(photos), tmp_path / "other")
    assert contents(photos) == before and contents(tmp_path / "other") == {}


def test_two_at_a_time_are_one_too_many(photos: Path, tmp_path: Path) -> None:
    found = find_duplicates(photos)
    (tmp_path / "a").mkdir()
    with move._Folders.opened(photos, tmp_path / "a", "0" * 16), pytest.raises(RetrievalError, match="Another process"):
        move_copies(found, tmp_path / "b")


def test_a_file_that_comes_in_the_instant_of_the_rename_stays(photos: Path, tmp_path: Path, monkeypatch) -> None:
    real, new = move._rename, (photos / "2.png").read_bytes()
    file = photos / "more" / "same.png"

    def late(here: int, name: str, there: int, other: str) -> None:
        if name == "same.png" and not (tmp_path / "done").exists():
            (tmp_path / "done").touch()
            (photos / "fresh").write_bytes(new)
            (photos / "fresh").replace(file)  # as editors save
        real(here, name, there, other)

    found = find_duplicates(photos)
    monkeypatch.setattr(move, "_rename", late)
    moved = move_copies(found, tmp_path / "away")
    assert moved.left[0].reason == "it was replaced while it was moved"
    assert file.read_bytes() == new and not (tmp_path / "away/more/same.png").exists()


def run(*argv: object) -> int:
    parser = argparse.ArgumentParser()
    dedup.add_arguments(parser)
    return dedup.run(parser.parse_args([str(one) for one in argv]))


def test_the_verb_previews_moves_and_takes_back(photos: Path, tmp_path: Path, capsys) -> None:
    before, away = contents(photos), tmp_path / "away"
    assert run(photos) == 0
    assert "'more/same.png' could go, '0.png' stays" in capsys.readouterr().out
    assert run(photos, "--move-to", away, "--dry-run") == 0
    assert "1 pictures" in (out := capsys.readouterr().out) and "would be moved" in out
    assert contents(photos) == before and not away.exists()
    assert run(photos, "--move-to", away, "--json") == 0
    printed = capsys.readouterr()
    said = json.loads(printed.out)["move"]
    assert said["moved"] == [["more/same.png"]] and said["left"] == [] and not said["dry_run"]
    assert str(away) in printed.err
    assert run("--undo", said["undo"], "--json") == 0
    assert json.loads(capsys.readouterr().out)["back"] == ["more/same.png"]
    assert contents(photos) == before
    (away / "more" / "same.png").write_text("in the way")
    assert run(photos, "--move-to", away, "--dry-run") == 1
    assert "0 pictures" in (out := capsys.readouterr().out) and "of its name is there already" in out
    assert run(photos, "--move-to", away) == 1
    assert "1 stay where they are" in capsys.readouterr().out
    assert run("--undo", said["undo"]) == 0
    for argv, words in (
        ([], "nothing to look at"),
        ([photos, "--undo", said["undo"]], "nothing but its file"),
        ([photos, "--dry-run"], "--move-to"),
        ([photos, "--move-to", photos / "x"], "lies in"),
    ):
        with pytest.raises(RetrievalError, match=words):
            run(*argv)


def program(*arguments: object) -> dict[str, list[str]]:
    places = [str(SUPPORT.parents[1]), str(SUPPORT)]
    done = subprocess.run(
        [sys.executable, SUPPORT / arguments[0], *map(str, arguments[1:])],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("how", ["rename", "link"])
@pytest.mark.parametrize("across", [False, True])
def test_a_kill_at_any_step_loses_nothing_and_can_be_undone(tmp_path, request, long, how, across) -> None:
    reason = program("faults.py")
    if reason is not None:
        pytest.skip(f"system calls cannot be supervised: {reason}")
    for folder in ("pictures", "target"):
        (tmp_path / folder).mkdir()
    # Every call with --long; else those of a stride that meets all kinds in the simplest case, and some in the others.
    step = 1 if long else 2 if (how, across) == ("rename", False) else 5
    target = request.getfixturevalue("elsewhere") / "target" if across else tmp_path / "target"
    found = program("killed_move.py", tmp_path / "pictures", target, how, step)
    assert found["problems"] == []
    assert found["move"] >= 5 and found["undo"] >= 2
