"""What matches are ordered, grouped and counted by: the names of the filter language, a value for each match."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.base import moments
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.index.filter_syntax import spelled
from retrieval.index.filters import BUILT_IN, MOST_NAMED
from retrieval.index.records import Value, order_of

FOLDER = "folder"
"""Where a picture lies: its path without the last part."""

TAKEN, MODIFIED = "taken", "modified"

Kind = Literal["text", "number", "date"]


def known_name(index: Index, name: str, also: Sequence[str], purpose: str) -> str:
    """A name as the index has it, out of the backticks that it may stand in.

    Args:
        index: whose names. name: as it was given. also: other names that are taken here.
        purpose: for the message ("to sort by").

    Raises:
        RetrievalError: there is no such name.
    """
    bare = name[1:-1] if len(name) > 2 and name[0] == name[-1] == "`" else name
    attributes = index.attribute_kinds()
    if bare == FOLDER and bare != name:
        raise RetrievalError(
            f"Every item has a folder, so that the attribute {name} is hidden by it; call it otherwise."
        )
    if bare not in attributes and (bare != name or bare not in (*BUILT_IN, FOLDER)):
        own = sorted(attributes)
        more = f" and {len(own) - MOST_NAMED:,} more" if len(own) > MOST_NAMED else ""
        names = ", ".join([*also, *BUILT_IN, FOLDER, *(spelled(one) for one in own[:MOST_NAMED])])
        raise RetrievalError(f"There is no {name!r:.80} {purpose}; there are {names}{more}.")
    return bare


class Different:
    """The different values of one name, and what they are as points in time.

    Args:
        name: whose. values: each once, ascending, numbers before texts.

    Attributes:
        values: these. numbers: how many of them are.
        moments: int64 (n,), microseconds since 1970. dated: bool (n,), whether a value has such a moment.
    """

    def __init__(self, name: str, values: Sequence[Value]) -> None:
        self.values = values
        self.numbers = bisect.bisect_left(values, True, key=lambda value: isinstance(value, str))
        self._is_modified = name == MODIFIED
        self.dated = np.full(len(values), self._is_modified)
        self.moments = np.zeros(len(values), np.int64)
        if self._is_modified:  # nanoseconds
            self.moments[:] = [int(value) // 1000 for value in values]
        elif name not in BUILT_IN and name != FOLDER:
            found = [moments.start(value) for value in values]
            self.dated[:] = [one is not None for one in found]
            self.moments[:] = [one or 0 for one in found]

    def __len__(self) -> int:
        return len(self.values)

    def are_dates(self, there: NDArray[np.bool_]) -> bool:
        """Whether some of them (n,), those of the items that are looked at, are dates: `modified`, and texts most of
        which are."""
        if self._is_modified:
            return True
        return bool(there[self.numbers :].any() and 2 * np.count_nonzero(there & self.dated) > np.count_nonzero(there))


def column(index: Index, name: str, ids: NDArray[np.int64]) -> tuple[Kind, list[Value | None]]:
    """The kind of what some items have under a name, and its value for each; None where there is none.

    Dates are microseconds since 1970: `modified`, and attributes most of whose values here are dates; what is none
    among them counts as missing. Of an attribute that has numbers and texts the kind is "text".

    Args:
        index: of the items. name: as :func:`known_name` gives it. ids: int64 (n,).
    """
    values = index.values(name, ids)
    if name == MODIFIED:
        return "date", [None if value is None else int(value) // 1000 for value in values]
    if name in BUILT_IN or name == FOLDER:
        return ("number" if BUILT_IN.get(name) == "number" else "text"), values
    different = Different(name, sorted({value for value in values if value is not None}, key=order_of))
    if different.are_dates(np.ones(len(different), bool)):
        dates = dict(zip(different.values, different.moments.tolist(), strict=True))
        known = dict(zip(different.values, different.dated.tolist(), strict=True))
        return "date", [dates[value] if value is not None and known[value] else None for value in values]
    return ("text" if different.numbers < len(different) else "number"), values
