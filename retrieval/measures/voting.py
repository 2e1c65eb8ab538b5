"""The k nearest neighbours' vote, with ties by expectation.

Two kinds of ties can arise. Several items may share the score at which the k neighbours end: then each choice
among them is as likely as any other. Several classes may share the largest number of votes: then each of them
is answered as often as any other. :func:`vote` gives the exact probability that the true class is answered.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]
Table = npt.NDArray[np.float64]


def vote(truth: int, sure: Labels, tied: Labels, places: int) -> float:
    """Probability that a plain majority vote answers `truth`.

    Args:
        truth: the query's class.
        sure: int64 (m,), classes of the neighbours that are certain.
        tied: int64 (t,), classes of the items that share the last score.
        places: how many of the tied items are among the neighbours, 0 ≤ places ≤ t; m + places ≥ 1.
    """
    if places in (0, tied.size):
        classes, votes = np.unique(sure if places == 0 else np.concatenate([sure, tied]), return_counts=True)
        winners = classes[votes == votes.max()]
        return 1 / winners.size if truth in winners else 0.0
    votes_of, ties_of = Counter(sure.tolist()), Counter(tied.tolist())
    if places == 1 and not votes_of:  # k = 1, as P@1
        return ties_of[truth] / tied.size
    others = Counter((votes_of[c], ties_of[c]) for c in votes_of.keys() | ties_of.keys() if c != truth)
    return _drawn(votes_of[truth], ties_of[truth], tuple(sorted(others.items())), places, tied.size)


@lru_cache(maxsize=65536)
def _drawn(
    votes: int, ties: int, others: tuple[tuple[tuple[int, int], int], ...], places: int, drawn_from: int
) -> float:
    """The same by numbers alone; `others` holds ((votes, ties), how many such classes).

    Drawing `places` of the tied items without replacement is drawing each of them by itself with any
    probability p, given that `places` came out. So the chance is a coefficient of a product with one factor a
    class: the power of z counts items drawn, that of w the other classes that draw level with the true one.
    All terms are positive.
    """
    p = places / drawn_from
    answered = 0.0
    everybody = places + votes + sum(v * many for (v, _), many in others)
    for drawn in range(min(places, ties) + 1):
        own = votes + drawn
        if own == 0:
            continue
        left = places - drawn
        level = everybody // own  # so many classes at most can have as many votes
        table = np.zeros((level, left + 1))
        table[0, 0] = 1
        for (v, t), many in others:
            table = _times(table, _power(_factor(v, t, own, p, table.shape), many))
        shares = table[:, left] / np.arange(1, level + 1)
        answered += _binomial(ties, drawn, p) * float(shares.sum())
    return answered / _binomial(drawn_from, places, p)


def _factor(votes: int, ties: int, own: int, p: float, shape: tuple[int, ...]) -> Table:
    """What one other class can draw without having more than `own` votes: row 1 where it has as many."""
    factor = np.zeros(shape)
    for drawn in range(min(ties, own - votes, shape[1] - 1) + 1):
        row = 1 if votes + drawn == own else 0
        if row < shape[0]:
            factor[row, drawn] = _binomial(ties, drawn, p)
    return factor


def _times(a: Table, b: Table) -> Table:
    """Product of two polynomials in (w, z), cut at their common shape."""
    product = np.zeros_like(a)
    width = a.shape[1]
    for j in np.flatnonzero(b.any(axis=1)):
        for i in range(a.shape[0] - j):
            product[i + j] += np.convolve(a[i], b[j])[:width]
    return product


def _power(base: Table, exponent: int) -> Table:
    result = np.zeros_like(base)
    result[0, 0] = 1
    while exponent:
        if exponent & 1:
            result = _times(result, base)
        exponent >>= 1
        if exponent:
            base = _times(base, base)
    return result


def _binomial(n: int, k: int, p: float) -> float:
    """Probability of k in n, through the exact coefficient's logarithm: n may be the whole gallery."""
    return math.exp(math.log(math.comb(n, k)) + k * math.log(p) + (n - k) * math.log1p(-p))
