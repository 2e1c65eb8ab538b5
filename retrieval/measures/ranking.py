"""Measures of one ranking, with ties by expectation.

Items that share a score have no order among themselves. Every measure here is its expectation over all orders
of such items, each as likely as any other (McSherry and Najork, "Computing information retrieval performance
measures efficiently in the presence of tied scores", ECIR 2008). So no measure depends on the order in which
items happen to be stored, and a ranking in which everything is tied scores what a random order scores. Only the
interpolated precision has no such form; it is that of the worst order, which does not depend on luck either.

A :class:`Ranking` is a ranking seen from its relevant items: all that these measures need, and exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from retrieval.errors import RetrievalError

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


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
        gains: float64 (g,), the sum of the group's grades. None: each relevant item's grade is 1.
        ideal: float64 (total,), all grades, highest first. None: the same.
        distance: int64 (g,), how far each group is, where that is counted in whole numbers, as of codes.
        within: int64, how many items there are up to each distance 0, 1, 2, ...; where there are distances.
    """

    above: Ints
    size: Ints
    relevant: Ints
    relevant_above: Ints
    items: int
    total: int
    gains: Doubles | None = None
    ideal: Doubles | None = None
    distance: Ints | None = None
    within: Ints | None = None

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
        _check(scores, relevant)
        return cls.of_sorted(np.sort(scores), np.sort(scores[relevant]))

    @classmethod
    def of_grades(cls, scores: Floats, grades: npt.ArrayLike) -> Ranking:
        """The ranking of items by descending score, with graded relevance.

        Args:
            scores: float (n,), higher is better, no NaN.
            grades: numbers (n,): 0 for an irrelevant item, above 0 for a relevant one.

        Raises:
            RetrievalError: the shapes differ, a score is NaN, a grade is negative or not finite, or none is
                above 0.
        """
        scores, graded = np.asarray(scores), np.asarray(grades, np.float64)
        if scores.ndim != 1 or scores.shape != graded.shape:
            raise RetrievalError(f"{graded.shape} grades for {scores.shape} scores: give one of each for every item")
        if not (np.isfinite(graded) & (graded >= 0)).all():
            raise RetrievalError(f"grades reach from {graded.min()} to {graded.max()}: give finite ones from 0 upwards")
        relevant = np.flatnonzero(graded > 0)
        _check(scores, graded > 0)
        order = relevant[np.argsort(scores[relevant], kind="stable")]
        return cls.of_sorted(np.sort(scores), scores[order], graded[order])

    @classmethod
    def of_sorted(cls, scores: Floats, relevant_scores: Floats, grades: Doubles | None = None) -> Ranking:
        """The same from ascending scores (n,) of all items and of the relevant ones (R,), without a check.

        Args:
            scores: of all items, ascending.
            relevant_scores: of the relevant ones, ascending.
            grades: float64 (R,), the grade of each of these; 1 if None.
        """
        items, total = scores.size, relevant_scores.size
        end = np.searchsorted(scores, relevant_scores, side="right")
        tied = (end >= 2) & (scores[end - 2] == relevant_scores)
        ideal = None if grades is None else np.sort(grades)[::-1]
        if not tied.any():
            ones = np.ones(total, np.int64)
            gains = None if grades is None else grades[::-1]
            return cls((items - end)[::-1], ones, ones, np.arange(total), items, total, gains, ideal)
        # One row a distinct score. Only the tied ones need a second search for the lower end of their group.
        last = np.flatnonzero(np.append(relevant_scores[1:] != relevant_scores[:-1], True))
        relevant = np.diff(last, prepend=-1)
        end, tied = end[last], tied[last]
        size = np.ones(last.size, np.int64)
        size[tied] = end[tied] - np.searchsorted(scores, relevant_scores[last[tied]], side="left")
        above, relevant_above = items - end, total - 1 - last
        gains = None if grades is None else np.add.reduceat(grades, last + 1 - relevant)[::-1]
        return cls(above[::-1], size[::-1], relevant[::-1], relevant_above[::-1], items, total, gains, ideal)

    @classmethod
    def of_few(cls, scores: Floats, relevant_scores: Floats, items: int) -> Ranking:
        """The same where few items are relevant: the others are counted, which is faster than sorting them.

        Args:
            scores: of all items, in any order; −∞ for what is not ranked.
            relevant_scores: of the relevant ones, above −∞.
            items: how many of the scores are ranked.
        """
        level, relevant = np.unique(relevant_scores, return_counts=True)
        above = np.array([np.count_nonzero(scores > score) for score in level])
        size = np.array([np.count_nonzero(scores == score) for score in level])
        return cls(
            above[::-1],
            size[::-1],
            relevant[::-1],
            (relevant_scores.size - np.cumsum(relevant))[::-1],
            items,
            relevant_scores.size,
        )

    @classmethod
    def of_counts(cls, sizes: Ints, relevant: Ints, grades: tuple[Doubles, Doubles] | None = None) -> Ranking:
        """The same from how many items share each score, without a check.

        Args:
            sizes: int64 (s,), how many items are at distance 0, 1 and so on; 0 is allowed.
            relevant: int64 (s,), how many of these are relevant.
            grades: float64 (s,), their grades' sums, and float64 (R,), all grades, highest first; all 1 if None.
        """
        held = np.flatnonzero(relevant)
        above, relevant_above = np.cumsum(sizes) - sizes, np.cumsum(relevant) - relevant
        gains, ideal = (None, None) if grades is None else (grades[0][held], grades[1])
        items, total = int(sizes.sum()), int(relevant.sum())
        groups = above[held], sizes[held], relevant[held], relevant_above[held]
        return cls(*groups, items, total, gains, ideal, distance=held, within=np.cumsum(sizes))

    @classmethod
    def by_chance(cls, items: int, total: int) -> Ranking:
        """The ranking of `items` of which `total` are relevant when nothing tells them apart."""
        nothing = np.zeros(0, np.int64)
        return cls(nothing, nothing, nothing, nothing, items, total).shuffled()

    def shuffled(self) -> Ranking:
        """The same items when nothing tells them apart."""
        one = np.ones(1, np.int64)
        gains = None if self.ideal is None else self.ideal.sum(keepdims=True)
        return Ranking(0 * one, self.items * one, self.total * one, 0 * one, self.items, self.total, gains, self.ideal)

    def hits(self, k: int) -> float:
        """Expected number of relevant items among the first k."""
        reached = self._reached(k)
        if not reached:
            return 0.0
        last = reached - 1  # of all these groups only the last one may reach beyond rank k
        size = int(self.size[last])
        inside = min(k - int(self.above[last]), size)
        return int(self.relevant_above[last]) + int(self.relevant[last]) * inside / size

    def precision(self, k: int) -> float:
        """P@k: relevant items among the first k, divided by k, even where fewer than k items were ranked."""
        if k < 1:
            raise RetrievalError(f"P@k was asked for k = {k}: k must be at least 1")
        return self.hits(k) / k

    def recall(self, k: int) -> float:
        """Relevant items among the first k, divided by R: the share of them that was found."""
        return self.hits(k) / self.total

    def hit_rate(self, k: int) -> float:
        """Probability that at least one of the first k is relevant."""
        above, size, relevant = int(self.above[0]), int(self.size[0]), int(self.relevant[0])
        inside = min(k - above, size)
        if inside <= 0:
            return 0.0
        # of the group's places `inside` count, and `relevant` hold a relevant item: the chance that none does both
        fewer, more = sorted((inside, relevant))
        if fewer + more > size:
            return 1.0
        taken = np.arange(fewer)
        return 1.0 - float(np.prod((size - more - taken) / (size - taken)))

    def r_precision(self) -> float:
        """Precision among the first R, where R is the number of relevant items."""
        return self.hits(self.total) / self.total

    def average_precision(self, cutoff: int | None = None) -> float:
        """Sum over relevant items at rank i ≤ cutoff of P@i, divided by R.

        Without a cutoff the average precision over the full ranking; with cutoff R what MAP@R averages
        (Musgrave, Belongie and Lim, "A metric learning reality check", ECCV 2020). No interpolation, no
        trapezoids.
        """
        return self._precisions(cutoff) / self.total

    def average_precision_at(self, k: int) -> float:
        """AP@k: sum over relevant items at rank i ≤ k of P@i, divided by min(R, k), which a perfect ranking
        reaches. Never divided by the hits found within k."""
        return self._precisions(k) / min(self.total, k)

    def trapezoids(self) -> float:
        """The area under the precision–recall curve by trapezoids: for each relevant item, at rank i, the mean of P@i
        and P@(i − 1), with P@0 = 1; divided by R.

        So count the programs that belong to the Holidays, to Revisited Oxford and Paris, and to Market-1501. It is not
        the average precision, which takes P@i alone: an item at rank i behind j relevant ones has j / (i − 1) more or
        less for it.
        """
        before = np.divide(self.relevant_above, self.above, out=np.ones(self.above.size), where=self.above > 0)
        tied = self._all_tied
        if tied.size:
            above, size, relevant = self.above[tied], self.size[tied], self.relevant[tied]
            # as in :func:`_tied_sum`, one rank and one relevant item earlier; nothing stands before the first rank
            slope = (relevant - 1) / (size - 1)
            rest = self.relevant_above[tied] - slope * above
            first = above == 0
            sums = slope * size + rest * _harmonic(np.maximum(above - 1, 0), np.maximum(above + size - 1, 0))
            before[tied] = relevant / size * np.where(first, 1 + slope * (size - 1), sums)
        return (float(before.sum()) + self._precisions(None)) / (2 * self.total)

    def precision_to_last(self, k: int) -> float:
        """P@k, but where every relevant item stands before rank k, the precision at the last of them: so counts the
        program of Revisited Oxford and Paris its mP@k, which a perfect ranking of fewer than k then brings to 1."""
        above, size, relevant = int(self.above[-1]), int(self.size[-1]), int(self.relevant[-1])
        ways = math.comb(size, relevant)
        all_inside = ended = 0.0
        for place in range(relevant, min(k - above, size) + 1):  # of the last relevant item among those it ties with
            chance = math.comb(place - 1, relevant - 1) / ways
            all_inside += chance
            ended += chance * self.total / (above + place)
        return ended + (self.hits(k) - self.total * all_inside) / k

    def average_precision_of_found(self, k: int) -> float:
        """Sum over relevant items at rank i ≤ k of P@i, divided by how many of them there are; 0 where there is none.

        So count the programs of hashing their mAP@k: one right answer of a thousand, at rank 1, scores 1.
        """
        reached = self._reached(k)
        if not reached:
            return 0.0
        last = reached - 1
        above, size = int(self.above[last]), int(self.size[last])
        relevant, before = int(self.relevant[last]), int(self.relevant_above[last])
        inside = min(k - above, size)
        if inside == size:
            return self._precisions(k) / (before + relevant)
        # how many of the last group's relevant items are inside is hypergeometric; each place is as likely as any other
        hits = np.arange(max(0, inside - (size - relevant)), min(relevant, inside) + 1)
        chance = _hypergeometric(hits, size, relevant, inside)
        sums = np.full(hits.size, self._precisions(above) if above else 0.0)
        some = hits > 0
        one = np.ones(int(some.sum()), np.int64)
        if inside == 1:
            sums[some] += (before + 1) / (above + 1)
        else:
            sums[some] += _tied_sum(above * one, inside * one, hits[some], before * one, inside * one)
        return float((chance * sums / np.maximum(before + hits, 1)).sum())

    def precision_within(self, distance: int) -> float:
        """Relevant items among those that are at most so far, divided by how many these are; 0 where nothing is so
        near, and NaN where scores are no distances."""
        if self.distance is None or self.within is None:
            return math.nan
        items = int(self.within[min(distance, self.within.size - 1)])
        return int(self.relevant[self.distance <= distance].sum()) / items if items else 0.0

    def reciprocal_rank(self) -> float:
        """1 / rank of the first relevant item."""
        above, size, relevant = int(self.above[0]), int(self.size[0]), int(self.relevant[0])
        if size == 1:
            return 1 / (above + 1)
        if relevant == 1:
            return float(_harmonic(self.above[:1], self.above[:1] + size)[0]) / size
        # The first of them is at the group's place t with a probability that falls at least as fast as
        # (1 − relevant/size)^t: what lies where this is below 1e-18 adds nothing.
        last = min(size - relevant + 1, 42 * size // relevant + 1)
        t = np.arange(1, last + 1)
        probability = np.cumprod(np.append(relevant / size, (size - relevant + 1 - t[:-1]) / (size - t[:-1])))
        return float((probability / (above + t)).sum())

    def ndcg(self, k: int | None = None) -> float:
        """Normalised discounted cumulative gain: Σ grade(i) / log2(i + 1) over ranks i ≤ k, divided by that of
        the best order of all relevant items, found or not.

        The gain is the grade itself (Järvelin and Kekäläinen 2002), as in scikit-learn; for 2^grade − 1 give
        these as grades. Without k over the full ranking.
        """
        discounts, sums = _discounts(max(self.items, self.total).bit_length())
        k = self.items if k is None else k
        reached = self._reached(k)
        discount = discounts[self.above[:reached]]  # right where the group is one item
        tied = self._tied(reached)
        if tied.size:
            above, size = self.above[tied], self.size[tied]
            discount[tied] = (sums[above + np.minimum(k - above, size)] - sums[above]) / size
        gains = self.relevant if self.gains is None else self.gains
        if self.ideal is None:
            best = sums[min(k, self.total)]
        else:
            ideal = self.ideal[:k]
            best = ideal @ discounts[: ideal.size]
        return float(gains[:reached] @ discount) / float(best)

    def interpolated_precision(self, levels: npt.ArrayLike) -> Doubles:
        """For each recall level the highest precision at any rank whose recall reaches it (TREC's interpolation).

        Of a group of equal scores the irrelevant items come first, which is the worst order; so the curve has its
        corners where a threshold on the score could stand.

        Args:
            levels: numbers (l,) from 0 to 1.
        """
        found = self.relevant_above + self.relevant
        precision = found / (self.above + self.size)
        best = np.maximum.accumulate(precision[::-1])[::-1]
        needed = np.ceil(np.asarray(levels, np.float64) * self.total * (1 - 1e-12))  # 0.3 · 10 is above 3
        curve: Doubles = best[np.searchsorted(found, needed)]
        return curve

    def _precisions(self, cutoff: int | None) -> float:
        """Expected sum of P@i over the relevant items at ranks i ≤ cutoff."""
        reached = self.above.size if cutoff is None else self._reached(cutoff)
        precision = (self.relevant_above[:reached] + 1) / (self.above[:reached] + 1)  # right where it is one item
        tied = self._tied(reached)
        if tied.size:
            above, size = self.above[tied], self.size[tied]
            inside = size if cutoff is None else np.minimum(size, cutoff - above)
            precision[tied] = _tied_sum(above, size, self.relevant[tied], self.relevant_above[tied], inside)
        return float(precision.sum())

    def _reached(self, k: int) -> int:
        """How many groups begin within the first k ranks."""
        return int(self.above.searchsorted(k))

    def _tied(self, reached: int) -> Ints:
        """Which of the first groups hold more than one item."""
        every = self._all_tied
        return every[: every.searchsorted(reached)] if every.size else every

    @cached_property
    def _all_tied(self) -> Ints:
        return np.flatnonzero(self.size > 1)


def _check(scores: Floats, relevant: npt.NDArray[np.bool_]) -> None:
    if np.isnan(scores).any():
        raise RetrievalError(f"{int(np.isnan(scores).sum())} scores are not a number: leave those items out")
    if not relevant.any():
        raise RetrievalError("no item is relevant, so this query has no measure: leave it out and count it")


def _tied_sum(above: Ints, size: Ints, relevant: Ints, relevant_above: Ints, inside: Ints) -> Doubles:
    """Expected sum of P@i over the relevant items at the first `inside` ranks of each group of equal scores.

    A rank holds a relevant item with probability r/n; given that, each other rank of the group holds one with
    probability s = (r − 1)/(n − 1). So behind a items, b of them relevant, the sum is r/n · Σ (b + 1 + js)/(a + 1 + j)
    over j < inside, and (b + 1 + js)/(a + 1 + j) = s + (b + 1 − s(a + 1))/(a + 1 + j).
    """
    slope = (relevant - 1) / (size - 1)
    rest = relevant_above + 1 - slope * (above + 1)
    sums: Doubles = relevant / size * (slope * inside + rest * _harmonic(above, above + inside))
    return sums


def _hypergeometric(hits: Ints, size: int, relevant: int, inside: int) -> Doubles:
    """The chance of each number of relevant items among `inside` of `size`, `relevant` of which are."""
    from scipy.special import gammaln  # here, as no other ranking needs SciPy

    def ways(n: Ints | int, k: Ints | int) -> Doubles:
        of, some = np.asarray(n, np.float64), np.asarray(k, np.float64)
        logarithm: Doubles = gammaln(of + 1) - gammaln(some + 1) - gammaln(of - some + 1)
        return logarithm

    found: Doubles = np.exp(ways(relevant, hits) + ways(size - relevant, inside - hits) - ways(size, inside))
    return found


_FEW = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, 65))])


