"""``retrieval train``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval.cli.build import add_cluster, cluster_of
from retrieval.errors import RetrievalError
from retrieval.networks import HEAD
from retrieval.networks.pairs import NAMES
from retrieval.training.head_recipe import CLOSED, HeadRecipe
from retrieval.training.pair_recipe import PairRecipe
from retrieval.training.plan import Plan
from retrieval.training.recipe import CHOICES, PRESETS, Recipe

if TYPE_CHECKING:
    from retrieval.cluster import RayCluster
    from retrieval.training.training_run import Outcome

HELP = "Train an embedding on labelled pictures, so that pictures of one class lie close together; or a pair network."
PAIRS_TOO = {
    "net": f"; or a pair network: {', '.join(NAMES)}; or {HEAD}: a layer over the vectors of an encoder, in seconds",
    "loss": f"; head: {CLOSED}, in closed form, unless one is named",
    "pairs_per_batch": "; also of the pair networks that see both pictures at once",
    "classes_per_batch": "; also of the pair networks comparison and siamese (there 32)",
    "pictures_per_class": "; also of the pair networks comparison and siamese (there 4)",
}
"""What is added to the help of some flags."""
EXAMPLES = """
train_triplet.py data/cifar10.h5 --out runs/cifar10
train_triplet.py my_photos/ --out runs/mine --net efficientnet_lite0 --epochs 5
train_triplet.py data/cifar10.h5 --out runs/cifar10 --resume
train_triplet.py data/cifar10.h5 --out runs/short --minutes 5
train_triplet.py data/cifar10.h5 --out runs/again --plan runs/short/plan.json    # the same bits, on any clock
train_triplet.py data/cifar10.h5 --out runs/seed --recipe seed --epochs 3
train_triplet.py data/cifar10.h5 --out runs/classifier --loss softmax
train_triplet.py data/cifar10.h5 --out runs/codes --init runs/cifar10 --net divide-and-encode --loss csq --bits 48
train_triplet.py data/cifar10.h5 --out runs/pair --net two-channel --hits-of runs/cifar10
train_triplet.py indexes/photos --out runs/head --net head         # on the vectors of an index with labels
train_triplet.py shoes/ --out runs/shoes --net head --ray auto     # whose pictures a Ray cluster encodes
train_triplet.py indexes/photos --out runs/liked --net head --marks marks.jsonl   # from what was marked right and wrong
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(begun=None)
    parser.add_argument(
        "data",
        help="class folders, a CSV (path,label,split), an HDF5 file of `retrieval data`, Omniglot, MNIST, CIFAR-10; "
        "with --net head also an index with labels",
    )
    parser.add_argument("--out", required=True, metavar="RUN", help="folder for the run (runs/NAME)")
    parser.add_argument("--resume", action="store_true", help="go on with the unfinished training in RUN")
    parser.add_argument(
        "--plan", metavar="FILE", help="repeat the training with --minutes that wrote this plan.json, without a clock"
    )
    parser.add_argument("--tensorboard", action="store_true", help="write logs for TensorBoard to RUN/tensorboard")
    add_cluster(parser, f"--net {HEAD}: encode the labelled pictures")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--recipe",
        choices=PRESETS,
        default="default",
        help="seed: network, loss and triplets of the original article",
    )
    group = parser.add_argument_group("choices of the recipe (defaults are those of --recipe default)")
    shared = {field.name for field in dataclasses.fields(Recipe)}
    own = [field for kind in (PairRecipe, HeadRecipe) for field in dataclasses.fields(kind) if field.name not in shared]
    for field in (*dataclasses.fields(Recipe), *own):
        if field.type == "bool":
            flag = "--" + field.name.replace("_", "-")
            group.add_argument(flag, action="store_true", default=argparse.SUPPRESS, help=str(field.metadata["help"]))
            continue
        default = "" if field.default in (None, "auto") else f" (default: {field.default})"
        kind = {"str": str, "int": int, "float": float}[str(field.type).partition(" ")[0]]
        choices = CHOICES.get(field.name)
        if field.name == "loss":
            choices = (*CHOICES["loss"], CLOSED)
        group.add_argument(
            "--" + field.name.replace("_", "-"),
            *([field.metadata["also"]] if "also" in field.metadata else []),
            type=kind,
            choices=choices,
            default=argparse.SUPPRESS,
            metavar=None if choices else field.metadata.get("metavar", {str: "NAME", int: "N", float: "X"}[kind]),
            help=str(field.metadata["help"]) + default + PAIRS_TOO.get(field.name, ""),
        )


