"""Sets as HDF5 files and as exported folders; selecting and splitting; the digits."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from small_sets import (
    in_memory,
    noise,
    same,
    write,
)

from retrieval import datasets
from retrieval.datasets import hdf5
from retrieval.datasets.exporting import targets
from retrieval.errors import RetrievalError

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
    assert datasets.export(pictures, tmp_path / "out") == (12, 0, ())
    again = datasets.resident(datasets.load(tmp_path / "out"))
    order = np.argsort(np.array(pictures.names))
    same(replace(again, name="small"), pictures.select(order))
    test = datasets.export(pictures, tmp_path / "test", split="test")
    assert test == (6, 0, ()) and (tmp_path / "test/cat/00006.png").is_file()


def test_export_goes_on_where_it_stopped(tmp_path: Path) -> None:
    pictures = in_memory()
    datasets.export(pictures, tmp_path)
    (tmp_path / pictures.names[2]).unlink()
    (tmp_path / pictures.names[5]).write_bytes(b"half")
    kept = (tmp_path / pictures.names[0]).stat().st_mtime_ns
    done: list[int] = []
    assert datasets.export(pictures, tmp_path, progress=done.append) == (2, 10, ())
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
    assert datasets.export(pictures, tmp_path / "out")[:2] == (0, 2)


def test_names_may_be_as_long_as_a_disk_allows(tmp_path: Path) -> None:
    name = "n" * 251 + ".png"
    write(tmp_path / "in" / name, noise(8, 6, 3))
    assert datasets.export(datasets.load(tmp_path / "in"), tmp_path / "out").written == 1
    assert [path.name for path in (tmp_path / "out/train").iterdir()] == [name]


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
