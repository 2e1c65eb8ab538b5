"""Exports as other libraries read them, imports of what they write, and both in a row."""

from __future__ import annotations

import argparse
import csv
import json
import struct
import sys

import faiss
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exchange_data import DIM, REMOVED, N, attributes, content, items, make, unit

from retrieval.cli import export as cli_export
from retrieval.cli import import_ as cli_import
from retrieval.cli import main
from retrieval.errors import RetrievalError
from retrieval.exchange import FORMATS, clip_retrieval, export_index, import_index, import_rows, load_ann_benchmarks
from retrieval.index import Index
from retrieval.search.query import unit_rows
from retrieval.search.search import Search

LIVE = np.setdiff1d(np.arange(N), REMOVED)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make(tmp_path_factory.mktemp("exchange") / "index")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Everything is done in several blocks and parts."""
    monkeypatch.setattr(import_rows, "BLOCK_ROWS", 50)
    monkeypatch.setattr(clip_retrieval, "PART", 60)


def export(folder, to, **options):
    with Index.open(folder, mapped=True) as index:
        return export_index(index, to, **options)


def records(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# Both in a row


@pytest.mark.parametrize("name", ["v.npy", "v.fvecs", "v.faiss", "clip/"])
def test_what_comes_back_is_what_went_to_the_last_bit(source, tmp_path, name):
    report = export(source, f"{tmp_path}/{name}")
    assert report.items == len(LIVE)
    found = import_index(f"{tmp_path}/{name}", tmp_path / "back")
    assert (found.items, found.scaled, found.left_out, found.listed) == (len(LIVE), 0, (), True)
    assert content(tmp_path / "back") == content(source)
    with Index.open(tmp_path / "back") as index:  # ids start anew, and the old ones are kept
        ids, _ = index.all_vectors()
        assert ids.tolist() == list(range(len(LIVE)))
        assert [values.get("source_id", id_) for id_, values in zip(ids, index.attributes(ids), strict=True)] == [*LIVE]
    assert not list(tmp_path.rglob("*.tmp")) and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_every_form_of_list_brings_every_value_back(source, tmp_path, suffix):
    export(source, tmp_path / "v.npy", list_file=tmp_path / f"v{suffix}")
    import_index(tmp_path / "v.npy", tmp_path / "back")
    assert content(tmp_path / "back") == content(source)


@pytest.mark.parametrize("name", ["v.npy", "v.faiss"])
def test_binary_codes_come_back(tmp_path, name):
    make(tmp_path / "index", "binary")
    export(tmp_path / "index", tmp_path / name)
    report = import_index(tmp_path / name, tmp_path / "back", storage=None if name == "v.faiss" else "binary")
    assert (report.storage, report.dim) == ("binary", DIM)
    assert content(tmp_path / "back") == content(tmp_path / "index")


def test_vectors_that_are_kept_as_float16_come_back(tmp_path):
    make(tmp_path / "index", "float16")
    export(tmp_path / "index", tmp_path / "v.npy")
    import_index(tmp_path / "v.npy", tmp_path / "back", storage="float16")
    assert content(tmp_path / "back") == content(tmp_path / "index")


def test_one_hash_stands_for_the_same_vectors_from_any_format(source, tmp_path):
    hashes = set()
    for name in ("v.npy", "v.fvecs"):
        export(source, tmp_path / name, overwrite=True)
        hashes.add(import_index(tmp_path / name, tmp_path / f"{name}.index").encoder_hash)
    (tmp_path / "v.jsonl").unlink()
    np.save(tmp_path / "v.npy", unit(N, DIM, seed=1))
    hashes.add(import_index(tmp_path / "v.npy", tmp_path / "other").encoder_hash)
    assert len(hashes) == 2 and all(one.startswith("imported:") for one in hashes)


@pytest.mark.parametrize("name", ["v.npy", "v.faiss", "clip/"])
def test_an_empty_index_goes_and_comes(tmp_path, name):
    Index.create(tmp_path / "index", DIM, root=".", encoder_hash="abc", details={}).close()
    export(tmp_path / "index", f"{tmp_path}/{name}")
    assert import_index(f"{tmp_path}/{name}", tmp_path / "back").items == 0
    for refused in ("v.fvecs", "v.hdf5"):
        with pytest.raises(RetrievalError, match=r"is empty|none can be spared"):
            export(tmp_path / "index", tmp_path / refused)


# Exports, as others read them


def test_faiss_reads_ids_and_vectors(source, tmp_path):
    export(source, tmp_path / "v.faiss")
    index = faiss.read_index(str(tmp_path / "v.faiss"))
    assert index.ntotal == len(LIVE) and index.metric_type == faiss.METRIC_INNER_PRODUCT
    np.testing.assert_array_equal(faiss.vector_to_array(index.id_map), LIVE)
    for id_ in (0, 5, 129):
        np.testing.assert_array_equal(index.reconstruct(id_), unit()[id_])
    assert index.search(unit()[[5]], 1)[1].tolist() == [[5]]
    listed = records(tmp_path / "v.jsonl")
    assert [record["id"] for record in listed] == LIVE.tolist()
    assert listed[4] == {
        "id": 6, "path": items()[6].path, "label": "00", "width": 32, "height": 24, "size": 106,
        "mtime_ns": 10**18 + 6, "sha256": f"{6:064x}", **attributes(6),
    }  # fmt: skip


def test_faiss_reads_the_structure_under_our_ids(source, tmp_path):
    from retrieval.index.nearest import kinds

    make(tmp_path / "index")
    with Index.open(tmp_path / "index", write=True) as index:
        ids, rows = index.all_vectors()
        index.set_structure(kinds.build("HNSW16,Flat", rows), {"efSearch": 16}, ids=ids)
        index.remove([9])
        index.add(unit(1, DIM, seed=5), items(N + 1)[N:])
    report = export(tmp_path / "index", tmp_path / "s.faiss", structure=True)
    assert report.structure == "HNSW16,Flat" and len(report.notes) == 2
    found = faiss.read_index(str(tmp_path / "s.faiss"))
    assert faiss.vector_to_array(found.id_map).tolist() == LIVE.tolist()
    assert found.search(unit()[[5]], 1)[1].tolist() == [[5]]
    listed = [record["id"] for record in records(tmp_path / "s.jsonl")]
    assert listed == [id_ for id_ in LIVE.tolist() if id_ != 9]
    with pytest.raises(RetrievalError, match="has no structure"):
        export(source, tmp_path / "t.faiss", structure=True)


def test_fvecs_are_rows_behind_their_length(source, tmp_path):
    export(source, tmp_path / "v.fvecs")
    data = (tmp_path / "v.fvecs").read_bytes()
    rows = []
    while data:
        (count,) = struct.unpack_from("<i", data)
        rows.append(struct.unpack_from(f"<{count}f", data, 4))
        data = data[4 + 4 * count :]
    np.testing.assert_array_equal(np.array(rows, np.float32), unit()[LIVE])


def test_tables_hold_a_column_for_each_attribute(source, tmp_path):
    export(source, tmp_path / "v.npy", list_file=tmp_path / "v.parquet")
    table = pq.read_table(tmp_path / "v.parquet")
    types = {field.name: str(field.type) for field in table.schema}
    assert types["year"] == "int64" and types["price"] == "double" and types["note"] == types["label"] == "string"
    assert table.column("year").to_pylist()[:3] == [2000, None, 2002]
    export(source, tmp_path / "w.npy", list_file=tmp_path / "w.csv")
    with (tmp_path / "w.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["note"] == 'a, "b"\n0' and rows[1]["note"] == "" and len(rows) == len(LIVE)
    np.testing.assert_array_equal(np.load(tmp_path / "w.npy"), unit()[LIVE])


def test_clip_retrieval_finds_its_layout(source, tmp_path):
    export(source, tmp_path / "clip")
    assert sorted(path.name for path in (tmp_path / "clip").rglob("*.*")) == sorted(
        f"{name}_{i}.{ending}" for name, ending in (("img_emb", "npy"), ("metadata", "parquet")) for i in range(3)
    )
    vectors_, paths = [], []
    for i in range(3):
        vectors_.append(np.load(tmp_path / f"clip/img_emb/img_emb_{i}.npy"))
        paths += pq.read_table(tmp_path / f"clip/metadata/metadata_{i}.parquet").column("image_path").to_pylist()
    np.testing.assert_array_equal(np.concatenate(vectors_), unit()[LIVE])
    assert paths == [items()[i].path for i in LIVE]


def brute_force(queries, train, k):
    scores = queries.astype(np.float64) @ train.astype(np.float64).T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return order, 1 - np.take_along_axis(scores, order, axis=1)


def test_ann_benchmarks_finds_held_out_queries_and_the_truth(source, tmp_path):
    report = export(source, tmp_path / "set.hdf5", seed=3)
    assert (report.items, report.queries) == (len(LIVE) - 12, 12) and "held out" in report.notes[0]
    with h5py.File(tmp_path / "set.hdf5") as file:
        assert file.attrs["distance"] == "angular" and file.attrs["test"] == report.notes[0]
        train, test = file["train"][:], file["test"][:]
        neighbors, distances = file["neighbors"][:], file["distances"][:]
    assert neighbors.dtype == np.int32 and neighbors.shape == (12, 100)
    everything = {row.tobytes() for row in unit()[LIVE]}
    assert {row.tobytes() for row in train} | {row.tobytes() for row in test} == everything
    assert not {row.tobytes() for row in train} & {row.tobytes() for row in test}
    truth, far = brute_force(test, train, 100)
    np.testing.assert_array_equal(neighbors, truth)
    np.testing.assert_allclose(distances, far, atol=1e-6)
    assert [record["path"] for record in records(tmp_path / "set.jsonl")] == [
        items()[i].path for row in train for i in np.flatnonzero((unit() == row).all(axis=1))
    ]
    export(source, tmp_path / "again.hdf5", seed=3)
    export(source, tmp_path / "other.hdf5", seed=4)
    again, other = (load_ann_benchmarks(tmp_path / f"{name}.hdf5") for name in ("again", "other"))
    np.testing.assert_array_equal(again.test, test)
    assert not np.array_equal(other.test, test)
    assert again.distance == "angular" and again.neighbors.tolist() == truth.tolist()
    import_index(tmp_path / "set.hdf5", tmp_path / "back")
    with Index.open(tmp_path / "back") as index:
        np.testing.assert_array_equal(index.all_vectors()[1], train)


def test_ann_benchmarks_takes_given_queries(source, tmp_path):
    queries = np.random.default_rng(9).standard_normal((5, DIM))
    np.save(tmp_path / "queries.npy", queries)
    report = export(source, tmp_path / "set.hdf5", queries=tmp_path / "queries.npy")
    assert (report.items, report.queries, report.notes) == (len(LIVE), 5, ("given: queries.npy",))
    found = load_ann_benchmarks(tmp_path / "set.hdf5")
    scaled = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    truth, far = brute_force(scaled, unit()[LIVE], 100)
    np.testing.assert_array_equal(found.neighbors, truth)
    np.testing.assert_allclose(found.distances, far, atol=1e-6)
    np.save(tmp_path / "queries.npy", queries[:, :5])
    with pytest.raises(RetrievalError, match="5 queries of 5 numbers for 127 vectors of 24"):
        export(source, tmp_path / "other.hdf5", queries=tmp_path / "queries.npy")


def test_what_is_there_is_replaced_only_when_asked(source, tmp_path):
    for name in ("v.npy", "clip"):
        export(source, tmp_path / name)
        before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
        with pytest.raises(RetrievalError, match="exists; choose another name"):
            export(source, tmp_path / name)
        assert {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()} == before
        export(source, tmp_path / name, overwrite=True)
        assert not list(tmp_path.glob(".*")) and not list(tmp_path.rglob("*.tmp"))
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "letter").write_text("dear")
    with pytest.raises(RetrievalError, match="something else"):
        export(source, tmp_path / "precious", overwrite=True)
    with pytest.raises(RetrievalError, match="is a folder; name a file"):
        export(source, tmp_path / "precious", format="npy", overwrite=True)
    assert (tmp_path / "precious" / "letter").read_text() == "dear"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"to": "v.xyz"}, "says no format"),
        ({"to": "v.npy", "format": "zip"}, "no format 'zip'"),
        ({"to": "v.npy", "list_file": "v.txt"}, "is called neither"),
        ({"to": "v.json", "format": "npy", "list_file": "v.json"}, "cannot hold the vectors and the list"),
        ({"to": "v.npy", "structure": True}, "as a FAISS file, not as npy"),
        ({"to": "v.npy", "queries": "q.npy"}, "Queries go into a file of ann-benchmarks"),
        ({"to": "clip/", "list_file": "v.csv"}, "has its own lists"),
        ({"to": "v.hdf5", "queries": "q.faiss"}, "from a .npy or .fvecs file"),
    ],
)
def test_options_that_do_not_fit_are_refused(source, tmp_path, monkeypatch, options, sentence):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RetrievalError, match=sentence):
        export(source, **options)
    assert not list(tmp_path.iterdir())


def test_an_attribute_may_not_pass_for_something_else(tmp_path):
    make(tmp_path / "index")
    with Index.open(tmp_path / "index", write=True) as index:
        index._catalog.attach({0: {"path": "elsewhere"}})  # as another program might, which refuses less
    with pytest.raises(RetrievalError, match=r"'path' of .* has the name of something else"):
        export(tmp_path / "index", tmp_path / "v.npy")
    assert not list(tmp_path.glob("v.*"))


# Imports of what others write


@pytest.mark.parametrize(
    ("factory", "exact"),
    [
        ("Flat", True), ("IDMap,Flat", True), ("IDMap2,HNSW8", True), ("IVF4,Flat", True), ("SQ8", False),
        ("PCA8,IVF4,SQ8", False), ("HNSW8_SQ8,RFlat", True),
    ],
)  # fmt: skip
def test_faiss_files_that_give_their_vectors_back(tmp_path, factory, exact):
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((16, 8)))[0]  # eight dimensions hold all of them
    rows = (unit(200, 8) @ basis.T * np.linspace(0.5, 2, 200)[:, None]).astype(np.float32)
    index = faiss.index_factory(16, factory)
    index.train(rows)
    numbered = factory.startswith(("ID", "IVF"))
    ids = np.random.default_rng(0).permutation(1000)[:200] if numbered else np.arange(200)
    if numbered:
        index.add_with_ids(rows, ids)
    else:
        index.add(rows)
    faiss.write_index(index, str(tmp_path / "v.index"))
    report = import_index(tmp_path / "v.index", tmp_path / "back", normalise=True)
    assert report.items == 200 and report.scaled > 150 and not report.listed
    assert bool(report.notes) is not exact
    expected = {int(id_): row / np.linalg.norm(row) for id_, row in zip(ids, rows.astype(np.float64), strict=True)}
    with Index.open(tmp_path / "back") as back:
        found, vectors_ = back.all_vectors()
        for item, values, row in zip(back.items(found), back.attributes(found), vectors_, strict=True):
            was = values.get("source_id", item.id)
            assert item.path == f"item/{was:08}"
            if exact:
                np.testing.assert_allclose(row, expected.pop(was), atol=1e-7)
            else:
                assert row @ expected.pop(was) > 0.99
    assert not expected


@pytest.mark.parametrize("length", [1, 3])
@pytest.mark.parametrize("metric", ["METRIC_L2", "METRIC_INNER_PRODUCT", "METRIC_L1", "METRIC_Linf", "METRIC_Jaccard"])
def test_a_faiss_file_that_compares_otherwise_is_not_taken_for_the_same(tmp_path, metric, length):
    index = faiss.IndexFlat(16, getattr(faiss, metric))
    index.add(np.abs(unit(50, 16)) * np.float32(length))
    faiss.write_index(index, str(tmp_path / "v.faiss"))

    def imported(**options):
        return import_index(tmp_path / "v.faiss", tmp_path / "back", overwrite=True, **options)

    if metric == "METRIC_INNER_PRODUCT":
        notes = imported().notes
        assert (len(notes) == 0) if length == 1 else "longer vectors come first" in notes[0]
    elif metric == "METRIC_L2" and length == 1:
        assert imported().notes == ()
    else:
        with pytest.raises(
            RetrievalError, match="euclidean distance and 50 of" if metric.endswith("L2") else metric[7:]
        ):
            imported()
        assert imported(normalise=True).items == 50


@pytest.mark.parametrize("named", [False, True])
def test_codes_of_an_inverted_file_come_back(tmp_path, named):
    codes = np.random.default_rng(0).integers(0, 256, (300, 4), np.uint8)
    ids = np.random.default_rng(1).permutation(1000)[:300] if named else np.arange(300)
    quantizer = faiss.IndexBinaryFlat(32)
    index = faiss.IndexBinaryIVF(quantizer, 32, 7)
    index.train(codes)
    index.add_with_ids(codes, ids)
    faiss.write_index_binary(index, str(tmp_path / "v.faiss"))
    assert import_index(tmp_path / "v.faiss", tmp_path / "back").storage == "binary"
    with Index.open(tmp_path / "back") as back:
        found, rows = back.all_vectors()
        was = [values.get("source_id", id_) for id_, values in zip(found, back.attributes(found), strict=True)]
    order = np.argsort(ids)
    assert was == ids[order].tolist()
    np.testing.assert_array_equal(rows, codes[order])


def test_clip_retrieval_folders_are_read(tmp_path):
    """As its writer makes them: float16, numbers filled with zeros, columns of img2dataset."""
    rows = np.random.default_rng(0).standard_normal((25, 16)).astype(np.float16)
    for name in ("img_emb", "metadata", "text_emb"):
        (tmp_path / "emb" / name).mkdir(parents=True)
    for part in range(11):  # the eleventh is named so that sorting by name would put it third
        some = slice(2 * part, 2 * part + 2) if part < 10 else slice(20, 25)
        number = f"{part}"
        np.save(tmp_path / f"emb/img_emb/img_emb_{number}.npy", rows[some])
        n = len(rows[some])
        table = {
            "image_path": [f"/data/pictures/{part}-{i}.jpg" for i in range(n)],
            "caption": [f"caption {i}" if i else None for i in range(n)],
            "NSFW": [0.5] * n,
            "original": [True] * n,
            "width": [256.0] * n,
            "exif": pa.array([{"a": 1}] * n),
            "time": pa.array([1_700_000_000_123_456_789] * n, pa.timestamp("ns", "America/New_York")),
        }
        pq.write_table(pa.table(table), tmp_path / f"emb/metadata/metadata_{number}.parquet")
    report = import_index(tmp_path / "emb", tmp_path / "back", root="/data/pictures")
    assert report.format == "clip-retrieval" and report.attributes == ("NSFW", "caption", "exif", "original", "time")
    with Index.open(tmp_path / "back") as index:
        ids, found = index.all_vectors()
        wide = rows.astype(np.float64)
        np.testing.assert_array_equal(found, (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32))
        first, second = index.items([0, 1])
        assert (first.path, first.width, second.path) == ("0-0.jpg", 256, "0-1.jpg")
        assert index.items(ids[-1:])[0].path == "10-4.jpg"
        assert index.attributes([0, 1])[1] == {
            "caption": "caption 1", "NSFW": 0.5, "original": 1, "exif": '{"a": 1}',
            "time": "2023-11-14T22:13:20.123456+00:00",
        }  # fmt: skip
        assert "caption" not in index.attributes([0])[0]
    (tmp_path / "emb/metadata/metadata_4.parquet").unlink()
    with pytest.raises(RetrievalError, match=r"has no metadata/metadata_4.parquet"):
        import_index(tmp_path / "emb", tmp_path / "other")


@pytest.mark.parametrize(
    ("gone", "missing"),
    [
        (["img_emb/img_emb_2.npy"], "lacks 1 of its 4 parts, the first img_emb/img_emb_2.npy"),
        (["img_emb/img_emb_3.npy"], "lacks 1 of its 4 parts, the first img_emb/img_emb_3.npy"),
        (["img_emb/img_emb_1.npy", "metadata/metadata_1.parquet"], "lacks 1 of its 4 parts"),
        (["img_emb/img_emb_0.npy", "img_emb/img_emb_3.npy"], "lacks 2 of its 4 parts, the first img_emb/img_emb_0.npy"),
        (["metadata/metadata_3.parquet"], "has no metadata/metadata_3.parquet"),
    ],
)
def test_clip_retrieval_folders_that_lost_a_part_are_refused(tmp_path, gone, missing):
    for name in ("img_emb", "metadata"):
        (tmp_path / "clip" / name).mkdir(parents=True)
    for part in range(4):
        np.save(tmp_path / f"clip/img_emb/img_emb_{part}.npy", unit(3, seed=part))
        paths = pa.table({"image_path": [f"{part}-{i}.jpg" for i in range(3)]})
        pq.write_table(paths, tmp_path / f"clip/metadata/metadata_{part}.parquet")
    for name in gone:
        (tmp_path / "clip" / name).rename(tmp_path / name.replace("/", "-"))
    with pytest.raises(RetrievalError, match=missing):
        import_index(tmp_path / "clip", tmp_path / "back")
    for name in gone:
        (tmp_path / name.replace("/", "-")).rename(tmp_path / "clip" / name)
    assert import_index(tmp_path / "clip", tmp_path / "back").items == 12


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8", "i1", "<u4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_any_type_are_scaled(tmp_path, dtype, order):
    rows = np.random.default_rng(0).integers(1, 100, (60, 7)).astype(dtype, order=order)
    np.save(tmp_path / "v.npy", rows)
    report = import_index(tmp_path / "v.npy", tmp_path / "back")
    assert report.scaled == report.items == 60
    wide = rows.astype(np.float64)
    with Index.open(tmp_path / "back") as index:
        np.testing.assert_array_equal(
            index.all_vectors()[1], (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32)
        )


def test_vectors_without_direction_are_left_out_and_listed(tmp_path):
    rows = unit(60)
    rows[7] = 0
    rows[55, 3] = np.nan
    rows[56, 3] = np.inf
    np.save(tmp_path / "v.npy", rows)
    (tmp_path / "v.json").write_text(json.dumps([f"{i}.png" for i in range(60)]))
    report = import_index(tmp_path / "v.npy", tmp_path / "back")
    assert [path for path, _ in report.left_out] == ["7.png", "55.png", "56.png"]
    with Index.open(tmp_path / "back") as index:
        assert dict(index.skipped()) == dict(report.left_out)
        ids, found = index.all_vectors()
        np.testing.assert_array_equal(found, np.delete(rows, [7, 55, 56], axis=0))
        assert [item.path for item in index.items(ids)] == [f"{i}.png" for i in range(60) if i not in (7, 55, 56)]
    np.save(tmp_path / "v.npy", np.zeros((3, 4)))
    (tmp_path / "v.json").unlink()
    with pytest.raises(RetrievalError, match=r"All vectors of .* have no direction"):
        import_index(tmp_path / "v.npy", tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("length", [1e-310, 1e-300, 1e-160, 1e-40, 1e40, 1e160, 1e300])
def test_vectors_of_any_length_have_a_direction(tmp_path, length):
    rows = unit(60).astype(np.float64) * length
    rows[7], rows[8, 0] = 0, np.nan
    np.save(tmp_path / "v.npy", rows)
    report = import_index(tmp_path / "v.npy", tmp_path / "back")
    assert (report.scaled, [path for path, _ in report.left_out]) == (58, ["item/00000007", "item/00000008"])
    with Index.open(tmp_path / "back") as index:
        tolerance = 1e-6 if length > 1e-308 else 1e-5  # below, float64 itself has fewer digits
        np.testing.assert_allclose(index.all_vectors()[1], np.delete(unit(60), [7, 8], axis=0), atol=tolerance)
        found = unit_rows(np.delete(rows, [7, 8], axis=0), index)
    np.testing.assert_allclose(found, np.delete(unit(60), [7, 8], axis=0), atol=tolerance)


@pytest.mark.parametrize("distance", ["angular", "euclidean"])
@pytest.mark.parametrize("length", [1, 3])
def test_euclidean_sets_are_scaled_only_when_asked(tmp_path, distance, length):
    with h5py.File(tmp_path / "set.hdf5", "w") as file:
        file.attrs["distance"] = distance
        file["train"], file["test"] = unit(60) * np.float32(length), unit(2, seed=1)
        file["neighbors"], file["distances"] = np.zeros((2, 5), np.int32), np.zeros((2, 5), np.float32)
    if distance == "euclidean" and length == 3:
        with pytest.raises(RetrievalError, match="60 of its vectors are not of unit length"):
            import_index(tmp_path / "set.hdf5", tmp_path / "back")
        assert not (tmp_path / "back").exists()
        assert import_index(tmp_path / "set.hdf5", tmp_path / "back", normalise=True).scaled == 60
    else:
        assert import_index(tmp_path / "set.hdf5", tmp_path / "back").scaled == (60 if length == 3 else 0)
    with Index.open(tmp_path / "back") as index:
        np.testing.assert_allclose(index.all_vectors()[1], unit(60), atol=1e-7)


@pytest.fixture
def unlisted(tmp_path):
    """An index of vectors of which nothing else is known."""
    np.save(tmp_path / "v.npy", unit())
    import_index(tmp_path / "v.npy", tmp_path / "back")
    return tmp_path / "back"


def nearest(row, count):
    scores = unit().astype(np.float64) @ unit()[row].astype(np.float64)
    return np.argsort(-scores)[:count].tolist()


def test_an_imported_index_answers_by_vector_and_refuses_pictures_in_a_sentence(unlisted):
    with Search.open(unlisted) as search:
        assert [hit.id for hit in search.query_vectors(unit()[5], 4)[0].hits] == nearest(5, 4)
        with pytest.raises(RetrievalError) as caught:
            search.query("photo.png")
        assert "\n" not in str(caught.value)


def test_items_without_a_checksum_are_no_copies_of_each_other(unlisted):
    with Search.open(unlisted) as search:
        assert [hit.id for hit in search.query_ids([5], 3)[0].hits] == nearest(5, 4)[1:]


def test_a_model_goes_into_the_index(tmp_path, tmp_path_factory):
    import tiny

    run = tiny.model(tmp_path_factory)
    np.save(tmp_path / "v.npy", unit(20, 16))
    report = import_index(tmp_path / "v.npy", tmp_path / "back", model=run)
    tiny.picture(1).save(tmp_path / "photo.png")
    with Search.open(tmp_path / "back") as search:
        assert search.encoder.hash == report.encoder_hash
        assert len(search.query(tmp_path / "photo.png", 3)[0].hits) == 3
    np.save(tmp_path / "v.npy", unit(20, 15))
    with pytest.raises(RetrievalError, match="makes vectors of 16 numbers, and these have 15"):
        import_index(tmp_path / "v.npy", tmp_path / "other", model=run)
    assert not (tmp_path / "other").exists()


def test_an_index_is_replaced_only_when_asked(source, tmp_path):
    np.save(tmp_path / "v.npy", unit(20))
    make(tmp_path / "index")
    before = content(tmp_path / "index")
    with pytest.raises(RetrievalError, match="is an index already"):
        import_index(tmp_path / "v.npy", tmp_path / "index")
    assert content(tmp_path / "index") == before
    assert import_index(tmp_path / "v.npy", tmp_path / "index", overwrite=True).items == 20
    assert len(content(tmp_path / "index")) == 20
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "letter").write_text("dear")
    with pytest.raises(RetrievalError, match="is no index"):
        import_index(tmp_path / "v.npy", tmp_path / "precious", overwrite=True)


def test_without_pyarrow_a_sentence_names_it(source, tmp_path, monkeypatch):
    export(source, tmp_path / "clip")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    for attempt in (
        lambda: export(source, tmp_path / "new"),
        lambda: export(source, tmp_path / "v.npy", list_file=tmp_path / "v.parquet"),
        lambda: import_index(tmp_path / "clip", tmp_path / "back"),
    ):
        with pytest.raises(RetrievalError, match="pip install pyarrow"):
            attempt()
    assert [path.name for path in tmp_path.iterdir()] == ["clip"]


# The command line


@pytest.mark.parametrize("verb", [cli_export, cli_import])
def test_the_commands_know_every_format(verb):
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    (choices,) = (action.choices for action in parser._actions if action.dest == "format")
    assert choices == FORMATS


def test_the_commands_say_what_they_did(source, tmp_path, capsys):
    assert main(["export", str(source), "--to", f"{tmp_path}/v.faiss"]) == 0
    assert capsys.readouterr().out == (
        f"{tmp_path}/v.faiss: 127 vectors (faiss)\n{tmp_path}/v.jsonl: what they belong to\n"
    )
    assert main(["import", f"{tmp_path}/v.faiss", "--out", f"{tmp_path}/back"]) == 0
    assert capsys.readouterr().out == (
        f"{tmp_path}/back: 127 vectors of 24 numbers (faiss)\nattributes: big, note, price, source_id, taken, year\n"
    )
    assert main(["export", str(source), "--to", f"{tmp_path}/set.hdf5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["queries"] == 12
    assert main(["import", f"{tmp_path}/set.hdf5", "--out", f"{tmp_path}/set", "--storage", "float16", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["storage"] == "float16"
    for arguments in (["export", f"{tmp_path}/nowhere", "--to", "v.npy"], ["import", "nowhere.npy", "--out", "x"]):
        assert main(arguments) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "nowhere" in error


def test_an_import_is_there_before_anything_makes_it_fast(source, tmp_path, monkeypatch, capsys):
    export(source, tmp_path / "v.npy")
    from retrieval.tuning import default

    def interrupted(index):
        assert len(index) == len(LIVE)
        raise KeyboardInterrupt

    for overwrite in (False, True):
        monkeypatch.setattr(default, "default_structure", interrupted)
        with pytest.raises(KeyboardInterrupt):
            import_index(tmp_path / "v.npy", tmp_path / "back", overwrite=overwrite)
        assert content(tmp_path / "back") == content(source)
    monkeypatch.setattr(default, "default_structure", lambda _: "search is exact, as there was no time")
    assert main(["import", str(tmp_path / "v.npy"), "--out", str(tmp_path / "other")]) == 0
    assert "note: search is exact, as there was no time" in capsys.readouterr().out
