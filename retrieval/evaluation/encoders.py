"""Which encoder suits one's own pictures: those that are at hand, measured on them, against the default."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retrieval import datasets
from retrieval.base import progress
from retrieval.base.found import Found
from retrieval.base.machine import machine
from retrieval.base.text import aligned, ends, for_terminal
from retrieval.datasets import PictureSet
from retrieval.encoder import Encoder
from retrieval.encoder.encoder import BUILT_IN as _BUILT_IN
from retrieval.encoder.runtime_check import sample_pictures
from retrieval.errors import RetrievalError
from retrieval.evaluation.of_encoder import evaluate_encoder
from retrieval.evaluation.options import EvaluationOptions
from retrieval.evaluation.paired_comparison import Difference, compare_kept
from retrieval.evaluation.report import Measure
from retrieval.networks import hub
from retrieval.networks.hub_models import HUB_MODELS
from retrieval.networks.published import PUBLISHED

BUILT_IN = tuple(_BUILT_IN)
"""The encoders that need no download, the default first."""

BUILT_IN_LICENCE = "Apache 2.0"
"""Of the packages that their weights come in."""

LIMIT = 2_000
"""Pictures a side that are drawn where nobody says how many: minutes for the models of the table."""

SECONDS = 1.0
"""How long the speed of an encoder is measured, at least."""

_MEASURES = ("P@1", "MAP@R")


@dataclass(frozen=True)
class Encoders(Found):
    """The table of published models, and which of them are on this machine.

    Attributes:
        models: name → what :class:`retrieval.networks.hub_models.HubModel` says of it, and whether it is `here`.
        others: models in the hub's cache on this machine that the table does not have.
    """

    models: dict[str, dict[str, Any]]
    others: tuple[str, ...]

    def table(self) -> str:
        """For a terminal."""
        rows = [("--model", "best for", "words", "here", "licence", "on the Hugging Face hub", "MB")]
        sizes = {name: len(PUBLISHED[network].read()) for name, network in _BUILT_IN.items()}
        rows += [
            (name, "the same kind", "no", "yes", BUILT_IN_LICENCE, "", f"{sizes[name] / 1e6:,.0f}") for name in sizes
        ]
        for name, one in self.models.items():
            size = "?" if one["size"] is None else f"{one['size'] / 1e6:,.0f}"
            gated = " (gated)" if one["gated"] else ""
            yes = {True: "yes", False: "no"}
            rows.append(
                (name, one["best_for"], yes[one["words"]], yes[one["here"]], one["licence"] + gated, one["hub"], size)
            )
        lines = aligned(rows, words=len(rows[0]) - 1)
        if self.others:
            lines += ["", "Also here: " + ", ".join(f"hf:{name}" for name in self.others)]
        return "\n".join([*lines, "", "`retrieval encoders DATA` measures those that are here on labelled pictures."])


def known() -> Encoders:
    """The table, and what the hub's cache on this machine holds of it."""
    here = hub.cached()
    models = {name: {**dataclasses.asdict(one), "here": one.hub in here} for name, one in HUB_MODELS.items()}
    named = {one.hub for one in HUB_MODELS.values()}
    return Encoders(models, tuple(name for name in here if name not in named))


@dataclass(frozen=True)
class Trial:
    """One encoder on these pictures.

    Attributes:
        name: what `--model` takes.
        measures: P@1 and MAP@R, with their intervals.
        gaps: how much higher each is than the default's, query by query; empty of the default itself.
        speed: pictures a second on one core, without decoding.
        size: bytes that it takes in an index.
        dim: length of a vector. words: it also takes texts.
        licence: its name; "" where it is not known.
    """

    name: str
    measures: tuple[Measure, ...]
    gaps: tuple[Difference, ...]
    speed: float
    size: int
    dim: int
    words: bool
    licence: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        values = dataclasses.asdict(self)
        values["measures"] = {measure.pop("name"): measure for measure in values["measures"]}
        return values | {"gaps": {gap.name: gap.to_json() for gap in self.gaps}}


@dataclass(frozen=True)
class Trials(Found):
    """Encoders on the same pictures.

    Attributes:
        data: the pictures. protocol: what was asked of what.
        trials: the default first.
        recommended: what `--model` should be. because: why, a sentence.
        left_out: encoders that could not be measured, and why.
        machine: processor and cores.
    """

    data: str
    protocol: str
    trials: tuple[Trial, ...]
    recommended: str
    because: str
    left_out: dict[str, str]
    machine: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return super().to_json() | {"trials": [trial.to_json() for trial in self.trials]}

    def table(self) -> str:
        """For a terminal."""
        columns = [column for name in _MEASURES for column in (name, "95 % interval", "over the default")]
        rows = [("--model", *columns, "pictures/s/core", "MB", "numbers", "licence")]
        for trial in self.trials:
            cells: list[str] = []
            gaps = {gap.name: gap.difference for gap in trial.gaps}
            for one in trial.measures:
                gap = gaps.get(one.name)
                over = "" if gap is None else f"{gap.value:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})"
                cells += [f"{one.value:.3f}", ends(one.low, one.high), over]
            size = f"{trial.size / 1e6:,.0f}"
            rows.append((trial.name, *cells, f"{trial.speed:,.1f}", size, f"{trial.dim:,}", trial.licence or "?"))
        return "\n".join(
            [
                f"Encoders on {self.data}",
                self.protocol,
                "",
                *aligned(rows),
                "",
                *(f"Left out: {name}: {why}" for name, why in self.left_out.items()),
                self.because,
                f"Measured on {self.machine}.",
            ]
        )


