"""Building an index that exists: going on after a stop, doing only what changed, taking its place."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
from built import contents, stop_after

from retrieval import images
from retrieval.encoder import Encoder
from retrieval.encoder.file_encoding import encode_files
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.ingest import build, build_index, encode_new, index_folder, memory_limits, update
from retrieval.ingest.verify_index import verify


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory)


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_second_time_there_is_nothing_to_do(tmp_path: Path, model: Path) -> None:
    root = tiny.folder(tmp_path / "pictures")
    build(root, tmp_path / "index", model=model)
    before = {name: (tmp_path / "index" / name).stat().st_mtime_ns for name in files(tmp_path / "index")}
    for given in (None, model):
        report = build(root, tmp_path / "index", model=given)
        assert (report.changed, report.kept, report.total, report.runtime) == (False, 8, 8, None)
    after = {name: (tmp_path / "index" / name).stat().st_mtime_ns for name in files(tmp_path / "index")}
    assert {**before, "writer.lock": 0} == {**after, "writer.lock": 0}


def test_only_what_changed_is_done(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tiny.folder(tmp_path / "pictures")
    build(root, tmp_path / "index", model=model)
    before = contents(tmp_path / "index")
    (root / "cat" / "1.png").unlink()
    tiny.picture(77, 40, 40).save(root / "cat" / "2.png")
    tiny.picture(78).save(root / "dog" / "new.png")
    (root / "dog" / "3.png").write_bytes(b"no longer a picture")

    asked: list[str] = []
    monkeypatch.setattr(
        encode_new, "encode_files", lambda paths, *a, **b: (asked.extend(paths), encode_files(paths, *a, **b))[1]
    )
    report = build(root, tmp_path / "index")
    assert asked == ["dog/new.png", "cat/2.png", "dog/3.png"]
    assert (report.added, report.replaced, report.removed, report.kept, report.total) == (1, 1, 2, 5, 7)

    after = contents(tmp_path / "index")
    assert set(after) == set(before) - {"cat/1.png", "dog/3.png"} | {"dog/new.png"}
    assert all(after[path] == before[path] for path in after if path not in ("cat/2.png", "dog/new.png"))
    with Index.open(tmp_path / "index") as index:
        item = index.find("cat/2.png")
        assert item is not None
        assert (item.width, item.label) == (40, "cat")
        encoder = Encoder.load(model)
        expected = encoder.encode(images.read(root / "cat/2.png", encoder.config.preprocessing)[None])
        np.testing.assert_allclose(index.vectors([item.id]), expected, atol=1e-6)


def test_an_empty_folder_does_not_empty_an_index(tmp_path: Path, model: Path) -> None:
    """A disk that is not mounted looks just like this."""
    root = tiny.folder(tmp_path / "pictures")
    build(root, tmp_path / "index", model=model)
    shutil.rmtree(root)
    root.mkdir()
    with pytest.raises(RetrievalError, match="There is no picture in"):
        build(root, tmp_path / "index", model=model)
    (root / "bad.png").touch()
    with pytest.raises(RetrievalError, match="None of the 1 pictures"):
        build(root, tmp_path / "index", model=model)
    assert len(contents(tmp_path / "index")) == 8


def test_a_stopped_build_goes_on(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tiny.folder(tmp_path / "pictures", each=6)
    build(root, tmp_path / "straight", model=model)
    with monkeypatch.context() as patch:
        stop_after(patch, 10)
        with pytest.raises(KeyboardInterrupt):
            build(root, tmp_path / "index", model=model)
    assert len(contents(tmp_path / "index")) == 10
    with Index.open(tmp_path / "index") as index:
        assert index.details["complete"] is False
    report = build(root, tmp_path / "index", model=model)
    assert (report.kept, report.added, report.total) == (10, 2, 12)
    assert contents(tmp_path / "index") == contents(tmp_path / "straight")
    with Index.open(tmp_path / "index") as index:
        assert index.details["complete"] is True


def test_overwriting_keeps_the_old_one_until_the_new_is_done(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tiny.folder(tmp_path / "pictures", each=6)
    build(root, tmp_path / "index", model=model)
    other = tiny.model(tmp_path_factory, seed=1)
    with monkeypatch.context() as patch:
        stop_after(patch, 9)
        with pytest.raises(KeyboardInterrupt):
            build(root, tmp_path / "index", model=other, overwrite=True)
    with Index.open(tmp_path / "index") as index:
        assert index.encoder_hash == Encoder.load(model).hash
        assert len(index) == 12
    report = build(root, tmp_path / "index", model=other, overwrite=True)
    assert (report.kept, report.added, report.total, report.index) == (9, 3, 12, tmp_path / "index")
    with Index.open(tmp_path / "index") as index:
        assert index.encoder_hash == Encoder.load(other).hash
    assert {path.name for path in tmp_path.iterdir()} == {"pictures", "index"}


def test_a_replacement_that_was_stopped_for_another_model_is_begun_anew(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tiny.folder(tmp_path / "pictures")
    build(root, tmp_path / "index", model=model)
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            build(root, tmp_path / "index", model=tiny.model(tmp_path_factory, seed=1), overwrite=True)
    report = build(root, tmp_path / "index", model=model, labels="none", overwrite=True)
    assert (report.added, report.kept, report.labels) == (8, 0, "none")
    assert {path.name for path in tmp_path.iterdir()} == {"pictures", "index"}


def test_overwriting_keeps_the_model_unless_another_is_given(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tiny.folder(tmp_path / "pictures")
    build(root, tmp_path / "index", model=model)
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            build(root, tmp_path / "index", labels="none", overwrite=True)
    (tmp_path / ".index.new/catalog.sqlite").write_bytes(b"?")  # what was left behind can be made again
    report = build(root, tmp_path / "index", labels="none", overwrite=True)
    assert (report.added, report.labels) == (8, "none")
    with Index.open(tmp_path / "index") as index:
        assert index.encoder_hash == Encoder.load(model).hash


def test_a_build_that_is_killed_while_it_begins_can_be_run_again(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the point up to which it came: no half-made index is taken for one."""
    root = tiny.folder(tmp_path / "pictures", each=1)
    for overwrite in (False, True):
        for name in ("save", "create"):

            def die(*_: object, **__: object) -> None:
                raise SystemExit  # which nothing catches, like a kill

            with monkeypatch.context() as patch:
                patch.setattr(shutil, "rmtree", lambda *_, **__: None)
                patch.setattr(build_index.Encoder if name == "save" else build_index.Index, name, die)
                with pytest.raises(SystemExit):
                    build(root, tmp_path / "index", model=model, overwrite=overwrite)
            assert build(root, tmp_path / "index", model=model, overwrite=overwrite).total == 2
            assert {path.name for path in tmp_path.iterdir()} == {"pictures", "index"}
            if not overwrite:
                shutil.rmtree(tmp_path / "index")
        build(root, tmp_path / "index", model=model)


