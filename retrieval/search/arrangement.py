"""How an answer is arranged: which of the matches are shown, in what order, in which groups, and what is counted.

The *matches* of a query are the hits within the cut-off. Where a score says where they end (`above`), all that score as
much are matches, and k is how many of them are shown: hits, or groups with all their hits. Where none does, the first k
hits are the matches. Order, groups and counts are always those of all matches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.index.records import Value, order_of
from retrieval.index.vectors import as_numbers
from retrieval.search import diverse, paging
from retrieval.search.columns import column, known_name
from retrieval.search.facets import Facet, facets
from retrieval.search.grouping import groups, known_group, together
from retrieval.search.paging import Cursor
from retrieval.search.rerank.reranker import Reranked

SCORE = "score"
FIRST = ""
"""The cursor of the first page."""

_START = (math.inf, -1)

Digest = Callable[[], str]
"""What tells a question from others in cursors: made for those who want a cursor."""


@dataclass(frozen=True)
class Arrangement:
    """How answers are arranged; by default as they come, the best first.

    Attributes:
        sort: what the matches are sorted by: `score`, or a name of the filter language or "folder", with `:asc` or
            `:desc` behind it; without that a score descends and all else ascends. Texts most of which are dates are
            sorted as dates. What is missing comes last either way; ties stand by score, then by id.
        group_by: `label`, `folder` or any such name; `day` (when it was taken where the index knows that, otherwise
            when the file was modified) or `day:NAME`; `near-duplicate`, or `near-duplicate:0.9` for another similarity.
            Groups stand by their first match.
        facets: whether labels, folders and attributes are counted among the matches.
        cursor: `""` for the first page, or what the answer before it gave as `next`. The hits of all pages are those of
            an exact search, whatever structure the index has.
        diverse: λ, from 0 to 1, for hits that are also unlike one another (:mod:`retrieval.search.diverse`).
        matches: whether the matches end where more of the hits are others, by what a calibration says
            (:attr:`.Answer.fold`).
    """

    sort: str | None = None
    group_by: str | None = None
    facets: bool = False
    cursor: str | None = None
    diverse: float | None = None
    matches: bool = False

    @property
    def as_ranked(self) -> bool:
        """Whether hits stand as they were ranked, from the first on."""
        return self.sort is None and self.group_by is None and self.diverse is None and not self.cursor

    @property
    def needs_all(self) -> bool:
        """Whether all matches are looked at, however few are shown."""
        return self.sort is not None or self.group_by is not None or self.facets

    def first(self, k: int | None) -> int | None:
        """How many of the best hits are looked at where k are wanted and no score says where the matches end."""
        return k if k is None or self.diverse is None else diverse.pool(k)

    def goes_on(self, above: float | None) -> bool:
        """Whether hits are looked for after the cursor's place, and not among all matches."""
        return self.cursor is not None and (above is None or not self.needs_all)

    @property
    def place(self) -> tuple[float, int]:
        """After which score and id the hits of this page come."""
        cursor = paging.read(self.cursor) if self.cursor else None
        return _START if cursor is None else (cursor.score, cursor.id)

    def has_pages(self, above: float | None) -> bool:
        """Whether an answer has pages. `above`: the least score."""
        return (
            self.group_by is None
            and self.diverse is None
            and not self.matches
            and (self.sort is None or above is not None)
        )

    def require_same(self, digests: Sequence[Digest | None]) -> None:
        """Make sure that the cursor goes on with what is asked now.

        Args:
            digests: of the queries.

        Raises:
            RetrievalError: it belongs to another question, or there are several queries.
        """
        if self.cursor and len(digests) != 1:
            raise RetrievalError(
                f"A cursor goes on with one query, and there are {len(digests):,}; ask them one by one."
            )
        if self.cursor:
            paging.require_same(paging.read(self.cursor), "" if digests[0] is None else digests[0]())

    def check(self, index: Index, k: int | None, above: float | None, reranked: str | None) -> None:
        """Refuse what cannot be, before anything is encoded for it.

        Args:
            index: that is asked. k: hits that are wanted. above: the least score.
            reranked: the name of the re-ranker, if there is one.

        Raises:
            RetrievalError: two things do not go together, or the index has no such name.
        """
        anew = "--marks" if reranked == "marks" else "--rerank"  # as whoever asks has called it
        if self.diverse is not None:
            if not 0 <= self.diverse <= 1:
                raise RetrievalError(f"The weight of --diverse is {self.diverse!r:.60}; give a number from 0 to 1.")
            for one, said in ((self.sort, "--sort"), (self.group_by, "--group-by")):
                if one is not None:
                    raise RetrievalError(f"--diverse is an order of its own; leave it or {said} out.")
            if k is None:
                raise RetrievalError("--diverse chooses some of the matches; say how many (-k).")
            if reranked is not None:
                raise RetrievalError(f"--diverse is an order of its own; leave it or {anew} out.")
        if self.cursor is not None:
            endless, out = above is None, "leave it or --cursor out"
            for wrong, said in (
                (self.diverse is not None, f"--diverse chooses its hits all together; {out}"),
                (reranked is not None, f"{anew} orders the hits anew, and they have no pages; {out}"),
                (self.group_by is not None, f"--group-by has no pages; {out}"),
                (self.matches, f"--matches looks at the first hits only; {out}"),
                (endless and self.sort is not None, "--sort has pages where a score ends the matches; give --above"),
                (endless and self.facets, "--facets counts on a page what is above a score; give --above"),
            ):
                if wrong:
                    raise RetrievalError(f"{said}.")
            if k is None:
                raise RetrievalError("A page has some number of hits; say how many (-k).")
            if self.cursor != FIRST:
                paging.read(self.cursor)
        if self.sort is not None:
            sorting(index, self.sort)
        if self.group_by is not None:
            known_group(index, self.group_by)


