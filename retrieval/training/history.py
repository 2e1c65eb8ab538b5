"""Watching a training: its history, its curves, TensorBoard, and the warnings when an embedding collapses or a pair
network learns nothing."""

from __future__ import annotations

import csv
import io
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from retrieval.base.files import write_durably
from retrieval.errors import RetrievalError
from retrieval.training.recipe import Recipe

WINDOW = 20
"""Steps over which the monitor averages before it speaks of a collapse."""

PAIR_WINDOW = 50
"""Steps over which the accuracy on pairs is averaged."""

PATIENCE = 300
"""Steps before anything is said of a pair network."""

CHANCE = 0.53
"""An accuracy that is no better than guessing; by luck 50 steps of 32 pairs stray from a half by 0.0125."""

FOLDER = "tensorboard"
"""Where in a run's folder the event files lie."""

TITLES = {
    "loss": "loss",
    "active": "share of active triplets",
    "accuracy": "accuracy on training pairs",
    "spread": "spread of the embedding",
    "lr": "learning rate",
    "precision_at_1": "P@1 on the validation pictures",
    "equal_error": "equal error rate on validation pairs",
}
"""What is drawn, by the names of the readings."""


@dataclass(frozen=True)
class Reading:
    """One step of a training, or the end of an epoch.

    ``active`` is the share of triplets with a loss (NaN for losses without triplets), ``spread`` is :func:`spread` of
    the batch, ``precision_at_1`` is measured on the validation pictures at the end of an epoch and NaN elsewhere.
    """

    step: int
    epoch: int
    loss: float
    active: float
    spread: float
    lr: float
    seconds: float
    precision_at_1: float = math.nan


@dataclass(frozen=True)
class PairReading:
    """One step of the training of a pair network, or the end of an epoch.

    Attributes:
        step, epoch: the step's number from 1 on, and that of its epoch from 0 on.
        loss: binary cross-entropy of the batch.
        accuracy: share of the batch's pairs on the right side of a half.
        lr: the learning rate. seconds: since the training began.
        equal_error: equal error rate on the validation pairs at the end of an epoch, NaN elsewhere.
    """

    step: int
    epoch: int
    loss: float
    accuracy: float
    lr: float
    seconds: float
    equal_error: float = math.nan


Readings = Sequence[Reading] | Sequence[PairReading]


def spread(embeddings: Tensor, apart: float = math.sqrt(2)) -> float:
    """The mean squared distance of embeddings (n, d), in units of what impostors are to have; 0 if all are one point.

    Args:
        embeddings: any vectors. Of unit vectors it is half their mean squared distance, 1 − ‖mean‖², and 1 at most.
        apart: the Euclidean distance that impostors are to have. Raw vectors that are farther apart count as 1.
    """
    x = embeddings.detach().float()
    variance = (x - x.mean(0)).square().sum(1).mean()
    return float((2 * variance / apart**2).clamp_max(1))


class Monitor:
    """Watches the last :data:`WINDOW` steps and says once, in one sentence, when and why the embedding has collapsed.

    Collapse is a batch whose embeddings all lie within a spread of 0.02 (the default network begins near 0.3), or a
    loss that is no number. The cause is read off what the loss has left to do in that state and off the recipe:

    - the margin is too small, where one point or nearly one keeps it: no impostor pair lies within it any more, or it
      is no more than a twentieth, in squared distance;
    - mining too hard, where only the hardest negatives count, which an untrained network cannot part;
    - the margin is too large for unit vectors;
    - the learning rate, where none of these is so.
    """

    THRESHOLD = 0.02

    def __init__(self, recipe: Recipe, lr: float) -> None:
        self.recipe = recipe
        self.lr = lr
        self._spreads: deque[float] = deque(maxlen=WINDOW)
        self._losses: deque[float] = deque(maxlen=WINDOW)
        self._active: deque[float] = deque(maxlen=WINDOW)
        self._said = False

    def look(self, loss: float, spread: float, active: float = math.nan) -> str | None:
        """Take in one step; the warning when there is a new one, else None."""
        self._spreads.append(spread)
        self._losses.append(loss)
        self._active.append(active)
        if self._said or len(self._spreads) < WINDOW:
            return None
        mean = sum(self._spreads) / WINDOW
        if mean >= self.THRESHOLD:
            return None
        self._said = True
        return (
            f"The embedding has collapsed: over the last {WINDOW} steps all pictures lie within a spread of {mean:.4f} "
            f"(0 is one single point), and the loss stands at {sum(self._losses) / WINDOW:.3f}; {self._cause()}"
        )

    def _cause(self) -> str:
        recipe, margin = self.recipe, self.recipe.margin
        triplets = recipe.loss in ("triplet", "soft-triplet")
        if recipe.loss == "contrastive" and margin is not None and sum(self._active) / WINDOW < 0.05:
            return (
                f"the cause is most likely --margin {margin:g}, within which hardly any picture of another class lies "
                "any more, so that nothing parts the classes: try --margin 1.4."
            )
        if triplets and recipe.mining == "hard":
            price = "exactly the margin" if recipe.loss == "triplet" else "log 2"
            return (
                "the cause is most likely --mining hard, whose hardest negatives pull an untrained network to one "
                f"point, where each triplet costs {price}: use --mining all or semi-hard."
            )
        if recipe.loss == "triplet" and margin is not None and margin <= 0.05:
            return (
                f"the cause is most likely --margin {margin:g}, so small that one single point costs hardly anything: "
                "try 0.2."
            )
        if recipe.loss == "triplet" and margin is not None and margin > 1:
            return (
                f"the cause is most likely --margin {margin:g}, which unit vectors can hardly keep "
                "(their squared distances end at 4, and 2 is average): try 0.2."
            )
        gentler = "a longer --warmup" if recipe.schedule != "constant" else "--schedule triangle, which begins lower"
        return f"the cause is most likely the learning rate: try --lr {self.lr / 5:g}, or {gentler}."


