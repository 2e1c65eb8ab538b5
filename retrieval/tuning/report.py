"""What a tuning found, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from retrieval.base.found import Found
from retrieval.base.machine import machine, versions
from retrieval.base.text import aligned, ends, plain
from retrieval.base.units import show_bytes, show_seconds
from retrieval.measures import Comparison
from retrieval.tuning.choice import EXACT, Point, Wishes, pareto

_SHOWN = 0.8
"""Recall, or less if less is wanted, from which settings are shown as text."""


@dataclass(frozen=True)
class TuningReport(Found):
    """A tuning.

    Attributes:
        index: the folder.
        items: vectors in it. dim: numbers in each. storage: what they are kept as.
        k: neighbours that each query asked for.
        wishes: what was asked for.
        queries: how many asked. held_out: whether they are vectors of the index, left out of what they were put to.
        mapped: whether the stored vectors are read from the disk, so that they do not count as memory.
        points: everything that was measured.
        left_out: (factory, reason) of what was not built.
        chosen: the choice; None if nothing does what was asked, and then the index searches as it did before.
        problem: then one sentence that says so.
        losses: what the choice costs by the labels; empty where they are not known.
        minutes: the limit. seconds: how long it took.
        seed: of everything that was drawn.
        machine: processor and cores. versions: of this program, Python and the libraries.
    """

    index: str
    items: int
    dim: int
    storage: str
    k: int
    wishes: Wishes
    queries: int
    held_out: bool
    mapped: bool
    points: Sequence[Point]
    left_out: Sequence[tuple[str, str]]
    chosen: Point | None
    problem: str | None
    losses: Mapping[str, Comparison]
    minutes: float
    seconds: float
    seed: int
    machine: str = field(default_factory=machine)
    versions: Mapping[str, str] = field(default_factory=versions)

    def to_json(self) -> dict[str, Any]:
        """Plain values. Each point says whether it is on the Pareto front."""
        front = pareto(self.points)
        return super().to_json() | {
            "points": [plain(point) | {"pareto": point in front} for point in self.points],
            "left_out": [{"factory": factory, "reason": reason} for factory, reason in self.left_out],
            "losses": {
                name: plain({"approximate": loss.first, "exact": loss.second, "difference": loss.difference})
                for name, loss in self.losses.items()
            },
        }

    def table(self) -> str:
        """The fastest at each recall, exact search and the choice, as text for a terminal."""
        allowed = [point for point in self.points if replace(self.wishes, recall=0, latency=None).met_by(point)]
        front = [
            point for point in pareto(allowed, memory=False) if point.recall >= min(_SHOWN, self.wishes.recall or 1)
        ]
        others = [point for point in self.points if point == self.chosen or point.factory == EXACT]
        shown = sorted(
            [*front, *(point for point in others if point not in front)], key=lambda p: (p.recall, -p.single)
        )
        head = ("", "structure", "search", f"recall@{self.k}", "95 % interval", "queries/s", "95 % in", "batched/s")
        rows = [(*head, "memory", "build")]
        rows += [
            (
                "→" if point == self.chosen else "",
                point.factory,
                ", ".join(f"{name} {value}" for name, value in point.parameters.items()),
                f"{point.recall:.4f}",
                ends(point.low, point.high),
                f"{point.single:,.0f}",
                show_seconds(point.latency),
                f"{point.batched:,.0f}",
                show_bytes(point.memory),
                show_seconds(point.build_seconds) if point.factory != EXACT else "",
            )
            for point in shown
        ]
        return "\n".join([*self._head(), "", *aligned(rows, words=3), "", *self._notes()])

    def _head(self) -> list[str]:
        asked = [
            f"recall@{self.k} ≥ {self.wishes.recall:g}" if self.wishes.recall is not None else "",
            f"at most {show_bytes(self.wishes.memory)}" if self.wishes.memory is not None else "",
            f"at most {show_seconds(self.wishes.latency)} a query" if self.wishes.latency is not None else "",
        ]
        whose = "vectors held out" if self.held_out else "queries"
        return [
            f"{self.index}: {self.items:,} vectors of {self.dim:,} numbers ({self.storage}), asked by {self.queries:,} "
            f"{whose}",
            "wanted: " + ", ".join(filter(None, asked)),
        ]

    def _notes(self) -> list[str]:
        structures = len({point.factory for point in self.points} - {EXACT})
        lines = [
            f"{structures} structures in {len(self.points) - 1:,} settings measured; these are the fastest for their "
            "recall (tuning.png and --json have all)."
        ]
        if self.left_out:
            reasons: dict[str, list[str]] = {}
            for factory, reason in self.left_out:
                reasons.setdefault(reason, []).append(factory)
            lines += [f"Left out, {reason}: {', '.join(names)}." for reason, names in reasons.items()]
        if self.mapped:
            lines.append("Memory counts the structure alone: the stored vectors are read where they lie on the disk.")
        lines += [
            f"{name} by the labels: {loss.first.value:.4f}, by exact search {loss.second.value:.4f} "
            f"({loss.difference.n:,} queries); {loss.verdict}."
            for name, loss in self.losses.items()
        ]
        if self.chosen is not None:
            lines.append("Chosen: " + ("exact search." if self.chosen.factory == EXACT else f"{self.chosen.factory}."))
        return [*lines, f"Time: {self.seconds:,.0f} s ({self.machine}); seed {self.seed}."]
