"""All pairs of queries and items as one ranking, in which a score must mean the same whoever asks (micro-averages)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from retrieval.errors import RetrievalError
from retrieval.measures import arrays
from retrieval.measures.arrays import Ints, Vectors, groups
from retrieval.measures.intervals import RESAMPLES, Interval, bootstrap
from retrieval.measures.ranking import Ranking

BLOCK_BYTES = 1 << 26
"""Bytes of scores that are in memory at a time."""

SPARE = 2
"""Times the pairs that are wanted, that are gathered before the worse ones are let go."""


class Pairs(NamedTuple):
    """Pairs in one ranking.

    Attributes:
        queries, items: int64 (p,), which of them. scores: float32 (p,).
    """

    queries: Ints
    items: Ints
    scores: Vectors


@dataclass(frozen=True)
class OneRanking:
    """What one ranking of pairs is worth, each figure with its bootstrap interval over queries.

    Attributes:
        average_precision: Σ P(i)·right(i) over the pairs, divided by all right pairs that there are; equal scores by
            expectation. Its interval is open where there are such.
        wrong_first: the same where of equal scores the wrong pairs come first, as the program of the Image Similarity
            Challenge counts it.
        recall: the highest recall at a threshold whose precision is at least the one that was asked for; 0 without one.
        found: for each k that was asked for the share of all right pairs that are among the first k of their query in
            this ranking; of equal scores the others come first, as that program counts it.
    """

    average_precision: Interval
    wrong_first: Interval
    recall: Interval
    found: dict[int, Interval]


def best_pairs(queries: npt.ArrayLike, gallery: npt.ArrayLike, count: int) -> Pairs:
    """The best pairs of all, by inner product; more than `count` only where the last ones score the same.

    Args:
        queries: float32 (nq, d). gallery: float32 (n, d). count: how many.

    Raises:
        RetrievalError: the arrays do not fit together, or count is below 1.
    """
    asked, shelf = arrays.pair(queries, gallery)
    if count < 1:
        raise RetrievalError(f"{count} pairs cannot be ranked: ask for 1 or more")
    group = groups(shelf)  # equal vectors get one score
    originals = np.unique(group, return_index=True)[1][group]
    copies = np.flatnonzero(originals != np.arange(len(group)))
    least = np.float32(-np.inf)
    kept = [Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))]
    held = 0
    step = max(1, BLOCK_BYTES // (4 * len(shelf)))
    for start in range(0, len(asked), step):
        scores = asked[start : start + step] @ shelf.T
        if copies.size:
            scores[:, copies] = scores[:, originals[copies]]
        good = scores[scores >= least]
        if good.size > count:  # what is not among a block's best is not among the best
            least = np.partition(good, good.size - count)[good.size - count]
        rows, items = np.nonzero(scores >= least)
        kept.append(Pairs(rows + start, items, scores[rows, items]))
        held += len(rows)
        if held > SPARE * count:
            kept, least = _best(kept, count)
            held = len(kept[0].scores)
    return _best(kept, count)[0][0]


def _best(parts: list[Pairs], count: int) -> tuple[list[Pairs], np.float32]:
    """The best of them, and the least score among these."""
    queries, items, scores = (np.concatenate(column) for column in zip(*parts, strict=True))
    if len(scores) <= count:
        return [Pairs(queries, items, scores)], np.float32(-np.inf)
    least = np.partition(scores, len(scores) - count)[len(scores) - count]
    kept = scores >= least
    return [Pairs(queries[kept], items[kept], scores[kept])], least


def one_ranking(
    pairs: Pairs,
    right: npt.NDArray[np.bool_],
    positives: Ints,
    *,
    precision: float = 0.9,
    ks: tuple[int, ...] = (),
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> OneRanking:
    """Measure one ranking of pairs.

    Args:
        pairs: as :func:`best_pairs` gives them.
        right: bool (p,), which of them are.
        positives: int64 (nq,), how many right items each query has, found or not.
        precision: that `recall` is taken at. ks: that `found` is.
        confidence, resamples, seed: of the intervals; whole queries are drawn, those that nothing is right for, too.

    Raises:
        RetrievalError: nothing is right for any query.
    """
    total = int(positives.sum())
    if not total:
        raise RetrievalError("no item is right for any query, so there is nothing to measure: check the ground truth")
    order = np.lexsort((right, -pairs.scores.astype(np.float64)))  # wrong first where scores are equal
    scores, truth, asking = pairs.scores[order], right[order], pairs.queries[order]
    last = np.append(scores[1:] != scores[:-1], True)  # of a group of equal scores
    exact = 0.0
    if truth.any():
        exact = replace(Ranking.of(scores, truth), total=total).average_precision()
    hits = _found(asking, scores, truth, ks, len(positives))
    values, low, high = bootstrap(
        lambda times: (*_weighted(times, truth, asking, last, positives, precision), *_shares(times, hits, positives)),
        len(positives),
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )
    n = len(positives)
    ends = zip(values.tolist(), low.tolist(), high.tolist(), strict=True)
    worst, recall, *found = (Interval(*one, n) for one in ends)
    tied = not last.all()
    low_, high_ = (np.nan, np.nan) if tied else (worst.low, worst.high)
    return OneRanking(Interval(exact, low_, high_, n), worst, recall, dict(zip(ks, found, strict=True)))


def _found(
    asking: Ints, scores: Vectors, truth: npt.NDArray[np.bool_], ks: tuple[int, ...], queries: int
) -> npt.NDArray[np.float64]:
    """float64 (len(ks), queries), how many right pairs of each query are among its first k; best first, and of equal
    scores all others are before a right one."""
    order = np.argsort(asking, kind="stable")
    who, score = asking[order], scores[order]
    first = np.searchsorted(who, who)  # where each query's pairs begin
    same = np.append((who[1:] != who[:-1]) | (score[1:] != score[:-1]), True)
    ends = np.flatnonzero(same)  # of a group of one query's equal scores
    rank = ends[np.searchsorted(ends, np.arange(len(who)))] - first
    right = truth[order]
    return (
        np.array([np.bincount(who[right & (rank < k)], minlength=queries) for k in ks]).reshape(len(ks), queries) * 1.0
    )


def _shares(times: npt.NDArray[np.float64], hits: npt.NDArray[np.float64], positives: Ints) -> tuple[float, ...]:
    """The share of the right pairs that are such hits, where each query counts so many times; NaN where none counts."""
    total = float(times @ positives)
    return tuple(hits @ times / total) if total else (np.nan,) * len(hits)


def _weighted(
    times: npt.NDArray[np.float64],
    truth: npt.NDArray[np.bool_],
    asking: Ints,
    last: npt.NDArray[np.bool_],
    positives: Ints,
    precision: float,
) -> tuple[float, float]:
    """Average precision and recall where each query counts so many times; NaN where none with a right item does."""
    total = float(times @ positives)
    if not total:
        return np.nan, np.nan
    weight = times[asking]
    hits, seen = np.cumsum(weight * truth), np.cumsum(weight)
    # of a pair that counts w times, the ranks are w; their mean precision is taken at the last of them
    reached = hits / np.maximum(seen, 1)
    good = hits[last & (reached >= precision) & (seen > 0)]
    return float((weight * truth * reached).sum() / total), float(good.max(initial=0) / total)
