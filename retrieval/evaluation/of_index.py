"""From an index and its labels to a report."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from retrieval import measures
from retrieval.datasets import PictureSet
from retrieval.encoder import Encoder
from retrieval.errors import RetrievalError
from retrieval.evaluation import figures, trap_search
from retrieval.evaluation.labelled_vectors import Labelled, asking_part, check_limit, drawn, some
from retrieval.evaluation.report import Report
from retrieval.evaluation.run import NEIGHBOURS, Evaluation, Unit
from retrieval.index import Index
from retrieval.index.vectors import code_rows


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
    duplicate_score: float | None = None,
    few_shot: tuple[int, int] | None = None,
    traps: bool = False,
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
        neighbours, probe, clustering, like, few_shot, traps, seed, subject: as in :func:`evaluate_encoder`.
        over: draw the intervals over "queries" or over "classes".
        duplicate_score: what scores so much with a query is a near-duplicate, and left out of its ranking.
        limit: at most so many queries, drawn at random; the gallery stays whole.

    Raises:
        RetrievalError: the index has no labels, or was built with another encoder.
    """
    check_limit(limit)
    gallery = indexed(index)
    run = Evaluation(
        subject or str(index.folder), "its own pictures", seed, clustering, like, over, duplicate_score=duplicate_score
    )
    run.few_shot = few_shot
    generator = np.random.default_rng(seed)
    if queries is None:
        rows = drawn(len(gallery), limit, generator)
        protocol = "{queries} pictures of the index, each against all others of {gallery}, ranked exactly"
        asked = gallery if len(rows) == len(gallery) else gallery.select(rows)
        others = run.structure(index, asked)
        if traps:
            with run.timed("traps"):
                run.findings = trap_search.look_in(index, seed=seed)
        if asked is gallery:
            return run.report(gallery, None, None, protocol, neighbours, others=others)
        return run.report(asked, gallery, rows, protocol, neighbours, others=others)
    encoder = fitting(encoder, index)
    from retrieval.images.reading import recorded_decoder  # here, because the index's own pictures need no reading

    asking = some(asking_part(queries), limit, generator)
    run.data = queries.name
    asked = run.encode(encoder, asking, "queries", decoder=recorded_decoder(index.decoder))
    if index.storage == "binary":
        asked = replace(asked, vectors=code_rows(asked.vectors, index.dim, "queries"))
    asked = asked.relabelled(gallery.classes)
    if probe:
        run.probe(gallery, asked)
    protocol = f"{{queries}} pictures of {queries.name} against {{gallery}} of the index, ranked exactly"
    others = run.structure(index, asked)
    if traps:
        with run.timed("traps"):
            run.findings = trap_search.look(asked, gallery, asking, seed=seed)
    return run.report(asked, gallery, None, protocol, neighbours, others=others)


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
        ids=ids,
    )
