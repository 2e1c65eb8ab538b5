#!/usr/bin/env python3
"""What this project reaches when it is given time, each recipe with its log.

    python benchmarks/records.py cifar10-hour data/cifar10.h5 --out runs/records   and then cifar10-48-bits
    python benchmarks/records.py mnist-32-bits DATA/mnist --out runs/records
    python benchmarks/records.py omniglot DATA/omniglot --out runs/records
    python benchmarks/records.py choose-cifar10 data/cifar10.h5 --out runs/choice-cifar10       without test pictures
    python benchmarks/records.py choose-codes data/cifar10.h5 --out runs/choice-cifar10         after choose-cifar10
    python benchmarks/records.py choose-omniglot DATA/omniglot --out runs/choice-omniglot
    python benchmarks/records.py choose-comparison DATA/omniglot --out runs/choice-comparison   for the family's VGG16
    python benchmarks/records.py omniglot DATA/omniglot --seeds 0 1 2         mean and range of three trainings
    python benchmarks/records.py table                                        what the logs hold

Trains a recipe of RECORDS, measures it on test pictures, and keeps recipe, figures and cost in
benchmarks/logs/NAME.json, and the training's log in NAME.csv. What stands in --out already is only measured, and what
was stopped there goes on. With --seeds 0 1 2 it trains three times, and the table has the mean and the range of what
they reach, too; intervals, cost and log are those of seed 0. With --seeds 1 2 seed 0 is what the log has of the same
recipe, perhaps from another machine, which stands beside each. `choose-…` trains the candidates that a record's
recipe was chosen from, and measures them on pictures held out of the training set: 5,000 of CIFAR-10's, or characters
of six of Omniglot's background alphabets. The table goes to stdout, as Markdown or --json.
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from command import markdown, once, options, status
from recipes import with_validation
from systems import codes
from torch.utils.flop_counter import FlopCounterMode

from retrieval import datasets, measures, networks
from retrieval.base import progress
from retrieval.base.files import write_durably
from retrieval.base.machine import describe
from retrieval.cli.train import print_warning
from retrieval.datasets import PictureSet, lake_runs
from retrieval.encoder import Encoder
from retrieval.encoder.pair_scorer import PairScorer
from retrieval.errors import RetrievalError
from retrieval.evaluation.labelled_vectors import Labelled, encode
from retrieval.evaluation.one_shot import by_vectors, evaluate_runs, evaluate_trials
from retrieval.images import Pixels
from retrieval.measures.roc import verify
from retrieval.training.loop import train
from retrieval.training.pair_recipe import PairRecipe
from retrieval.training.pairs.pair_loop import train_pair
from retrieval.training.pairs.validation import Drawn, accuracy, balanced_pairs, scored
from retrieval.training.recipe import Recipe
from retrieval.training.run_folder import finished

LOGS = Path(__file__).parent / "logs"
VIEWS = 10
"""Views of each drawing whose mean is its vector, where that is said."""

AVERAGED = {
    ", with mirror images": ((0, True),),
    ", with six views": ((-1, False), (-1, True), (1, False), (1, True)),
}
"""Behind the name of a figure: a vector is the mean over the picture, the views that stand here, and those of the names
before. A view is moved by so many pixels down and to the right, and mirrored or not. The six are those of the
classifiers with which CIFAR-10's figures are compared (Jordan 2024)."""

Figures = dict[str, list[float]]
Compare = Callable[[Labelled, Labelled], Figures]


def by_similarity(queries: Labelled, gallery: Labelled) -> Figures:
    """By cosine."""
    ranked = measures.rank(queries.vectors, queries.labels, gallery.vectors, gallery.labels)
    names = ["P@10", "mAP", "kNN accuracy (k=10)"]
    found = measures.mean_intervals(np.stack([ranked.values[name] for name in names], axis=1))
    return {name: ends(interval) for name, interval in zip(names, found, strict=True)}


def by_distance(queries: Labelled, gallery: Labelled) -> Figures:
    """By the Hamming distance of the signs, in expectation where distances tie."""
    found = codes.by_distance(queries, gallery)
    return {
        name: [round(x, 4) for x in values] for name, values in zip(("kNN error", "mAP over all"), found, strict=True)
    }


class Record(NamedTuple):
    """How a record is made.

    Attributes:
        recipe: of its training; `init` names the record that it goes on from.
        learns: the part of the data folder that it learns from; by default all of it.
        by: how its test pictures are compared with its training pictures; None for Omniglot, asked by Lake's twenty
            runs.
        averaged: also with vectors that are means over views (:data:`AVERAGED`).
    """

    recipe: Recipe
    learns: str = ""
    by: Compare | None = None
    averaged: bool = False


