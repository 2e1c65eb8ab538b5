"""Measuring vectors that any program made, read as hostile files, and what a report says beyond its measures."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from shapes import CLASSES, PixelEncoder, shapes
from vectors import brute, make, unit

from retrieval.cli import main
from retrieval.errors import RetrievalError
from retrieval.evaluation import figures
from retrieval.evaluation.label_files import read_labels
from retrieval.evaluation.of_index import evaluate_index
from retrieval.evaluation.of_vectors import evaluate_vectors
from retrieval.evaluation.options import EvaluationOptions
from retrieval.index import Index, NewItem
from retrieval.index.nearest import kinds
from retrieval.measures import cluster, linear_probe, rank

N, D = 90, 12


def classes(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around three centres, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    vectors = 1.2 * unit(3, D, 77)[labels] + unit(n, D, seed + 1)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), labels


@pytest.fixture(autouse=True)
def few_pairs(monkeypatch):
    """Few pairs to verify, as they take most of the time, and what becomes of them is tested elsewhere."""
    monkeypatch.setattr(figures, "PAIRS", 300)


@pytest.fixture
def files(tmp_path) -> Path:
    """A folder with vectors and labels of both sides."""
    for name, n, seed in (("gallery", N, 0), ("queries", 40, 5)):
        vectors, labels = classes(n, seed)
        np.save(tmp_path / f"{name}.npy", vectors)
        np.save(tmp_path / f"{name}_labels.npy", labels)
    return tmp_path


# What is measured


def test_each_against_all_others_as_by_brute_force(files):
    report = evaluate_vectors(files / "gallery.npy", files / "gallery_labels.npy")
    vectors, labels = classes(N)
    scores = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    np.fill_diagonal(scores, -np.inf)
    order = np.argsort(-scores, axis=1)[:, :-1]
    right = labels[order] == labels[:, None]
    assert report["P@1"].value == pytest.approx(right[:, 0].mean())
    assert report["P@10"].value == pytest.approx(right[:, :10].mean())
    precision = np.cumsum(right, axis=1) / np.arange(1, N)
    assert report["mAP"].value == pytest.approx(((precision * right).sum(axis=1) / right.sum(axis=1)).mean())
    assert report.protocol == "90 vectors, each against all others of 90, ranked exactly"
    assert report.per_query["name"][7] == "7" and report.per_query["class"][7] == str(labels[7])
    assert not any("unit length" in note for note in report.notes)
    assert {"AUC", "EER"} <= {measure.name for measure in report.measures}


def test_queries_of_another_file_with_a_probe(files):
    report = evaluate_vectors(
        files / "gallery.npy",
        files / "gallery_labels.npy",
        queries=files / "queries.npy",
        query_labels=files / "queries_labels.npy",
    )
    (gallery, gallery_labels), (queries, labels) = classes(N), classes(40, 5)
    expected = rank(queries, labels, gallery, gallery_labels)
    for name in ("P@1", "P@10", "mAP", "NDCG", "kNN accuracy (k=10)"):
        assert report[name].value == pytest.approx(expected.values[name].mean()), name
    probe = linear_probe(gallery, gallery_labels, queries, labels, seed=0)
    assert report["linear SVM probe"].value == pytest.approx(probe.correct.mean())
    assert report.counts["queries"] == 40 and report.counts["gallery"] == N


def test_classes_are_the_same_where_their_texts_are(files):
    (files / "asked.csv").write_text(
        "path,label\n" + "".join(f"q{i},{label}\n" for i, label in enumerate(classes(40, 5)[1]))
    )
    how = {"queries": files / "queries.npy", "options": EvaluationOptions(probe=False)}
    by_number = evaluate_vectors(
        files / "gallery.npy", files / "gallery_labels.npy", query_labels=files / "queries_labels.npy", **how
    )
    by_text = evaluate_vectors(
        files / "gallery.npy", files / "gallery_labels.npy", query_labels=files / "asked.csv", **how
    )
    assert by_text.measures == by_number.measures
    assert by_text.per_query["name"][3] == "q3"


def test_other_lengths_and_types_are_scaled_and_said_so(files):
    vectors, labels = classes(N)
    expected = evaluate_vectors(files / "gallery.npy", files / "gallery_labels.npy")
    np.save(files / "long.npy", vectors.astype(np.float64) * np.linspace(1, 9, N)[:, None])
    report = evaluate_vectors(files / "long.npy", files / "gallery_labels.npy")
    assert report["mAP"].value == pytest.approx(expected["mAP"].value, abs=1e-6)
    assert any("89 of the 90 vectors of long.npy were not of unit length" in note for note in report.notes)
    np.save(files / "fortran.npy", np.asfortranarray(vectors))
    assert evaluate_vectors(files / "fortran.npy", files / "gallery_labels.npy").measures == expected.measures
    broken = vectors.copy()
    broken[[2, 5]], broken[9, 0] = 0, np.nan
    np.save(files / "broken.npy", broken)
    report = evaluate_vectors(files / "broken.npy", files / "gallery_labels.npy")
    kept = np.delete(np.arange(N), [2, 5, 9])
    assert report["mAP"].value == pytest.approx(rank(vectors[kept], labels[kept]).values["mAP"].mean())
    assert report.counts["without_direction"] == 3 and "3 vectors that are zero or not finite" in report.table()
    assert report.per_query["name"][2] == "3"


def test_codes_are_ranked_by_hamming_distance_with_expected_ties(files, monkeypatch):
    monkeypatch.setattr(figures, "PAIRS", 4000)
    vectors, labels = classes(N)
    codes = np.packbits(np.concatenate([vectors, vectors[:, :4]], axis=1) > 0, axis=1)
    np.save(files / "codes.npy", codes)
    report = evaluate_vectors(
        files / "codes.npy", files / "gallery_labels.npy", options=EvaluationOptions(codes=True, as_in="oml")
    )
    expected = rank(codes, labels)
    for name in ("P@10", "mAP", "NDCG"):
        assert report[name].value == pytest.approx(expected.values[name].mean()), name
    signs = np.unpackbits(codes, axis=1) * 2.0 - 1
    distances = signs @ signs.T
    same = labels[:, None] == labels
    upper = np.triu(np.ones((N, N), bool), 1)
    genuine, impostor = distances[same & upper], distances[~same & upper]
    wins = genuine[:, None] - impostor
    area = ((wins > 0) + (wins == 0) / 2).mean()
    assert report["AUC"].value == pytest.approx(area, abs=0.03)  # a sample of as many impostors as genuine pairs
    assert report.tied > 0.3 and "oml cmc@1" in {measure.name for measure in report.measures}
    numbers = evaluate_vectors(files / "codes.npy", files / "gallery_labels.npy")
    assert any("taken for numbers; --codes" in note for note in numbers.notes)


def test_hdf5_with_splits_masks_or_neither(files):
    vectors, labels = classes(N)
    asks = np.arange(N) % 3 == 0
    expected = rank(vectors[asks], labels[asks], vectors[~asks], labels[~asks])
    splits = np.where(asks, b"test", b"train")
    written = {
        "split": {"split": splits},
        "query": {"query": asks},
        "gallery": {"gallery": (~asks).astype(np.uint8)},
        "both": {"query": asks, "gallery": np.ones(N, bool)},
        "neither": {},
    }
    for name, more in written.items():
        with h5py.File(files / f"{name}.h5", "w") as file:
            file["embeddings" if name == "query" else "vectors"] = vectors
            file["labels"] = np.array([f"c{label}".encode() for label in labels])
            file["names"] = np.array([f"é{i}".encode() for i in range(N)])
            for key, value in more.items():
                file[key] = value
        report = evaluate_vectors(files / f"{name}.h5")
        if name == "neither":
            assert report["mAP"].value == pytest.approx(rank(vectors, labels).values["mAP"].mean())
        elif name == "both":
            own = rank(vectors[asks], labels[asks], vectors, labels, own=np.flatnonzero(asks))
            assert report["mAP"].value == pytest.approx(own.values["mAP"].mean())
        else:
            assert report["mAP"].value == pytest.approx(expected.values["mAP"].mean()), name
            assert report.per_query["name"][:2].tolist() == ["é0", "é3"] and report.counts["gallery"] == 60
            assert "linear SVM probe" in {measure.name for measure in report.measures}


def test_several_labels_a_picture(files):
    vectors, _ = classes(N)
    rng = np.random.default_rng(3)
    sets = rng.random((N, 4)) < 0.4
    np.save(files / "sets.npy", sets)
    texts = [";".join(f"{c}" for c in np.flatnonzero(row)) for row in sets]
    (files / "sets.csv").write_text("name,label\n" + "".join(f"{i},{text}\n" for i, text in enumerate(texts)))
    (files / "sets.json").write_text(json.dumps([np.flatnonzero(row).tolist() for row in sets]))
    expected = rank(vectors, sets, graded=True)
    for name in ("sets.npy", "sets.csv", "sets.json"):
        report = evaluate_vectors(files / "gallery.npy", files / name, options=EvaluationOptions(graded=True))
        for measure in ("P@10", "mAP", "NDCG"):
            assert report[measure].value == pytest.approx(expected.values[measure].mean()), (name, measure)
        assert report.per_query["class"].tolist() == [text for text in texts if text]
        assert report.confusion is None and report.per_class is not None and "ROC" not in report.curves
        for place, label in enumerate(report.per_class.names):
            shows = sets[expected.queries, int(label)]
            assert (
                report.per_class.queries[place] == shows.sum()
                and report.per_class.gallery[place] == sets[:, int(label)].sum()
            )
            value = report.per_class.measures["P@10"].value[place]
            assert value == pytest.approx(expected.values["P@10"][shows].mean())
    plain = evaluate_vectors(files / "gallery.npy", files / "sets.csv")
    assert plain["mAP"].value == report["mAP"].value and plain["NDCG"].value != report["NDCG"].value
    mixed = evaluate_vectors(
        files / "gallery.npy",
        files / "sets.csv",
        queries=files / "queries.npy",
        query_labels=files / "queries_labels.npy",
    )
    labels = np.eye(4, dtype=bool)[classes(40, 5)[1]]
    assert mixed["mAP"].value == pytest.approx(rank(classes(40, 5)[0], labels, vectors, sets).values["mAP"].mean())


def test_near_duplicates_are_left_out_and_counted(files):
    vectors, labels = classes(N)
    vectors[10:20], labels[10:20] = vectors[:10], labels[:10]
    np.save(files / "copies.npy", vectors)
    np.save(files / "copies_labels.npy", labels)
    kept = evaluate_vectors(files / "copies.npy", files / "copies_labels.npy")
    dropped = evaluate_vectors(
        files / "copies.npy", files / "copies_labels.npy", options=EvaluationOptions(duplicate_score=0.999)
    )
    expected = rank(vectors, labels, ignore=[[(i + 10) % 20] if i < 20 else [] for i in range(N)])
    assert dropped["mAP"].value == pytest.approx(expected.values["mAP"].mean()) and dropped != kept
    assert dropped.counts["near_duplicates"] == 20 and kept.counts["near_duplicates"] == 0
    assert any("20 of them, and 20 of the measured queries" in note for note in dropped.notes)
    assert any("20 queries have the same vector" in note for note in kept.notes)
    assert not any("the same vector" in note for note in dropped.notes)


def test_a_clustering_of_vectors(files):
    options = EvaluationOptions(clustering=True)
    report = evaluate_vectors(files / "gallery.npy", files / "gallery_labels.npy", options=options)
    vectors, labels = classes(N)
    expected = cluster(vectors, labels)
    assert (report["NMI"].value, report["AMI"].value) == (expected.nmi, expected.ami)


# Beyond the measures


def test_curves_classes_and_confusion_are_what_the_rankings_say(files):
    report = evaluate_vectors(files / "gallery.npy", files / "gallery_labels.npy")
    vectors, labels = classes(N)
    curve = report.curves["precision–recall"]
    expected = rank(vectors, labels, levels=curve.x, classes=3)
    np.testing.assert_allclose(curve.y, expected.curves.mean(axis=0))
    assert (curve.low <= curve.y).all() and (curve.y <= curve.high).all() and len(curve.x) <= 201
    roc = report.curves["ROC"]
    assert len(roc.x) <= 201 and np.trapezoid(roc.y, roc.x) == pytest.approx(report["AUC"].value, abs=0.01)
    assert roc.y[-1] == 1 and (roc.low <= roc.y + 1e-9).all() and (roc.y <= roc.high + 1e-9).all()
    table = report.per_class
    assert table.names == ("0", "1", "2") and table.queries.tolist() == np.bincount(labels).tolist()
    assert table.gallery.tolist() == table.queries.tolist()
    for name, column in table.measures.items():
        for place in range(3):
            assert column.value[place] == pytest.approx(expected.values[name][labels == place].mean())
            assert column.low[place] <= column.value[place] <= column.high[place]
    found = report.confusion
    assert found.classes == ("0", "1", "2") and found.k == 10
    np.testing.assert_allclose(found.shares.sum(axis=1), 1)
    np.testing.assert_allclose(found.shares, expected.confusion / expected.confusion.sum(axis=1, keepdims=True))
    weights = found.queries / found.queries.sum()
    assert np.diag(found.shares) @ weights == pytest.approx(report["P@10"].value)


def test_json_holds_them_in_few_lines(files, capsys):
    arguments = [str(files / "gallery.npy"), "--labels", str(files / "gallery_labels.npy")]
    assert main(["evaluate", *arguments, "--json", "--save", str(files / "report.json")]) == 0
    out = capsys.readouterr().out
    values = json.loads(out)
    assert values == json.loads((files / "report.json").read_text())
    assert values["curves"]["ROC"].keys() == {"x", "y", "low", "high", "x_name", "y_name", "how"}
    assert values["per_class"]["measures"]["P@1"]["low"][0] <= values["per_class"]["measures"]["P@1"]["value"][0]
    assert np.sum(values["confusion"]["shares"], axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    assert len(out.splitlines()) < 250


def test_a_class_of_few_queries_has_no_interval(files):
    labels = classes(N)[1]
    labels[:2] = 3
    np.save(files / "few.npy", labels)
    report = evaluate_vectors(files / "gallery.npy", files / "few.npy")
    column = report.per_class.measures["P@1"]
    assert np.isnan(column.low[3]) and np.isfinite(column.value[3]) and np.isfinite(column.low[0])
    assert report.to_json()["per_class"]["measures"]["P@1"]["low"][3] is None


def test_an_index_says_what_its_structure_finds(tmp_path):
    vectors = unit(600, 16)
    with make(tmp_path / "index", vectors) as index:
        assert not any("structure" in m.name for m in evaluate_index(index).measures)
        ids = index.ids()

        class Forgetful:
            """An index whose structure misses what has an odd id, half of it."""

            def __getattr__(self, name):
                return getattr(index, name)

            def __len__(self):
                return len(index)

            structure = "a structure"

            def search(self, queries, k, *, exclude=None):
                scores, found = index.search(queries, k, exclude=exclude)
                return np.where(found % 2 == 0, scores, -np.inf), found

        report = evaluate_index(Forgetful())
        recall = report["recall@10 of the structure"]
        scores = vectors @ vectors.T
        np.fill_diagonal(scores, -np.inf)
        near = ids[np.argsort(-scores, axis=1)[:, :10]]
        assert recall.value == pytest.approx((near % 2 == 0).mean()) and recall.n == 600
        assert recall.low < recall.value < recall.high and np.isnan(recall.chance)
        assert any("asked by 600 of the queries" in note for note in report.notes)
        whole = Forgetful()
        whole.search = index.search
        limited = evaluate_index(whole, options=EvaluationOptions(limit=50))["recall@10 of the structure"]
        assert (limited.value, limited.n) == (1, 50)


def test_a_real_structure_that_misses_some(tmp_path):
    vectors = unit(1500, 16)
    with make(tmp_path / "index", vectors) as index:
        ids, _ = index.all_vectors()
        index.set_structure(kinds.build("IVF16,SQ8", vectors, seed=0), {"nprobe": 2}, ids=ids, measured={})
        recall = evaluate_index(index)["recall@10 of the structure"]
        asked = np.sort(np.random.default_rng(0).choice(1500, 1000, replace=False))
        _, truth = brute(vectors[asked], vectors, ids, 10, exclude=[[id_] for id_ in ids[asked]])
        _, found = index.search(vectors[asked], 10, exclude=[[id_] for id_ in ids[asked]])
    shares = [len(np.intersect1d(a, b)) / 10 for a, b in zip(truth, found, strict=True)]
    assert recall.value == pytest.approx(np.mean(shares)) and 0.2 < recall.value < 0.95 and recall.n == 1000


def test_an_index_of_codes_is_ranked_by_its_codes(tmp_path):
    pictures = shapes(80, 0, ("test",))
    vectors = PixelEncoder().encode(pictures.pixels)[:, 1:]
    index = Index.create(tmp_path / "index", 64, root=".", encoder_hash="codes", details={}, storage="binary")
    with index:
        index.add(vectors, [NewItem(f"{i}", CLASSES[label]) for i, label in enumerate(pictures.labels)])
        report = evaluate_index(index, options=EvaluationOptions(as_in="pml"))
        expected = rank(np.packbits(vectors > 0, axis=1), pictures.labels)
        assert report["mAP"].value == pytest.approx(expected.values["mAP"].mean())
        assert 0.5 < report["AUC"].value <= 1 and report.per_query["id"].tolist() == index.ids().tolist()


# Labels


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", "label\nb\n\na\n", ["b", None, "a"]),
        ("a.csv", "path,label,more\nx,b,1\ny,,2\nz,a,3\n", ["b", None, "a"]),
        ("a.txt", "b\n\na\n", ["b", None, "a"]),
        ("a.csv", "Name;Label\nx;b\ny;\nz;a\n", ["b", None, "a"]),
        ("a.tsv", "label\tname\nb\tx, y\n\tz\na\tw\n", ["b", None, "a"]),
        ("a.csv", "path, label\nx, b\ny, \nz, a\n", ["b", None, "a"]),
        ("a.json", '{"Label": "b"}\n{"label": null}\n{"label": 7.0}\n', ["b", None, "7"]),
        ("a.txt", "10\n-1\n9", ["10", None, "9"]),
        ("a.csv", '"b, c"\nx\n x ', ["b, c", "x", "x"]),
        ("a.json", '["b", null, 7]', ["b", None, "7"]),
        ("a.json", '[{"label": "b"}, {"label": ""}, {"label": 7}]', ["b", None, "7"]),
        ("a.jsonl", '"b"\n{"label": -1}\n[7]\n', ["b", None, "7"]),
        ("a.csv", "﻿label\r\nb\r\n\r\na\r\n", ["b", None, "a"]),
    ],
)
def test_labels_of_every_kind_of_file(name, content, expected, tmp_path):
    (tmp_path / name).write_bytes(content.encode())
    found = read_labels(tmp_path / name, 3)
    assert [None if label < 0 else found.classes[label] for label in found.labels] == expected
    assert found.sets is None


def test_numbers_are_ordered_as_numbers_and_texts_as_texts(tmp_path):
    (tmp_path / "a.txt").write_text("10\n9\n100\n9")
    assert read_labels(tmp_path / "a.txt", 4).classes == ("9", "10", "100")
    np.save(tmp_path / "a.npy", np.array(["b", "", "a"]))
    assert read_labels(tmp_path / "a.npy", 3).classes == ("a", "b")
    np.save(tmp_path / "b.npy", np.array([300, -1, 7], np.int16))
    found = read_labels(tmp_path / "b.npy", 3)
    assert found.classes == ("7", "300") and found.labels.tolist() == [1, -1, 0]


def forged(shape: str, descr: str, content: bytes = b"") -> bytes:
    """A .npy file that says what it likes."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.npy", forged("(3,)", "'|O'", b"cos\nsystem\n."), "give integers or texts (n,), or booleans"),
        ("a.txt", b"x\tcat\ny\tdog\nz\tcat", "no column is called label"),
        ("a.npy", forged("(1000000000000,)", "'<i8'"), "cannot be read"),
        ("a.npy", forged("(3,)", "'<f4'", bytes(12)), "float32"),
        ("a.npy", forged("(3,)", "'<i8'", b"\xfe" + b"\xff" * 23), "reach down to -2"),
        ("a.npy", forged("(3,)", "'<U1'", b"\xff" * 12), "no text"),
        ("a.npy", forged("(3,)", "'|S1'", b"\xff" * 3), "no text"),
        ("a.npy", forged("(3,)", "'<U0'"), "give integers"),
        ("a.npy", forged("()", "'<i8'", bytes(8)), "of 0 vectors"),
        ("a.npy", b"junk", "cannot be read"),
        ("a.json", b"[" * 100_000, "is not json"),
        ("a.json", b'{"a": 1}', "has no label"),
        ("a.json", b"[1.5, 2, 3]", "has the label 1.5; give a text"),
        ("a.json", b'[{"name": 1}, 2, 3]', "Item 1 of"),
        ("a.json", b"[1, 2]", "of 2 vectors, and there are 3"),
        ("a.csv", b"a,b\n1,2\n3,4", "Line 1 of"),
        ("a.csv", b"label,b\n1,2\n3,4\n5", "has 1 cells instead of 2"),
        ("a.csv", b"label\n1\n2", "of 2 vectors"),
        ("a.csv", b'"unclosed\n1\n2', "is not CSV"),
        ("a.txt", b"\xff\n1\n2", "UTF-8"),
        ("a.txt", b"x" * 2_000_000, "too many for 3 vectors"),
        ("a.txt", b"x" * 2000 + b"\n1\n2", "2,000 letters"),
        ("a.pkl", b"", "rename"),
    ],
)
def test_bad_labels_are_refused_in_one_sentence(name, content, words, tmp_path, capsys):
    np.save(tmp_path / "three.npy", unit(3, 4))
    (tmp_path / name).write_bytes(content)
    assert main(["evaluate", str(tmp_path / "three.npy"), "--labels", str(tmp_path / name)]) == 1
    out = capsys.readouterr()
    assert words in out.err and out.err.count("\n") == 1 and out.out == ""


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["a"] * 6, "have the one label 'a'"),
        (list("abcdef"), "is of one vector alone"),
        ([""] * 6, "has a label; give labels"),
        (["a;b", "c", "d", "e;f", "g", "h"], "is of one vector alone"),
    ],
)
def test_labels_by_which_nothing_can_be_measured_are_called_so(labels, words, tmp_path, capsys):
    np.save(tmp_path / "v.npy", unit(6, 4))
    (tmp_path / "labels.csv").write_text("label\n" + "\n".join(f'"{label}"' for label in labels) + "\n")
    assert main(["evaluate", str(tmp_path / "v.npy"), "--labels", str(tmp_path / "labels.csv")]) == 1
    out = capsys.readouterr()
    assert words in out.err and out.err.count("\n") == 1 and out.out == ""


