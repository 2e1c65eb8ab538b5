"""Two measurements of the same queries, query by query: which is better, and whether the sample can tell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from retrieval import measures
from retrieval.errors import RetrievalError
from retrieval.evaluation.kept import Kept
from retrieval.evaluation.pairing import notes, paired
from retrieval.evaluation.table import aligned
from retrieval.evaluation.texts import shown
from retrieval.measures import FLIPS, RESAMPLES

CONFIDENCE = 0.95
POWER = 0.8
_SIGMA = 1.959964
"""Standard errors to each end of a 95 % interval: the normal quantile of 0.975."""

_SIGMAS = _SIGMA + 0.841621
"""How many standard errors a difference has to be, so that a two-sided test at 5 % finds it in :data:`POWER` of all
samples: with the normal quantile of 0.8."""


@dataclass(frozen=True)
class Difference:
    """One measure of both.

    Attributes:
        name: of the measure.
        first, second: the mean of each over the common queries, with its interval.
        difference: second − first, with the interval of that.
        p: how often a difference as large arises if it is chance which of the two scored which (sign flips).
        detectable: the least difference that a sample like this one would tell in :data:`POWER` of all cases; NaN where
            there is no interval.
        needed: how many queries (or classes) it would take to tell a difference as large as this one in as many cases;
            None where it is 0 or there is no interval.
        verdict: which is higher and by how much, or that the sample cannot tell.
    """

    name: str
    first: measures.Interval
    second: measures.Interval
    difference: measures.Interval
    p: float
    detectable: float
    needed: int | None
    verdict: str

    @property
    def told(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.difference.low > 0 or self.difference.high < 0

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is open is null."""
        ends = {
            name: {end: _open(value) for end, value in vars(getattr(self, name)).items() if end != "n"}
            for name in ("first", "second", "difference")
        }
        rest = {"p": self.p, "detectable": _open(self.detectable), "needed": self.needed, "told": self.told}
        return ends | rest | {"verdict": self.verdict}


@dataclass(frozen=True)
class Differences:
    """A comparison.

    Attributes:
        first, second: what was compared.
        measures: the differences, in the order of the first's measures.
        queries: how many queries both have.
        units: how many things the intervals are drawn over.
        over: what these are: "queries" or "classes".
        stratified: whether each class kept its number of queries.
        counts: queries left out: that only the first or the second has, that stand twice, or that are of another
            class in the second.
        notes: what a reader should know before believing a difference, a sentence each.
        seed, confidence, resamples: of the intervals.
    """

    first: str
    second: str
    measures: tuple[Difference, ...]
    queries: int
    units: int
    over: str
    stratified: bool
    counts: Mapping[str, int]
    notes: tuple[str, ...]
    seed: int
    confidence: float = CONFIDENCE
    resamples: int = RESAMPLES

    def __getitem__(self, name: str) -> Difference:
        """The difference of that measure."""
        return {one.name: one for one in self.measures}[name]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        found = {"counts": dict(self.counts), "notes": list(self.notes)}
        return values | found | {"measures": {one.name: one.to_json() for one in self.measures}}

    def table(self) -> str:
        """The comparison as text for a terminal."""
        rows = [("measure", "A", "B", "B − A", f"{self.confidence:.0%} interval", "p", "can tell")]
        for one in self.measures:
            gap = one.difference
            interval = "open" if math.isnan(gap.low) else f"{gap.low:+.4f} to {gap.high:+.4f}"
            rows.append(
                (
                    shown(one.name),
                    f"{one.first.value:.4f}",
                    f"{one.second.value:.4f}",
                    f"{gap.value:+.4f}",
                    interval,
                    f"{one.p:.4f}",
                    "yes" if one.told else _needed(one.needed),
                )
            )
        strata = ", each class with its number of queries" if self.stratified else ""
        left_out = [f"{self.counts[what]:,} {words}" for what, words in _LEFT_OUT.items() if self.counts[what]]
        return "\n".join(
            [
                f"A: {shown(self.first)}",
                f"B: {shown(self.second)}",
                f"{self.queries:,} queries that both were asked"
                + ("" if self.over == "queries" else f", of {self.units:,} classes"),
                "",
                *aligned(rows),
                "",
                *self._verdicts(),
                f"Left out: {', '.join(left_out) or 'nothing'}.",
                f"Intervals: paired bootstrap over {self.over}{strata}, {self.resamples:,} resamples, seed "
                f"{self.seed}. p: {FLIPS:,} sign flips, not adjusted for {len(self.measures)} measures.",
                *self.notes,
            ]
        )

    def _verdicts(self) -> list[str]:
        told = [one for one in self.measures if one.told]
        higher = {side: [one.name for one in told if (one.difference.value > 0) == (side == "B")] for side in "AB"}
        lines = [f"{side} is higher in {_listed(names)}." for side, names in higher.items() if names]
        unsure = [one.name for one in self.measures if not one.told]
        if unsure:
            which = "" if not told else f" in {_listed(unsure)}"
            lines.append(f"The sample cannot tell A and B apart{which}.")
            if any(one.needed for one in self.measures if not one.told):
                lines.append(
                    f"In brackets: how many {self.over} would tell a difference as large as the one seen in "
                    f"{POWER:.0%} of all samples."
                )
        return lines


