"""Bringing an index up to date: renamed, copied, touched, changed and deleted pictures."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tiny
from built import commit_every, contents, vectors, watch

from retrieval.base import placed_files
from retrieval.encoder import file_encoding
from retrieval.errors import RetrievalError
from retrieval.images import reading
from retrieval.index import Index
from retrieval.ingest import BuildReport, build, sync, update
from retrieval.places import folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory)


@pytest.fixture
def root(tmp_path: Path, model: Path) -> Path:
    """Six pictures; ``index`` beside them holds them."""
    root = tiny.folder(tmp_path / "pictures", each=3)
    build(root, tmp_path / "index", model=model)
    return root


def counts(report: BuildReport) -> dict[str, int]:
    """What is not zero in a report."""
    names = ("added", "replaced", "renamed", "touched", "kept", "removed", "copied", "relabelled")
    return {name: getattr(report, name) for name in names if getattr(report, name)}


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*.png")
    }


def same_as_anew(root: Path, index: Path, model: Path, where: Path) -> None:
    """An index is what a new build of its folder would be, but for the ids."""
    build(root, where, model=model, labels="folders", threads=1)
    assert {path: label for path, (_, label) in contents(index).items()} == {
        path: label for path, (_, label) in contents(where).items()
    }
    found, expected = vectors(index), vectors(where)
    for path in expected:
        np.testing.assert_allclose(found[path], expected[path], atol=1e-6)
    with Index.open(index) as opened:
        assert opened.details["complete"] is True
        ids, _ = opened.all_vectors()
        for item in opened.items(ids):
            status = (root / item.path).stat()
            assert (item.size, item.mtime_ns) == (status.st_size, status.st_mtime_ns)
            assert item.sha256 == hashlib.sha256((root / item.path).read_bytes()).hexdigest()
    shutil.rmtree(where)


def test_nothing_to_do(root: Path, tmp_path: Path) -> None:
    before = (tmp_path / "index/catalog.sqlite").read_bytes()
    report = sync(tmp_path / "index")
    assert (counts(report), report.changed, report.total) == ({"kept": 6}, False, 6)
    assert (tmp_path / "index/catalog.sqlite").read_bytes() == before


def test_a_renamed_file_keeps_its_id_and_gets_the_label_of_its_place(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, rows = contents(tmp_path / "index"), vectors(tmp_path / "index")
    (root / "cat/0.png").rename(root / "dog/moved.png")
    decoded = watch(monkeypatch)
    report = sync(tmp_path / "index")
    assert (counts(report), decoded) == ({"renamed": 1, "kept": 5}, [])
    after = contents(tmp_path / "index")
    assert after["dog/moved.png"] == (before["cat/0.png"][0], "dog")
    assert "cat/0.png" not in after
    assert (vectors(tmp_path / "index")["dog/moved.png"] == rows["cat/0.png"]).all()
    assert counts(sync(tmp_path / "index")) == {"kept": 6}


def test_a_folder_that_moves(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(tmp_path / "index")
    (root / "cat").rename(root / "lion")
    decoded = watch(monkeypatch)
    assert (counts(sync(tmp_path / "index")), decoded) == ({"renamed": 3, "kept": 3}, [])
    after = contents(tmp_path / "index")
    assert {path: item for path, item in after.items() if item[1] == "lion"} == {
        f"lion/{n}.png": (before[f"cat/{n}.png"][0], "lion") for n in range(3)
    }


@pytest.mark.parametrize("at_once", [1, 100])
@pytest.mark.parametrize("length", [2, 3])
def test_files_that_change_places(
    root: Path, tmp_path: Path, length: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(update, "UPDATE_ITEMS", at_once)
    before = contents(tmp_path / "index")
    names = ["cat/0.png", "dog/0.png", "cat/1.png"][:length]
    for name in names:
        (root / name).rename(root / f"{name}.away")
    for old, new in zip(names, [*names[1:], names[0]], strict=True):
        (root / f"{old}.away").rename(root / new)
        os.utime(root / new, ns=(0, 10**9 * names.index(old)))
    decoded = watch(monkeypatch)
    assert (counts(sync(tmp_path / "index")), decoded) == ({"renamed": length, "kept": 6 - length}, [])
    after = contents(tmp_path / "index")
    for old, new in zip(names, [*names[1:], names[0]], strict=True):
        assert after[new] == (before[old][0], new[:3])


def test_a_row_of_numbers_that_shifts(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(tmp_path / "index")
    for number in (2, 1, 0):
        (root / f"cat/{number}.png").rename(root / f"cat/{number + 1}.png")
    tiny.picture(99).save(root / "cat/0.png")
    decoded = watch(monkeypatch)
    assert counts(sync(tmp_path / "index")) == {"replaced": 1, "renamed": 3, "kept": 3}
    assert decoded == [hashes(root)["cat/0.png"]]
    after = contents(tmp_path / "index")
    assert [after[f"cat/{n + 1}.png"][0] for n in range(3)] == [before[f"cat/{n}.png"][0] for n in range(3)]


def test_a_file_that_was_put_over_another(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(tmp_path / "index")
    (root / "cat/0.png").replace(root / "cat/1.png")
    os.utime(root / "cat/1.png", ns=(0, 0))
    decoded = watch(monkeypatch)
    assert (counts(sync(tmp_path / "index")), decoded) == ({"renamed": 1, "kept": 4}, [])
    after = contents(tmp_path / "index")
    assert (after["cat/1.png"], len(after)) == (before["cat/0.png"], 5)


def test_a_touched_file_is_not_encoded(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(tmp_path / "index")
    for path in root.rglob("*.png"):
        os.utime(path, ns=(0, 12345))
    decoded = watch(monkeypatch)
    report = sync(tmp_path / "index")
    assert (counts(report), report.changed, report.runtime, decoded) == ({"touched": 6}, False, None, [])
    assert contents(tmp_path / "index") == before
    assert counts(sync(tmp_path / "index")) == {"kept": 6}


def test_a_copy_is_not_encoded(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(tmp_path / "index")
    shutil.copy(root / "cat/0.png", root / "cat/copy.png")
    shutil.copy(root / "dog/1.png", root / "dog/0.png")  # over another one
    decoded = watch(monkeypatch)
    assert counts(sync(tmp_path / "index")) == {"added": 1, "replaced": 1, "copied": 2, "kept": 5}
    assert decoded == []
    after = contents(tmp_path / "index")
    assert all(after[path] == before[path] for path in before if path != "dog/0.png")
    rows = vectors(tmp_path / "index")
    assert (rows["cat/copy.png"] == rows["cat/0.png"]).all()
    assert (rows["dog/0.png"] == rows["dog/1.png"]).all()
    with Index.open(tmp_path / "index") as index:
        item = index.find("cat/copy.png")
        assert item is not None
        assert (item.width, item.height) == (tiny.SIZE, tiny.SIZE)


@pytest.mark.parametrize("storage", ["float32", "float16"])
def test_copies_within_one_build(tmp_path: Path, model: Path, storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tiny.folder(tmp_path / "pictures", each=4)
    for number in range(4):
        shutil.copy(root / f"cat/{number}.png", root / f"dog/{number}.png")
    (root / "dog/broken.png").write_bytes((root / "cat/0.png").read_bytes()[:60])
    shutil.copy(root / "dog/broken.png", root / "cat/broken.png")
    decoded = watch(monkeypatch)
    commit_every(monkeypatch, 3)
    report = build(root, tmp_path / "index", model=model, threads=1, batch=2, vectors=storage)
    assert counts(report) == {"added": 8, "copied": 4}
    assert len(decoded) == len(set(decoded)) == 4
    assert dict(report.skipped) == {"cat/broken.png": "truncated", "dog/broken.png": "truncated"}
    rows = vectors(tmp_path / "index")
    assert all((rows[f"cat/{n}.png"] == rows[f"dog/{n}.png"]).all() for n in range(4))
    with Index.open(tmp_path / "index") as index:
        assert index.storage == storage


def test_ids_do_not_depend_on_which_thread_meets_a_content_first(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tiny.folder(tmp_path / "pictures", each=4)
    shutil.copy(root / "dog/0.png", root / "cat/0.png")
    build(root, tmp_path / "one", model=model, threads=1)
    met = threading.Event()
    whole = reading.read_picture

    def read(path: Path, *args: object, **options: object) -> reading.ReadPicture:
        if Path(path) == root / "cat/0.png":
            assert met.wait(20)
        picture = whole(path, *args, **options)  # type: ignore[arg-type]
        if Path(path) == root / "dog/0.png":
            assert picture.pixels is not None
            met.set()
        return picture

    monkeypatch.setattr(file_encoding, "read_picture", read)
    commit_every(monkeypatch, 1)
    build(root, tmp_path / "more", model=model, threads=5, batch=1)
    assert contents(tmp_path / "one") == contents(tmp_path / "more")


def test_what_size_and_time_do_not_show(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = root / "cat/0.png"

    def draw(seed: int) -> None:
        tiny.picture(seed).save(file)
        file.write_bytes(file.read_bytes().ljust(4000, b"\0"))  # what comes after a PNG's end is passed over
        os.utime(file, ns=(0, 10**9))

    draw(50)
    assert counts(sync(tmp_path / "index")) == {"replaced": 1, "kept": 5}
    draw(51)
    assert counts(sync(tmp_path / "index")) == {"kept": 6}
    decoded = watch(monkeypatch)
    assert counts(sync(tmp_path / "index", checksum=True)) == {"replaced": 1, "kept": 5}
    assert decoded == [hashes(root)["cat/0.png"]]
    assert counts(sync(tmp_path / "index", checksum=True)) == {"kept": 6}


def test_deleted_and_spoilt_files_are_taken_out(root: Path, tmp_path: Path) -> None:
    (root / "cat/0.png").unlink()
    (root / "cat/1.png").write_bytes(b"no longer a picture")
    report = sync(tmp_path / "index")
    assert counts(report) == {"kept": 4, "removed": 2}
    assert dict(report.skipped) == {"cat/1.png": "not a picture"}
    assert set(contents(tmp_path / "index")) == {"cat/2.png", *(f"dog/{n}.png" for n in range(3))}


def test_a_disk_that_is_not_there_empties_nothing(root: Path, tmp_path: Path) -> None:
    before = contents(tmp_path / "index")
    root.rename(tmp_path / "away")
    with pytest.raises(RetrievalError, match="is not there; connect its disk"):
        sync(tmp_path / "index")
    root.mkdir()
    with pytest.raises(RetrievalError, match=r"There is no picture in .* nothing was taken out"):
        sync(tmp_path / "index")
    (root / "bad.png").touch()
    with pytest.raises(RetrievalError, match="None of the 1 pictures"):
        sync(tmp_path / "index")
    assert contents(tmp_path / "index") == before


def test_what_cannot_be_looked_at_is_not_gone(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder below that the user may not read, or whose server is down."""
    before = contents(tmp_path / "index")
    whole = placed_files.stamp_at

    def stamp(path: str) -> placed_files.Stamp | None:
        if Path(path).parent.name == "dog":
            raise PermissionError(13, "no")
        return whole(path)

    (root / "dog").rename(tmp_path / "hidden")  # so that nobody finds them either
    monkeypatch.setattr(folder, "stamp_at", stamp)
    (root / "cat/0.png").unlink()
    assert counts(sync(tmp_path / "index")) == {"kept": 5, "removed": 1}
    assert contents(tmp_path / "index") == {path: item for path, item in before.items() if path != "cat/0.png"}