OMNIGLOT = Recipe(
    size=32,
    widths="32,64,128",
    loss="supcon",
    classes_per_batch=120,
    pictures_per_class=4,
    augment="affine",
    quarter_turns=True,
    weight_decay=5e-3,
    epochs=16,
    validation=0,
)
"""What all recipes for Omniglot share."""

OMNIGLOT_SMALL = OMNIGLOT.replace(epochs=24, mirrored_classes=True)
"""Of its two small parts, which have more classes to tell apart by mirrors, and are gone through more often."""

RECORDS = {
    "cifar10": Record(
        Recipe(loss="softmax", widths="64,256,256", bias_rate=16, weight_decay=5e-3, epochs=10, validation=0),
        by=by_similarity,
        averaged=True,
    ),
    "cifar10-hour": Record(
        Recipe(
            loss="softmax",
            widths="128,384,384",
            augment="flip,shift,cutout",
            bias_rate=16,
            weight_decay=5e-3,
            epochs=25,
            validation=0,
        ),
        by=by_similarity,
        averaged=True,
    ),
    "cifar10-48-bits": Record(
        Recipe(net="divide-and-encode", init="cifar10-hour", dim=48, loss="csq", lr=0.001, epochs=2, validation=0),
        by=by_distance,
        averaged=True,
    ),
    "mnist-32-bits": Record(
        Recipe(
            net="divide-and-encode",
            dim=32,
            widths="32,64,128",
            loss="csq",
            augment="affine",
            epochs=6,
            validation=0,
        ),
        by=by_distance,
    ),
    "omniglot": Record(OMNIGLOT, learns="images_background.zip"),
    "omniglot-small1": Record(OMNIGLOT_SMALL, learns="images_background_small1.zip"),
    "omniglot-small2": Record(OMNIGLOT_SMALL, learns="images_background_small2.zip"),
}


class Choice(NamedTuple):
    """What was chosen for a record.

    Attributes:
        recipe: what all candidates share; `init` names one of the candidates of another choice. Pair networks
            tell apart pairs of the held-out characters.
        candidates: name → what each changes of it.
        by: how the 5,000 held-out pictures of CIFAR-10 are compared with the 45,000 others; None for Omniglot, whose
            held-out characters are asked for among those of one alphabet.
        learns: the part of Omniglot's folder that is learned from; by default all background alphabets but those of the
            held-out characters.
    """

    recipe: Recipe | PairRecipe
    candidates: dict[str, dict[str, Any]]
    by: Compare | None = None
    learns: str = ""