@pytest.mark.parametrize("state", ["marked", "exchanged", "moved away", "moved in"])
def test_a_replacement_that_was_cut_off_is_put_right(tmp_path: Path, model: Path, state: str) -> None:
    """The process was killed between any two of its steps, where two folders change places and where they cannot."""
    root = tiny.folder(tmp_path / "pictures")
    build(root, tmp_path / "index", model=model)
    (tmp_path / "index/notes.txt").write_text("mine")
    shutil.copytree(tmp_path / "index", tmp_path / "other")
    (tmp_path / "index/replaced").touch()
    if state == "exchanged":  # the old one lies where the new one was made
        (tmp_path / "index").rename(tmp_path / ".index.new")
    elif state != "marked":
        (tmp_path / "index").rename(tmp_path / ".index.old")
    if state in ("exchanged", "moved in"):
        (tmp_path / "other").rename(tmp_path / "index")
        (tmp_path / "index/notes.txt").unlink()
        (tmp_path / "index/unfinished").touch()
    else:
        shutil.rmtree(tmp_path / "other")
    report = build(root, tmp_path / "index", model=model)
    assert (report.kept, report.changed) == (8, False)
    assert {path.name for path in tmp_path.iterdir()} == {"pictures", "index"}
    assert not {"unfinished", "replaced"} & {path.name for path in (tmp_path / "index").iterdir()}
    assert (tmp_path / "index/notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", [".index.new", ".index.old"])
