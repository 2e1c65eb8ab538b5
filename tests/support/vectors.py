"""Vectors, indexes of them, and the slow obvious search that they are compared with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from retrieval.index import Index, NewItem


def unit(n: int, d: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((n, d))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def clustered(n: int, d: int, seed: int = 0) -> np.ndarray:
    centres = np.random.default_rng(99).standard_normal((20, d))
    rng = np.random.default_rng(seed)
    vectors = centres[rng.integers(0, 20, n)] + 0.5 * rng.standard_normal((n, d))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def named(n: int, start: int = 0) -> list[NewItem]:
    return [NewItem(f"class{i % 7}/{i:05d}.png", f"class{i % 7}", 32, 24, 100 + i, i) for i in range(start, start + n)]


def make(folder: Path, vectors: np.ndarray, parts: int = 1) -> Index:
    index = Index.create(folder, vectors.shape[1], root="pictures", encoder_hash="abc", details={})
    for rows in np.array_split(np.arange(len(vectors)), parts):
        if len(rows):
            index.add(vectors[rows], named(len(rows), int(rows[0])))
    return index


def brute(queries, vectors, ids, k, exclude=None):
    """The slow obvious version: every score in float64, rounded once, sorted by (−score, id)."""
    scores = np.full((len(queries), k), -np.inf, np.float32)
    found = np.full((len(queries), k), -1)
    for q, query in enumerate(queries):
        exact = (vectors.astype(np.float64) * query.astype(np.float64)).sum(axis=1)
        exact = np.clip(exact.astype(np.float32), -1, 1)
        keep = np.flatnonzero(~np.isin(ids, exclude[q])) if exclude is not None else np.arange(len(ids))
        order = keep[np.lexsort((ids[keep], -exact[keep]))][:k]
        scores[q, : len(order)], found[q, : len(order)] = exact[order], ids[order]
    return scores, found
