"""What a re-ranker gains on an index: the measures at the top with it and without it, query by query."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval.base import progress
from retrieval.base.found import Found
from retrieval.base.given import seeded
from retrieval.base.machine import machine
from retrieval.base.placed_files import Placed
from retrieval.datasets import PictureSet
from retrieval.encoder import Encoder
from retrieval.errors import RetrievalError
from retrieval.evaluation.labelled_vectors import Labelled, drawn
from retrieval.evaluation.of_index import asked_by, indexed
from retrieval.evaluation.options import check_limit
from retrieval.evaluation.paired_comparison import Differences, compare_kept
from retrieval.evaluation.per_query import Kept
from retrieval.images import UnreadableImage
from retrieval.index import Index
from retrieval.index.vectors import as_numbers
from retrieval.measures import Ranking
from retrieval.search.rerank import FirstRanking, Reranked, Reranker
from retrieval.search.rerank.reranker import unchanged

DEPTH = 100
"""Ranks that are looked at: those of the deepest measure."""

LIMIT = 1000
"""Queries that are drawn where nobody says another number."""


@dataclass(frozen=True)
class Gain(Found):
    """What came of it.

    Attributes:
        method: the re-ranker. top: how many of the first ranking it looks at.
        protocol: what was asked of what, in words.
        differences: A is the first ranking, B the new one.
        seconds: a query's mean time, "search" for the first ranking and "rerank" for what comes on top.
        unread: hits that could not be looked at, since their files cannot be read.
        unreadable: queries that were left out, since theirs cannot be read.
        machine: processor and cores.
    """

    method: str
    top: int
    protocol: str
    differences: Differences
    seconds: dict[str, float]
    unread: int
    unreadable: int
    machine: str

    def table(self) -> str:
        """The comparison as text for a terminal."""
        search, more = (1000 * self.seconds[part] for part in ("search", "rerank"))
        unread = f" {self.unread:,} hits could not be read and stayed behind the others." if self.unread else ""
        if self.unreadable:
            unread += f" {self.unreadable:,} queries could not be read and were left out."
        return "\n".join(
            [
                self.differences.table(),
                self.protocol + unread,
                f"Time a query, asked one by one: search {search:.2f} ms, re-ranking {more:.2f} ms more "
                f"({self.machine}).",
            ]
        )


def evaluate_reranked(
    index: Index,
    reranker: Reranker,
    *,
    queries: PictureSet | None = None,
    encoder: Encoder | None = None,
    limit: int | None = None,
    over: str = "queries",
    seed: int = 0,
    subject: str | None = None,
) -> Gain:
    """Measure P@1, P@10, mAP@10 and mAP@100 of what the index's search finds, and of that in its new order.

    AP@k is divided by min(R, k), with all R relevant pictures of the index; where the order leaves pictures equal, by
    score and by the re-ranker's, a measure is its expectation over their orders. Pictures without a label are neither
    right nor wrong and are dropped from both rankings.

    Args:
        index: with labels.
        reranker: what orders anew; see :mod:`retrieval.search.rerank`.
        queries: labelled pictures that are not in the index; their test split where they have one. Without them each
            picture of the index is asked for among all others.
        encoder: the one that the index was built with; needed for `queries`.
        limit: at most so many queries, drawn at random; :data:`LIMIT` if None.
        over: draw the intervals over "queries" or over "classes".
        seed: of the drawing and of the intervals.
        subject: what to call the index.

    Raises:
        RetrievalError: the index has no labels, or was built with another encoder; no query has a relevant picture.
    """
    check_limit(limit)
    generator = seeded(seed)
    gallery = indexed(index)
    if queries is None:
        asked = gallery.select(drawn(len(gallery), limit or LIMIT, generator))
        files: Sequence[Path | Placed] | None = [index.pictures / name for name in asked.names.tolist()]
        what = "pictures of the index, each against all others"
    else:
        asking, asked = asked_by(index, gallery, queries, encoder, limit or LIMIT, generator)
        files = None if asking.files is None else [asking.files[row] for row in asked.rows.tolist()]
        what = f"pictures of {queries.name} against the {len(gallery):,} of the index"
    rows, totals = _answerable(asked, gallery)
    if not len(rows):
        raise RetrievalError("no query has a relevant picture in the index: give labelled pictures of its classes")
    number = np.full(int(gallery.ids.max()) + 1, -1)  # type: ignore[union-attr]
    number[gallery.ids] = gallery.labels
    columns: list[list[npt.NDArray[np.float64]]] = [[], []]
    unread = 0
    unreadable: list[int] = []
    spent = np.zeros(2)
    depth = max(DEPTH, reranker.top)
    with progress.bar(len(rows), "Ranking anew", "queries") as bar:
        for place, (row, total) in enumerate(zip(rows.tolist(), totals.tolist(), strict=True)):
            bar.update(1)
            own = () if asked.ids is None else (int(asked.ids[row]),)
            began = time.perf_counter()
            vector = as_numbers(asked.vectors[row])
            scores, ids = (found[0] for found in index.search(vector[None], depth, exclude=[own] if own else None))
            picture = None if files is None else files[row]
            found = FirstRanking(vector, ids[ids >= 0], scores[ids >= 0], own, wanted=depth, picture=picture)
            searched = time.perf_counter()
            try:
                anew = reranker(index, found)
            except UnreadableImage:
                unreadable.append(place)
                continue
            spent += searched - began, time.perf_counter() - searched
            unread += len(anew.unread)
            for column, one in zip(columns, (unchanged(found.ids, found.scores), anew), strict=True):
                column.append(measured(one, number[one.ids], int(asked.labels[row]), total))
    rows, totals = np.delete(rows, unreadable), np.delete(totals, unreadable)
    if not len(rows):
        raise RetrievalError("not one query's file can be read, and the re-ranker looks at pictures: bring them back")
    answered = asked.select(rows)
    first, second = (
        Kept(
            subject=f"{subject or index.name}{suffix}",
            data="the same queries",
            protocol="",
            over=over,
            counts={"gallery": len(gallery)},
            names=answered.names,
            classes=np.array([answered.shown(row) for row in range(len(answered))]),
            relevant=totals,
            measures=dict(zip(MEASURES, np.array(column).T, strict=True)),
        )
        for suffix, column in zip(("", f", re-ranked by {reranker.name}"), columns, strict=True)
    )
    return Gain(
        method=reranker.name,
        top=reranker.top,
        protocol=f"{len(rows):,} {what}, found by the index's own search; the first {reranker.top:,} hits looked at.",
        differences=compare_kept(first, second, seed=seed),
        seconds=dict(zip(("search", "rerank"), (spent / len(rows)).tolist(), strict=True)),
        unread=unread,
        unreadable=len(unreadable),
        machine=machine(),
    )


MEASURES = ("P@1", "P@10", "mAP@10", "mAP@100")


def measured(found: Reranked, labels: npt.NDArray[np.int64], label: int, total: int) -> npt.NDArray[np.float64]:
    """:data:`MEASURES` of one ranking, float64 (4,).

    Args:
        found: the ranking. labels: int64 (m,), of its hits, −1 for none.
        label: of the query. total: how many pictures are relevant.
    """
    known = labels >= 0
    second = np.where(np.isnan(found.reranked), -np.inf, found.reranked)[known]
    order = np.stack([second, found.scores[known].astype(np.float64)])
    # hits that both scores leave equal share a number
    level = np.unique(order, axis=1, return_inverse=True)[1].ravel().astype(np.float64)
    relevant = labels[known] == label
    if not relevant.any():
        return np.zeros(len(MEASURES))
    ranking = replace(Ranking.of(level, relevant), total=total)
    return np.array(
        [ranking.precision(1), ranking.precision(10)] + [ranking.average_precision_at(k) for k in (10, DEPTH)]
    )


def _answerable(asked: Labelled, gallery: Labelled) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The queries that some picture answers, and how many do."""
    counts = np.bincount(gallery.labels[gallery.labels >= 0], minlength=len(asked.classes))
    known = asked.labels >= 0
    totals = np.where(known, counts[asked.labels], 0) - (asked.ids is not None)
    rows = np.flatnonzero(known & (totals > 0))
    return rows, totals[rows]
