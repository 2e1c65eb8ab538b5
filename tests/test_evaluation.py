"""From pictures, or an index, to a report; and the verb that prints it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval.cli import main
from retrieval.datasets import PictureSet
from retrieval.encoder import EncoderConfig
from retrieval.errors import RetrievalError
from retrieval.evaluation import evaluate_encoder, evaluate_index
from retrieval.evaluation.report import Measure, Report
from retrieval.images import Preprocessing
from retrieval.index import Index, NewItem
from retrieval.measures import average_precision, rank

CLASSES = ("circle", "cross", "square")


@dataclass
class PixelEncoder:
    """Its vector is the picture itself, and a constant that keeps black pictures from having none."""

    constant: float = 1.0
    weight: float = 1.0
    hash: str = hashlib.sha256(b"pixels").hexdigest()
    dim: int = 65
    config: EncoderConfig = field(
        default_factory=lambda: EncoderConfig("pixels", {}, 65, Preprocessing(8, "L", "stretch"), CLASSES, "shapes")
    )

    def encode(self, pixels: np.ndarray, batch: int | None = None) -> np.ndarray:
        values = np.full((len(pixels), self.dim), self.constant, np.float32)
        values[:, 1:] = self.weight * (pixels.reshape(len(pixels), -1) / np.float32(255) - 0.5)
        return values / np.linalg.norm(values, axis=1, keepdims=True)


def shapes(n: int, seed: int, splits: tuple[str, ...] = ("train", "test")) -> PictureSet:
    """Three noisy classes of 8×8 pictures, the splits in turn."""
    rng = np.random.default_rng(seed)
    models = np.random.default_rng(7).integers(90, 165, (3, 8, 8, 1))
    labels = rng.integers(0, 3, n)
    pixels = np.clip(models[labels] + rng.normal(0, 60, (n, 8, 8, 1)), 0, 255).astype(np.uint8)
    return PictureSet(
        "shapes",
        tuple(f"{i:03}.png" for i in range(n)),
        CLASSES,
        labels,
        np.array([splits[i % len(splits)] for i in range(n)]),
        pixels=pixels,
    )


def as_files(pictures: PictureSet, folder: Path) -> PictureSet:
    assert pictures.pixels is not None
    files = []
    for name, split, label, pixels in zip(
        pictures.names, pictures.splits, pictures.labels, pictures.pixels, strict=True
    ):
        file = folder / split / CLASSES[label] / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[..., 0]).save(file)
        files.append(file)
    return replace(pictures, pixels=None, files=tuple(files))


@pytest.fixture(scope="module")
def report() -> Report:
    return evaluate_encoder(PixelEncoder(), shapes(240, seed=0), seed=3)


def test_report_is_what_the_measures_give(report):
    pictures, encoder = shapes(240, seed=0), PixelEncoder()
    train, test = pictures.select("train"), pictures.select("test")
    vectors = [encoder.encode(side.pixels) for side in (test, train)]
    expected = rank(vectors[0], test.labels, vectors[1], train.labels)
    for name, values in expected.values.items():
        assert report[name].value == pytest.approx(values.mean()), name
        assert report[name].low < report[name].value < report[name].high
        assert report[name].n == 120
    scores = vectors[1] @ vectors[0][5]
    assert report.per_query["mAP"][5] == pytest.approx(average_precision(scores, train.labels == test.labels[5]))
    assert report.per_query["name"][5] == test.names[5]
    assert report.per_query["class"][5] == CLASSES[test.labels[5]]
    assert report.counts["queries"] == report.counts["gallery"] == 120 and report.counts["classes"] == 3
    assert report.protocol == "120 queries (test) against 120 pictures (train)"
    assert "linear SVM probe" in {measure.name for measure in report.measures}


def test_the_gallery_is_everything_but_the_test_split():
    report = evaluate_encoder(PixelEncoder(), shapes(90, 0, ("train", "val", "test")), probe=False)
    assert report.protocol == "30 queries (test) against 60 pictures (train and val)"
    assert "linear SVM probe" not in {measure.name for measure in report.measures}


def test_within_a_split_each_picture_is_left_out_of_its_own_ranking():
    report = evaluate_encoder(PixelEncoder(), shapes(80, 0), within="test")
    assert report.protocol == "40 pictures (test), each against all others of 40"
    assert "linear SVM probe" not in {measure.name for measure in report.measures}
    assert report["P@1"].value < 1  # each is its own nearest
    assert not any("trained on" in note for note in report.notes)
    trained = evaluate_encoder(PixelEncoder(), shapes(80, 0), within="train")
    assert any("trained on shapes" in note for note in trained.notes)


def test_a_collapsed_encoder_scores_chance_and_is_named():
    report = evaluate_encoder(PixelEncoder(weight=0), shapes(240, 0))
    for name in ("P@1", "P@10", "R-precision", "MAP@R", "mAP"):
        assert report[name].value == pytest.approx(report[name].chance, abs=1e-9), name
    assert report["P@1"].value == pytest.approx(1 / 3, abs=0.01)
    assert report["linear SVM probe"].value == report["linear SVM probe"].chance
    assert report.tied == 1
    assert any("120 queries have the same vector" in note for note in report.notes)


def test_pictures_from_files_in_memory_and_shuffled_give_the_same_figures(report, tmp_path):
    pictures = shapes(240, seed=0)
    from_files = evaluate_encoder(PixelEncoder(), as_files(pictures, tmp_path), seed=3)
    order = np.random.default_rng(1).permutation(240)
    shuffled = evaluate_encoder(PixelEncoder(), pictures.select(order), seed=3, probe=False)
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
    report = evaluate_encoder(PixelEncoder(), replace(pictures, labels=labels), probe=False)
    missing = int(((pictures.splits == "test") & (labels == 2)).sum())
    assert missing > 0
    assert report.counts["queries_without_label"] == 2 and report.counts["gallery_without_label"] == 3
    assert report.counts["queries_without_relevant"] == missing
    assert report.counts["queries"] == 58 - missing


def test_queries_of_another_set_share_classes_by_name():
    gallery, queries = shapes(90, 0, ("train",)), shapes(60, 1, ("train",))
    expected = evaluate_encoder(PixelEncoder(), gallery, queries=queries, probe=False)
    turned = replace(queries, classes=("square", "circle", "cross"), labels=(queries.labels + 1) % 3)
    same = evaluate_encoder(PixelEncoder(), gallery, queries=turned, probe=False)
    assert same.measures == expected.measures
    other = replace(queries, classes=("circle", "triangle", "square"))
    left = evaluate_encoder(PixelEncoder(), gallery, queries=other, probe=False)
    assert left.counts["queries_without_relevant"] == (queries.labels == 1).sum()


def test_limit_draws_and_says_so():
    report = evaluate_encoder(PixelEncoder(), shapes(240, 0), limit=50, seed=1)
    assert (report.counts["queries"], report.counts["gallery"]) == (50, 50)
    assert any("At most 50" in note for note in report.notes)
    again = evaluate_encoder(PixelEncoder(), shapes(240, 0), limit=50, seed=1)
    other = evaluate_encoder(PixelEncoder(), shapes(240, 0), limit=50, seed=2)
    assert report.measures == again.measures != other.measures


def test_report_as_json_table_and_files(report, tmp_path):
    report.save(tmp_path / "report.json")
    values = json.loads((tmp_path / "report.json").read_text())
    assert values == json.loads(json.dumps(report.to_json()))
    assert values["measures"]["mAP"]["value"] == report["mAP"].value
    assert values["seed"] == 3 and values["versions"]["numpy"] == np.__version__
    report.save_per_query(tmp_path / "queries.npz")
    with np.load(tmp_path / "queries.npz", allow_pickle=False) as kept:
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
        (replace(shapes(30, 0), labels=np.full(30, -1)), {}, "has no labels"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_sentence(pictures, options, words):
    with pytest.raises(RetrievalError, match=words):
        evaluate_encoder(PixelEncoder(), pictures, **options)


# An index


def indexed(folder: Path, pictures: PictureSet, encoder: PixelEncoder) -> Index:
    index = Index.create(folder, encoder.dim, root=".", encoder_hash=encoder.hash, details={})
    labels = [None if label < 0 else CLASSES[label] for label in pictures.labels]
    items = [NewItem(path=name, label=label) for name, label in zip(pictures.names, labels, strict=True)]
    half = len(items) // 2
    vectors = encoder.encode(pictures.pixels)
    index.add(vectors[:half], items[:half])
    index.add(vectors[half:], items[half:])
    return index


def test_an_index_is_measured_by_its_own_labels(tmp_path):
    pictures, encoder = shapes(90, 0, ("test",)), PixelEncoder()
    labels = pictures.labels.copy()
    labels[:5] = -1
    pictures = replace(pictures, labels=labels)
    with indexed(tmp_path / "index", pictures, encoder) as index:
        report = evaluate_index(index)
        some = evaluate_index(index, limit=20)
    expected = evaluate_encoder(encoder, pictures, within="test")
    assert report.measures == expected.measures
    assert report.counts == expected.counts
    assert (some.counts["queries"] + some.counts["queries_without_label"], some.counts["gallery"]) == (20, 85)
    full = dict(zip(report.per_query["name"], report.per_query["mAP"], strict=True))
    for name, value in zip(some.per_query["name"], some.per_query["mAP"], strict=True):
        assert value == pytest.approx(full[name], abs=1e-3)


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


# The verb, with a real encoder


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run as a training with --loss softmax leaves it, but for the training."""
    import safetensors.numpy
    import torch

    from retrieval import networks
    from retrieval.encoder import save_trained

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("run")
    options = {"dim": 8, "channels": 1, "size": 8, "widths": [8]}
    network = networks.create("convnet", **options)
    config = EncoderConfig("convnet", options, 8, network.preprocessing, CLASSES, "nothing")
    save_trained(folder / "encoder", network, config, "a card")
    head = {"weight": np.eye(3, 8, dtype=np.float32), "bias": np.zeros(3, np.float32)}
    safetensors.numpy.save_file(head, folder / "classifier.safetensors")
    return folder


