"""What the calibrations of an index say of an answer: P for each hit and why, where the matches end, whether any is.

A calibration looks at the first hits of a query (:mod:`surroundings`), whatever was asked for: with a filter, a least
score or few hits these are looked up besides. So what is said of a hit does not depend on the hits that are shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from retrieval.index import Index
from retrieval.measures import UNLABELLED
from retrieval.search.calibration.cohort import Cohort
from retrieval.search.calibration.record import Calibration, fold
from retrieval.search.calibration.surroundings import DEPTH, LABEL_COLUMNS, TEN, First, columns, of_query
from retrieval.search.calibration.weights import probability

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Ranking = tuple[npt.NDArray[np.float32], Ints]
"""Scores and ids of a query's hits, best first."""


MOST_LABELS = 100_000
"""Items whose labels are kept in memory."""


class Reading(NamedTuple):
    """What a calibration says of one answer.

    Attributes:
        chances: float64 (k,), P of each hit.
        evidence: for each hit what made it, by word, in log-odds that sum to those of P; None where its score did.
        fold: how many of the first hits to keep; see :func:`fold`.
        no_match: whether the index has no match; None where nobody can say.
    """

    chances: Doubles
    evidence: tuple[Mapping[str, float] | None, ...]
    fold: int
    no_match: bool | None


class Reader:
    """A calibration, ready to be asked. Any number of threads may ask.

    Args:
        index: open.
        calibration: of the index.
    """

    def __init__(self, index: Index, calibration: Calibration) -> None:
        self._index = index
        self.calibration = calibration
        self._cohort = Cohort(index, calibration.cohort)
        self._labels: dict[int, str | None] = {}

    def read(
        self,
        vectors: npt.NDArray[np.generic],
        own: Sequence[Sequence[int]],
        first: Sequence[Ranking],
        hits: Sequence[Ranking],
    ) -> list[Reading]:
        """What is to be said of some answers.

        Args:
            vectors: (b, d), the queries, as the index takes them.
            own: of each the ids of itself and its copies.
            first: of each its first hits, :data:`DEPTH` and the own ones among them or more.
            hits: of each those that are shown.
        """
        near = [_without(ranking, ids) for ranking, ids in zip(first, own, strict=True)]
        looked_at, shown = _padded(near, DEPTH), _padded(hits, max((len(ids) for _, ids in hits), default=0))
        wanted = {id_ for some in (looked_at, shown) for id_ in some.ids[some.ids >= 0].tolist()}
        known = self._labels_of(wanted)
        names: dict[str, int] = {}
        looked_at, shown = _labelled(looked_at, known, names), _labelled(shown, known, names)
        ten = looked_at.top(TEN)
        of_hits = columns(shown, looked_at)
        same = np.array_equal(shown.ids[:, :TEN], ten.ids)  # as they are where nothing is filtered
        of_ten = of_hits[:, :TEN] if same else columns(ten, looked_at)
        queries = of_query(of_ten, np.isfinite(ten.scores), self._cohort.standard(vectors, own, looked_at))
        return [
            self._of_one(
                shown.scores[row, :n], of_hits[row, :n], shown.labels[row, :n], looked_at.scores[row, 0], query
            )
            for row, (n, query) in enumerate(zip((len(ids) for _, ids in hits), queries, strict=True))
        ]

    def _labels_of(self, ids: set[int]) -> Mapping[int, str | None]:
        """Labels by id, of these and perhaps of others. They are kept, as the first hits of queries overlap."""
        known = self._labels  # which another thread may put another in place of
        unknown = sorted(id_ for id_ in ids if id_ not in known)
        if unknown:
            labels = self._index.labels_of(unknown)
            if len(known) >= MOST_LABELS:
                self._labels = known = {id_: known[id_] for id_ in ids if id_ in known}
            known.update((id_, labels.get(id_)) for id_ in unknown)
        return known

    def _of_one(self, scores: Doubles, table: Doubles, labels: Ints, best: float, query: Doubles) -> Reading:
        """Of one answer: scores, numbers and labels of its hits, the best score of all, and the query's numbers."""
        calibration, model = self.calibration, self.calibration.evidence
        chances = calibration.map(scores)
        evidence: list[Mapping[str, float] | None] = [None] * len(scores)
        if model is not None:
            usable = np.ones(len(scores), bool)
            if set(model.columns) & set(LABEL_COLUMNS):  # of a hit without a label its score alone speaks
                usable = labels != UNLABELLED
            said = model.said(table)
            chances = np.where(usable, probability(said.sum(axis=-1) + model.intercept), chances)
            evidence = [part if use else None for part, use in zip(model.parts(said), usable.tolist(), strict=True)]
        no_match = None
        if np.isfinite(best):
            has_match = calibration.has_match if len(self._cohort.ids) else None
            no_match = (
                best < calibration.no_match_below
                if has_match is None
                else float(has_match.log_odds(query)) < calibration.no_match_under
            )
        return Reading(chances, tuple(evidence), fold(chances), None if no_match is None else bool(no_match))


def readings(
    readers: Mapping[str, Reader],
    about: Sequence[Sequence[str]],
    vectors: npt.NDArray[np.generic],
    own: Sequence[Sequence[int]],
    first: Sequence[Ranking],
    hits: Sequence[Ranking],
) -> list[dict[str, Reading]]:
    """What the calibrations say of each answer, by what they are about.

    Args:
        readers: by what they are about. about: of each query those that may be asked.
        vectors, own, first, hits: as for :meth:`Reader.read`.
    """
    found: list[dict[str, Reading]] = [{} for _ in about]
    for name, reader in readers.items():
        rows = [row for row, names in enumerate(about) if name in names]
        if rows:
            read = reader.read(
                vectors[rows], [own[row] for row in rows], [first[row] for row in rows], [hits[row] for row in rows]
            )
            for row, reading in zip(rows, read, strict=True):
                found[row][name] = reading
    return found


def _without(ranking: Ranking, own: Sequence[int]) -> Ranking:
    scores, ids = ranking
    left_out = {*own}
    kept = [place for place, id_ in enumerate(ids.tolist()) if id_ not in left_out]  # numpy.isin is ten times slower
    return ranking if len(kept) == len(ids) else (scores[kept], ids[kept])


def _padded(rankings: Sequence[Ranking], width: int) -> First:
    """Rankings side by side, their labels not known yet."""
    ids, scores = np.full((len(rankings), width), -1), np.full((len(rankings), width), -np.inf)
    for row, (best, found) in enumerate(rankings):
        n = min(width, len(found))
        ids[row, :n], scores[row, :n] = found[:n], best[:n]
    return First(ids, scores, np.full(ids.shape, UNLABELLED))


def _labelled(hits: First, known: Mapping[int, str | None], names: dict[str, int]) -> First:
    """The same with the number of each label, new ones counting on."""
    labels = [
        UNLABELLED if (label := known.get(id_)) is None else names.setdefault(label, len(names))
        for id_ in hits.ids.ravel().tolist()
    ]
    return First(hits.ids, hits.scores, np.array(labels, np.int64).reshape(hits.ids.shape))