class Watch:
    """Says once, in one sentence, when a pair network does no better than guessing."""

    def __init__(self, lr: float) -> None:
        self.lr = lr
        self._accuracies: deque[float] = deque(maxlen=PAIR_WINDOW)
        self._seen = 0
        self._said = False

    def look(self, accuracy: float) -> str | None:
        """Take in one step; the warning when there is a new one, else None."""
        self._accuracies.append(accuracy)
        self._seen += 1
        mean = sum(self._accuracies) / len(self._accuracies)
        if self._said or self._seen < PATIENCE or mean >= CHANCE:
            return None
        self._said = True
        return (
            f"The network still guesses: over the last {PAIR_WINDOW} steps it was right on {mean:.1%} of its training "
            f"pairs; the cause is most likely the learning rate: try --lr {self.lr / 5:g}, or another --net."
        )


def write_history(readings: Readings, folder: Path, title: str) -> None:
    """``curves.csv`` with a row a reading, and ``curves.png`` for people."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(readings[0]))
    writer.writerows(astuple(reading) for reading in readings)
    write_durably(folder / "curves.csv", text.getvalue().encode())
    write_durably(folder / "curves.png", _draw(readings, title))


def read_history(path: Path) -> list[Reading]:
    """What :func:`write_history` wrote as ``curves.csv``."""
    with path.open(newline="") as file:
        return [_reading(row) for row in csv.DictReader(file)]


def _reading(row: Mapping[str, str]) -> Reading:
    values = {name: float(value) for name, value in row.items()}
    return Reading(int(values.pop("step")), int(values.pop("epoch")), **values)


def _draw(readings: Readings, title: str) -> bytes:
    from matplotlib.figure import Figure

    names = [field.name for field in fields(readings[0]) if field.name in TITLES and field.name != "lr"]
    rows = 1 + (len(names) > 3)
    figure = Figure(figsize=(10, 3.1 * rows), layout="constrained")
    figure.suptitle(title)
    steps = [reading.step for reading in readings]
    places = figure.subplots(rows, len(names) // rows).flat
    for number, (axes, name) in enumerate(zip(places, names, strict=True)):
        values = torch.tensor([getattr(reading, name) for reading in readings], dtype=torch.float64)
        known = ~values.isnan()
        x = [step for step, there in zip(steps, known.tolist(), strict=True) if there]
        y = values[known].tolist()
        if name == names[-1]:  # once an epoch
            axes.plot(x, y, color="tab:red", marker="o", markersize=4)
        else:
            axes.plot(x, y, color=f"C{number}", alpha=0.25, linewidth=0.8)
            axes.plot(x, _smooth(y), color=f"C{number}")
        axes.set(title=TITLES[name], xlabel="step", xlim=(0, steps[-1]))
        axes.grid(alpha=0.3)
        if name != "loss":
            axes.set_ylim(0, 1.02)
        if not x:
            axes.text(0.5, 0.5, "not measured here", ha="center", va="center", transform=axes.transAxes)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return file.getvalue()


def _smooth(values: list[float]) -> list[float]:
    """An exponential mean over about a fiftieth of the curve, without a bias at the start."""
    weight = 1 - 1 / max(4, len(values) / 50)
    out, mean, mass = [], 0.0, 0.0
    for value in values:
        mean = weight * mean + (1 - weight) * value
        mass = weight * mass + (1 - weight)
        out.append(mean / mass)
    return out


class Board:
    """Writes readings as they come.

    Args:
        run: the run's folder.
        step: how many steps are done; whatever was written of later ones, before the training was cut off, is dropped.

    Raises:
        RetrievalError: the package tensorboard is missing.
    """

    def __init__(self, run: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise RetrievalError(
                'TensorBoard logs need the package tensorboard; run `pip install "retrieval[tensorboard]"`, '
                "or leave --tensorboard out."
            ) from None
        writer: Any = SummaryWriter
        self._writer = writer(str(run / FOLDER), purge_step=step + 1 if step else None)

    def write(self, reading: Reading | PairReading) -> None:
        """Whatever was measured in one step."""
        for name, title in TITLES.items():
            value = getattr(reading, name, math.nan)
            if not math.isnan(value):
                self._writer.add_scalar(title, value, reading.step)

    def close(self) -> None:
        self._writer.close()
