"""Measures of one ranking, with ties by expectation.

Items that share a score have no order among themselves. Every measure here is its expectation over all orders
of such items, each as likely as any other (McSherry and Najork, "Computing information retrieval performance
measures efficiently in the presence of tied scores", ECIR 2008). So no measure depends on the order in which
items happen to be stored, and a ranking in which everything is tied scores what a random order scores.

A :class:`Ranking` is a ranking seen from its relevant items: all that these measures need, and exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval.errors import RetrievalError

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Ranking:
    """The groups of equal scores that hold a relevant item, best score first.

    Attributes:
        above: int64 (g,), items ranked strictly before the group.
        size: int64 (g,), items in the group.
        relevant: int64 (g,), relevant items in the group, at least 1.
        relevant_above: int64 (g,), relevant items ranked strictly before the group.
        items: how many items were ranked.
        total: R, how many relevant items there are; never only those found within some k.
    """

    above: Ints
    size: Ints
    relevant: Ints
    relevant_above: Ints
    items: int
    total: int

    @classmethod
    def of(cls, scores: Floats, relevant: npt.NDArray[np.bool_]) -> Ranking:
        """The ranking of items by descending score.

        Args:
            scores: float (n,), higher is better, no NaN.
            relevant: bool (n,), which items are relevant.

        Raises:
            RetrievalError: the shapes differ, a score is NaN, or no item is relevant.
        """
        scores, relevant = np.asarray(scores), np.asarray(relevant)
        if scores.ndim != 1 or scores.shape != relevant.shape or relevant.dtype != np.bool_:
            raise RetrievalError(
                f"scores {scores.shape} and relevant {relevant.shape} ({relevant.dtype}) must be one row "
                "each of the same length, the second of booleans: give one score and one yes or no for each item"
            )
        if np.isnan(scores).any():
            raise RetrievalError(f"{int(np.isnan(scores).sum())} scores are not a number: leave those items out")
        if not relevant.any():
            raise RetrievalError("no item is relevant, so this query has no measure: leave it out and count it")
        return cls.of_sorted(np.sort(scores), np.sort(scores[relevant]))

    @classmethod
    def of_sorted(cls, scores: Floats, relevant_scores: Floats) -> Ranking:
        """The same from ascending scores (n,) of all items and of the relevant ones (R,), without a check."""
        items, total = scores.size, relevant_scores.size
        end = np.searchsorted(scores, relevant_scores, side="right")
        tied = (end >= 2) & (scores[end - 2] == relevant_scores)
        if not tied.any():
            ones = np.ones(total, np.int64)
            return cls((items - end)[::-1], ones, ones, np.arange(total), items, total)
        # One row a distinct score. Only the tied ones need a second search for the lower end of their group.
        last = np.flatnonzero(np.append(relevant_scores[1:] != relevant_scores[:-1], True))
        relevant = np.diff(last, prepend=-1)
        end, tied = end[last], tied[last]
        size = np.ones(last.size, np.int64)
        size[tied] = end[tied] - np.searchsorted(scores, relevant_scores[last[tied]], side="left")
        above, relevant_above = items - end, total - 1 - last
        return cls(above[::-1], size[::-1], relevant[::-1], relevant_above[::-1], items, total)

    @classmethod
    def by_chance(cls, items: int, total: int) -> Ranking:
        """The ranking of `items` of which `total` are relevant when nothing tells them apart."""
        one = np.ones(1, np.int64)
        return cls(0 * one, items * one, total * one, 0 * one, items, total)

    def hits(self, k: int) -> float:
        """Expected number of relevant items among the first k."""
        reached = slice(0, k)  # each group holds an item at least, so no later one begins above rank k
        size = self.size[reached]
        inside = np.clip(k - self.above[reached], 0, size)
        return float((self.relevant[reached] * inside / size).sum())

    def precision(self, k: int) -> float:
        """P@k: relevant items among the first k, divided by k, even where fewer than k items were ranked."""
        if k < 1:
            raise RetrievalError(f"P@k was asked for k = {k}: k must be at least 1")
        return self.hits(k) / k

    def r_precision(self) -> float:
        """Precision among the first R, where R is the number of relevant items."""
        return self.hits(self.total) / self.total

    def average_precision(self, cutoff: int | None = None) -> float:
        """Sum over relevant items at rank i ≤ cutoff of P@i, divided by R.

        Without a cutoff the average precision over the full ranking; with cutoff R what MAP@R averages
        (Musgrave, Belongie and Lim, "A metric learning reality check", ECCV 2020). No interpolation, no
        trapezoids.
        """
        above, size, relevant, relevant_above = self.above, self.size, self.relevant, self.relevant_above
        if cutoff is not None:
            reached = int(np.searchsorted(above, cutoff))
            above, size = above[:reached], size[:reached]
            relevant, relevant_above = relevant[:reached], relevant_above[:reached]
        precision = (relevant_above + 1) / (above + 1)  # right where the group is one item
        tied = np.flatnonzero(size > 1)
        if tied.size:
            inside = size[tied] if cutoff is None else np.minimum(size[tied], cutoff - above[tied])
            precision[tied] = _tied_sum(above[tied], size[tied], relevant[tied], relevant_above[tied], inside)
        return float(precision.sum()) / self.total


def _tied_sum(above: Ints, size: Ints, relevant: Ints, relevant_above: Ints, inside: Ints) -> npt.NDArray[np.float64]:
    """Expected sum of P@i over the relevant items at the first `inside` ranks of each group of equal scores.

    A rank holds a relevant item with probability r/n; given that, each other rank of the group holds one with
    probability (r − 1)/(n − 1).
    """
    group = np.repeat(np.arange(size.size), inside)
    start = np.cumsum(inside) - inside
    before = np.arange(group.size) - start[group]  # ranks of the same group before this one
    slope = (relevant - 1) / (size - 1)
    found = relevant_above[group] + 1 + before * slope[group]
    terms = relevant[group] / size[group] * found / (above[group] + before + 1)
    sums: npt.NDArray[np.float64] = np.add.reduceat(terms, start)
    return sums


def precision_at(scores: Floats, relevant: npt.NDArray[np.bool_], k: int) -> float:
    """P@k of one ranking: expected relevant items among the first k, divided by k. See :meth:`Ranking.of`."""
    return Ranking.of(scores, relevant).precision(k)


def r_precision(scores: Floats, relevant: npt.NDArray[np.bool_]) -> float:
    """R-precision of one ranking: P@R, R the number of relevant items. See :meth:`Ranking.of`."""
    return Ranking.of(scores, relevant).r_precision()


def average_precision(scores: Floats, relevant: npt.NDArray[np.bool_]) -> float:
    """Average precision over the full ranking, divided by the number of relevant items. See
    :meth:`Ranking.of`."""
    return Ranking.of(scores, relevant).average_precision()


def average_precision_at_r(scores: Floats, relevant: npt.NDArray[np.bool_]) -> float:
    """What MAP@R averages: average precision cut at rank R, divided by R. See :meth:`Ranking.of`."""
    ranking = Ranking.of(scores, relevant)
    return ranking.average_precision(ranking.total)
