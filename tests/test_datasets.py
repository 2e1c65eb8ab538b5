"""Every layout of a labelled set, made small by the tests themselves; and saving, splitting, exporting."""

from __future__ import annotations

import csv
import gzip
import io
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from small_sets import (
    SHARED,
    VERSIONS,
    binary_version,
    cifar10_pixels,
    hash_of,
    in_memory,
    noise,
    omniglot,
    python_version,
    same,
    write,
    write_idx,
    zipped,
)

from retrieval import datasets
from retrieval.datasets import cifar10, hdf5, mnist
from retrieval.datasets.exporting import targets
from retrieval.datasets.layout import arrange
from retrieval.errors import RetrievalError
from retrieval.images import Preprocessing

# --- CIFAR-10


@pytest.mark.parametrize("kind", VERSIONS)
@pytest.mark.parametrize("form", ["folder", "folder above", "tar.gz", "tgz", "tar"])
def test_cifar10_in_all_its_layouts(tmp_path: Path, kind: str, form: str) -> None:
    inside, make = VERSIONS[kind]
    folder = tmp_path / "set" / inside
    make(folder)
    source = {"folder": folder, "folder above": folder.parent}.get(form)
    if source is None:
        source = tmp_path / f"set.{form}"
        with tarfile.open(source, "w:gz" if form != "tar" else "w") as archive:
            archive.add(folder, inside)
    loaded = datasets.load(source)
    pixels, labels = cifar10_pixels()
    np.testing.assert_array_equal(loaded.pixels, pixels)
    np.testing.assert_array_equal(loaded.labels, labels)
    assert loaded.name == "cifar10" and loaded.classes[3] == "cat"
    assert loaded.splits.tolist() == ["train"] * 20 + ["test"] * 4
    assert loaded.names[0] == "train/airplane/00000.png" and loaded.names[20] == "test/airplane/00000.png"


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_pickles_of_older_protocols_are_read(tmp_path: Path, protocol: int) -> None:
    python_version(tmp_path / "set", protocol)
    np.testing.assert_array_equal(datasets.load(tmp_path / "set").pixels, cifar10_pixels()[0])


