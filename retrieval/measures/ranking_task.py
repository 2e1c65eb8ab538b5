"""From scores, however they are made, to what each query's ranking is worth: block by block, on all cores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from threading import Event, Lock
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped,unused-ignore]

from retrieval.base.given import whole, whole_numbers
from retrieval.errors import RetrievalError
from retrieval.measures.arrays import UNLABELLED, Ints, Lists, Vectors
from retrieval.measures.knn_vote import vote, votes
from retrieval.measures.ranking import Doubles, Ranking, RankingBlock
from retrieval.measures.relevance import Grades, Relevance


@dataclass(frozen=True)
class Rankings:
    """What each query scored.

    Attributes:
        values: float64 (m,) for each measure by name, in the order of docs/measuring.md: ``P@k``, ``recall@k``,
            ``hit rate@k``, ``mAP@k`` and ``NDCG@k`` for the ks asked for; ``R-precision``; ``MAP@R`` (average
            precision cut at R); ``mAP`` (over everything); ``MRR``; ``NDCG`` (over everything); and, where each item
            has one label, ``kNN accuracy (k=…)`` (probability that the neighbours' vote names the query's label).
        chance: the mean of each measure if a random order answered every query; for the kNN accuracy the
            share of queries that the gallery's commonest label gets right.
        queries: int64 (m,), ascending positions of the queries that count.
        labels: int64 (m,), their labels; −1 where items do not have one label each.
        relevant: int64 (m,), R: how many items of the gallery are relevant, itself not among them.
        best: float32 (m,), the highest score of any item.
        tied: float64 (m,), the share of the relevant items whose score an irrelevant item has, too.
        gallery: how many items were ranked, before each query's own and what it ignores are left out.
        unlabelled_queries, unlabelled_gallery: how many were ignored because they have no label.
        without_relevant: how many queries were left out because no item of the gallery is relevant to them.
        curves: float64 (m, l), the interpolated precision at each recall level that was asked for.
        near_duplicates: int64 (m,), how many items were left out of each query's ranking because they scored as high
            as near-duplicates do; all 0 where nobody asked for that.
        near_duplicates_in_all: the same over every query that was ranked, also those that had no relevant item left.
        confusion: float64 (c, c), for queries of each class (rows) how many of their nearest neighbours have each
            label (columns), in expectation where neighbours tie; None where nobody asked for it.
    """

    values: Mapping[str, Doubles]
    chance: Mapping[str, float]
    queries: Ints
    labels: Ints
    relevant: Ints
    best: Vectors
    tied: Doubles
    gallery: int
    unlabelled_queries: int
    unlabelled_gallery: int
    without_relevant: int
    curves: Doubles
    near_duplicates: Ints
    near_duplicates_in_all: int
    confusion: Doubles | None


@dataclass(frozen=True)
class Asked:
    """What is asked of a block of queries.

    Attributes:
        queries: int64 (b,), which queries these are.
        hidden: for each the positions that are left out of its ranking.
        relevant: for each what is relevant, and the grades of these, as from a :class:`Relevance`.
        duplicate_score: see :class:`Task`.
        neighbours: how many vote; None: nobody asks for them.
    """

    queries: Ints
    hidden: Sequence[Ints]
    relevant: Sequence[tuple[slice | Ints, Grades | None]]
    duplicate_score: float | None
    neighbours: int | None


class Undecided(NamedTuple):
    """One query of several, with more items that tie for the last places among its neighbours than there are places.

    Attributes:
        query: which of them. sure, tied: int64, the neighbours that are certain, and the items that tie.
        places: how many of these are neighbours.
    """

    query: int
    sure: Ints
    tied: Ints
    places: int


class Nearest(NamedTuple):
    """The nearest neighbours of some queries.

    Attributes:
        query, item: int64 (m,), whose neighbour is which item, of the queries whose neighbours are certain.
        undecided: the others, one at a time.
    """

    query: Ints
    item: Ints
    undecided: Iterable[Undecided]


@dataclass(frozen=True)
class Judged:
    """What a scorer says of b queries, r of which have something relevant that is not hidden.

    Attributes:
        ranked: int64 (r,), which of the queries these are, ascending.
        rankings: theirs; None where r is 0.
        best: float (r,), the highest score, as an inner product.
        near_duplicates: int64 (b,), how many items more were left out because of their score.
        nearest: of these r, where neighbours were asked for.
    """

    ranked: Ints
    rankings: RankingBlock | None
    best: npt.NDArray[np.floating]
    near_duplicates: Ints
    nearest: Nearest | None


class Scorer(Protocol):
    """Queries against the gallery.

    Attributes:
        items: how many items there are.
        rows: queries at a time.
    """

    items: int
    rows: int

    def room(self) -> Any:
        """Memory for one thread's block."""

    def judge(self, asked: Asked, room: Any) -> Iterator[Judged]:
        """Score a block of queries, without what is hidden from each; so many at a time as memory suggests."""