# Vectors


def test_the_verb_measures_vectors(files, capsys):
    sides = ["--queries", str(files / "queries.npy"), "--query-labels", str(files / "queries_labels.npy")]
    labels = ["--labels", str(files / "gallery_labels.npy")]
    assert main(["evaluate", str(files / "gallery.npy"), *labels, *sides, "--duplicates", "drop"]) == 0
    out = capsys.readouterr().out
    assert "40 queries of another file against 90 vectors" in out and "a score of 0.999 or more" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["gallery.npy"], "comes without labels"),
        (["none.npy", "--labels", "gallery_labels.npy"], "not there"),
        (["gallery.npy", "--labels", "none.csv"], "not there"),
        (["gallery.npy", "--labels", "gallery_labels.npy", "--queries", "pictures"], "not there"),
        (["gallery.npy", "--labels", "gallery_labels.npy", "--queries", "labels.csv"], "neither .npy"),
        (["gallery.npy", "data", "--labels", "gallery_labels.npy"], "says nothing"),
        (["gallery.npy", "--labels", "queries_labels.npy"], "of 40 vectors, and there are 90"),
        (["gallery.npy", "--labels", "gallery_labels.npy", "--codes"], "leave --codes out"),
        (["gallery.npy", "--labels", "gallery_labels.npy", "--graded"], "leave --graded out"),
        (["gallery.npy", "--labels", "gallery_labels.npy", "--duplicate-score", "0.9"], "without --duplicates drop"),
        (["gallery.npy", "--labels", "gallery_labels.npy", "--query-labels", "queries_labels.npy"], "without queries"),
        (["gallery.npy", "--labels", "gallery_labels.npy", "--queries", "queries.npy"], "comes without labels"),
        (["gallery_labels.npy", "--labels", "gallery_labels.npy"], "int64 of shape (90,)"),
        (["object.npy", "--labels", "gallery_labels.npy"], "cannot be read"),
        (["zero.npy", "--labels", "gallery_labels.npy"], "zero or not finite"),
        (["empty.npy", "--labels", "gallery_labels.npy"], "no vector"),
        (["junk.h5"], "cannot be read as HDF5"),
        (["images.h5"], "no data set vectors or embeddings"),
        (["both.h5"], "keep one"),
        (["split.h5"], "splits are train, val and test"),
        (["none.h5"], "none asks"),
        (["packed.h5"], "compressed"),
        (["texts.h5"], "labels has texts of variable length; np.array(labels).astype('S') makes plain ones"),
    ],
)
def test_bad_vectors_are_refused_in_one_sentence(arguments, words, files, capsys, monkeypatch):
    monkeypatch.chdir(files)
    vectors, labels = classes(N)
    Path("object.npy").write_bytes(forged("(90, 2)", "'|O'", b"cos\nsystem\n."))
    np.save("zero.npy", np.zeros((N, 3)))
    Path("labels.csv").write_text("1")
    np.save("empty.npy", np.zeros((0, 3)))
    Path("junk.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(range(256)) * 8)
    more = {
        "images": {"images": vectors},
        "both": {"vectors": vectors, "labels": labels, "query": labels, "split": np.full(N, b"test")},
        "split": {"vectors": vectors, "labels": labels, "split": np.full(N, b"dev")},
        "none": {"vectors": vectors, "labels": labels, "query": np.zeros(N, bool)},
        "texts": {"vectors": vectors, "labels": [str(label) for label in labels]},
    }
    for name, content in more.items():
        with h5py.File(f"{name}.h5", "w") as file:
            for key, value in content.items():
                file[key] = value
    with h5py.File("packed.h5", "w") as file:
        file.create_dataset("vectors", data=vectors, compression="gzip")
    assert main(["evaluate", *arguments]) == 1
    out = capsys.readouterr()
    assert words in out.err and out.err.count("\n") == 1 and out.out == ""


def test_several_labels_are_of_no_one_class(files):
    (files / "two.txt").write_text("a;b\n" * N)
    with pytest.raises(RetrievalError, match="no one class"):
        evaluate_vectors(files / "gallery.npy", files / "two.txt", options=EvaluationOptions(over="classes"))