@pytest.mark.parametrize("reorganised", [False, True])
def test_a_folder_that_was_moved_to_another_disk(
    root: Path, tmp_path: Path, reorganised: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(tmp_path / "index")
    there = tmp_path / "disk" / "pictures"
    shutil.copytree(root, there, copy_function=shutil.copyfile)  # all times are other ones
    shutil.rmtree(root)
    if reorganised:
        (there / "2024").mkdir()
        for name in ("cat", "dog"):
            (there / name).rename(there / "2024" / name)
    decoded = watch(monkeypatch)
    report = sync(tmp_path / "index", there)
    assert (counts(report), decoded) == ({"renamed" if reorganised else "touched": 6}, [])
    above = "2024/" if reorganised else ""
    assert contents(tmp_path / "index") == {
        above + path: (id_, above + str(label)) for path, (id_, label) in before.items()
    }
    with Index.open(tmp_path / "index") as index:
        assert index.root == str(there)
    assert counts(sync(tmp_path / "index")) == {"kept": 6}
    assert counts(build(there, tmp_path / "index")) == {"kept": 6}


def test_another_folder_is_refused(root: Path, tmp_path: Path) -> None:
    before = contents(tmp_path / "index")
    other = tmp_path / "other"
    (other / "fox").mkdir(parents=True)
    for number in range(5):
        tiny.picture(900 + number).save(other / f"fox/{number}.png")
    shutil.copy(root / "cat/0.png", other / "fox/known.png")
    with pytest.raises(RetrievalError, match="Fewer than half of the 6 pictures"):
        sync(tmp_path / "index", other)
    with pytest.raises(RetrievalError, match="is only a part of the folder"):
        sync(tmp_path / "index", root / "cat")
    with pytest.raises(RetrievalError, match="from the folder"):
        build(other, tmp_path / "index")
    assert contents(tmp_path / "index") == before
    assert counts(sync(tmp_path / "index", root)) == {"kept": 6}


@pytest.mark.parametrize("seed", range(4))
def test_any_changes_give_what_a_new_build_gives(
    tmp_path: Path, model: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random changes; nothing whose content was there is encoded, and each content that stays keeps its ids."""
    root = tiny.folder(tmp_path / "pictures", each=4)
    shutil.copy(root / "cat/0.png", root / "dog/0.png")
    build(root, tmp_path / "index", model=model)
    chance = random.Random(seed)
    commit_every(monkeypatch, 2)
    monkeypatch.setattr(update, "UPDATE_ITEMS", chance.choice([1, 3, 100]))
    decoded = watch(monkeypatch)
    for step in range(3):
        with Index.open(tmp_path / "index") as index:
            ids = index.all_vectors()[0]
            before = {item.id: item.sha256 for item in index.items(ids)}
        change_at_random(root, chance, 10 * step + 100 * seed)
        decoded.clear()
        sync(tmp_path / "index", threads=chance.choice([1, 3]), batch=1)
        now = hashes(root)
        assert len(decoded) == len(set(decoded))
        assert set(decoded) == set(now.values()) - set(before.values())
        with Index.open(tmp_path / "index") as index:
            ids = index.all_vectors()[0]
            after = {item.id: item.sha256 for item in index.items(ids)}
        assert all(after[id_] == before[id_] for id_ in after.keys() & before.keys())
        kept = Counter(after[id_] for id_ in after.keys() & before.keys())
        assert kept == Counter(before.values()) & Counter(now.values())
    same_as_anew(root, tmp_path / "index", model, tmp_path / "anew")


def change_at_random(root: Path, chance: random.Random, new: int) -> None:
    """Some ten things that people do with pictures."""
    for number in range(10):
        files = sorted(root.rglob("*.png"))
        one, other = chance.sample(files, 2)
        target = root / chance.choice(["cat", "dog"]) / f"{chance.randrange(8)}.png"
        what = chance.choice(["move", "copy", "swap", "touch", "draw", "delete"])
        if what == "move":
            one.replace(target)
        elif what == "copy" and one != target:
            shutil.copy(one, target)
        elif what == "swap":
            one.rename(root / "aside")
            other.rename(one)
            (root / "aside").rename(other)
        elif what == "draw":
            tiny.picture(1000 + new + number).save(target)
        elif what == "delete" and len(files) > 4:
            one.unlink()
    for file in root.rglob("*.png"):
        if chance.random() < 0.5:
            os.utime(file, ns=(0, chance.randrange(10**18)))
