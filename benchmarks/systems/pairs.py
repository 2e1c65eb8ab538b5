"""Pair networks: the four that were published for patches, and the learned comparison, each on Omniglot's characters.

Nothing is trained on what is tested: the test pairs are of characters in alphabets that no training picture shows. The
small size tests on background alphabets, so that Omniglot's evaluation alphabets are seen by the others alone.
"""

from __future__ import annotations

import time
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from retrieval import datasets
from retrieval.cli.train import print_warning
from retrieval.datasets import PictureSet, lake_runs
from retrieval.encoder.pair_scorer import PairScorer
from retrieval.evaluation.one_shot import by_pairs, evaluate_runs
from retrieval.evaluation.reranking import evaluate_reranked
from retrieval.index import Index
from retrieval.ingest import build
from retrieval.measures.intervals import mean_intervals
from retrieval.measures.roc import verify
from retrieval.networks.pairs import siamese
from retrieval.search import rerank
from retrieval.training.pair_recipe import PairRecipe
from retrieval.training.pairs.pair_loop import train_pair
from retrieval.training.pairs.validation import balanced_pairs, scored
from retrieval.training.recipe import Recipe
from retrieval.training.run_folder import finished
from systems.drawing import draw_dots
from systems.page import Family
from systems.rows import Measure, Row, Size, command, need, values
from systems.rows import trained as encoder_trained

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
    """How much a size trains and tests: the training set, the epochs of a network that sees both pictures and of one
    that sees one at a time, test pairs, and queries whose hits are put into a new order."""

    train: str
    test: str
    drawn: int
    batches: int
    pairs: int
    queries: int


EFFORTS: dict[Size, Effort] = {
    "small": Effort("images_background_small1", "images_background_small2", 1, 1, 1000, 20),
    "medium": Effort("images_background", "images_evaluation", 3, 4, 4000, 400),
    "full": Effort("images_background", "images_evaluation", 30, 60, 20_000, 1000),
}


def patches(name: str, data: Path, out: Path, size: Size) -> Row:
    """One of the four networks that were published for patches, at 64×64."""
    return trained(name, name, patch_recipe(name, size), PUBLISHED[name], data, out, size)


def patch_recipe(name: str, size: Size) -> PairRecipe:
    """Their published form, and with fewer filters in the two sizes for a CPU."""
    narrow = {
        "small": {"two-stream": "8,16"}.get(name, "8,16,16"),
        "medium": {"two-stream": "24,48"}.get(name, "48,96,128"),
    }
    effort = EFFORTS[size]
    epochs = effort.batches if siamese(name) else effort.drawn
    return PairRecipe(net=name, size=64, widths=narrow.get(size), epochs=epochs, validation=0)


def comparison(data: Path, out: Path, size: Size) -> Row:
    """The learned comparison: over VGG16 at 105×105 in full, over a small convnet else; also in one-shot trials, but in
    the small size, which leaves the evaluation alphabets alone."""
    if size == "full":
        recipe = PairRecipe(net="comparison", trunk="vgg16", size=105, epochs=60, augment="affine", validation=0)
    else:
        epochs, widths = (1, "32,64,64") if size == "small" else (12, "32,64,128")
        recipe = PairRecipe(
            net="comparison",
            trunk="convnet",
            size=32,
            widths=widths,
            dim=128,
            epochs=epochs,
            augment="affine",
            validation=0,
        )
    published = (
        "error in one-shot trials 8.0 %, on others than Lake's (Koch, Zemel, Salakhutdinov 2015: one weight a feature)"
    )
    row = trained("comparison", f"learned comparison over {recipe.trunk}", recipe, published, data, out, size)
    if size == "small":
        return row
    started = time.perf_counter()
    runs = lake_runs.load(need(data, "omniglot/all_runs.zip"))
    network = by_pairs(PairScorer.load(out / f"comparison-{size}"), "comparison")
    error = evaluate_runs(network, runs, seed=SEED).figures[0].error
    return replace(
        row,
        ours=row.ours | {"error on Lake's runs": values(error)},
        seconds=row.seconds + time.perf_counter() - started,
    )


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
    ours["accuracy"] = values(mean_intervals(right, over=found.classes[:, 0])[0])
    return Row(
        system,
        f"Omniglot, {len(np.unique(train.labels)):,} characters at {recipe.size}×{recipe.size}; {count:,} balanced "
        "pairs of unseen alphabets; intervals over characters",
        published,
        ours,
        time.perf_counter() - started,
        command(name, size),
    )


