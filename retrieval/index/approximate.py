"""How the rows of an index are searched: exactly, or by a structure that names candidates.

This is the one place of both: an index answers by it, and a tuning measures it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from retrieval.index.nearest.exact import (
    SPARE,
    After,
    Allowed,
    exact_search,
    merge,
    search_after,
)
from retrieval.index.nearest.exact import range_search as range_of_floats
from retrieval.index.nearest.hamming import exact_hamming, hamming_range_search
from retrieval.index.nearest.ranking import Exclude, Ranker, most
from retrieval.index.rows import Ids, Returnable, Rows

if TYPE_CHECKING:
    from retrieval.index.nearest.structure import Structure

Floats = npt.NDArray[np.float32]
Answers = tuple[Floats, Ids]

PARAMETERS_K = 10
"""Neighbours that search parameters are taken to be for, where nobody says."""

_FEW = 25
"""A filter that leaves fewer than √(_FEW · k · n) of n items is searched exactly: ``benchmarks/filters.py`` shows where
the two ways cost the same."""

_KEPT = 64
"""Kinds of questions for which it is known how many candidates they take."""

_MORE = 1.5
"""How many more candidates a structure is asked for than would do if a filter's items lay evenly."""


def exact(
    rows: Rows,
    queries: npt.NDArray[Any],
    k: int,
    exclude: Exclude = None,
    allowed: Returnable | None = None,
    first: int = 0,
    after: After | None = None,
) -> Answers:
    """The k best of all rows.

    Args:
        rows: of floats, or of binary codes.
        queries: as rows hold vectors, but floats as float32.
        k: how many.
        exclude: for each query the ids it must not get, ascending.
        allowed: which rows may be returned; all if None.
        first: the row to begin at.
        after: for each query a place in the order of scores after which hits must come; None for the beginning.

    Returns:
        scores (nq, k) and ids (nq, k), as :func:`retrieval.index.nearest.exact_search` orders and pads them.
    """
    search: Any = exact_hamming if queries.dtype == np.uint8 else exact_search
    if after is not None:
        search = partial(exact_hamming if queries.dtype == np.uint8 else search_after, after=after)
    parts: list[Answers] = []
    for where, vectors in rows.pieces(first):
        may = _piece(allowed, where)
        parts.append(search(queries, vectors, rows.ids[where], k, exclude=exclude, allowed=may))
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1, np.int64)
    return merge(parts, k)


def range_search(rows: Rows, queries: npt.NDArray[Any], score: float, allowed: Returnable | None) -> list[Answers]:
    """All rows that score at least so much: for each query scores (m,) and ids (m,), best first, ties by ascending id.

    Args:
        rows, queries, allowed: as for :func:`exact`.
        score: the least that counts.
    """
    search: Any = hamming_range_search if queries.dtype == np.uint8 else range_of_floats
    found: list[list[Answers]] = [[] for _ in queries]
    for where, vectors in rows.pieces():
        for row, answer in enumerate(search(queries, vectors, rows.ids[where], score, _piece(allowed, where))):
            found[row].append(answer)
    return [_merged(parts) for parts in found]


def _merged(parts: Sequence[Answers]) -> Answers:
    """One answer of those of all pieces."""
    if len(parts) == 1:
        return parts[0]
    scores = np.concatenate([np.empty(0, np.float32), *(scores for scores, _ in parts)])
    ids = np.concatenate([np.empty(0, np.int64), *(ids for _, ids in parts)])
    order = np.lexsort((ids, -scores))
    return scores[order], ids[order]


