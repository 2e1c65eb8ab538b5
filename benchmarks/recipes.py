#!/usr/bin/env python3
"""Which recipe trains the better embedding.

    python benchmarks/recipes.py choose data/cifar10.h5 --out runs/choose      on validation pictures only
    python benchmarks/recipes.py compare data/cifar10.h5 --out runs/compare    against the published one, on test

`choose` trains every candidate for the same few epochs on the training pictures without 5,000 of them, and measures
with those 5,000 as queries among the rest; the test pictures are never looked at. `compare` gives the published
recipe, the default one and a classifier the same minutes on this machine, and measures test against train, and test
against test. Both skip what stands in --out already, and so can be stopped and started again. The table goes to stdout,
as Markdown or --json.
"""

from __future__ import annotations

import dataclasses
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from command import once, options, show, status

from retrieval import datasets
from retrieval.cli.train import print_warning
from retrieval.datasets import PictureSet
from retrieval.encoder import Encoder
from retrieval.evaluation.of_encoder import evaluate_encoder
from retrieval.evaluation.options import EvaluationOptions
from retrieval.evaluation.report import Report
from retrieval.training.loop import train
from retrieval.training.recipe import PRESETS

HELD_OUT = 5000
DEFAULT = PRESETS["default"]
WIDTHS = "64,128,256"
"""Of the default network, whatever the minutes would choose."""

CANDIDATES: dict[str, dict[str, Any]] = {
    "default": {},
    "all triplets": {"mining": "all"},
    "hardest triplets": {"mining": "hard"},
    "margin 0.1": {"margin": 0.1},
    "margin 0.4": {"margin": 0.4},
    "lr 0.03": {"lr": 0.03},
    "lr 0.2": {"lr": 0.2},
    "supervised contrastive": {"loss": "supcon"},
}


def choose(pictures: PictureSet, out: Path, epochs: int, names: list[str]) -> list[dict[str, Any]]:
    """Every candidate on the validation pictures; each row is written as soon as it is known."""
    known = with_validation(pictures)

    def candidate(name: str) -> dict[str, Any]:
        train(known, out / name, DEFAULT.replace(epochs=epochs, **CANDIDATES[name]), warn=print_warning)
        return {"name": name, **figures(by_validation(out / name, known))}

    return [once(out / name / "result.json", partial(candidate, name)) for name in names]


def by_validation(run: Path, known: PictureSet) -> Report:
    """The validation pictures asked for among those that the run was trained on."""
    queries, gallery = known.select("val"), known.select("train")
    return evaluate_encoder(Encoder.load(run), gallery, queries=queries, options=EvaluationOptions(probe=False))


def with_validation(pictures: PictureSet) -> PictureSet:
    """The training pictures alone, some of them as the validation split."""
    known = pictures.select(pictures.splits == "train")
    rows = np.random.default_rng(0).permutation(len(known))
    splits = known.splits.copy()
    splits[rows[:HELD_OUT]] = "val"
    return dataclasses.replace(known, splits=splits)


def compare(pictures: PictureSet, out: Path, minutes: float) -> list[dict[str, Any]]:
    """The published recipe, the default one and a classifier in the same minutes, on the test pictures."""
    recipes = {
        # shorter epochs change nothing but how exactly they fill the minutes, as the learning rate is constant
        "published: seed network, random triplets": PRESETS["seed"].replace(triplets_per_epoch=10_000, minutes=minutes),
        "default": DEFAULT.replace(widths=WIDTHS, minutes=minutes, loss="triplet"),
        "default network as a classifier": DEFAULT.replace(widths=WIDTHS, minutes=minutes, loss="softmax"),
    }

    def measured(name: str, run: Path) -> dict[str, Any]:
        trained = train(pictures, run, recipes[name], warn=print_warning)
        encoder = Encoder.load(run)
        classifier = run if recipes[name].loss == "softmax" else None
        to_train = evaluate_encoder(encoder, pictures, options=EvaluationOptions(classifier=classifier))
        to_test = evaluate_encoder(encoder, pictures, options=EvaluationOptions(within="test"))
        return {
            "name": name,
            "epochs": trained.history[-1].epoch + 1,
            "seconds": round(trained.seconds),
            **figures(to_train),
            **{f"{key}, test among test": value for key, value in figures(to_test).items()},
        }

    runs = {name: out / name.partition(":")[0].replace(" ", "-") for name in recipes}
    return [once(run / "result.json", partial(measured, name, run)) for name, run in runs.items()]


def figures(report: Report) -> dict[str, list[float]]:
    """Each measure's value with the ends of its interval."""
    return {m.name: [round(x, 4) for x in (m.value, m.low, m.high)] for m in report.measures}


def main() -> int:
    parser = options(__doc__, seed=False)
    parser.add_argument("what", choices=("choose", "compare"))
    parser.add_argument("data", help="what `retrieval data cifar10 --to data` wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for the trainings and their results")
    parser.add_argument("--epochs", type=int, default=2, help="choose: epochs of each candidate (default: 2)")
    parser.add_argument("--minutes", type=float, default=4, help="compare: for each training (default: 4)")
    parser.add_argument("--only", nargs="+", choices=CANDIDATES, default=list(CANDIDATES), help="choose: these alone")
    args = parser.parse_args()
    pictures = datasets.load(args.data)
    if args.what == "choose":
        rows = choose(pictures, args.out, args.epochs, args.only)
    else:
        rows = compare(pictures, args.out, args.minutes)
    show(args, rows, command=" ".join(sys.argv), seed=DEFAULT.seed)
    return 0


if __name__ == "__main__":
    sys.exit(status(main))
