"""Pair networks: the four that were published for patches, and the learned comparison, each on Omniglot's characters.

Nothing is trained on what is tested: the test pairs are of characters in alphabets that no training picture shows. The
small size tests on background alphabets, so that Omniglot's evaluation alphabets are seen by the others alone.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from retrieval import datasets
from retrieval.cli.train import print_warning
from retrieval.datasets import PictureSet
from retrieval.measures.intervals import bootstrap
from retrieval.measures.verification import verify
from retrieval.pairs.measuring import balanced_pairs, scored
from retrieval.pairs.recipes import PairRecipe
from retrieval.pairs.scoring import PairScorer
from retrieval.pairs.training import train_pair
from retrieval.training.folder import finished
from systems.rows import Measure, Row, Size, command, need, values

SEED = 0
FPR = "FPR at 95 % recall"
PATCHES = "on patches of photographs, FPR at 95 % recall {} (Zagoruyko and Komodakis 2015, mean of their six tests)"
PUBLISHED = {
    "two-channel": PATCHES.format("5.5 %"),
    "two-stream": PATCHES.format("4.2 %"),
    "siamese": PATCHES.format("10.0 %"),
    "pseudo-siamese": "not in the table of the authors' models",
}
"""Other pictures than ours: what compares is the order of the networks, not the figures."""


class Effort(NamedTuple):
    """How much a size trains and tests: the training set, the epochs of a network of patches, test pairs."""

    train: str
    test: str
    epochs: int
    pairs: int


EFFORTS: dict[Size, Effort] = {
    "small": Effort("images_background_small1", "images_background_small2", 1, 1000),
    "medium": Effort("images_background_small1", "images_background_small2", 3, 2000),
    "full": Effort("images_background", "images_evaluation", 30, 20_000),
}


def patches(name: str, data: Path, out: Path, size: Size) -> Row:
    """One of the four networks that were published for patches, at 64×64."""
    narrow = {
        "small": {"two-stream": "8,16"}.get(name, "8,16,16"),
        "medium": {"two-stream": "24,48"}.get(name, "24,48,64"),
    }
    recipe = PairRecipe(net=name, size=64, widths=narrow.get(size), epochs=EFFORTS[size].epochs, validation=0)
    return trained(name, name, recipe, PUBLISHED[name], data, out, size)


def comparison(data: Path, out: Path, size: Size) -> Row:
    """The learned comparison: over VGG16 at 105×105 in full, over a small convnet else."""
    if size == "full":
        recipe = PairRecipe(net="comparison", trunk="vgg16", size=105, epochs=30, validation=0)
    else:
        epochs = 1 if size == "small" else 5
        recipe = PairRecipe(
            net="comparison", trunk="convnet", size=32, widths="32,64,64", dim=128, epochs=epochs, validation=0
        )
    published = "error in one-shot trials, not of pairs: 8.0 % (Koch, Zemel, Salakhutdinov 2015: one weight a feature)"
    return trained("comparison", f"learned comparison over {recipe.trunk}", recipe, published, data, out, size)


def trained(name: str, system: str, recipe: PairRecipe, published: str, data: Path, out: Path, size: Size) -> Row:
    """A pair network trained on some alphabets, and its measures on balanced pairs of others."""
    train, test = omniglot(data, size)
    started = time.perf_counter()
    run = out / f"{name}-{size}"
    if not finished(run):
        train_pair(train, run, recipe, resume=True, warn=print_warning)
    scorer = PairScorer.load(run)
    pixels = test.read(scorer.preprocessing)
    count = EFFORTS[size].pairs
    first, second = balanced_pairs(test.labels, count, SEED)
    found = scored(scorer, lambda rows: pixels[rows], test.labels, first, second)
    measured = verify(found)
    right = (found.scores > 0.5) == found.genuine
    ours = {key: values(measured[key]) for key in (FPR, "EER")}
    ours["accuracy"] = values(bootstrap(right, over=found.classes[:, 0])[0])
    return Row(
        system,
        f"Omniglot, {len(np.unique(train.labels)):,} characters at {recipe.size}×{recipe.size}; {count:,} balanced "
        "pairs of unseen alphabets; intervals over characters",
        published,
        ours,
        time.perf_counter() - started,
        command(name, size),
    )


def omniglot(data: Path, size: Size) -> tuple[PictureSet, PictureSet]:
    """Training and test pictures, of different alphabets."""
    effort = EFFORTS[size]
    train, test = (datasets.load(need(data, f"omniglot/{part}.zip")) for part in (effort.train, effort.test))
    # the two small background sets share alphabets
    known = set(train.levels or ())
    return train, test.select(np.array([level not in known for level in test.levels or ()]))


SYSTEMS: dict[str, Measure] = {**{name: partial(patches, name) for name in PUBLISHED}, "comparison": comparison}
