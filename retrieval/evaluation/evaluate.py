"""From an encoder and labelled pictures, or an index and its labels, to a report."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from retrieval import measures, progress
from retrieval.datasets import PictureSet
from retrieval.encoder import Encoder
from retrieval.errors import RetrievalError
from retrieval.evaluation import figures
from retrieval.evaluation.classifier import Classifier
from retrieval.evaluation.report import Measure, Report
from retrieval.evaluation.vectors import Labelled, encode
from retrieval.index import Index

CONFIDENCE = 0.95
NEIGHBOURS = 10
TWIN = 1 - 1e-6
"""Scores from here on are those of one vector, up to the last digits of a float."""

A_SAMPLE = 20
"""So many classes at least make a sample that intervals can be drawn over."""

Unit = Literal["queries", "classes"]


@dataclass
class _Evaluation:
    """What is collected on the way to a report.

    Attributes:
        subject, data: for the report. seed: of everything that is drawn.
        clustering: whether to cluster the queries. like: whose figures to give, too.
        over: what intervals are drawn over.
        columns: for each measure beyond the rankings' own a value for each query, readable or not.
        notes, seconds: for the report.
        unreadable: files left out so far.
    """

    subject: str
    data: str
    seed: int
    clustering: bool
    like: figures.Peer | None
    over: Unit = "queries"
    columns: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    unreadable: int = 0

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[part] = time.perf_counter() - began

    def encode(self, encoder: Encoder, pictures: PictureSet, what: str, **options: Any) -> Labelled:
        with self.timed(f"encoding {what}"):
            labelled = encode(encoder, pictures, what, **options)
        self.unreadable += len(pictures) - len(labelled)
        if not len(labelled):
            raise RetrievalError(f"none of the {len(pictures):,} {what} can be read: give pictures that can")
        return labelled

    def probe(self, gallery: Labelled, queries: Labelled) -> None:
        with self.timed("probe"):
            probe = measures.linear_probe(
                gallery.vectors, gallery.labels, queries.vectors, queries.labels, seed=self.seed
            )
        self.columns["linear SVM probe"] = probe.correct
        self.notes.append(
            f"Probe: fitted on {probe.trained_on:,} of {probe.available:,} labelled gallery pictures, with C = "
            f"{probe.chosen:g} chosen on a fifth of them that the choice's fits did not see."
            + ("" if probe.converged else " Its solver stopped before its tolerance was reached.")
        )

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
        neighbours: int,
    ) -> Report:
        """Rank, and bring everything together. `protocol` has places for {queries} and {gallery}."""
        with self.timed("ranking"), progress.bar(len(queries), "Ranking", "queries") as bar:
            shelf = () if gallery is None else (gallery.vectors, gallery.labels)
            rankings = measures.rank(
                queries.vectors, queries.labels, *shelf, own=own, neighbours=neighbours, advance=bar.update
            )
        knn_name = f"kNN accuracy (k={neighbours})"
        values = {name: column for name, column in rankings.values.items() if name == "P@1" or name[-2:] != "@1"}
        values |= {name: column[rankings.queries] for name, column in self.columns.items()}
        with self.timed("intervals"):
            intervals = measures.bootstrap(
                np.stack(list(values.values()), axis=1),
                over=rankings.labels if self.over == "classes" else None,
                confidence=CONFIDENCE,
                seed=self.seed,
            )
        others = self._others(queries, gallery, own)
        self._warn(rankings)
        return Report(
            subject=self.subject,
            data=self.data,
            protocol=protocol.format(queries=f"{len(rankings.queries):,}", gallery=f"{rankings.gallery:,}"),
            measures=tuple(
                Measure(name, i.value, i.low, i.high, i.n, rankings.chance.get(name, rankings.chance[knn_name]))
                for name, i in zip(values, intervals, strict=True)
            )
            + others,
            counts={
                "queries": len(rankings.queries),
                "gallery": rankings.gallery,
                "classes": len(np.unique(rankings.labels)),
                "queries_without_label": rankings.unlabelled_queries,
                "queries_without_relevant": rankings.without_relevant,
                "gallery_without_label": rankings.unlabelled_gallery,
                "unreadable": self.unreadable,
            },
            tied=float(rankings.tied.mean()),
            notes=tuple(self.notes),
            seconds=self.seconds,
            seed=self.seed,
            over=self.over,
            confidence=CONFIDENCE,
            resamples=measures.RESAMPLES,
            per_query={
                "name": queries.names[rankings.queries],
                "label": rankings.labels,
                "class": np.asarray(queries.classes)[rankings.labels],
                "relevant": rankings.relevant,
                **values,
            },
        )

    def _others(
        self, queries: Labelled, gallery: Labelled | None, own: npt.NDArray[np.int64] | None
    ) -> tuple[Measure, ...]:
        """The measures that no query has a value of."""
        with self.timed("verification"):
            found = figures.verification(queries, gallery, own, confidence=CONFIDENCE, seed=self.seed)
        if found:
            shown = np.unique(queries.labels[queries.labels >= 0]).size
            self.notes.append(
                f"AUC, EER and FPR: of {found[0].n:,} pairs of a query and another picture of the gallery, half of "
                f"them of one class; their intervals are drawn over the {shown} classes"
                + ("." if shown >= A_SAMPLE else ", and too narrow with so few.")
            )
        if self.clustering:
            with self.timed("clustering"):
                found += figures.clustering(queries, seed=self.seed)
        if self.like is not None:
            with self.timed(f"as {self.like}"):
                found += figures.of_peer(self.like, queries, gallery, own)
        return tuple(found)

    def _warn(self, rankings: measures.Rankings) -> None:
        few = int((rankings.relevant < 10).sum())
        if few:
            self.notes.append(
                f"{few:,} queries have fewer than 10 relevant pictures, so that their P@10 cannot reach 1."
            )
        twins = int((rankings.best > TWIN).sum())
        if twins:
            self.notes.append(
                f"{twins:,} queries have the same vector as some picture of the gallery: copies in both flatter every "
                "measure, and a collapsed embedding makes all vectors the same."
            )


def evaluate_encoder(
    encoder: Encoder,
    pictures: PictureSet,
    *,
    queries: PictureSet | None = None,
    within: str | None = None,
    neighbours: int = NEIGHBOURS,
    probe: bool = True,
    classifier: str | Path | None = None,
    clustering: bool = False,
    like: figures.Peer | None = None,
    over: Unit | None = None,
    limit: int | None = None,
    seed: int = 0,
    subject: str | None = None,
) -> Report:
    """Measure an encoder on labelled pictures.

    The queries are the test split, the gallery is everything else (train and val).

    Args:
        encoder: what to measure.
        pictures: labelled, with a test split unless `queries` or `within` is given.
        queries: another set whose test split (all of it, where it has none) asks in place of that of `pictures`;
            classes are the same where their names are.
        within: "train", "val" or "test": each picture of that split against all others of it. Then there is no probe.
        neighbours: the k of the kNN accuracy.
        probe: also fit a linear SVM on the gallery, and judge it on the queries.
        classifier: a run trained with ``--loss softmax``, to be asked for the classes of the same queries.
        clustering: also cluster the queries, and compare with their labels.
        like: also give the figures of pytorch-metric-learning ("pml") or open-metric-learning ("oml").
        over: draw the intervals over "queries" or over "classes". None: over classes where these are a sample, which
            is taken to be so where the encoder was trained on none of them and there are :data:`A_SAMPLE` or more.
        limit: at most so many pictures a side, drawn at random.
        seed: of the bootstrap, the probe's samples and the drawing.
        subject: what to call the encoder in the report.

    Raises:
        RetrievalError: the set has no such split or no labels, no query has a relevant picture, or nothing can be
            read.
    """
    _check_limit(limit)
    asking, shelf, protocol = _sides(pictures, queries, within)
    for side in (asking, shelf):
        if side is not None and (side.labels < 0).all():
            raise RetrievalError(
                f"{side.name} has no labels, so nobody knows which answers are right: give class folders, or a "
                "CSV list with labels"
            )
    generator = np.random.default_rng(seed)
    asking = _some(asking, limit, generator)
    shelf = None if shelf is None else _some(shelf, limit, generator)
    data = pictures.name if queries is None else f"{pictures.name}, asked by {queries.name}"
    run = _Evaluation(subject or f"{encoder.config.network} ({encoder.hash[:12]})", data, seed, clustering, like)
    if within in ("train", "val") and encoder.config.trained_on == pictures.name:
        run.notes.append(f"The encoder was trained on {pictures.name}, and these pictures may have been among them.")
    if limit is not None:
        run.notes.append(
            f"At most {limit:,} pictures a side were drawn: only compare with figures of equally many pictures."
        )
    asked = run.encode(encoder, asking, "queries")
    shown = {asked.classes[label] for label in np.unique(asked.labels) if label >= 0}
    new = bool(encoder.config.classes) and not shown & set(encoder.config.classes)
    run.over = over or ("classes" if new and len(shown) >= A_SAMPLE else "queries")
    gallery = None if shelf is None else run.encode(encoder, shelf, "gallery")
    if gallery is not None:
        asked = asked.relabelled(gallery.classes)
        if probe:
            run.probe(gallery, asked)
    if classifier is not None:
        run.classifier(classifier, asking, asked)
    return run.report(asked, gallery, None, protocol, neighbours)


def evaluate_index(
    index: Index,
    *,
    queries: PictureSet | None = None,
    encoder: Encoder | None = None,
    neighbours: int = NEIGHBOURS,
    probe: bool = True,
    clustering: bool = False,
    like: figures.Peer | None = None,
    over: Unit = "queries",
    limit: int | None = None,
    seed: int = 0,
    subject: str | None = None,
) -> Report:
    """Measure the vectors and labels of an index, every query against all of them, exactly.

    Args:
        index: with labels.
        queries: labelled pictures that are not in the index; their test split where they have one. Without them each
            picture of the index is asked for among all others, and there is no probe.
        encoder: the one that the index was built with; needed for `queries`.
        neighbours, probe, clustering, like, seed, subject: as in :func:`evaluate_encoder`.
        over: draw the intervals over "queries" or over "classes".
        limit: at most so many queries, drawn at random; the gallery stays whole.

    Raises:
        RetrievalError: the index has no labels, or was built with another encoder.
    """
    _check_limit(limit)
    gallery = _indexed(index)
    run = _Evaluation(subject or str(index.folder), "its own pictures", seed, clustering, like, over)
    generator = np.random.default_rng(seed)
    if queries is None:
        rows = _drawn(len(gallery), limit, generator)
        protocol = "{queries} pictures of the index, each against all others of {gallery}, ranked exactly"
        if len(rows) == len(gallery):
            return run.report(gallery, None, None, protocol, neighbours)
        asked = Labelled(gallery.names[rows], gallery.classes, gallery.labels[rows], gallery.vectors[rows], rows)
        return run.report(asked, gallery, rows, protocol, neighbours)
    if encoder is None or encoder.hash != index.encoder_hash:
        which = "none was given" if encoder is None else f"{encoder.hash[:12]} was given"
        raise RetrievalError(
            f"the index {index.folder} was built with the encoder {index.encoder_hash[:12]}, and {which}: "
            "load the one in its folder"
        )
    from retrieval.reading import recorded_decoder  # here, because the index's own pictures need no reading

    asking = _some(_asking(queries), limit, generator)
    run.data = queries.name
    asked = run.encode(encoder, asking, "queries", decoder=recorded_decoder(index.decoder))
    asked = asked.relabelled(gallery.classes)
    if probe:
        run.probe(gallery, asked)
    protocol = f"{{queries}} pictures of {queries.name} against {{gallery}} of the index, ranked exactly"
    return run.report(asked, gallery, None, protocol, neighbours)


def _sides(
    pictures: PictureSet, queries: PictureSet | None, within: str | None
) -> tuple[PictureSet, PictureSet | None, str]:
    """Who asks, who is ranked (None: the same), and that in words."""
    if within is not None:
        if queries is not None:
            raise RetrievalError(f"queries of their own cannot be asked within {within}: give one or the other")
        side = pictures.select(within)
        if not len(side):
            raise RetrievalError(
                f"{pictures.name} has no {within} split, only {_splits(pictures)}: choose one of those"
            )
        return side, None, f"{{queries}} pictures ({within}), each against all others of {{gallery}}"
    has_test = bool((pictures.splits == "test").any())
    shelf = pictures.select(pictures.splits != "test") if has_test else pictures
    if queries is not None:
        return _asking(queries), shelf, f"{{queries}} queries of {queries.name} against {{gallery}} of {pictures.name}"
    if not has_test:
        raise RetrievalError(
            f"{pictures.name} has no test split: give --queries with pictures that the encoder has not seen, or "
            "--within train to ask for each picture among the others (fair where the encoder was not trained on them)"
        )
    if not len(shelf):
        raise RetrievalError(f"{pictures.name} has nothing but a test split: measure it with --within test")
    return pictures.select("test"), shelf, f"{{queries}} queries (test) against {{gallery}} pictures ({_splits(shelf)})"


def _asking(queries: PictureSet) -> PictureSet:
    return queries.select("test") if (queries.splits == "test").any() else queries


def _splits(pictures: PictureSet) -> str:
    return " and ".join(sorted(set(pictures.splits.tolist()), key=("train", "val", "test").index))


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise RetrievalError(f"limit is {limit}: give a whole number from 1 upwards")


def _drawn(n: int, limit: int | None, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Ascending places of at most `limit` of n."""
    if limit is None or n <= limit:
        return np.arange(n)
    return np.sort(generator.choice(n, limit, replace=False))


def _some(pictures: PictureSet, limit: int | None, generator: np.random.Generator) -> PictureSet:
    return pictures if limit is None else pictures.select(_drawn(len(pictures), limit, generator))


def _indexed(index: Index) -> Labelled:
    names = index.labels()
    known = sorted({name for name in names if name is not None})
    if not known:
        raise RetrievalError(f"the index {index.folder} has no labels: build it with --labels, or measure the encoder")
    number = {name: place for place, name in enumerate(known)}
    ids, vectors = index.all_vectors()
    return Labelled(
        names=np.asarray([item.path for item in index.items(ids)]),
        classes=tuple(known),
        labels=np.array([measures.UNLABELLED if name is None else number[name] for name in names]),
        vectors=vectors,
        rows=np.arange(len(ids)),
    )
