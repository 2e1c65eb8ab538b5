"""What a report says, as values; :mod:`retrieval.report.page` turns it into a page."""

from __future__ import annotations

import csv
import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from retrieval import traps
from retrieval.base.given import checked_seed, seeded
from retrieval.base.machine import machine, versions
from retrieval.base.placed_files import Root
from retrieval.base.text import plain, printable
from retrieval.errors import RetrievalError
from retrieval.evaluation.of_index import evaluate_index
from retrieval.evaluation.options import EvaluationOptions
from retrieval.evaluation.report import Report
from retrieval.evaluation.trap_search import look_in
from retrieval.index import Item
from retrieval.index.folder import ENCODER
from retrieval.index.vectors import as_numbers
from retrieval.report.charts import SAMPLE, two_dimensions
from retrieval.search.answer import Answer
from retrieval.search.search import Search

if TYPE_CHECKING:
    from retrieval.search.explain import Explanation

QUERIES, FEWEST = 5000, 1000
"""Queries that are measured where nobody says how many; so many give intervals of a percent, and so few of two."""

COMPARED = 2_000_000_000
"""Pairs of a query and a picture that are ranked, about, where nobody says how many queries: a minute or less. Of more
than 400,000 pictures fewer than :data:`QUERIES` ask."""

HITS = 7
"""Hits that are shown of each query."""

EXAMPLES = 5
"""Best, typical and worst queries that are shown, of each."""

ORDER = "MAP@R"
"""The measure by which queries are the best and the worst."""


