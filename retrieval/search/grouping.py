"""Matches in groups: by label, folder, day, any attribute, or as near-duplicates of one another."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.search.columns import MODIFIED, TAKEN, column, known_name

DAY = "day"
NEAR_DUPLICATE = "near-duplicate"

ALIKE = 0.95
"""Similarity from which two matches are near-duplicates, where nobody says another one: the one that `dedup` has
(:mod:`retrieval.traps.near_duplicates` says where it comes from)."""

MOST = 20_000
"""Matches among which near-duplicates are looked for, at most: all are compared with all."""

_BLOCK = 256
"""Matches that are compared at a time with all that are in no group yet."""

_DAY = 24 * 60 * 60 * 1_000_000
_EPOCH = datetime.date(1970, 1, 1).toordinal()


def known_group(index: Index, by: str) -> tuple[str, str | float | None]:
    """What groups are made by: ("near-duplicate", similarity), ("day", name of the date) or ("value", name).

    Args:
        by: `label`, `folder` or any other name; `day`, or `day:NAME`; `near-duplicate`, or `near-duplicate:0.9`.

    Raises:
        RetrievalError: there is no such name, or the similarity is none.
    """
    kind, colon, rest = by.partition(":")
    if kind == NEAR_DUPLICATE:
        try:
            alike = float(rest) if colon else ALIKE
        except ValueError:
            alike = math.nan
        if not -1 <= alike <= 1:
            raise RetrievalError(f"{rest!r:.60} is no similarity; give a number up to 1, as in {NEAR_DUPLICATE}:0.9.")
        return NEAR_DUPLICATE, alike
    if kind == DAY:
        name = rest if colon else TAKEN if TAKEN in index.attribute_kinds() else MODIFIED
        return DAY, known_name(index, name, (), "to take the day of")
    return "value", known_name(index, by, (DAY, NEAR_DUPLICATE), "to group by")


def groups(index: Index, by: str, ids: NDArray[np.int64]) -> list[str | None]:
    """The name of the group of each match; None for those that have no such value, which are a group too.

    Args:
        index: of the matches. by: as :func:`known_group` takes it.
        ids: int64 (n,), in their order: of near-duplicates the first one takes all that are as like to it, then the
            first of what is left, so that no chain joins what has nothing in common. Such a group is called after its
            first ("id 17").

    Raises:
        RetrievalError: as :func:`known_group`; the day is asked for of something that is no date; or there are too many
            matches to compare.
    """
    kind, what = known_group(index, by)
    if kind == NEAR_DUPLICATE:
        assert isinstance(what, float)
        return [f"id {ids[first]}" for first in near_duplicates(index, ids, what)]
    name = str(what)
    of, values = column(index, name, ids)
    if kind == DAY:
        if of != "date" and any(value is not None for value in values):
            raise RetrievalError(f"{name!r:.80} of these matches is no date; group by a day with one that is.")
        return [None if value is None else day(int(value)) for value in values]
    if of == "date" and name != MODIFIED:  # as they are written
        values = index.values(name, ids)
    elif of == "date":
        return [None if value is None else moment(int(value)) for value in values]
    return [None if value is None else f"{value:g}" if isinstance(value, float) else str(value) for value in values]


def day(since: int) -> str:
    """The day of a point in time, microseconds since 1970."""
    ordinal = min(max(_EPOCH + since // _DAY, 1), datetime.date.max.toordinal())
    return datetime.date.fromordinal(ordinal).isoformat()


def moment(since: int) -> str:
    """A point in time to the second."""
    second = since // 1_000_000 % 86_400
    return f"{day(since)}T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"


def near_duplicates(index: Index, ids: NDArray[np.int64], alike: float) -> list[int]:
    """For each match the place of the first one of its group; see :func:`groups`.

    Raises:
        RetrievalError: there are more than :data:`MOST`.
    """
    if len(ids) > MOST:
        raise RetrievalError(
            f"There are {len(ids):,} matches, and near-duplicates are looked for among at most {MOST:,}; "
            "raise --above or lower -k."
        )
    from retrieval.index.nearest.exact import range_search
    from retrieval.index.nearest.hamming import hamming_range_search

    vectors = index.vectors(ids)
    search: Any = hamming_range_search if vectors.dtype == np.uint8 else range_search
    heads, left = np.full(len(ids), -1, np.int64), np.arange(len(ids))
    while len(left):
        some = left[:_BLOCK]
        for place, (_, others) in zip(some.tolist(), search(vectors[some], vectors[left], left, alike), strict=True):
            if heads[place] < 0:
                heads[others[heads[others] < 0]] = place
                heads[place] = place
        left = left[heads[left] < 0]
    found: list[int] = heads.tolist()
    return found


def together(names: Sequence[str | None]) -> NDArray[np.int64]:
    """The order that brings groups together: they stand by their first match, and matches as they stood."""
    firsts: dict[str | None, int] = {}
    keys = [firsts.setdefault(name, len(firsts)) for name in names]
    return np.argsort(np.array(keys, np.int64), kind="stable").astype(np.int64)
