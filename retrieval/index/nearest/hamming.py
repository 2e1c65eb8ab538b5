"""Exact search among binary codes by Hamming distance, ties by ascending id.

The score of two codes is 1 − 2·h/b for a Hamming distance h of b bits: the inner product of the vectors of ±1/√b that
they stand for. FAISS's own exhaustive search breaks the many ties as its threads happen to; from all distances, which
FAISS computes as fast as the codes can be read, they come in order.
"""

from __future__ import annotations

import faiss
import numpy as np
import numpy.typing as npt

from retrieval.index.nearest.exact import After, Allowed
from retrieval.index.nearest.ranking import Exclude, Ids
from retrieval.index.nearest.structure import Floats

Codes = npt.NDArray[np.uint8]
Distances = npt.NDArray[np.int32]


def exact_hamming(
    queries: Codes,
    codes: Codes,
    ids: Ids,
    k: int,
    exclude: Exclude = None,
    allowed: Allowed | None = None,
    after: After | None = None,
) -> tuple[Floats, Ids]:
    """The k nearest codes.

    Args:
        queries: uint8 (nq, b / 8).
        codes: uint8 (n, b / 8).
        ids: (n,), ascending.
        k: how many are wanted; more than n is no error.
        exclude: for each query the ids it must not get, ascending, or None.
        allowed: which of the codes may be returned; all if None.
        after: for each query a place in the order of scores after which hits must come; None for the beginning.

    Returns:
        scores float32 (nq, k) and ids (nq, k), best first, equal scores by ascending id, padded with −inf and −1.
    """
    bits = 8 * codes.shape[1]
    scores = np.full((len(queries), k), -np.inf, np.float32)
    found = np.full((len(queries), k), -1, np.int64)
    if not k or not len(codes):
        return scores, found
    gone = bits + 1
    codes = np.ascontiguousarray(codes)
    for row, query in enumerate(queries):
        distances = _distances(query, codes)
        if allowed is not None:
            distances[~allowed.mask] = gone
        if exclude is not None and len(exclude[row]):
            distances[np.isin(ids, exclude[row])] = gone
        if after is not None:
            score_of = _scores(np.arange(bits + 1, dtype=np.int32), bits)
            ahead = int(np.count_nonzero(score_of > after[0][row]))  # distances that score more
            beside = int(np.count_nonzero(score_of >= after[0][row]))
            distances[(distances < ahead) | ((distances < beside) & (ids <= after[1][row]))] = gone
        # The distance within which k of them lie, by counting how many there are of each.
        counts = np.cumsum(np.bincount(distances, minlength=gone + 1)[:gone])
        within = int(np.searchsorted(counts, min(k, counts[-1])))
        near = np.flatnonzero(distances <= min(within, bits))
        near = near[np.argsort(distances[near], kind="stable")][:k]
        scores[row, : len(near)] = _scores(distances[near], bits)
        found[row, : len(near)] = ids[near]
    return scores, found


def hamming_range_search(
    queries: Codes, codes: Codes, ids: Ids, score: float, allowed: Allowed | None = None
) -> list[tuple[Floats, Ids]]:
    """All codes that score at least so much: for each query scores (m,) and ids (m,), best first, equal
    scores by ascending id."""
    bits = 8 * codes.shape[1]
    codes = np.ascontiguousarray(codes)
    out = []
    for query in queries:
        all_scores = _scores(_distances(query, codes), bits)
        near = all_scores >= score
        if allowed is not None:
            near &= allowed.mask
        rows = np.flatnonzero(near)
        rows = rows[np.argsort(-all_scores[rows], kind="stable")]
        out.append((all_scores[rows], ids[rows]))
    return out


def _distances(query: Codes, codes: Codes) -> Distances:
    out = np.empty(len(codes), np.int32)
    query = np.ascontiguousarray(query)  # the name lives until the search is over: FAISS only points at it
    faiss.hammings(faiss.swig_ptr(query), faiss.swig_ptr(codes), 1, len(codes), codes.shape[1], faiss.swig_ptr(out))
    return out


def _scores(distances: Distances, bits: int) -> Floats:
    scores: Floats = (1 - 2 * (distances / bits)).astype(np.float32)
    return scores
