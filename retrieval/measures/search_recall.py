"""How much of the exact answer an approximate search gives."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from retrieval.errors import RetrievalError
from retrieval.measures.arrays import Ints

Doubles = npt.NDArray[np.float64]


def recall_of(found: npt.ArrayLike, truth: npt.ArrayLike) -> Doubles:
    """For each query the share of the k true nearest neighbours that an approximate search found.

    By **scores** a hit counts if its score is at least that of the k-th true neighbour: equal scores are equally good,
    whichever of them the exact search happened to list. The scores must be made in one way, as they are where an index
    scores its candidates again exactly. By **ids** a hit counts if the exact search lists it; of items that share the
    last score it may list others, and then this is too low.

    Args:
        found: float (nq, m) scores, −inf where there is none; or integer (nq, m) ids, −1 where there is none.
        truth: of the same kind, (nq, k): the k true neighbours. Where the gallery holds fewer, it is filled up in the
            same way, and the share is of those there are.

    Returns:
        float64 (nq,).

    Raises:
        RetrievalError: the arrays do not fit together, a score is NaN, or a query has no true neighbour.
    """
    hits, true = np.asarray(found), np.asarray(truth)
    _check(hits, true, "found", "truth")
    if np.issubdtype(true.dtype, np.integer):
        return _in_common(hits, true) / _counts(true, true >= 0)
    for table, what in ((hits, "found"), (true, "true")):
        if np.isnan(table).any():
            raise RetrievalError(f"{int(np.isnan(table).sum())} of the {what} scores are not a number: search again")
    there = true > -np.inf
    counts = _counts(true, there)
    last = np.where(there, true, np.inf).min(axis=1, keepdims=True)
    share: Doubles = np.minimum((hits >= last).sum(axis=1), counts) / counts
    return share


def intersection(a: npt.ArrayLike, b: npt.ArrayLike) -> Doubles:
    """For each query the share of ids that two lists have in common, whatever their order: of the longer list's.

    Args:
        a, b: integer (nq, k) and (nq, m) ids, −1 where there is none; no id twice in a row.

    Returns:
        float64 (nq,); 1 where both lists are empty.

    Raises:
        RetrievalError: the arrays do not fit together.
    """
    one, other = np.asarray(a), np.asarray(b)
    _check(one, other, "the first", "the second")
    if not np.issubdtype(one.dtype, np.integer):
        raise RetrievalError(f"lists to intersect are {one.dtype}: give ids, which are integers")
    longer = np.maximum((one >= 0).sum(axis=1), (other >= 0).sum(axis=1))
    share: Doubles = np.where(longer, _in_common(one, other) / np.maximum(longer, 1), 1.0)
    return share


def _in_common(a: npt.NDArray[np.integer], b: npt.NDArray[np.integer]) -> Ints:
    return np.array([np.intersect1d(x[x >= 0], y[y >= 0]).size for x, y in zip(a, b, strict=True)], np.int64)


def _counts(true: npt.NDArray[np.generic], there: npt.NDArray[np.bool_]) -> Ints:
    counts: Ints = there.sum(axis=1)
    if not counts.all():
        raise RetrievalError(
            f"{int((counts == 0).sum())} of {len(true)} queries have no true neighbour to find: leave them out"
        )
    return counts


def _check(a: npt.NDArray[np.generic], b: npt.NDArray[np.generic], one: str, other: str) -> None:
    kinds = [np.issubdtype(table.dtype, np.integer) for table in (a, b)]
    if a.ndim != 2 or b.ndim != 2 or len(a) != len(b) or kinds[0] != kinds[1]:
        raise RetrievalError(
            f"{one} is {a.dtype} of shape {a.shape} and {other} {b.dtype} of shape {b.shape}: give one row a query in "
            "both, of scores or of ids"
        )
