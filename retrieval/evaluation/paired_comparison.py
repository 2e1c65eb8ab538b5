"""Two measurements of the same queries, query by query: which is better, and whether the sample can tell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval import measures
from retrieval.base.found import Found
from retrieval.base.text import aligned, ends, for_terminal, plain
from retrieval.errors import RetrievalError
from retrieval.evaluation import per_query
from retrieval.evaluation.per_query import Kept
from retrieval.measures import FLIPS
from retrieval.measures.intervals import A_SAMPLE, limits_of

Table = npt.NDArray[np.float64]

CONFIDENCE = 0.95
POWER = 0.8
_SIGMA = 1.959964
"""Standard errors to each end of a 95 % interval: the normal quantile of 0.975."""

_SIGMAS = _SIGMA + 0.841621
"""How many standard errors a difference has to be, so that a two-sided test at 5 % finds it in :data:`POWER` of all
samples: with the normal quantile of 0.8."""


DIFFERENT = 10
"""So few queries (or classes) that differ at all leave an interval too narrow (benchmarks/intervals.py)."""


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
            name: {end: plain(value) for end, value in vars(getattr(self, name)).items() if end != "n"}
            for name in ("first", "second", "difference")
        }
        rest = {"p": self.p, "detectable": plain(self.detectable), "needed": self.needed, "told": self.told}
        return ends | rest | {"verdict": self.verdict}


@dataclass(frozen=True)
class Differences(Found):
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
        seed: of the sign flips. confidence: of the intervals.
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

    def __getitem__(self, name: str) -> Difference:
        """The difference of that measure."""
        return {one.name: one for one in self.measures}[name]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return super().to_json() | {"measures": {one.name: one.to_json() for one in self.measures}}

    def table(self) -> str:
        """The comparison as text for a terminal."""
        rows = [("measure", "A", "B", "B − A", f"{self.confidence:.0%} interval", "p", "can tell")]
        for one in self.measures:
            gap = one.difference
            rows.append(
                (
                    for_terminal(one.name),
                    f"{one.first.value:.4f}",
                    f"{one.second.value:.4f}",
                    f"{gap.value:+.4f}",
                    ends(gap.low, gap.high, "+.4f"),
                    f"{one.p:.4f}",
                    "yes" if one.told else _needed(one.needed),
                )
            )
        strata = ", each class with its number of queries" if self.stratified else ""
        left_out = [f"{self.counts[what]:,} {words}" for what, words in _LEFT_OUT.items() if self.counts[what]]
        return "\n".join(
            [
                f"A: {for_terminal(self.first)}",
                f"B: {for_terminal(self.second)}",
                f"{self.queries:,} queries that both were asked"
                + ("" if self.over == "queries" else f", of {self.units:,} classes"),
                "",
                *aligned(rows),
                "",
                *self._verdicts(),
                f"Left out: {', '.join(left_out) or 'nothing'}.",
                f"Intervals: of paired differences over {self.over}{strata}. p: {FLIPS:,} sign flips, seed "
                f"{self.seed}, not adjusted for {len(self.measures)} measures.",
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


def compare_kept(
    first: Kept | str | Path, second: Kept | str | Path, *, stratify: bool = False, seed: int = 0
) -> Differences:
    """Compare what the same queries scored twice.

    Queries are paired by their names. Intervals are drawn over classes where either report's are, since classes are
    a sample then; otherwise over queries.

    Args:
        first, second: what each query scored (:meth:`.Report.kept`), or a report that was saved.
        stratify: take each class's number of queries as given; only over queries.
        seed: of the sign flips.

    Raises:
        RetrievalError: they have no query or no measure in common, or classes cannot be strata of themselves; or a
            saved report cannot be read.
    """
    first = first if isinstance(first, Kept) else per_query.read(Path(first))
    second = second if isinstance(second, Kept) else per_query.read(Path(second))
    left, right, counts = paired(first, second)
    names = [name for name in first.measures if name in second.measures]
    if not names:
        raise RetrievalError(
            f"{for_terminal(first.subject)!r} and {for_terminal(second.subject)!r} have no measure in "
            "common: measure both in one way"
        )
    over = "classes" if "classes" in (first.over, second.over) else "queries"
    if stratify and over == "classes":
        raise RetrievalError("the reports' intervals are drawn over classes, which cannot be strata, too: leave it out")
    classes = np.unique(first.classes[left], return_inverse=True)[1]
    units = int(classes.max()) + 1 if over == "classes" else len(left)
    a = np.stack([first.measures[name][left] for name in names], axis=1)
    b = np.stack([second.measures[name][right] for name in names], axis=1)
    asked = ~np.isnan(b - a)
    found: dict[int, Difference] = {}
    for pattern in np.unique(asked, axis=1).T:  # measures that the same queries have a value of go together
        columns = np.flatnonzero((asked == pattern[:, None]).all(axis=0))
        if pattern.any():
            some = [names[column] for column in columns]
            within = _differences(
                some, a[pattern][:, columns], b[pattern][:, columns], classes[pattern], over, stratify, seed
            )
            found |= dict(zip(columns.tolist(), within, strict=True))
    if not found:
        raise RetrievalError(
            f"{for_terminal(first.subject)!r} and {for_terminal(second.subject)!r} have no measure of a query in "
            "common: measure both in one way"
        )
    said = notes(first, second, left, right, units, over)
    differ = (b != a) & asked
    if over == "classes":
        differ = np.stack([np.bincount(classes, column) for column in differ.T], axis=1) > 0
    few = {name: int(count) for name, count in zip(names, differ.sum(axis=0), strict=True) if 0 < count < DIFFERENT}
    if few and units >= A_SAMPLE:
        listed = _listed([f"{name} ({count})" for name, count in few.items()])
        said.append(
            f"Fewer than {DIFFERENT} {over} differ in {listed}: an interval that rests on so few is too narrow."
        )
    return Differences(
        first=first.subject,
        second=second.subject,
        measures=tuple(found[column] for column in sorted(found)),
        queries=len(left),
        units=units,
        over=over,
        stratified=stratify,
        counts=counts,
        notes=tuple(said),
        seed=seed,
    )


def _differences(
    names: Sequence[str], a: Table, b: Table, classes: npt.NDArray[np.int64], over: str, stratify: bool, seed: int
) -> list[Difference]:
    """The differences in some measures, of which every query here has a value."""
    groups = classes if over == "classes" else None
    units = len(a) if groups is None else len(np.unique(groups))
    chances = measures.sign_flip_test(b - a, over=groups, seed=seed)
    strata = classes if stratify else None
    columns = measures.compare_columns(
        b,
        a,
        names=("B", "A"),
        over=groups,
        strata=strata,
        limits=limits_of(np.concatenate([a, b])),
        confidence=CONFIDENCE,
    )
    found = []
    for name, compared, p in zip(names, columns, chances.tolist(), strict=True):
        gap = compared.difference
        # from the interval, which knows of classes and strata, as the normal distribution would have it
        error = (gap.high - gap.low) / (2 * _SIGMA)
        detectable = _SIGMAS * error
        told = not math.isnan(error) and gap.value != 0
        needed = math.ceil(units * (detectable / gap.value) ** 2) if told else None
        found.append(Difference(name, compared.second, compared.first, gap, p, detectable, needed, compared.verdict))
    return found


def _needed(count: int | None) -> str:
    return "no" if count is None or count >= 10**9 else f"no ({count:,})"


def _listed(names: list[str]) -> str:
    listed = [for_terminal(name) for name in names]
    return ", ".join(listed[:-1]) + " and " + listed[-1] if len(listed) > 1 else listed[0]


def paired(first: Kept, second: Kept) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], dict[str, int]]:
    """Which queries both have, by their names.

    Returns:
        int64 (n,) each, the rows of the common queries in both, in the order of the first; and how many are left out
        for what.

    Raises:
        RetrievalError: there is none, or all are of another class in the second.
    """
    once = [_once(kept.names) for kept in (first, second)]
    _, left, right = np.intersect1d(first.names[once[0]], second.names[once[1]], return_indices=True)
    left, right = once[0][left], once[1][right]
    order = np.argsort(left)
    left, right = left[order], right[order]
    agree = first.classes[left] == second.classes[right]
    counts = {
        "only_first": int((~np.isin(first.names, second.names)).sum()),
        "only_second": int((~np.isin(second.names, first.names)).sum()),
        "twice": sum(len(np.unique(np.delete(k.names, o))) for k, o in zip((first, second), once, strict=True)),
        "other_class": int((~agree).sum()),
    }
    if not agree.any():
        what = "are of other classes" if len(left) else f"have no name in common, such as {_example(first)}"
        raise RetrievalError(
            f"the queries of {for_terminal(first.subject)!r} and {for_terminal(second.subject)!r} {what}: measure "
            "both on "
            "the same ones"
        )
    return left[agree], right[agree], counts


def _once(names: npt.NDArray[np.str_]) -> npt.NDArray[np.int64]:
    """Places of the names that stand there once."""
    _, places, times = np.unique(names, return_index=True, return_counts=True)
    once: npt.NDArray[np.int64] = places[times == 1]
    return once


def _example(kept: Kept) -> str:
    return repr(for_terminal(str(kept.names[0]))[:60])


def notes(
    first: Kept,
    second: Kept,
    left: npt.NDArray[np.int64],
    right: npt.NDArray[np.int64],
    units: int,
    over: str,
) -> list[str]:
    """Why the two may not be comparable, a sentence each.

    Args:
        first, second: what was measured. left, right: the rows of the common queries.
        units: how many things intervals are drawn over. over: what these are.
    """
    found = []
    if first.data != second.data:
        found.append(f"A was measured on {for_terminal(first.data)}, B on {for_terminal(second.data)}.")
    galleries = first.counts.get("gallery"), second.counts.get("gallery")
    if galleries[0] != galleries[1]:
        found.append(
            f"The galleries differ: {galleries[0] or 0:,} pictures and {galleries[1] or 0:,}. A smaller one is easier, "
            "so the difference says nothing of A and B alone."
        )
    elif (first.relevant[left] != second.relevant[right]).any():
        other = int((first.relevant[left] != second.relevant[right]).sum())
        found.append(f"{other:,} queries have another number of relevant pictures in B, so the galleries differ.")
    if _words(first.protocol) != _words(second.protocol):
        found.append(f"The protocols differ: {for_terminal(first.protocol)}; {for_terminal(second.protocol)}.")
    dropped = [kept.counts.get("near_duplicates", 0) for kept in (first, second)]
    if dropped[0] != dropped[1]:
        found.append(
            f"Near-duplicates were left out by each one's own scores: {dropped[0]:,} and {dropped[1]:,}, so that the "
            "two ranked different pictures."
        )
    if units < A_SAMPLE:
        found.append(f"With {units} {over} an interval is too narrow.")
    return found


def _words(protocol: str) -> str:
    """A protocol without its numbers, which the counts say, too."""
    return "".join(letter for letter in protocol if not letter.isdigit() and letter != ",")
