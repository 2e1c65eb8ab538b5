"""Which queries two measurements have in common, and what else tells them apart."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from retrieval.errors import RetrievalError
from retrieval.evaluation.kept import Kept
from retrieval.evaluation.texts import shown


def paired(first: Kept, second: Kept) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], dict[str, int]]:
    """Which queries both have, by their names.

    Returns:
        int64 (n,) each, the rows of the common queries in both, in the order of the first; and how many are left out
        for what.

    Raises:
        RetrievalError: there is none, or all are of another class in the second.
    """
    once = [_once(kept.names) for kept in (first, second)]
    _, left, right = np.intersect1d(first.names[once[0]], second.names[once[1]], return_indices=True)
    left, right = once[0][left], once[1][right]
    order = np.argsort(left)
    left, right = left[order], right[order]
    agree = first.classes[left] == second.classes[right]
    counts = {
        "only_first": int((~np.isin(first.names, second.names)).sum()),
        "only_second": int((~np.isin(second.names, first.names)).sum()),
        "twice": sum(len(np.unique(np.delete(k.names, o))) for k, o in zip((first, second), once, strict=True)),
        "other_class": int((~agree).sum()),
    }
    if not agree.any():
        what = "are of other classes" if len(left) else f"have no name in common, such as {_example(first)}"
        raise RetrievalError(
            f"the queries of {shown(first.subject)!r} and {shown(second.subject)!r} {what}: measure both on "
            "the same ones"
        )
    return left[agree], right[agree], counts


def _once(names: npt.NDArray[np.str_]) -> npt.NDArray[np.int64]:
    """Places of the names that stand there once."""
    _, places, times = np.unique(names, return_index=True, return_counts=True)
    once: npt.NDArray[np.int64] = places[times == 1]
    return once


def _example(kept: Kept) -> str:
    return repr(shown(str(kept.names[0]))[:60])


def notes(
    first: Kept,
    second: Kept,
    left: npt.NDArray[np.int64],
    right: npt.NDArray[np.int64],
    units: int,
    over: str,
) -> list[str]:
    """Why the two may not be comparable, a sentence each.

    Args:
        first, second: what was measured. left, right: the rows of the common queries.
        units: how many things intervals are drawn over. over: what these are.
    """
    found = []
    if first.data != second.data:
        found.append(f"A was measured on {shown(first.data)}, B on {shown(second.data)}.")
    galleries = first.counts.get("gallery"), second.counts.get("gallery")
    if galleries[0] != galleries[1]:
        found.append(
            f"The galleries differ: {galleries[0] or 0:,} pictures and {galleries[1] or 0:,}. A smaller one is easier, "
            "so the difference says nothing of A and B alone."
        )
    elif (first.relevant[left] != second.relevant[right]).any():
        other = int((first.relevant[left] != second.relevant[right]).sum())
        found.append(f"{other:,} queries have another number of relevant pictures in B, so the galleries differ.")
    if _words(first.protocol) != _words(second.protocol):
        found.append(f"The protocols differ: {shown(first.protocol)}; {shown(second.protocol)}.")
    dropped = [kept.counts.get("near_duplicates", 0) for kept in (first, second)]
    if dropped[0] != dropped[1]:
        found.append(
            f"Near-duplicates were left out by each one's own scores: {dropped[0]:,} and {dropped[1]:,}, so that the "
            "two ranked different pictures."
        )
    if units < 20:
        found.append(f"With {units} {over} an interval is too narrow.")
    return found


def _words(protocol: str) -> str:
    """A protocol without its numbers, which the counts say, too."""
    return "".join(letter for letter in protocol if not letter.isdigit() and letter != ",")