class Approximate:
    """A structure laid over rows: it names candidates, the best of which are scored exactly.

    What it cannot know of is searched exactly: rows that came after it was built, and the queries for which it found
    too few.

    Args:
        structure: what names candidates.
        parameters: those of its search. ``candidates`` is how many times k are scored exactly.
        ids: int64 (m,), ascending: the item at each of its positions; not empty.
        rows: what is searched.
        k: neighbours that the parameters were chosen for; more of them take more effort.
    """

    def __init__(
        self, structure: Structure, parameters: Mapping[str, int], ids: Ids, rows: Rows, k: int = PARAMETERS_K
    ) -> None:
        self._structure, self._parameters, self._k, self._rows = structure, parameters, k, rows
        same = len(ids) <= len(rows) and (rows.ids[: len(ids)] == ids).all()
        whole = len(rows.arrays) == 1 and rows.arrays[0].dtype == np.float32
        self._ranker = Ranker(rows.ids, rows.arrays[0] if whole else rows.gather, None if same else rows.at(ids))
        self._size = len(structure)
        self._count = lru_cache(_KEPT)(self._candidates)
        # Rows from here on came after the structure was built.
        self._tail = int(np.searchsorted(rows.ids, ids[-1], side="right"))
        self._late = self._tail < len(rows)

    def search(
        self,
        queries: Floats,
        k: int,
        exclude: Exclude = None,
        allowed: Returnable | None = None,
        *,
        filtered: bool = False,
    ) -> Answers:
        """The k nearest, as :func:`exact` gives them.

        Args:
            queries, k, exclude, allowed: as for :func:`exact`.
            filtered: whether `allowed` comes of a filter, rather than of rows that are gone.
        """
        leaving = 0 if exclude is None else most(exclude)
        if exclude is not None and len(queries) > 1 and any(len(each) != leaving for each in exclude):
            return self._by_exclusion(queries, k, exclude, allowed, filtered)
        count = self._count(k, leaving, None if allowed is None else allowed.rows, filtered)
        if not count or not len(queries):
            return exact(self._rows, queries, k, exclude, allowed)
        times = self._parameters.get("candidates", 1)
        asked = count + leaving if times == 1 else min(count * times + leaving, self._size)
        effort = self._parameters if k <= self._k else self._effort(k)
        found = self._structure.candidates(queries, asked, effort)
        mask = None if allowed is None else allowed.mask
        scores, ids, lacking = self._ranker.rank(queries, found, k, k + SPARE[0], mask, exclude)
        if not self._late and not lacking:
            return scores, ids
        rows, short = self._rows, np.flatnonzero(ids[:, -1] < 0)
        if self._late:
            late = exact(rows, queries, k, exclude, allowed, self._tail)
            scores, ids = merge([(scores, ids), late], k)
        if len(short):  # parts of a graph can be out of reach, and filters can leave less than is there
            own = None if exclude is None else [exclude[query] for query in short.tolist()]
            scores[short], ids[short] = exact(rows, queries[short], k, own, allowed)
        return scores, ids

    def _by_exclusion(
        self, queries: Floats, k: int, exclude: Sequence[Sequence[int]], allowed: Returnable | None, filtered: bool
    ) -> Answers:
        """Each query with those that must not get as many ids: what one leaves out changes no answer to another."""
        scores, ids = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        lengths = np.array([len(each) for each in exclude])
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            own = [exclude[row] for row in rows.tolist()]
            scores[rows], ids[rows] = self.search(queries[rows], k, own, allowed, filtered=filtered)
        return scores, ids

    def _candidates(self, k: int, leaving: int, returnable: int | None, filtered: bool) -> int:
        """How many candidates there should be for k neighbours, besides the `leaving` ids that a query must not get; 0
        where it is better to look at every vector."""
        n, count, few = len(self._rows), k + SPARE[0], False
        if returnable is not None:
            # Asking for more and dropping what may not be returned finds more, and faster, than having the structure
            # select: a graph that may return one node in ten still has to walk over the others.
            count = SPARE[0] + math.ceil(_MORE * k * n / max(returnable, 1))
            few = filtered and returnable <= max(math.sqrt(_FEW * k * n), 10 * k)
        # A structure is no help where a good part of it is asked for, or where few may be returned.
        return 0 if 10 * (count + leaving) > self._size or few or not k or not n else count

    def _effort(self, k: int) -> Mapping[str, int]:
        """The parameters for more neighbours than they were chosen for, k of them.

        An effort that finds ten finds few of a hundred. How many candidates are scored grows with k by itself.
        """
        times = (k + SPARE[0]) / (self._k + SPARE[0])
        return {
            name: value if name == "candidates" else math.ceil(value * times)
            for name, value in self._parameters.items()
        }


def _piece(allowed: Returnable | None, where: slice) -> Allowed | None:
    """What may be returned of one piece; None for all of it."""
    if allowed is None:
        return None
    if where.start not in allowed.pieces:
        mask = allowed.mask[where]
        allowed.pieces[where.start] = None if mask.all() else Allowed(mask)
    return allowed.pieces[where.start]