PLAIN = Arrangement()


class Arranged(NamedTuple):
    """What is shown of one query's matches.

    Attributes:
        hits: the hits, in their order.
        groups: of each hit; None where there are no groups.
        matches: how many there are within the cut-off; None where that is not known, since nothing ends them.
        facets: of all matches.
        before: how many hits came on earlier pages.
        next: makes the cursor of the next page; None where nothing comes, or there are no pages.
    """

    hits: Reranked
    groups: list[str | None] | None = None
    matches: int | None = None
    facets: tuple[Facet, ...] | None = None
    before: int = 0
    next: Callable[[], str] | None = None


def arranged(
    index: Index,
    how: Arrangement,
    found: Reranked,
    k: int | None,
    above: float | None,
    digest: Digest | None,
) -> Arranged:
    """Arrange what was found for one query.

    Args:
        index: that was asked. how: to arrange.
        found: best first, what comes after the cursor's place where :meth:`Arrangement.goes_on`, k + 1 if there are as
            many; otherwise all matches where there is a least score, and at least k where there is none.
        k: how many are shown; None for all.
        above: the least score; None where the k first are the matches.
        digest: of what was asked; None where there are no pages.

    Raises:
        RetrievalError: as :func:`.groups`.
    """
    cursor = paging.read(how.cursor) if how.cursor else None
    before = 0 if cursor is None else cursor.shown
    bounded = above is not None and not how.goes_on(above)
    if how.diverse is not None:
        first, k = found.ids[: diverse.pool(k or 0)], k or 0
        vectors = as_numbers(index.vectors(first), dtype=np.float64)
        best = diverse.marginal_relevance(found.scores[: len(first)], vectors, k, how.diverse)
        chosen = _at(found, best)
        counted = found.ids if bounded else chosen.ids
        return Arranged(chosen, None, len(counted), facets(index, counted) if how.facets else None)
    if above is None and how.cursor is None:
        found = found.first(k)
    matches = None if how.goes_on(above) else len(found.ids)
    told = facets(index, found.ids) if how.facets else None
    values: list[Value | None] | None = None
    if how.sort is not None:
        order, values = ordered(index, how.sort, found)
        found = _at(found, order)
    start = 0 if cursor is None or not bounded else after(cursor, found, values, descends(index, how.sort))
    names = None
    if how.group_by is not None:
        names = groups(index, how.group_by, found.ids)
        order = together(names)
        found, names = _at(found, order), [names[place] for place in order.tolist()]
        if bounded and k is not None:
            k = _hits_in(names, k)
    end = len(found.ids) if k is None else min(start + k, len(found.ids))
    next_ = None
    more = end < len(found.ids) or (above is None and how.cursor is None and end - start == k)
    if digest is not None and end > start and more:
        value = None if values is None else values[end - 1]
        next_ = partial(_cursor, digest, found.scores[end - 1], found.ids[end - 1], before + end - start, value)
    shown = found if (start, end) == (0, len(found.ids)) else _at(found, slice(start, end))
    return Arranged(shown, names and names[start:end], matches, told, before, next_)


