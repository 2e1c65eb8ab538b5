"""k-reciprocal encoding: two pictures are alike if they have the same neighbours, and are theirs (Zhong, Zheng, Cao and
Li 2017, "Re-ranking Person Re-identification with k-Reciprocal Encoding").

With N(x, k) the k nearest neighbours of x and x itself:

- R(x, k) = {y ∈ N(x, k): x ∈ N(y, k)}, equation 2;
- R*(x, k) = R(x, k) ∪ every R(y, k/2), y ∈ R(x, k), of which at least two thirds are in R(x, k), equation 3; k/2 is
  rounded up;
- V(x) is exp(−d(x, y)) for y ∈ R*(x, k₁) and 0 elsewhere, equation 7, with d = 1 − inner product; scaled to sum 1, as
  in the authors' program;
- local query expansion takes for V(x) the mean over N(x, k₂), equation 11, which there is x and k₂ − 1 others;
- the Jaccard distance of two is 1 − Σ min / Σ max of their V, equation 10;
- the final distance is (1 − λ) · Jaccard distance + λ · d, equation 12.

The authors' program ranks all queries in one universe, so that an answer depends on who else asks, and divides d by its
maximum. Here the universe is the gallery with the one query in it, as in the paper, and d stays what it is.

Everything is sparse: memory is that of the neighbours' lists, O(n·k), and of the product of two matrices with k entries
a row; nothing has n² numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]

K1 = 20
K2 = 6
WEIGHT = 0.3
"""k₁, k₂ and λ as published."""

ROWS = 4096
"""Rows whose sets are expanded at a time."""


def with_query(neighbours: Ints, scores: Doubles, query_neighbours: Ints, query_scores: Doubles) -> Ints:
    """The lists of a gallery once a query is in it, as the last item: so it stands behind those that score the same.

    Args:
        neighbours: int64 (n, k), the gallery's k nearest of each, best first, never itself; −1 behind the last, and for
            one that is outside and plays no part.
        scores: float64 (n, k), theirs, of those outside, too; −inf behind the last.
        query_neighbours: int64 (m,), the query's, best first; k of them where there are as many.
        query_scores: float64 (n,), of the query with everything.

    Returns:
        int64 (n + 1, k); the query is number n.
    """
    n, k = neighbours.shape
    ahead = (scores >= query_scores[:, None]).sum(axis=1)
    column = np.arange(k)
    # what stands behind the query moves on by one place
    shifted = np.concatenate([np.full((n, 1), -1), neighbours[:, :-1]], axis=1)
    lists = np.where(column < ahead[:, None], neighbours, shifted)
    lists[column == ahead[:, None]] = n
    own = np.full((1, k), -1)
    own[0, : min(k, len(query_neighbours))] = query_neighbours[:k]
    return np.concatenate([lists, own])


def encodings(neighbours: Ints, vectors: Doubles, wanted: Ints, k1: int = K1, k2: int = K2) -> sparse.csr_array:
    """V of some items, after local query expansion.

    Args:
        neighbours: int64 (n, k), k ≥ k1: as :func:`with_query` gives them.
        vectors: float64 (n, d), of unit length.
        wanted: int64 (m,), whose.
        k1, k2: of the sets and of the expansion, 1 or more.

    Returns:
        float64 (m, n), sparse; each row sums to 1.
    """
    around = np.concatenate([wanted[:, None], neighbours[wanted, : k2 - 1]], axis=1)
    used, place = np.unique(around, return_inverse=True)
    place = place.reshape(around.shape)
    if used[0] < 0:  # lists that end early
        used, place = used[1:], place - 1
    single = _plain_encodings(neighbours, vectors, used, k1)
    row, column = np.nonzero(place >= 0)
    share = 1 / np.bincount(row, minlength=len(wanted))
    mean = sparse.csr_array((share[row], (row, place[row, column])), shape=(len(wanted), len(used)))
    found: sparse.csr_array = (mean @ single).tocsr()
    return found


def jaccard_distances(one: sparse.csr_array, others: sparse.csr_array) -> Doubles:
    """Jaccard distance of one encoding (1, n) to others (m, n), rows that sum to 1: float64 (m,)."""
    columns, values = one.indices, one.data
    part = others[:, columns].tocsr()
    least = part.copy()
    least.data = np.minimum(part.data, values[part.indices])
    shared: Doubles = np.asarray(least.sum(axis=1)).ravel()
    return 1 - shared / (2 - shared)


def _plain_encodings(neighbours: Ints, vectors: Doubles, rows: Ints, k1: int) -> sparse.csr_array:
    """V of these rows before local query expansion, (m, n)."""
    wide = _reciprocal(neighbours, k1)
    narrow = _reciprocal(neighbours, (k1 + 1) // 2)
    sizes = np.asarray(narrow.sum(axis=1)).ravel()
    blocks = []
    for start in range(0, len(rows), ROWS):
        own = wide[rows[start : start + ROWS]]
        shared = (own @ narrow).multiply(own).tocoo()  # |R(x, k) ∩ R(y, k/2)| for y ∈ R(x, k); narrow is symmetric
        kept = 3 * shared.data >= 2 * sizes[shared.col]
        taken = sparse.csr_array((shared.data[kept] * 0 + 1, (shared.row[kept], shared.col[kept])), shape=own.shape)
        grown = (own + taken @ narrow).tocoo()
        x, y = rows[start : start + ROWS][grown.row], grown.col
        weights = np.exp(np.einsum("pd,pd->p", vectors[x], vectors[y]) - 1)
        sums = np.bincount(grown.row, weights, minlength=own.shape[0])
        blocks.append(sparse.csr_array((weights / sums[grown.row], (grown.row, y)), shape=own.shape))
    return sparse.vstack(blocks, format="csr")


def _reciprocal(neighbours: Ints, k: int) -> sparse.csr_array:
    """R(x, k) of every x, as a symmetric matrix (n, n) of 0 and 1; everything is in its own."""
    n = len(neighbours)
    row, column = np.nonzero(neighbours[:, :k] >= 0)
    ones: Any = np.ones(len(row) + n, np.int64)
    near = sparse.csr_array(
        (ones, (np.append(row, np.arange(n)), np.append(neighbours[row, column], np.arange(n)))), shape=(n, n)
    )
    return near.multiply(near.T).tocsr()
