"""Class by class: how well each is found, and what it is taken for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from retrieval import measures
from retrieval.measures.intervals import FEWEST

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MEASURES = ("P@1", "P@10", "MAP@R")
"""What the table of classes shows."""

MOST_CONFUSED = 200
"""Classes beyond which nobody can look at who is taken for whom."""


class Column(NamedTuple):
    """One measure of each class, float64 (classes,) each; NaN where there is no query, or too few for an interval."""

    value: Doubles
    low: Doubles
    high: Doubles


@dataclass(frozen=True)
class PerClass:
    """The classes that queries show, one after the other.

    Attributes:
        names: the classes.
        queries: int64 (classes,), queries of each that were measured.
        gallery: int64 (classes,), pictures of each in the gallery.
        measures: the mean over each class's queries, with an interval over them, by name
            (:data:`MEASURES`). "P@1" is what metric learning calls Recall@1.
        fewest: a class of fewer queries has no interval.
    """

    names: tuple[str, ...]
    queries: Ints
    gallery: Ints
    measures: Mapping[str, Column]
    fewest: int = FEWEST


@dataclass(frozen=True)
class Confusion:
    """What the nearest neighbours of a class's queries show.

    Attributes:
        classes: the names of rows and columns.
        k: neighbours of each query that were looked at.
        queries: int64 (classes,), queries of each class.
        shares: float64 (classes, classes), of the neighbours of a class's queries (row) the share that has each label
            (column), in expectation where neighbours tie. Rows sum to 1; one without queries is 0.
    """

    classes: tuple[str, ...]
    k: int
    queries: Ints
    shares: Doubles


def per_class(
    rankings: measures.Rankings,
    asked: npt.NDArray[Any],
    shelf: npt.NDArray[Any],
    names: tuple[str, ...],
    *,
    confidence: float,
) -> PerClass:
    """The table of classes.

    Args:
        rankings: of the queries.
        asked: the classes of those queries that count: integers (m,), or booleans (m, classes), where a query of
            several classes counts in each.
        shelf: those of the gallery, in the same way.
        names: of the classes.
        confidence: of the intervals.
    """
    several = asked.ndim == 2
    rows, of = np.nonzero(asked) if several else (np.arange(len(asked)), asked)
    columns = {name: rankings.values[name] for name in MEASURES if name in rankings.values}
    table = np.stack(list(columns.values()), axis=1)[rows]
    found = measures.mean_intervals_of_groups(table, of, len(names), confidence=confidence)
    queries = np.bincount(of, minlength=len(names))
    gallery = shelf.sum(axis=0) if several else np.bincount(shelf[shelf >= 0], minlength=len(names))
    kept = np.flatnonzero(queries)
    return PerClass(
        names=tuple(names[place] for place in kept),
        queries=queries[kept],
        gallery=gallery[kept],
        measures={name: Column(*(ends[kept, place] for ends in found)) for place, name in enumerate(columns)},
    )


def confusion(rankings: measures.Rankings, names: tuple[str, ...], k: int) -> Confusion | None:
    """Who is taken for whom; None where that was not counted. Classes that nobody shows are left out."""
    if rankings.confusion is None:
        return None
    counts = rankings.confusion
    queries = np.bincount(rankings.labels, minlength=len(names))
    kept = np.flatnonzero((queries > 0) | (counts.sum(axis=0) > 0))
    counts = counts[np.ix_(kept, kept)]
    total = counts.sum(axis=1, keepdims=True)
    return Confusion(tuple(names[place] for place in kept), k, queries[kept], counts / np.where(total, total, 1))