CHOICES = {
    # each candidate looks at about as many pictures of its size
    "choose-omniglot": Choice(
        OMNIGLOT.replace(classes_per_batch=60, weight_decay=5e-4, epochs=2),
        {
            "as kept": {"classes_per_batch": 120, "weight_decay": 5e-3},
            "half the batch, a tenth of the decay": {},
            "without turns": {"epochs": 8, "quarter_turns": False},
            "48 pixels": {"epochs": 1, "size": 48},
            "one alphabet a batch, twice as wide": {
                "sampler": "hierarchical",
                "classes_per_batch": 64,
                "widths": "64,128,256",
            },
            "normalised softmax, twice as wide": {
                "loss": "norm-softmax",
                "classes_per_batch": 64,
                "widths": "64,128,256",
            },
        },
    ),
    # learned from `learns` alone; characters of other alphabets choose
    "choose-omniglot-small1": Choice(
        OMNIGLOT.replace(epochs=8),
        {
            "small1, plain": {},
            "small1, mirrored classes": {"mirrored_classes": True, "epochs": 4},
            "small1, twice as wide": {"widths": "64,128,256", "epochs": 3},
            "small1, 48 pixels": {"size": 48, "epochs": 4},
            "small1, averaged weights": {"average": 0.98},
            "small1, temperature 0.2": {"temperature": 0.2},
            "small1, plain, in full": {"epochs": 48},
            "small1, mirrored classes, in full": {"mirrored_classes": True, "epochs": 24},
        },
        learns="images_background_small1.zip",
    ),
    # for the row comparison-vgg16 of family.py, with a quarter of its filters
    "choose-comparison": Choice(
        PairRecipe(
            net="comparison",
            trunk="vgg16",
            widths="16,32,64,128,128",
            size=105,
            classes_per_batch=8,
            augment="affine",
            epochs=1,
            validation=0,
        ),
        {
            "8 classes × 4": {},
            "16 classes × 4": {"classes_per_batch": 16},
            "32 classes × 4": {"classes_per_batch": 32},
            "learning rate 0.02": {"lr": 0.02},
            "learning rate 0.2": {"lr": 0.2},
            "AdamW": {"optimizer": "adamw"},
        },
    ),
    # the last two candidates, of four times the arithmetic, say what a longer training wants
    "choose-cifar10": Choice(
        Recipe(loss="softmax", widths="32,128,128", bias_rate=16, weight_decay=5e-3, epochs=8, validation=0),
        {
            "as kept": {},
            "biases at 64 times the rate": {"bias_rate": 64},
            "weight decay 0.003": {"weight_decay": 3e-3},
            "averaged weights": {"average": 0.99},
            "biases at the usual rate": {"bias_rate": 1},
            "biases at the usual rate, another seed": {"bias_rate": 1, "seed": 1},
            "biases at the usual rate, weight decay 0.008": {"bias_rate": 1, "weight_decay": 8e-3},
            "biases at the usual rate, cutout": {"bias_rate": 1, "augment": "flip,shift,cutout"},
            "biases at the usual rate, batches of 1,000": {"bias_rate": 1, "pictures_per_class": 100, "lr": 0.28},
            "label smoothing 0.1": {"smoothing": 0.1},
            "label smoothing 0.2": {"smoothing": 0.2},
            "label smoothing 0.2, weight decay 0.008": {"smoothing": 0.2, "weight_decay": 8e-3},
            "cosine": {"schedule": "cosine"},
            "longer": {"widths": "64,128,128", "epochs": 20},
            "longer, cutout": {"widths": "64,128,128", "epochs": 20, "augment": "flip,shift,cutout"},
        },
        by=by_similarity,
    ),
    # they go on from the candidate "longer" of CIFAR-10
    "choose-codes": Choice(
        Recipe(net="divide-and-encode", init="longer", dim=48, loss="csq", lr=0.001, epochs=2, validation=0),
        {
            "codes, learning rate 0.01": {"lr": 0.01},
            "codes, learning rate 0.003": {"lr": 0.003},
            "codes, learning rate 0.001": {},
        },
        by=by_distance,
    ),
}


def compared(by: Compare, encoder: Encoder, queries: PictureSet, gallery: PictureSet, averaged: bool) -> Figures:
    """Vectors of queries with those of a gallery; `averaged`: also where they are means over views of a picture."""
    plain = [encode(encoder, side, "pictures") for side in (queries, gallery)]
    found = by(*plain)
    if averaged:
        sides = (means(encoder, side, known) for side, known in zip((queries, gallery), plain, strict=True))
        for (name, asked), (_, others) in zip(*sides, strict=True):
            found |= {f"{figure}{name}": value for figure, value in by(asked, others).items()}
    return found


def means(encoder: Encoder, pictures: PictureSet, known: Labelled) -> Iterator[tuple[str, Labelled]]:
    """Vectors of pictures as means over more and more views, scaled to unit length, each with the name of its views.

    Args:
        known: the vectors of the pictures alone.
    """
    assert pictures.pixels is not None
    total = known.vectors
    for name, views in AVERAGED.items():
        for move, mirrored in views:
            seen = replace(pictures, pixels=moved(pictures.pixels, move, mirrored))
            total = total + encode(encoder, seen, "views").vectors
        yield name, replace(known, vectors=total / np.linalg.norm(total, axis=1, keepdims=True))