def measure_encoders(data: str, also: Sequence[str] = (), *, limit: int | None = LIMIT, seed: int = 0) -> Trials:
    """Measure the encoders that are at hand, and others by name, on labelled pictures.

    The test split asks the rest; where there is none, each picture asks all others.

    Args:
        data: a labelled set, as :func:`retrieval.datasets.load` takes it.
        also: more encoders, as :meth:`retrieval.encoder.Encoder.load` takes them.
        limit: draw at most so many pictures a side, the same for all; None: take all.
        seed: of what is drawn.

    Raises:
        RetrievalError: the pictures have no labels or cannot be read, the default cannot be measured, or one of `also`
            cannot.
    """
    pictures = datasets.load(data)
    within = None if (pictures.splits == "test").any() and (pictures.splits != "test").any() else pictures.splits[0]
    options = EvaluationOptions(within=within, probe=False, limit=limit, seed=seed)
    here = known()
    at_hand = (
        [*BUILT_IN[1:]]
        + [name for name, one in here.models.items() if one["here"]]
        + [f"hf:{name}" for name in here.others]
    )
    base, first, protocol = _measured(BUILT_IN[0], pictures, options)
    trials, left_out = [base], {}
    for name in dict.fromkeys([*at_hand, *also]):
        try:
            trial, kept, _ = _measured(name, pictures, options)
        except RetrievalError as error:
            if name in also:
                raise
            left_out[name] = for_terminal(str(error))
            continue
        found = compare_kept(first, kept, seed=seed)
        trials.append(dataclasses.replace(trial, gaps=tuple(found[one] for one in _MEASURES)))
    recommended, because = _recommendation(trials)
    return Trials(pictures.name, protocol, tuple(trials), recommended, because, left_out, machine())


def _measured(name: str, pictures: PictureSet, options: EvaluationOptions) -> tuple[Trial, Any, str]:
    """An encoder's trial, what each query scored, and what was asked of what."""
    progress.note(f"Measuring {name}")
    encoder = Encoder.load(name, threads=1 if pictures.files is not None else None)
    encoder.optimise()
    report = evaluate_encoder(encoder, pictures, options=dataclasses.replace(options, subject=name))
    with tempfile.TemporaryDirectory(prefix="retrieval-") as folder:
        encoder.save(folder)
        size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
        alone = Encoder.load(folder, threads=1)
        alone.optimise()
        speed = _speed(alone)
    licence = BUILT_IN_LICENCE if name in BUILT_IN else HUB_MODELS[name].licence if name in HUB_MODELS else ""
    measures = tuple(report[one] for one in _MEASURES)
    trial = Trial(name, measures, (), speed, size, encoder.dim, encoder.config.text, licence)
    return trial, report.kept(), report.protocol


def _speed(encoder: Encoder) -> float:
    """Pictures a second: the median over some rounds, after one that is not counted."""
    pictures = sample_pictures(4, encoder.config.preprocessing, seed=0)
    encoder.encode(pictures)
    rounds: list[float] = []
    while len(rounds) < 3 or sum(rounds) < SECONDS:
        began = time.perf_counter()
        encoder.encode(pictures)
        rounds.append(time.perf_counter() - began)
    return float(len(pictures) / np.median(rounds))


def _recommendation(trials: Sequence[Trial]) -> tuple[str, str]:
    """What to take, and why: the highest MAP@R of those that are told from the default's, and above it."""
    base, *others = trials
    better = [
        (gap.difference, one) for one in others for gap in one.gaps if gap.name == "MAP@R" and gap.difference.low > 0
    ]
    if not better:
        none = f"none of the {len(others)} others is told to be better"
        compared = {0: "no other is at hand", 1: "the other one is not told to be better"}.get(len(others), none)
        return base.name, f"Keep the default: by MAP@R on these pictures {compared}."
    gap, best = max(better, key=lambda found: found[0].value)
    return best.name, (
        f"Use --model {best.name}: its MAP@R is {gap.value:.3f} ({gap.low:.3f} to {gap.high:.3f}) above the default's, "
        f"at {best.speed / base.speed:.2g} times its speed (chosen among {len(trials)} by these pictures, so new ones "
        "may show a little less)."
    )
