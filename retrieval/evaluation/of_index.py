"""From an index and its labels to a report."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from retrieval.base.text import numbered
from retrieval.datasets import PictureSet
from retrieval.encoder import Encoder
from retrieval.errors import RetrievalError
from retrieval.evaluation import trap_search
from retrieval.evaluation.labelled_vectors import Labelled, asking_part, drawn, some
from retrieval.evaluation.options import DEFAULT, EvaluationOptions
from retrieval.evaluation.report import Report
from retrieval.evaluation.run import Evaluation
from retrieval.index import Index
from retrieval.index.checks import code_rows


def evaluate_index(
    index: Index,
    *,
    queries: PictureSet | None = None,
    encoder: Encoder | None = None,
    options: EvaluationOptions = DEFAULT,
) -> Report:
    """Measure the vectors and labels of an index, every query against all of them, exactly.

    Args:
        index: with labels.
        queries: labelled pictures that are not in the index; their test split where they have one. Without them each
            picture of the index is asked for among all others, and there is no probe.
        encoder: the one that the index was built with; needed for `queries`.
        options: what to measure, and how. The gallery stays whole whatever their limit.

    Raises:
        RetrievalError: the index has no labels, or was built with another encoder; or an option says nothing about it.
    """
    subject = options.subject or str(index.folder)
    options.check("index", subject)
    gallery = indexed(index)
    run = Evaluation(subject, "its own pictures", options, options.over or "queries")
    generator = np.random.default_rng(options.seed)
    if queries is None:
        rows = drawn(len(gallery), options.limit, generator)
        protocol = "{queries} pictures of the index, each against all others of {gallery}, ranked exactly"
        asked = gallery if len(rows) == len(gallery) else gallery.select(rows)
        others = run.structure(index, asked)
        run.traps(lambda: trap_search.look_in(index, seed=options.seed))
        if asked is gallery:
            return run.report(gallery, None, None, protocol, others=others)
        return run.report(asked, gallery, rows, protocol, others=others)
    encoder = fitting(encoder, index)
    from retrieval.images.reading import recorded_decoder  # here, because the index's own pictures need no reading

    asking = some(asking_part(queries), options.limit, generator)
    run.data = queries.name
    asked = run.encode(encoder, asking, "queries", decoder=recorded_decoder(index.decoder))
    if index.storage == "binary":
        asked = replace(asked, vectors=code_rows(asked.vectors, index.dim, "queries"))
    asked = asked.relabelled(gallery.classes)
    if options.probe:
        run.probe(gallery, asked)
    protocol = f"{{queries}} pictures of {queries.name} against {{gallery}} of the index, ranked exactly"
    others = run.structure(index, asked)
    run.traps(lambda: trap_search.look(asked, gallery, asking, seed=options.seed))
    return run.report(asked, gallery, None, protocol, others=others)


def fitting(encoder: Encoder | None, index: Index) -> Encoder:
    """The encoder, if it is the one that the index was built with.

    Raises:
        RetrievalError: it is another, or there is none.
    """
    if encoder is None or encoder.hash != index.encoder_hash:
        which = "none was given" if encoder is None else f"{encoder.hash[:12]} was given"
        raise RetrievalError(
            f"the index {index.folder} was built with the encoder {index.encoder_hash[:12]}, and {which}: "
            "load the one in its folder"
        )
    return encoder


def indexed(index: Index) -> Labelled:
    """The pictures of an index with their labels.

    Raises:
        RetrievalError: there are no labels.
    """
    classes, labels = numbered(index.labels())
    if not classes:
        raise RetrievalError(f"the index {index.folder} has no labels: build it with --labels, or measure the encoder")
    ids, vectors = index.all_vectors()
    return Labelled(
        names=np.asarray([item.path for item in index.items(ids)]),
        classes=classes,
        labels=labels,
        vectors=vectors,
        rows=np.arange(len(ids)),
        ids=ids,
    )
