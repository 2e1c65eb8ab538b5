#!/usr/bin/env python3
"""How often intervals hold the truth: simulated, where the truth is known.

    python benchmarks/intervals.py                    everything, and into docs/measuring.md: half an hour of one core
    python benchmarks/intervals.py --only means       means over queries and over classes alone: two minutes
    python benchmarks/intervals.py --draws 200 --json

benchmarks/populations.py says what is drawn from. From each population 2,000 samples are drawn, and of each one the
interval is made in five ways:

    ours                 as `evaluate` and `compare` have it (retrieval/measures/intervals.py)
    percentile           between the 2.5th and the 97.5th percentile of a bootstrap: what was here before
    expanded             as far out as Student's distribution asks for (Hesterberg 2015)
    BCa                  bias-corrected and accelerated (Efron 1987)
    bootstrap-t          studentised by each resample's own standard error (Efron 1982)

The last three are for means alone. Coverage is the share of samples whose interval holds the truth, with Wilson's
interval of that share; the width is the mean one, as a ratio to that of an interval which knows how far such figures
spread: twice 1.96 of the standard deviation over all samples. The table has a line a measure and sample size: of its
populations the lowest coverage, with the population, and the largest width.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from command import markdown, options, put, status
from populations import EMBEDDINGS, OF_QUERIES, Embedding, Means, of_classes, sizes
from scipy.special import ndtr, ndtri, stdtrit

from retrieval.base import progress
from retrieval.base.machine import describe
from retrieval.measures import Pairs, Roc, bootstrap, mean_intervals
from retrieval.measures.intervals import wilson

Doubles = npt.NDArray[np.float64]
Ends = dict[str, tuple[Doubles, Doubles]]
"""Lower and upper ends (draws,) by the name of the method."""

PAGE = Path(__file__).parents[1] / "docs" / "measuring.md"
MARKS = "<!-- intervals -->", "<!-- /intervals -->"

DRAWS = 2000
RESAMPLES = 2000
OF_CLASSES = 300
"""Resamples for figures of pairs; so few make both methods' ends less steady, and no wider."""

QUERIES, CLASSES = (20, 50, 200), [20, 60]
TAIL = 0.025


def old_and_others(sums: Doubles, of: Doubles, limits: tuple[float, float]) -> Ends:
    """The other methods for means: of sums and sizes (draws, units). All draws share their resamples."""
    units = sums.shape[1]
    times = np.random.default_rng(1).multinomial(units, np.full(units, 1 / units), RESAMPLES).astype(np.float64)
    means = np.sort((times @ sums.T) / (times @ of.T), axis=0)
    value = sums.sum(axis=1) / of.sum(axis=1)
    wide = float(ndtr(-math.sqrt(units / (units - 1)) * stdtrit(units - 1, 1 - TAIL)))
    found = {
        name: (_at(means, tail), _at(means, 1 - tail)) for name, tail in (("percentile", TAIL), ("expanded", wide))
    }
    below = ((means < value).mean(axis=0) + (means <= value).mean(axis=0)) / 2
    shift = ndtri(np.clip(below, 1 / RESAMPLES, 1 - 1 / RESAMPLES))
    without = (sums.sum(axis=1, keepdims=True) - sums) / (of.sum(axis=1, keepdims=True) - of)
    moves = without.mean(axis=1, keepdims=True) - without
    with np.errstate(invalid="ignore"):
        bend = np.nan_to_num((moves**3).sum(axis=1) / (6 * (moves**2).sum(axis=1) ** 1.5))

    def corrected(tail: float) -> Doubles:
        moved = shift + ndtri(tail)
        return _at(means, ndtr(shift + moved / (1 - bend * moved)))

    found["BCa"] = corrected(TAIL), corrected(1 - TAIL)
    ends = np.array([_studentised(one, its, times) for one, its in zip(sums, of, strict=True)])
    found["bootstrap-t"] = np.clip(ends[:, 0], *limits), np.clip(ends[:, 1], *limits)
    return found