def named(ks: Sequence[int]) -> dict[str, Callable[[Ranking], float]]:
    """The measures of a ranking by name.

    Raises:
        RetrievalError: a k is below 1.
    """
    ks = whole_numbers(ks, "k")
    if min(ks, default=1) < 1:
        raise RetrievalError(f"k must be at least 1, but measures are asked for at {list(ks)}")
    return {
        **{f"P@{k}": partial(Ranking.precision, k=k) for k in ks},
        **{f"recall@{k}": partial(Ranking.recall, k=k) for k in ks},
        **{f"hit rate@{k}": partial(Ranking.hit_rate, k=k) for k in ks},
        **{f"mAP@{k}": partial(Ranking.average_precision_at, k=k) for k in ks},
        **{f"NDCG@{k}": partial(Ranking.ndcg, k=k) for k in ks},
        "R-precision": Ranking.r_precision,
        "MAP@R": Ranking.average_precision_at_r,
        "mAP": Ranking.average_precision,
        "MRR": Ranking.reciprocal_rank,
        "NDCG": Ranking.ndcg,
    }


def of_each(measure: Callable[[Ranking], float], rankings: RankingBlock) -> Doubles:
    """What a measure says of each ranking: a method of :class:`Ranking` of all at once, another function one by one."""
    method, given = (measure.func, measure.keywords) if isinstance(measure, partial) else (measure, {})
    name = getattr(method, "__name__", "")
    if vars(Ranking).get(name) is method and name in vars(RankingBlock) and not getattr(measure, "args", ()):
        values: Doubles = getattr(rankings, name)(**given)
        return values
    return np.array([measure(rankings[place]) for place in range(len(rankings))])


