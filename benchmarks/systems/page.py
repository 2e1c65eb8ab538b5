"""The family's page: one figure a system, one plot a family, and every figure below."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from systems.rows import Measure, Row


class Family(NamedTuple):
    """Systems that are shown together.

    Attributes:
        name: of the plot's file.
        title: over its figures.
        systems: name → what measures it, in the table's order.
        figures: the measure that stands in the table; of each row the first that it has.
        draw: its plot, of the rows by name, into a file.
    """

    name: str
    title: str
    systems: Mapping[str, Measure]
    figures: Sequence[str]
    draw: Callable[[Mapping[str, Row], Path], None]


def table(rows: Mapping[str, Row], families: Sequence[Family]) -> str:
    """Markdown: one figure a system, in percent with its interval, beside what was published."""
    lines = [
        "| system | measure | ours (95 % interval) | published | seconds | `--only` |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        wanted = next((family.figures for family in families if name in family.systems), ())
        measure = next((figure for figure in wanted if figure in row.ours), next(iter(row.ours)))
        figure = percent(row.ours[measure], " %")
        lines.append(f"| {row.system} | {measure} | {figure} | {row.published} | {row.seconds:,.0f} | {name} |")
    return "\n".join(lines)


def everything(rows: Mapping[str, Row], families: Sequence[Family]) -> str:
    """Markdown: all figures, a table a family, one figure a cell."""
    parts = []
    for family in families:
        there = {name: row for name, row in rows.items() if name in family.systems}
        if not there:
            continue
        measures = list(dict.fromkeys(measure for row in there.values() for measure in row.ours))
        parts.append(f"### {family.title}\n")
        data: dict[str, list[str]] = {}
        for name, row in there.items():
            data.setdefault(row.data, []).append(name)
        parts += [f"- {', '.join(names)}: {words}." for words, names in data.items()]
        parts += ["", f"| % | {' | '.join(there)} |", "|---" * (1 + len(there)) + "|"]
        for measure in measures:
            cells = [percent(row.ours[measure]) if measure in row.ours else "" for row in there.values()]
            parts.append(f"| {measure} | {' | '.join(cells)} |")
        parts.append("")
    return "\n".join(parts).rstrip()


def percent(measured: Sequence[float], unit: str = "") -> str:
    """A share, and the ends of its interval where there is one."""
    value, *ends = (f"{100 * share:.1f}" for share in measured)
    return value + unit + (f" ({ends[0]}–{ends[1]})" if ends else "")
