"""From vectors that anybody made, and their labels, to a report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval.base.given import seeded
from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.evaluation import trap_search
from retrieval.evaluation.labelled_vectors import Labelled, drawn
from retrieval.evaluation.options import DEFAULT, EvaluationOptions
from retrieval.evaluation.report import Report
from retrieval.evaluation.run import Evaluation
from retrieval.evaluation.vector_files import Given, read_vectors, require_pairs


def evaluate_vectors(
    vectors: str | Path,
    labels: str | Path | None = None,
    *,
    queries: str | Path | None = None,
    query_labels: str | Path | None = None,
    options: EvaluationOptions = DEFAULT,
) -> Report:
    """Measure vectors that another program made.

    Args:
        vectors: a file of them, ``.npy`` or HDF5 (:mod:`retrieval.evaluation.vector_files`). They are scaled to unit
            length, which the report says.
        labels: a file of theirs (:mod:`retrieval.evaluation.label_files`); None: they are in the HDF5 file.
        queries: another file of vectors, which ask these. None: the queries that an HDF5 file marks; where it marks
            none, each vector is asked for among all others.
        query_labels: theirs; classes are the same where their texts are.
        options: what to measure, and how. The gallery stays whole whatever their limit.

    Raises:
        RetrievalError: a file cannot be read, the two sides do not fit together, nothing can be measured, or an option
            says nothing about vectors.
    """
    file = Path(vectors)
    subject = options.subject or printable(file)
    options.check("vectors", subject)
    limit = options.limit
    given = read_vectors(file, None if labels is None else Path(labels), codes=options.codes)
    run = Evaluation(subject, "its own labels", options, options.over or "queries")
    run.notes += given.notes
    run.without_direction = given.without_direction
    generator = seeded(options.seed)
    if queries is None:
        if query_labels is not None:
            raise RetrievalError(f"labels of queries, {str(query_labels)!r}, come without queries: give --queries, too")
        require_pairs(given, file)
        asked, gallery, own, protocol = _within(given, limit, generator)
    else:
        if given.asks is not None:
            raise RetrievalError(f"{str(file)!r} says which of its vectors ask: leave --queries out, or its marks")
        asking = Path(queries)
        theirs = read_vectors(asking, None if query_labels is None else Path(query_labels), codes=options.codes)
        run.notes += theirs.notes
        run.without_direction += theirs.without_direction
        run.data = f"its own labels, asked by {printable(asking.name)}"
        asked, gallery, own = theirs.labelled, given.labelled, None
        asked = asked.select(drawn(len(asked), limit, generator))
        protocol = "{queries} queries of another file against {gallery} vectors, ranked exactly"
    if gallery is not None:
        if asked.vectors.shape[1] != gallery.vectors.shape[1]:
            raise RetrievalError(
                f"the queries have {asked.vectors.shape[1]} numbers each and the vectors {gallery.vectors.shape[1]}: "
                "give both of one model"
            )
        asked = asked.relabelled(gallery.classes)
    several = asked.sets is not None or (gallery is not None and gallery.sets is not None)
    if options.graded and not several:
        raise RetrievalError("every picture has one label, so there is nothing to grade: leave --graded out")
    if several:
        if options.over == "classes" or options.as_in is not None or options.clustering:
            raise RetrievalError(
                "pictures have several labels, so they are of no one class: leave --over classes, --as-in and "
                "--clustering out"
            )
        asked, gallery = asked.several(), None if gallery is None else gallery.several()
        run.notes.append(
            "Pictures have several labels: relevant is what shares one with the query; accuracies and verification "
            "need one label each."
        )
    if limit is not None:
        run.notes.append(f"At most {limit:,} queries were drawn; the gallery stays whole.")
    if options.probe and gallery is not None and own is None:
        run.probe(gallery, asked)
    one = asked if gallery is None or own is None else gallery  # the whole set, where it asks itself
    run.traps(lambda: trap_search.look(one, gallery if own is None else None, seed=options.seed))
    return run.report(asked, gallery, own, protocol)


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
