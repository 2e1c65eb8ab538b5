"""What an evaluation found, for people and for programs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt

from retrieval.base.found import Found
from retrieval.base.machine import machine, versions
from retrieval.base.text import aligned, ends
from retrieval.evaluation import per_query
from retrieval.evaluation.curves import Curve
from retrieval.evaluation.per_class import Confusion, PerClass
from retrieval.evaluation.per_query import Kept
from retrieval.measures import Interval
from retrieval.traps.finding import Finding

_EXAMPLES = 3
"""Worst examples of a trap that a table names, and names of each."""

_LEFT_OUT = {
    "queries_without_label": "queries without a label",
    "queries_without_relevant": "queries without a relevant picture",
    "gallery_without_label": "pictures in the gallery without a label",
    "near_duplicates": "near-duplicates of a query, from its ranking",
    "unreadable": "files that cannot be read",
    "without_direction": "vectors that are zero or not finite",
}


@dataclass(frozen=True)
class Measure:
    """One figure.

    Attributes:
        name: as in docs/measuring.md.
        value: the mean over queries.
        low: lower end of the confidence interval; NaN where there is none, as of one query.
        high: its upper end.
        n: over how many queries, or pairs.
        chance: what telling nothing apart would score; NaN where nobody has said.
    """

    name: str
    value: float
    low: float
    high: float
    n: int
    chance: float

    @classmethod
    def of(cls, name: str, interval: Interval, chance: float = math.nan) -> Measure:
        """A mean with its interval."""
        return cls(name, interval.value, interval.low, interval.high, interval.n, chance)


@dataclass(frozen=True)
class Report(Found):
    """An evaluation.

    Attributes:
        subject: what was measured.
        data: on which pictures.
        protocol: what was asked of what, in words.
        measures: the figures.
        counts: queries that were measured, pictures in the gallery, classes of the queries, and what was left out
            (see docs/measuring.md).
        tied: the mean share of a query's relevant pictures whose score an irrelevant one has, too.
        notes: what a reader should know before believing a figure, a sentence each.
        seconds: how long each part took.
        seed: of everything that was drawn.
        over: what the intervals are drawn over, queries or classes.
        confidence: of the intervals.
        machine: processor and cores.
        versions: of this program, Python and the libraries.
        per_query: one row a query: its name, its label, its id in an index, and each measure's value. Not in the JSON.
        curves: "precision–recall", and "ROC" of the pairs that were verified, where there are any.
        per_class: the classes one after the other.
        findings: traps that were looked for, the worst first.
        confusion: who is taken for whom; None where items have several labels, or classes are too many to look at.
    """

    subject: str
    data: str
    protocol: str
    measures: tuple[Measure, ...]
    counts: Mapping[str, int]
    tied: float
    notes: tuple[str, ...]
    seconds: Mapping[str, float]
    seed: int
    over: str
    confidence: float
    machine: str = field(default_factory=machine)
    versions: Mapping[str, str] = field(default_factory=versions)
    per_query: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict, repr=False, compare=False)
    curves: Mapping[str, Curve] = field(default_factory=dict, repr=False, compare=False)
    per_class: PerClass | None = field(default=None, repr=False, compare=False)
    findings: tuple[Finding, ...] = field(default=(), repr=False, compare=False)
    confusion: Confusion | None = field(default=None, repr=False, compare=False)

    def __getitem__(self, name: str) -> Measure:
        """The measure of that name."""
        return {measure.name: measure for measure in self.measures}[name]

    def to_json(self) -> dict[str, Any]:
        """Plain values; an interval that is open is null."""
        values = super().to_json()
        del values["per_query"]
        return values | {"measures": {measure.pop("name"): measure for measure in values["measures"]}}

    def table(self) -> str:
        """The figures as text for a terminal."""
        rows = [("measure", "value", f"{self.confidence:.0%} interval", "chance")]
        rows += [(m.name, _number(m.value), ends(m.low, m.high), _number(m.chance)) for m in self.measures]
        left_out = [f"{self.counts[what]:,} {words}" for what, words in _LEFT_OUT.items() if self.counts[what]]
        took = ", ".join(f"{part} {seconds:.1f} s" for part, seconds in self.seconds.items())
        return "\n".join(
            [
                f"{self.subject} on {self.data}",
                self.protocol,
                "",
                *aligned(rows),
                "",
                f"Left out: {', '.join(left_out) or 'nothing'}.",
                f"Ties: by expectation; {self.tied:.2%} of the relevant pictures tie with an irrelevant one.",
                f"Intervals: over {self.over}.",
                *self.notes,
                *_told(self.findings),
                f"Time: {took} ({self.machine}).",
            ]
        )

    def kept(self) -> Kept:
        """What each query scored, as a comparison takes it."""
        return per_query.of_columns(self._about(), self.per_query)

    def save(self, path: str | Path) -> None:
        """Write the JSON to a file, and beside it what each query scored (:mod:`.per_query`)."""
        per_query.write(per_query.beside(Path(path)), self._about(), self.per_query)
        super().save(path)

    def _about(self) -> dict[str, Any]:
        names = ("subject", "data", "protocol", "over", "seed", "machine")
        return {name: getattr(self, name) for name in names} | {"counts": dict(self.counts)}


def _told(findings: Sequence[Finding]) -> Iterator[str]:
    """What was found, with the worst examples by name."""
    for finding in findings:
        yield f"{finding.severity.capitalize()}: {finding.sentence}"
        for example in () if finding.severity == "fine" else finding.worst[:_EXAMPLES]:
            yield f"    {', '.join(example.names[:_EXAMPLES])}"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}"
