"""The index, its model and its speed: the part of the page that needs no labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from retrieval.base.units import show_bytes
from retrieval.report import charts
from retrieval.report.blocks import Chart, Section, Table, interval, number
from retrieval.report.contents import Contents
from retrieval.search.calibration import Calibration


def what(contents: Contents) -> Section:
    index = contents.index
    rows = [
        (
            "pictures",
            f"{index['items']:,}" + (f", {index['skipped']:,} files were left out" if index["skipped"] else ""),
        ),
        ("labels", f"{index['labels']:,}, on {index['labelled']:,} pictures"),
        ("vectors", f"{index['dim']:,} numbers each, {index['storage']}"),
        ("search", "exact" if index["structure"] is None else str(index["structure"]["factory"])),
        ("model", f"{index['encoder']['network'] or 'unknown'} ({str(index['encoder']['hash'])[:12]})"),
        ("folder of the pictures", str(index["root"])),
        ("on disk", show_bytes(index["bytes"])),
        ("made", str(index["created"])),
    ]
    return Section("what", "What was indexed", tables=[Table("The index", ("", ""), rows)])


def layout(contents: Contents) -> Section | None:
    if len(contents.places) < 3:
        return None
    labels = np.array([label or "" for label in contents.place_labels])
    names, counts = np.unique(labels, return_counts=True)
    groups = {str(name): labels == name for name in names}
    drawn = f"{len(labels):,} pictures" + (", drawn at random" if len(labels) < contents.index["items"] else "")
    biggest = ", ".join(str(name) for name in names[np.argsort(-counts)][:10] if name)
    return Section(
        "map",
        "The embedding in two dimensions",
        charts=[
            Chart(
                charts.scatter(contents.places, groups),
                f"Map of {drawn}" + (f", coloured by label: {biggest}." if biggest else "."),
                f"{drawn.capitalize()}, each a point, by t-SNE: near points are alike. How far apart groups lie, and "
                "how large they are, says nothing.",
                wide=True,
            )
        ],
    )


def calibration(contents: Contents) -> Section | None:
    """What scores say about matches."""
    if contents.calibration is None or "labels" not in contents.calibration:
        return None
    found = Calibration.from_json(contents.calibration["labels"])
    judged = found.judged
    bins = judged.reliability.bins
    predicted = [one.predicted for one in bins]
    observed = [one.observed.value for one in bins]
    said = ", ".join(f"said {one.predicted:.2f}, found {one.observed.value:.2f}" for one in bins)
    rows = [
        ("threshold", f"{found.threshold:.4f}", f"at a false match rate of {found.false_match_rate:g}"),
        ("false matches", number(judged.false_match.value), interval(judged.false_match.low, judged.false_match.high)),
        (
            "missed matches",
            number(judged.false_non_match.value),
            interval(judged.false_non_match.low, judged.false_non_match.high),
        ),
        (
            "no match",
            f"{found.no_match_below:.4f}" if found.has_match is None else "by all of the evidence",
            f"for at most {found.miss_rate:g} of the queries with a match",
        ),
        ("calibration error", number(judged.reliability.ece.value), "expected calibration error, bins of equal mass"),
        (
            "Brier score",
            number(judged.reliability.brier.value),
            f"{judged.reliability.brier_of_base_rate:.3f} for who always says the base rate",
        ),
    ]
    return Section(
        "matches",
        "When is a hit a match?",
        tables=[Table("Judged on labels that it was not fitted on", ("", "value", ""), rows)],
        charts=[
            Chart(
                charts.lines(
                    {},
                    x="probability that was said",
                    y="share that were matches",
                    points={"hits": (predicted, observed)},
                    bars={"hits": ([one.observed.low for one in bins], [one.observed.high for one in bins])},
                    limits=(0, 1, 0, 1.02),
                    diagonal=True,
                ),
                f"Reliability: {said}.",
                "Each point a bin of hits; on the dashed line things happen as often as was said.",
            )
        ],
        notes=found.notes,
    )


def speed(contents: Contents) -> Section | None:
    """What the last tuning measured."""
    tuning = contents.tuning
    if not tuning or not tuning.get("points"):
        return None
    points, k, chosen = tuning["points"], tuning["k"], tuning.get("chosen")
    front = sorted((point for point in points if point.get("pareto")), key=lambda point: float(point["recall"]))
    rows = [
        (
            ("→ " if chosen and _same(point, chosen) else "") + str(point["factory"]),
            ", ".join(f"{name} {value}" for name, value in point["parameters"].items()),
            number(point["recall"]),
            f"{point['single']:,.0f}",
            show_bytes(point["memory"]),
        )
        for point in front
    ]

    def drawn(some: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[float]]:
        return [point["recall"] for point in some], [point["single"] for point in some]

    return Section(
        "speed",
        "Recall against speed",
        texts=["Chosen: " + (str(chosen["factory"]) if chosen else "nothing; search is exact") + "."],
        tables=[
            Table(
                "The fastest and the smallest at each recall",
                ("structure", "search", f"recall@{k}", "queries a second", "memory"),
                rows,
            )
        ],
        charts=[
            Chart(
                charts.lines(
                    {"Pareto front": drawn(front)},
                    x=f"recall@{k}",
                    y="queries a second, one at a time",
                    points={"all that was measured": drawn(points)},
                    log_y=True,
                ),
                f"Recall against queries a second of {len(points)} settings.",
                "Each point a structure in one setting; to the upper right is better.",
            )
        ],
    )


def _same(point: Mapping[str, Any], chosen: Mapping[str, Any]) -> bool:
    return bool(point["factory"] == chosen["factory"] and point["parameters"] == chosen["parameters"])


def training(contents: Contents) -> Section | None:
    """The curves of the run."""
    rows = contents.training
    if not rows:
        return None
    shown = []
    for name, words in (
        ("loss", "Loss"),
        ("precision_at_1", "P@1 on the validation pictures"),
        ("spread", "Spread of the embedding: near 0 it has collapsed"),
        ("active", "Share of the triplets that still have a loss"),
    ):
        series = [(row["step"], row[name]) for row in rows if math.isfinite(row.get(name, math.nan))]
        if len(series) > 1:
            along, up = zip(*series, strict=True)
            step = max(1, len(up) // 300)
            shown.append(
                Chart(
                    charts.lines({words: (along[::step], up[::step])}, x="step", y=words),
                    f"{words} from {up[0]:.3f} at the first step to {up[-1]:.3f} at the last.",
                    f"{words}.",
                )
            )
    return Section("training", "How it was trained", charts=shown) if shown else None


def model(contents: Contents) -> Section | None:
    """The card that came with the model."""
    if not contents.card:
        return None
    return Section("model", "The model", raw={"title": "Its card", "text": contents.card})
