"""What the benchmarks' papers and readmes say, as slow obvious loops in float64, one query at a time; no ties."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def order_of(query: np.ndarray, gallery: np.ndarray, left_out: Iterable[int] = ()) -> list[int]:
    """The gallery's places by falling inner product, without those that are left out."""
    scores = gallery.astype(np.float64) @ query.astype(np.float64)
    gone = set(left_out)
    return [place for place in sorted(range(len(gallery)), key=lambda i: -scores[i]) if place not in gone]


def found_within(order: list[int], right: set[int], k: int) -> float:
    """R@k of metric learning, CMC at rank k of re-identification: whether any of the first k is right."""
    return float(any(place in right for place in order[:k]))


def average_precision(
    order: list[int], right: set[int], cutoff: int | None = None, divisor: int | None = None
) -> float:
    hits, total = 0, 0.0
    for rank, place in enumerate(order[:cutoff], start=1):
        if place in right:
            hits += 1
            total += hits / rank
    return total / len(right)


def map_at_r(order: list[int], right: set[int]) -> float:
    return average_precision(order, right, cutoff=len(right))


def trapezoids(order: list[int], right: set[int]) -> float:
    """The area under the curve of precision over recall, point after point: it begins at recall 0 and precision 1, and
    has a point after every item of the ranking; between two points it is straight."""
    area, precision, recall, hits = 0.0, 1.0, 0.0, 0
    for rank, place in enumerate(order, start=1):
        hits += place in right
        next_precision, next_recall = hits / rank, hits / len(right)
        area += (next_recall - recall) * (precision + next_precision) / 2
        precision, recall = next_precision, next_recall
    return area


def precision_to_last(order: list[int], right: set[int], k: int) -> float:
    """P@k of Revisited Oxford and Paris: k is at most the rank of the last right answer."""
    last = max(rank for rank, place in enumerate(order, start=1) if place in right)
    k = min(k, last)
    return sum(place in right for place in order[:k]) / k


def average_precision_of_found(order: list[int], right: set[int], k: int) -> float:
    """mAP@k of hashing: divided by the right answers among the first k."""
    found = sum(place in right for place in order[:k])
    return average_precision(order, right, cutoff=k) * len(right) / found if found else 0.0
