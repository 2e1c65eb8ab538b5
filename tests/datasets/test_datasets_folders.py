"""Sets of one's own: folders, zip archives, CSV lists."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_sets import (
    SHARED,
    hash_of,
    noise,
    same,
    write,
    zipped,
)

from retrieval import datasets
from retrieval.datasets.layout import arrange
from retrieval.errors import RetrievalError
from retrieval.images import Preprocessing

# --- Folders


def test_arranging_paths() -> None:
    plain = arrange(["cat/1.png", "cat/sub/2.png", "dog/1.png", "loose.png"])
    assert plain.classes == ("cat", "dog") and plain.labels.tolist() == [0, 0, 1, -1]
    assert set(plain.splits.tolist()) == {"train"}
    split = arrange(["Test/cat/1.png", "train/dog/1.png", "valid/dog/2.png"])
    assert split.classes == ("cat", "dog") and split.labels.tolist() == [0, 1, 1]
    assert split.splits.tolist() == ["test", "train", "val"] and split.names[0] == "Test/cat/1.png"
    wrapped = arrange(["att_faces/s1/1.pgm", "att_faces/s2/1.pgm"])
    assert wrapped.classes == ("s1", "s2") and wrapped.names == ("s1/1.pgm", "s2/1.pgm")
    assert arrange(["wrapped/train/a/1.png", "wrapped/test/a/1.png"]).splits.tolist() == ["train", "test"]
    assert arrange(["a.png", "b.png"]).labels.tolist() == [-1, -1]
    assert arrange(["train/a.png", "test/b.png"]).labels.tolist() == [-1, -1]
    assert arrange(["train/a/1.png", "steam/b/1.png"]).classes == ("steam", "train")
    assert arrange(["only/1.png", "only/2.png"]).classes == ("only",)
    assert arrange([]).classes == ()


@pytest.mark.parametrize(
    "stray", ["cover.jpg", "all/cover.jpg", "all/thumbs/cover.jpg", "thumbs/1.jpg", "thumbs/a/1.jpg"]
)
def test_a_few_pictures_elsewhere_change_nothing_about_the_rest(stray: str) -> None:
    split = arrange(["all/train/a/1.png", "all/train/b/2.png", "all/test/a/3.png", stray])
    if stray.startswith("thumbs"):  # so that nothing is passed over
        split = arrange(["train/a/1.png", "train/b/2.png", "test/a/3.png", stray])
    assert split.classes == ("a", "b") and split.labels.tolist() == [0, 1, 0, -1]
    assert split.splits.tolist()[:3] == ["train", "train", "test"]
    if stray != "all/thumbs/cover.jpg" and not stray.startswith("thumbs"):
        plain = arrange(["all/a/1.png", "all/b/2.png", "all/b/3.png", stray])
        assert plain.classes == ("a", "b") and plain.labels.tolist() == [0, 1, 1, -1]


def test_zip_of_a_program_of_windows(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "win.zip", "w") as file:
        for name in ("faces\\s1\\1.png", "faces\\s2\\2.png", "faces\\s2\\.hidden.png"):
            write(tmp_path / "one.png", noise(4, 4, seed=hash_of(name)))
            file.writestr(name, (tmp_path / "one.png").read_bytes())
    loaded = datasets.load(tmp_path / "win.zip")
    assert loaded.classes == ("s1", "s2") and loaded.names == ("s1/1.png", "s2/2.png")


def test_class_folders_are_not_opened_until_read(tmp_path: Path) -> None:
    pixels = noise(6, 8, 8, 3)
    for row, one in enumerate(pixels):
        write(tmp_path / f"pets/{'ab'[row % 2]}/{row}.png", one)
    (tmp_path / "pets/a/broken.png").symlink_to("gone")
    (tmp_path / "pets/a/cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    loaded = datasets.load(tmp_path / "pets")
    assert loaded.names == ("a/0.png", "a/2.png", "a/4.png", "a/cut.png", "b/1.png", "b/3.png", "b/5.png")
    assert loaded.skipped == (("a/broken.png", "broken link"),)
    with pytest.raises(RetrievalError, match=r"1 of 7 pictures cannot be read, the first is .*cut\.png.*truncated"):
        loaded.read(Preprocessing(8))
    done: list[int] = []
    readable, skipped = loaded.check(done.append)
    assert sum(done) == 7 and [(Path(s.path).name, s.reason) for s in skipped] == [
        ("broken.png", "broken link"),
        ("cut.png", "truncated"),
    ]
    np.testing.assert_array_equal(readable.read(Preprocessing(8)), pixels[[0, 2, 4, 1, 3, 5]])
    np.testing.assert_array_equal(readable.read(Preprocessing(8), [5, 0, 0]), pixels[[5, 0, 0]])
    assert readable.read(Preprocessing(8), []).shape == (0, 8, 8, 3)


def test_reading_in_threads_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = noise(150, 8, 8, 3)
    for row, one in enumerate(pixels):
        write(tmp_path / f"{row:03d}.png", one)
    loaded = datasets.load(tmp_path)
    for threshold in (0.0, 1e9):  # all in threads, none in threads
        monkeypatch.setattr("retrieval.datasets.picture_set._WORTH_A_THREAD", threshold)
        done: list[int] = []
        np.testing.assert_array_equal(loaded.read(Preprocessing(8), progress=done.append), pixels)
        assert sum(done) == 150


def test_a_folder_without_pictures_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RetrievalError, match="no picture below"):
        datasets.load(tmp_path)
    with pytest.raises(RetrievalError, match=r"no file or folder .*nowhere.*; give a folder of pictures"):
        datasets.load(tmp_path / "nowhere")
    (tmp_path / "letter.doc").write_text("x")
    with pytest.raises(RetrievalError, match=r"letter\.doc' is not a set of pictures that is understood"):
        datasets.load(tmp_path / "letter.doc")


# --- Zip archives


def test_zip_of_class_folders(tmp_path: Path) -> None:
    for name in ("s1/1.pgm", "s1/2.pgm", "s2/1.pgm"):
        write(tmp_path / "faces" / name, noise(11, 9, seed=hash_of(name)))
    archive = zipped(tmp_path / "faces")
    with zipfile.ZipFile(archive, "a") as file:
        for name in ("__MACOSX/faces/s1/._1.pgm", "faces/readme.txt"):
            file.writestr(name, b"x")
        file.writestr("faces/s2/cut.pgm", b"P5\n9 11\n255\n1234")
    loaded = datasets.load(archive)
    assert loaded.names == ("s1/1.pgm", "s1/2.pgm", "s2/1.pgm") and loaded.classes == ("s1", "s2")
    assert loaded.skipped == (("faces/s2/cut.pgm", "truncated"),)
    same(loaded, datasets.resident(datasets.load(tmp_path / "faces")))


def test_zip_names_never_escape(tmp_path: Path) -> None:
    picture = io.BytesIO()
    Image.new("L", (4, 4)).save(picture, "PNG")
    (tmp_path / "in").mkdir()
    with zipfile.ZipFile(tmp_path / "in/evil.zip", "w") as file:
        file.writestr("../../evil/a.png", picture.getvalue())
        file.writestr("/etc/b.png", picture.getvalue())
        file.writestr("good\\c.png", picture.getvalue())
    loaded = datasets.load(tmp_path / "in/evil.zip")
    assert loaded.names == ("good/c.png",)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["evil.zip", "in"]
    datasets.export(loaded, tmp_path / "out")
    assert all((tmp_path / "out") in path.parents for path in tmp_path.rglob("*.png"))


def test_zip_of_pictures_of_several_sizes_says_what_to_do(tmp_path: Path) -> None:
    write(tmp_path / "p/a/1.png", noise(4, 4))
    write(tmp_path / "p/a/2.png", noise(5, 4))
    with pytest.raises(RetrievalError, match=r"differ in size.*4×4.*4×5.*unpack p.zip and give the folder"):
        datasets.load(zipped(tmp_path / "p"))


def test_grey_and_colour_in_one_zip_become_colour(tmp_path: Path) -> None:
    write(tmp_path / "p/a/1.png", noise(4, 4))
    write(tmp_path / "p/a/2.png", noise(4, 4, 3))
    loaded = datasets.load(zipped(tmp_path / "p"))
    np.testing.assert_array_equal(loaded.pixels[0], np.repeat(noise(4, 4, 1), 3, axis=2))
    np.testing.assert_array_equal(loaded.pixels[1], noise(4, 4, 3))


@pytest.mark.skipif(not (SHARED / "att_faces.zip").is_file(), reason="no ../shared/data/att_faces.zip")
def test_the_real_faces() -> None:
    loaded = datasets.load(SHARED / "att_faces.zip")
    assert loaded.pixels is not None and loaded.pixels.shape == (400, 112, 92, 1)
    assert np.bincount(loaded.labels).tolist() == [10] * 40 and "s40" in loaded.classes


# --- CSV


def test_csv_list(tmp_path: Path) -> None:
    for name in ("a.png", "in/b, c.png", "d.png"):
        write(tmp_path / name, noise(4, 4, 3))
    with (tmp_path / "list.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(["Label", "Path", "Split", "remark"])
        writer.writerow(["cät", "a.png", "Test", ""])
        writer.writerow(["", "in/b, c.png", "", "x"])
        file.write("\n")
        writer.writerow(["ant", str(tmp_path / "d.png"), "validation", ""])
    loaded = datasets.load(tmp_path / "list.csv")
    assert loaded.classes == ("ant", "cät") and loaded.labels.tolist() == [1, -1, 0]
    assert loaded.splits.tolist() == ["test", "train", "val"]
    assert loaded.names[:2] == ("a.png", "in/b, c.png") and not loaded.names[2].startswith("/")
    assert loaded.read(Preprocessing(4)).shape == (3, 4, 4, 3)
    (tmp_path / "bare.csv").write_text("path\na.png\n")
    assert datasets.load(tmp_path / "bare.csv").labels.tolist() == [-1]


def test_a_list_is_read_however_it_is_written(tmp_path: Path) -> None:
    for name in ("cafe\u0301.png", "IN/B.PNG"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, noise(4, 4, 3))
    contents = {
        "semicolons.csv": "Path; Label\ncaf\u00e9.png; one\nin/b.png; two\n",
        "tabs.tsv": "label\tpath\none\tcaf\u00e9.png\ntwo\tin/b.png\n",
        "lines.jsonl": '{"path": "caf\u00e9.png", "label": "one"}\n{"path": "in/b.png", "label": "two"}\n',
        "list.json": '[{"path": "caf\u00e9.png", "label": "one"}, {"path": "in/b.png", "label": "two"}]',
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
        loaded = datasets.load(tmp_path / name)
        assert loaded.classes == ("one", "two") and loaded.labels.tolist() == [0, 1], name
        assert loaded.read(Preprocessing(4)).shape == (2, 4, 4, 3)
    (tmp_path / "twice.csv").write_text("path,label\ncaf\u00e9.png,one\ncafe\u0301.png,two\n", encoding="utf-8")
    with pytest.raises(RetrievalError, match=r"Line 3 .* again \(first in line 2"):
        datasets.load(tmp_path / "twice.csv")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"a.png,cat\n", "Line 1 .* must name the columns"),
        (b"path,label\na.png,cat\nb.png\n", "Line 3 .* has 1 cells instead of 2"),
        (b"path,label\n,cat\n", "Line 2 .* has no path"),
        (b"path,split\na.png,exam\n", "Line 2 .* has the split 'exam'"),
        (b"path\na.png\n\na.png\n", r"Line 4 .* lists 'a.png' again \(first in line 2\)"),
        (b'path\n"a.png\n', "Line . .* is not CSV"),
        (b"path\ncaf\xe9.png\n", r"Line 2 .* is not UTF-8 \(byte 4 of it\)"),
        (b"path,label\n", "has no pictures"),
        (b"", "has no pictures"),
    ],
)
def test_csv_errors_name_the_line(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(RetrievalError, match=sentence):
        datasets.load(tmp_path / "list.csv")
