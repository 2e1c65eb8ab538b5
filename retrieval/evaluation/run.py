"""What is collected on the way from labelled vectors to a report."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval import measures
from retrieval.base import progress
from retrieval.datasets import PictureSet
from retrieval.encoder import Encoder
from retrieval.errors import RetrievalError
from retrieval.evaluation import curves, figures
from retrieval.evaluation.classifier import Classifier
from retrieval.evaluation.curves import Curve
from retrieval.evaluation.labelled_vectors import Labelled, encode
from retrieval.evaluation.options import EvaluationOptions, Unit
from retrieval.evaluation.per_class import MOST_CONFUSED, confusion, per_class
from retrieval.evaluation.report import Measure, Report
from retrieval.images import Decoder
from retrieval.images.box import Box
from retrieval.index import Index
from retrieval.measures.intervals import A_SAMPLE
from retrieval.traps.finding import Finding

CONFIDENCE = 0.95
TWIN = 1 - 1e-6
"""Scores from here on are those of one vector, up to the last digits of a float."""


@dataclass
class Evaluation:
    """What is collected on the way to a report.

    Attributes:
        subject, data: for the report. options: what to measure.
        over: what intervals are drawn over.
        columns: for each measure beyond the rankings' own a value for each query, readable or not.
        notes, seconds: for the report.
        unreadable: files left out so far. without_direction: vectors left out so far.
        curves: for the report. findings: of traps, where they were looked for.
    """

    subject: str
    data: str
    options: EvaluationOptions
    over: Unit = "queries"
    columns: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    unreadable: int = 0
    without_direction: int = 0
    curves: dict[str, Curve] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[part] = time.perf_counter() - began

    def encode(
        self,
        encoder: Encoder,
        pictures: PictureSet,
        what: str,
        *,
        decoder: Decoder = "pillow",
        boxes: Sequence[Box | None] | None = None,
    ) -> Labelled:
        with self.timed(f"encoding {what}"):
            labelled = encode(encoder, pictures, what, decoder=decoder, boxes=boxes)
        self.unreadable += len(pictures) - len(labelled)
        if not len(labelled):
            raise RetrievalError(f"none of the {len(pictures):,} {what} can be read: give pictures that can")
        return labelled

    def probe(self, gallery: Labelled, queries: Labelled) -> None:
        if queries.sets is not None:
            return
        with self.timed("probe"):
            probe = measures.linear_probe(
                gallery.numbers, gallery.labels, queries.numbers, queries.labels, seed=self.options.seed
            )
        self.columns["linear SVM probe"] = probe.correct
        self.notes.append(
            f"Probe: fitted on {probe.trained_on:,} of {probe.available:,} labelled gallery pictures, with C = "
            f"{probe.chosen:g} chosen on a fifth of them that the choice's fits did not see."
            + ("" if probe.converged else " Its solver stopped before its tolerance was reached.")
        )

    def structure(self, index: Index, asked: Labelled) -> list[Measure]:
        """What the index's approximate structure finds of the exact answer, where it has one."""
        with self.timed("structure"):
            found = figures.structure_recall(index, asked, confidence=CONFIDENCE, seed=self.options.seed)
        if found is None:
            del self.seconds["structure"]
            return []
        self.notes.append(
            f"{found.name}: how much of the exact answer the index's search finds, asked by {found.n:,} of the "
            "queries; every other figure is of exact rankings."
        )
        return [found]

    def traps(self, look: Callable[[], tuple[Finding, ...]]) -> None:
        """Look for traps, where that was asked for."""
        if self.options.traps:
            with self.timed("traps"):
                self.findings = look()

    def classifier(self, run: str | Path, pictures: PictureSet, queries: Labelled) -> None:
        with self.timed("classifier"):
            classifier = Classifier(run, threads=1 if pictures.files else None)
            self.columns["classifier"] = classifier.correct(pictures)[queries.rows]
        self.notes.append(f"Classifier: {run}, trained end to end, asked for the class of the same query pictures.")

    def report(
        self,
        queries: Labelled,
        gallery: Labelled | None,
        own: npt.NDArray[np.int64] | None,
        protocol: str,
        *,
        others: Sequence[Measure] = (),
    ) -> Report:
        """Rank, and bring everything together.

        Args:
            queries: who asks; their classes hold those of the gallery, in its order.
            gallery: what is ranked; None: the queries.
            own: where each query stands in the gallery, −1 where it does not.
            protocol: what is asked of what, with places for {queries} and {gallery}.
            others: measures that were taken elsewhere.
        """
        neighbours = self.options.neighbours
        shelf = queries if gallery is None else gallery.relabelled(queries.classes)
        few_classes = queries.sets is None and len(queries.classes) <= MOST_CONFUSED
        with self.timed("ranking"), progress.bar(len(queries), "Ranking", "queries") as bar:
            rankings = measures.rank(
                queries.vectors,
                queries.truth,
                *(() if gallery is None else (shelf.vectors, shelf.truth)),
                own=own,
                graded=self.options.graded,
                neighbours=neighbours,
                levels=curves.LEVELS,
                duplicate_score=self.options.duplicate_score,
                classes=len(queries.classes) if few_classes else None,
                advance=bar.update,
            )
        values = {name: column for name, column in rankings.values.items() if name == "P@1" or name[-2:] != "@1"}
        values |= {name: column[rankings.queries] for name, column in self.columns.items()}
        knn = rankings.chance.get(f"kNN accuracy (k={neighbours})", math.nan)
        over = rankings.labels if self.over == "classes" else None
        with self.timed("intervals"):
            intervals = measures.mean_intervals(
                np.stack(list(values.values()), axis=1), over=over, confidence=CONFIDENCE
            )
            self.curves["precision–recall"] = curves.precision_recall(rankings.curves, over, confidence=CONFIDENCE)
            truth = queries.truth[rankings.queries]
            table = per_class(rankings, truth, shelf.truth, queries.classes, confidence=CONFIDENCE)
        found = [*others, *self._others(queries, gallery, own)]
        self._warn(rankings)
        return Report(
            subject=self.subject,
            data=self.data,
            protocol=protocol.format(queries=f"{len(rankings.queries):,}", gallery=f"{rankings.gallery:,}"),
            measures=(
                *(
                    Measure.of(name, interval, rankings.chance.get(name, knn))
                    for name, interval in zip(values, intervals, strict=True)
                ),
                *found,
            ),
            counts={
                "queries": len(rankings.queries),
                "gallery": rankings.gallery,
                "classes": len(table.names),
                "queries_without_label": rankings.unlabelled_queries,
                "queries_without_relevant": rankings.without_relevant,
                "gallery_without_label": rankings.unlabelled_gallery,
                "near_duplicates": rankings.near_duplicates_in_all,
                "unreadable": self.unreadable,
                "without_direction": self.without_direction,
            },
            tied=float(rankings.tied.mean()),
            notes=tuple(self.notes),
            seconds=self.seconds,
            seed=self.options.seed,
            over=self.over,
            confidence=CONFIDENCE,
            per_query={
                "name": queries.names[rankings.queries],
                "label": rankings.labels,
                "class": np.array([queries.shown(row) for row in rankings.queries], dtype=np.str_),
                **({} if queries.ids is None else {"id": queries.ids[rankings.queries]}),
                "relevant": rankings.relevant,
                **values,
            },
            curves=self.curves,
            per_class=table,
            confusion=confusion(rankings, queries.classes, neighbours),
            findings=self.findings,
        )

    def _others(self, queries: Labelled, gallery: Labelled | None, own: npt.NDArray[np.int64] | None) -> list[Measure]:
        """The measures that no query has a value of."""
        if queries.sets is not None:
            return []
        with self.timed("verification"):
            pairs = figures.pairs(queries, gallery, own, seed=self.options.seed)
            found = [] if pairs is None else figures.verification(pairs, confidence=CONFIDENCE, seed=self.options.seed)
            if pairs is not None:
                self.curves["ROC"] = curves.roc(pairs, confidence=CONFIDENCE, seed=self.options.seed)
        if found:
            shown = np.unique(queries.labels[queries.labels >= 0]).size
            self.notes.append(
                f"AUC, EER and FPR: of {found[0].n:,} pairs of a query and another picture of the gallery, half of "
                f"them of one class; their intervals are drawn over the {shown} classes"
                + ("." if shown >= A_SAMPLE else ", and too narrow with so few.")
            )
        if self.options.clustering:
            with self.timed("clustering"):
                found += figures.clustering(queries, seed=self.options.seed)
        if self.options.as_in is not None:
            with self.timed(f"as in {self.options.as_in}"):
                found += figures.of_peer(self.options.as_in, queries, gallery, own)
        return found

    def _warn(self, rankings: measures.Rankings) -> None:
        few = int((rankings.relevant < 10).sum())
        if few:
            self.notes.append(
                f"{few:,} queries have fewer than 10 relevant pictures, so that their P@10 cannot reach 1."
            )
        score = self.options.duplicate_score
        if score is not None:
            asking = int((rankings.near_duplicates > 0).sum())
            self.notes.append(
                f"Near-duplicates, pictures with a score of {score:g} or more with the query, were left "
                f"out of its ranking: {rankings.near_duplicates_in_all:,} of them, and {asking:,} of the measured "
                "queries have some. Where a network gives all pictures of a class nearly one vector, these are right "
                "answers, and leaving them out is unfair to it."
            )
        twins = int((rankings.best > TWIN).sum())
        if twins:
            self.notes.append(
                f"{twins:,} queries have the same vector as some picture of the gallery: copies in both flatter every "
                "measure, and a collapsed embedding makes all vectors the same."
            )
