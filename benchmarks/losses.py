#!/usr/bin/env python3
"""Every loss on the same pictures, network, batches and steps.

    python benchmarks/losses.py data/cifar10.h5 --out runs/losses

Trains each loss with the default recipe, but fewer filters, on so many of the training pictures, and measures with
2,000 others of them as queries among those it was trained on; the test pictures are never looked at. Each loss has the
margin, temperature and learning rate that it has by itself (docs/losses.md). Skips what stands in --out already. The
table goes to stdout, as Markdown or --json.
"""

from __future__ import annotations

import dataclasses
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from command import once, options, show, status
from recipes import by_validation, figures

from retrieval import datasets
from retrieval.cli.train import print_warning
from retrieval.datasets import PictureSet
from retrieval.training.loop import train
from retrieval.training.losses import NAMES
from retrieval.training.recipe import Recipe

QUERIES = 2000
MEASURES = ("P@1", "P@10", "MAP@R", "mAP", "kNN accuracy (k=10)")
CODES = ("hdml", "lai", "csq")
"""On a network whose last layer is made for them."""
OTHERS: dict[str, dict[str, Any]] = {
    "triplet, all": {"mining": "all"},
    "triplet, distance-weighted": {"mining": "distance-weighted"},
    "triplet, memory 2,000": {"memory": 2000},
    "supcon, memory 2,000": {"loss": "supcon", "memory": 2000},
    "contrastive, drawn pairs": {"loss": "contrastive", "sampler": "pairs", "pairs_per_batch": 126},
}
CANDIDATES: dict[str, dict[str, Any]] = {
    **{name: {"loss": name} | ({"net": "divide-and-encode"} if name in CODES else {}) for name in NAMES},
    **OTHERS,
}


def measure(pictures: PictureSet, out: Path, base: Recipe, names: list[str]) -> list[dict[str, Any]]:
    """A row a loss, written down as soon as it is known."""

    def loss(name: str, run: Path) -> dict[str, Any]:
        trained = train(pictures, run, base.replace(**CANDIDATES[name]), warn=print_warning)
        measured = figures(by_validation(run, pictures))
        about = {"--loss": name, "lr": trained.recipe.lr, "seconds": round(trained.seconds)}
        return about | {measure: value for measure, value in measured.items() if measure in MEASURES}

    runs = {name: out / name.replace(", ", "-").replace(" ", "-") for name in names}
    return [once(run / "result.json", partial(loss, name, run)) for name, run in runs.items()]


def some(pictures: PictureSet, count: int) -> PictureSet:
    """So many training pictures at random, and 2,000 others as validation pictures."""
    known = pictures.select(pictures.splits == "train")
    rows = np.random.default_rng(0).permutation(len(known))[: count + QUERIES]
    splits = np.where(np.arange(len(rows)) < QUERIES, "val", "train").astype(known.splits.dtype)
    return dataclasses.replace(known.select(rows), splits=splits)


def main() -> int:
    parser = options(__doc__, seed=False)
    parser.add_argument("data", help="what `retrieval data cifar10 --to data` wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for the trainings and their results")
    parser.add_argument("--pictures", type=int, default=8000, help="training pictures (default: 8,000)")
    parser.add_argument("--epochs", type=int, default=4, help="passes over them (default: 4)")
    parser.add_argument("--widths", default="16,32,64", help="filters of each stage (default: 16,32,64)")
    parser.add_argument("--only", nargs="+", choices=CANDIDATES, default=list(CANDIDATES), help="these alone")
    args = parser.parse_args()
    base = Recipe(widths=args.widths, epochs=args.epochs)
    pictures = some(datasets.load(args.data), args.pictures)
    rows = measure(pictures, args.out, base, args.only)
    show(args, rows, command=" ".join(sys.argv), seed=base.seed)
    return 0


if __name__ == "__main__":
    sys.exit(status(main))
