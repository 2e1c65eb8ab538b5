"""Watching the training of a pair network: its history, its curves, and the warning when it learns nothing."""

from __future__ import annotations

import csv
import io
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from retrieval.base.files import write_durably

WINDOW = 50
"""Steps over which the accuracy is averaged."""

PATIENCE = 300
"""Steps before anything is said."""

CHANCE = 0.53
"""An accuracy that is no better than guessing; by luck 50 steps of 32 pairs stray from a half by 0.0125."""


@dataclass(frozen=True)
class Reading:
    """One step of a training, or the end of an epoch.

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


class Watch:
    """Says once, in one sentence, when a network does no better than guessing."""

    def __init__(self, lr: float) -> None:
        self.lr = lr
        self._accuracies: deque[float] = deque(maxlen=WINDOW)
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
            f"The network still guesses: over the last {WINDOW} steps it was right on {mean:.1%} of its training "
            f"pairs; the cause is most likely the learning rate: try --lr {self.lr / 5:g}, or another --net."
        )


def write_history(history: Sequence[Reading], folder: Path, title: str) -> None:
    """``curves.csv`` with a row a reading, and ``curves.png`` for people."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(Reading))
    writer.writerows(astuple(reading) for reading in history)
    write_durably(folder / "curves.csv", text.getvalue().encode())
    write_durably(folder / "curves.png", _draw(history, title))


def _draw(history: Sequence[Reading], title: str) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    steps = np.array([reading.step for reading in history])
    panels = (
        ("loss", "binary cross-entropy", "tab:blue"),
        ("accuracy", "accuracy on training pairs", "tab:orange"),
        ("equal_error", "equal error rate on validation pairs", "tab:red"),
    )
    for axes, (name, label, colour) in zip(figure.subplots(1, 3), panels, strict=True):
        values = np.array([getattr(reading, name) for reading in history])
        known = np.flatnonzero(~np.isnan(values))
        axes.set(title=label, xlabel="step", ylim=(0, None if name == "loss" else 1.02))
        axes.grid(alpha=0.3)
        if name == "equal_error":
            axes.plot(steps[known], values[known], color=colour, marker="o", markersize=4)
            if not known.size:
                axes.text(0.5, 0.5, "no validation pairs", ha="center", va="center", transform=axes.transAxes)
            continue
        width = max(1, len(values) // 50)
        axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
        axes.plot(steps[width - 1 :], np.convolve(values, np.full(width, 1 / width), "valid"), color=colour)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return file.getvalue()