@dataclass
class Task:
    """Queries to rank, and the results that threads write into, each into rows of its own.

    Attributes:
        scorer: makes the scores.
        relevance: judges them.
        hidden: what is left out of each query's ranking.
        order: int64 (m,), the queries that may count, in the order in which they are worked on. It has to depend on
            what they are and not on how they were given, since a matrix product rounds by position.
        measures: what to ask of each ranking, by name.
        levels: float64 (l,), recall levels of the curves.
        truth, labels: int64, the label of each query and of each item where each has one.
        neighbours: how many of them vote; None: none, as where there are several labels.
        duplicate_score: from here on an item is a near-duplicate of the query and left out; None: nothing is.
        classes: labels are below this, and those of the neighbours are counted; None: they are not.
    """

    scorer: Scorer
    relevance: Relevance
    hidden: Lists
    order: Ints
    measures: Mapping[str, Callable[[Ranking], float]]
    levels: Doubles
    truth: Ints | None = None
    labels: Ints | None = None
    neighbours: int | None = None
    duplicate_score: float | None = None
    classes: int | None = None
    _known_chance: dict[tuple[int, int], list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.neighbours is not None and whole(self.neighbours, "k") < 1:
            raise RetrievalError(f"{self.neighbours} neighbours cannot vote: k must be at least 1")
        if self.levels.size and not (self.levels.ndim == 1 and self.levels.min() >= 0 and self.levels.max() <= 1):
            raise RetrievalError(f"recall levels are {self.levels}: give a row of numbers from 0 to 1")
        if self.duplicate_score is not None and not self.duplicate_score > -1:
            raise RetrievalError(f"near-duplicates cannot begin at the score {self.duplicate_score}: give one above −1")
        voting = self.labels is not None and self.neighbours is not None
        self._voted = [] if not voting else [f"kNN accuracy (k={self.neighbours})"]
        m, names = len(self.order), len(self.measures)
        self._values = np.empty((m, names + len(self._voted)))
        self._chance = np.empty((m, names))
        self._curves = np.empty((m, len(self.levels)))
        self._relevant = np.zeros(m, np.int64)
        self._best = np.empty(m, np.float32)
        self._tied = np.empty(m)
        self._near_duplicates = np.zeros(m, np.int64)
        self._confusion = None if self.classes is None else np.zeros((self.classes, self.classes))
        self._confusing = Lock()

    def measure(self, threads: int, advance: Callable[[int], object] | None) -> None:
        """Do the work; `advance` is called with the number of queries done since the last call."""
        blocks = range(0, len(self.order), self.scorer.rows)
        threads = max(1, min(threads, len(blocks)))
        stopped, lock, left = Event(), Lock(), iter(blocks)

        def work() -> None:
            room = self.scorer.room()
            for first in left:  # whose core does something else besides takes fewer
                if stopped.is_set():
                    return
                queries = self.order[first : first + self.scorer.rows]
                self._block(first, queries, room)
                if advance is not None:
                    with lock:
                        advance(len(queries))

        # The threads sort as well as multiply, so that each product gets one core, not all of them.
        with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
            try:
                for future in [pool.submit(work) for _ in range(threads)]:
                    future.result()
            finally:
                stopped.set()  # after Ctrl-C or an error the others end with their block

    def _block(self, first: int, queries: Ints, room: Any) -> None:
        every = queries.tolist()
        hidden, relevant = [self.hidden[query] for query in every], [self.relevance.of(query) for query in every]
        voting = None if self.labels is None else self.neighbours
        for judged in self.scorer.judge(Asked(queries, hidden, relevant, self.duplicate_score, voting), room):
            last = first + len(judged.near_duplicates)
            self._near_duplicates[first:last] = judged.near_duplicates
            if judged.rankings is not None:
                self._measure(judged, judged.rankings, first + judged.ranked)
            first = last

    def _measure(self, judged: Judged, rankings: RankingBlock, places: Ints) -> None:
        for column, measure in enumerate(self.measures.values()):
            self._values[places, column] = of_each(measure, rankings)
        if judged.nearest is not None and self.labels is not None and self.truth is not None:
            self._vote(judged.nearest, self.truth[self.order[places]], self.labels, places)
        self._chance[places] = self._by_chance(rankings)
        self._curves[places] = rankings.interpolated_precision(self.levels)
        self._relevant[places] = rankings.total
        self._best[places] = judged.best
        self._tied[places] = rankings.tied()

    def _vote(self, nearest: Nearest, truth: Ints, labels: Ints, places: Ints) -> None:
        query, item, undecided = nearest
        shown = labels[item]
        chance = votes(truth, query, shown)
        counted = [(truth[query], shown, np.ones(query.size))]
        for one, sure, tied, open_places in undecided:
            chance[one] = vote(int(truth[one]), labels[sure], labels[tied], open_places)
            if self.classes is not None:
                shares = np.bincount(labels[sure], minlength=self.classes).astype(np.float64)
                shares += np.bincount(labels[tied], minlength=self.classes) * (open_places / max(1, tied.size))
                counted.append((np.full(self.classes, truth[one]), np.arange(self.classes), shares))
        self._values[places, -1] = chance
        if self._confusion is not None:
            with self._confusing:
                for of, label, share in counted:
                    np.add.at(self._confusion, (of, label), share)

    def _by_chance(self, rankings: RankingBlock) -> list[list[float]]:
        chance = []
        for place, key in enumerate(zip(rankings.items.tolist(), rankings.total.tolist(), strict=True)):
            values = None if rankings.ideal is not None else self._known_chance.get(key)
            if values is None:
                shuffled = rankings[place].shuffled()
                values = [measure(shuffled) for measure in self.measures.values()]
                if rankings.ideal is None:
                    self._known_chance[key] = values
            chance.append(values)
        return chance

    def rankings(self, labelled: npt.NDArray[np.bool_], unlabelled_gallery: int) -> Rankings:
        """What came out, by ascending query.

        Args:
            labelled: bool (nq,), which queries have a label.
            unlabelled_gallery: how many items have none.

        Raises:
            RetrievalError: no query has a relevant item.
        """
        back = np.argsort(self.order)
        back = back[self._relevant[back] > 0]
        if not back.size:
            raise RetrievalError(
                f"none of the {len(labelled)} queries has a relevant item in the gallery of "
                f"{self.scorer.items + unlabelled_gallery}: check that both use the same classes"
            )
        counted = self.order[back]
        names = [*self.measures, *self._voted]
        chance = dict(zip(self.measures, self._chance[back].mean(axis=0).tolist(), strict=True))
        if self._voted and self.labels is not None and self.truth is not None:
            classes, sizes = np.unique(self.labels, return_counts=True)
            commonest = classes[sizes == sizes.max()]
            chance[self._voted[0]] = float(np.isin(self.truth[counted], commonest).mean() / len(commonest))
        return Rankings(
            values={name: self._values[back, column] for column, name in enumerate(names)},
            chance=chance,
            queries=counted,
            labels=np.full(len(counted), UNLABELLED) if self.truth is None else self.truth[counted],
            relevant=self._relevant[back],
            best=self._best[back],
            tied=self._tied[back],
            gallery=self.scorer.items,
            unlabelled_queries=int((~labelled).sum()),
            unlabelled_gallery=unlabelled_gallery,
            without_relevant=int(labelled.sum()) - len(counted),
            curves=self._curves[back],
            near_duplicates=self._near_duplicates[back],
            near_duplicates_in_all=int(self._near_duplicates.sum()),
            # threads add up in any order, which shows in the last digits
            confusion=None if self._confusion is None else self._confusion.round(9),
        )
