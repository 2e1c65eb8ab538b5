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
from retrieval.training import for_minutes
from retrieval.training.for_minutes import CLASSIFIER, Candidate
from retrieval.training.recipe import Recipe

ROOT = Path(__file__).parents[2]


@pytest.fixture
def front(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("front")


def test_the_table_is_what_was_measured(front):
    """The records' rows are those of their logs, and the page shows the table."""
    rows = front.read()
    for name in ("cifar10", "cifar10-hour"):
        log = json.loads((ROOT / "benchmarks" / "logs" / f"{name}.json").read_text())
        recipe = Recipe(**log["recipe"])
        (row,) = (row for row in rows if row["machine"] == f"benchmarks/records.py {name}")
        own = (recipe.widths, front.SIDE, front.batch_of(recipe), recipe.loss, recipe.epochs * 50_000 // 1000)
        assert front.place(row) == own and row["PFLOP"] == log["PFLOP"]
        assert all(row[measure] == log["figures"][measure] for measure in front.MEASURES)
        assert all(getattr(recipe, setting) == value for setting, value in row["rest"].items())
    for row in rows:
        candidate = Candidate(row["widths"], row["rest"], {}, row["share"])
        assert front.place(row) == front.place_of(candidate, row["thousand pictures"])
    assert len({front.place(row) for row in rows}) == len(rows)
    assert front.table(rows) in (ROOT / "docs" / "training.md").read_text()


def test_the_front_is_what_nothing_beats_with_as_little(front):
    points = [(1.0, 0.5), (2.0, 0.4), (2.0, 0.7), (3.0, 0.7), (0.5, 0.1), (4.0, 0.9)]
    assert front.front(points) == [(0.5, 0.1), (1.0, 0.5), (2.0, 0.7), (4.0, 0.9)]


@pytest.mark.usefixtures("lean")
def test_a_point_is_a_training_of_so_many_pictures(front, tmp_path, monkeypatch):
    monkeypatch.setattr(for_minutes, "TABLE", tmp_path / "table.json")
    for_minutes.TABLE.write_text("[]")
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
    row = front.point(
        Candidate("4,8", {**CLASSIFIER, "pictures_per_class": 10}, {}, 0.75),
        1.0,
        "float32",
        known,
        tmp_path / "point" / "run",
    )
    assert (row["size"], row["batch"]) == (24, 100)
    assert len((tmp_path / "point" / "run" / "curves.csv").read_text().splitlines()) == 1 + 1000 // 100
    front.keep([row])
    front.keep([{**row, "PFLOP": 7.0}])
    assert [one["PFLOP"] for one in front.read()] == [7.0]
    front.draw(front.read(), tmp_path / "front.png")
    with Image.open(tmp_path / "front.png") as plot:
        assert min(plot.size) > 300
