"""One-shot trials on Omniglot: Lake's official twenty runs, by a network that has seen background alphabets alone."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from records import RECORDS, VIEWS

from retrieval import datasets
from retrieval.datasets import lake_runs
from retrieval.evaluation.one_shot import by_vectors, evaluate_runs
from systems.drawing import draw_dots
from systems.page import Family
from systems.rows import Measure, Row, Size, command, need, trained, values

RECIPE = RECORDS["omniglot"].recipe
BACKGROUND: dict[Size, str] = {
    "small": "images_background_small1",
    "medium": "images_background",
    "full": "images_background",
}
EPOCHS: dict[Size, int] = {"small": 2, "medium": RECIPE.epochs or 0, "full": 100}
PUBLISHED = (
    "people 4.5 %, Bayesian program learning 3.3 %, siamese network 8.0 % (on another split), simple convolutional "
    "network 13.5 % (Lake, Salakhutdinov, Tenenbaum 2015)"
)


def one_shot(data: Path, out: Path, size: Size) -> Row:
    """The error without and with views of each drawing; a training that stands in the folder is measured as it is."""
    runs = lake_runs.load(need(data, "omniglot/all_runs.zip"))
    background = datasets.load(need(data, f"omniglot/{BACKGROUND[size]}.zip"))
    run = trained(background, out / f"one_shot-{size}", RECIPE.replace(epochs=EPOCHS[size]))
    began = time.perf_counter()
    ours = {}
    for name, views in (("error", 1), (f"error with {VIEWS} views", VIEWS)):
        found = evaluate_runs(by_vectors(run.encoder, average=views, seed=RECIPE.seed), runs, seed=RECIPE.seed)
        ours[name] = values(found.figures[0].error)
    groups = len(set(background.levels or ()))
    return Row(
        "one-shot trials by inner products of embeddings",
        f"Omniglot, {groups} background alphabets trained; Lake's {len(runs.names)} runs of 20-way one-shot, "
        f"{found.figures[0].trials} trials; intervals over runs",
        PUBLISHED,
        ours,
        run.seconds + time.perf_counter() - began,
        command("one-shot", size),
    )


SYSTEMS: dict[str, Measure] = {"one-shot": one_shot}
FAMILY = Family(
    "one-shot",
    "One-shot trials",
    SYSTEMS,
    ("error",),
    partial(
        draw_dots,
        measures=("error", "error with 10 views"),
        title="Omniglot, Lake's twenty runs: error, %",
        published={"people": 0.045, "Bayesian program learning": 0.033},
    ),
)
