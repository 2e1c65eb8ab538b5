"""From an encoder and labelled pictures to a report."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from retrieval.datasets import PictureSet
from retrieval.encoder import Encoder
from retrieval.errors import RetrievalError
from retrieval.evaluation import figures, trap_search
from retrieval.evaluation.labelled_vectors import asking_part, check_limit, some
from retrieval.evaluation.report import Report
from retrieval.evaluation.run import A_SAMPLE, NEIGHBOURS, Evaluation, Unit


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
    traps: bool = False,
    limit: int | None = None,
    duplicate_score: float | None = None,
    few_shot: tuple[int, int] | None = None,
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
        duplicate_score: what scores so much with a query is a near-duplicate, and left out of its ranking.
        few_shot: ways and shots: also say how often a query's class is told from so many, by so many examples of each,
            all drawn from the queries.
        traps: also look for what makes figures mean something else (docs/traps.md).
        seed: of the bootstrap, the probe's samples and the drawing.
        subject: what to call the encoder in the report.

    Raises:
        RetrievalError: the set has no such split or no labels, no query has a relevant picture, or nothing can be
            read.
    """
    check_limit(limit)
    asking, shelf, protocol = _sides(pictures, queries, within)
    for side in (asking, shelf):
        if side is not None and (side.labels < 0).all():
            raise RetrievalError(
                f"{side.name} has no labels, so nobody knows which answers are right: give class folders, or a "
                "CSV list with labels"
            )
    generator = np.random.default_rng(seed)
    asking = some(asking, limit, generator)
    shelf = None if shelf is None else some(shelf, limit, generator)
    data = pictures.name if queries is None else f"{pictures.name}, asked by {queries.name}"
    subject = subject or f"{encoder.config.network} ({encoder.hash[:12]})"
    run = Evaluation(subject, data, seed, clustering, like, duplicate_score=duplicate_score)
    run.few_shot = few_shot
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
    if traps:
        with run.timed("traps"):
            run.findings = trap_search.look(asked, gallery, asking, shelf, seed=seed)
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
        return (
            asking_part(queries),
            shelf,
            f"{{queries}} queries of {queries.name} against {{gallery}} of {pictures.name}",
        )
    if not has_test:
        raise RetrievalError(
            f"{pictures.name} has no test split: give --queries with pictures that the encoder has not seen, or "
            "--within train to ask for each picture among the others (fair where the encoder was not trained on them)"
        )
    if not len(shelf):
        raise RetrievalError(f"{pictures.name} has nothing but a test split: measure it with --within test")
    return pictures.select("test"), shelf, f"{{queries}} queries (test) against {{gallery}} pictures ({_splits(shelf)})"


def _splits(pictures: PictureSet) -> str:
    return " and ".join(sorted(set(pictures.splits.tolist()), key=("train", "val", "test").index))