def reranking(data: Path, out: Path, size: Size) -> Row:
    """What a two-channel network gains that learned from an encoder's hits: that encoder's index of unseen alphabets,
    and the first hits of each query in the order of both scores."""
    train, test = omniglot(data, size)
    effort = EFFORTS[size]
    started = time.perf_counter()
    narrow, epochs = ("16,32,64", 1) if size == "small" else (None, 2 if size == "medium" else 30)
    recipe = Recipe(loss="supcon", size=32, widths=narrow, epochs=epochs)
    encoder = encoder_trained(train, out / f"reranking-encoder-{size}", recipe)
    run = out / f"reranking-{size}"
    if not finished(run):
        second = patch_recipe("two-channel", size).replace(hits_of=str(encoder.folder), validation=2000)
        train_pair(train, run, second, resume=True, warn=print_warning)
    pictures = out / f"reranking-pictures-{size}"
    unpack(need(data, f"omniglot/{effort.test}.zip"), pictures, set(test.levels or ()))
    built = build(pictures, out / f"reranking-index-{size}", model=encoder.folder).index
    with Index.open(built) as index:
        gain = evaluate_reranked(index, rerank.load(str(run)), limit=effort.queries, seed=SEED)
    ours = {}
    for name in ("P@1", "mAP@100"):
        measured = gain.differences[name]
        ours[f"{name} of the encoder"] = values(measured.first)
        ours[f"{name} re-ranked"] = values(measured.second)
        ours[f"difference in {name}"] = values(measured.difference)
    return Row(
        "re-ranking with a two-channel network",
        f"Omniglot, {len(np.unique(train.labels)):,} characters; {gain.differences.queries:,} of {len(test):,} "
        "drawings of unseen alphabets, each against all others; intervals over queries",
        "none at hand",
        ours,
        time.perf_counter() - started,
        command("reranking", size),
    )


def unpack(archive: Path, folder: Path, levels: set[str]) -> None:
    """The pictures of some alphabets of an archive of Omniglot as files, `folder`/alphabet/character/drawing.png."""
    with zipfile.ZipFile(archive) as zipped:
        for name in zipped.namelist():
            *_, alphabet, character, drawing = ("", "", *name.split("/"))
            if alphabet in levels and drawing.endswith(".png"):
                place = folder / alphabet / character
                place.mkdir(parents=True, exist_ok=True)
                (place / drawing).write_bytes(zipped.read(name))


def omniglot(data: Path, size: Size) -> tuple[PictureSet, PictureSet]:
    """Training and test pictures, of different alphabets."""
    effort = EFFORTS[size]
    train, test = (datasets.load(need(data, f"omniglot/{part}.zip")) for part in (effort.train, effort.test))
    # the two small background sets share alphabets
    known = set(train.levels or ())
    return train, test.select(np.array([level not in known for level in test.levels or ()]))


SYSTEMS: dict[str, Measure] = {
    **{name: partial(patches, name) for name in PUBLISHED},
    "comparison": comparison,
    "reranking": reranking,
}
FAMILY = Family(
    "pairs",
    "Pair networks",
    SYSTEMS,
    ("error on Lake's runs", "difference in P@1", "FPR at 95 % recall"),
    partial(
        draw_dots,
        measures=("FPR at 95 % recall", "EER", "error on Lake's runs"),
        title="Omniglot: errors, %",
    ),
)