@dataclass(frozen=True)
class Example:
    """A query that is shown.

    Attributes:
        value: what it scored, by :data:`ORDER`.
        answer: its hits.
        explanations: what explains each of the first of them; empty where nobody asked.
    """

    value: float
    answer: Answer
    explanations: Sequence[Explanation | None] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the heat maps."""
        hits = [
            {"id": hit.id, "path": hit.path, "label": hit.label, "score": hit.score, "relevant": hit.relevant}
            for hit in self.answer.hits
        ]
        return {"id": self.answer.id, "path": self.answer.query, ORDER: self.value, "hits": hits}


@dataclass(frozen=True)
class Contents:
    """Everything that a report says.

    Attributes:
        index: what the index says of itself; see :meth:`retrieval.index.Index.info`.
        root: what opens its pictures by their paths.
        measured: how good the answers are, or None where no labels say.
        unmeasured: why not.
        examples: "best", "typical" and "worst" queries.
        findings: what may be wrong.
        items: the pictures that the findings name, by id.
        places: (n, 2), a point for each of some items.
        place_ids: int64 (n,), their ids.
        place_labels: their labels.
        tuning, calibration: what is kept with the index, or None.
        training: a row a step of the training, or None where the run is not at hand.
        card: the model's card, Markdown.
        seed: of everything that is drawn.
        made: when, UTC.
    """

    index: Mapping[str, Any]
    root: Root
    measured: Report | None
    unmeasured: str | None
    examples: Mapping[str, Sequence[Example]]
    findings: Sequence[traps.Finding]
    items: Mapping[int, Item]
    places: npt.NDArray[np.float64]
    place_ids: npt.NDArray[np.int64]
    place_labels: Sequence[str | None]
    tuning: Mapping[str, Any] | None
    calibration: Mapping[str, Any] | None
    training: Sequence[Mapping[str, float]] | None
    card: str | None
    seed: int
    made: str = field(
        default_factory=lambda: datetime.datetime.now(datetime.UTC).replace(microsecond=0, tzinfo=None).isoformat()
    )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "index": dict(self.index),
            "measured": plain(self.measured),
            "unmeasured": self.unmeasured,
            "examples": plain(self.examples),
            "findings": plain(self.findings),
            "map": [
                {"id": int(id_), "label": label, "x": round(float(x), 3), "y": round(float(y), 3)}
                for id_, label, (x, y) in zip(self.place_ids, self.place_labels, self.places, strict=True)
            ],
            "tuning": self.tuning,
            "calibration": self.calibration,
            "training": plain(self.training),
            "seed": self.seed,
            "made": self.made,
            "machine": machine(),
            "versions": versions(),
        }


def gather(
    folder: str | Path,
    *,
    run: str | Path | None = None,
    limit: int | None = None,
    exact: bool = False,
    explain: bool = True,
    seed: int = 0,
) -> Contents:
    """Measure an index and collect what there is to say about it.

    Args:
        folder: the index, or its address.
        run: the training run of its model, for the curves.
        limit: at most so many queries are measured, drawn at random; by default :data:`QUERIES`, and fewer of many
            (:data:`COMPARED`).
        exact: look for hubs, near-duplicates and label errors among all pictures, however many they are
            (:func:`retrieval.traps.of_index`), and measure them all unless `limit` says otherwise.
        explain: also say for the first hits of the queries shown which regions carry the similarity.
        seed: of everything that is drawn.

    Raises:
        RetrievalError: the folder is no index, is empty, `run` is no training run, or `limit` is below 1.
    """
    checked_seed(seed)
    if limit is not None and limit < 1:
        raise RetrievalError(f"limit is {limit}; measure at least one query.")
    training = None if run is None else curves(Path(run))
    with Search.open(folder) as search:
        index = search.index
        if not len(index):
            raise RetrievalError(f"The index {printable(search.name)!r} is empty; add something to it first.")
        measured, unmeasured = None, None
        if limit is None and not exact:
            limit = min(QUERIES, max(FEWEST, COMPARED // len(index)))
        try:
            measured = evaluate_index(index, options=EvaluationOptions(limit=limit, exact=exact, seed=seed))
        except RetrievalError as error:  # there are no labels, or no two pictures of one
            unmeasured = str(error)
        ids, labels = index.ids(), index.labels()
        drawn = np.sort(seeded(seed).permutation(len(ids))[:SAMPLE])
        findings = look_in(index, seed=seed, exact=exact)
        named = sorted({id_ for finding in findings for example in finding.worst for id_ in example.ids})
        return Contents(
            index=index.info(),
            root=search.pictures,
            measured=measured,
            unmeasured=unmeasured,
            examples={} if measured is None else _examples(search, measured, explain),
            findings=findings,
            items={item.id: item for item in index.items(named)},
            places=two_dimensions(as_numbers(index.vectors(ids[drawn])), seed),
            place_ids=ids[drawn],
            place_labels=[labels[place] for place in drawn],
            tuning=index.tuning,
            calibration=index.calibration,
            training=training,
            card=_card(search.folder),
            seed=seed,
        )


def curves(run: Path) -> list[dict[str, float]]:
    """The rows of a run's ``curves.csv``.

    Raises:
        RetrievalError: there is none, or it holds something else than numbers.
    """
    path = run / "curves.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise RetrievalError(
            f"{printable(path)!r} cannot be read as the curves of a training ({error}); give a folder that "
            "`retrieval train` wrote."
        ) from None
    return rows


def _examples(search: Search, measured: Report, explain: bool) -> dict[str, list[Example]]:
    values = np.asarray(measured.per_query[ORDER], dtype=np.float64)
    names = measured.per_query["name"]
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(-values[known], kind="stable")]
    labels = measured.per_query["class"]
    near = order[np.argsort(np.abs(np.arange(len(order)) - len(order) // 2), kind="stable")]
    parts = {"best": _varied(order, labels), "typical": _varied(near, labels), "worst": _varied(order[::-1], labels)}
    return {
        kind: [
            Example(float(values[row]), answer, _explained(search, answer) if explain else ())
            for row, answer in zip(rows, search.query_paths([str(names[row]) for row in rows], HITS), strict=True)
        ]
        for kind, rows in parts.items()
    }


def _varied(order: npt.NDArray[np.int64], labels: npt.NDArray[Any]) -> list[int]:
    """The first of some queries, but no two of one label while there are others."""
    first = sorted(np.unique(labels[order], return_index=True)[1].tolist())
    rest = sorted(set(range(len(order))) - set(first))[:EXAMPLES]
    return [int(order[place]) for place in (first + rest)[:EXAMPLES]]


def _explained(search: Search, answer: Answer) -> list[Explanation | None]:
    from retrieval.search.explain import explain_answer

    try:
        return explain_answer(search, dataclasses.replace(answer, hits=answer.hits[:1]), skipped=[])
    except RetrievalError:  # there is no encoder, or the pictures are gone: the row is shown without
        return []


def _card(folder: Path) -> str | None:
    try:
        return (folder / ENCODER / "card.md").read_text(encoding="utf-8")[:20_000]
    except (OSError, ValueError):
        return None