def _cursor(digest: Digest, score: np.float32, id_: np.int64, shown: int, value: Value | None) -> str:
    return str(Cursor(digest(), float(score), int(id_), shown, value))


def _at(found: Reranked, places: NDArray[np.int64] | slice) -> Reranked:
    return found._replace(ids=found.ids[places], scores=found.scores[places], reranked=found.reranked[places])


def sorting(index: Index, sort: str) -> tuple[str | None, bool]:
    """The name that is sorted by, None for the score, and whether it descends."""
    name, colon, way = sort.rpartition(":")
    if way not in ("asc", "desc") or not colon:
        name, way = sort, ""
    if name == SCORE:
        return None, way != "asc"
    return known_name(index, name, (SCORE,), "to sort by"), way == "desc"


def descends(index: Index, sort: str | None) -> bool:
    return True if sort is None else sorting(index, sort)[1]


def ordered(index: Index, sort: str, found: Reranked) -> tuple[NDArray[np.int64], list[Value | None]]:
    """The order of matches, and the value that each is sorted by, in that order."""
    name, descends = sorting(index, sort)
    by_score = np.lexsort((found.ids, -found.scores))
    values: list[Value | None] = (
        found.scores[by_score].tolist() if name is None else column(index, name, found.ids[by_score])[1]
    )
    there = [place for place, value in enumerate(values) if value is not None]
    kinds = {type(values[place]) for place in there}
    if len(kinds) == 1 and kinds <= {int, float}:
        there = _stable_order(np.array([values[place] for place in there]), np.array(there), descends)
    elif kinds == {str}:  # Python's sort leaves equal ones as they stand, also where it reverses.
        there.sort(key=values.__getitem__, reverse=descends)  # type: ignore[arg-type]
    else:
        there.sort(key=lambda place: order_of(values[place]), reverse=descends)  # type: ignore[arg-type]
    order = there + [place for place, value in enumerate(values) if value is None]
    return by_score[order].astype(np.int64), [values[place] for place in order]


def _stable_order(values: NDArray[Any], places: NDArray[np.int64], descends: bool) -> list[int]:
    """Places in the order of their values, equal ones as they stand."""
    order = np.argsort(values[::-1] if descends else values, kind="stable")
    found: list[int] = places[len(places) - 1 - order[::-1] if descends else order].tolist()
    return found


def after(cursor: Cursor, found: Reranked, values: list[Value | None] | None, descends: bool) -> int:
    """The first place behind a cursor among all matches in their order."""
    if values is None:
        later = (found.scores < np.float32(cursor.score)) | (
            (found.scores == np.float32(cursor.score)) & (found.ids > cursor.id)
        )
        return int(np.argmax(later)) if later.any() else len(later)
    for place, value in enumerate(values):
        if value == cursor.value:
            mine = (-float(found.scores[place]), int(found.ids[place]))
            if mine > (-cursor.score, cursor.id):
                return place
        elif value is None or (cursor.value is not None and (order_of(value) > order_of(cursor.value)) != descends):
            return place
    return len(values)


def _hits_in(names: Sequence[str | None], k: int) -> int:
    """How many hits the first k groups have."""
    seen: set[str | None] = set()
    for place, name in enumerate(names):
        seen.add(name)
        if len(seen) > k:
            return place
    return len(names)
