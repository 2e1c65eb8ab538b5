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

TABLE = 2**20
"""Numbers that are multiplied at a time."""


def vote(truth: int, sure: Labels, tied: Labels, places: int) -> float:
    """Probability that a plain majority vote answers `truth`.

    Args:
        truth: the query's class.
        sure: int64 (m,), classes of the neighbours that are certain.
        tied: int64 (t,), classes of the items that share the last score.
        places: how many of the tied items are among the neighbours, 0 ≤ places ≤ t; m + places ≥ 1.
    """
    if places in (0, tied.size):
        counted = Counter(sure.tolist())
        counted.update(tied.tolist() if places else ())
        most = max(counted.values())
        winners = [label for label, count in counted.items() if count == most]
        return 1 / len(winners) if truth in winners else 0.0
    classes, inverse = np.unique(np.concatenate([sure, tied]), return_inverse=True)
    votes = np.bincount(inverse[: sure.size], minlength=classes.size)
    ties = np.bincount(inverse[sure.size :], minlength=classes.size)
    own = classes == truth
    own_votes, own_ties = int(votes[own].sum()), int(ties[own].sum())
    if places == 1 and not sure.size:  # k = 1, as P@1
        return own_ties / tied.size
    if own_votes > (votes + np.minimum(ties, places))[~own].max(initial=0):
        return 1.0
    if own_votes + min(own_ties, places) < votes[~own].max(initial=1):
        return 0.0
    others = Counter(zip(votes[~own].tolist(), ties[~own].tolist(), strict=True))
    return _drawn(own_votes, own_ties, tuple(sorted(others.items())), places, tied.size)


def votes(truth: Labels, query: Labels, shown: Labels) -> Table:
    """The same of many queries whose neighbours are certain.

    Args:
        truth: int64 (b,), each query's class. query, shown: int64 (m,), whose neighbour is of which class.

    Returns:
        float64 (b,); 0 for a query without a neighbour.
    """
    order = np.lexsort((shown, query))
    query, shown = query[order], shown[order]
    first = np.flatnonzero(np.diff(query, prepend=-1) | np.diff(shown, prepend=-1))
    count, query, shown = np.diff(first, append=query.size), query[first], shown[first]
    most = np.zeros(len(truth), np.int64)
    np.maximum.at(most, query, count)
    wins = count == most[query]
    winners = np.bincount(query[wins], minlength=len(truth))
    right = np.bincount(query[wins & (shown == truth[query])], minlength=len(truth))
    chance: Table = right / np.maximum(winners, 1)
    return chance


@lru_cache(maxsize=65536)
def _drawn(
    votes: int, ties: int, others: tuple[tuple[tuple[int, int], int], ...], places: int, drawn_from: int
) -> float:
    """The same by numbers alone; `others` holds ((votes, ties), how many such classes).

    Drawing `places` of the tied items without replacement is drawing each of them by itself with any
    probability p, given that `places` came out. So the chance is a coefficient of a product of polynomials in z with
    one factor a class, where the power of z counts items drawn. With x for each other class that draws level with the
    true one, the product is a polynomial in x, too; and as the true class is answered in 1 of 1 + l cases if l others
    are level, it is to be integrated over x from 0 to 1, which Gauss's quadrature does exactly. All terms are positive.
    """
    p = places / drawn_from
    v, t, many = np.array([(v, t, many) for (v, t), many in others]).reshape(-1, 3).T
    least = max(1, int(v.max(initial=0)))
    drawn = np.arange(max(0, least - votes), min(places, ties) + 1)
    level = (places - drawn + int(v @ many)) // (votes + drawn)  # so many others at most can be level
    nodes = [_quadrature(int(degree) // 2 + 1) for degree in level]
    drawn = np.repeat(drawn, [x.size for x, _ in nodes])
    x, weight = np.concatenate(nodes, axis=1)
    *chances, own_chances, all_chances = _binomial(np.concatenate([t, [ties, drawn_from]]), places, p)
    terms = weight * own_chances[drawn] / all_chances[places]
    most = np.minimum(t, places)
    longest = int(most.max(initial=0)) + 1
    answered = 0.0
    step = max(1, TABLE // (longest * (t.size + 1)))
    for part in (slice(first, first + step) for first in range(0, drawn.size, step)):
        # what each other class can draw without having more votes than the true one: (class, node, drawn)
        gap = (votes + drawn[part])[:, None] - v[:, None, None] - np.arange(longest)
        shares = np.where(gap == 0, x[part, None], gap > 0)
        table = np.zeros((gap.shape[1], places + 1))
        table[:, 0] = 1
        for share, chance, its, exponent in zip(shares, chances, most.tolist(), many.tolist(), strict=True):
            table = _times(table, _power((share * chance[:longest])[:, : its + 1], exponent, places))
        left = places - drawn[part]
        answered += float(terms[part] @ table[np.arange(left.size), left])
    return answered


def _times(a: Table, b: Table) -> Table:
    """Products of polynomials (rows, powers), cut at the length of the first."""
    rows, width, terms = *a.shape, b.shape[1]
    padded = np.zeros((rows, terms - 1 + width))
    padded[:, terms - 1 :] = a
    step = padded.itemsize
    windows = np.ndarray((rows, width, terms), padded.dtype, padded, strides=(padded.shape[1] * step, step, step))
    product: Table = np.matmul(windows, b[:, ::-1, None])[:, :, 0]
    return product


def _power(base: Table, exponent: int, places: int) -> Table:
    """The factor of several such classes, through its squares."""
    if exponent == 1:
        return base
    square = np.zeros((*base.shape[:-1], places + 1))
    square[..., : base.shape[-1]] = base
    result = square if exponent % 2 else None
    for bit in range(1, exponent.bit_length()):
        square = _times(square, square)
        if exponent >> bit & 1:
            result = square if result is None else _times(result, square)
    return square if result is None else result


def _binomial(n: Labels, most: int, p: float) -> Table:
    """Probabilities of 0, 1, … `most` in each n, by their logarithms: n may be the whole gallery."""
    k = np.arange(most)
    with np.errstate(divide="ignore"):
        ratios = np.log(np.maximum(n[:, None] - k, 0) / (k + 1)) + (math.log(p) - math.log1p(-p))
    logarithms = np.concatenate([np.zeros((len(n), 1)), np.cumsum(ratios, axis=1)], axis=1)
    chances: Table = np.exp(n[:, None] * math.log1p(-p) + logarithms)
    return chances


@lru_cache(maxsize=1024)
def _quadrature(nodes: int) -> tuple[Table, Table]:
    """Nodes and weights for polynomials of degree below 2 · `nodes` from 0 to 1."""
    x, weight = np.polynomial.legendre.leggauss(nodes)
    return (x + 1) / 2, weight / 2
