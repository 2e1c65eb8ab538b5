"""Building an index: what gets into it, what is left out, and what happens the second time."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image

from retrieval import images
from retrieval.encoder import Encoder
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.indexing import build, building
from retrieval.indexing.labels import label_rule
from retrieval.reading import encode_files, read_picture


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory)


def contents(out: Path) -> dict[str, tuple[int, str | None]]:
    """path → (id, label) of everything in an index."""
    with Index.open(out) as index:
        ids, _ = index.all_vectors()
        return {item.path: (item.id, item.label) for item in index.items(ids)}


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_every_vector_is_its_own_files(tmp_path: Path, model: Path) -> None:
    root = tmp_path / "pictures"
    (root / "deep" / "er").mkdir(parents=True)
    tiny.picture(1).save(root / "a.png")
    tiny.picture(2, 200, 100).save(root / "wide.jpg", quality=95)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90°
    tiny.picture(3, 300, 120).save(root / "deep" / "turned.jpg", exif=exif)
    tiny.picture(4).convert("P").save(root / "deep" / "er" / "palette.gif")
    tiny.picture(5, 90, 60).convert("CMYK").save(root / "cmyk.jpg")
    report = build(root, tmp_path / "index", model=model)

    assert (report.total, report.added, report.kept, report.skipped) == (5, 5, 0, ())
    encoder = Encoder.load(model)
    shapes = {}
    with Index.open(tmp_path / "index") as index:
        assert index.encoder_hash == encoder.hash == Encoder.load(tmp_path / "index").hash
        ids, vectors = index.all_vectors()
        for item, vector in zip(index.items(ids), vectors, strict=True):
            file = root / item.path
            expected = encoder.encode(
                images.read(file, encoder.config.preprocessing, (index.decoder or "").split()[0])[None]
            )
            np.testing.assert_allclose(vector, expected[0], atol=1e-6)
            assert item.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
            assert (item.size, item.mtime_ns) == (file.stat().st_size, file.stat().st_mtime_ns)
            shapes[item.path] = (item.width, item.height)
    assert shapes == {
        "a.png": (32, 32),
        "wide.jpg": (200, 100),
        "deep/turned.jpg": (120, 300),
        "deep/er/palette.gif": (32, 32),
        "cmyk.jpg": (90, 60),
    }


def test_threads_and_batches_change_nothing(tmp_path: Path, model: Path) -> None:
    root = tiny.folder(tmp_path / "pictures", each=9)
    build(root, tmp_path / "one", model=model, threads=1)
    build(root, tmp_path / "three", model=model, threads=3, batch=2)
    with Index.open(tmp_path / "one") as one, Index.open(tmp_path / "three") as three:
        assert contents(tmp_path / "one") == contents(tmp_path / "three")
        np.testing.assert_allclose(one.all_vectors()[1], three.all_vectors()[1], atol=1e-6)


def test_no_more_is_read_ahead_than_the_threads_need(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tiny.folder(tmp_path / "pictures", each=20)
    encoder = Encoder.load(model, threads=1)
    begun: list[int] = []
    whole = encoder.encode
    monkeypatch.setattr(encoder, "encode", lambda pixels: (begun.append(len(pixels)), whole(pixels))[1])
    files = [root / path for path in images.find(root).paths]
    batches = encode_files(files, encoder, "pillow", threads=2, batch=2)
    first = next(batches)
    time.sleep(0.3)  # long enough to encode everything
    assert (first.start, len(first.vectors)) == (0, 2)
    assert sum(begun) <= 3 * 2
    assert [batch.start for batch in batches] == list(range(2, 40, 2))
    assert sum(begun) == 40


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

    asked: list[Path] = []
    monkeypatch.setattr(
        building, "encode_files", lambda files, *a, **b: (asked.extend(files), encode_files(files, *a, **b))[1]
    )
    report = build(root, tmp_path / "index")
    assert {file.relative_to(root).as_posix() for file in asked} == {"cat/2.png", "dog/new.png", "dog/3.png"}
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


def test_bad_files_are_listed_and_stop_nothing(tmp_path: Path, model: Path) -> None:
    root = tiny.folder(tmp_path / "pictures")
    whole = (root / "cat" / "0.png").read_bytes()
    (root / "cat" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (root / "cat" / "empty.jpg").touch()
    (root / "cat" / "text.jpg").write_text("this is not a picture")
    (root / "cat" / "lost.png").symlink_to("nowhere.png")
    os.mkfifo(root / "cat" / "pipe.png")
    (root / "cat" / "notes.txt").write_text("not even called one")
    Path(os.fsdecode(os.fsencode(root / "cat") + b"/caf\xe9.png")).write_bytes(whole)
    report = build(root, tmp_path / "index", model=model)

    expected = {
        "cat/cut.png": "truncated",
        "cat/empty.jpg": "empty file",
        "cat/text.jpg": "not a picture",
        "cat/lost.png": "broken link",
        "cat/pipe.png": "not a regular file",
        "cat/caf\\xe9.png": "name is not UTF-8",
    }
    assert dict(report.skipped) == expected
    assert (report.total, report.changed) == (8, True)
    with (tmp_path / "index" / "skipped.csv").open(newline="", encoding="utf-8") as stream:
        assert {row["path"]: row["reason"] for row in csv.DictReader(stream)} == expected
    with Index.open(tmp_path / "index") as index:
        assert dict(index.skipped()) == expected

    (root / "cat" / "cut.png").write_bytes(whole)
    for path in expected.keys() - {"cat/cut.png", "cat/caf\\xe9.png"}:
        (root / path).unlink()
    Path(os.fsdecode(os.fsencode(root / "cat") + b"/caf\xe9.png")).unlink()
    report = build(root, tmp_path / "index")
    assert (report.added, report.skipped) == (1, ())
    assert not (tmp_path / "index" / "skipped.csv").exists()


def test_a_picture_of_too_many_pixels_is_left_out(tmp_path: Path, model: Path) -> None:
    root = tiny.folder(tmp_path / "pictures")
    header = bytearray((root / "cat" / "0.png").read_bytes())
    header[16:24] = (60_000).to_bytes(4, "big") * 2
    header[29:33] = zlib.crc32(header[12:29]).to_bytes(4, "big")
    (root / "dog" / "bomb.png").write_bytes(header)
    report = build(root, tmp_path / "index", model=model)
    assert dict(report.skipped) == {"dog/bomb.png": "too many pixels (60000×60000)"}


def test_nothing_readable_is_an_error_and_leaves_nothing(tmp_path: Path, model: Path) -> None:
    root = tmp_path / "pictures"
    root.mkdir()
    with pytest.raises(RetrievalError, match="There is no picture in"):
        build(root, tmp_path / "index", model=model)
    (root / "a.jpg").touch()
    with pytest.raises(RetrievalError, match=r"None of the 1 pictures .* 'a\.jpg': empty file"):
        build(root, tmp_path / "index", model=model)
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


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


def test_what_does_not_fit_the_index_is_refused(
    tmp_path: Path, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tiny.folder(tmp_path / "pictures")
    other = tiny.folder(tmp_path / "others")
    build(root, tmp_path / "index", model=model, decoder="pillow")
    before = contents(tmp_path / "index")
    with pytest.raises(RetrievalError, match=r"from the folder '.*pictures', not '.*others'"):
        build(other, tmp_path / "index")
    with pytest.raises(RetrievalError, match="with another model"):
        build(root, tmp_path / "index", model=tiny.model(tmp_path_factory, seed=1))
    with pytest.raises(RetrievalError, match="with the decoder pillow, not simplejpeg"):
        build(root, tmp_path / "index", decoder="simplejpeg")
    with pytest.raises(RetrievalError, match=r"with other labels \(folders\) than these \(none\)"):
        build(root, tmp_path / "index", labels="none")
    with pytest.raises(RetrievalError, match="There is no decoder 'magic'"):
        build(root, tmp_path / "new", model=model, decoder="magic")
    with Index.open(tmp_path / "index", write=True), pytest.raises(RetrievalError, match="is being written by"):
        build(root, tmp_path / "index")
    assert contents(tmp_path / "index") == before
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_index_is_left_alone(tmp_path: Path, model: Path, overwrite: bool) -> None:
    root = tiny.folder(tmp_path / "pictures", each=1)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    file = tmp_path / "file"
    file.write_text("also mine")
    for out in (mine, file):
        with pytest.raises(RetrievalError, match="exists and is no index"):
            build(root, out, model=model, overwrite=overwrite)
    assert (mine / "thesis.txt").read_text() == "years of work"
    assert file.read_text() == "also mine"
    (tmp_path / "empty").mkdir()
    assert build(root, tmp_path / "empty", model=model, overwrite=overwrite).total == 2


def test_places_that_cannot_be_written(tmp_path: Path, model: Path) -> None:
    root = tiny.folder(tmp_path / "pictures", each=1)
    (tmp_path / "loop").symlink_to("loop")
    for out in (tmp_path / "loop", tmp_path / ("long" * 100), root / "cat/0.png/index", Path("/")):
        with pytest.raises(RetrievalError):
            build(root, out, model=model)
    assert {path.name for path in tmp_path.iterdir()} == {"pictures", "loop"}


def stop_after(monkeypatch: pytest.MonkeyPatch, pictures: int) -> None:
    """Press Ctrl-C when so many pictures are encoded; commit after every four."""
    monkeypatch.setattr(building, "COMMIT_PICTURES", 4)

    def stopping(*args: object, **options: object):  # type: ignore[no-untyped-def]
        for done, batch in enumerate(encode_files(*args, threads=1, batch=1)):  # type: ignore[arg-type]
            if done == pictures:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(building, "encode_files", stopping)


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
                patch.setattr(building.Encoder if name == "save" else building.Index, name, die)
                with pytest.raises(SystemExit):
                    build(root, tmp_path / "index", model=model, overwrite=overwrite)
            assert build(root, tmp_path / "index", model=model, overwrite=overwrite).total == 2
            assert {path.name for path in tmp_path.iterdir()} == {"pictures", "index"}
            if not overwrite:
                shutil.rmtree(tmp_path / "index")
        build(root, tmp_path / "index", model=model)


@pytest.mark.parametrize("moved", [False, True])
def test_a_replacement_that_was_cut_off_is_put_right(tmp_path: Path, model: Path, moved: bool) -> None:
    """The process was killed between moving the old index away and moving the new one in, or right after."""
    root = tiny.folder(tmp_path / "pictures")
    build(root, tmp_path / "index", model=model)
    if moved:
        shutil.copytree(tmp_path / "index", tmp_path / ".index.old")
    else:
        (tmp_path / "index").rename(tmp_path / ".index.old")
    report = build(root, tmp_path / "index", model=model)
    assert (report.kept, report.changed) == (8, False)
    assert {path.name for path in tmp_path.iterdir()} == {"pictures", "index"}


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


def test_labels(tmp_path: Path) -> None:
    def auto(*paths: str) -> list[str | None]:
        rule = label_rule("auto", tmp_path, paths)
        return [rule(path) for path in paths]

    assert auto("cat/1.png", "dog/2.png") == ["cat", "dog"]
    assert auto("latin/a/1.png", "latin/b/1.png", "greek/a/1.png") == ["latin/a", "latin/b", "greek/a"]
    assert auto("cat/1.png", "cat/2.png") == [None, None]  # one folder tells nothing apart
    assert auto("cat/1.png", "dog/2.png", "3.png") == [None] * 3
    assert auto("cat/1.png", "dog/big/2.png") == [None] * 2
    assert auto("1.png", "2.png") == [None] * 2
    folders = label_rule("folders", tmp_path, ["3.png", "dog/big/2.png"])
    assert [folders("3.png"), folders("dog/big/2.png")] == [None, "dog/big"]
    assert label_rule("none", tmp_path, ["cat/1.png", "dog/2.png"])("cat/1.png") is None
    assert label_rule("auto", tmp_path, ["cat/1.png", "dog/2.png"], recorded="none").name == "none"


def test_labels_from_a_list(tmp_path: Path, model: Path) -> None:
    root = tiny.folder(tmp_path / "pictures", each=1)
    listed = tmp_path / "list.csv"
    listed.write_text(
        'label,path\n"a ""quoted"", one",cat/0.png\nkind,pictures/dog/0.png\nx,missing.png\n', "utf-8-sig"
    )
    report = build(root, tmp_path / "index", model=model, labels=listed)
    assert (report.labels, report.classes) == ("csv", 2)
    assert {path: label for path, (_, label) in contents(tmp_path / "index").items()} == {
        "cat/0.png": 'a "quoted", one',
        "dog/0.png": "kind",
    }
    assert not build(root, tmp_path / "index", labels=listed).changed
    listed.write_text("path,label\ncat/0.png,other\n")
    with pytest.raises(RetrievalError, match="with other labels"):
        build(root, tmp_path / "index", labels=listed)
    for text, message in (
        ("path,label\nnowhere.png,x\n", "name none of the 2 pictures"),
        ("file,class\ncat/0.png,x\n", "have the columns class, file; two must be called path and label"),
        ("", r"have the columns \(none\)"),
    ):
        listed.write_text(text)
        with pytest.raises(RetrievalError, match=message):
            build(root, tmp_path / "new", model=model, labels=listed)
    with pytest.raises(RetrievalError, match="cannot be read"):
        build(root, tmp_path / "new", model=model, labels=tmp_path / "absent.csv")


def test_both_decoders(tmp_path: Path, model: Path) -> None:
    pytest.importorskip("simplejpeg")
    root = tmp_path / "pictures"
    root.mkdir()
    for number in range(3):
        tiny.picture(number, 160, 120).save(root / f"{number}.jpg")
    (root / "cut.jpg").write_bytes((root / "0.jpg").read_bytes()[:700])
    preprocessing = Encoder.load(model).config.preprocessing
    for decoder in ("pillow", "simplejpeg"):
        report = build(root, tmp_path / decoder, model=model, decoder=decoder)
        assert dict(report.skipped) == {"cut.jpg": "truncated"}
        with Index.open(tmp_path / decoder) as index:
            assert (index.decoder or "").startswith(decoder + " ")
        assert build(root, tmp_path / decoder).kept == 3  # auto keeps to the index's own
        for number in range(3):
            file = root / f"{number}.jpg"
            read = read_picture(file, preprocessing, decoder)
            assert (read.pixels == images.read(file, preprocessing, decoder)).all()


@pytest.mark.parametrize(("name", "value"), [("threads", 0), ("batch", -1)])
def test_numbers_are_checked(tmp_path: Path, name: str, value: int) -> None:
    with pytest.raises(RetrievalError, match=f"{name} is {value}"):
        build(tmp_path, tmp_path / "index", **{name: value})  # type: ignore[arg-type]


def test_a_damaged_structure_is_made_again(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Index.build_structure
    monkeypatch.setattr(Index, "build_structure", lambda index: whole(index, exact_limit=0))
    root = tiny.folder(tmp_path / "pictures", each=30)
    build(root, tmp_path / "index", model=model)
    (structure,) = (tmp_path / "index/ann").glob("*.faiss")
    content = structure.read_bytes()
    assert not build(root, tmp_path / "index").changed
    structure.write_bytes(content[: len(content) // 2])
    assert not build(root, tmp_path / "index").changed
    (structure,) = (tmp_path / "index/ann").glob("*.faiss")
    assert structure.stat().st_size == len(content)