def _at(drawn: Doubles, share: Doubles | float) -> Doubles:
    """Quantiles of sorted columns, one a column."""
    place = np.broadcast_to(np.clip(share, 0, 1), drawn.shape[1:]) * (len(drawn) - 1)
    first = np.floor(place).astype(int)
    column, rest = np.arange(drawn.shape[1]), place - first
    return drawn[first, column] * (1 - rest) + drawn[np.minimum(first + 1, len(drawn) - 1), column] * rest


def _studentised(sums: Doubles, of: Doubles, times: Doubles) -> tuple[float, float]:
    value = sums.sum() / of.sum()
    means = (times @ sums) / (times @ of)
    squares = times @ sums**2 - 2 * means * (times @ (sums * of)) + means**2 * (times @ of**2)
    errors = np.sqrt(np.maximum(squares, 0)) / (times @ of)
    kept = errors > 1e-12  # where all of a resample are the same there is no such ratio
    if not kept.any():
        return value, value
    low, high = np.quantile((means[kept] - value) / errors[kept], [TAIL, 1 - TAIL])
    error = math.sqrt(((sums - value * of) ** 2).sum()) / of.sum()
    return value - high * error, value - low * error


def of_means(one: Means, units: int, draws: int, seed: int, over: bool) -> tuple[Doubles, Ends]:
    """Figures (draws,) and their intervals."""
    rng = np.random.default_rng(seed)
    of = sizes(rng, (draws * units,)) if over else np.ones(draws * units, np.int64)
    values = one.draw(rng, of if over else (draws * units,))
    starts = np.cumsum(of) - of
    sums = np.add.reduceat(values, starts).reshape(draws, units)
    of, ends = of.reshape(draws, units), np.append(starts[::units], len(values))
    ours = [
        mean_intervals(
            values[ends[draw] : ends[draw + 1]],
            over=np.repeat(np.arange(units), of[draw]) if over else None,
            limits=one.limits,
        )[0]
        for draw in range(draws)
    ]
    found = {"ours": (np.array([i.low for i in ours]), np.array([i.high for i in ours]))}
    return np.array([i.value for i in ours]), found | old_and_others(sums, of.astype(np.float64), one.limits)


def of_pairs(one: Embedding, classes: int, draws: int, seed: int) -> Iterator[tuple[str, float, Doubles, Ends]]:
    """Each figure with its truth, its values (draws,) and their intervals."""
    rng, truth = np.random.default_rng(seed), one.truth()
    figures, ends = np.empty((draws, len(truth))), np.empty((4, draws, len(truth)))
    for draw in range(draws):
        seen: list[list[float]] = []
        measured, count = _of_classes(one.draw(rng, classes), seen)
        figures[draw], *ends[:2, draw] = bootstrap(measured, count, resamples=OF_CLASSES)
        resampled = seen[1 : OF_CLASSES + 1]  # the first is of all, and the last ones without a class each
        ends[2:, draw] = np.nanquantile(resampled, [TAIL, 1 - TAIL], axis=0)
    for place, (name, true) in enumerate(truth.items()):
        low, high, old_low, old_high = ends[:, :, place]
        yield name, true, figures[:, place], {"ours": (low, high), "percentile": (old_low, old_high)}


def _of_classes(pairs: Pairs, seen: list[list[float]]) -> tuple[Callable[[Doubles], list[float]], int]:
    """AUC, EER and FPR if each class counts as often as is said, as `verify` has them; each is kept in `seen`, too. And
    how many classes there are."""
    order = np.argsort(-pairs.scores, kind="stable")
    scores, genuine = pairs.scores[order].astype(np.float64), pairs.genuine[order]
    ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))
    names, of = np.unique(pairs.classes[order], return_inverse=True)
    left, right = of.reshape(-1, 2).T

    def measured(times: Doubles) -> list[float]:
        weights = times[left] * np.where(genuine, 1, times[right])
        true = np.cumsum(weights * genuine)[ends]
        false = np.cumsum(weights)[ends] - true
        if not true[-1] or not false[-1]:
            seen.append([math.nan] * 3)
        else:
            roc = Roc(scores[ends], false / false[-1], true / true[-1])
            seen.append([roc.auc(), roc.equal_error()[0], roc.false_match_at()])
        return seen[-1]

    return measured, len(names)


