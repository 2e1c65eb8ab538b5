"""Triplet networks on CIFAR-10: the original article's program, and ways to choose triplets, for the same minutes."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from retrieval import datasets
from retrieval.datasets import PictureSet
from retrieval.evaluation.of_encoder import evaluate_encoder
from retrieval.evaluation.options import EvaluationOptions
from retrieval.training.recipe import PRESETS, Recipe
from systems.drawing import draw_dots
from systems.page import Family
from systems.rows import Measure, Row, Size, command, need, trained

SEED = 0
MEASURES = {"kNN accuracy (k=10)": "kNN accuracy", "P@10": "P@10", "mAP": "mAP"}
MINUTES: dict[Size, float | None] = {"small": None, "medium": 1.0, "full": 10.0}
"""Of each training; the small one is an epoch, whatever it takes."""
WIDTHS: dict[Size, str] = {"small": "8,16,32", "medium": "32,64,128", "full": "64,128,256"}
PICTURES: dict[Size, dict[str, int]] = {"small": {"train": 2000, "test": 500}, "medium": {}, "full": {}}

PIECE: dict[Size, int] = {"small": 500, "medium": 10_000, "full": 100_000}
"""Random triplets an epoch."""
VARIANTS: dict[str, dict[str, Any]] = {
    "random": {"mining": "given", "sampler": "random-triplets", "triplets_per_batch": 83},
    "semi-hard": {},
    "all": {"mining": "all"},
    "hard": {"mining": "hard"},
    "distance-weighted": {"mining": "distance-weighted"},
    "memory": {"memory": 2000},
}
"""The default recipe with another way to choose triplets; 83 random ones are as many pictures as its batches have."""
NAMES = {"random": "random triplets of the default network", "memory": "semi-hard triplets with a memory of 2,000"}


def article(data: Path, out: Path, size: Size) -> Row:
    """The original article's network and triplets; its learning rate is constant, so epochs may be cut in pieces."""
    system = "triplets as in the original article: its network, random triplets"
    return measured("triplet-article", system, PRESETS["seed"], data, out, size)


def variant(name: str, data: Path, out: Path, size: Size) -> Row:
    """The default network."""
    recipe = Recipe(widths=WIDTHS[size], loss="triplet").replace(**VARIANTS[name])
    return measured(f"triplet-{name}", NAMES.get(name, f"{name} triplets of the batch"), recipe, data, out, size)


def measured(name: str, system: str, recipe: Recipe, data: Path, out: Path, size: Size) -> Row:
    """One training of so many minutes, and the test pictures asked for among the training pictures."""
    pictures = some(datasets.load(need(data, "cifar10.h5")), size)
    recipe = recipe.replace(triplets_per_epoch=PIECE[size], **effort(size))
    run = trained(pictures, out / f"{name}-{size}", recipe)
    began = time.perf_counter()
    report = evaluate_encoder(run.encoder, pictures, options=EvaluationOptions(probe=False))
    return Row(
        system,
        f"CIFAR-10, {int((pictures.splits == 'train').sum()):,} pictures trained for {duration(size)}, "
        f"{int((pictures.splits == 'test').sum()):,} asked among them; intervals over queries",
        "no figure of the article at hand; the row triplet-article repeats its program",
        {MEASURES[m.name]: [m.value, m.low, m.high] for m in report.measures if m.name in MEASURES},
        run.seconds + time.perf_counter() - began,
        command(name, size),
    )


def effort(size: Size) -> dict[str, Any]:
    """What of a recipe limits the time that its training takes."""
    minutes = MINUTES[size]
    return {"epochs": None if minutes else 1, "minutes": minutes, "validation": 0, "seed": SEED}


def duration(size: Size) -> str:
    """The same in words."""
    minutes = MINUTES[size]
    return f"at most {minutes:g} min" if minutes else "an epoch"


def some(pictures: PictureSet, size: Size) -> PictureSet:
    """All of the pictures, or so many of either split at random."""
    random = np.random.default_rng(SEED)
    chosen = [
        random.permutation(np.flatnonzero(pictures.splits == split))[: PICTURES[size].get(split)]
        for split in ("train", "test")
    ]
    return pictures.select(np.concatenate(chosen))


SYSTEMS: dict[str, Measure] = {
    "triplet-article": article,
    **{f"triplet-{name}": partial(variant, name) for name in VARIANTS},
}
FAMILY = Family(
    "triplets",
    "Triplets",
    SYSTEMS,
    ("kNN accuracy",),
    partial(draw_dots, measures=("kNN accuracy", "P@10", "mAP"), title="CIFAR-10, one minute of training, %"),
)
