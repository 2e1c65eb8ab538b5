"""The table that --minutes chooses from (benchmarks/front.py) is what was measured."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from retrieval.datasets import PictureSet
from retrieval.training.for_minutes import CANDIDATES, CLASSIFIER, Candidate
from retrieval.training.recipe import Recipe

ROOT = Path(__file__).parents[2]


@pytest.fixture
def front(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("front")


def test_the_table_is_what_was_measured(front):
    kept = {front.place(row): row[front.KNN][0] for row in front.read()}
    for name in front.RECORDS:
        log = json.loads((front.LOGS / f"{name}.json").read_text())
        recipe = Recipe(**log["recipe"])
        seen = recipe.epochs * 50_000 // 1000
        kept[recipe.widths, recipe.loss, seen] = log["figures"][front.KNN][0]
        candidate = next(c for c in CANDIDATES if (c.widths, c.rest["loss"]) == (recipe.widths, recipe.loss))
        assert all(getattr(recipe, setting) == value for setting, value in candidate.rest.items())
    chosen_from = {
        (candidate.widths, candidate.rest["loss"], thousands): reached
        for candidate in CANDIDATES
        for thousands, reached in candidate.reached.items()
    }
    assert chosen_from == {place: round(reached, 3) for place, reached in kept.items()}
    assert front.table(front.read()) in (ROOT / "docs" / "training.md").read_text()


def test_the_front_is_what_nothing_beats_with_as_little(front):
    points = [(1.0, 0.5), (2.0, 0.4), (2.0, 0.7), (3.0, 0.7), (0.5, 0.1), (4.0, 0.9)]
    assert front.front(points) == [(0.5, 0.1), (1.0, 0.5), (2.0, 0.7), (4.0, 0.9)]


@pytest.mark.usefixtures("lean")
def test_a_point_is_a_training_of_so_many_pictures(front, tmp_path, monkeypatch):
    monkeypatch.setattr(front, "KEPT", tmp_path / "kept" / "front.json")
    monkeypatch.setattr("recipes.HELD_OUT", 60)
    labels = np.arange(300) % 10
    pixels = np.random.default_rng(0).integers(0, 25, (300, 16, 16, 3), np.uint8) + 20 * labels[:, None, None, None]
    known = PictureSet(
        name="made-up",
        names=[f"{i}.png" for i in range(300)],
        classes=tuple("abcdefghij"),
        labels=labels,
        splits=np.array(["train"] * 300),
        pixels=pixels.astype(np.uint8),
    )
    known = front.with_validation(known)
    row = front.point(Candidate("4,8", CLASSIFIER, {}), 1.0, "float32", known, tmp_path / "point" / "run")
    assert row["steps"] == 1000 // (10 * 25)
    front.keep([row])
    front.keep([{**row, "PFLOP": 7.0}])
    assert [one["PFLOP"] for one in front.read()] == [7.0]
    front.draw(front.read(), tmp_path / "front.png")
    with Image.open(tmp_path / "front.png") as plot:
        assert min(plot.size) > 300
