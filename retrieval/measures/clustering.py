"""Do the classes show as clusters? How far a clustering of the embeddings agrees with the labels."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped,unused-ignore]

from retrieval.base.given import checked_seed
from retrieval.errors import RetrievalError
from retrieval.measures import arrays
from retrieval.measures.arrays import UNLABELLED, Ints


@dataclass(frozen=True)
class Clustering:
    """How far clusters agree with labels; 1 where they are the same up to their numbers.

    Attributes:
        nmi: mutual information divided by the arithmetic mean of both entropies. It grows with the number of
            clusters even where they mean nothing.
        ami: the same adjusted for chance (Vinh, Epps and Bailey 2010), with the same mean: 0 is what random clusters
            of these sizes reach in expectation.
        clusters: int64 (n,), the cluster of each item that has a label.
    """

    nmi: float
    ami: float
    clusters: Ints


def agreement(labels: npt.ArrayLike, clusters: npt.ArrayLike) -> Clustering:
    """Normalised and adjusted mutual information of a clustering that somebody else made (scikit-learn's).

    Args:
        labels: integers (n,), −1 for none: those items are left out.
        clusters: integers (n,).

    Raises:
        RetrievalError: the arrays do not fit together, or nothing has a label.
    """
    truth = arrays.labels(labels, np.size(labels), "items")
    found = np.asarray(clusters)
    if found.shape != truth.shape or not np.issubdtype(found.dtype, np.integer):
        raise RetrievalError(
            f"{truth.size} items come with clusters of shape {found.shape} and type {found.dtype}: give one integer "
            "for each"
        )
    kept = truth != UNLABELLED
    if not kept.any():
        raise RetrievalError(f"none of the {truth.size} items has a label: give labels to compare the clusters with")
    from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score  # takes a second to import

    truth, found = truth[kept], found[kept].astype(np.int64)
    return Clustering(
        float(normalized_mutual_info_score(truth, found)), float(adjusted_mutual_info_score(truth, found)), found
    )


def cluster(vectors: npt.ArrayLike, labels: npt.ArrayLike, *, clusters: int | None = None, seed: int = 0) -> Clustering:
    """Cluster embeddings by k-means, and compare with the labels.

    scikit-learn's KMeans (k-means++, one start, Euclidean distance; on unit vectors that orders as the cosine does),
    its sums on one thread, so that the same seed gives the same clusters.

    Args:
        vectors: float32 (n, d).
        labels: integers (n,), −1 for none: those items are left out.
        clusters: how many; as many as there are labels if None.
        seed: of the start.

    Raises:
        RetrievalError: the arrays do not fit together, nothing has a label, or there are fewer items than clusters.
    """
    items = arrays.vectors(vectors, "items")
    truth = arrays.labels(labels, len(items), "items")
    kept = truth != UNLABELLED
    items, truth = items[kept], truth[kept]
    checked_seed(seed)
    many = np.unique(truth).size if clusters is None else clusters
    if not 1 <= many <= len(items):
        raise RetrievalError(f"{len(items)} labelled items cannot make {many} clusters: give 1 to {len(items)}")
    from sklearn.cluster import KMeans  # here, because scikit-learn takes a second to import
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(), threadpool_limits(1, user_api="openmp"):
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different vectors than clusters: some stay empty
        found = KMeans(many, n_init=1, random_state=seed).fit_predict(items)
    return agreement(truth, found)
