"""``retrieval evaluate``, with a real encoder."""

from __future__ import annotations

import argparse
import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from shapes import CLASSES, PixelEncoder, as_files, indexed, shapes

from retrieval.cli import evaluate, main
from retrieval.encoder import EncoderConfig
from retrieval.errors import RetrievalError
from retrieval.evaluation.of_encoder import evaluate_encoder
from retrieval.evaluation.options import EvaluationOptions


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
    files = [str(tmp_path / "report.json"), str(tmp_path / "report.queries.npz")]
    arguments = [str(run), str(data), "--classifier", str(run), "--save", files[0]]
    assert main(["evaluate", *arguments]) == 0
    out = capsys.readouterr()
    assert "60 queries (test) against 60 pictures (train)" in out.out and out.err == ""
    for name in ("P@1", "P@10", "R-precision", "MAP@R", "mAP", "kNN accuracy", "linear SVM probe", "classifier", "EER"):
        assert f"\n{name}" in out.out
    assert max(map(len, out.out.splitlines()[3:22])) < 80
    values = json.loads(Path(files[0]).read_text())
    assert values["subject"] == str(run) and values["measures"]["classifier"]["n"] == 60
    with np.load(files[1], allow_pickle=False) as kept:
        assert len(kept["P@1"]) == 60
    assert sorted(run.rglob("*")) == before


def test_classifier_answers_the_largest_logit(run):
    from retrieval.encoder import Encoder

    pictures, encoder = shapes(120, 0), Encoder.load(run)
    report = evaluate_encoder(encoder, pictures, options=EvaluationOptions(classifier=run, probe=False))
    test = pictures.select("test")
    answers = encoder.encode(test.read(encoder.config.preprocessing))[:, :3].argmax(axis=1)
    assert report["classifier"].value == pytest.approx((answers == test.labels).mean())
    renamed = replace(pictures, classes=("a", "b", "c"))
    with pytest.raises(RetrievalError, match="circle, cross, square"):
        evaluate_encoder(encoder, renamed, options=EvaluationOptions(classifier=run, probe=False))
    part = replace(pictures, classes=("a", "cross", "circle"))
    answered = evaluate_encoder(encoder, part, options=EvaluationOptions(classifier=run, probe=False)).per_query[
        "classifier"
    ]
    expected = ((answers == 1) & (test.labels == 1)) | ((answers == 0) & (test.labels == 2))
    assert answered.tolist() == expected.astype(float).tolist()


def test_verb_prints_json(run, data, capsys):
    more = ["--clustering", "--as-in", "oml", "--over", "classes"]
    assert main(["evaluate", str(run), str(data), "--within", "test", "--json", "--limit", "30", *more]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["over"] == "classes" and {"NMI", "AMI", "oml cmc@5"} <= values["measures"].keys()
    assert values["counts"]["queries"] == 30
    assert set(values["measures"]["P@1"]) == {"value", "low", "high", "n", "chance"}


def test_verb_measures_an_index_that_was_built(run, data, tmp_path, capsys):
    from retrieval.ingest import build

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


def test_every_default_is_the_options_own():
    """What is not given is not passed on, and what can be given is an option or an input of what it is given to."""
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    assert vars(parser.parse_args(["it"])) == {"subject": "it"}
    taken = {action.dest for action in parser._actions} - {"help", "subject", "json", "save", "duplicates"}
    modes = {"rerank", "rerank_top", "oneshot", "ways", "shots", "trials", "within_groups", "average"}
    options = {field.name for field in fields(EvaluationOptions)} - {"subject", "neighbours"}
    assert taken - modes == options | {"data", "queries", "labels", "query_labels"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{run}"], "needs labelled pictures"),
        (["{run}", "{data}", "--save", "nowhere/report.json"], "no folder 'nowhere'"),
        (["{run}", "{data}", "--classifier", "{data}"], "--loss softmax"),
        (["{run}", "{data}/train"], "no test split"),
        (["{run}", "{data}/missing"], "missing"),
        (["{data}", "{data}"], "no encoder"),
        (["{run}", "{data}", "--codes"], "so --codes says nothing"),
        (["{run}", "{data}", "--labels", "labels.csv"], "so --labels 'labels.csv' says nothing"),
        (["{run}", "{data}", "--ways", "5"], "--ways says nothing without --oneshot"),
        (["{run}", "{data}", "--oneshot", "--no-probe"], "--no-probe says nothing beside --oneshot"),
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
