"""From an index and its labels to a report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from retrieval.base.given import seeded
from retrieval.base.text import numbered
from retrieval.datasets import PictureSet
from retrieval.encoder import Encoder, store
from retrieval.errors import RetrievalError
from retrieval.evaluation import trap_search
from retrieval.evaluation.labelled_vectors import Labelled, asking_part, drawn, encode, some
from retrieval.evaluation.options import DEFAULT, DRAWN, WHOLE, EvaluationOptions
from retrieval.evaluation.report import Report
from retrieval.evaluation.run import Evaluation
from retrieval.index import Index
from retrieval.index.folder import ENCODER
from retrieval.index.vectors import code_rows


def evaluate_index(
    index: Index,
    *,
    queries: PictureSet | None = None,
    encoder: Encoder | None = None,
    options: EvaluationOptions = DEFAULT,
) -> Report:
    """Measure the vectors and labels of an index, every query against all of them, exactly.

    Of more than :data:`.options.WHOLE` pictures :data:`.options.DRAWN` ask, unless the options say otherwise.

    Args:
        index: with labels.
        queries: labelled pictures that are not in the index; their test split where they have one. Without them each
            picture of the index is asked for among all others, and there is no probe.
        encoder: the one that the index was built with; needed for `queries`.
        options: what to measure, and how. The gallery stays whole whatever their limit.

    Raises:
        RetrievalError: the index has no labels, or was built with another encoder; or an option says nothing about it.
    """
    subject = options.subject or index.name
    options.check("index", subject)
    gallery = indexed(index)
    run = Evaluation(subject, "its own pictures", options, options.over or "queries")
    run.notes += _gained(index)
    generator = seeded(options.seed)
    if queries is None:
        limit = options.limit
        if limit is None and not options.exact and len(gallery) > WHOLE:
            limit = DRAWN
            run.notes.append(
                f"Of {len(gallery):,} pictures {limit:,} were drawn to ask, since each is compared with all; --exact "
                "has all of them ask."
            )
        rows = drawn(len(gallery), limit, generator)
        protocol = "{queries} pictures of the index, each against all others of {gallery}, ranked exactly"
        asked = gallery if len(rows) == len(gallery) else gallery.select(rows)
        others = run.structure(index, asked)
        run.traps(lambda: trap_search.look_in(index, seed=options.seed, exact=options.exact))
        if asked is gallery:
            return run.report(gallery, None, None, protocol, others=others)
        return run.report(asked, gallery, rows, protocol, others=others)
    run.data = queries.name
    asking, asked = asked_by(index, gallery, queries, encoder, options.limit, generator, run.encode)
    if index.storage == "binary":
        asked = replace(asked, vectors=code_rows(asked.vectors, index.dim, "queries"))
    if options.probe:
        run.probe(gallery, asked)
    protocol = f"{{queries}} pictures of {queries.name} against {{gallery}} of the index, ranked exactly"
    others = run.structure(index, asked)
    run.traps(lambda: trap_search.look(asked, gallery, asking, seed=options.seed))
    return run.report(asked, gallery, None, protocol, others=others)


def asked_by(
    index: Index,
    gallery: Labelled,
    queries: PictureSet,
    encoder: Encoder | None,
    limit: int | None,
    generator: np.random.Generator,
    encode: Callable[..., Labelled] = encode,
) -> tuple[PictureSet, Labelled]:
    """The pictures that ask an index, as many as the limit allows, and their vectors under the classes of its gallery.

    `encode` makes the vectors, as :func:`.labelled_vectors.encode` does.

    Raises:
        RetrievalError: the encoder is not the one that the index was built with, or there is none.
    """
    if encoder is None or encoder.hash != index.encoder_hash:
        which = "none was given" if encoder is None else f"{encoder.hash[:12]} was given"
        raise RetrievalError(
            f"the index {index.name} was built with the encoder {index.encoder_hash[:12]}, and {which}: "
            "load the one in its folder"
        )
    from retrieval.images.reading import recorded_decoder  # here, because the index's own pictures need no reading

    asking = some(asking_part(queries), limit, generator)
    asked = encode(encoder, asking, "queries", decoder=recorded_decoder(index.decoder))
    return asking, asked.relabelled(gallery.classes)


def indexed(index: Index) -> Labelled:
    """The pictures of an index with their labels.

    Raises:
        RetrievalError: there are no labels.
    """
    classes, labels = numbered(index.labels())
    if not classes:
        raise RetrievalError(f"the index {index.name} has no labels: build it with --labels, or measure the encoder")
    ids, vectors = index.all_vectors()
    return Labelled(
        names=np.asarray(index.paths()),
        classes=classes,
        labels=labels,
        vectors=vectors,
        rows=np.arange(len(ids)),
        ids=ids,
    )


def _gained(index: Index) -> tuple[str, ...]:
    """What the head gained whose vectors an index holds, if they are a head's."""
    try:
        return store.Saved.open(index.folder / ENCODER).config.gain
    except RetrievalError:  # it was imported without one, or its copy is damaged, which is no matter here
        return ()
