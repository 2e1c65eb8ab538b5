"""What matches are ordered, grouped and counted by: the names of the filter language, a value for each match."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.base import moments
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.index.filter_syntax import spelled
from retrieval.index.filters import BUILT_IN, MOST_NAMED
from retrieval.index.records import Value

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


def as_moments(values: Iterable[Value | None]) -> dict[Value, int] | None:
    """Values as points in time, microseconds since 1970: those that are dates; None where not most of them are.

    Args:
        values: of one attribute. Those that are None count for nothing.
    """
    different = {value for value in values if value is not None}
    if not any(isinstance(value, str) for value in different):
        return None
    found = {value: moment for value in different if (moment := moments.start(value)) is not None}
    return found if 2 * len(found) > len(different) else None


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
    dates = as_moments(values)
    if dates is not None:
        return "date", [None if value is None else dates.get(value) for value in values]
    return ("text" if any(isinstance(value, str) for value in values) else "number"), values


def order_of(value: Value) -> tuple[bool, Value]:
    """What values of one column are compared by: numbers stand before texts, texts by code point."""
    return isinstance(value, str), value
