"""``retrieval train``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from typing import Any

from retrieval.training.recipes import CHOICES, PRESETS, Recipe

HELP = "Train an embedding on labelled pictures, so that pictures of one class lie close together."
EXAMPLES = """
train_triplet.py data/cifar10.h5 --out runs/cifar10
train_triplet.py my_photos/ --out runs/mine --net efficientnet_lite0 --epochs 5
train_triplet.py data/cifar10.h5 --out runs/cifar10 --resume
train_triplet.py data/cifar10.h5 --out runs/seed --recipe seed --epochs 3
train_triplet.py data/cifar10.h5 --out runs/classifier --loss softmax
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "data",
        help="class folders, a CSV (path,label,split), an HDF5 file of `retrieval data`, Omniglot, MNIST, CIFAR-10",
    )
    parser.add_argument("--out", required=True, metavar="RUN", help="folder for the run (runs/NAME)")
    parser.add_argument("--resume", action="store_true", help="go on with the unfinished training in RUN")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--recipe",
        choices=PRESETS,
        default="default",
        help="seed: network, loss and triplets of the original article",
    )
    group = parser.add_argument_group("choices of the recipe (defaults are those of --recipe default)")
    for field in dataclasses.fields(Recipe):
        default = "" if field.default in (None, "auto") else f" (default: {field.default})"
        kind = {"str": str, "int": int, "float": float}[str(field.type).partition(" ")[0]]
        choices = CHOICES.get(field.name)
        group.add_argument(
            "--" + field.name.replace("_", "-"),
            type=kind,
            choices=choices,
            default=argparse.SUPPRESS,
            metavar=None if choices else {str: "NAME", int: "N", float: "X"}[kind],
            help=str(field.metadata["help"]) + default,
        )


def run(args: argparse.Namespace) -> int:
    from retrieval import datasets
    from retrieval.training import folder, loop

    names = {field.name for field in dataclasses.fields(Recipe)}
    chosen: dict[str, Any] = {name: value for name, value in vars(args).items() if name in names}
    if args.resume and folder.finished(args.out):
        print(f"{args.out} is trained already; there is nothing to resume.")
        return 0
    # an unfinished training knows its own choices: they need not be repeated
    silent = args.resume and not chosen and args.recipe == "default"
    trained = loop.train(
        datasets.load(args.data),
        args.out,
        None if silent else PRESETS[args.recipe].replace(**chosen),
        resume=args.resume,
        warn=print_warning,
    )
    quality = None if math.isnan(trained.precision_at_1) else round(trained.precision_at_1, 4)
    if args.json:
        print(
            json.dumps(
                {
                    "run": str(trained.folder),
                    "recipe": dataclasses.asdict(trained.recipe),
                    "steps": len(trained.history),
                    "seconds": round(trained.seconds, 1),
                    "validation_precision_at_1": quality,
                    "warnings": trained.warnings,
                },
                indent=2,
            )
        )
        return 0
    print(f"Trained {len(trained.history):,} steps in {trained.seconds:,.0f} s: {trained.folder / 'encoder'}")
    if quality is not None:
        print(f"P@1 on validation pictures: {quality:.3f} (the card in the same folder says how it was measured)")
    print(f"Curves: {trained.folder / 'curves.png'}")
    return 0


def print_warning(message: str) -> None:
    """To stderr, on a line of its own below the progress bar."""
    print(f"\nwarning: {message}", file=sys.stderr)
