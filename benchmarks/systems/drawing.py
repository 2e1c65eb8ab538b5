"""The pictures beside the table."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from retrieval.base.files import write_durably
from retrieval.measures.roc import Roc


def draw_map(points: NDArray[np.float32], labels: NDArray[np.int64], classes: tuple[str, ...], path: Path) -> None:
    """Points (n, 2), coloured by their class, with each class's name at its middle."""
    figure = _figure(7.5, 6)
    axes = figure.subplots()
    for label, name in enumerate(classes):
        of = points[labels == label]
        axes.scatter(*of.T, s=4, alpha=0.6, linewidths=0, color=f"C{label % 10}", label=name)
        middle = axes.annotate(name, np.median(of, axis=0), ha="center", va="center", fontsize=15, weight="bold")
        middle.set_path_effects([withStroke(linewidth=3, foreground="white")])
    axes.set(title=f"{len(points):,} test pictures in two dimensions", aspect="equal", xlabel="x", ylabel="y")
    figure.legend(title="class", markerscale=5, loc="outside right upper")
    _save(figure, path)


def draw_rocs(curves: dict[str, Roc], published: list[tuple[float, float]], title: str, path: Path) -> None:
    """False rejects against false accepts: a line for each name, and published points, shares of either."""
    figure = _figure(7.5, 5)
    axes = figure.subplots()
    for name, roc in curves.items():
        false_match = np.append(0.0, roc.false_match)
        axes.plot(100 * false_match, 100 * (1 - np.append(0.0, roc.true_match)), label=name, drawstyle="steps-post")
    x, y = 100 * np.array(published).T
    axes.plot(x, y, "k^", label="published", clip_on=False)
    axes.plot([0, 25], [0, 25], color="grey", linewidth=0.8, linestyle=":", label="equal errors")
    axes.set(title=title, xlabel="impostor pairs accepted, %", ylabel="genuine pairs rejected, %")
    axes.set(xlim=(0, 25), ylim=(0, 25))
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, path)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> None:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    write_durably(path, file.getvalue())
