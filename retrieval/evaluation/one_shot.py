"""One-shot and few-shot trials, also with vectors averaged over views: Lake's runs, and trials of any pictures."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from retrieval import images, measures
from retrieval.base import progress
from retrieval.base.found import Found
from retrieval.base.given import seeded
from retrieval.base.machine import machine, versions
from retrieval.base.text import aligned, ends, numbered, plain
from retrieval.datasets import PictureSet, Progress
from retrieval.datasets.lake_runs import Runs
from retrieval.encoder import Encoder
from retrieval.encoder.file_encoding import PIXELS_IN_MEMORY
from retrieval.errors import RetrievalError
from retrieval.evaluation import per_query
from retrieval.evaluation.labelled_vectors import asking_part
from retrieval.images import Pixels
from retrieval.measures import Trials

if TYPE_CHECKING:
    from retrieval.encoder.pair_scorer import PairScorer

CONFIDENCE = 0.95
WAYS = (5, 20)
SHOTS = (1, 5)
TRIALS = 2000

Scores = Callable[[Trials], npt.NDArray[np.floating]]
"""Trials of some pictures → numbers (t, ways), how alike each query is to the examples in each slot."""


SHIFT = 0.05
TURN = 10.0
SCALE = 0.1
"""How far a view may be moved: in shares of the side along either axis, in degrees, and in shares of the size."""

FINER = 2
"""Views are made of pictures so many times as large as the network's input, so that thin strokes are not blurred."""

MOST = 1000
"""Views beyond which nothing is gained."""


@dataclass(frozen=True)
class Figure:
    """The error of one kind of trial.

    Attributes:
        ways, shots: N classes, K examples of each; `ways` is None where runs differ.
        trials: how many.
        error: the share of them that was answered wrong, its interval over `units` runs or classes.
        units: how many these are. chance: the error of a network that says nothing.
    """

    ways: int | None
    shots: int
    trials: int
    error: measures.Interval
    units: int
    chance: float

    @property
    def name(self) -> str:
        """In words."""
        return f"{'N' if self.ways is None else self.ways}-way {self.shots}-shot error"


