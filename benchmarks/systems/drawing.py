"""The pictures beside the table."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from retrieval.base.files import write_durably
from retrieval.measures.roc import Roc
from systems.rows import Row


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


def draw_dots(
    rows: Mapping[str, Row], path: Path, measures: Sequence[str], title: str, published: Mapping[str, float] = {}
) -> None:
    """Systems from top to bottom, measures as dots with their intervals, in percent; those without any are left out.

    Args:
        rows: by name. path: the file.
        measures: those that are drawn, a colour each. title: what the axis is.
        published: in words → a share, drawn as a line.
    """
    rows = {name: row for name, row in rows.items() if row.ours.keys() & set(measures)}
    there = [measure for measure in measures if any(measure in row.ours for row in rows.values())]
    figure = _figure(8, 1.4 + 0.28 * len(rows) * len(there))
    axes = figure.subplots()
    for order, measure in enumerate(there):
        drawn = [(place, row.ours[measure]) for place, row in enumerate(rows.values()) if measure in row.ours]
        places = [place + (order - (len(there) - 1) / 2) * 0.7 / len(there) for place, _ in drawn]
        values = [100 * measured[0] for _, measured in drawn]
        spread = np.array([[abs(100 * (end - m[0])) for end in m[1:]] or [0.0, 0.0] for _, m in drawn]).T
        axes.errorbar(values, places, xerr=spread, fmt="o", capsize=3, color=f"C{order}", label=measure)
    for order, (words, share) in enumerate(published.items()):
        axes.axvline(100 * share, color="k", linewidth=1, linestyle=("--", ":", "-.")[order % 3], label=words)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set(xlabel=title)
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2, fontsize="small")
    _save(figure, path)


def draw_lines(rows: Mapping[str, Row], path: Path, measures: Mapping[str, str], places: Sequence[int]) -> None:
    """Measures against the length of a code, a line a system, a panel a measure and set of pictures.

    Args:
        rows: by name, "LOSS-SET". path: the file.
        measures: name → what the axis is; a row has "NAME, N bits" for those N of `places` that it has.
    """
    there = [
        bits for bits in places if all(f"{next(iter(measures))}, {bits} bits" in row.ours for row in rows.values())
    ]
    sets = list(dict.fromkeys(name.rpartition("-")[2] for name in rows))
    figure = _figure(4.2 * len(sets), 3.2 * len(measures))
    panels = figure.subplots(len(measures), len(sets), squeeze=False, sharex=True)
    for across, pictures in enumerate(sets):
        for down, (measure, words) in enumerate(measures.items()):
            axes = panels[down, across]
            for name, row in rows.items():
                loss, _, of = name.rpartition("-")
                if of == pictures:
                    values, low, high = 100 * np.array([row.ours[f"{measure}, {bits} bits"] for bits in there]).T
                    line = axes.plot(range(len(there)), values, marker="o", markersize=3, label=loss)[0]
                    axes.fill_between(range(len(there)), low, high, alpha=0.15, color=line.get_color())
            axes.set(ylabel=words if across == 0 else "", xlabel="bits" if down == len(measures) - 1 else "")
            axes.set_xticks(range(len(there)), [str(bits) for bits in there])
            axes.grid(alpha=0.3)
            if down == 0:
                axes.set_title(pictures)
    panels[0, 0].legend(fontsize="small")
    _save(figure, path)


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Figure, path: Path) -> None:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    write_durably(path, file.getvalue())
