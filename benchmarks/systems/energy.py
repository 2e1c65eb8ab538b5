"""The siamese network of Chopra, Hadsell and LeCun 2005 with its energy loss, on faces of people it has not seen."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval import datasets
from retrieval.datasets import PictureSet
from retrieval.evaluation.labelled_vectors import encode
from retrieval.measures.pair_sampling import Pairs
from retrieval.measures.roc import Roc, verify
from retrieval.training.recipe import Recipe
from systems.drawing import draw_dots, draw_rocs
from systems.page import Family
from systems.raw import raw_vectors
from systems.rows import Measure, Row, Run, Size, command, need, trained, values

SEED = 0
EPOCHS: dict[Size, int] = {"small": 10, "medium": 150, "full": 600}
RECIPE = Recipe(
    net="portrait",
    loss="energy",
    classes_per_batch=16,
    pictures_per_class=4,
    augment="flip,shift",
    optimizer="adamw",
    validation=0,
    seed=SEED,
)
NAMES = {"raw": "energy", "unit": "energy-unit"}
ENROLLED = 5
RATES = {0.05: 0.01, 0.075: 0.01, 0.1: 0.0}
"""Published: the share of the genuine pairs that is rejected where this share of the impostors is accepted."""
PUBLISHED = ", ".join(f"FR {reject:.1%} at FA {accept:.1%}" for accept, reject in RATES.items())
PUBLISHED_TEST = range(36, 41)


def energy(space: str, data: Path, out: Path, size: Size) -> Row:
    """Subjects 1–35 trained, all pairs of 36–40 tested: by the raw output, as published, or by unit vectors."""
    name = NAMES[space]
    faces = without(datasets.load(need(data, "att_faces.zip")), PUBLISHED_TEST)
    run = trained(faces, out / f"{name}-{size}", RECIPE.replace(epochs=EPOCHS[size], space=space))
    began = time.perf_counter()
    ways = told_apart(faces.select("test"), run, space)
    curves = {how[2:] or "pairs by energy": Roc.of(found.scores, found.genuine) for how, found in ways.items()}
    draw_rocs(curves, list(RATES.items()), "Faces of five people not trained on", out / f"{name}-{size}.png")
    return Row(
        f"siamese, energy loss (Chopra, Hadsell, LeCun 2005) on {space} vectors",
        f"AT&T faces at 56×46: subjects 1–35 trained, all {len(ways[''].scores):,} pairs of 36–40 tested; "
        "intervals over people",
        PUBLISHED,
        {f"{what}{how}": value for how, found in ways.items() for what, value in rejected(found).items()},
        run.seconds + time.perf_counter() - began,
        command(name, size),
    )


def everybody(data: Path, out: Path, size: Size) -> Row:
    """Eight networks, each trained on all but five subjects and tested on these, so that everybody is tested once."""
    faces = datasets.load(need(data, "att_faces.zip"))
    seconds = 0.0
    groups: dict[str, list[Pairs]] = {}
    for last in range(5, 41, 5) if size != "small" else (5, 40):
        split = without(faces, range(last - 4, last + 1))
        run = trained(split, out / f"energy-{last - 4}-{last}-{size}", RECIPE.replace(epochs=EPOCHS[size], space="raw"))
        began = time.perf_counter()
        for how, found in told_apart(split.select("test"), run, "raw").items():
            groups.setdefault(how, []).append(found)
        seconds += run.seconds + time.perf_counter() - began
    ours = {f"{what}{how}": value for how, found in groups.items() for what, value in rejected(together(found)).items()}
    return Row(
        "the same on raw vectors, for everybody",
        f"AT&T faces at 56×46: {len(groups[''])} networks, each tested on all pairs of five subjects that it was not "
        "trained on; intervals over people",
        PUBLISHED,
        ours,
        seconds,
        command("energy-everybody", size),
    )


def without(faces: PictureSet, tested: Iterable[int]) -> PictureSet:
    """The faces with these subjects to test, and all others to train on."""
    subjects = [int(faces.classes[label].removeprefix("s")) for label in faces.labels]
    held_out = np.isin(subjects, list(tested))
    return dataclasses.replace(faces, splits=np.where(held_out, "test", "train").astype("<U5"))


def told_apart(new: PictureSet, run: Run, space: str) -> dict[str, Pairs]:
    """All pairs of faces by the energy, others against enrolled ones, and all pairs by the angle that an index has."""
    units = encode(run.encoder, new, "faces").vectors.astype(np.float64)
    outputs = raw_vectors(run.folder, new).astype(np.float64) if space == "raw" else units
    first, second = np.triu_indices(len(new), 1)
    return {
        "": pairs(-np.abs(outputs[first] - outputs[second]).sum(1), new.labels[first], new.labels[second]),
        f", {ENROLLED} pictures enrolled": enrolled(outputs, new.labels),
        ", by angle": pairs((units[first] * units[second]).sum(1), new.labels[first], new.labels[second]),
    }


def together(parts: list[Pairs]) -> Pairs:
    """The pairs of several networks at one threshold."""
    genuine = np.concatenate([part.genuine for part in parts])
    scores, classes = (np.concatenate([getattr(part, name) for part in parts]) for name in ("scores", "classes"))
    return Pairs(scores, genuine, classes, (int(genuine.sum()), int((~genuine).sum())))


def enrolled(outputs: NDArray[np.float64], labels: NDArray[np.int64]) -> Pairs:
    """Each other picture of anybody against each person, by its mean energy with that person's first pictures."""
    people = np.unique(labels)
    shelf = np.stack([outputs[labels == person][:ENROLLED] for person in people])
    asked = np.concatenate([np.flatnonzero(labels == person)[ENROLLED:] for person in people])
    energies = np.abs(outputs[asked, None, None] - shelf).sum(-1).mean(-1)
    return pairs(-energies.ravel(), labels[asked].repeat(len(people)), np.tile(people, len(asked)))


def pairs(scores: NDArray[Any], left: NDArray[np.int64], right: NDArray[np.int64]) -> Pairs:
    """Pairs with their scores and the classes of either side."""
    classes = np.stack([left, right], axis=1).astype(np.int32)
    genuine = classes[:, 0] == classes[:, 1]
    return Pairs(scores.astype(np.float32), genuine, classes, (int(genuine.sum()), int((~genuine).sum())))


def rejected(found: Pairs) -> dict[str, list[float]]:
    """False rejects at the published shares of false accepts, equal error rate, and false positives at 95 % recall."""
    measured = verify(found, false_match_rates=tuple(RATES))
    ours = {}
    for rate in RATES:
        recall = measured[f"TPR at FPR {rate:g}"]
        ours[f"FR at FA {rate:.1%}"] = [1 - recall.value, 1 - recall.high, 1 - recall.low]
    return ours | {name: values(measured[name]) for name in ("EER", "FPR at 95 % recall")}


SYSTEMS: dict[str, Measure] = {
    **{name: partial(energy, space) for space, name in NAMES.items()},
    "energy-everybody": everybody,
}
FAMILY = Family(
    "energy",
    "Siamese network with an energy (2005)",
    SYSTEMS,
    ("FR at FA 5.0%",),
    partial(
        draw_dots,
        measures=("FR at FA 5.0%", "FR at FA 10.0%", "EER"),
        title="faces: false rejects, and equal error rate, %",
        published={"published: FR at FA 5.0%": RATES[0.05], "published: FR at FA 10.0%": RATES[0.1]},
    ),
)