def moved(pixels: Pixels, by: int, mirrored: bool) -> Pixels:
    """Pictures (n, h, w, c) moved by so many pixels down and to the right, what is at the edge repeated, or the mirror
    images of these."""
    reach, (height, width) = abs(by), pixels.shape[1:3]
    padded = np.pad(pixels, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge")
    found = padded[:, reach - by :, reach - by :][:, :height, :width]
    return np.ascontiguousarray(found[:, :, ::-1] if mirrored else found)


def by_test_pictures(record: Record, encoder: Encoder, data: Path) -> Figures:
    """The test pictures among all training pictures; Omniglot's in Lake's twenty runs."""
    if record.by is None:
        return by_runs(encoder, data)
    pictures = datasets.load(data)
    return compared(record.by, encoder, pictures.select("test"), pictures.select("train"), record.averaged)


def by_runs(encoder: Encoder, data: Path) -> Figures:
    """Lake's twenty runs."""
    with progress.bar(800, "Reading", "drawings") as bar:
        runs = lake_runs.load(data / "all_runs.zip", bar.update)
    return {
        views_of(views): ends(evaluate_runs(by_vectors(encoder, average=views), runs).figures[0].error)
        for views in (1, VIEWS)
    }


def by_characters(encoder: Encoder, asked: PictureSet) -> Figures:
    """Characters asked for among those of one alphabet."""
    errors = {}
    for views in (1, VIEWS):
        who = by_vectors(encoder, average=views)
        trials = evaluate_trials(who, asked, ways=[20], shots=[1], trials=4000, within_groups=True)
        errors[views_of(views)] = ends(trials.figures[0].error)
    return errors


def by_scores(scorer: PairScorer, asked: PictureSet) -> Figures:
    """Balanced pairs of characters, by a pair network."""
    pixels = asked.read(scorer.preprocessing)
    pairs = Drawn(lambda rows: pixels[rows], asked.labels, *balanced_pairs(asked.labels, 4000, 0))
    found = scored(scorer, pairs)
    return {"EER": ends(verify(found)["EER"]), "pair accuracy": ends(accuracy(found, 0.5))}


def views_of(count: int) -> str:
    return f"error, {count} view{'s' * (count > 1)}"


def measured(name: str, data: Path, out: Path, seeds: list[int]) -> dict[str, Any]:
    """Train a record's recipe with these seeds, measure it, and write its log down.

    Raises:
        RetrievalError: seed 0 is not asked for, and the log does not have it of this recipe.
    """
    place = LOGS / f"{name}.json"
    log = json.loads(place.read_text()) if place.exists() else {}
    LOGS.mkdir(exist_ok=True)
    if 0 not in seeds and "recipe" not in log:
        raise RetrievalError(f"{place} holds no seed 0 yet; let --seeds begin with 0.")
    for seed in sorted(seeds):
        run = trained(name, data, out, seed)
        # of a network to go on from its record's name, and not the place that it happened to have
        settled = json.loads((run / "recipe.json").read_text()) | {"init": RECORDS[name].recipe.init, "seed": 0}
        same = "recipe" in log and alike(log["recipe"], settled)
        encoder = Encoder.load(run)
        figures = by_test_pictures(RECORDS[name], encoder, data)
        others = log.get("seeds", {}) if same else {}
        if seed == 0:
            log = {"record": name, "figures": figures, **cost(run, encoder, Recipe(**settled)), "recipe": settled}
            log |= {"machine": describe()} | ({"seeds": others} if others else {})
            shutil.copyfile(run / "curves.csv", LOGS / f"{name}.csv")
        elif same:
            beside = {"figures": figures, **cost(run, encoder, Recipe(**settled)), "machine": describe()}
            log["seeds"] = dict(sorted((others | {str(seed): beside}).items(), key=lambda one: int(one[0])))
        else:
            raise RetrievalError(f"{place} is not of this recipe; let --seeds begin with 0.")
        write_durably(place, (json.dumps(log, indent=2) + "\n").encode())
    return without_recipe(log)


def alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two recipes say the same, but for what one leaves open; what came later had its default before."""
    mine, its = (asdict(Recipe(**recipe)).values() for recipe in (one, other))
    return all(a == b or None in (a, b) for a, b in zip(mine, its, strict=True))


def cost(run: Path, encoder: Encoder, recipe: Recipe) -> dict[str, float]:
    """What a training took."""
    with (run / "curves.csv").open(newline="") as file:
        steps = list(csv.DictReader(file))
    return {
        "minutes of training": round(float(steps[-1]["seconds"]) / 60),
        "PFLOP": round(arithmetic(encoder, recipe, len(steps)), 3),
    }


def without_recipe(log: dict[str, Any]) -> dict[str, Any]:
    """What the table shows of a log."""
    return {name: value for name, value in log.items() if name not in ("recipe", "machine")}


def trained(name: str, data: Path, out: Path, seed: int) -> Path:
    """The run of a record with a seed, which is trained if it is not there yet."""
    record, run = RECORDS[name], out / called(name, seed)
    if not finished(run):
        recipe = placed(record.recipe, out, seed).replace(seed=seed)
        train(datasets.load(data / record.learns), run, recipe, resume=True, warn=print_warning)
    return run


def called(name: str, seed: int) -> str:
    """The folder of a record's run with a seed."""
    return f"{name}-seed-{seed}" if seed else name


def placed(recipe: Recipe, out: Path, seed: int = 0) -> Recipe:
    """The recipe with the place of the network of that seed that it goes on from, if any."""
    return recipe if recipe.init is None else recipe.replace(init=str(out / called(recipe.init, seed)))


def arithmetic(encoder: Encoder, recipe: Recipe, steps: int) -> float:
    """Of the training, in 10¹⁵ floating-point operations: three times those of a forward pass, for each picture that a
    step saw."""
    p = encoder.config.preprocessing
    network = networks.create(encoder.config.network, **encoder.config.options).eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(torch.zeros(1, p.channels, p.size, p.size))
    pictures = steps * recipe.classes_per_batch * recipe.pictures_per_class * recipe.accumulate
    return 3 * counter.get_total_flops() * pictures / 1e15


def choose(choice: Choice, data: Path, out: Path, names: list[str]) -> list[dict[str, Any]]:
    """Each candidate, on pictures that were held out; a row is written down as soon as it is known."""
    if choice.by is None:
        part = datasets.load(data / choice.learns) if choice.learns else None
        learned, asked = held_out(datasets.load(data / "images_background.zip"), part)
    else:
        learned = with_validation(datasets.load(data))

    def candidate(name: str, run: Path) -> dict[str, Any]:
        if isinstance(choice.recipe, PairRecipe):
            if not finished(run):
                train_pair(learned, run, choice.recipe.replace(**choice.candidates[name]), resume=True)
            return {"candidate": name, **by_scores(PairScorer.load(run), asked)}
        if not finished(run):
            recipe = placed(choice.recipe, out).replace(**choice.candidates[name])
            train(learned, run, recipe, resume=True, warn=print_warning)
        encoder = Encoder.load(run)
        if choice.by is None:
            return {"candidate": name, **by_characters(encoder, asked)}
        found = compared(choice.by, encoder, learned.select("val"), learned.select("train"), False)
        return {"candidate": name, **found}

    return [once(out / name / "result.json", partial(candidate, name, out / name)) for name in names]


def held_out(pictures: PictureSet, learned: PictureSet | None = None) -> tuple[PictureSet, PictureSet]:
    """What is learned from, and the characters of six other alphabets of at least 20; without `learned` that is all
    other pictures."""
    alphabets = np.array(pictures.levels)
    large = [one for one in np.unique(alphabets) if len(np.unique(pictures.labels[alphabets == one])) >= 20]
    if learned is not None:
        large = [one for one in large if one not in set(learned.levels or ())]
    chosen = np.isin(alphabets, np.random.default_rng(0).permutation(large)[:6])
    return pictures.select(~chosen) if learned is None else learned, pictures.select(chosen)


def shown(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of the table for a record or a candidate: one figure each, in percent."""
    if "figures" not in row:
        return [row]
    others = {name: str(value) for name, value in row.items() if name not in ("record", "figures", "seeds")}
    seeds = [row["figures"], *(one["figures"] for one in row.get("seeds", {}).values())]
    return [
        {
            "record": row["record"],
            "figure": name,
            "ours (95 % interval)": "{:.2f} % ({:.2f}–{:.2f})".format(*(100 * x for x in found)),
        }
        | ({"mean of seeds (range)": ranged([one[name][0] for one in seeds])} if len(seeds) > 1 else {})
        | others
        for name, found in row["figures"].items()
    ]


def ranged(values: list[float]) -> str:
    """Mean and range of what several seeds reached, in percent."""
    mean, least, most = (100 * x for x in (np.mean(values), min(values), max(values)))
    return f"{mean:.2f} % ({least:.2f}–{most:.2f}, {len(values)} seeds)"


def ends(interval: measures.Interval) -> list[float]:
    return [round(x, 4) for x in (interval.value, interval.low, interval.high)]


def main() -> int:
    parser = options(__doc__, seed=False)
    parser.add_argument("what", choices=(*RECORDS, *CHOICES, "table"))
    parser.add_argument("data", type=Path, nargs="?", help="the picture set, or Omniglot's folder")
    parser.add_argument("--out", type=Path, default=Path("runs/records"), help="folder for the trainings")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0], metavar="N", help="of a record: train with these (0)"
    )
    candidates = dict.fromkeys(name for choice in CHOICES.values() for name in choice.candidates)
    parser.add_argument("--only", nargs="+", choices=candidates, help="choose-…: these candidates alone")
    args = parser.parse_args()
    if args.what != "table" and args.data is None:
        parser.error(f"{args.what} needs the data")
    if args.what == "table":
        rows = [json.loads(path.read_text()) for path in sorted(LOGS.glob("*.json"))]
        rows = [without_recipe(row) for row in rows]
    elif args.what in CHOICES:
        choice = CHOICES[args.what]
        names = [name for name in choice.candidates if args.only is None or name in args.only]
        rows = choose(choice, args.data, args.out, names)
    else:
        rows = [measured(args.what, args.data, args.out, args.seeds)]
    print(
        json.dumps({"machine": describe(), "rows": rows}, indent=2)
        if args.json
        else markdown([one for row in rows for one in shown(row)])
    )
    return 0


if __name__ == "__main__":
    sys.exit(status(main))