def run(args: argparse.Namespace) -> int:
    from retrieval import datasets
    from retrieval.base import progress
    from retrieval.training import loop, run_folder

    names = {field.name for kind in (Recipe, PairRecipe, HeadRecipe) for field in dataclasses.fields(kind)}
    chosen: dict[str, Any] = {name: value for name, value in vars(args).items() if name in names}
    if args.resume and run_folder.finished(args.out):
        if progress.speaks():
            print(f"{args.out} is trained already; there is nothing to resume.")
        return 0
    if args.plan is not None and (chosen or args.recipe != "default"):
        flag = "--" + next(iter(chosen), "recipe").replace("_", "-")
        raise RetrievalError(f"{flag} does not go with --plan, which has all choices; leave one of them out.")
    on = cluster_of(args)
    pair = args.plan is not None and Plan.read(Path(args.plan)).kind == "pair"
    if chosen.get("net") == HEAD:
        return run_head(args, chosen, on)
    if on is not None:
        raise RetrievalError(
            f"--ray {args.ray} goes with --net {HEAD}, whose pictures a cluster encodes; leave it out, or start a "
            "training on several machines with torchrun."
        )
    if pair or chosen.get("net") in NAMES or (args.resume and (Path(args.out) / run_folder.PAIR_CHECKPOINT).is_file()):
        return run_pair(args, chosen)
    if "trunk" in chosen:
        raise RetrievalError(f"--trunk {chosen['trunk']} goes with --net comparison; add that, or use --net alone.")
    if "hits_of" in chosen:
        raise RetrievalError(f"--hits-of {chosen['hits_of']} goes with a pair network; choose one with --net.")
    for name in ("on", "marks", "shrinkage", "mix"):
        if name in chosen:
            raise RetrievalError(f"--{name} {chosen[name]} goes with --net {HEAD}; add that, or leave it out.")
    # an unfinished training knows its own choices: they need not be repeated
    silent = (args.resume or args.plan is not None) and not chosen and args.recipe == "default"
    trained = loop.train(
        datasets.load(args.data),
        args.out,
        None if silent else PRESETS[args.recipe].replace(**chosen),
        plan=args.plan,
        resume=args.resume,
        tensorboard=args.tensorboard,
        warn=print_warning,
        tell=lambda message: print(message, file=sys.stderr),
        begun=args.begun,
    )
    if not progress.speaks():
        return 0
    quality = None if math.isnan(trained.precision_at_1) else round(trained.precision_at_1, 4)
    shown = []
    if quality is not None:
        shown = [f"P@1 on validation pictures: {quality:.3f} (the card in the same folder says how it was measured)"]
    show(trained, "encoder", {"validation_precision_at_1": quality}, shown, args.json)
    return 0


def run_pair(args: argparse.Namespace, chosen: dict[str, Any]) -> int:
    """Train a pair network with the choices that were made."""
    from retrieval import datasets
    from retrieval.training.pairs.pair_loop import train_pair

    refuse_others(args, chosen, PairRecipe, "a pair network")
    trained = train_pair(
        datasets.load(args.data),
        args.out,
        None if (args.resume or args.plan is not None) and not chosen else PairRecipe(**chosen),
        plan=args.plan,
        resume=args.resume,
        warn=print_warning,
        begun=args.begun,
    )
    measures = {name: [round(v, 4) for v in (m.value, m.low, m.high)] for name, m in trained.measures.items()}
    shown = [
        f"{name} on validation pairs: {value:.3f} (95 % interval over classes {low:.3f} to {high:.3f})"
        for name, (value, low, high) in measures.items()
    ]
    show(trained, "pair", {"validation": measures}, shown, args.json)
    return 0


def run_head(args: argparse.Namespace, chosen: dict[str, Any], on: RayCluster | None) -> int:
    """Train a head with the choices that were made."""
    from retrieval.training.head.head_loop import train_head

    refuse_others(args, chosen, HeadRecipe, f"--net {HEAD}")
    trained = train_head(args.data, args.out, HeadRecipe(**chosen), on=on, resume=args.resume, warn=print_warning)
    if args.json:
        values = {
            "run": str(trained.folder),
            "recipe": dataclasses.asdict(trained.recipe),
            "choice": dataclasses.asdict(trained.choice),
            "dim": trained.dim,
            "gains": [gain.to_json() for gain in trained.gains],
            "text": trained.text,
            "seconds": round(trained.seconds, 1),
        }
        print(json.dumps(values, indent=2))
        return 0
    print(f"Learned in {trained.seconds:,.0f} s: {trained.folder / 'encoder'}, {trained.dim:,} numbers a vector")
    print(f"Made of: {trained.choice}")
    print(*(f"Gain on {gain}" for gain in trained.gains), sep="\n")
    return 0


def refuse_others(args: argparse.Namespace, chosen: dict[str, Any], kind: type, what: str) -> None:
    """Refuse choices that a kind of training does not have.

    Args:
        kind: its recipe. what: it is called.
    """
    known = {field.name for field in dataclasses.fields(kind)}
    foreign = (
        [name for name in chosen if name not in known]
        + ["recipe"] * (args.recipe != "default")
        + ["tensorboard"] * args.tensorboard
    )
    if foreign:
        flag = "--" + foreign[0].replace("_", "-")
        raise RetrievalError(f"{flag} does not go with {what}; leave it out, or choose another --net.")


def show(trained: Outcome[Any, Any], what: str, quality: dict[str, Any], shown: list[str], as_json: bool) -> None:
    """What came of a training.

    Args:
        what: it left behind.
        quality: on held-out pictures, for programs.
        shown: the same for people, a line each.
    """
    if as_json:
        values = {
            "run": str(trained.folder),
            "recipe": dataclasses.asdict(trained.recipe),
            "steps": len(trained.history),
            "seconds": round(trained.seconds, 1),
            **quality,
            "warnings": trained.warnings,
        }
        print(json.dumps(values, indent=2))
        return
    print(f"Trained {len(trained.history):,} steps in {trained.seconds:,.0f} s: {trained.folder / what}")
    print(*shown, f"Curves: {trained.folder / 'curves.png'}", sep="\n")


def print_warning(message: str) -> None:
    """To stderr, on a line of its own below the progress bar."""
    print(f"\nwarning: {message}", file=sys.stderr)
