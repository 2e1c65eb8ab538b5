"""Re-rankers written out slowly from their papers, in float64, with loops and sets."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def k_reciprocal(query: npt.NDArray[np.float64], gallery: npt.NDArray[np.float64], k1: int, k2: int, weight: float):  # type: ignore[no-untyped-def]
    """The final distance of the query to every item, (n,): Zhong et al. 2017, with the authors' counting of k (an item
    is in its own neighbourhood, beside k others; local query expansion takes k2 items in all)."""
    everything = np.vstack([gallery, query])
    n = len(everything)
    d = [[1 - float(math.fsum(a * b)) for b in everything] for a in everything]

    def nearest(x: int, k: int) -> list[int]:
        others = sorted((y for y in range(n) if y != x), key=lambda y: (d[x][y], y))
        return [x, *others[:k]]

    def reciprocal(x: int, k: int) -> set[int]:
        return {y for y in nearest(x, k) if x in nearest(y, k)}

    def plain(x: int) -> npt.NDArray[np.float64]:
        core = reciprocal(x, k1)
        grown = set(core)
        for y in core:
            candidates = reciprocal(y, (k1 + 1) // 2)
            if 3 * len(core & candidates) >= 2 * len(candidates):
                grown |= candidates
        v = np.zeros(n)
        for y in grown:
            v[y] = math.exp(-d[x][y])
        return v / v.sum()

    v = [plain(x) for x in range(n)]
    v = [np.mean([v[y] for y in nearest(x, k2 - 1)], axis=0) for x in range(n)]
    asked = v[-1]
    jaccard = [1 - np.minimum(asked, v[x]).sum() / np.maximum(asked, v[x]).sum() for x in range(n - 1)]
    return np.array([(1 - weight) * j + weight * d[-1][x] for x, j in enumerate(jaccard)])


def expansion(query: npt.NDArray[np.float64], gallery: npt.NDArray[np.float64], n: int, alpha: float | None):  # type: ignore[no-untyped-def]
    """Scores (m,) of the gallery with the expanded query; alpha None: the plain average."""
    scores = gallery @ query
    best = sorted(range(len(gallery)), key=lambda row: -scores[row])[:n]
    total = query.copy()
    for row in best:
        if scores[row] > 0:
            total += gallery[row] * (1.0 if alpha is None else scores[row] ** alpha)
    return gallery @ (total / np.linalg.norm(total))
