"""Building an index: what gets into it, and what is left out."""

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
from built import contents
from PIL import Image

from retrieval import images
from retrieval.encoder import Encoder
from retrieval.encoder.file_encoding import encode_files
from retrieval.errors import RetrievalError
from retrieval.images.reading import read_picture
from retrieval.index import Index
from retrieval.ingest import build, sync


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory)


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


def test_names_that_are_not_unicode_stop_nothing(model: Path, tmp_path: Path) -> None:
    root = tiny.folder(tmp_path / "pictures")
    for name in (b"note\xff.txt", b"broken\xfe.jpg", b"cat/film\xff.mov"):
        (root / os.fsdecode(name)).write_bytes(b"no picture")
    shutil.copy(root / "cat" / "0.png", root / os.fsdecode(b"good\xff.png"))
    folder = build(root, tmp_path / "index", model=model).index
    sync(folder)  # which looks at them again
    with Index.open(folder) as index:
        assert len(index) == 8
        assert all(path.encode() for path, *_ in index.left_out())