def _harmonic(low: Ints, high: Ints) -> Doubles:
    """1/(low + 1) + … + 1/high to the last digits: summed up to 64, by Euler and Maclaurin's series beyond."""

    most = _FEW.size - 1
    ends = np.array([low, high])
    few = _FEW[np.minimum(ends, most)]
    ends = np.maximum(ends, most)
    x = 1 / (ends + 0.5) ** 2
    rest = x * (1 / 24 - x * (7 / 960 - x * 31 / 8064))
    sums: Doubles = few[1] - few[0] + np.log1p((ends[1] - ends[0]) / (ends[0] + 0.5)) + (rest[1] - rest[0])
    return sums


@lru_cache(maxsize=8)
def _discounts(bits: int) -> tuple[Doubles, Doubles]:
    """1/log2(i + 1) for the ranks i = 1 … 2^bits, and the sums of the first 0, 1, 2, … of them."""
    discounts = 1 / np.log2(np.arange(2, 2**bits + 2))
    return discounts, np.concatenate([[0.0], np.cumsum(discounts)])


def r_precision(scores: Floats, relevant: npt.NDArray[np.bool_]) -> float:
    """R-precision of one ranking: P@R, R the number of relevant items. See :meth:`Ranking.of`."""
    return Ranking.of(scores, relevant).r_precision()


def average_precision(scores: Floats, relevant: npt.NDArray[np.bool_]) -> float:
    """Average precision over the full ranking, divided by the number of relevant items. See
    :meth:`Ranking.of`."""
    return Ranking.of(scores, relevant).average_precision()


def ndcg(scores: Floats, grades: npt.ArrayLike, k: int | None = None) -> float:
    """NDCG of one ranking with the true ideal. See :meth:`Ranking.of_grades` and :meth:`Ranking.ndcg`."""
    return Ranking.of_grades(scores, grades).ndcg(k)
