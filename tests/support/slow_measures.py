"""The measures as slow obvious loops, and vectors to measure, for tests."""

from __future__ import annotations

import itertools
import math

import numpy as np

# `order` is a list of grades, best first: no ties are left in it.


def slow_precision(order: list[float], k: int) -> float:
    return sum(grade > 0 for grade in order[:k]) / k


def slow_average_precision(order: list[float], cutoff: int) -> float:
    """Not yet divided."""
    total, hits = 0.0, 0
    for position, grade in enumerate(order[:cutoff], start=1):
        if grade > 0:
            hits += 1
            total += hits / position
    return total


def slow_ndcg(order: list[float], k: int) -> float:
    def gain(grades: list[float]) -> float:
        return sum(grade / math.log2(rank + 1) for rank, grade in enumerate(grades[:k], start=1))

    return gain(order) / gain(sorted(order, reverse=True))


def slow_measures(order: list[float], k: int) -> list[float]:
    total, n = sum(grade > 0 for grade in order), len(order)
    return [
        slow_precision(order, k),
        slow_precision(order, k) * k / total,
        float(slow_precision(order, k) > 0),
        slow_average_precision(order, k) / min(total, k),
        slow_ndcg(order, k),
        slow_precision(order, total),
        slow_average_precision(order, total) / total,
        slow_average_precision(order, n) / total,
        1 / (1 + next(place for place, grade in enumerate(order) if grade > 0)),
        slow_ndcg(order, n),
    ]


def orders(scores: list[int]) -> list[tuple[int, ...]]:
    """Every order of the items in which no score rises."""
    return [
        order
        for order in itertools.permutations(range(len(scores)))
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order))
    ]


def slow_vote(truth: int, sure: list[int], tied: list[int], places: int) -> float:
    outcomes = []
    for drawn in itertools.combinations(tied, places):
        classes, votes = np.unique([*sure, *drawn], return_counts=True)
        winners = classes[votes == votes.max()]
        outcomes.append((truth in winners) / len(winners))
    return float(np.mean(outcomes))


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def clusters(n: int, classes: int, seed: int, d: int = 16, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    centres = np.random.default_rng(99).normal(size=(classes, d))
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    return unit(centres[labels] + noise * rng.normal(size=(n, d))), labels
