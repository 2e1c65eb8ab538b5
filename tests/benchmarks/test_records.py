"""The kept records (benchmarks/records.py): their logs belong to the recipes, and alphabets are held out whole."""

from __future__ import annotations

import csv
import dataclasses
import importlib
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from retrieval import networks
from retrieval.datasets import PictureSet
from retrieval.encoder import Encoder, EncoderConfig, save_trained
from retrieval.errors import RetrievalError
from retrieval.training.recipe import Recipe

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("records")


def test_each_log_is_that_of_its_recipe(records):
    logs = sorted(records.LOGS.glob("*.json"))
    assert len(logs) >= 4
    for path in logs:
        log = json.loads(path.read_text())
        assert log["record"] == path.stem and log["figures"] and log["machine"]
        asked = dataclasses.asdict(records.RECORDS[path.stem].recipe)
        settled = dataclasses.asdict(Recipe(**log["recipe"]))  # choices that came later had their defaults then
        for name, value in asked.items():
            # what was left open has been settled in the log
            assert value in (None, "auto") or settled[name] == value, (path.stem, name)
        with path.with_suffix(".csv").open(newline="") as file:
            steps = list(csv.DictReader(file))
        assert round(float(steps[-1]["seconds"]) / 60) == log["minutes of training"]
        assert int(steps[-1]["epoch"]) + 1 == settled["epochs"]


def test_the_table_shows_every_log(records, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["records.py", "table"])
    assert records.main() == 0
    shown = capsys.readouterr().out
    for path in records.LOGS.glob("*.json"):
        figures = json.loads(path.read_text())["figures"]
        assert all(f"| {path.stem} | {name} | {100 * found[0]:.2f} % (" in shown for name, found in figures.items())
    assert shown.strip() in (BENCHMARKS.parent / "docs" / "family.md").read_text()


def test_several_seeds_are_a_mean_and_a_range_and_each_goes_on_from_its_own(records):
    row = {"record": "one", "figures": {"error": [0.02, 0.01, 0.03]}, "minutes of training": 3}
    assert "mean of seeds (range)" not in records.shown(row)[0]
    several = records.shown(
        row | {"seeds": {"1": {"figures": {"error": [0.04, 0, 1]}}, "2": {"figures": {"error": [0.01, 0, 1]}}}}
    )[0]
    assert several["ours (95 % interval)"] == "2.00 % (1.00–3.00)"
    assert several["mean of seeds (range)"] == "2.33 % (1.00–4.00, 3 seeds)" and several["minutes of training"] == "3"
    goes_on = [one.recipe for one in records.RECORDS.values() if one.recipe.init is not None]
    assert goes_on
    for recipe in goes_on:
        places = [records.placed(recipe, Path("out"), seed).init for seed in (0, 1)]
        assert places == [str(Path("out", recipe.init)), str(Path("out", f"{recipe.init}-seed-1"))]


def test_alphabets_are_held_out_whole(records):
    # nine alphabets: of 22 characters, but for the first, which is too small to ask 20 ways
    labels = np.repeat(np.arange(3 + 8 * 22), 2)
    alphabets = np.repeat(["small", *(f"alphabet {i}" for i in range(8))], [6, *[44] * 8])
    pictures = PictureSet(
        name="letters",
        names=[str(i) for i in range(len(labels))],
        classes=tuple(map(str, range(labels.max() + 1))),
        labels=labels,
        splits=np.array(["train"] * len(labels)),
        pixels=np.zeros((len(labels), 2, 2, 1), np.uint8),
        levels=alphabets.tolist(),
    )
    learned, asked = records.held_out(pictures)
    assert len(set(asked.levels)) == 6 and "small" not in set(asked.levels)
    assert not set(asked.levels) & set(learned.levels)
    assert len(learned) + len(asked) == len(pictures)


