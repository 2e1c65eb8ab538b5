"""Training on a benchmark's folder: its official split, and nothing of its test classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import official_layouts
import pytest
from small_sets import noise

from retrieval import cli
from retrieval.datasets import PictureSet
from retrieval.encoder import Encoder
from retrieval.training.training_set import taught

SMALL = ["--widths", "8,16", "--threads", "1", "--pictures-per-class", "2", "--size", "12", "--epochs", "1"]


def test_what_is_taught_has_no_class_of_the_test() -> None:
    labels = np.array([2, 0, 2, 1, 3, -1])
    splits = np.array(["train", "test", "val", "train", "test", "train"], "<U5")
    names = tuple(f"{row}.png" for row in range(6))
    kept = taught(PictureSet("small", names, ("a", "b", "c", "d"), labels, splits, noise(6, 2, 2, 3)))
    assert kept.names == ("0.png", "2.png", "3.png", "5.png") and kept.classes == ("b", "c")
    assert kept.labels.tolist() == [1, 1, 0, -1]


@pytest.mark.long
@pytest.mark.usefixtures("lean")
@pytest.mark.parametrize("loss", ["triplet", "softmax"])
def test_training_never_touches_the_test_classes(loss: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    official_layouts.cub200(tmp_path / "set", classes=44, each=3)
    test = [path for path in (tmp_path / "set" / "images").iterdir() if int(path.name[:3]) > 22]
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for folder in test:  # a training that opened one of these would say that it cannot be read
        folder.rename(moved / folder.name)
    run = tmp_path / "run"
    assert cli.main(["train", str(tmp_path / "set"), "--out", str(run), "--loss", loss, *SMALL]) == 0
    assert "cannot be read" not in capsys.readouterr().err
    assert Encoder.load(str(run)).config.classes == tuple(f"{number:03d}" for number in range(1, 23))
    for folder in test:
        (moved / folder.name).rename(folder)
    assert cli.main(["benchmark", "cub200", str(tmp_path / "set"), "--model", str(run), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["over"] == "classes" and report["counts"]["classes"] == 22
    assert not any("was trained on" in note for note in report["notes"])
