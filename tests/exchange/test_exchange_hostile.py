"""Files that are damaged, foreign or made to do harm: a sentence each, and nothing left behind."""

from __future__ import annotations

import errno
import json
import random
from pathlib import Path

import faiss
import h5py
import numpy as np
import pytest
from exchange_data import DIM, make, unit

from retrieval.base import sandbox
from retrieval.errors import RetrievalError
from retrieval.exchange import ann_benchmarks, export_index, formats, import_index, lists, numpy_file
from retrieval.exchange.formats import READERS
from retrieval.index import Index


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One of each."""
    folder = tmp_path_factory.mktemp("hostile")
    with Index.open(make(folder / "index")) as index:
        for name, suffix in (("a.npy", ".json"), ("b.fvecs", ".csv"), ("c.faiss", ".jsonl"), ("d.hdf5", ".parquet")):
            export_index(index, folder / name, list_file=(folder / name).with_suffix(suffix))
    return folder


def damaged(data: bytes, seed: int) -> bytes:
    """The same, cut off or with some bytes changed."""
    rng = random.Random(seed)
    if seed % 3 == 0:
        return data[: rng.randrange(len(data))]
    out = bytearray(data)
    for _ in range(rng.choice([1, 2, 8])):
        place = rng.randrange(min(len(out), 2000 if seed % 3 == 1 else len(out)))
        out[place] = rng.choice([0, 255, out[place] ^ (1 << rng.randrange(8)), rng.randrange(256)])
    return bytes(out)


def is_one_sentence(error: RetrievalError) -> bool:
    return "\n" not in str(error) and len(str(error)) < 600 and str(error).endswith((".", "?"))


@pytest.mark.parametrize(("name", "times"), [("a.npy", 300), ("b.fvecs", 100), ("c.faiss", 4), ("d.hdf5", 6)])
def test_damaged_vectors_are_read_or_refused(files, tmp_path, name, times):
    data, refused = (files / name).read_bytes(), 0
    path = tmp_path / name
    for seed in range(times):
        path.write_bytes(damaged(data, seed))
        try:
            found = READERS[formats.SUFFIXES[path.suffix]](path)
            for part in found.parts:
                assert np.asarray(part.vectors[:]).shape == part.vectors.shape
        except RetrievalError as error:
            refused += 1
            assert is_one_sentence(error), error
    assert times / 3 <= refused < times


@pytest.mark.parametrize("suffix", lists.SUFFIXES)
def test_damaged_lists_are_read_or_refused(files, tmp_path, suffix):
    (source,) = files.glob(f"?{suffix}")
    path, refused = tmp_path / f"list{suffix}", 0
    for seed in range(90):
        path.write_bytes(damaged(source.read_bytes(), seed))
        try:
            assert all(isinstance(record, dict) for record in lists.read(path))
        except RetrievalError as error:
            refused += 1
            assert is_one_sentence(error), error
    assert 15 <= refused < 90


def write_plain(path: Path, **changes: object) -> None:
    """A file of ann-benchmarks, or nearly."""
    parts: dict[str, object] = {
        "train": unit(20), "test": unit(2), "neighbors": np.zeros((2, 5), np.int32), "distances": np.zeros((2, 5), "f4")
    }  # fmt: skip
    with h5py.File(path, "w") as file:
        file.attrs["distance"] = changes.pop("distance", "angular")
        for key, value in {**parts, **changes}.items():
            if callable(value):
                value(file, key)
            elif value is not None:
                file[key] = value


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"distance": "hamming"}, "compares by 'hamming'"),
        ({"distance": 3}, "no attribute distance"),
        ({"train": None}, "train is missing"),
        ({"train": unit(20)[0]}, "train has 1 dimensions"),
        ({"train": np.array([[b"ab"]])}, r"'train' is .S2"),
        ({"test": unit(2, 5)}, "'test' is float32 of shape"),
        ({"neighbors": np.full((2, 5), 20)}, "a neighbour is none of the 20 vectors"),
        ({"neighbors": np.full((2, 5), -1)}, "a neighbour is none of the 20 vectors"),
        ({"distances": np.zeros((2, 4), "f4")}, "'distances' is float32"),
        ({"train": lambda file, key: file.__setitem__(key, h5py.ExternalLink("other.hdf5", "/x"))}, "lies in another"),
        ({"train": lambda file, key: file.create_dataset(key, (20, DIM), "f4", compression="gzip")}, "h5repack"),
        ({"train": lambda file, key: file.create_dataset(key, (2**40, 4), "f4", chunks=(8, 4))}, "h5repack"),
        (
            {"train": lambda file, key: file.create_dataset(key, (2, 4), "f4", external=[("/dev/zero", 0, 32)])},
            "in pieces",
        ),
    ],
)
def test_foreign_hdf5_files_are_refused(tmp_path, changes, sentence):
    write_plain(tmp_path / "set.hdf5", **changes)
    with pytest.raises(RetrievalError, match=sentence) as caught:
        import_index(tmp_path / "set.hdf5", tmp_path / "back")
    assert is_one_sentence(caught.value) and [path.name for path in tmp_path.iterdir()] == ["set.hdf5"]


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.array([{}], object), "cannot be read as a .npy file"),
        (np.zeros(3), r"float64 of shape \(3,\)"),
        (np.zeros((3, 0)), "real numbers"),
        (np.zeros((3, 2), complex), "complex128"),
        (np.array([["a"]]), "real numbers"),
        (np.zeros((2, 2, 2)), "real numbers"),
    ],
)
def test_foreign_arrays_are_refused(tmp_path, array, sentence):
    np.save(tmp_path / "v.npy", array, allow_pickle=True)
    with pytest.raises(RetrievalError, match=sentence):
        import_index(tmp_path / "v.npy", tmp_path / "back")
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is no .fvecs file"),
        (b"\x01\x00\x00", "is no .fvecs file"),
        (b"\xff\xff\xff\xff" * 4, "is no .fvecs file"),
        (b"\x00\x00\x00\x00" * 4, "is no .fvecs file"),
        (b"\x01\x00\x00\x00\x00\x00\x80\x3f\x02\x00\x00\x00\x00\x00\x80\x3f", "row 1 says it has 2 numbers"),
    ],
)
def test_foreign_fvecs_are_refused(tmp_path, content, sentence):
    (tmp_path / "v.fvecs").write_bytes(content)
    with pytest.raises(RetrievalError, match=sentence):
        import_index(tmp_path / "v.fvecs", tmp_path / "back")


LISTS = {
    "too few": (".json", json.dumps(["a"] * 2), "has 2 items for 3 vectors"),
    "too many": (".json", json.dumps(["a", "b", "c", "d"]), "has more items than the 3 vectors"),
    "twice": (".json", json.dumps(["a", "b", "a"]), "stands twice"),
    "no list": (".json", "{}", "has 1 items for 3 vectors"),
    "no item": (".json", "[1, 2, 3]", "'1' is no item"),
    "deep": (".json", "[" * 100_000, "is not json"),
    "digits": (".json", "[" + "1" * 5000 + "]", "is not json"),
    "bytes": (".jsonl", b"\xff\xfe\x00", "is not UTF-8"),
    "line": (".jsonl", '{"path": "a"}\n{"path"\n', "Line 2 "),
    "no text": (".jsonl", '{"path": ["a"]}\n' * 3, "Item 1 of the list .* for its path, which is no text"),
    "cells": (".csv", "path,label\na,b\nc\n", "Line 3 .* has 1 cells instead of 2"),
    "columns": (".csv", "path,path\na,b\n", "Line 1 .* has the column 'path' twice"),
    "empty": (".csv", "", "does not name the columns"),
    "parquet": (".parquet", "PAR1", "write it anew"),
}


@pytest.mark.parametrize("case", LISTS)
def test_lists_that_do_not_fit_leave_no_index(tmp_path, case):
    suffix, content, sentence = LISTS[case]
    np.save(tmp_path / "v.npy", unit(3))
    path = tmp_path / f"v{suffix}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RetrievalError, match=sentence) as caught:
        import_index(tmp_path / "v.npy", tmp_path / "back")
    assert is_one_sentence(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"v.npy", path.name}


def test_a_list_in_another_order_than_the_ids_is_refused(files, tmp_path):
    lines = (files / "c.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "other.jsonl").write_text("".join(lines[::-1]), encoding="utf-8")
    with pytest.raises(RetrievalError, match=r"Item 1 of the list .* has the id 129 where the vectors have 0"):
        import_index(files / "c.faiss", tmp_path / "back", list_file=tmp_path / "other.jsonl")


def test_two_lists_beside_are_a_question(tmp_path):
    np.save(tmp_path / "v.npy", unit(1))
    (tmp_path / "v.json").write_text('["a"]')
    (tmp_path / "v.csv").write_text("path\nb\n")
    with pytest.raises(RetrievalError, match="say which with --list"):
        import_index(tmp_path / "v.npy", tmp_path / "back")
    import_index(tmp_path / "v.npy", tmp_path / "back", list_file=tmp_path / "v.csv")
    with Index.open(tmp_path / "back") as index:
        assert index.find("b") is not None


def test_paths_are_those_that_a_build_would_give(tmp_path):
    np.save(tmp_path / "v.npy", unit(5))
    paths = ["./a.png", ".//./b/c.png", f"{tmp_path}/d.png", "https://host//e.png", "./"]
    (tmp_path / "v.tsv").write_text("Path\t Label\n" + "".join(f"{path}\t x\n" for path in paths))
    import_index(tmp_path / "v.npy", tmp_path / "back")
    with Index.open(tmp_path / "back") as index:
        found = [(item.path, item.label) for item in index.items(range(5))]
    assert found == [(path, "x") for path in ("a.png", "b/c.png", "d.png", "https://host//e.png", "./")]


def test_strange_values_become_what_an_attribute_can_hold(tmp_path):
    np.save(tmp_path / "v.npy", unit(1))
    record = '{"path": "\\ud800", "big": 1' + "0" * 30 + ', "nan": NaN, "": 1, "t": "\\udfff", "l": [1, {"a": "ä"}], '
    (tmp_path / "v.jsonl").write_text(
        record + '"no": null, "size": -5, "sha256": "short", "label": 7, "yes": true, "Modified": "x\\u0000"}'
    )
    import_index(tmp_path / "v.npy", tmp_path / "back")
    with Index.open(tmp_path / "back") as index:
        (item,), (values,) = index.items([0]), index.attributes([0])
    assert (item.path, item.label, item.size, item.sha256) == ("\\ud800", "7", 0, "")
    assert values == {
        "big": "1" + "0" * 30, "t": "\\udfff", "l": '[1, {"a": "\\u00e4"}]', "size_": -5, "sha256": "short", "yes": 1,
        "Modified_": "x\\x00",
    }  # fmt: skip


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_what_an_attribute_cannot_be_is_said(tmp_path, suffix):
    np.save(tmp_path / "v.npy", unit(4))
    numbers = [1.5, float("inf"), float("-inf"), float("nan")]
    dates = ["2024-05-01 23:30:00", "2024/05/02", "unknown", "20240503"]
    if suffix == ".parquet":
        pa = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(
            pa.table({"f": numbers, "ts": dates}), tmp_path / "v.parquet"
        )
    else:
        rows = [{"f": number, "ts": date} for number, date in zip(numbers, dates, strict=True)]
        lines = ["f,ts", *(f"{row['f']},{row['ts']}" for row in rows)] if suffix == ".csv" else map(json.dumps, rows)
        (tmp_path / f"v{suffix}").write_text("\n".join(lines))
    assert import_index(tmp_path / "v.npy", tmp_path / "back").notes == (
        "2 values of 'f' are infinite, which an attribute cannot be: left out",
        "1 of 4 dates in 'ts' were not understood and match no date in a filter: 'unknown'",
    )
    with Index.open(tmp_path / "back") as index:
        assert [values.get("f") for values in index.attributes(range(4))] == [1.5, None, None, None]
        assert index.select("ts >= 2024-05-01T12:00").tolist() == [0, 1, 3]


# FAISS and HDF5 in a process of their own


def test_faiss_files_without_vectors_are_refused(tmp_path):
    index = faiss.index_factory(16, "IVF4,PQ4x4fs")
    index.train(unit(200, 16))
    index.add(unit(200, 16))
    faiss.write_index(index, str(tmp_path / "v.faiss"))
    with pytest.raises(RetrievalError, match="does not give its vectors back"):
        import_index(tmp_path / "v.faiss", tmp_path / "back")
    flat = faiss.IndexIDMap(faiss.IndexFlatL2(16))
    flat.add_with_ids(unit(3, 16), np.array([1, 2, 2]))
    faiss.write_index(flat, str(tmp_path / "v.faiss"))
    with pytest.raises(RetrievalError, match="has the id 2 2 times"):
        import_index(tmp_path / "v.faiss", tmp_path / "back")


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", r"crashes, SIGSEGV"),
        ("import time; time.sleep(60)", "more than 1 s"),
        ("answer(lambda _: bytearray(1 << 40))", "more memory than its size accounts for"),
        ("answer(lambda _: 1 / 0)", "division by zero"),
        ("print('{')", "no reason given"),
        ("raise SystemExit('out of order')", "out of order"),
    ],
)
def test_whatever_becomes_of_the_reader_is_a_sentence(tmp_path, monkeypatch, code, sentence):
    monkeypatch.setattr(sandbox, "PATIENCE", (1.0, 1e9))
    program = tmp_path / "program.py"
    program.write_text(f"from retrieval.base.sandbox import answer\n{code}\n")
    with pytest.raises(ValueError, match=sentence):
        sandbox.ask(program, program)


def test_a_count_that_cannot_be_is_refused(tmp_path):
    """A header that claims more vectors than the file has bytes costs neither memory nor disk."""
    faiss.write_index(faiss.IndexFlatIP(4), str(tmp_path / "v.faiss"))
    data = bytearray((tmp_path / "v.faiss").read_bytes())
    data[8:16] = (1 << 40).to_bytes(8, "little")
    (tmp_path / "v.faiss").write_bytes(data)
    with pytest.raises(RetrievalError, match="cannot be read as a FAISS index"):
        import_index(tmp_path / "v.faiss", tmp_path / "back")


# Full disks


@pytest.mark.parametrize("name", ["v.npy", "v.fvecs", "v.faiss", "set.hdf5", "clip/"])
def test_a_full_disk_leaves_nothing(files, tmp_path, monkeypatch, name):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with Index.open(files / "index") as index:
        monkeypatch.setattr(lists, "writer", full)
        with pytest.raises(RetrievalError, match=r"cannot be written \(No space left on device\)"):
            export_index(index, f"{tmp_path}/{name}")
        assert not list(tmp_path.iterdir())
        monkeypatch.undo()
        monkeypatch.setattr(numpy_file, "write_header", full)
        monkeypatch.setattr("retrieval.exchange.export_rows.Contents.blocks", full)
        monkeypatch.setattr(ann_benchmarks, "bar", full)
        with pytest.raises(RetrievalError, match=r"cannot be written \(No space left on device\)"):
            export_index(index, f"{tmp_path}/{name}")
        assert not list(tmp_path.iterdir())


def test_an_import_that_fails_halfway_leaves_what_was_there(tmp_path, monkeypatch):
    np.save(tmp_path / "v.npy", unit(20))
    make(tmp_path / "index")

    def full(self: Index, *_: object, **__: object) -> None:
        raise RetrievalError("no room.")

    monkeypatch.setattr(Index, "add", full)
    for name, overwrite in (("index", True), ("new", False)):
        with pytest.raises(RetrievalError, match="no room"):
            import_index(tmp_path / "v.npy", tmp_path / name, overwrite=overwrite)
    monkeypatch.undo()
    assert {path.name for path in tmp_path.iterdir()} == {"v.npy", "index"}
    with Index.open(tmp_path / "index") as index:
        assert len(index) == 127
