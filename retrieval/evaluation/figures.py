"""Figures beside those of the rankings, which no single query has a value of."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from retrieval import measures
from retrieval.base.given import seeded
from retrieval.evaluation.labelled_vectors import Labelled, drawn
from retrieval.evaluation.options import Peer
from retrieval.evaluation.report import Measure
from retrieval.index import Index
from retrieval.index.nearest import exact_search
from retrieval.index.nearest.hamming import exact_hamming

PAIRS = 20_000
"""So many pairs are drawn to verify, half of them genuine."""

PEER_KS = (1, 5, 10)
"""Where open-metric-learning's measures are taken."""

ASKED = 1000
"""Queries that an index's structure is asked."""

FOUND = 10
"""Neighbours that it is asked for."""

Own = npt.NDArray[np.int64] | None


def pairs(queries: Labelled, gallery: Labelled | None, own: Own, *, seed: int) -> measures.Pairs | None:
    """Pairs to verify, half of them of one class; None where all are of one class.

    Args:
        queries: one side of each pair. gallery: the other; None: each two of the queries.
        own: where each query stands in the gallery, −1 where it does not.
        seed: of the draws.
    """
    shown = np.unique(np.concatenate([queries.labels, (queries if gallery is None else gallery).labels]))
    if (shown >= 0).sum() < 2:
        return None
    shelf = () if gallery is None else (gallery.numbers, gallery.labels)
    return measures.pair_scores(
        queries.numbers, queries.labels, *shelf, own=own, sample=PAIRS, balanced=True, seed=seed
    )


def verification(pairs: measures.Pairs, *, confidence: float, seed: int) -> list[Measure]:
    """How well the score tells pairs of one class from others."""
    figures = measures.verify(pairs, confidence=confidence, seed=seed)
    return [
        Measure.of(name, figure, chance)
        for (name, figure), chance in zip(figures.items(), (0.5, 0.5, 0.95), strict=True)
    ]


def clustering(queries: Labelled, *, seed: int) -> list[Measure]:
    """How far k-means on the queries agrees with their labels."""
    found = measures.cluster(queries.numbers, queries.labels, seed=seed)
    n = len(found.clusters)
    return [
        Measure("NMI", found.nmi, math.nan, math.nan, n, math.nan),
        Measure("AMI", found.ami, math.nan, math.nan, n, 0.0),
    ]


def structure_recall(index: Index, asked: Labelled, *, confidence: float, seed: int) -> Measure | None:
    """recall@10 of an index's approximate structure: of the true ten nearest the share that its search finds.

    It is the one figure here that is not of exact rankings. A vector that is in the index is left out of its own
    answer. None where the index has no structure, or nothing else to find.

    Args:
        index: the index.
        asked: who asks; with `ids` if they are in it. At most :data:`ASKED` of them, drawn at random.
        confidence: of the interval. seed: of the draw.
    """
    if index.structure is None or len(index) < 2:
        return None
    rows = drawn(len(asked), ASKED, seeded(seed))
    vectors = np.ascontiguousarray(asked.vectors[rows])
    ids, items = index.all_vectors()
    exact = exact_hamming if items.dtype == np.uint8 else exact_search
    own = None if asked.ids is None else asked.ids[rows, None]
    truth = exact(vectors, items, ids, FOUND, None if own is None else list(own))[0]
    found = index.search(vectors, FOUND, exclude=None if own is None else own.tolist())[0]
    recall = measures.recall_of(found, truth)
    interval = measures.mean_intervals(recall, confidence=confidence)[0]
    return Measure.of(f"recall@{FOUND} of the structure", interval)


def of_peer(peer: Peer, queries: Labelled, gallery: Labelled | None, own: Own) -> list[Measure]:
    """What another library would say of the same vectors, by its own names."""
    shelf = () if gallery is None else (gallery.numbers, gallery.labels)
    if peer == "pml":
        found = measures.like_pml(queries.numbers, queries.labels, *shelf, own=own)
    else:
        by_k = measures.like_oml(queries.numbers, queries.labels, *shelf, own=own, ks=PEER_KS)
        found = {f"{name}@{k}": value for name, at in by_k.items() for k, value in at.items()}
    n = int((queries.labels >= 0).sum())
    return [Measure(f"{peer} {name}", value, math.nan, math.nan, n, math.nan) for name, value in found.items()]
