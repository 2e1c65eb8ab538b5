"""Pair networks: the four that were published for patches, and the learned comparison, each on Omniglot's characters.

Nothing is trained on what is tested: the test pairs are of characters in alphabets that no training picture shows. The
small size tests on background alphabets, so that Omniglot's evaluation alphabets are seen by the others alone.
"""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable
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
from retrieval.measures.roc import verify
from retrieval.networks.pairs import is_siamese
from retrieval.search import rerank
from retrieval.training.pair_recipe import PairRecipe
from retrieval.training.pairs.pair_loop import train_pair
from retrieval.training.pairs.validation import Drawn, accuracy, balanced_pairs, scored
from retrieval.training.recipe import Recipe
from retrieval.training.run_folder import finished
from systems.drawing import draw_dots
from systems.energy import PUBLISHED_TEST, without
from systems.page import Family
from systems.rows import Measure, Row, Size, command, need, seconds_of, values
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


KOCH = "error in one-shot trials 8.0 %, on others than Lake's (Koch, Zemel, Salakhutdinov 2015: one weight a feature)"
COMPARISONS = {"convnet": "comparison", "vgg16": "comparison-vgg16"}
"""Trunk → the row of the learned comparison over it."""

VGG16 = PairRecipe(net="comparison", trunk="vgg16", size=105, classes_per_batch=8, augment="affine", validation=0)
"""What all sizes of it share, chosen by `records.py choose-comparison`."""

VGG_EPOCHS = 4
FACES_EPOCHS: dict[Size, int] = {"small": 1, "medium": 30, "full": 60}
FACE_PAIRS = 400


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
    epochs = effort.batches if is_siamese(name) else effort.drawn
    return PairRecipe(net=name, size=64, widths=narrow.get(size), epochs=epochs, validation=0)


def comparison(trunk: str, data: Path, out: Path, size: Size) -> Row:
    """The learned comparison, also in one-shot trials, but in the small size, which leaves the evaluation alphabets
    alone."""
    name = COMPARISONS[trunk]
    row = trained(name, f"learned comparison over {trunk}", RECIPES[trunk](size), KOCH, data, out, size)
    if size == "small":
        return row
    started = time.perf_counter()
    runs = lake_runs.load(need(data, "omniglot/all_runs.zip"))
    network = by_pairs(PairScorer.load(out / f"{name}-{size}"), name)
    error = evaluate_runs(network, runs, seed=SEED).figures[0].error
    return replace(
        row,
        ours=row.ours | {"error on Lake's runs": values(error)},
        seconds=row.seconds + time.perf_counter() - started,
    )


def over_convnet(size: Size) -> PairRecipe:
    """Over a small network, for small pictures."""
    epochs, widths = {"small": (1, "32,64,64"), "medium": (12, "32,64,128"), "full": (60, None)}[size]
    return PairRecipe(
        net="comparison",
        trunk="convnet",
        size=32,
        widths=widths,
        dim=128,
        epochs=epochs,
        augment="affine",
        validation=0,
    )


def over_vgg16(size: Size) -> PairRecipe:
    """Over VGG16 with all its filters, for pictures as they are; with few in the small size."""
    epochs, widths = {"small": (1, "4,8,8,16,16"), "medium": (VGG_EPOCHS, None), "full": (60, None)}[size]
    return VGG16.replace(widths=widths, epochs=epochs)


def own_folders(data: Path, out: Path, size: Size) -> Row:
    """The learned comparison over VGG16 on somebody's own folders, a class each: faces of people in place of
    characters."""
    name = "comparison-vgg16-faces"
    faces = without(datasets.load(need(data, "att_faces.zip")), PUBLISHED_TEST)
    recipe = over_vgg16(size).replace(epochs=FACES_EPOCHS[size], augment="flip,shift")
    scorer, seconds = scorer_of(faces, out / f"{name}-{size}", recipe)
    began = time.perf_counter()
    ours = told_apart(scorer, faces.select("test"), FACE_PAIRS)
    return Row(
        "the same on folders of one's own",
        f"AT&T faces, a folder a person, at {recipe.size}×{recipe.size}: subjects 1–35 trained, {FACE_PAIRS} balanced "
        "pairs of 36–40 tested; intervals over people",
        "no figure of the article at hand",
        ours,
        seconds + time.perf_counter() - began,
        command(name, size),
    )


def trained(name: str, system: str, recipe: PairRecipe, published: str, data: Path, out: Path, size: Size) -> Row:
    """A pair network trained on some alphabets, and its measures on balanced pairs of others."""
    train, test = omniglot(data, size)
    scorer, seconds = scorer_of(train, out / f"{name}-{size}", recipe)
    began = time.perf_counter()
    count = EFFORTS[size].pairs
    ours = told_apart(scorer, test, count)
    return Row(
        system,
        f"Omniglot, {len(np.unique(train.labels)):,} characters at {recipe.size}×{recipe.size}; {count:,} balanced "
        "pairs of unseen alphabets; intervals over characters",
        published,
        ours,
        seconds + time.perf_counter() - began,
        command(name, size),
    )


def scorer_of(pictures: PictureSet, run: Path, recipe: PairRecipe) -> tuple[PairScorer, float]:
    """A pair network trained on the pictures, or the one that an earlier call with the same folder left there; and the
    seconds that its training took, with those before a stop."""
    if not finished(run):
        train_pair(pictures, run, recipe, resume=True, warn=print_warning)
    return PairScorer.load(run), seconds_of(run)


def told_apart(scorer: PairScorer, test: PictureSet, count: int) -> dict[str, list[float]]:
    """How well so many balanced pairs of pictures are told apart."""
    pixels = test.read(scorer.preprocessing)
    found = scored(scorer, Drawn(lambda rows: pixels[rows], test.labels, *balanced_pairs(test.labels, count, SEED)))
    measured = verify(found)
    return {key: values(measured[key]) for key in (FPR, "EER")} | {"accuracy": values(accuracy(found, 0.5))}


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


RECIPES: dict[str, Callable[[Size], PairRecipe]] = {"convnet": over_convnet, "vgg16": over_vgg16}
"""By trunk."""

SYSTEMS: dict[str, Measure] = {
    **{name: partial(patches, name) for name in PUBLISHED},
    **{name: partial(comparison, trunk) for trunk, name in COMPARISONS.items()},
    "comparison-vgg16-faces": own_folders,
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
        title="errors, % (on Omniglot; comparison-vgg16-faces: on AT&T faces)",
    ),
)
