"""A sync that is killed between any two changes of the index, and run again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny
from built import commit_every, contents, vectors, watch

from retrieval.index import Index
from retrieval.ingest import build, sync, update

CHANGING = ("upsert", "update", "remove", "record_details", "record_root", "record_skipped", "set_structure")
"""All by which a run changes an index, one transaction each."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory)


class Killed(BaseException):
    """Nothing catches it, like a kill."""


def kill_after(patch: pytest.MonkeyPatch, call: int) -> list[str]:
    """Kill the process after one of the calls that change the index; their names so far."""
    seen: list[str] = []

    def wrapped(name: str, whole: Callable[..., object]) -> Callable[..., object]:
        def change(*args: object, **options: object) -> object:
            seen.append(name)
            result = whole(*args, **options)
            if len(seen) - 1 == call:
                raise Killed
            return result

        return change

    for name in CHANGING:
        patch.setattr(Index, name, wrapped(name, getattr(Index, name)))
    return seen


def snapshot(out: Path) -> dict[str, tuple[object, ...]]:
    """All that is known of every item, but for its id."""
    with Index.open(out) as index:
        ids, _ = index.all_vectors()
        return {
            item.path: (item.label, item.width, item.height, item.size, item.mtime_ns, item.sha256)
            for item in index.items(ids)
        }


def disturb(root: Path) -> None:
    """Everything at once: new, changed, touched, renamed, copied, swapped, shifted, spoilt and deleted files."""
    for number in range(3):
        tiny.picture(500 + number).save(root / f"dog/new{number}.png")
    shutil.copy(root / "dog/new0.png", root / "cat/same as new.png")
    shutil.copy(root / "cat/0.png", root / "dog/copy.png")
    tiny.picture(600).save(root / "cat/1.png")
    os.utime(root / "cat/2.png", ns=(0, 1))
    (root / "cat/3.png").rename(root / "dog/moved.png")
    for old, new in (("cat/4.png", "aside"), ("dog/4.png", "cat/4.png"), ("aside", "dog/4.png")):
        (root / old).rename(root / new)
    os.utime(root / "cat/4.png", ns=(0, 2))
    os.utime(root / "dog/4.png", ns=(0, 3))
    (root / "dog/0.png").replace(root / "dog/1.png")
    os.utime(root / "dog/1.png", ns=(0, 4))
    (root / "dog/2.png").write_bytes(b"no longer a picture")
    (root / "dog/3.png").unlink()


def test_killed_between_any_two_changes(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tiny.folder(tmp_path / "pictures", each=5)
    build(root, tmp_path / "before", model=model)
    old = {values[-1] for values in snapshot(tmp_path / "before").values()}
    disturb(root)
    commit_every(monkeypatch, 2)
    monkeypatch.setattr(update, "UPDATE_ITEMS", 3)
    shutil.copytree(tmp_path / "before", tmp_path / "straight")
    with monkeypatch.context() as patch:
        changes = kill_after(patch, -1)
        straight = sync(tmp_path / "straight", threads=1, batch=1)
    assert (straight.added, straight.replaced, straight.renamed, straight.touched) == (5, 1, 4, 1)
    assert (straight.removed, straight.copied) == (2, 2)
    assert {"upsert", "update", "remove", "record_details", "record_skipped"} <= set(changes)
    expected, rows = snapshot(tmp_path / "straight"), vectors(tmp_path / "straight")
    stay = old & {values[-1] for values in expected.values()}
    ids = contents(tmp_path / "before")
    moved = {"cat/3.png": "dog/moved.png", "cat/4.png": "dog/4.png", "dog/4.png": "cat/4.png", "dog/0.png": "dog/1.png"}

    for call in range(len(changes)):
        shutil.copytree(tmp_path / "before", tmp_path / "index")
        with monkeypatch.context() as patch, pytest.raises(Killed):
            kill_after(patch, call)
            sync(tmp_path / "index", threads=1, batch=1)
        there = {values[-1] for values in snapshot(tmp_path / "index").values()}
        assert stay <= there
        with monkeypatch.context() as patch:
            decoded = watch(patch)
            report = sync(tmp_path / "index", threads=1, batch=1)
        assert not there & set(decoded), f"encoded again after {changes[: call + 1]}"
        assert snapshot(tmp_path / "index") == expected
        found = vectors(tmp_path / "index")
        assert all(np.abs(found[path] - rows[path]).max() < 1e-6 for path in rows)
        assert dict(report.skipped) == {"dog/2.png": "not a picture"}
        now = contents(tmp_path / "index")
        assert all(now[path][0] == ids[before][0] for before, path in moved.items())
        assert not sync(tmp_path / "index").changed
        shutil.rmtree(tmp_path / "index")


def test_killed_while_the_folder_moves(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tiny.folder(tmp_path / "pictures", each=2)
    build(root, tmp_path / "before", model=model)
    root.rename(tmp_path / "moved")
    root = tmp_path / "moved"
    (root / "cat/0.png").rename(root / "cat/9.png")
    shutil.copytree(tmp_path / "before", tmp_path / "straight")
    with monkeypatch.context() as patch:
        changes = kill_after(patch, -1)
        sync(tmp_path / "straight", root)
    assert changes[0] == "record_root"
    for call in range(len(changes)):
        shutil.copytree(tmp_path / "before", tmp_path / "index")
        with monkeypatch.context() as patch, pytest.raises(Killed):
            kill_after(patch, call)
            sync(tmp_path / "index", root)
        sync(tmp_path / "index")
        assert contents(tmp_path / "index") == contents(tmp_path / "straight")
        shutil.rmtree(tmp_path / "index")


def test_killed_while_labels_change(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old list, given again after it, gives all pictures the old labels."""
    root = tiny.folder(tmp_path / "pictures", each=2)
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    first.write_text("path,label\ncat/0.png,a\ncat/1.png,b\ndog/0.png,b\n")
    second.write_text("path,label\ncat/0.png,b\ncat/1.png,b\ndog/new.png,c\n")
    build(root, tmp_path / "before", model=model, labels=first)
    tiny.picture(900).save(root / "dog/new.png")
    shutil.copytree(tmp_path / "before", tmp_path / "straight")
    with monkeypatch.context() as patch:
        changes = kill_after(patch, -1)
        report = sync(tmp_path / "straight", labels=second)
    assert report.relabelled == 2
    expected = {"cat/0.png": "a", "cat/1.png": "b", "dog/0.png": "b", "dog/1.png": None, "dog/new.png": None}
    for call in range(len(changes)):
        shutil.copytree(tmp_path / "before", tmp_path / "index")
        with monkeypatch.context() as patch, pytest.raises(Killed):
            kill_after(patch, call)
            sync(tmp_path / "index", labels=second)
        sync(tmp_path / "index", labels=first)
        assert {path: label for path, (_, label) in contents(tmp_path / "index").items()} == expected
        sync(tmp_path / "index", labels=second)
        assert contents(tmp_path / "index") == contents(tmp_path / "straight")
        shutil.rmtree(tmp_path / "index")
