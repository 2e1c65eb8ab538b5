"""How good the answers are, and what may be wrong: with pictures to judge both by."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from retrieval import traps
from retrieval.base.text import printable
from retrieval.evaluation.per_class import Column, Confusion
from retrieval.evaluation.report import Report
from retrieval.report import charts
from retrieval.report.blocks import Chart, Group, Row, Section, Table, interval, number
from retrieval.report.contents import ORDER, Contents, Example
from retrieval.report.thumbnails import Tile, explained_tiles, hit_tile, query_tile, tile

CLASSES = 40
"""Classes that the table shows; of more the worst."""

EXAMPLES = 5
"""Examples of a finding that are shown."""

PICTURES = 9
"""Pictures of an example that are shown: what a line holds."""

TITLES = {
    "leakage": "near-duplicates",
    "collapse": "a collapsed embedding",
    "hubs": "hubs, pictures that are everybody's neighbour",
    "labels": "suspected label errors",
    "small classes": "classes that are too small",
}
"""What the traps are called on the page."""


def quality(contents: Contents) -> list[Section | None]:
    measured = contents.measured
    if measured is None:
        return [Section("quality", "How good the answers are", texts=[f"Not measured: {contents.unmeasured}."])]
    rows = [
        (
            measure.name,
            number(measure.value),
            interval(measure.low, measure.high),
            number(measure.chance),
            f"{measure.n:,}",
        )
        for measure in measured.measures
    ]
    shown = []
    for name, words in (
        ("precision–recall", "How precise the answers stay as more of what there is is asked for."),
        ("ROC", "Of pairs of pictures: how many of one class are accepted, for how many of two."),
    ):
        if name in measured.curves:
            curve = measured.curves[name]
            shown.append(
                Chart(
                    charts.lines(
                        {name: (curve.x, curve.y)},
                        x=curve.x_name,
                        y=curve.y_name,
                        bands={name: (curve.low, curve.high)},
                        limits=(0, 1, 0, 1.02),
                        diagonal=name == "ROC",
                    ),
                    f"{name} curve: " + _at(curve.x, curve.y, curve.x_name, curve.y_name),
                    f"{words} {curve.how}",
                )
            )
    whole = Section(
        "quality",
        "How good the answers are",
        texts=[
            f"{measured.protocol}. Each figure with its {measured.confidence:.0%} interval, drawn over {measured.over}."
        ],
        tables=[Table("Measures", ("measure", "value", "interval", "chance", "n"), rows)],
        charts=shown,
        notes=[
            *measured.notes,
            f"Ties count by expectation; {measured.tied:.2%} of the relevant pictures tie with an irrelevant one.",
        ],
    )
    return [whole, _classes(measured)]


def _classes(measured: Report) -> Section | None:
    found = measured.per_class
    if found is None or not len(found.names):
        return None
    order = np.argsort(found.measures["P@10"].value if "P@10" in found.measures else found.queries, kind="stable")[
        :CLASSES
    ]
    rows = [
        (
            found.names[place],
            f"{found.queries[place]:,}",
            f"{found.gallery[place]:,}",
            *(_cell(column, int(place)) for column in found.measures.values()),
        )
        for place in order
    ]
    few = "" if len(order) == len(found.names) else f" The {len(order)} worst of {len(found.names):,}."
    taken = measured.confusion
    maps = []
    if taken is not None and len(taken.classes) > 1:
        worst = _most_confused(taken)
        maps.append(
            Chart(
                charts.heat_map(taken.shares, taken.classes, x="label of the hits", y="label of the query"),
                f"Heat map of the labels of the first {taken.k} hits for each label of the query. {worst}",
                f"Percent of the first {taken.k} hits of a label's queries (row) that have a label (column). {worst}",
                wide=True,
            )
        )
    return Section(
        "classes",
        "Class by class",
        tables=[Table(f"The worst first.{few}", ("class", "queries", "in the gallery", *found.measures), rows)],
        charts=maps,
        notes=[f"A class of fewer than {found.fewest} queries has no interval."],
    )


def _most_confused(taken: Confusion) -> str:
    off = np.array(taken.shares)
    np.fill_diagonal(off, -1)
    row, column = np.unravel_index(int(off.argmax()), off.shape)
    names = f"{taken.classes[row]} for {taken.classes[column]}"
    return f"Most often taken for another: {names}, {off[row, column]:.0%} of its hits."


def examples(contents: Contents) -> Section | None:
    words = {
        "best": "The best",
        "typical": "Typical ones, around the median",
        "worst": "The worst",
    }
    groups = [
        Group(words[kind], [_example(example, contents) for example in examples])
        for kind, examples in contents.examples.items()
        if examples
    ]
    if not groups:
        return None
    return Section(
        "queries",
        "Queries and what was found",
        texts=[
            f"Queries by their {ORDER}. On the left the query; ✓ marks a hit of its label, ✗ one of another. At the "
            "end of a row, where the pictures are there: which parts of query and hit carry the score, red for it, "
            "blue against. P is the probability that a hit is a true match, where that was calibrated."
        ],
        rows=groups,
    )


def _example(example: Example, contents: Contents) -> Row:
    answer = example.answer
    shown = [query_tile(answer), *(hit_tile(hit, contents.root) for hit in answer.hits)]
    shown += explained_tiles(answer, example.explanations, contents.root)
    right = sum(hit.relevant is True for hit in answer.hits)
    return Row(
        shown,
        f"Query {answer.query} of {answer.label}: {right} of {len(answer.hits)} hits have its label",
        f"{answer.query} · {ORDER} {example.value:.3f}",
    )


def _cell(column: Column, place: int) -> str:
    ends = interval(float(column.low[place]), float(column.high[place]))
    return number(float(column.value[place])) + (f" ({ends})" if ends else "")


def _at(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], x_name: str, y_name: str) -> str:
    """A curve in words: a few of its points."""
    some = [int(np.searchsorted(x, level)) for level in (0.1, 0.5, 0.9)]
    return (
        f"{y_name} "
        + ", ".join(f"{y[min(p, len(y) - 1)]:.2f} at {x_name} {x[min(p, len(x) - 1)]:.2f}" for p in some)
        + "."
    )


def findings(contents: Contents) -> Section | None:
    """Each trap in a sentence, and the worst examples of those that were found."""
    if not contents.findings:
        return None
    groups = [
        Group(TITLES[found.name].capitalize(), [_trap_example(one, contents) for one in found.worst[:EXAMPLES]])
        for found in contents.findings
        if found.worst
    ]
    return Section("traps", "What may be wrong", warnings=contents.findings, rows=groups)


def _trap_example(one: traps.Example, contents: Contents) -> Row:
    tiles = [_tile(id_, "query" if not place else "plain", contents) for place, id_ in enumerate(one.ids[:PICTURES])]
    words = ", ".join(
        f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in one.figures.items()
        if value is not None
    )
    return Row(tiles, "Pictures " + ", ".join(map(str, one.ids)), words)


def _tile(id_: int, kind: str, contents: Contents) -> Tile:
    item = contents.items[id_]
    path = contents.root / item.path
    return tile(path, kind, item.label if item.label is not None else printable(path.name), f"id {id_}")
