"""From vectors that anybody made, and their labels, to a report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.evaluation import figures, trap_search
from retrieval.evaluation.labelled_vectors import Labelled, check_limit, drawn
from retrieval.evaluation.report import Report
from retrieval.evaluation.run import NEIGHBOURS, Evaluation, Unit
from retrieval.evaluation.vector_files import Given, read_vectors, require_pairs


def evaluate_vectors(
    vectors: str | Path,
    labels: str | Path | None = None,
    *,
    queries: str | Path | None = None,
    query_labels: str | Path | None = None,
    codes: bool = False,
    graded: bool = False,
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
    """Measure vectors that another program made.

    Args:
        vectors: a file of them, ``.npy`` or HDF5 (:mod:`retrieval.evaluation.vector_files`). They are scaled to unit
            length, which the report says.
        labels: a file of theirs (:mod:`retrieval.evaluation.label_files`); None: they are in the HDF5 file.
        queries: another file of vectors, which ask these. None: the queries that an HDF5 file marks; where it marks
            none, each vector is asked for among all others.
        query_labels: theirs; classes are the same where their texts are.
        codes: the vectors are binary codes, uint8 (n, bits/8), ranked by Hamming distance.
        graded: where pictures have several labels, let NDCG count how many are shared.
        neighbours, probe, clustering, like, over, duplicate_score, few_shot, traps, limit, seed, subject: as for an
            index.

    Raises:
        RetrievalError: a file cannot be read, the two sides do not fit together, or nothing can be measured.
    """
    check_limit(limit)
    file = Path(vectors)
    given = read_vectors(file, None if labels is None else Path(labels), codes=codes)
    run = Evaluation(subject or printable(file), "its own labels", seed, clustering, like, over)
    run.duplicate_score, run.few_shot, run.graded = duplicate_score, few_shot, graded
    run.notes += given.notes
    run.without_direction = given.without_direction
    generator = np.random.default_rng(seed)
    if queries is None:
        if query_labels is not None:
            raise RetrievalError(f"labels of queries, {str(query_labels)!r}, come without queries: give --queries, too")
        require_pairs(given, file)
        asked, gallery, own, protocol = _within(given, limit, generator)
    else:
        if given.asks is not None:
            raise RetrievalError(f"{str(file)!r} says which of its vectors ask: leave --queries out, or its marks")
        asking = Path(queries)
        theirs = read_vectors(asking, None if query_labels is None else Path(query_labels), codes=codes)
        run.notes += theirs.notes
        run.without_direction += theirs.without_direction
        run.data = f"its own labels, asked by {printable(asking.name)}"
        asked, gallery, own = theirs.labelled, given.labelled, None
        asked = asked.select(drawn(len(asked), limit, generator))
        protocol = "{queries} queries of another file against {gallery} vectors, ranked exactly"
    _check_fit(asked, gallery)
    if gallery is not None:
        asked = asked.relabelled(gallery.classes)
    several = asked.sets is not None or (gallery is not None and gallery.sets is not None)
    if graded and not several:
        raise RetrievalError("every picture has one label, so there is nothing to grade: leave --graded out")
    if several:
        if over == "classes" or like is not None or clustering or few_shot is not None:
            raise RetrievalError(
                "pictures have several labels, so they are of no one class: leave --over classes, --like, --clustering "
                "and --few-shot out"
            )
        asked, gallery = asked.several(), None if gallery is None else gallery.several()
        run.notes.append(
            "Pictures have several labels: relevant is what shares one with the query; accuracies and verification "
            "need one label each."
        )
    if limit is not None:
        run.notes.append(f"At most {limit:,} queries were drawn; the gallery stays whole.")
    if probe and gallery is not None and own is None:
        run.probe(gallery, asked)
    if traps:
        with run.timed("traps"):
            apart = own is None
            run.findings = trap_search.look(
                asked if apart or gallery is None else gallery, gallery if apart else None, seed=seed
            )
    return run.report(asked, gallery, own, protocol, neighbours)


def _within(
    given: Given, limit: int | None, generator: np.random.Generator
) -> tuple[Labelled, Labelled | None, npt.NDArray[np.int64] | None, str]:
    """Queries and gallery of one file, and where each query stands in the gallery."""
    whole = given.labelled
    if given.asks is None or given.ranked is None:
        rows = drawn(len(whole), limit, generator)
        protocol = "{queries} vectors, each against all others of {gallery}, ranked exactly"
        if len(rows) == len(whole):
            return whole, None, None, protocol
        return whole.select(rows), whole, rows, protocol
    asking, ranked = np.flatnonzero(given.asks), np.flatnonzero(given.ranked)
    for side, what in ((asking, "asks"), (ranked, "is ranked")):
        if not side.size:
            raise RetrievalError(f"of the vectors with a direction none {what}: encode them again")
    asking = asking[drawn(len(asking), limit, generator)]
    place = np.full(len(whole), -1)
    place[ranked] = np.arange(len(ranked))
    own = place[asking] if (place[asking] >= 0).any() else None
    protocol = "{queries} vectors marked as queries against {gallery} of the gallery, ranked exactly"
    return whole.select(asking), whole.select(ranked), own, protocol


def _check_fit(asked: Labelled, gallery: Labelled | None) -> None:
    if gallery is None:
        return
    if asked.vectors.shape[1] != gallery.vectors.shape[1]:
        raise RetrievalError(
            f"the queries have {asked.vectors.shape[1]} numbers each and the vectors {gallery.vectors.shape[1]}: give "
            "both of one model"
        )
