"""Dimensionality reduction by an invariant mapping (DrLIM; Hadsell, Chopra and LeCun 2006) on MNIST's digits."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval import datasets
from retrieval.datasets import PictureSet
from retrieval.measures.intervals import Interval, mean_intervals
from retrieval.training.pairs.validation import balanced_pairs
from retrieval.training.recipe import Recipe
from systems.drawing import draw_dots, draw_map
from systems.page import Family
from systems.raw import raw_vectors
from systems.rows import Measure, Row, Size, command, need, trained, values

SEED = 0
NEIGHBOURS = 10
PAIRS = 20_000
EPOCHS: dict[Size, int] = {"small": 4, "medium": 4, "full": 20}
WIDTHS: dict[Size, str | None] = {"small": "8,16,32", "medium": "32,64,128", "full": None}
PICTURES: dict[Size, int | None] = {"small": 2000, "medium": None, "full": None}


def drlim(dim: int, data: Path, out: Path, size: Size) -> Row:
    """The margin loss on raw vectors; pairs are told apart by a threshold that was fitted on training pairs."""
    name = f"drlim-{dim}"
    digits = datasets.load(need(data, "mnist"))
    train, test = (drawn(digits.select(split), PICTURES[size]) for split in ("train", "test"))
    recipe = Recipe(
        loss="contrastive",
        space="raw",
        dim=dim,
        widths=WIDTHS[size],
        epochs=EPOCHS[size],
        optimizer="adamw",
        lr=0.003,
        validation=0,
        seed=SEED,
    )
    run = trained(train, out / f"{name}-{size}", recipe)
    began = time.perf_counter()
    known, new = raw_vectors(run.folder, train), raw_vectors(run.folder, test)
    ours = {"pair accuracy": values(pair_accuracy((known, train.labels), (new, test.labels)))}
    for how, scale in (("raw", False), ("by angle", True)):
        found = mean_intervals(knn_right((known, train.labels), (new, test.labels), scale))[0]
        ours[f"kNN accuracy, {how}"] = values(found)
    if dim == 2:
        draw_map(new, test.labels, test.classes, out / f"{name}-{size}.png")
    return Row(
        f"siamese, margin loss (DrLIM 2006), {dim} dimensions",
        f"MNIST, {len(train):,} pictures trained; {PAIRS:,} balanced pairs of {len(test):,} test pictures, threshold "
        "fitted on as many training pairs; intervals over pictures",
        "pair accuracy 97.2 % (Keras's example, a fully connected network of 128 dimensions)",
        ours,
        run.seconds + time.perf_counter() - began,
        command(name, size),
    )


Labelled = tuple[NDArray[np.float32], NDArray[np.int64]]


def pair_accuracy(known: Labelled, new: Labelled) -> Interval:
    """How many of the balanced pairs of new pictures a threshold on the distance gets right.

    Args:
        known: vectors (n, d) and labels (n,), which the threshold is fitted on.
        new: the others.
    """
    (distances, genuine, _), (tested, right, first) = (distances_of(side) for side in (known, new))
    threshold = fitted_threshold(distances, genuine)
    return mean_intervals((tested <= threshold) == right, over=first)[0]


def distances_of(side: Labelled) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    """Balanced pairs: the Euclidean distance, whether it is genuine, and which picture comes first in it."""
    vectors, labels = side
    first, second = balanced_pairs(labels, PAIRS, SEED)
    return np.linalg.norm(vectors[first] - vectors[second], axis=1), labels[first] == labels[second], first


def fitted_threshold(distances: NDArray[np.float64], genuine: NDArray[np.bool_]) -> float:
    """The distance up to which pairs are to be taken for genuine, so that most are right."""
    order = np.argsort(distances, kind="stable")
    right = np.cumsum(np.where(genuine[order], 1, -1))
    # equal distances are accepted together
    last = np.append(np.diff(distances[order]) > 0, True)
    best = int(np.argmax(np.where(last, right, -len(right) - 1)))
    return float(distances[order][best])


def knn_right(known: Labelled, new: Labelled, unit: bool) -> NDArray[np.bool_]:
    """Whether the plain vote of the nearest neighbours is right, by Euclidean distance of raw or of unit vectors."""
    from sklearn.neighbors import KNeighborsClassifier

    sides = [
        vectors / np.linalg.norm(vectors, axis=1, keepdims=True) if unit else vectors for vectors, _ in (known, new)
    ]
    classifier = KNeighborsClassifier(NEIGHBOURS).fit(sides[0], known[1])
    right: NDArray[np.bool_] = classifier.predict(sides[1]) == new[1]
    return right


def drawn(pictures: PictureSet, count: int | None) -> PictureSet:
    """So many of the pictures, at random."""
    return pictures.select(np.random.default_rng(SEED).permutation(len(pictures))[:count])


SYSTEMS: dict[str, Measure] = {f"drlim-{dim}": partial(drlim, dim) for dim in (2, 64)}
FAMILY = Family(
    "drlim",
    "Siamese network with a margin (DrLIM, 2006)",
    SYSTEMS,
    ("pair accuracy",),
    partial(
        draw_dots,
        measures=("pair accuracy", "kNN accuracy, raw", "kNN accuracy, by angle"),
        title="MNIST: accuracy, %",
        published={"pair accuracy of Keras's example": 0.972},
    ),
)
