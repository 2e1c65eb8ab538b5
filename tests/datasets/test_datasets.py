"""CIFAR-10, MNIST and Omniglot in every layout they come in, made small by the tests themselves."""

from __future__ import annotations

import gzip
import os
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from small_sets import (
    SHARED,
    VERSIONS,
    binary_version,
    cifar10_pixels,
    noise,
    omniglot,
    python_version,
    same,
    write,
    write_idx,
    zipped,
)

from retrieval import datasets
from retrieval.datasets import cifar10
from retrieval.errors import RetrievalError

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


@pytest.mark.parametrize("labels", ["x", "[[1], [2]]", '{"a": 1}', "[" * 100_000, "[1e400]", "[true, null]"])
def test_damaged_label_files_are_one_sentence(tmp_path: Path, labels: str) -> None:
    VERSIONS["npm"][1](tmp_path / "set")
    (tmp_path / "set/test_lables.json").write_text(labels)
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