@pytest.fixture
def data(tmp_path) -> Path:
    as_files(shapes(120, 0), tmp_path / "shapes")
    return tmp_path / "shapes"


def test_verb_prints_a_table_and_writes_what_was_asked_for(run, data, tmp_path, capsys):
    before = sorted(run.rglob("*"))
    files = [str(tmp_path / "report.json"), str(tmp_path / "queries.npz")]
    arguments = [str(run), str(data), "--classifier", str(run), "--save", files[0], "--save-per-query", files[1]]
    assert main(["evaluate", *arguments]) == 0
    out = capsys.readouterr()
    assert "60 queries (test) against 60 pictures (train)" in out.out and out.err == ""
    for name in ("P@1", "P@10", "R-precision", "MAP@R", "mAP", "kNN accuracy", "linear SVM probe", "classifier"):
        assert f"\n{name}" in out.out
    values = json.loads(Path(files[0]).read_text())
    assert values["subject"] == str(run) and values["measures"]["classifier"]["n"] == 60
    with np.load(files[1], allow_pickle=False) as kept:
        assert len(kept["P@1"]) == 60
    assert sorted(run.rglob("*")) == before


def test_classifier_answers_the_largest_logit(run):
    from retrieval.encoder import Encoder

    pictures, encoder = shapes(120, 0), Encoder.load(run)
    report = evaluate_encoder(encoder, pictures, classifier=run, probe=False)
    test = pictures.select("test")
    answers = encoder.encode(test.read(encoder.config.preprocessing))[:, :3].argmax(axis=1)
    assert report["classifier"].value == pytest.approx((answers == test.labels).mean())
    renamed = replace(pictures, classes=("a", "b", "c"))
    with pytest.raises(RetrievalError, match="circle, cross, square"):
        evaluate_encoder(encoder, renamed, classifier=run, probe=False)
    part = replace(pictures, classes=("a", "cross", "circle"))
    answered = evaluate_encoder(encoder, part, classifier=run, probe=False).per_query["classifier"]
    expected = ((answers == 1) & (test.labels == 1)) | ((answers == 0) & (test.labels == 2))
    assert answered.tolist() == expected.astype(float).tolist()