def row(over: str, n: int, measure: str, population: str, truth: float, values: Doubles, ends: Ends) -> dict[str, Any]:
    """What was found of one population: coverage with its interval, and width, of each method."""
    known = 2 * ndtri(1 - TAIL) * values.std()
    found: dict[str, Any] = {"over": over, "n": n, "measure": measure, "population": population, "truth": truth}
    for name, (low, high) in ends.items():
        covered = float(((low <= truth + 1e-12) & (truth - 1e-12 <= high)).mean())
        found[name] = {
            "coverage": [covered, *wilson(covered, len(values))],
            "width": float((high - low).mean() / known),
        }
    return found


def simulated(what: list[str], draws: int, seed: int, many: list[int]) -> list[dict[str, Any]]:
    tasks: list[Callable[[], list[dict[str, Any]]]] = []

    def mean(over: str, n: int, measure: str, one: Means) -> list[dict[str, Any]]:
        return [row(over, n, measure, one.name, one.truth, *of_means(one, n, draws, seed, over == "classes"))]

    def pairs(n: int, one: Embedding) -> list[dict[str, Any]]:
        return [row("classes", n, name, one.name, *rest) for name, *rest in of_pairs(one, n, draws, seed)]

    if "means" in what:
        for over, counts, populations in (("queries", QUERIES, OF_QUERIES), ("classes", many, of_classes())):
            for n in counts:
                for measure, those in populations.items():
                    tasks += [lambda o=over, n=n, m=measure, p=one: mean(o, n, m, p) for one in those]
    if "pairs" in what:
        tasks += [lambda n=n, p=one: pairs(n, p) for n in many for one in EMBEDDINGS]
    rows = []
    with progress.bar(len(tasks), "Simulating", "populations") as bar:
        for task in tasks:
            rows += task()
            bar.update(1)
    return rows


def worst(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A line a measure and sample size: the lowest coverage and the widest width of its populations."""
    kinds = dict.fromkeys((one["over"], one["n"], one["measure"]) for one in rows)
    lines = []
    for over, n, measure in kinds:
        those = [one for one in rows if (one["over"], one["n"], one["measure"]) == (over, n, measure)]
        least = min(those, key=lambda one: one["ours"]["coverage"][0])
        line: dict[str, Any] = {"over": f"{n} {over}", "measure": measure, "ours": least["ours"]["coverage"]}
        line |= {"at": least["population"], "width": max(one["ours"]["width"] for one in those)}
        for name in ("percentile", "expanded", "BCa", "bootstrap-t"):
            if name in least:
                line[name] = f"{100 * min(one[name]['coverage'][0] for one in those):.1f}"
        lines.append(line)
    return lines


def main() -> int:
    """Simulate, print, and put the table on its page."""
    parser = options(__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=("means", "pairs"), default=["means", "pairs"], help="these (both)"
    )
    parser.add_argument("--draws", type=int, default=DRAWS, help=f"samples of each population ({DRAWS})")
    parser.add_argument("--classes", nargs="+", type=int, default=CLASSES, help="so many classes (20 60)")
    args = parser.parse_args()
    rows = simulated(args.only, args.draws, args.seed, args.classes)
    if args.json:
        print(json.dumps({"machine": describe(), "seed": args.seed, "draws": args.draws, "rows": rows}, indent=2))
        return 0
    table = markdown(worst(rows))
    print(table)
    if args.draws == DRAWS and len(args.only) == 2 and args.classes == CLASSES:
        put(PAGE, (table, MARKS))
    return 0


if __name__ == "__main__":
    sys.exit(status(main))
