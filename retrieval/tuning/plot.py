"""The picture of a tuning: recall against speed, a line for each structure."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from retrieval.base.files import write_durably
from retrieval.base.units import show_seconds
from retrieval.tuning.choice import EXACT, Point

if TYPE_CHECKING:
    from retrieval.tuning.report import TuningReport

FILE = "tuning.png"

_KINDS = (
    ("SymphonyQG", "#b5179e", r"SymphonyQG"),
    ("projected graph", "#d1495b", r"PCA\d+,(HNSW|NSG)"),
    ("graph", "#f08a4b", r"HNSW|NSG"),
    ("projected lists", "#00798c", r"PCA\d+,IVF|Lists"),
    ("lists", "#66a182", r"IVF"),
    ("binary codes", "#8d6cab", r"B"),
    ("compressed, no structure", "#7d8597", r""),
)
"""Kinds of structures, their colours, and how their names begin; the first that fits."""

_TICKS = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)
_CLOSEST = 5e-4
"""How far from 1 the axis of recall stops stretching."""


def draw(report: TuningReport, path: Path) -> None:
    """Draw a report's points, with the choice in a ring, into a PNG file, durably.

    Raises:
        RetrievalError: the disk is full, or the folder cannot be written.
    """
    from matplotlib.figure import Figure  # a second's import that only a tuning needs

    figure = Figure(figsize=(9, 5.6), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xscale("function", functions=(_stretch, _shrink))
    axes.set_yscale("log")
    for label, colour, points in _lines(report.points):
        settings = sorted(points, key=lambda point: (point.recall, -point.single))
        recalls, rates = [point.recall for point in settings], [point.single for point in settings]
        axes.plot(recalls, rates, "o-", color=colour, label=label, markersize=3.5, linewidth=1, alpha=0.75)
    exact = next((point for point in report.points if point.factory == EXACT), None)
    if exact is not None:
        axes.axhline(exact.single, color="#22272e", linewidth=1, linestyle="--", label="exact search")
    if report.wishes.recall is not None:
        axes.axvline(report.wishes.recall, color="#9aa1ab", linewidth=1, linestyle=":", label="wanted recall")
    if report.chosen is not None:
        _ring(axes, report.chosen)
    lowest = min(point.recall for point in report.points)
    left = max((tick for tick in _TICKS[:4] if tick <= lowest), default=_TICKS[0])
    speeds = [point.single for point in report.points]
    axes.set_ylim(min(speeds) / 2, 2 * max(speeds))
    axes.set_xlim(left, 1.00005)
    axes.set_xticks([tick for tick in _TICKS if tick >= left], labels=[f"{t:g}" for t in _TICKS if t >= left])
    axes.minorticks_off()
    axes.grid(color="#e4e7eb", linewidth=0.6)
    axes.set_xlabel(f"recall@{report.k}")
    axes.set_ylabel("queries per second, one at a time, one thread")
    axes.set_title(f"{report.items:,} vectors of {report.dim:,} numbers, {report.queries:,} queries", fontsize=11)
    axes.legend(fontsize=8, loc="lower left", framealpha=0.9)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_durably(path, content.getvalue())


def _lines(points: Any) -> list[tuple[str | None, str, list[Point]]]:
    """A label (on the first line of a kind), a colour and the points for each structure, kinds together."""
    out: list[tuple[str | None, str, list[Point]]] = []
    for kind, (name, colour, _) in enumerate(_KINDS):
        factories = dict.fromkeys(p.factory for p in points if p.factory != EXACT and _kind(p.factory) == kind)
        for number, factory in enumerate(factories):
            label = name if number == 0 else None
            out.append((label, colour, [point for point in points if point.factory == factory]))
    return out


def _kind(factory: str) -> int:
    return next(number for number, (_, _, pattern) in enumerate(_KINDS) if re.match(pattern, factory))


def _ring(axes: Any, chosen: Point) -> None:
    axes.plot([chosen.recall], [chosen.single], "o", markersize=13, markerfacecolor="none", color="#22272e")
    text = f"{chosen.factory}\n{chosen.recall:.4f} at {show_seconds(1 / chosen.single)} a query"
    axes.annotate(
        text,
        (chosen.recall, chosen.single),
        xytext=(-14, 14),
        textcoords="offset points",
        ha="right",
        fontsize=9,
        bbox={"boxstyle": "round", "facecolor": "white", "edgecolor": "#9aa1ab", "alpha": 0.9},
    )


def _stretch(recall: Any) -> Any:
    """Recall, so that 0.9, 0.99 and 0.999 stand about evenly."""
    return -np.log10(np.maximum(1 - np.asarray(recall, float), 0) + _CLOSEST)


def _shrink(place: Any) -> Any:
    return 1 + _CLOSEST - 10.0 ** -np.asarray(place, float)
