"""Ranking measures of many queries, straight from embeddings, never holding the full matrix of scores.

A score is the float32 inner product, as in the index. Two items with the same vector must tie with each other
for every query, but a matrix product rounds equal columns differently at the edges of its blocks; so equal
vectors are found first and given one common score. Distinct vectors tie only where their float32 scores are
equal. Queries and gallery are brought into an order of their own before anything is multiplied, so that the
order in which they were given changes no figure, not even in its last bit.

Binary codes go the same way by their Hamming distances (retrieval/measures/hamming.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval.base.machine import cores
from retrieval.errors import RetrievalError
from retrieval.measures import arrays
from retrieval.measures.arrays import UNLABELLED, Ints, groups, hidden
from retrieval.measures.hamming import Distances
from retrieval.measures.inner_products import Products
from retrieval.measures.ranking import Ranking
from retrieval.measures.ranking_task import Rankings, Scorer, Task, named
from retrieval.measures.relevance import Listed, Relevance, SameLabel, SharedLabels
from retrieval.measures.streaming import MEMORY, Distractors, Streamed


def rank(
    queries: npt.ArrayLike,
    query_labels: npt.ArrayLike | None = None,
    gallery: npt.ArrayLike | None = None,
    gallery_labels: npt.ArrayLike | None = None,
    *,
    own: npt.ArrayLike | None = None,
    ignore: Sequence[npt.ArrayLike] | None = None,
    relevant: Sequence[npt.ArrayLike] | None = None,
    distractors: Distractors | None = None,
    memory: int = MEMORY,
    graded: bool = False,
    ks: Sequence[int] = (1, 10),
    measures: Mapping[str, Callable[[Ranking], float]] | None = None,
    neighbours: int | None = 10,
    levels: npt.ArrayLike = (),
    duplicate_score: float | None = None,
    classes: int | None = None,
    threads: int | None = None,
    advance: Callable[[int], object] | None = None,
) -> Rankings:
    """Rank the whole gallery for each query and measure the rankings.

    An item is relevant if it has the query's label or, where items have several, shares one with the query. Items
    without a label are ignored, neither right nor wrong. Queries that no item of the gallery matches are left out and
    counted.

    Args:
        queries: float32 (nq, d), ranked by inner product: unit rows if scores are to be cosines. Or binary codes,
            uint8 (nq, bits/8), ranked by Hamming distance.
        query_labels: integers (nq,), −1 for none; or booleans (nq, classes), which of them each query shows.
        gallery: float32 (n, d) or uint8 (n, bits/8). None: the queries are the gallery, and each is left out of its
            own ranking.
        gallery_labels: as query_labels, for the gallery.
        own: integers (nq,), where each query itself stands in the gallery, −1 where it does not. It is left
            out of its own ranking by this position, never by its score.
        ignore: for each query the gallery positions of what is left out of its ranking, too, such as near-duplicates
            of it: neither right nor wrong, like the junk images of the Oxford buildings.
        relevant: for each query the gallery positions of what is right, in place of labels; there must be a gallery.
        distractors: vectors (m, d) that are ranked with the gallery and right for nobody, read block by block. Then no
            neighbours vote.
        memory: bytes that the scores and blocks of distractors may take.
        graded: let NDCG count how many labels are shared; every other measure asks only whether one is.
        ks: the ks of the measures at k.
        measures: measures of one's own in place of those at `ks` and the others: for each name a function of a ranking.
        neighbours: the k of the kNN accuracy; None: there is none.
        levels: recall levels from 0 to 1 for the precision–recall curves.
        duplicate_score: items that score at least so much with a query are near-duplicates of it and left out of its
            ranking, as if they were in `ignore`; how many is counted. Of codes the score is 1 − 2 · distance / bits.
            None: nothing is left out for its score.
        classes: labels are 0 … classes − 1, and those of the neighbours that vote are counted for each class of query
            (``confusion``). None: they are not.
        threads: how many at a time; as many as the process has cores if None.
        advance: called with the number of queries done since the last call.

    Raises:
        RetrievalError: the arrays do not fit together, are not numbers, or leave nothing to measure.
    """
    if relevant is None:
        arrays.require_sides(gallery, gallery_labels, own)
    elif gallery is None or query_labels is not None or gallery_labels is not None:
        raise RetrievalError("lists of what is relevant stand for labels: give them with a gallery, and no labels")
    asked = shelf = np.asarray(queries)
    if gallery is None:
        gallery_labels, own = query_labels, np.arange(len(asked))
    else:
        shelf = np.asarray(gallery)
    asked, shelf = _checked(asked, shelf)
    positions = arrays.own_positions(own, len(asked), len(shelf))
    relevance: Relevance
    labelled: npt.NDArray[np.bool_]
    kept: npt.NDArray[np.bool_]
    strange: npt.NDArray[np.bool_]
    truth = labels = None
    if relevant is not None:
        labelled, kept = np.ones(len(asked), bool), np.ones(len(shelf), bool)
        strange = np.zeros(len(asked), bool)
        arranged = _Arranged.of(shelf, np.arange(len(shelf)), np.zeros(len(shelf), np.int64))
        relevance = Listed(arrays.listed(relevant, len(asked), arranged.place))
        key = np.zeros(len(asked), np.int64)
    elif query_labels is not None and np.ndim(query_labels) == 2:
        sets = arrays.label_sets(query_labels, len(asked), "queries")
        shelf_sets = arrays.label_sets(np.asarray(gallery_labels), len(shelf), "gallery")
        if sets.shape[1] != shelf_sets.shape[1]:
            raise RetrievalError(
                f"queries show {sets.shape[1]} classes and the gallery {shelf_sets.shape[1]}: give the same columns"
            )
        labelled = np.asarray(sets.any(axis=1))
        kept = np.asarray(shelf_sets.any(axis=1))
        strange = labelled & (positions >= 0) & (shelf_sets[positions] != sets).any(axis=1)
        arranged = _Arranged.of(shelf, np.flatnonzero(kept), np.zeros(len(shelf), np.int64))
        relevance = SharedLabels(sets, shelf_sets[arranged.order], graded=graded)
        key = sets.argmax(axis=1)
    else:
        truth = key = arrays.labels(np.asarray(query_labels), len(asked), "queries")
        labels = arrays.labels(np.asarray(gallery_labels), len(shelf), "gallery")
        if graded:
            raise RetrievalError("with one label for each item there is nothing to grade: leave `graded` out")
        labelled, kept = np.asarray(truth != UNLABELLED), np.asarray(labels != UNLABELLED)
        strange = labelled & (positions >= 0) & (labels[positions] != truth)
        arranged = _Arranged.of(shelf, np.flatnonzero(kept), labels)
        labels = labels[arranged.order]
        relevance = SameLabel(truth, labels)
    if classes is not None and (truth is None or labels is None or max(truth.max(), labels.max(initial=-1)) >= classes):
        raise RetrievalError(f"labels of {classes} classes are 0 to {classes - 1}, one for each item: number them so")
    if strange.any():
        raise RetrievalError(
            f"{int(strange.sum())} queries have another label than they themselves in the gallery: check `own`"
        )
    threads = threads or cores()
    scorer: Scorer
    if asked.dtype == np.uint8:
        scorer = Distances(asked.view(np.uint8), arranged.rows.view(np.uint8))
    else:
        scorer = Products(asked.view(np.float32), arranged.rows.view(np.float32), arranged.group)
    if distractors is not None:
        if neighbours is not None or not isinstance(scorer, Products):
            raise RetrievalError("distractors have no label to vote for, and are no codes: give neighbours=None")
        scorer = Streamed(
            scorer, asked.view(np.float32), arranged.rows.view(np.float32), distractors, memory=memory, threads=threads
        )
    task = Task(
        scorer=scorer,
        relevance=relevance,
        hidden=hidden(positions, ignore, arranged.place),
        order=_order(asked, labelled & relevance.answerable(positions >= 0), positions, key),
        measures=named(ks) if measures is None else measures,
        levels=np.asarray(levels, np.float64),
        truth=truth,
        labels=labels,
        neighbours=neighbours,
        duplicate_score=duplicate_score,
        classes=classes,
    )
    task.measure(threads, advance)
    return task.rankings(labelled, int((~kept).sum()))


@dataclass(frozen=True)
class _Arranged:
    """What is ranked, in an order of its own: by label, so that the items of one are a slice, then by vector.

    Attributes:
        rows: float32 (n, d) or uint8 (n, bytes).
        order: int64 (n,), where each stood in the given gallery.
        place: int64, where each item of the given gallery stands here, −1 if it is left out.
        group: int64 (n,), equal where rows are.
    """

    rows: npt.NDArray[np.generic]
    order: Ints
    place: Ints
    group: Ints

    @classmethod
    def of(cls, rows: npt.NDArray[np.generic], kept: Ints, labels: Ints) -> _Arranged:
        group = groups(rows[kept])
        turn = np.lexsort((group, labels[kept]))
        order = kept[turn]
        place = np.full(len(rows), -1)
        place[order] = np.arange(len(order))
        return cls(rows[order], order, place, group[turn])


def _checked(
    queries: npt.NDArray[np.generic], gallery: npt.NDArray[np.generic]
) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]]:
    if queries.dtype != np.uint8 and gallery.dtype != np.uint8:
        return arrays.pair(queries, gallery)
    asked, shelf = arrays.codes(queries, "queries"), arrays.codes(gallery, "gallery")
    if asked.shape[1] != shelf.shape[1]:
        raise RetrievalError(
            f"queries have {8 * asked.shape[1]} bits and the gallery {8 * shelf.shape[1]}: encode both with one model"
        )
    return asked, shelf


def _order(queries: npt.NDArray[np.generic], counted: npt.NDArray[np.bool_], own: Ints, key: Ints) -> Ints:
    """The queries that may count, in an order that depends on what they are."""
    places = np.flatnonzero(counted)
    return places[np.lexsort((own[places], groups(queries[places]), key[places]))]
