"""The rows of binary codes in the family's table: codes go on from one trunk, and are measured by Hamming distance."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from small_sets import SHARED, write_idx

from retrieval import datasets

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

pytestmark = pytest.mark.usefixtures("lean")


@pytest.fixture
def codes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("systems.codes")


def rows(monkeypatch, capsys, *words):
    """What benchmarks/family.py says of its small size."""
    program = importlib.import_module("family")
    monkeypatch.setattr(sys, "argv", ["family.py", *map(str, words), "--size", "small", "--json"])
    assert program.main() == 0
    return json.loads(capsys.readouterr().out)["rows"]


def digits(folder: Path) -> None:
    """Ten patterns with noise, in MNIST's files."""
    random = np.random.default_rng(0)
    patterns = random.integers(0, 200, (10, 7, 7))
    for part, count in (("train", 200), ("t10k", 60)):
        labels = np.arange(count) % 10
        pixels = patterns[labels] + random.integers(0, 55, (count, 7, 7))
        write_idx(folder, part, pixels.repeat(4, 1).repeat(4, 2).astype(np.uint8), labels, True)


def test_each_loss_goes_on_from_one_trunk(codes, tmp_path, monkeypatch, capsys, long):
    digits(tmp_path / "mnist")
    monkeypatch.setitem(
        codes.EFFORTS, ("mnist", "small"), codes.Effort(None, 50, {"widths": "8,8", "epochs": 1}, 1, (12, 24))
    )
    names = ("hdml", "lai", "csq") if long else ("hdml", "csq")
    only = [f"{loss}-mnist" for loss in names]
    found = rows(monkeypatch, capsys, tmp_path, "--out", tmp_path / "out", "--only", *only)
    trunk = tmp_path / "out" / "trunk-mnist-small"
    for row, loss in zip(found, names, strict=True):
        assert set(row["ours"]) == {f"{m}, {bits} bits" for m in ("kNN error", "mAP") for bits in (12, 24)}
        assert all(-1e-9 <= x <= 1 + 1e-9 for value in row["ours"].values() for x in value)
        assert "50 test pictures among 200" in row["data"] and row["seconds"] > 0
        recipe = json.loads((tmp_path / "out" / f"{loss}-mnist-24-small" / "recipe.json").read_text())
        assert recipe["init"] == str(trunk) and recipe["net"] == "divide-and-encode"
        assert recipe["margin"] == {"hdml": 6.0, "lai": 1.0, "csq": None}[loss]
    monkeypatch.setattr(sys, "argv", ["codes.py", "--out", str(tmp_path / "out"), "--size", "small"])
    assert importlib.import_module("codes").main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[2].strip() for line in lines[2:]] == ["12"] * len(names) + ["24"] * len(names)
    expected = found[-1]["ours"]["mAP, 24 bits"]
    assert "{:.2f} ({:.2f}–{:.2f})".format(*(100 * x for x in expected)) in lines[-1]
    kept = tmp_path / "out" / "csq-mnist-24-small" / "figures.json"
    kept.write_text(json.dumps({"kNN error": [0.5], "mAP": [0.25], "seconds": 3}))
    (tmp_path / "out" / "csq-mnist-small.json").unlink()
    (again,) = rows(monkeypatch, capsys, tmp_path, "--out", tmp_path / "out", "--only", "csq-mnist")
    assert again["ours"]["mAP, 24 bits"] == [0.25], "what stands there is not measured again"


def test_codes_are_compared_by_hamming_distance(codes, tmp_path, monkeypatch, capsys):
    """The mAP by brute force, the mean over many orders of what ties."""
    digits(tmp_path / "mnist")
    monkeypatch.setitem(
        codes.EFFORTS, ("mnist", "small"), codes.Effort(80, 30, {"widths": "4,4", "epochs": 1}, 1, (12,))
    )
    (row,) = rows(monkeypatch, capsys, tmp_path, "--out", tmp_path / "out", "--only", "lai-mnist")
    from retrieval.encoder import Encoder

    encoder = Encoder.load(tmp_path / "out" / "lai-mnist-12-small")
    pictures = datasets.load(tmp_path / "mnist")
    known, test = codes.drawn(pictures, "train", 80), codes.drawn(pictures, "test", 30)
    bits = [encoder.encode(side.read(encoder.config.preprocessing)) > 0 for side in (test, known)]
    distances = (bits[0][:, None] != bits[1][None]).sum(2)
    relevant = test.labels[:, None] == known.labels[None]
    random = np.random.default_rng(0)
    found = []
    for _ in range(400):
        order = np.lexsort((random.random(distances.shape), distances), axis=1)
        hits = np.take_along_axis(relevant, order, axis=1)
        ranks = np.arange(1, hits.shape[1] + 1)
        found.append((hits * hits.cumsum(1) / ranks).sum(1) / hits.sum(1))
    assert row["ours"]["mAP, 12 bits"][0] == pytest.approx(np.mean(found), abs=0.005)


@pytest.mark.long
@pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not here")
@pytest.mark.parametrize("loss", ["hdml", "csq"])
def test_small_codes_of_real_digits(codes, tmp_path, monkeypatch, capsys, loss):
    """That such codes tell classes apart, tests/training/test_hashing.py sees in a second."""
    (row,) = rows(monkeypatch, capsys, SHARED, "--out", tmp_path, "--only", f"{loss}-mnist")
    assert row["ours"]["kNN error, 24 bits"][2] < 0.5, "chance is 0.9"