def test_verb_prints_json(run, data, capsys):
    assert main(["evaluate", str(run), str(data), "--within", "test", "--json", "--limit", "30"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["counts"]["queries"] == 30
    assert set(values["measures"]["P@1"]) == {"value", "low", "high", "n", "chance"}


def test_verb_measures_an_index_that_was_built(run, data, tmp_path, capsys):
    from retrieval.indexing import build

    build(data / "train", tmp_path / "index", model=run)
    assert main(["evaluate", str(tmp_path / "index"), "--json"]) == 0
    own = json.loads(capsys.readouterr().out)
    assert own["counts"]["queries"] == own["counts"]["gallery"] == 60
    assert main(["evaluate", str(tmp_path / "index"), "--queries", str(data / "test"), "--json"]) == 0
    asked = json.loads(capsys.readouterr().out)
    assert main(["evaluate", str(run), str(data), "--json"]) == 0
    direct = json.loads(capsys.readouterr().out)
    assert asked["counts"] == direct["counts"]
    for name, measure in direct["measures"].items():
        assert asked["measures"][name]["value"] == pytest.approx(measure["value"], abs=0.01), name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{run}"], "needs labelled pictures"),
        (["{run}", "{data}", "--save", "nowhere/report.json"], "no folder 'nowhere'"),
        (["{run}", "{data}", "--classifier", "{data}"], "--loss softmax"),
        (["{run}", "{data}/train"], "no test split"),
        (["{run}", "{data}/missing"], "missing"),
        (["{data}", "{data}"], "no encoder"),
    ],
)
def test_verb_refuses_in_one_sentence(arguments, words, run, data, capsys):
    arguments = [argument.format(run=run, data=data) for argument in arguments]
    assert main(["evaluate", *arguments]) == 1
    out = capsys.readouterr()
    assert words in out.err and out.err.count("\n") == 1 and out.out == ""


def test_verb_refuses_data_for_an_index(tmp_path, capsys):
    indexed(tmp_path / "index", shapes(10, 0), PixelEncoder()).close()
    assert main(["evaluate", str(tmp_path / "index"), "pictures"]) == 1
    assert "leave it out" in capsys.readouterr().err
