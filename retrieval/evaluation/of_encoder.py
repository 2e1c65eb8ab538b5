"""From an encoder and labelled pictures to a report."""

from __future__ import annotations

import numpy as np

from retrieval.base.given import seeded
from retrieval.datasets import PictureSet
from retrieval.encoder import Encoder
from retrieval.errors import RetrievalError
from retrieval.evaluation import trap_search
from retrieval.evaluation.labelled_vectors import asking_part, some
from retrieval.evaluation.options import DEFAULT, EvaluationOptions
from retrieval.evaluation.report import Report
from retrieval.evaluation.run import Evaluation
from retrieval.measures.intervals import A_SAMPLE


def evaluate_encoder(
    encoder: Encoder,
    pictures: PictureSet,
    *,
    queries: PictureSet | None = None,
    options: EvaluationOptions = DEFAULT,
) -> Report:
    """Measure an encoder on labelled pictures.

    The queries are the test split, the gallery is everything else (train and val).

    Args:
        encoder: what to measure.
        pictures: labelled, with a test split unless `queries` or ``options.within`` is given.
        queries: another set whose test split (all of it, where it has none) asks in place of that of `pictures`;
            classes are the same where their names are.
        options: what to measure, and how.

    Raises:
        RetrievalError: the set has no such split or no labels, no query has a relevant picture, nothing can be read,
            or an option says nothing about an encoder.
    """
    subject = options.subject or f"{encoder.config.network} ({encoder.hash[:12]})"
    options.check("model", subject)
    within, limit = options.within, options.limit
    asking, shelf, protocol = _sides(pictures, queries, within)
    for side in (asking, shelf):
        if side is not None and (side.labels < 0).all():
            raise RetrievalError(
                f"{side.name} has no labels, so nobody knows which answers are right: give class folders, or a "
                "CSV list with labels"
            )
    generator = seeded(options.seed)
    asking = some(asking, limit, generator)
    shelf = None if shelf is None else some(shelf, limit, generator)
    data = pictures.name if queries is None else f"{pictures.name}, asked by {queries.name}"
    run = Evaluation(subject, data, options)
    if within in ("train", "val") and encoder.config.trained_on == pictures.name:
        run.notes.append(f"The encoder was trained on {pictures.name}, and these pictures may have been among them.")
    run.notes += encoder.config.gain
    if limit is not None:
        run.notes.append(
            f"At most {limit:,} pictures a side were drawn: only compare with figures of equally many pictures."
        )
    asked = run.encode(encoder, asking, "queries")
    shown = {asked.classes[label] for label in np.unique(asked.labels) if label >= 0}
    new = bool(encoder.config.classes) and not shown & set(encoder.config.classes)
    run.over = options.over or ("classes" if new and len(shown) >= A_SAMPLE else "queries")
    gallery = None if shelf is None else run.encode(encoder, shelf, "gallery")
    if gallery is not None:
        asked = asked.relabelled(gallery.classes)
        if options.probe:
            run.probe(gallery, asked)
    if options.classifier is not None:
        run.classifier(options.classifier, asking, asked)
    run.traps(lambda: trap_search.look(asked, gallery, asking, shelf, seed=options.seed))
    return run.report(asked, gallery, None, protocol)


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