class Evil:
    """What it names is run by an ordinary unpickler."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(Evil.place),)

    place = Path()


def test_a_hostile_pickle_is_not_run(tmp_path: Path) -> None:
    python_version(tmp_path / "set")
    Evil.place = tmp_path / "was_here"
    (tmp_path / "set/data_batch_3").write_bytes(pickle.dumps({b"data": Evil(), b"labels": []}))
    with pytest.raises(RetrievalError, match=r"posix\.mkdir"):
        datasets.load(tmp_path / "set")
    assert not Evil.place.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle",
        pickle.dumps([1, 2]),
        pickle.dumps({b"labels": [1]}),
        pickle.dumps({b"data": np.zeros((2, 3072), np.float32), b"labels": [1, 2]}),
        pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1]}),
        pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, 77]}),
        pickle.dumps({b"data": np.zeros((2, 3071), np.uint8), b"labels": [1, 2]}),
        b"\x80\x04r\xff\xff\xff\x7f.",  # a memo of two thousand million entries
    ],
)
def test_damaged_pickles_are_one_sentence(tmp_path: Path, content: bytes) -> None:
    python_version(tmp_path / "set")
    (tmp_path / "set/data_batch_2").write_bytes(content)
    with pytest.raises(RetrievalError, match=r"CIFAR-10 in .* is damaged"):
        datasets.load(tmp_path / "set")


def test_a_forged_array_cannot_read_past_its_bytes() -> None:
    pickled = pickle.dumps({b"data": np.arange(12, dtype=np.uint8).reshape(3, 4)}, 2)
    assert cifar10.unpickle(pickled)[b"data"].tolist() == np.arange(12).reshape(3, 4).tolist()
    forged = pickled.replace(b"K\x03K\x04\x86", b"K\x7fK\x7f\x86")
    assert forged != pickled
    with pytest.raises(ValueError, match="shorter than it says"):
        cifar10.unpickle(forged)


def test_missing_batches_are_named(tmp_path: Path) -> None:
    binary_version(tmp_path / "set")
    (tmp_path / "set/data_batch_4.bin").unlink()
    with pytest.raises(RetrievalError, match=r"lacks data_batch_4\.bin"):
        datasets.load(tmp_path / "set")
    with tarfile.open(tmp_path / "other.tar.gz", "w:gz"):
        pass
    with pytest.raises(RetrievalError, match="holds no CIFAR-10"):
        datasets.load(tmp_path / "other.tar.gz")


def test_damaged_archives_are_one_sentence(tmp_path: Path) -> None:
    python_version(tmp_path / "set")
    with tarfile.open(tmp_path / "set.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "set", "cifar-10-batches-py")
    whole = (tmp_path / "set.tar.gz").read_bytes()
    for name, content in {"cut.tgz": whole[: len(whole) // 2], "text.tgz": b"no archive", "empty.tgz": b""}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RetrievalError, match=r"damaged or incomplete|holds no CIFAR-10"):
            datasets.load(tmp_path / name)
    (tmp_path / "text.zip").write_bytes(b"no archive")
    with pytest.raises(RetrievalError, match="damaged or incomplete"):
        datasets.load(tmp_path / "text.zip")


def test_tar_members_never_escape(tmp_path: Path) -> None:
    """Names that lead elsewhere, and links, are read as bytes or not at all; nothing is unpacked."""
    binary_version(tmp_path / "set")
    (tmp_path / "secret").write_bytes(b"\0" * 3073)
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        for name in cifar10.BATCHES[1:]:
            archive.add(tmp_path / f"set/{name}.bin", f"../../outside/{name}.bin")
        link = tarfile.TarInfo("data_batch_1.bin")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret")
        archive.addfile(link)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RetrievalError, match="holds no CIFAR-10"):
        datasets.load(tmp_path / "set.tar")
    assert sorted(tmp_path.rglob("*")) == before


# --- MNIST


@pytest.mark.parametrize("zipped", [True, False])
def test_mnist_idx_files(tmp_path: Path, zipped: bool) -> None:
    train, test = noise(20, 28, 28), noise(10, 28, 28, seed=1)
    write_idx(tmp_path, "train", train, np.arange(20) % 10, zipped)
    write_idx(tmp_path, "t10k", test, np.arange(10)[::-1], zipped)
    loaded = datasets.load(tmp_path)
    np.testing.assert_array_equal(loaded.pixels[..., 0], np.concatenate([train, test]))
    assert loaded.name == "mnist" and loaded.names[20] == "test/9/00000.png"
    assert loaded.splits.tolist() == ["train"] * 20 + ["test"] * 10


def test_fashion_mnist_is_told_by_its_labels(tmp_path: Path) -> None:
    labels = np.array([9, 0, 0, 3, 0, 2, 7, 2, 5, 5, 1])
    write_idx(tmp_path, "train", noise(11, 28, 28), labels, True)
    loaded = datasets.load(tmp_path)
    assert loaded.name == "fashion-mnist" and loaded.classes[9] == "Ankle boot"
    assert loaded.names[1] == "train/T-shirt-top/00001.png"


def test_damaged_idx_files_are_named(tmp_path: Path) -> None:
    write_idx(tmp_path, "train", noise(4, 28, 28), np.arange(4), True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    whole = gzip.decompress(path.read_bytes())
    for content in (
        *(whole[:-1], whole + b"x", b"", whole[:9], b"\0\0\x0d\3" + whole[4:]),
        struct.pack(">IIII", 0x803, 2**31, 2**31, 2**31),
    ):
        path.write_bytes(gzip.compress(content))
        with pytest.raises(RetrievalError, match=r"train-images-idx3-ubyte.gz' is not a whole IDX file"):
            datasets.load(tmp_path)
    path.write_bytes(gzip.compress(whole)[:-30])
    with pytest.raises(RetrievalError, match="damaged or incomplete"):
        datasets.load(tmp_path)
    path.write_bytes(whole)  # not gzipped, in spite of its name
    assert len(datasets.load(tmp_path)) == 4
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(RetrievalError, match=r"lacks train-labels-idx1-ubyte.gz"):
        datasets.load(tmp_path)


@pytest.mark.skipif(not (SHARED / "mnist").is_dir(), reason="no ../shared/data/mnist")
def test_the_real_mnist() -> None:
    loaded = datasets.load(SHARED / "mnist")
    assert loaded.pixels is not None and loaded.pixels.shape == (70000, 28, 28, 1)
    assert loaded.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(loaded.select("test").labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


# --- Omniglot


def test_omniglot_in_three_levels(tmp_path: Path) -> None:
    omniglot(tmp_path / "as folders")
    (tmp_path / "as zips").mkdir()
    for part in ("images_background", "images_evaluation"):
        zipped(tmp_path / "as folders" / part).rename(tmp_path / "as zips" / f"{part}.zip")
    folders, zips = datasets.load(tmp_path / "as folders"), datasets.load(tmp_path / "as zips")
    same(datasets.resident(folders), zips)
    assert folders.files is not None and zips.pixels is not None
    assert zips.classes == tuple(f"{a}/character0{n}" for a in ("Greek", "Latin", "Tengwar") for n in (1, 2))
    assert zips.levels == ("Greek",) * 6 + ("Latin",) * 6 + ("Tengwar",) * 6
    assert zips.splits.tolist() == ["train"] * 12 + ["test"] * 6
    assert zips.names[0] == "train/Greek/character01/Greek_character01_0.png"
    one = datasets.load(tmp_path / "as zips/images_evaluation.zip")
    assert one.splits.tolist() == ["test"] * 6 and one.levels == ("Tengwar",) * 6
    assert len(datasets.load(tmp_path / "as folders/images_background")) == 12
    # The folder wins over the archive of the same name.
    (tmp_path / "as zips/images_background").mkdir()
    write(tmp_path / "as zips/images_background/Greek/character01/x.png", noise(9, 9))
    assert len(datasets.load(tmp_path / "as zips")) == 1 + 6


@pytest.mark.skipif(not (SHARED / "omniglot").is_dir(), reason="no ../shared/data/omniglot")
def test_the_real_small_omniglot() -> None:
    loaded = datasets.load(SHARED / "omniglot/images_background_small1.zip")
    assert loaded.pixels is not None and set(np.unique(loaded.pixels).tolist()) == {0, 255}
    assert loaded.pixels.shape == (2720, 105, 105, 1)
    assert len(set(loaded.levels or ())) == 5 and np.bincount(loaded.labels).tolist() == [20] * 136


def test_drawings_that_both_small_sets_hold_count_once(tmp_path: Path) -> None:
    for number, alphabets in ((1, "Greek Latin"), (2, "Greek Korean")):
        for alphabet in alphabets.split():
            write(tmp_path / f"images_background_small{number}/{alphabet}/character01/1.png", noise(9, 9))
    assert datasets.load(tmp_path).levels == ("Greek", "Latin", "Korean")


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
        monkeypatch.setattr("retrieval.datasets.pictures._WORTH_A_THREAD", threshold)
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
    assert loaded.names == ("good\\c.png",)
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


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"a.png,cat\n", "Line 1 .* must name the columns"),
        (b"path,label\na.png,cat\nb.png\n", "Line 3 .* has 1 cells instead of 2"),
        (b"path,label\n,cat\n", "Line 2 .* has no path"),
        (b"path,split\na.png,exam\n", "Line 2 .* has the split 'exam'"),
        (b"path\na.png\n\na.png\n", r"Line 4 .* lists 'a.png' again \(first in line 2\)"),
        (b'path\n"a.png\n', "Line . .* is not CSV"),
        (b"path\ncaf\xe9.png\n", "is not UTF-8 text"),
        (b"path,label\n", "has no pictures"),
        (b"", "has no pictures"),
    ],
)
def test_csv_errors_name_the_line(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(RetrievalError, match=sentence):
        datasets.load(tmp_path / "list.csv")


# --- Digits


def test_digits_are_always_there() -> None:
    from sklearn.datasets import load_digits

    loaded, source = datasets.load("digits"), load_digits()
    assert loaded.pixels is not None and loaded.pixels.dtype == np.uint8
    np.testing.assert_allclose(loaded.pixels[..., 0] / 255 * 16, source.images, atol=0.04)
    np.testing.assert_array_equal(loaded.labels, source.target)
    assert np.unique(loaded.splits, return_counts=True)[1].tolist() == [360, 1437]


# --- HDF5


def test_hdf5_gives_back_what_was_saved(tmp_path: Path) -> None:
    for pictures in (
        in_memory(),
        replace(in_memory(), levels=tuple("ab" * 6), classes=("κάτα", "Greek/character01", "x")),
        replace(in_memory(), classes=(), labels=np.full(12, -1)),
        replace(in_memory(), pixels=noise(12, 3, 3, 1)),
    ):
        datasets.save(pictures, tmp_path / "deep/set.h5")
        same(datasets.load(tmp_path / "deep/set.h5"), pictures)
        assert hdf5.holds(tmp_path / "deep/set.h5", pictures)
        assert not hdf5.holds(tmp_path / "deep/set.h5", replace(pictures, splits=pictures.splits[::-1]))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["set.h5"]


def test_files_of_one_size_can_be_saved_and_others_say_what_to_do(tmp_path: Path) -> None:
    pixels = noise(4, 6, 5, 3)
    for row, one in enumerate(pixels):
        write(tmp_path / f"p/{'ab'[row // 2]}/{row}.png", one)
    (tmp_path / "p/a/9.png").write_bytes(b"nothing")
    datasets.save(datasets.load(tmp_path / "p"), tmp_path / "p.h5")
    np.testing.assert_array_equal(datasets.load(tmp_path / "p.h5").pixels, pixels)
    write(tmp_path / "p/a/0.png", noise(9, 9, 3))
    with pytest.raises(RetrievalError, match="differ in size"):
        datasets.save(datasets.load(tmp_path / "p"), tmp_path / "p.h5")
    np.testing.assert_array_equal(datasets.load(tmp_path / "p.h5").pixels, pixels)


def test_a_failed_save_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets.save(in_memory(), tmp_path / "set.h5")
    before = (tmp_path / "set.h5").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RetrievalError, match=r"cannot be written.*No space left"):
        datasets.save(in_memory(9), tmp_path / "set.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["set.h5"]
    assert (tmp_path / "set.h5").read_bytes() == before


def spoil(name: str) -> Callable[[h5py.File], None]:
    def huge(file: h5py.File) -> None:
        del file["images"]
        file.create_dataset("images", (10**7, 1000, 1000, 3), "u1", chunks=(1, 1000, 1000, 3))

    def squeezed(file: h5py.File) -> None:
        del file["images"]
        file.create_dataset(
            "images", (12, 200, 200, 3), "u1", compression="gzip", data=np.zeros((12, 200, 200, 3), "u1")
        )

    def elsewhere(file: h5py.File) -> None:
        del file["images"]
        file["images"] = h5py.ExternalLink("/etc/passwd", "/images")

    def outside(file: h5py.File) -> None:
        del file["images"]
        file.create_dataset("images", (12, 6, 5, 3), "u1", external=[("/etc/passwd", 0, 12 * 90)])

    def put(key: str, values: object) -> Callable[[h5py.File], None]:
        def change(file: h5py.File) -> None:
            del file[key]
            file[key] = values

        return change

    def attribute(key: str, value: object) -> Callable[[h5py.File], None]:
        return lambda file: file.attrs.__setitem__(key, value)

    changes: dict[str, Callable[[h5py.File], None]] = {
        "huge": huge,
        "squeezed": squeezed,
        "elsewhere": elsewhere,
        "outside": outside,
        "format": attribute("format", "another"),
        "version": attribute("version", 99),
        "channels": put("images", np.zeros((12, 4, 4, 2), np.uint8)),
        "kind": put("images", np.zeros((12, 4, 4, 3), np.float32)),
        "short": put("labels", np.zeros(11, np.int64)),
        "beyond": put("labels", np.full(12, 3)),
        "split": put("splits", np.array([b"exam"] * 12)),
        "text": put("names", np.array([b"\xff%d" % n for n in range(12)])),
        "missing": lambda file: file.__delitem__("classes"),
        "group": lambda file: (file.__delitem__("labels"), file.create_group("labels"))[0],
    }
    return changes[name]


@pytest.mark.parametrize(
    "name",
    [
        *("huge", "squeezed", "elsewhere", "outside", "format", "version", "channels", "kind", "short", "beyond"),
        *("split", "text", "missing", "group"),
    ],
)
def test_hostile_hdf5_is_refused(tmp_path: Path, name: str) -> None:
    datasets.save(in_memory(), tmp_path / "set.h5")
    with h5py.File(tmp_path / "set.h5", "r+") as file:
        spoil(name)(file)
    with pytest.raises(RetrievalError, match=r"set\.h5' is no whole set of pictures"):
        datasets.load(tmp_path / "set.h5")


def test_damaged_hdf5_is_refused(tmp_path: Path) -> None:
    datasets.save(in_memory(), tmp_path / "set.h5")
    whole = (tmp_path / "set.h5").read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2]):
        (tmp_path / "set.h5").write_bytes(content)
        with pytest.raises(RetrievalError, match="no whole set of pictures"):
            datasets.load(tmp_path / "set.h5")
    at = whole.index(in_memory().pixels[3].tobytes())
    (tmp_path / "set.h5").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    datasets.load(tmp_path / "set.h5")
    with pytest.raises(RetrievalError, match="checksum"):
        hdf5.load(tmp_path / "set.h5", verify=True)


# --- Selecting and splitting


def test_select_by_indices_mask_and_split() -> None:
    pictures = in_memory()
    test = pictures.select("test")
    assert len(test) == 6 and np.shares_memory(test.pixels, pictures.pixels)
    same(test, pictures.select(pictures.splits == "test"))
    odd = pictures.select([5, 1, 1])
    assert odd.names == (pictures.names[5], pictures.names[1], pictures.names[1])
    np.testing.assert_array_equal(odd.pixels, pictures.pixels[[5, 1, 1]])
    assert odd.classes == pictures.classes
    np.testing.assert_array_equal(pictures.select([-2, -1, 0]).pixels, pictures.pixels[[-2, -1, 0]])
    assert len(pictures.select("val")) == 0
    with pytest.raises(RetrievalError, match="no split 'exam'"):
        pictures.select("exam")


def test_validation_is_a_stratified_part_of_train() -> None:
    pictures = in_memory(300)
    split = pictures.split_validation(0.2, seed=7)
    for label in range(3):
        assert int(((split.splits == "val") & (split.labels == label)).sum()) == 10
    np.testing.assert_array_equal(split.splits == "test", pictures.splits == "test")
    np.testing.assert_array_equal(split.splits, pictures.split_validation(0.2, seed=7).splits)
    assert (split.splits != pictures.split_validation(0.2, seed=8).splits).any()
    assert split.split_validation(0.5, seed=1) is split
    few = replace(pictures.select([0, 1, 3]), splits=np.full(3, "train", "<U5"))  # labels 0, 1, 0
    assert few.split_validation(0.01, seed=0).splits.tolist().count("val") == 1
    for wrong in (0, 1, -0.1):
        with pytest.raises(RetrievalError, match="fraction"):
            pictures.split_validation(wrong, seed=0)


# --- Exporting


def test_export_and_load_again(tmp_path: Path) -> None:
    pictures = in_memory()
    assert datasets.export(pictures, tmp_path / "out") == (12, 0)
    again = datasets.resident(datasets.load(tmp_path / "out"))
    order = np.argsort(np.array(pictures.names))
    same(replace(again, name="small"), pictures.select(order))
    test = datasets.export(pictures, tmp_path / "test", split="test")
    assert test == (6, 0) and (tmp_path / "test/cat/00006.png").is_file()


def test_export_goes_on_where_it_stopped(tmp_path: Path) -> None:
    pictures = in_memory()
    datasets.export(pictures, tmp_path)
    (tmp_path / pictures.names[2]).unlink()
    (tmp_path / pictures.names[5]).write_bytes(b"half")
    kept = (tmp_path / pictures.names[0]).stat().st_mtime_ns
    done: list[int] = []
    assert datasets.export(pictures, tmp_path, progress=done.append) == (2, 10)
    assert sum(done) == 12 and (tmp_path / pictures.names[0]).stat().st_mtime_ns == kept
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / pictures.names[5])), pictures.pixels[5])
    assert not list(tmp_path.rglob(".*"))


def test_export_copies_files_as_they_are(tmp_path: Path) -> None:
    write(tmp_path / "in/train/cat/a.jpg", noise(8, 8, 3))
    write(tmp_path / "in/test/cat/deep/a.png", noise(9, 9, 3))
    pictures = datasets.load(tmp_path / "in")
    datasets.export(pictures, tmp_path / "out")
    assert targets(pictures) == ["test/cat/deep/a.png", "train/cat/a.jpg"]
    for name in ("train/cat/a.jpg", "test/cat/deep/a.png"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "in" / name).read_bytes()
    assert datasets.export(pictures, tmp_path / "out") == (0, 2)


def test_export_of_a_limited_number_keeps_all_classes(tmp_path: Path) -> None:
    pictures = in_memory(30).select(np.argsort(np.arange(30) % 3, kind="stable"))  # sorted by class
    assert datasets.export(pictures, tmp_path, limit=6).written == 6
    assert {path.parent.name for path in tmp_path.rglob("*.png")} == {"cat", "dog", "eel"}
    assert datasets.export(pictures, tmp_path / "all", limit=99).written == 30
    for wrong in (0, -1):
        with pytest.raises(RetrievalError, match="limit"):
            datasets.export(pictures, tmp_path, limit=wrong)
    with pytest.raises(RetrievalError, match="no val pictures to export; its splits are test, train"):
        datasets.export(pictures, tmp_path, split="val")


def test_export_names_are_unique_and_stay_inside() -> None:
    base = replace(in_memory(3), splits=np.full(3, "train", "<U5"))
    hostile = replace(base, names=("../../x.png", "/etc/passwd", "..\\up.png"), classes=("../c", ".h", "T-shirt/top"))
    assert targets(hostile) == ["train/-c/x.png", "train/h/etc/passwd.png", "train/T-shirt-top/up.png"]
    twins = replace(base, names=("a.jpg", "a.png", "b.png"), classes=("c", "c2", "d"), labels=np.array([0, 0, 2]))
    assert targets(twins) == ["train/c/a.jpg.png", "train/c/a.png.png", "train/d/b.png.png"]
    levels = replace(base, classes=("Greek/c1", "Greek/c2", "x"), levels=("Greek", "Greek", "x"), labels=np.arange(3))
    assert targets(levels)[0] == "train/Greek/c1/cat/00000.png"
    loose = replace(base, names=("a.png", "b/c.png", "d.png"), labels=np.full(3, -1))
    assert targets(loose, with_split=False) == ["a.png", "b/c.png", "d.png"]


def test_mnist_class_names_are_numbers() -> None:
    assert len(mnist.FASHION) == 10 and len(cifar10.CLASSES) == 10
