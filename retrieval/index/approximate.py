"""How the rows of an index are searched: exactly, or by a structure that names candidates.

This is the one place of both: an index answers by it, and a tuning measures it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from retrieval.index.nearest.exact import (
    SPARE,
    After,
    Allowed,
    exact_search,
    merge,
    rank,
    rank_one,
    search_after,
    shortlist,
)
from retrieval.index.nearest.exact import range_search as range_of_floats
from retrieval.index.nearest.hamming import exact_hamming, hamming_range_search
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

_MORE = 1.5
"""How many more candidates a structure is asked for than would do if a filter's items lay evenly."""


def exact(
    rows: Rows,
    queries: npt.NDArray[Any],
    k: int,
    exclude: Sequence[Ids] | None = None,
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
    out = []
    for parts in found:
        scores = np.concatenate([np.empty(0, np.float32), *(scores for scores, _ in parts)])
        ids = np.concatenate([np.empty(0, np.int64), *(ids for _, ids in parts)])
        order = np.lexsort((ids, -scores))
        out.append((scores[order], ids[order]))
    return out


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
        # The row of each position, −1 for an item that is gone; None if position and row are the same.
        self._row_of: Ids | None = None if same else rows.at(ids)
        # Rows from here on came after the structure was built.
        self._tail = int(np.searchsorted(rows.ids, ids[-1], side="right"))
        whole = len(rows.arrays) == 1 and rows.arrays[0].dtype == np.float32
        # The vectors of all rows, if they lie in one piece; and if they are the structure's positions, too.
        self._vectors: Floats | None = rows.arrays[0] if whole else None
        self._plain = self._vectors if same and self._tail == len(rows) else None

    def search(
        self,
        queries: Floats,
        k: int,
        exclude: Sequence[Ids] | None = None,
        allowed: Returnable | None = None,
        *,
        filtered: bool = False,
    ) -> Answers:
        """The k nearest, as :func:`exact` gives them.

        Args:
            queries, k, exclude, allowed: as for :func:`exact`.
            filtered: whether `allowed` comes of a filter, rather than of rows that are gone.
        """
        structure, rows = self._structure, self._rows
        spare = SPARE[0] + (0 if exclude is None else max(map(len, exclude), default=0))
        count, few = k + spare, False
        if allowed is not None:
            # Asking for more and dropping what may not be returned finds more, and faster, than having the structure
            # select: a graph that may return one node in ten still has to walk over the others.
            count = spare + math.ceil(_MORE * k * len(rows) / max(allowed.rows, 1))
            few = filtered and allowed.rows <= max(math.sqrt(_FEW * k * len(rows)), 10 * k)
        # A structure is no help where a good part of it is asked for, or where few may be returned.
        if 10 * count > len(structure) or few or not k or not len(queries) or not len(rows):
            return exact(rows, queries, k, exclude, allowed)
        asked = min(count * self._parameters.get("candidates", 1), len(structure))
        found = structure.candidates(queries, asked, self._effort(k, spare))
        if len(queries) == 1 and self._plain is not None and allowed is None and exclude is None:
            if asked > 2 * count:
                found = shortlist(queries, self._plain, found, count)
            answer = rank_one(queries, found[0], self._plain, k)
            if answer is not None:
                return answer[0], rows.ids[answer[1]]
        if self._row_of is not None:
            found = np.where(found < 0, -1, self._row_of[found])
        if allowed is not None:
            found[~allowed.mask[found]] = -1  # where it is -1 already, it stays so
        if found.shape[1] > 2 * count and self._vectors is not None:
            found = shortlist(queries, self._vectors, np.ascontiguousarray(found), count)
        if exclude is not None:
            for row, left_out in zip(found, exclude, strict=True):
                row[np.isin(row, rows.at(left_out))] = -1
        scores, best = rank(queries, found, rows.gather, k)
        ids = rows.ids[best]
        short = bool(best[:, -1].min() < 0)
        if short:
            ids[best < 0] = -1
        if self._tail < len(rows):
            late = exact(rows, queries, k, exclude, allowed, self._tail)
            scores, ids = merge([(scores, ids), late], k)
        if short:  # parts of a graph can be out of reach, and filters can leave less than is there
            lacking = np.flatnonzero(best[:, -1] < 0)
            some = None if exclude is None else [exclude[int(query)] for query in lacking]
            scores[lacking], ids[lacking] = exact(rows, queries[lacking], k, some, allowed)
        return scores, ids

    def _effort(self, k: int, spare: int) -> Mapping[str, int]:
        """The parameters for k neighbours, of which `spare` more are asked for.

        An effort that finds ten finds few of a hundred. How many candidates are scored grows with k by itself.
        """
        if k <= self._k:
            return self._parameters
        times = (k + spare) / (self._k + spare)
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