@dataclass(frozen=True)
class OneShot(Found):
    """What came of the trials.

    Attributes:
        subject: what was measured. data: on what. protocol: how, in words.
        figures: one for each kind of trial.
        over: what the intervals are drawn over, "runs" or "classes".
        runs: the error of each run, where there are runs.
        notes: what a reader should know before believing a figure, a sentence each.
        seconds: how long each part took. seed: of everything that was drawn.
        columns: what each trial of a run scored, as a comparison takes it; empty where trials are drawn.
    """

    subject: str
    data: str
    protocol: str
    figures: tuple[Figure, ...]
    over: str
    runs: dict[str, float]
    notes: tuple[str, ...]
    seconds: dict[str, float]
    seed: int
    machine: str = field(default_factory=machine)
    versions: dict[str, str] = field(default_factory=versions)
    columns: dict[str, npt.NDArray[Any]] = field(default_factory=dict, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Plain values; an interval that is open is null."""
        values = super().to_json()
        del values["columns"]
        figures = {
            one.name: {
                "ways": one.ways,
                "shots": one.shots,
                "trials": one.trials,
                "error": one.error.value,
                "low": plain(one.error.low),
                "high": plain(one.error.high),
                "units": one.units,
                "chance": one.chance,
            }
            for one in self.figures
        }
        return values | {"figures": figures, "confidence": CONFIDENCE}

    def table(self) -> str:
        """The figures as text for a terminal."""
        rows = [("trial", "error", f"{CONFIDENCE:.0%} interval", "chance", "trials", self.over)]
        for one in self.figures:
            interval = ends(one.error.low, one.error.high, ".2%")
            counts = f"{one.trials:,}", f"{one.units:,}"
            rows.append((one.name, f"{one.error.value:.2%}", interval, f"{one.chance:.2%}", *counts))
        each = [f"Run by run: {', '.join(f'{error:.0%}' for error in self.runs.values())}."] if self.runs else []
        took = ", ".join(f"{part} {seconds:.1f} s" for part, seconds in self.seconds.items())
        return "\n".join(
            [
                f"{self.subject} on {self.data}",
                self.protocol,
                "",
                *aligned(rows),
                "",
                *each,
                "Ties: by expectation, so that a network that says nothing scores chance.",
                f"Intervals: over {self.over}.",
                *self.notes,
                f"Time: {took} ({self.machine}).",
            ]
        )

    def save(self, path: str | Path) -> None:
        """Write the JSON to a file, and for runs beside it what each trial scored, for ``retrieval compare``."""
        if self.columns:
            about = {name: getattr(self, name) for name in ("subject", "data", "protocol", "seed", "machine")}
            per_query.write(per_query.beside(Path(path)), about | {"over": "classes", "counts": {}}, self.columns)
        super().save(path)


@dataclass(frozen=True)
class Contestant:
    """Who answers the trials.

    Attributes:
        name: what to call it.
        classes: those that it was trained on, where that is known.
        scores: of pictures, all of them readable: what scores trials of them.
        how: it scores, the end of a sentence; empty where it is by one vector a picture.
    """

    name: str
    classes: tuple[str, ...]
    scores: Callable[[PictureSet], Scores]
    how: str = ""


def by_vectors(encoder: Encoder, *, average: int = 1, seed: int = 0, name: str | None = None) -> Contestant:
    """An encoder, by inner products of its vectors; a class's score is the mean over its examples.

    Args:
        encoder: what makes the vectors.
        average: views of each picture whose mean its vector is (:mod:`.averaging`); 1 for the picture alone.
        seed: of the views.
        name: what to call it.

    Raises:
        RetrievalError: there are too many views.
    """
    views(average, seed)  # said now, not after minutes of reading

    def scores(pictures: PictureSet) -> Scores:
        with progress.bar(len(pictures), "Encoding drawings", "pictures") as bar:
            vectors = encode_averaged(encoder, pictures, average, seed=seed, advance=bar.update)
        return lambda trials: measures.trial_scores(vectors, trials)

    how = "" if average == 1 else f"a vector is the mean over {average} views, each moved a little"
    called = name or f"{encoder.config.network} ({encoder.hash[:12]})"
    return Contestant(called, tuple(encoder.config.classes), scores, how)


def by_pairs(scorer: PairScorer, name: str) -> Contestant:
    """A pair network; a class's score is the mean probability over its examples."""

    def scores(pictures: PictureSet) -> Scores:
        pixels = pictures.read(scorer.preprocessing)
        # where it has features of single pictures these are computed once, not once a trial
        seen: npt.NDArray[Any] = scorer.embed(pixels) if scorer.siamese else pixels
        score: Callable[..., npt.NDArray[np.floating]] = scorer.score_features if scorer.siamese else scorer.score

        def of_trials(trials: Trials) -> npt.NDArray[np.floating]:
            rows = trials.support.reshape(len(trials.queries), -1)
            found = [score(seen[asked], seen[row]) for asked, row in zip(trials.queries, rows, strict=True)]
            means: npt.NDArray[np.floating] = np.array(found).reshape(trials.support.shape).mean(axis=2)
            return means

        return of_trials

    return Contestant(name, (), scores, "scored by a pair network")


def evaluate_runs(contestant: Contestant, runs: Runs, *, seed: int = 0) -> OneShot:
    """The error on Lake's runs: each test drawing against the run's training drawings.

    Args:
        contestant: what to measure (:func:`by_vectors`, :func:`by_pairs`).
        runs: as :func:`retrieval.datasets.lake_runs.load` reads them.
        seed: of the interval, which is over runs.
    """
    began = time.perf_counter()
    scores = contestant.scores(runs.pictures)
    encoded = time.perf_counter()
    correct = []
    for number, (training, test, truth) in enumerate(zip(runs.training, runs.test, runs.truth, strict=True)):
        support = np.broadcast_to(training[None, :, None], (len(test), len(training), 1))
        trials = Trials(test, support, truth, np.full(len(test), number))
        correct.append(measures.few_shot_of_scores(scores(trials), trials).correct)
    sizes = np.array([len(test) for test in runs.test])
    of = np.repeat(np.arange(len(sizes)), sizes)
    right = np.concatenate(correct)
    error = measures.mean_intervals(1 - right, over=of, confidence=CONFIDENCE)[0]
    ways = {len(training) for training in runs.training}
    chance = float(np.average([1 - 1 / len(training) for training in runs.training], weights=sizes))
    figure = Figure(ways.pop() if len(ways) == 1 else None, 1, len(right), error, len(sizes), chance)
    return OneShot(
        subject=contestant.name,
        data=runs.pictures.name,
        protocol=(
            f"{len(sizes)} given runs: each test drawing against the training drawings of its run, one a class"
            + (f"; {contestant.how}." if contestant.how else ".")
        ),
        figures=(figure,),
        over="runs",
        runs={name: float(1 - one.mean()) for name, one in zip(runs.names, correct, strict=True)},
        notes=(),
        seconds={"encoding": encoded - began, "trials": time.perf_counter() - encoded},
        seed=seed,
        columns={
            "name": np.array([runs.pictures.names[row] for row in np.concatenate(runs.test)], dtype=np.str_),
            "class": np.repeat(np.array(runs.names, dtype=np.str_), sizes),
            "label": of,
            "relevant": np.ones(len(right), np.int64),
            "accuracy": right,
        },
    )


def evaluate_trials(
    contestant: Contestant,
    pictures: PictureSet,
    *,
    ways: Sequence[int] = WAYS,
    shots: Sequence[int] = SHOTS,
    trials: int = TRIALS,
    within_groups: bool = False,
    seed: int = 0,
) -> OneShot:
    """The error on trials drawn from labelled pictures: of the test split where they have one, otherwise of all.

    Args:
        contestant: what to measure (:func:`by_vectors`, :func:`by_pairs`).
        pictures: labelled.
        ways, shots: N and K; every N is tried with every K.
        trials: how many of each kind.
        within_groups: the classes of a trial are of one group (:attr:`.PictureSet.levels`, Omniglot's alphabets),
            as in Lake's runs; otherwise classes of any groups meet, as in most of the literature.
        seed: of the trials and of the intervals, which are over the classes that were asked for.

    Raises:
        RetrievalError: there are no labels or no groups, or not enough classes or pictures.
    """
    asked, skipped = asking_part(pictures).check()
    groups = None
    if within_groups:
        if asked.levels is None:
            raise RetrievalError(
                f"{pictures.name} has no groups of classes, as Omniglot has alphabets: leave --within-groups out"
            )
        groups = numbered(asked.levels)[1]
    kinds = [(n, k) for n in ways for k in shots]
    drawn = [
        measures.draw_trials(asked.labels, ways=n, shots=k, trials=trials, seed=seed, groups=groups) for n, k in kinds
    ]
    began = time.perf_counter()
    scores = contestant.scores(asked)
    encoded = time.perf_counter()
    figures = []
    for (n, k), one in zip(kinds, drawn, strict=True):
        found = measures.few_shot_of_scores(scores(one), one)
        error = measures.mean_intervals(1 - found.correct, over=found.labels, confidence=CONFIDENCE)[0]
        figures.append(Figure(n, k, trials, error, len(np.unique(found.labels)), 1 - found.chance))
    shown = {asked.classes[label] for label in np.unique(asked.labels) if label >= 0}
    seen = shown & set(contestant.classes)
    notes = []
    if seen:
        notes.append(
            f"The network was trained on {len(seen):,} of these {len(shown):,} classes, so that this is no test of new "
            "ones."
        )
    if skipped:
        notes.append(f"{len(skipped):,} files cannot be read and were left out.")
    test = " (test)" if (pictures.splits == "test").any() else ""
    among = "one group" if within_groups else "any groups" if asked.levels is not None else "all"
    return OneShot(
        subject=contestant.name,
        data=pictures.name,
        protocol=(
            f"trials drawn from {len(asked):,} pictures of {len(shown):,} classes{test}, classes of {among}"
            + (f"; {contestant.how}." if contestant.how else ".")
        ),
        figures=tuple(figures),
        over="classes",
        runs={},
        notes=tuple(notes),
        seconds={"encoding": encoded - began, "trials": time.perf_counter() - encoded},
        seed=seed,
    )


def views(count: int, seed: int) -> npt.NDArray[np.float64]:
    """Where each view looks: float64 (count, 2, 3).

    A matrix maps a place (x, y, 1) of the view to one of the picture, in units of half its side from its middle. The
    first is the picture as it is; the others are drawn evenly, and the same for every picture.

    Raises:
        RetrievalError: the count is below 1 or above :data:`MOST`.
    """
    if not 1 <= count <= MOST:
        raise RetrievalError(f"--average is {count}; give a whole number from 1 to {MOST:,}.")
    generator = seeded(seed)
    found = np.zeros((count, 2, 3))
    found[0, :, :2] = np.eye(2)
    for matrix in found[1:]:
        angle = math.radians(generator.uniform(-TURN, TURN))
        factor = math.exp(generator.uniform(-1, 1) * math.log1p(SCALE))
        turned = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        matrix[:, :2] = turned * factor
        matrix[:, 2] = 2 * generator.uniform(-SHIFT, SHIFT, 2)
    return found


def view(pixels: Pixels, matrix: npt.NDArray[np.float64]) -> Pixels:
    """Pictures uint8 (n, s, s, c) as one view shows them, bilinear; beyond the edge lies what is at the edge."""
    if (matrix == np.eye(2, 3)).all():
        return pixels
    side = pixels.shape[1]
    centre = (np.arange(side) + 0.5) * 2 / side - 1
    x, y = np.meshgrid(centre, centre)
    places = np.einsum("ij,jhw->ihw", matrix, np.stack([x, y, np.ones_like(x)]))
    column, row = np.clip((places + 1) * side / 2 - 0.5, 0, side - 1)
    left, top = np.minimum(column.astype(np.int64), side - 2), np.minimum(row.astype(np.int64), side - 2)
    across = (column - left).astype(np.float32)[..., None]
    down = (row - top).astype(np.float32)[..., None]
    corners = [pixels[:, top + i, left + j] for i in (0, 1) for j in (0, 1)]
    upper = corners[0] * (1 - across) + corners[1] * across
    lower = corners[2] * (1 - across) + corners[3] * across
    seen: Pixels = np.rint(upper * (1 - down) + lower * down).astype(np.uint8)
    return seen


def encode_averaged(
    encoder: Encoder, pictures: PictureSet, count: int, *, seed: int = 0, advance: Progress | None = None
) -> npt.NDArray[np.float32]:
    """Vectors of pictures, each the mean of those of its views, scaled to unit length.

    Args:
        encoder: what makes the vectors.
        pictures: all of them readable.
        count: how many views; 1 is the picture alone.
        seed: of the views.
        advance: called with the number of pictures done since the last call.

    Returns:
        float32 (n, dim). Where views cancel out, the vector of the picture as it is.

    Raises:
        RetrievalError: a file cannot be read, or there are too many views.
    """
    matrices = views(count, seed)
    p = encoder.config.preprocessing
    wide = replace(p, size=p.size * FINER)
    step = max(1, PIXELS_IN_MEMORY // wide.size**2)
    found = np.empty((len(pictures), encoder.dim), np.float32)
    for start in range(0, len(pictures), step):
        rows = np.arange(start, min(start + step, len(pictures)))
        plain = encoder.encode(np.ascontiguousarray(pictures.read(p, rows)))
        total = plain.astype(np.float64)
        pixels = pictures.read(wide, rows) if count > 1 else np.empty(0, np.uint8)
        for matrix in matrices[1:]:
            total += encoder.encode(images.fit_array(view(pixels, matrix), p))
        lengths = np.linalg.norm(total, axis=1, keepdims=True)
        found[rows] = np.where(lengths > 0, total / np.where(lengths > 0, lengths, 1), plain)
        if advance is not None:
            advance(len(rows))
    return found
