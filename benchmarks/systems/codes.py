"""Binary codes: each loss at each length, on MNIST and on CIFAR-10, by Hamming distance.

One network without codes is trained for each set of pictures, and every code goes on from its trunk (`--init`), which
takes a minute instead of a training of its own. Test pictures are asked for among all training pictures: the error of a
vote of the 10 nearest, and the mAP over the whole gallery, both in expectation where distances tie. The test pictures
choose nothing; what was chosen on pictures held out of the training set docs/hashing.md says.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from command import once

from retrieval import datasets, measures
from retrieval.datasets import PictureSet
from retrieval.evaluation.labelled_vectors import Labelled, encode
from retrieval.training.recipe import Recipe
from systems.drawing import draw_lines
from systems.page import Family
from systems.rows import Measure, Row, Size, command, need, trained, values

SEED = 0
BITS = (12, 24, 32, 48, 64, 128)
LOSSES = {
    "hdml": "HDML (Norouzi, Fleet, Salakhutdinov 2012)",
    "lai": "triplets of relaxed codes, divide and encode (Lai et al. 2015)",
    "csq": "central similarity quantisation (Yuan et al. 2020)",
}
MARGIN = 0.25
"""Of HDML, in bits a bit: better than the published 1 bit for codes that begin with a trained trunk."""
DATA = {"mnist": "mnist", "cifar10": "cifar10.h5"}
"""Where either set lies in the folder of the data."""
NAMES = {"mnist": "MNIST", "cifar10": "CIFAR-10"}


class Effort(NamedTuple):
    """How much a size trains and asks: pictures of either split (None: all), the trunk's changes of the default recipe,
    epochs of a code, and lengths."""

    pictures: int | None
    queries: int | None
    trunk: dict[str, Any]
    epochs: int
    bits: tuple[int, ...]


EFFORTS: dict[tuple[str, Size], Effort] = {
    **{(data, "small"): Effort(2000, 500, {"widths": "8,16,32", "epochs": 3}, 3, (24,)) for data in DATA},
    ("mnist", "medium"): Effort(
        None, None, {"loss": "supcon", "widths": "32,64,128", "epochs": 3, "validation": 5000}, 1, BITS
    ),
    ("cifar10", "medium"): Effort(None, None, {}, 1, BITS),
    ("mnist", "full"): Effort(None, None, {"loss": "supcon", "epochs": 20}, 8, BITS),
    ("cifar10", "full"): Effort(None, None, {"widths": "64,256,256", "epochs": 40}, 8, BITS),
}


def codes(loss: str, data: str, published: str, folder: Path, out: Path, size: Size) -> Row:
    """One loss on one set of pictures, at each length."""
    effort = EFFORTS[data, size]
    pictures = datasets.load(need(folder, DATA[data]))
    known, test = drawn(pictures, "train", effort.pictures), drawn(pictures, "test", effort.queries)
    trunk = trained(known, out / f"trunk-{data}-{size}", Recipe(seed=SEED, **effort.trunk))
    ours: dict[str, list[float]] = {}
    seconds = 0.0
    for bits in effort.bits:
        found = measured(known, test, trunk.folder, loss, bits, effort.epochs, out / f"{loss}-{data}-{bits}-{size}")
        ours |= {f"kNN error, {bits} bits": found["kNN error"], f"mAP, {bits} bits": found["mAP"]}
        seconds += found["seconds"]
    return Row(
        f"codes: {LOSSES[loss]}",
        f"{NAMES[data]}: {len(test):,} test pictures among {len(known):,} training pictures; trunk trained once for "
        f"all codes, in {trunk.seconds:,.0f} s",
        published,
        ours,
        seconds,
        command(f"{loss}-{data}", size),
    )


def measured(
    known: PictureSet, test: PictureSet, trunk: Path, loss: str, bits: int, epochs: int, run: Path
) -> dict[str, Any]:
    """One code: trained, tested, and written down in its run's folder; or what stands there already."""
    recipe = Recipe(
        net="divide-and-encode",
        init=str(trunk),
        loss=loss,
        dim=bits,
        margin=MARGIN * bits if loss == "hdml" else None,
        epochs=epochs,
        validation=0,
        seed=SEED,
    )

    def figures() -> dict[str, Any]:
        encoder, seconds, _ = trained(known, run, recipe)
        started = time.perf_counter()
        error, precision = by_distance(*(encode(encoder, side, "pictures") for side in (test, known)))
        return {"kNN error": error, "mAP": precision, "seconds": seconds + time.perf_counter() - started}

    return once(run / "figures.json", figures)


def drawn(pictures: PictureSet, split: str, count: int | None) -> PictureSet:
    """So many pictures of a split, at random, or all."""
    pictures = pictures.select(split)
    return (
        pictures if count is None else pictures.select(np.random.default_rng(SEED).permutation(len(pictures))[:count])
    )


def by_distance(queries: Labelled, gallery: Labelled) -> tuple[list[float], list[float]]:
    """By the Hamming distance of the vectors' signs: the error of a vote of the 10 nearest, and the mAP, each with its
    interval over queries."""
    # filled up with zeros to whole bytes, which changes no distance
    found, there = (np.packbits(side.vectors > 0, axis=1) for side in (queries, gallery))
    ranked = measures.rank(found, queries.labels, there, gallery.labels)
    both = np.stack([1 - ranked.values["kNN accuracy (k=10)"], ranked.values["mAP"]], axis=1)
    error, precision = measures.mean_intervals(both)
    return values(error), values(precision)


PUBLISHED = {
    "hdml-mnist": "no figure could be checked here",
    "hdml-cifar10": "on hand-made features",
    "lai-mnist": "on other pictures",
    "lai-cifar10": "mAP 55.2, 56.6, 55.8, 58.1 % at 12, 24, 32, 48 bits: 5,000 pictures trained, 1,000 asked",
    "csq-mnist": "on other pictures",
    "csq-cifar10": "on other pictures; the best here: mAP 94.4 % at 48 bits, with ImageNet weights (Su et al. 2018)",
}

SYSTEMS: dict[str, Measure] = {
    f"{loss}-{data}": partial(codes, loss, data, PUBLISHED[f"{loss}-{data}"]) for data in DATA for loss in LOSSES
}
FAMILY = Family(
    "codes",
    "Codes",
    SYSTEMS,
    ("mAP, 48 bits",),
    partial(draw_lines, measures={"mAP": "mAP, %", "kNN error": "kNN error, %"}, places=BITS),
)