_LEFT_OUT = {
    "only_first": "queries that only A was asked",
    "only_second": "queries that only B was asked",
    "twice": "names that several queries share",
    "other_class": "queries that are of another class in B",
}


def compare_kept(first: Kept, second: Kept, *, stratify: bool = False, seed: int = 0) -> Differences:
    """Compare what the same queries scored twice.

    Queries are paired by their names. Intervals are drawn over classes where either report's are, since classes are
    a sample then; otherwise over queries.

    Args:
        first, second: what each query scored.
        stratify: let each class keep its number of queries in every resample; only over queries.
        seed: of the resamples and flips.

    Raises:
        RetrievalError: they have no query or no measure in common, or classes cannot be strata of themselves.
    """
    left, right, counts = paired(first, second)
    names = [name for name in first.measures if name in second.measures]
    if not names:
        raise RetrievalError(
            f"{shown(first.subject)!r} and {shown(second.subject)!r} have no measure in common: measure both in one way"
        )
    over = "classes" if "classes" in (first.over, second.over) else "queries"
    if stratify and over == "classes":
        raise RetrievalError("the reports' intervals are drawn over classes, which cannot be strata, too: leave it out")
    classes = np.unique(first.classes[left], return_inverse=True)[1]
    units, groups = len(left), None
    if over == "classes":
        units, groups = int(classes.max()) + 1, classes
    a = np.stack([first.measures[name][left] for name in names], axis=1)
    b = np.stack([second.measures[name][right] for name in names], axis=1)
    chances = measures.sign_flip_test(b - a, over=groups, seed=seed)
    strata = classes if stratify else None
    columns = measures.compare_columns(
        b, a, names=("B", "A"), over=groups, strata=strata, confidence=CONFIDENCE, seed=seed
    )
    found = []
    for name, compared, p in zip(names, columns, chances.tolist(), strict=True):
        gap = compared.difference
        # from the interval, which knows of classes and strata, as the normal distribution would have it
        error = (gap.high - gap.low) / (2 * _SIGMA)
        detectable = _SIGMAS * error
        known = not math.isnan(error) and gap.value != 0
        needed = math.ceil(units * (detectable / gap.value) ** 2) if known else None
        found.append(Difference(name, compared.second, compared.first, gap, p, detectable, needed, compared.verdict))
    return Differences(
        first=first.subject,
        second=second.subject,
        measures=tuple(found),
        queries=len(left),
        units=units,
        over=over,
        stratified=stratify,
        counts=counts,
        notes=tuple(notes(first, second, left, right, units, over)),
        seed=seed,
    )


def _open(value: float) -> float | None:
    return None if math.isnan(value) else value


def _needed(count: int | None) -> str:
    return "no" if count is None or count >= 10**9 else f"no ({count:,})"


def _listed(names: list[str]) -> str:
    listed = [shown(name) for name in names]
    return ", ".join(listed[:-1]) + " and " + listed[-1] if len(listed) > 1 else listed[0]
