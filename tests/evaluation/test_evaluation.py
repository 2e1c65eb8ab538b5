"""From pictures, or an index, to a report."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from shapes import CLASSES, PixelEncoder, as_files, indexed, shapes

from retrieval.errors import RetrievalError
from retrieval.evaluation import of_index
from retrieval.evaluation.of_encoder import evaluate_encoder
from retrieval.evaluation.of_index import evaluate_index
from retrieval.evaluation.options import EvaluationOptions
from retrieval.evaluation.report import Measure, Report
from retrieval.measures import average_precision, cluster, like_oml, like_pml, mean_intervals, pair_scores, rank, verify


@pytest.fixture(scope="module")
def report() -> Report:
    return evaluate_encoder(PixelEncoder(), shapes(240, seed=0), options=EvaluationOptions(seed=3))


def test_report_is_what_the_measures_give(report):
    pictures, encoder = shapes(240, seed=0), PixelEncoder()
    train, test = pictures.select("train"), pictures.select("test")
    vectors = [encoder.encode(side.pixels) for side in (test, train)]
    expected = rank(vectors[0], test.labels, vectors[1], train.labels)
    shown = {measure.name for measure in report.measures}
    for name, values in expected.values.items():
        if name not in shown:  # at 1 they are all P@1, or as good as nothing
            assert name.endswith("@1") and name != "P@1"
            continue
        assert report[name].value == pytest.approx(values.mean()), name
        assert report[name].low < report[name].value < report[name].high or report[name].value == 1
        assert report[name].n == 120
    pairs = pair_scores(vectors[0], test.labels, vectors[1], train.labels, sample=20_000, balanced=True, seed=3)
    for name, figure in verify(pairs, seed=3).items():
        assert (report[name].value, report[name].low, report[name].n) == (figure.value, figure.low, figure.n)
    scores = vectors[1] @ vectors[0][5]
    assert report.per_query["mAP"][5] == pytest.approx(average_precision(scores, train.labels == test.labels[5]))
    assert report.per_query["name"][5] == test.names[5]
    assert report.per_query["class"][5] == CLASSES[test.labels[5]]
    assert report.counts["queries"] == report.counts["gallery"] == 120 and report.counts["classes"] == 3
    assert report.protocol == "120 queries (test) against 120 pictures (train)"
    assert "linear SVM probe" in {measure.name for measure in report.measures}


def test_the_gallery_is_everything_but_the_test_split():
    report = evaluate_encoder(
        PixelEncoder(), shapes(90, 0, ("train", "val", "test")), options=EvaluationOptions(probe=False)
    )
    assert report.protocol == "30 queries (test) against 60 pictures (train and val)"
    assert "linear SVM probe" not in {measure.name for measure in report.measures}


def test_within_a_split_each_picture_is_left_out_of_its_own_ranking():
    report = evaluate_encoder(PixelEncoder(), shapes(80, 0), options=EvaluationOptions(within="test"))
    assert report.protocol == "40 pictures (test), each against all others of 40"
    assert "linear SVM probe" not in {measure.name for measure in report.measures}
    assert report["P@1"].value < 1  # each is its own nearest
    assert not any("trained on" in note for note in report.notes)
    trained = evaluate_encoder(PixelEncoder(), shapes(80, 0), options=EvaluationOptions(within="train"))
    assert any("trained on shapes" in note for note in trained.notes)


def test_a_collapsed_encoder_scores_chance_and_is_named():
    report = evaluate_encoder(PixelEncoder(weight=0), shapes(240, 0))
    for name in ("P@1", "P@10", "recall@10", "hit rate@10", "mAP@10", "NDCG@10", "R-precision", "MAP@R", "mAP", "MRR"):
        assert report[name].value == pytest.approx(report[name].chance, abs=1e-9), name
    assert report["P@1"].value == pytest.approx(1 / 3, abs=0.01)
    assert report["AUC"].value == report["EER"].value == 0.5 and report["FPR at 95 % recall"].value == 1
    assert report["linear SVM probe"].value == report["linear SVM probe"].chance
    assert report.tied == 1
    assert any("120 queries have the same vector" in note for note in report.notes)


def test_pictures_from_files_in_memory_and_shuffled_give_the_same_figures(report, tmp_path):
    pictures = shapes(240, seed=0)
    from_files = evaluate_encoder(PixelEncoder(), as_files(pictures, tmp_path), options=EvaluationOptions(seed=3))
    order = np.random.default_rng(1).permutation(240)
    shuffled = evaluate_encoder(PixelEncoder(), pictures.select(order), options=EvaluationOptions(seed=3, probe=False))
    for measure in report.measures:
        assert from_files[measure.name] == measure
    for measure in shuffled.measures:
        assert measure.value == pytest.approx(report[measure.name].value, abs=1e-12)


def test_unreadable_files_are_counted_and_stop_nothing(tmp_path):
    pictures = as_files(shapes(60, 0), tmp_path)
    for place in (0, 7, 9):
        pictures.files[place].write_bytes(b"no picture")
    report = evaluate_encoder(PixelEncoder(), pictures)
    assert report.counts["unreadable"] == 3
    assert (report.counts["gallery"], report.counts["queries"]) == (29, 28)
    assert "3 files that cannot be read" in report.table()
    assert set(report.per_query["name"]) == set(pictures.select("test").names) - {"007.png", "009.png"}


def test_queries_without_label_or_relevant_picture_are_left_out_and_counted():
    pictures = shapes(120, 0)
    labels = pictures.labels.copy()
    labels[[1, 3]] = -1
    labels[[0, 2, 4]] = -1
    labels[(pictures.splits == "train") & (labels == 2)] = 1
    report = evaluate_encoder(PixelEncoder(), replace(pictures, labels=labels), options=EvaluationOptions(probe=False))
    missing = int(((pictures.splits == "test") & (labels == 2)).sum())
    assert missing > 0
    assert report.counts["queries_without_label"] == 2 and report.counts["gallery_without_label"] == 3
    assert report.counts["queries_without_relevant"] == missing
    assert report.counts["queries"] == 58 - missing


def test_queries_of_another_set_share_classes_by_name():
    gallery, queries = shapes(90, 0, ("train",)), shapes(60, 1, ("train",))
    expected = evaluate_encoder(PixelEncoder(), gallery, queries=queries, options=EvaluationOptions(probe=False))
    turned = replace(queries, classes=("square", "circle", "cross"), labels=(queries.labels + 1) % 3)
    same = evaluate_encoder(PixelEncoder(), gallery, queries=turned, options=EvaluationOptions(probe=False))
    assert same.measures == expected.measures
    other = replace(queries, classes=("circle", "triangle", "square"))
    left = evaluate_encoder(PixelEncoder(), gallery, queries=other, options=EvaluationOptions(probe=False))
    assert left.counts["queries_without_relevant"] == (queries.labels == 1).sum()


def test_a_clustering_and_the_peers_figures_are_there_when_asked_for():
    report = evaluate_encoder(
        PixelEncoder(), shapes(120, 0), options=EvaluationOptions(within="test", clustering=True, as_in="pml")
    )
    test = shapes(120, 0).select("test")
    vectors = PixelEncoder().encode(test.pixels)
    found = cluster(vectors, test.labels)
    assert (report["NMI"].value, report["AMI"].value) == (found.nmi, found.ami)
    for name, value in like_pml(vectors, test.labels).items():
        assert report[f"pml {name}"].value == value
    assert report.to_json()["measures"]["NMI"]["low"] is None
    assert report.to_json()["measures"]["pml precision_at_1"]["chance"] is None
    assert re.search(r"pml precision_at_1 +0\.\d+ +open +–", report.table())
    other = evaluate_encoder(PixelEncoder(), shapes(120, 0), options=EvaluationOptions(as_in="oml", probe=False))
    train = shapes(120, 0).select("train")
    theirs = like_oml(vectors, test.labels, PixelEncoder().encode(train.pixels), train.labels, ks=(1, 5, 10))
    assert other["oml map@5"].value == theirs["map"][5]
    assert "NMI" not in {measure.name for measure in other.measures}
    assert any("over the 3 classes, and too narrow" in note for note in other.notes)


def test_intervals_are_over_classes_where_these_are_a_sample():
    many = tuple(f"class {i}" for i in range(24))
    rng = np.random.default_rng(0)
    pictures = replace(shapes(240, 0), classes=many, labels=rng.integers(0, 24, 240))
    over = evaluate_encoder(PixelEncoder(), pictures, options=EvaluationOptions(within="test"))
    assert over.over == "classes" and "Intervals: over classes." in over.table()
    assert over["mAP"].low == pytest.approx(mean_intervals(over.per_query["mAP"], over=over.per_query["label"])[0].low)
    assert (
        evaluate_encoder(PixelEncoder(), pictures, options=EvaluationOptions(within="test", over="queries")).over
        == "queries"
    )
    seen = replace(pictures, classes=("circle", *many[1:]))  # one of them the encoder was trained on
    assert evaluate_encoder(PixelEncoder(), seen, options=EvaluationOptions(within="test")).over == "queries"
    assert evaluate_encoder(PixelEncoder(), shapes(80, 0), options=EvaluationOptions(within="test")).over == "queries"


def test_limit_draws_and_says_so():
    report = evaluate_encoder(PixelEncoder(), shapes(240, 0), options=EvaluationOptions(limit=50, seed=1))
    assert (report.counts["queries"], report.counts["gallery"]) == (50, 50)
    assert any("At most 50" in note for note in report.notes)
    again = evaluate_encoder(PixelEncoder(), shapes(240, 0), options=EvaluationOptions(limit=50, seed=1))
    other = evaluate_encoder(PixelEncoder(), shapes(240, 0), options=EvaluationOptions(limit=50, seed=2))
    assert report.measures == again.measures != other.measures


def test_report_as_json_table_and_files(report, tmp_path):
    report.save(tmp_path / "report.json")
    values = json.loads((tmp_path / "report.json").read_text())
    assert values == json.loads(json.dumps(report.to_json()))
    assert values["measures"]["mAP"]["value"] == report["mAP"].value
    assert values["seed"] == 3 and values["versions"]["numpy"] == np.__version__
    with np.load(tmp_path / "report.queries.npz", allow_pickle=False) as kept:
        assert kept["mAP"].mean() == pytest.approx(report["mAP"].value)
        assert kept["label"].dtype == np.int64
    table = report.table()
    for measure in report.measures:
        assert measure.name in table and f"{measure.value:.4f}" in table
    alone = replace(report, measures=(Measure("P@1", 1.0, float("nan"), float("nan"), 1, 0.5),))
    assert alone.to_json()["measures"]["P@1"]["low"] is None and "open" in alone.table()


@pytest.mark.parametrize(
    ("pictures", "options", "words"),
    [
        (shapes(30, 0, ("train",)), {}, "no test split"),
        (shapes(30, 0, ("test",)), {}, "nothing but a test split"),
        (shapes(30, 0), {"within": "val"}, "only train and test"),
        (shapes(30, 0), {"within": "test", "queries": shapes(30, 1)}, "one or the other"),
        (shapes(30, 0), {"limit": 0}, "limit is 0"),
        (shapes(30, 0), {"over": "pictures"}, "over is 'pictures': give queries or classes"),
        (shapes(30, 0), {"codes": True}, "is a model, measured on pictures, so --codes says nothing"),
        (replace(shapes(30, 0), labels=np.full(30, -1)), {}, "has no labels"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_sentence(pictures, options, words):
    with pytest.raises(RetrievalError, match=words):
        evaluate_encoder(
            PixelEncoder(),
            pictures,
            queries=options.get("queries"),
            options=EvaluationOptions(**{name: value for name, value in options.items() if name != "queries"}),
        )


# An index


def test_an_index_is_measured_by_its_own_labels(tmp_path):
    pictures, encoder = shapes(90, 0, ("test",)), PixelEncoder()
    labels = pictures.labels.copy()
    labels[:5] = -1
    pictures = replace(pictures, labels=labels)
    with indexed(tmp_path / "index", pictures, encoder) as index:
        report = evaluate_index(index)
        some = evaluate_index(index, options=EvaluationOptions(limit=20))
    expected = evaluate_encoder(encoder, pictures, options=EvaluationOptions(within="test"))
    assert report.measures == expected.measures
    assert report.counts == expected.counts
    assert (some.counts["queries"] + some.counts["queries_without_label"], some.counts["gallery"]) == (20, 85)
    full = dict(zip(report.per_query["name"], report.per_query["mAP"], strict=True))
    for name, value in zip(some.per_query["name"], some.per_query["mAP"], strict=True):
        assert value == pytest.approx(full[name], abs=1e-3)


def test_of_an_index_of_many_some_are_drawn_to_ask(tmp_path, monkeypatch):
    pictures, encoder = shapes(90, 0, ("test",)), PixelEncoder()
    with indexed(tmp_path / "index", pictures, encoder) as index:
        whole = evaluate_index(index)
        monkeypatch.setattr(of_index, "WHOLE", 89)
        monkeypatch.setattr(of_index, "DRAWN", 30)
        some = evaluate_index(index)
        assert evaluate_index(index, options=EvaluationOptions(exact=True)).measures == whole.measures
    assert (some.counts["queries"], some.counts["gallery"]) == (30, 90)
    assert any("Of 90 pictures 30 were drawn to ask" in note for note in some.notes)


def test_an_index_is_asked_by_other_pictures(tmp_path):
    gallery, queries, encoder = shapes(90, 0, ("train",)), shapes(60, 1, ("train",)), PixelEncoder()
    with indexed(tmp_path / "index", gallery, encoder) as index:
        report = evaluate_index(index, queries=queries, encoder=encoder)
        with pytest.raises(RetrievalError, match="none was given"):
            evaluate_index(index, queries=queries)
        with pytest.raises(RetrievalError, match="abc was given"):
            evaluate_index(index, queries=queries, encoder=PixelEncoder(hash="abc"))
    expected = evaluate_encoder(encoder, gallery, queries=queries)
    for measure in expected.measures:
        assert report[measure.name].value == pytest.approx(measure.value, abs=0.02), measure.name
    assert report["linear SVM probe"].value > 0.5


def test_an_index_without_labels_is_refused(tmp_path):
    pictures = replace(shapes(10, 0), labels=np.full(10, -1))
    with indexed(tmp_path / "index", pictures, PixelEncoder()) as index, pytest.raises(RetrievalError, match="labels"):
        evaluate_index(index)