def test_a_mean_with_the_mirror_image_is_that_of_the_mirror_image(records, tmp_path):
    torch.manual_seed(0)
    options = {"dim": 8, "channels": 1, "size": 8, "widths": [4]}
    network = networks.create("convnet", **options)
    save_trained(
        tmp_path / "encoder", network, EncoderConfig("convnet", options, 8, network.preprocessing, ("a",), ""), ""
    )
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1), np.uint8)
    queries = PictureSet(
        name="noise",
        names=[str(i) for i in range(6)],
        classes=("a",),
        labels=np.zeros(6, np.int64),
        splits=np.array(["test"] * 6),
        pixels=pixels,
    )
    gallery = dataclasses.replace(queries, pixels=pixels[:, :, ::-1])

    def farthest(asked, known):
        assert np.allclose(np.linalg.norm(asked.vectors, axis=1), 1, atol=1e-5)
        return {"distance": [float(np.abs(asked.vectors - known.vectors).max())]}

    encoder = Encoder.load(tmp_path / "encoder")
    found = records.compared(farthest, encoder, queries, gallery, True)
    assert found["distance"][0] > 0.01 and found["distance, with mirror images"][0] < 1e-5
    up, down = (records.moved(pixels, by, False) for by in (-1, 1))
    views = [one for side in (pixels, up, down) for one in (side, side[:, :, ::-1])]
    six = sum(encoder.encode(np.ascontiguousarray(view)) for view in views)
    six /= np.linalg.norm(six, axis=1, keepdims=True)
    *_, (name, asked) = records.means(encoder, queries, records.encode(encoder, queries, "pictures"))
    assert name == ", with six views" and np.allclose(asked.vectors, six, atol=1e-5)


def test_a_view_is_moved_and_then_mirrored(records):
    pixels = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1)
    down, up = records.moved(pixels, 1, False), records.moved(pixels, -1, False)
    assert (down[0, 1:, 1:] == pixels[0, :-1, :-1]).all() and (down[0, 0, 1:] == pixels[0, 0, :-1]).all()
    assert (up[0, :-1, :-1] == pixels[0, 1:, 1:]).all() and (up[0, -1, :-1] == pixels[0, -1, 1:]).all()
    assert (records.moved(pixels, 0, False) == pixels).all()
    assert (records.moved(pixels, 1, True) == down[:, :, ::-1]).all()
    assert [len(views) for views in records.AVERAGED.values()] == [1, 4]


def test_seeds_are_added_to_the_log_of_the_same_recipe_alone(records, tmp_path, monkeypatch):
    torch.manual_seed(0)
    recipe = Recipe(size=16, widths="4,4,4", epochs=1, validation=0, loss="softmax")
    network = networks.create("convnet", size=16, widths=(4, 4, 4))
    monkeypatch.setattr(records, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(records, "RECORDS", {"one": records.Record(recipe)})
    asked = []

    def trained(name, data, out, seed):
        run = tmp_path / f"run-{seed}"
        Encoder.of(network, EncoderConfig("convnet", {"size": 16}, network.dim, network.preprocessing)).save(
            run / "encoder"
        )
        (run / "recipe.json").write_text(json.dumps(dataclasses.asdict(recipe) | {"seed": seed}))
        (run / "curves.csv").write_text("seconds,epoch\n60,0\n120,0\n")
        asked.append(seed)
        return run

    monkeypatch.setattr(records, "trained", trained)
    monkeypatch.setattr(
        records, "by_test_pictures", lambda record, encoder, data: {"error": [0.1 * asked[-1], 0.0, 1.0]}
    )

    with pytest.raises(RetrievalError, match="begin with 0"):
        records.measured("one", tmp_path, tmp_path, [1])
    records.measured("one", tmp_path, tmp_path, [0])
    row = records.measured("one", tmp_path, tmp_path, [2, 1])
    assert asked == [0, 1, 2] and list(row["seeds"]) == ["1", "2"]
    assert records.shown(row)[0]["mean of seeds (range)"] == "10.00 % (0.00–20.00, 3 seeds)"
    assert records.measured("one", tmp_path, tmp_path, [0])["seeds"] == row["seeds"]
    # of another recipe, what the log holds says nothing beside this one
    log = tmp_path / "logs" / "one.json"
    log.write_text(json.dumps(json.loads(log.read_text()) | {"recipe": dataclasses.asdict(recipe.replace(epochs=2))}))
    with pytest.raises(RetrievalError, match="begin with 0"):
        records.measured("one", tmp_path, tmp_path, [1])
    assert "seeds" not in records.measured("one", tmp_path, tmp_path, [0])