@pytest.mark.parametrize("what", ["files", "an index", "a link"])
def test_what_no_build_left_there_is_left_alone(
    tmp_path: Path, model: Path, name: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of somebody's may have the name that a build would take: also an index, put away by hand."""
    root = tiny.folder(tmp_path / "pictures")
    mine = tmp_path / (name if what != "a link" else "mine")
    if what == "an index":
        build(root, mine, model=model)
    else:
        mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    if what == "a link":
        (mine / "unfinished").touch()
        (mine / "replaced").touch()
        (tmp_path / name).symlink_to(mine)
    before = sorted(path.relative_to(mine) for path in mine.rglob("*"))
    shutil.copytree(build_elsewhere(root, tmp_path / "elsewhere", model), tmp_path / "index")
    monkeypatch.setattr(index_folder, "exchange", lambda *_: False)  # as on a disk that cannot
    with pytest.raises(RetrievalError, match=re.escape(name)):
        build(root, tmp_path / "index", model=model, overwrite=True)
    assert sorted(path.relative_to(mine) for path in mine.rglob("*")) == before
    assert len(contents(tmp_path / "index")) == 8


def build_elsewhere(root: Path, out: Path, model: Path) -> Path:
    build(root, out, model=model)
    return out


@pytest.mark.parametrize("can", [True, False])
def test_what_somebody_put_into_an_index_outlives_it(
    tmp_path: Path, model: Path, can: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tiny.folder(tmp_path / "pictures")
    build(root, tmp_path / "index", model=model)
    (tmp_path / "index/notes.txt").write_text("mine")
    (tmp_path / "index/more").mkdir()
    (tmp_path / "index/more/a").write_text("mine, too")
    for name in ("segments/notes.txt", "ann/00000001.ann.bak", "encoder/notes.txt", "encoder/more/b"):
        (tmp_path / "index" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "index" / name).write_text(name)
    old = {path.name for path in (tmp_path / "index/encoder").iterdir()}
    if not can:
        monkeypatch.setattr(index_folder, "exchange", lambda *_: False)
    assert build(root, tmp_path / "index", model=model, labels="none", overwrite=True).added == 8
    assert (tmp_path / "index/notes.txt").read_text() == "mine"
    assert (tmp_path / "index/more/a").read_text() == "mine, too"
    for name in ("segments/notes.txt", "ann/00000001.ann.bak", "encoder/notes.txt", "encoder/more/b"):
        assert (tmp_path / "index" / name).read_text() == name
    assert {path.name for path in (tmp_path / "index/encoder").iterdir()} == old
    assert verify(tmp_path / "index").ok
    assert {path.name for path in tmp_path.iterdir()} == {"pictures", "index"}
    assert not {"unfinished", "replaced"} & {path.name for path in (tmp_path / "index").iterdir()}


def test_an_encoder_that_was_exchanged_is_not_used(
    tmp_path: Path, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tiny.folder(tmp_path / "pictures")
    build(root, tmp_path / "index", model=model)
    shutil.rmtree(tmp_path / "index/encoder")
    shutil.copytree(tiny.model(tmp_path_factory, seed=1) / "encoder", tmp_path / "index/encoder")
    tiny.picture(77).save(root / "new.png")
    with pytest.raises(RetrievalError, match="is not the one that it was built with"):
        build(root, tmp_path / "index")
    assert len(contents(tmp_path / "index")) == 8


def test_a_link_to_an_index_stays_one(tmp_path: Path, model: Path) -> None:
    root = tiny.folder(tmp_path / "pictures")
    (tmp_path / "disk").mkdir()
    build(root, tmp_path / "disk/index", model=model)
    (tmp_path / "index").symlink_to("disk/index")
    assert build(root, tmp_path / "index", model=model, labels="none", overwrite=True).added == 8
    assert (tmp_path / "index").is_symlink()
    assert set(contents(tmp_path / "disk/index").values()) == {(n, None) for n in range(8)}


def test_a_structure_is_seen_to_where_nothing_has_changed(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be damaged; who builds it knows."""
    from retrieval.index.nearest import kinds
    from retrieval.tuning import default

    seen: list[tuple[int, int | None]] = []
    monkeypatch.setattr(update, "FEW_NUMBERS", 0)
    monkeypatch.setattr(default, "default_structure", lambda index, memory: seen.append((len(index), memory)))
    root = tiny.folder(tmp_path / "pictures", each=30)
    build(root, tmp_path / "index", model=model)
    build(root, tmp_path / "index")
    assert seen == [(60, None)]
    with Index.open(tmp_path / "index", write=True) as index:
        index.set_structure(kinds.build("HNSW32,Flat", index.all_vectors()[1]), {"efSearch": 16})
    assert not build(root, tmp_path / "index").changed
    assert seen == [(60, None)] * 2


def test_without_the_memory_for_a_structure_a_later_build_makes_it(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retrieval.tuning import default

    seen: list[int | None] = []
    monkeypatch.setattr(update, "FEW_NUMBERS", 0)
    monkeypatch.setattr(default, "default_structure", lambda index, memory: seen.append(memory))
    monkeypatch.setattr(memory_limits, "_growth", lambda *_: 0)
    monkeypatch.setattr(memory_limits, "resident", lambda: 0)
    monkeypatch.setattr(update, "resident", lambda: 150 * 10**6 - 1000)
    root = tiny.folder(tmp_path / "pictures", each=10)
    assert build(root, tmp_path / "index", model=model, memory=150 * 10**6).added == 20
    assert not build(root, tmp_path / "index", memory=150 * 10**6).changed
    assert seen == []
    assert not build(root, tmp_path / "index", memory=150 * 10**6 + 4 * 20 * 16 * 2).changed
    assert seen == [500 + 4 * 20 * 16]
    assert not build(root, tmp_path / "index").changed
    assert len(seen) == 1


def test_an_index_of_few_numbers_does_not_wait_for_a_structure(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retrieval.tuning import default

    seen: list[int] = []
    monkeypatch.setattr(default, "default_structure", lambda index, memory: seen.append(len(index)))
    build(tiny.folder(tmp_path / "pictures", each=10), tmp_path / "index", model=model)
    assert seen == []
    with Index.open(tmp_path / "index") as index:
        assert index.details["complete"] and index.structure is None
    monkeypatch.setattr(update, "FEW_NUMBERS", 20 * 16 - 1)
    build(tmp_path / "pictures", tmp_path / "index", model=model, overwrite=True)
    assert seen == [20]
