"""Classifiers on a frozen embedding against the same network trained end to end, on CIFAR-10."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from retrieval import datasets
from retrieval.evaluation.classifier import Classifier
from retrieval.evaluation.labelled_vectors import encode
from retrieval.measures.intervals import mean_intervals
from retrieval.measures.probes import knn_probe, linear_probe, logistic_probe
from retrieval.training.recipe import Recipe
from systems.drawing import draw_dots
from systems.page import Family
from systems.rows import Measure, Row, Size, command, need, trained, values
from systems.triplets import WIDTHS, duration, effort, some

SEED = 0
PROBES = {"linear SVM": linear_probe, "logistic regression": logistic_probe, "kNN": knn_probe}


def probes(data: Path, out: Path, size: Size) -> Row:
    """The embedding is that of the row triplet-semi-hard, which is trained if it is not there yet."""
    pictures = some(datasets.load(need(data, "cifar10.h5")), size)
    recipe = Recipe(widths=WIDTHS[size], **effort(size))
    embedding = trained(pictures, out / f"triplet-semi-hard-{size}", recipe)
    whole = trained(pictures, out / f"classifier-{size}", recipe.replace(loss="softmax"))
    began = time.perf_counter()
    train, test = (encode(embedding.encoder, pictures.select(split), split) for split in ("train", "test"))
    ours = {}
    for name, probe in PROBES.items():
        found = probe(train.vectors, train.labels, test.vectors, test.labels, seed=SEED)
        ours[f"{name} on the embedding"] = values(mean_intervals(found.correct)[0])
    right = Classifier(whole.folder).correct(pictures.select("test"))
    ours["end to end"] = values(mean_intervals(right)[0])
    return Row(
        "classifiers on the frozen embedding, and the same network as a classifier",
        f"CIFAR-10, {len(train):,} pictures, either network trained for {duration(size)}; accuracy on "
        f"{len(test):,} test pictures, intervals over pictures",
        "no figure of the article at hand",
        ours,
        embedding.seconds + whole.seconds + time.perf_counter() - began,
        command("probes", size),
    )


SYSTEMS: dict[str, Measure] = {"probes": probes}
FAMILY = Family(
    "probes",
    "Probes",
    SYSTEMS,
    ("linear SVM on the embedding",),
    partial(
        draw_dots,
        measures=(
            "linear SVM on the embedding",
            "logistic regression on the embedding",
            "kNN on the embedding",
            "end to end",
        ),
        title="CIFAR-10, one minute of training: accuracy, %",
    ),
)
