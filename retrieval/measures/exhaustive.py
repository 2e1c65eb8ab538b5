"""Ranking measures of many queries, straight from embeddings, never holding the full matrix of scores.

A score is the float32 inner product, as in the index. Two items with the same vector must tie with each other
for every query, but a matrix product rounds equal columns differently at the edges of its blocks; so equal
vectors are found first and given one common score. Distinct vectors tie only where their float32 scores are
equal. Queries and gallery are brought into an order of their own before anything is multiplied, so that the
order in which they were given changes no figure, not even in its last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from threading import Event, Lock

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped,unused-ignore]

from retrieval.errors import RetrievalError
from retrieval.machine import cores
from retrieval.measures.ranking import Ranking
from retrieval.measures.voting import vote

UNLABELLED = -1
BLOCK_BYTES = 32 * 2**20  # scores that one thread holds at a time

Vectors = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Rankings:
    """What each query scored.

    Attributes:
        values: float64 (m,) for each measure by name: ``P@k`` for the ks asked for, ``R-precision``,
            ``MAP@R`` (average precision cut at R), ``mAP`` (average precision over everything), ``kNN
            accuracy (k=…)`` (probability that the neighbours' vote names the query's label).
        chance: the mean of each measure if a random order answered every query; for the kNN accuracy the
            share of queries that the gallery's commonest label gets right.
        queries: int64 (m,), ascending positions of the queries that count.
        labels: int64 (m,), their labels.
        relevant: int64 (m,), R: items of the query's label in the gallery, itself not among them.
        best: float32 (m,), the highest score of any item.
        tied: float64 (m,), the share of the relevant items whose score an item of another label has, too.
        gallery: how many labelled items were ranked.
        unlabelled_queries, unlabelled_gallery: how many were ignored because their label is −1.
        without_relevant: how many queries were left out because no item of the gallery has their label.
    """

    values: Mapping[str, npt.NDArray[np.float64]]
    chance: Mapping[str, float]
    queries: npt.NDArray[np.int64]
    labels: Labels
    relevant: npt.NDArray[np.int64]
    best: Vectors
    tied: npt.NDArray[np.float64]
    gallery: int
    unlabelled_queries: int
    unlabelled_gallery: int
    without_relevant: int


def rank(
    queries: npt.ArrayLike,
    query_labels: npt.ArrayLike,
    gallery: npt.ArrayLike | None = None,
    gallery_labels: npt.ArrayLike | None = None,
    *,
    own: npt.ArrayLike | None = None,
    ks: Sequence[int] = (1, 10),
    neighbours: int = 10,
    threads: int | None = None,
    advance: Callable[[int], object] | None = None,
) -> Rankings:
    """Rank the whole gallery for each query and measure the rankings.

    An item is relevant if it has the query's label. Label −1 means unlabelled: such items are ignored,
    neither right nor wrong. Queries that no item of the gallery matches are left out and counted.

    Args:
        queries: float32 (nq, d), unit rows if scores are to be cosines.
        query_labels: integers (nq,).
        gallery: float32 (n, d). None: the queries are the gallery, and each is left out of its own ranking.
        gallery_labels: integers (n,).
        own: integers (nq,), where each query itself stands in the gallery, −1 where it does not. It is left
            out of its own ranking by this position, never by its score.
        ks: the ks of P@k.
        neighbours: the k of the kNN accuracy.
        threads: how many at a time; as many as the process has cores if None.
        advance: called with the number of queries done since the last call.

    Raises:
        RetrievalError: the arrays do not fit together, are not numbers, or leave nothing to measure.
    """
    queries = _vectors(queries, "queries")
    query_labels = _labels(query_labels, len(queries), "queries")
    if gallery is None:
        if gallery_labels is not None or own is not None:
            raise RetrievalError("without a gallery the queries are the gallery: give no gallery labels and no own")
        gallery, gallery_labels, own = queries, query_labels, np.arange(len(queries))
    elif gallery_labels is None:
        raise RetrievalError("the gallery has no labels: give gallery_labels, one integer for each item")
    gallery = _vectors(gallery, "gallery")
    gallery_labels = _labels(gallery_labels, len(gallery), "gallery")
    own = _own(own, len(queries), len(gallery))
    if queries.shape[1] != gallery.shape[1]:
        raise RetrievalError(
            f"queries have {queries.shape[1]} dimensions and the gallery {gallery.shape[1]}: encode both with one model"
        )
    if min(*ks, neighbours) < 1:
        raise RetrievalError(f"k must be at least 1, but P@k is asked for {list(ks)} and kNN for {neighbours}")

    shelf = _Shelf(gallery, gallery_labels)
    labelled = query_labels != UNLABELLED
    strange = int((labelled & (own >= 0) & (gallery_labels[own] != query_labels)).sum())
    if strange:
        raise RetrievalError(f"{strange} queries have another label than they themselves in the gallery: check `own`")
    own = np.where(own >= 0, shelf.place[own], -1)
    start = np.searchsorted(shelf.labels, query_labels, side="left")
    stop = np.searchsorted(shelf.labels, query_labels, side="right")
    relevant = stop - start - (own >= 0)
    counted = np.flatnonzero(labelled & (relevant > 0))
    if not counted.size:
        raise RetrievalError(
            f"none of the {len(queries)} queries shares its label with an item of the gallery of {len(gallery)}: "
            "check that both use the same classes"
        )
    order = counted[np.lexsort((own[counted], _groups(queries[counted]), query_labels[counted]))]
    task = _Task(queries[order], query_labels[order], start[order], stop[order], own[order], tuple(ks), neighbours)
    task.measure(shelf, threads or cores(), advance)

    back = np.empty(len(order), np.int64)
    back[np.searchsorted(counted, order)] = np.arange(len(order))
    values = {name: column[back] for name, column in zip(task.names, task.values.T, strict=True)}
    relevant = relevant[counted]
    items = len(shelf.labels) - (own[counted] >= 0)
    return Rankings(
        values=values,
        chance=_chance(items, relevant, query_labels[counted], shelf.labels, tuple(ks), task.names),
        queries=counted,
        labels=query_labels[counted],
        relevant=relevant,
        best=task.best[back],
        tied=task.tied[back],
        gallery=len(shelf.labels),
        unlabelled_queries=int((~labelled).sum()),
        unlabelled_gallery=len(gallery) - len(shelf.labels),
        without_relevant=int(labelled.sum()) - len(counted),
    )


class _Shelf:
    """The labelled gallery sorted by label, so that the items relevant to a query are one slice.

    Attributes:
        vectors: float32 (n, d); labels: int64 (n,), ascending.
        place: int64, where each item of the given gallery stands here, −1 if it is unlabelled.
        copies, originals: int64 (c,), items whose vector an earlier item has, too, and that item.
    """

    def __init__(self, vectors: Vectors, labels: Labels) -> None:
        kept = np.flatnonzero(labels != UNLABELLED)
        group = _groups(vectors[kept])
        order = np.lexsort((group, labels[kept]))
        self.vectors = vectors[kept[order]]
        self.labels = labels[kept[order]]
        self.place = np.full(len(vectors), -1)
        self.place[kept[order]] = np.arange(len(order))
        group = group[order]
        originals = np.unique(group, return_index=True)[1][group]
        self.copies = np.flatnonzero(originals != np.arange(len(group)))
        self.originals = originals[self.copies]


class _Task:
    """Queries sorted by label, and the results that threads write into, each into rows of its own."""

    def __init__(
        self,
        queries: Vectors,
        labels: Labels,
        start: Labels,
        stop: Labels,
        own: Labels,
        ks: tuple[int, ...],
        neighbours: int,
    ) -> None:
        self.queries, self.labels, self.start, self.stop, self.own = queries, labels, start, stop, own
        self.ks, self.neighbours = ks, neighbours
        self.names = [
            *(f"P@{k}" for k in ks),
            "R-precision",
            "MAP@R",
            "mAP",
            f"kNN accuracy (k={neighbours})",
        ]
        self.values = np.empty((len(queries), len(self.names)))
        self.best = np.empty(len(queries), np.float32)
        self.tied = np.empty(len(queries))

    def measure(self, shelf: _Shelf, threads: int, advance: Callable[[int], object] | None) -> None:
        items = len(shelf.labels)
        rows = int(np.clip(BLOCK_BYTES // (4 * items), 8, 512))  # by the gallery alone: the machine changes no figure
        blocks = range(0, len(self.queries), rows)
        threads = max(1, min(threads, len(blocks)))
        stopped, lock = Event(), Lock()

        def work(mine: range) -> None:
            buffer = np.empty((rows, items), np.float32)
            for first in mine:
                if stopped.is_set():
                    return
                done = self._block(shelf, first, buffer)
                if advance is not None:
                    with lock:
                        advance(done)

        # The threads sort as well as multiply, so that each product gets one core, not all of them.
        with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
            try:
                for future in [pool.submit(work, blocks[t::threads]) for t in range(threads)]:
                    future.result()
            finally:
                stopped.set()  # after Ctrl-C or an error the others end with their block

    def _block(self, shelf: _Shelf, first: int, buffer: Vectors) -> int:
        queries = self.queries[first : first + len(buffer)]
        scores = buffer[: len(queries)]
        np.matmul(queries, shelf.vectors.T, out=scores)
        if shelf.copies.size:
            scores[:, shelf.copies] = scores[:, shelf.originals]
        for row, row_scores in enumerate(scores, start=first):
            self._row(shelf, row, row_scores)
        return len(queries)

    def _row(self, shelf: _Shelf, row: int, scores: Vectors) -> None:
        alone = int(self.own[row] >= 0)
        if alone:
            scores[self.own[row]] = -np.inf  # sorts first, and is cut off there
        ordered = np.sort(scores)[alone:]
        ranking = Ranking.of_sorted(ordered, np.sort(scores[self.start[row] : self.stop[row]])[alone:])
        self.values[row] = (
            *(ranking.precision(k) for k in self.ks),
            ranking.r_precision(),
            ranking.average_precision(ranking.total),
            ranking.average_precision(),
            self._vote(shelf, row, scores, ordered),
        )
        self.best[row] = ordered[-1]
        self.tied[row] = ranking.relevant[ranking.relevant < ranking.size].sum() / ranking.total

    def _vote(self, shelf: _Shelf, row: int, scores: Vectors, ordered: Vectors) -> float:
        k = min(self.neighbours, ordered.size)
        last = ordered[-k]
        near = np.flatnonzero(scores >= last)
        tied = scores[near] == last
        labels = shelf.labels[near]
        sure = labels[~tied]
        return vote(int(self.labels[row]), sure, labels[tied], k - sure.size)


def _chance(
    items: npt.NDArray[np.int64],
    relevant: npt.NDArray[np.int64],
    labels: Labels,
    gallery_labels: Labels,
    ks: tuple[int, ...],
    names: Sequence[str],
) -> dict[str, float]:
    @cache
    def scores(n: int, total: int) -> tuple[float, ...]:
        ranking = Ranking.by_chance(n, total)
        share = total / n
        precisions = (min(1.0, n / k) * share for k in ks)
        return (*precisions, share, ranking.average_precision(total), ranking.average_precision())

    means = np.mean([scores(n, total) for n, total in zip(items.tolist(), relevant.tolist(), strict=True)], axis=0)
    classes, sizes = np.unique(gallery_labels, return_counts=True)
    commonest = classes[sizes == sizes.max()]
    return dict(zip(names, [*means.tolist(), float(np.isin(labels, commonest).mean() / len(commonest))], strict=True))


def _groups(vectors: Vectors) -> npt.NDArray[np.int64]:
    """Equal numbers for equal vectors, in an order that depends on the vectors alone."""
    rows = np.ascontiguousarray(vectors + np.float32(0))  # −0 + 0 is 0: both have the same bytes
    keys = rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize))).ravel()
    groups: npt.NDArray[np.int64] = np.unique(keys, return_inverse=True)[1]
    return groups


def _vectors(given: npt.ArrayLike, what: str) -> Vectors:
    vectors = np.asarray(given)
    if vectors.ndim != 2 or not vectors.size or not np.issubdtype(vectors.dtype, np.floating):
        raise RetrievalError(
            f"{what} are an array of shape {vectors.shape} and type {vectors.dtype}: "
            "give floating-point vectors, one a row"
        )
    vectors = vectors.astype(np.float32, copy=False)
    wrong = int((~np.isfinite(vectors).all(axis=1)).sum())
    if wrong:
        raise RetrievalError(f"{wrong} of {len(vectors)} {what} hold infinite values or no numbers: encode them again")
    return vectors


def _labels(given: npt.ArrayLike, n: int, what: str) -> Labels:
    labels = np.asarray(given)
    if labels.shape != (n,):
        raise RetrievalError(f"{n} {what} come with labels of shape {labels.shape}: give one label for each")
    if not np.issubdtype(labels.dtype, np.integer):  # float32 merges ids above 2²⁴
        raise RetrievalError(f"labels of the {what} are {labels.dtype}: give integers, −1 for none")
    if labels.size and (labels.min() < UNLABELLED or labels.max() > np.iinfo(np.int64).max):
        raise RetrievalError(
            f"labels of the {what} reach from {labels.min()} to {labels.max()}: give int64, −1 for none"
        )
    return labels.astype(np.int64)


def _own(given: npt.ArrayLike | None, queries: int, gallery: int) -> npt.NDArray[np.int64]:
    if given is None:
        return np.full(queries, -1)
    own = _labels(given, queries, "queries' own positions")
    if own.size and own.max() >= gallery:
        raise RetrievalError(
            f"a query is said to stand at position {own.max()} of a gallery of {gallery}: count from 0"
        )
    return own
