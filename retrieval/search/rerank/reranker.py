"""What a re-ranker is given, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.base.placed_files import Placed
from retrieval.images import Skipped
from retrieval.index import Index

TOP = 100
"""How many of the first ranking a re-ranker looks at, where nobody says another number."""


@dataclass(frozen=True)
class FirstRanking:
    """What the index found for one query.

    Attributes:
        vector: float32 (d,), the query's, of unit length.
        ids: int64 (m,), best first. scores: float32 (m,), their inner products with the query.
        excluded: ids that the query must not get: itself and its copies.
        where: the filter that hits match.
        wanted: how many hits the answer is to have; None: those of the first ranking and no others.
        picture: the query's file; None for a text or a vector.
        known_by: the names by which marks may know the query (:func:`retrieval.search.marks.known_by`).
    """

    vector: NDArray[np.float32]
    ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    excluded: tuple[int, ...] = ()
    where: str | None = None
    wanted: int | None = None
    picture: Path | Placed | None = None
    known_by: frozenset[str] = frozenset()


class Heeded(NamedTuple):
    """The marks of one query that its ranking was learned from.

    Attributes:
        right, wrong: ids of the items that were marked so.
        left_out: the items of its other marks, and why nothing is learned from these.
        places: all of these marks, by their places among those that were given.
    """

    right: tuple[int, ...] = ()
    wrong: tuple[int, ...] = ()
    left_out: tuple[Skipped, ...] = ()
    places: frozenset[int] = frozenset()

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        left_out = [one._asdict() for one in self.left_out]
        return {"right": list(self.right), "wrong": list(self.wrong), "left_out": left_out}


class Reranked(NamedTuple):
    """What came of it.

    Attributes:
        ids: int64 (m,), best first.
        scores: float32 (m,), inner products with the query, as in the first ranking.
        reranked: float64 (m,), the re-ranker's own score, higher is more alike; NaN for hits that it did not look at,
            which keep their order behind those that it did.
        unread: hits whose files could not be read.
        heeded: the marks that were learned from; None where the query has none.
    """

    ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    reranked: NDArray[np.float64]
    unread: tuple[Skipped, ...] = ()
    heeded: Heeded | None = None

    def first(self, count: int | None) -> Reranked:
        """So many of the first hits; None for all."""
        if count is None or count >= len(self.ids):
            return self
        return self._replace(ids=self.ids[:count], scores=self.scores[:count], reranked=self.reranked[:count])


class Reranker(Protocol):
    """Orders the hits of a query anew.

    Attributes:
        name: as `--rerank` has it. top: how many of the first ranking it looks at.
    """

    @property
    def name(self) -> str: ...

    @property
    def top(self) -> int: ...

    def __call__(self, index: Index, first: FirstRanking) -> Reranked:
        """The hits of one query in their new order."""


_NONE = np.full(1024, np.nan)
_NONE.flags.writeable = False


def unchanged(ids: NDArray[np.int64], scores: NDArray[np.float32]) -> Reranked:
    """The first ranking as it is: ids (m,) and scores (m,)."""
    return Reranked(ids, scores, _NONE[: len(ids)] if len(ids) <= len(_NONE) else np.full(len(ids), np.nan))


def reordered(first: FirstRanking, looked_at: int, scores: NDArray[np.float64]) -> Reranked:
    """The first ranking with its first hits ordered by other scores; equal ones keep their order.

    Args:
        first: the ranking.
        looked_at: how many of its hits have such a score.
        scores: float64 (looked_at,), higher is better; NaN for one that could not be looked at, which then stands
            behind those that could.
    """
    order = np.argsort(-scores, kind="stable")  # NaN last
    rest = np.arange(looked_at, len(first.ids))
    places = np.concatenate([order, rest])
    second = np.concatenate([scores[order], np.full(len(rest), np.nan)])
    return Reranked(first.ids[places], first.scores[places], second)
