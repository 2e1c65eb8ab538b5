"""Charts as SVG that takes its colours from the page it stands in, so that it is right in the dark and in print."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = Sequence[float] | npt.NDArray[np.float64]

_WIDTH, _HEIGHT = 5.2, 3.4
"""Inches, of which 72 points: letters stay legible where a chart is as narrow as a phone."""

_INKS = {"#010101": "var(--ink)", "#020202": "var(--faint)", "#030303": "var(--line)", "#040404": "var(--paper)"}
"""Colours that stand for those of the page, and what takes their place."""
_INK, _FAINT, _LINE, _PAPER = _INKS

SERIES = ("#3b76d6", "#d9772b", "#2f9e6e", "#b5487f", "#7a6bd1", "#8a8f98")
"""Colours of lines, apart from one another for nearly everybody and on both grounds."""


SAMPLE = 2000
"""Points that are drawn: more take minutes, and hide one another."""

_FEWEST = 10
"""Points below which neighbourhoods say nothing, and the two main directions do."""


def lines(
    series: Mapping[str, tuple[Numbers, Numbers]],
    *,
    x: str,
    y: str,
    bands: Mapping[str, tuple[Numbers, Numbers]] | None = None,
    points: Mapping[str, tuple[Numbers, Numbers]] | None = None,
    bars: Mapping[str, tuple[Numbers, Numbers]] | None = None,
    diagonal: bool = False,
    limits: tuple[float, float, float, float] | None = None,
    log_y: bool = False,
) -> str:
    """Lines, with bands for what is not sure.

    Args:
        series: name → (x, y).
        x, y: what the axes are.
        bands: name of a series → (low, high) at its x.
        points: name → (x, y), drawn as dots.
        bars: name of points → (low, high) of each.
        diagonal: draw where y is x.
        limits: left, right, lowest, highest.
        log_y: a logarithmic axis.

    Returns:
        One ``<svg>`` element.
    """
    figure, axes = _axes(x, y)
    if diagonal:
        axes.plot([0, 1], [0, 1], color=_FAINT, linewidth=0.8, linestyle="--")
    for number, (name, (along, up)) in enumerate(series.items()):
        colour = SERIES[number % len(SERIES)]
        axes.plot(along, up, color=colour, linewidth=1.6, label=name)
        if bands and name in bands:
            axes.fill_between(along, *bands[name], color=colour, alpha=0.22, linewidth=0)
    for number, (name, (along, up)) in enumerate((points or {}).items()):
        colour = SERIES[(number + len(series)) % len(SERIES)]
        axes.plot(along, up, "o", color=colour, markersize=4, alpha=0.85, label=name)
        if bars and name in bars:
            axes.vlines(along, *bars[name], color=colour, linewidth=1)
    if log_y:
        axes.set_yscale("log")
    if limits is not None:
        axes.set_xlim(limits[0], limits[1])
        axes.set_ylim(limits[2], limits[3])
    if len(series) + len(points or {}) > 1:
        axes.legend(fontsize=8, labelcolor=_INK, frameon=False)
    return _svg(figure)


def heat_map(values: npt.NDArray[np.float64], names: Sequence[str], *, x: str, y: str) -> str:
    """Shares (n, n) in [0, 1] as squares, with their percent where there is room."""
    large = len(names)
    side = min(7.5, max(3.6, 0.42 * large))
    figure, axes = _axes(x, y, width=side + 1, height=side)
    axes.grid(visible=False)
    axes.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="equal", interpolation="nearest")
    size = 8 if large <= 20 else 5
    if large <= 60:
        axes.set_xticks(range(large), labels=[_short(name) for name in names], rotation=60, ha="right")
        axes.set_yticks(range(large), labels=[_short(name) for name in names])
    axes.tick_params(labelsize=size, length=0)
    if large <= 16:
        for (row, column), value in np.ndenumerate(values):
            if value >= 0.005:
                ink = "#ffffff" if value > 0.55 else "#1d2b3a"
                axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=7, color=ink)
    return _svg(figure)


def scatter(places: npt.NDArray[np.float64], groups: Mapping[str, npt.NDArray[np.bool_]]) -> str:
    """Points (n, 2) in the colours of their groups, whose names stand where they are."""
    figure, axes = _axes("", "", width=6.4, height=5.2)
    axes.set_axis_off()
    colours = _many(len(groups))
    for (name, mask), colour in zip(groups.items(), colours, strict=True):
        some = places[mask]
        axes.scatter(some[:, 0], some[:, 1], s=5, color=colour, alpha=0.75, linewidths=0)
        if name and len(groups) <= 30 and len(some):
            middle = np.median(some, axis=0)
            axes.text(
                *middle, _short(name), fontsize=9, ha="center", va="center", color=_INK, weight="bold",
                bbox={"facecolor": _PAPER, "edgecolor": "none", "alpha": 0.7, "pad": 1.2},
            )  # fmt: skip
    return _svg(figure)


def _axes(x: str, y: str, width: float = _WIDTH, height: float = _HEIGHT) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    axes.set_xlabel(x, color=_INK, fontsize=9)
    axes.set_ylabel(y, color=_INK, fontsize=9)
    axes.tick_params(colors=_INK, labelsize=8)
    for side, spine in axes.spines.items():
        spine.set_color(_FAINT)
        spine.set_visible(side in ("left", "bottom"))
    axes.grid(color=_LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _many(count: int) -> list[Any]:
    from matplotlib import colormaps

    if count <= 10:
        return list(colormaps["tab10"].colors[:count])  # type: ignore[attr-defined]
    return [colormaps["turbo"](place) for place in np.linspace(0.05, 0.95, count)]


def _short(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:9]}…{name[-8:]}"


def _svg(figure: Any) -> str:
    import matplotlib

    content = io.StringIO()
    # Text stays text, and what is drawn twice is the same twice.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "retrieval", "text.parse_math": False}):
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    text = content.getvalue()
    text = text[text.index("<svg") :]
    for colour, variable in _INKS.items():
        text = text.replace(colour, variable)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px system-ui, sans-serif", text)
    return re.sub(r' width="[\d.]+pt" height="[\d.]+pt"', ' aria-hidden="true"', text, count=1)


def two_dimensions(vectors: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.float64]:
    """Places (n, 2) of unit vectors (n, d): near ones are near, and far ones need not be far.

    t-SNE (van der Maaten and Hinton 2008, "Visualizing Data using t-SNE") from the first two principal components,
    by scikit-learn.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    n, d = vectors.shape
    if n < _FEWEST or d < 2:
        places = np.zeros((n, 2))
        if n > 1:
            parts = min(2, d, n)
            places[:, :parts] = PCA(parts, random_state=seed).fit_transform(vectors.astype(np.float64))
        return places
    distinct = len(np.unique(vectors, axis=0))
    if distinct < 3:  # nothing to draw apart, and t-SNE would divide by zero
        return np.asarray(vectors[:, :2], dtype=np.float64)
    made = TSNE(
        perplexity=min(30, (n - 1) / 3), init="pca", metric="euclidean", learning_rate="auto", random_state=seed
    ).fit_transform(vectors)
    return np.asarray(made, dtype=np.float64)
