"""Watching a training: its history, its curves, TensorBoard, and the warning when the embedding collapses."""

from __future__ import annotations

import csv
import io
import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from retrieval.base.files import write_durably
from retrieval.errors import RetrievalError
from retrieval.training.recipe import Recipe

WINDOW = 20
"""Steps over which the monitor averages before it speaks of a collapse."""


FOLDER = "tensorboard"
"""Where in a run's folder the event files lie."""

_NAMES = {
    "loss": "loss",
    "active": "share of active triplets",
    "spread": "spread of the embedding",
    "lr": "learning rate",
    "precision_at_1": "P@1 on the validation pictures",
}


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


def write_history(history: Iterable[Reading], folder: Path, title: str) -> None:
    """``curves.csv`` with a row a reading, and ``curves.png`` for people."""
    readings = list(history)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(Reading))
    writer.writerows(asdict(reading).values() for reading in readings)
    write_durably(folder / "curves.csv", text.getvalue().encode())
    write_durably(folder / "curves.png", _draw(readings, title))


def read_history(path: Path) -> list[Reading]:
    """What :func:`write_history` wrote as ``curves.csv``."""
    with path.open(newline="") as file:
        return [_reading(row) for row in csv.DictReader(file)]


def _reading(row: Mapping[str, str]) -> Reading:
    values = {name: float(value) for name, value in row.items()}
    return Reading(int(values.pop("step")), int(values.pop("epoch")), **values)


def _draw(readings: list[Reading], title: str) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.2), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    steps = [reading.step for reading in readings]
    panels = (
        ("loss", "loss", "tab:blue"),
        ("active", "share of active triplets", "tab:orange"),
        ("spread", "spread of the embedding", "tab:green"),
        ("precision_at_1", "P@1 on the validation pictures", "tab:red"),
    )
    for axes, (name, label, colour) in zip(figure.subplots(2, 2).flat, panels, strict=True):
        values = torch.tensor([getattr(reading, name) for reading in readings], dtype=torch.float64)
        known = ~values.isnan()
        x = [step for step, there in zip(steps, known.tolist(), strict=True) if there]
        y = values[known].tolist()
        if name == "precision_at_1":
            axes.plot(x, y, color=colour, marker="o", markersize=4)
        else:
            axes.plot(x, y, color=colour, alpha=0.25, linewidth=0.8)
            axes.plot(x, _smooth(y), color=colour)
        axes.set(title=label, xlabel="step", xlim=(0, steps[-1]))
        axes.grid(alpha=0.3)
        if name != "loss":
            axes.set_ylim(0, 1.02)
        if not x:
            axes.text(0.5, 0.5, "not measured for this loss", ha="center", va="center", transform=axes.transAxes)
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

    def write(self, reading: Reading) -> None:
        """Whatever was measured in one step."""
        for name, title in _NAMES.items():
            value = getattr(reading, name)
            if not math.isnan(value):
                self._writer.add_scalar(title, value, reading.step)

    def close(self) -> None:
        self._writer.close()
