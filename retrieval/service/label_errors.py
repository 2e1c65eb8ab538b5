"""Pictures whose label is suspect, each with the neighbours that say so (:mod:`retrieval.traps.labels`)."""

from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np

from retrieval.base.text import numbered
from retrieval.search.search import Search
from retrieval.service.kept import Work
from retrieval.traps.labels import find_label_errors
from retrieval.traps.neighbours import neighbours_of

NEIGHBOURS = 10
"""Neighbours that each picture asks."""

MOST = 10_000
"""Suspects that are kept: more than anybody looks at."""

_VERSION = 1


class Suspect(NamedTuple):
    """One picture.

    Attributes:
        id: its. label: what it has. suggested: what `agree` of the `votes` of its neighbours have.
        score: from 0 to 1, how surely it is wrong. neighbours: ids of those that agree, the nearest first.
    """

    id: int
    label: str
    suggested: str
    agree: int
    votes: int
    score: float
    neighbours: tuple[int, ...]


class Suspects(NamedTuple):
    """All of them, the worst first, and what was found in a sentence."""

    sentence: str
    all: tuple[Suspect, ...] = ()


def _make(search: Search) -> Suspects:
    index = search.index
    names, marks = numbered(index.labels())
    if not names:
        return Suspects("No picture of this collection has a label, so that none can be wrong.")
    neighbours, scores = neighbours_of(index, NEIGHBOURS)
    ids = index.ids()
    rows = np.where(neighbours < 0, -1, np.searchsorted(ids, neighbours))
    found = find_label_errors(rows, scores, marks, list(names), most=MOST).with_ids(ids)
    suspects = []
    for example in found.worst:
        first, *others = example.ids
        figures = example.figures
        suspects.append(
            Suspect(
                first, str(figures["label"]), str(figures["suggested"]), int(figures["agree"] or 0),
                int(figures["votes"] or 0), float(figures["score"] or 0), tuple(others),
            )
        )  # fmt: skip
    return Suspects(found.sentence, tuple(suspects))


def _unpacked(data: bytes) -> Suspects:
    sentence, suspects = json.loads(data)
    return Suspects(sentence, tuple(Suspect._make([*some[:-1], tuple(some[-1])]) for some in suspects))


LABEL_ERRORS: Work[Suspects] = Work(
    f"label errors {_VERSION}", _make, lambda found: json.dumps(found).encode(), _unpacked
)
"""The looking for them."""
