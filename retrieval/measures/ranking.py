"""Measures of one ranking, with ties by expectation.

Items that share a score have no order among themselves. Every measure here is its expectation over all orders
of such items, each as likely as any other (McSherry and Najork, "Computing information retrieval performance
measures efficiently in the presence of tied scores", ECIR 2008). So no measure depends on the order in which
items happen to be stored, and a ranking in which everything is tied scores what a random order scores. Only the
interpolated precision has no such form; it is that of the worst order, which does not depend on luck either.

A :class:`Ranking` is a ranking seen from its relevant items: all that these measures need, and exact. A
:class:`RankingBlock` is many of them, and has the formulas: what a hundred short calls of NumPy say of one ranking, as
many say of all, and while each of these runs another thread can run Python, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from retrieval.errors import RetrievalError

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Number = TypeVar("Number", bound=np.generic)


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
        return float(self._alone.hits(k)[0])

    def precision(self, k: int) -> float:
        """P@k: relevant items among the first k, divided by k, even where fewer than k items were ranked."""
        return float(self._alone.precision(k)[0])

    def recall(self, k: int) -> float:
        """Relevant items among the first k, divided by R: the share of them that was found."""
        return float(self._alone.recall(k)[0])

    def hit_rate(self, k: int) -> float:
        """Probability that at least one of the first k is relevant."""
        return float(self._alone.hit_rate(k)[0])

    def r_precision(self) -> float:
        """Precision among the first R, where R is the number of relevant items."""
        return float(self._alone.r_precision()[0])

    def average_precision(self, cutoff: int | None = None) -> float:
        """Sum over relevant items at rank i ≤ cutoff of P@i, divided by R.

        Without a cutoff the average precision over the full ranking; with cutoff R what MAP@R averages
        (Musgrave, Belongie and Lim, "A metric learning reality check", ECCV 2020). No interpolation, no
        trapezoids.
        """
        return float(self._alone.average_precision(cutoff)[0])

    def average_precision_at_r(self) -> float:
        """The average precision cut at R, of which MAP@R is the mean."""
        return float(self._alone.average_precision_at_r()[0])

    def average_precision_at(self, k: int) -> float:
        """AP@k: sum over relevant items at rank i ≤ k of P@i, divided by min(R, k), which a perfect ranking
        reaches. Never divided by the hits found within k."""
        return float(self._alone.average_precision_at(k)[0])

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
        return float(self._alone.reciprocal_rank()[0])

    def ndcg(self, k: int | None = None) -> float:
        """Normalised discounted cumulative gain: Σ grade(i) / log2(i + 1) over ranks i ≤ k, divided by that of
        the best order of all relevant items, found or not.

        The gain is the grade itself (Järvelin and Kekäläinen 2002), as in scikit-learn; for 2^grade − 1 give
        these as grades. Without k over the full ranking.
        """
        return float(self._alone.ndcg(k)[0])

    def interpolated_precision(self, levels: npt.ArrayLike) -> Doubles:
        """For each recall level the highest precision at any rank whose recall reaches it (TREC's interpolation).

        Of a group of equal scores the irrelevant items come first, which is the worst order; so the curve has its
        corners where a threshold on the score could stand.

        Args:
            levels: numbers (l,) from 0 to 1.
        """
        curve: Doubles = self._alone.interpolated_precision(levels)[0]
        return curve

    def _precisions(self, cutoff: int | None) -> float:
        """Expected sum of P@i over the relevant items at ranks i ≤ cutoff."""
        return float(self._alone.precisions(cutoff)[0])

    def _reached(self, k: int) -> int:
        """How many groups begin within the first k ranks."""
        return int(self.above.searchsorted(k))

    @cached_property
    def _all_tied(self) -> Ints:
        return np.flatnonzero(self.size > 1)

    @cached_property
    def _alone(self) -> RankingBlock:
        return RankingBlock.of([self])


@dataclass(frozen=True)
class RankingBlock:
    """b rankings, as a :class:`Ranking` has one: their groups one after the other.

    Before each ranking's groups, and behind all, stands one place that is empty: sums begin at it, so that they come to
    the same bits as of a ranking alone, and what is asked of no group at all is 0.

    Attributes:
        start: int64 (b + 1,), where the empty place before each ranking is, and the last one.
        above, size, relevant, relevant_above: int64 (groups + b + 1,); in empty places 0, 1, 0 and 0.
        items, total: int64 (b,).
        gains: float64 (groups + b + 1,). None: each relevant item's grade is 1.
        ideal: float64 (total,), for each ranking. None: the same.
        alone: the rankings that these are; None: they are made where one is asked for.
    """

    start: Ints
    above: Ints
    size: Ints
    relevant: Ints
    relevant_above: Ints
    items: Ints
    total: Ints
    gains: Doubles | None = None
    ideal: Sequence[Doubles] | None = None
    alone: Sequence[Ranking] | None = None

    @classmethod
    def of(cls, rankings: Sequence[Ranking]) -> RankingBlock:
        """These rankings; either all have grades or none."""
        start = np.cumsum([0, *(ranking.above.size + 1 for ranking in rankings)])

        def together(name: str, empty: int) -> npt.NDArray[np.generic]:
            place = np.full(1, empty)
            parts = [part for one in rankings for part in (place, getattr(one, name))]
            return np.concatenate([*parts, place])

        names = ("above", "size", "relevant", "relevant_above")
        columns = {name: together(name, int(name == "size")) for name in names}
        items, total = (np.array([getattr(one, name) for one in rankings], np.int64) for name in ("items", "total"))
        ideal = [one.ideal for one in rankings if one.ideal is not None]
        gains = together("gains", 0) if ideal else None
        return cls(start, **columns, items=items, total=total, gains=gains, ideal=ideal or None, alone=rankings)  # type: ignore[arg-type]

    @classmethod
    def of_groups(
        cls,
        count: Ints,
        above: Ints,
        size: Ints,
        relevant: Ints,
        items: Ints,
        gains: Doubles | None = None,
        ideal: Sequence[Doubles] | None = None,
    ) -> RankingBlock:
        """From the groups of all rankings without places between them; `count` (b,) says how many each has."""
        start = np.concatenate([[0], np.cumsum(count + 1)])
        held = np.ones(start[-1] + 1, np.bool_)
        held[start] = False

        def spread(values: npt.NDArray[Number], empty: int) -> npt.NDArray[Number]:
            places = np.full(held.size, empty, values.dtype)
            places[held] = values
            return places

        its = spread(relevant, 0)
        found = np.cumsum(its)
        before = found - its - np.repeat(found[start], np.append(count + 1, 1))
        before[start] = 0
        return cls(
            start, spread(above, 0), spread(size, 1), its, before, items, np.diff(found[start]),
            None if gains is None else spread(gains, 0), ideal,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: int) -> Ranking:
        if self.alone is not None:
            return self.alone[place]
        its = slice(self.start[place] + 1, self.start[place + 1])
        return Ranking(
            self.above[its],
            self.size[its],
            self.relevant[its],
            self.relevant_above[its],
            int(self.items[place]),
            int(self.total[place]),
            None if self.gains is None else self.gains[its],
            None if self.ideal is None else self.ideal[place],
        )

    def hits(self, k: int | Ints) -> Doubles:
        last = self._end(k) - 1  # of all groups that are reached only the last one may reach beyond rank k
        inside = np.minimum(k - self.above[last], self.size[last])
        hits: Doubles = self.relevant_above[last] + self.relevant[last] * inside / self.size[last]
        return hits

    def precision(self, k: int) -> Doubles:
        if k < 1:
            raise RetrievalError(f"P@k was asked for k = {k}: k must be at least 1")
        return self.hits(k) / k

    def recall(self, k: int) -> Doubles:
        return self.hits(k) / self.total

    def hit_rate(self, k: int) -> Doubles:
        first = self.start[:-1] + 1
        size, relevant = self.size[first], self.relevant[first]
        inside = np.minimum(k - self.above[first], size)
        rate = (inside > 0).astype(np.float64)
        for one in np.flatnonzero((inside > 0) & (inside + relevant <= size)):
            # of the group's places `inside` count, and `relevant` hold a relevant item: the chance that none does both
            fewer, more = sorted((int(inside[one]), int(relevant[one])))
            taken, places = np.arange(fewer), int(size[one])
            rate[one] = 1.0 - float(np.prod((places - more - taken) / (places - taken)))
        return rate

    def r_precision(self) -> Doubles:
        return self.hits(self.total) / self.total

    def average_precision(self, cutoff: int | None = None) -> Doubles:
        return self.precisions(cutoff) / self.total

    def average_precision_at_r(self) -> Doubles:
        return self.precisions(self.total) / self.total

    def average_precision_at(self, k: int) -> Doubles:
        return self.precisions(k) / np.minimum(self.total, k)

    def reciprocal_rank(self) -> Doubles:
        first = self.start[:-1] + 1
        above, size, relevant = self.above[first], self.size[first], self.relevant[first]
        rank = 1 / (above + 1)
        one = (relevant == 1) & (size > 1)
        if one.any():
            rank[one] = _harmonic(above[one], above[one] + size[one]) / size[one]
        for some in np.flatnonzero(relevant > 1):
            rank[some] = _first_of_several(int(above[some]), int(size[some]), int(relevant[some]))
        return rank

    def ndcg(self, k: int | None = None) -> Doubles:
        most = int(max(self.items.max(), self.total.max()))
        discounts, sums = _discounts(most.bit_length())

        def part(at: Ints, inside: Ints) -> Doubles:
            above = self.above[at]
            averages: Doubles = (sums[above + inside] - sums[above]) / self.size[at]
            return averages

        discount, end = self._cut(self._discount, k, part)
        gains = self._gains
        spans = zip((self.start[:-1] + 1).tolist(), end.tolist(), strict=True)
        found = np.array([gains[first:last] @ discount[first:last] for first, last in spans])
        if self.ideal is None:
            best = sums[np.minimum(self.items if k is None else k, self.total)]
        else:
            best = np.array([ideal[:k] @ discounts[: ideal[:k].size] for ideal in self.ideal])
        normalised: Doubles = found / best
        return normalised

    def interpolated_precision(self, levels: npt.ArrayLike) -> Doubles:
        """float64 (b, l); see :meth:`Ranking.interpolated_precision`."""
        levels = np.asarray(levels, np.float64)
        order = np.argsort(levels, kind="stable")
        needed = np.ceil(levels[order] * self.total[:, None] * (1 - 1e-12))  # 0.3 · 10 is above 3
        found = np.cumsum(self.relevant)
        precision = (self.relevant_above + self.relevant) / (self.above + self.size)
        whole = np.maximum(needed.astype(np.int64), 1) + (np.cumsum(self.total) - self.total)[:, None]
        # the highest between each level and the next, then from each level on
        at = np.concatenate([self.start[:-1, None], np.searchsorted(found, whole)], axis=1)
        highest = np.maximum.reduceat(precision, at.ravel()).reshape(at.shape)[:, 1:]
        curve = np.empty_like(highest)
        curve[:, order] = np.maximum.accumulate(highest[:, ::-1], axis=1)[:, ::-1]
        return curve

    def tied(self) -> Doubles:
        """The share of the relevant items whose score an irrelevant item has, too."""
        beside = np.where(self.relevant < self.size, self.relevant, 0)
        return np.add.reduceat(beside, self.start[:-1]) / self.total

    def precisions(self, cutoff: int | Ints | None) -> Doubles:
        """Expected sum of P@i over the relevant items at ranks i ≤ cutoff."""

        def part(at: Ints, inside: Ints) -> Doubles:
            return _tied_sum(self.above[at], self.size[at], self.relevant[at], self.relevant_above[at], inside)

        precision, end = self._cut(self._precision, cutoff, part)
        spans = np.stack([self.start[:-1], end], axis=1)
        sums: Doubles = np.add.reduceat(precision, spans.ravel())[::2]
        return sums

    def _cut(
        self, values: Doubles, cutoff: int | Ints | None, part: Callable[[Ints, Ints], Doubles]
    ) -> tuple[Doubles, Ints]:
        """Values of groups where ranks count up to a cutoff, and where each ranking's groups end that it reaches.

        Args:
            values: of whole groups. part: of the groups at these places, of which so many ranks count.
        """
        if cutoff is None:
            return values, self.start[1:]
        end = self._end(cutoff)
        last = end - 1
        inside = cutoff - self.above[last]
        some = (inside > 0) & (inside < self.size[last])
        if some.any():
            values = values.copy()
            values[last[some]] = part(last[some], inside[some])
        return values, end

    def _end(self, k: int | Ints) -> Ints:
        """Where each ranking's groups end that begin within the first k ranks."""
        bounds = self._offset[:-1] + np.minimum(k, self.items)
        return np.maximum(np.searchsorted(self._ranks, bounds), self.start[:-1] + 1)

    @cached_property
    def _offset(self) -> Ints:
        return np.concatenate([[0], np.cumsum(self.items + 1)])

    @cached_property
    def _ranks(self) -> Ints:
        """`above`, counted on from ranking to ranking, so that all ascend."""
        ranks: Ints = self.above + np.repeat(self._offset, np.diff(self.start, append=self.above.size))
        return ranks

    @cached_property
    def _all_tied(self) -> Ints:
        return np.flatnonzero(self.size > 1)

    @cached_property
    def _precision(self) -> Doubles:
        """Expected sum of P@i over the relevant items of each group."""
        precision = (self.relevant_above + 1) / (self.above + 1)  # right where it is one item
        tied = self._all_tied
        if tied.size:
            above, size = self.above[tied], self.size[tied]
            precision[tied] = _tied_sum(above, size, self.relevant[tied], self.relevant_above[tied], size)
        precision[self.start] = 0
        return precision

    @cached_property
    def _discount(self) -> Doubles:
        """The mean discount at the ranks of each group."""
        discounts, sums = _discounts(int(max(self.items.max(), self.total.max())).bit_length())
        discount = discounts[self.above]  # right where the group is one item
        tied = self._all_tied
        if tied.size:
            above, size = self.above[tied], self.size[tied]
            discount[tied] = (sums[above + size] - sums[above]) / size
        return discount

    @cached_property
    def _gains(self) -> Doubles:
        if self.gains is None:
            return self.relevant.astype(np.float64)
        return np.ascontiguousarray(self.gains[::-1])[::-1]  # backwards no BLAS adds them up, each in its own order


def _check(scores: Floats, relevant: npt.NDArray[np.bool_]) -> None:
    if np.isnan(scores).any():
        raise RetrievalError(f"{int(np.isnan(scores).sum())} scores are not a number: leave those items out")
    if not relevant.any():
        raise RetrievalError("no item is relevant, so this query has no measure: leave it out and count it")


def _hypergeometric(hits: Ints, size: int, relevant: int, inside: int) -> Doubles:
    """The chance of each number of relevant items among `inside` of `size`, `relevant` of which are."""
    from scipy.special import gammaln  # here, as no other ranking needs SciPy

    def ways(n: Ints | int, k: Ints | int) -> Doubles:
        of, some = np.asarray(n, np.float64), np.asarray(k, np.float64)
        logarithm: Doubles = gammaln(of + 1) - gammaln(some + 1) - gammaln(of - some + 1)
        return logarithm

    found: Doubles = np.exp(ways(relevant, hits) + ways(size - relevant, inside - hits) - ways(size, inside))
    return found


def _first_of_several(above: int, size: int, relevant: int) -> float:
    """The expected 1 / rank of the first of several relevant items in a group."""
    if size == 1:
        return 1 / (above + 1)
    # The first of them is at the group's place t with a probability that falls at least as fast as
    # (1 − relevant/size)^t: what lies where this is below 1e-18 adds nothing.
    last = min(size - relevant + 1, 42 * size // relevant + 1)
    t = np.arange(1, last + 1)
    probability = np.cumprod(np.append(relevant / size, (size - relevant + 1 - t[:-1]) / (size - t[:-1])))
    return float((probability / (above + t)).sum())


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
