"""Figures beside those of the rankings, which no single query has a value of."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from retrieval import measures
from retrieval.evaluation.report import Measure
from retrieval.evaluation.vectors import Labelled

PAIRS = 20_000
"""So many pairs are drawn to verify, half of them genuine."""

PEER_KS = (1, 5, 10)
"""Where open-metric-learning's measures are taken."""

Peer = Literal["pml", "oml"]
Own = npt.NDArray[np.int64] | None


def verification(
    queries: Labelled, gallery: Labelled | None, own: Own, *, confidence: float, seed: int
) -> list[Measure]:
    """How well the score tells pairs of one class from others; nothing where all are of one class.

    Args:
        queries: one side of each pair. gallery: the other; None: each two of the queries.
        own: where each query stands in the gallery, −1 where it does not.
        confidence, seed: of the intervals and the draws.
    """
    shown = np.unique(np.concatenate([queries.labels, (queries if gallery is None else gallery).labels]))
    if (shown >= 0).sum() < 2:
        return []
    shelf = () if gallery is None else (gallery.vectors, gallery.labels)
    pairs = measures.pair_scores(
        queries.vectors, queries.labels, *shelf, own=own, sample=PAIRS, balanced=True, seed=seed
    )
    figures = measures.verify(pairs, confidence=confidence, seed=seed)
    return [
        Measure(name, figure.value, figure.low, figure.high, figure.n, chance)
        for (name, figure), chance in zip(figures.items(), (0.5, 0.5, 0.95), strict=True)
    ]


def clustering(queries: Labelled, *, seed: int) -> list[Measure]:
    """How far k-means on the queries agrees with their labels."""
    found = measures.cluster(queries.vectors, queries.labels, seed=seed)
    n = len(found.clusters)
    return [
        Measure("NMI", found.nmi, math.nan, math.nan, n, math.nan),
        Measure("AMI", found.ami, math.nan, math.nan, n, 0.0),
    ]


def of_peer(peer: Peer, queries: Labelled, gallery: Labelled | None, own: Own) -> list[Measure]:
    """What another library would say of the same vectors, by its own names."""
    shelf = () if gallery is None else (gallery.vectors, gallery.labels)
    if peer == "pml":
        found = measures.like_pml(queries.vectors, queries.labels, *shelf, own=own)
    else:
        by_k = measures.like_oml(queries.vectors, queries.labels, *shelf, own=own, ks=PEER_KS)
        found = {f"{name}@{k}": value for name, at in by_k.items() for k, value in at.items()}
    n = int((queries.labels >= 0).sum())
    return [Measure(f"{peer} {name}", value, math.nan, math.nan, n, math.nan) for name, value in found.items()]
