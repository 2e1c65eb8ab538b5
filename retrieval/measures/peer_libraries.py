"""What pytorch-metric-learning and open-metric-learning would say of the same embeddings.

For comparing with figures that were made by them. Their definitions differ from ours and from each other; each function
says where. Both leave equal distances to the order of storage or to luck; here they count by expectation, so that the
figures are the same exactly where no relevant item ties with an irrelevant one. Neither knows unlabelled items: here
label −1 means unlabelled as everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.errors import RetrievalError
from retrieval.measures import arrays
from retrieval.measures.arrays import UNLABELLED, Ints, Vectors
from retrieval.measures.clustering import agreement
from retrieval.measures.exhaustive import rank
from retrieval.measures.ranking import Ranking
from retrieval.measures.ranking_task import Rankings

STEPS = 20
POINTS = 256
SEED = 1234
SPLIT = 1 / 1024
"""How pytorch-metric-learning has FAISS cluster: steps, points a cluster at most, seed; and how far FAISS moves the
halves of a cluster that it splits."""


def like_pml(
    queries: npt.ArrayLike,
    query_labels: npt.ArrayLike,
    gallery: npt.ArrayLike | None = None,
    gallery_labels: npt.ArrayLike | None = None,
    *,
    own: npt.ArrayLike | None = None,
    k: int | str | None = None,
) -> dict[str, float]:
    """pytorch-metric-learning's ``AccuracyCalculator(k=k).get_accuracy(...)``, every figure that it knows.

    Ranked by Euclidean distance. Queries without a relevant item are left out, of NMI and AMI not. R-precision divides
    by min(R, k), MAP@R and mAP by R whatever k is; the reciprocal rank is 0 beyond k. NMI and AMI are those of the
    queries' clustering by FAISS's k-means with its defaults, from the same seed.

    Args:
        queries: float32 (nq, d), as they are: nothing is normalised, as there.
        query_labels: integers (nq,).
        gallery: float32 (n, d); None: the queries, each without itself.
        gallery_labels: integers (n,).
        own: integers (nq,), where each query itself stands in the gallery, −1 where it does not.
        k: how many neighbours are looked at; "max_bin_count": as many as the most frequent of the queries' labels has
            items to find; None: all.

    Raises:
        RetrievalError: the arrays do not fit together, or k is something else.
    """
    if k is not None and k != "max_bin_count" and not (isinstance(k, int) and k > 0):
        raise RetrievalError(f"k is {k!r}: give a whole number from 1 upwards, 'max_bin_count' or None")
    asked = arrays.vectors(queries, "queries")
    truth = arrays.labels(query_labels, len(asked), "queries")
    arrays.require_sides(gallery, gallery_labels, own)
    shelf_labels = truth if gallery is None else np.asarray(gallery_labels)
    if k == "max_bin_count":
        shown = np.unique(shelf_labels[np.isin(shelf_labels, truth) & (shelf_labels != UNLABELLED)], return_counts=True)
        k = max(1, int(shown[1].max(initial=1)) - (gallery is None or own is not None))
    most = len(shelf_labels) if k is None else int(k)
    measures: dict[str, Callable[[Ranking], float]] = {
        "mean_average_precision": lambda ranking: ranking.average_precision(most),
        "mean_average_precision_at_r": lambda ranking: ranking.average_precision(min(ranking.total, most)),
        "mean_reciprocal_rank": lambda ranking: ranking.reciprocal_rank() if ranking.above[0] < most else 0.0,
        "precision_at_1": lambda ranking: ranking.precision(1),
        "r_precision": lambda ranking: ranking.precision(min(ranking.total, most)),
    }
    ranked = _by_distance(asked, truth, gallery, gallery_labels, own, measures)
    kept = truth != UNLABELLED
    clusters = faiss_clusters(asked[kept], np.unique(truth[kept]).size)
    agreed = agreement(truth[kept], clusters)
    return {"AMI": agreed.ami, "NMI": agreed.nmi} | {
        name: float(values.mean()) for name, values in ranked.values.items()
    }


def like_oml(
    queries: npt.ArrayLike,
    query_labels: npt.ArrayLike,
    gallery: npt.ArrayLike | None = None,
    gallery_labels: npt.ArrayLike | None = None,
    *,
    own: npt.ArrayLike | None = None,
    ks: Sequence[int] = (5,),
) -> dict[str, dict[int, float]]:
    """open-metric-learning's ``calc_retrieval_metrics``: ``cmc``, ``precision`` and ``map`` at each k.

    Ranked by Euclidean distance. ``cmc`` is our hit rate. ``precision`` divides by min(R, k), not by k. ``map`` divides
    by the relevant items *found* within k: one hit of ten at rank 1 scores 1. Queries without a relevant item score 0
    in ``cmc`` and ``map``, and make ``precision`` not a number, as there.

    Args:
        queries, query_labels, gallery, gallery_labels, own: as for :func:`like_pml`.
        ks: the ks.

    Raises:
        RetrievalError: the arrays do not fit together, or a k is below 1.
    """
    if min(ks, default=0) < 1:
        raise RetrievalError(f"k must be at least 1, but measures are asked for at {list(ks)}")

    asked = arrays.vectors(queries, "queries")
    truth = arrays.labels(query_labels, len(asked), "queries")
    measures: dict[str, Callable[[Ranking], float]] = {}
    for k in ks:
        measures |= {
            f"cmc {k}": partial(Ranking.hit_rate, k=k),
            f"precision {k}": partial(_of_reachable, k=k),
            f"map {k}": partial(_of_found, k=k),
        }
    ranked = _by_distance(asked, truth, gallery, gallery_labels, own, measures)
    alone = ranked.without_relevant
    every = len(ranked.queries) + alone
    means = {name: float(values.sum()) / every for name, values in ranked.values.items()}
    return {
        "cmc": {k: means[f"cmc {k}"] for k in ks},
        "precision": {k: float("nan") if alone else means[f"precision {k}"] for k in ks},
        "map": {k: means[f"map {k}"] for k in ks},
    }


def _of_reachable(ranking: Ranking, k: int) -> float:
    k = min(k, ranking.items)
    return ranking.hits(k) / min(ranking.total, k)


def _of_found(ranking: Ranking, k: int) -> float:
    found = ranking.hits(k)
    return ranking.average_precision(k) * ranking.total / found if found else 0.0


def _by_distance(
    queries: Vectors,
    query_labels: Ints,
    gallery: npt.ArrayLike | None,
    gallery_labels: npt.ArrayLike | None,
    own: npt.ArrayLike | None,
    measures: dict[str, Callable[[Ranking], float]],
) -> Rankings:
    """Ranked by Euclidean distance: of x and y it falls as the inner product of (x, 1) and (y, −‖y‖²/2) rises."""
    own = np.arange(len(queries)) if gallery is None else own
    shelf = queries if gallery is None else arrays.vectors(gallery, "gallery")
    squares = np.einsum("ij,ij->i", shelf, shelf, dtype=np.float64)[:, None]
    asked = np.concatenate([queries, np.ones_like(queries[:, :1])], axis=1)
    shelf = np.concatenate([shelf, (-squares / 2).astype(np.float32)], axis=1)
    labels: Any = query_labels if gallery is None else gallery_labels
    return rank(asked, query_labels, shelf, labels, own=own, measures=measures, neighbours=None)


def faiss_clusters(vectors: Vectors, clusters: int) -> Ints:
    """The cluster of each vector by FAISS's k-means, step by step as ``faiss.Kmeans(d, clusters, niter=20)`` does it.

    (faiss/Clustering.cpp; here, because this room knows no FAISS.) It starts from vectors that the Mersenne Twister
    draws, looks at :data:`POINTS` a cluster at most, and splits another cluster where one is left empty.

    Args:
        vectors: float32 (n, d), n ≥ `clusters`.
        clusters: how many.

    Returns:
        int64 (n,).
    """
    points = vectors
    if len(points) > clusters * POINTS:
        points = points[_permutation(len(points), SEED, clusters * POINTS)]
    if len(points) == clusters:
        return _nearest(vectors, points)
    centres = points[_permutation(len(points), SEED + 1, clusters)]
    for _ in range(STEPS):
        nearest = _nearest(points, centres)
        sizes = np.bincount(nearest, minlength=clusters).astype(np.float64)
        sums = np.stack([np.bincount(nearest, column, clusters) for column in points.T], axis=1)
        centres = (sums / np.maximum(sizes, 1)[:, None]).astype(np.float32)
        _split(centres, sizes, len(points))
    return _nearest(vectors, centres)


def _split(centres: Vectors, sizes: npt.NDArray[np.float64], points: int) -> None:
    """Give each empty cluster half of another one, drawn by its size."""
    clusters = len(centres)
    holes = np.flatnonzero(sizes == 0)
    if not holes.size:
        return
    twister = _twister(SEED)
    for empty in holes:
        other = 0
        while twister.random_raw() / np.float32(2**32 - 1) >= (sizes[other] - 1) / (points - clusters):
            other = (other + 1) % clusters
        apart = np.where(np.arange(centres.shape[1]) % 2, -SPLIT, SPLIT)
        centres[empty] = centres[other] * (1 + apart)
        centres[other] *= 1 - apart
        sizes[empty] = sizes[other] / 2
        sizes[other] -= sizes[empty]


def _nearest(vectors: Vectors, centres: Vectors) -> Ints:
    halves = np.einsum("ij,ij->i", centres, centres, dtype=np.float64) / 2
    wide = centres.T.astype(np.float64)
    step = max(1, 2**22 // len(centres))
    blocks = [vectors[first : first + step].astype(np.float64) for first in range(0, len(vectors), step)]
    return np.concatenate([(block @ wide - halves).argmax(axis=1) for block in blocks])


def _permutation(n: int, seed: int, first: int) -> Ints:
    """The beginning of FAISS's random permutation of 0 … n − 1."""
    order = np.arange(n)
    for place, number in enumerate(_twister(seed).random_raw(min(first, n - 1)).tolist()):
        other = place + number % (n - place)
        order[place], order[other] = order[other], order[place]
    return order[:first]


def _twister(seed: int) -> np.random.MT19937:
    """C++'s std::mt19937 of that seed, which NumPy's newer generators are not."""
    generator = np.random.MT19937()
    state: Any = np.random.RandomState(seed).get_state(legacy=False)
    generator.state = state
    return generator
