"""What a head gains over the vectors below it, honestly: on pictures and on classes that it did not learn from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval import measures
from retrieval.base.given import seeded
from retrieval.encoder.head_map import HeadMap
from retrieval.measures import Comparison
from retrieval.measures.intervals import A_SAMPLE
from retrieval.training.head.discriminant import Floats, Ints

Sample = tuple[Floats, Ints]
"""Vectors float32 (n, d) and labels int64 (n,)."""

Make = Callable[[npt.NDArray[np.bool_]], HeadMap]
"""A head that learned from some of the rows, choices and all."""

MEASURES = ("P@1", "P@10", "MAP@R")

QUERIES, GALLERY = 2000, 20_000
"""At most so many ask, and are looked through."""

PICTURES, CLASSES = 5, 3
"""One in so many pictures, and classes, is held out."""


@dataclass(frozen=True)
class Gain:
    """Head and base, asked the same.

    Attributes:
        what: was held out.
        queries, classes: so many asked, of so many classes; 0 where labels have no part in it.
        measures: head − base for each measure, paired by query, with 95 % intervals.
    """

    what: str
    queries: int
    classes: int
    measures: Mapping[str, Comparison]

    def __str__(self) -> str:
        parts = []
        for name, found in self.measures.items():
            gap = found.difference
            said = "no gain that the sample can tell" if gap.low <= 0 <= gap.high else f"{gap.value:+.3f}"
            parts.append(
                f"{name} {found.second.value:.3f} → {found.first.value:.3f} ({said}, {gap.low:+.3f} to {gap.high:+.3f})"
            )
        of = f", of {self.classes:,} classes" if self.classes else ""
        return f"{self.what} ({self.queries:,} asked{of}): {'; '.join(parts)}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        figures = {
            name: {
                "base": found.second.value,
                "head": found.first.value,
                "difference": [found.difference.value, found.difference.low, found.difference.high],
            }
            for name, found in self.measures.items()
        }
        return {"held_out": self.what, "queries": self.queries, "classes": self.classes, "measures": figures}


def held_out(labels: Ints, seed: int) -> npt.NDArray[np.bool_]:
    """bool (n,), one in :data:`PICTURES` of each class's pictures."""
    random = seeded(seed)
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        held[random.permutation(rows)[: len(rows) // PICTURES]] = True
    return held


def on_pictures(head: HeadMap, asking: Sample, gallery: Sample, seed: int) -> Gain | None:
    """What a head gains on pictures of known classes, among those that it learned from.

    Args:
        head: learned from the gallery.
        asking, gallery: vectors and labels; the first are held out.

    Returns:
        None where there is nobody to ask.
    """
    random = seeded(seed)
    queries = random.permutation(len(asking[1]))[:QUERIES]
    shelf = random.permutation(len(gallery[1]))[:GALLERY]
    sets = (asking[0][queries], asking[1][queries], gallery[0][shelf], gallery[1][shelf])
    return _compared("held-out pictures of known classes", head, sets, seed, None) if len(queries) else None


def on_classes(make: Make, vectors: Floats, labels: Ints, seed: int) -> Gain | None:
    """What a head gains on classes that it never saw, whose pictures are looked for among themselves.

    Args:
        make: makes one from some of the rows, choices and all.

    Returns:
        None where there are too few classes to hold two out.
    """
    random = seeded(seed)
    classes = random.permutation(np.unique(labels))
    aside = classes[: len(classes) // CLASSES]
    if len(aside) < 2:
        return None
    unseen = np.isin(labels, aside)
    rows = random.permutation(np.flatnonzero(unseen))[:GALLERY]
    over = labels[rows] if len(aside) >= A_SAMPLE else None
    return _compared("classes never seen", make(~unseen), (vectors[rows], labels[rows], None, None), seed, over)


def _compared(
    what: str, head: HeadMap, sets: tuple[Floats, Ints, Floats | None, Ints | None], seed: int, over: Ints | None
) -> Gain | None:
    """Head and base on the same queries; None where no query has a match."""
    queries, truth, gallery, gallery_labels = sets
    ranked = [
        measures.rank(one(queries), truth, None if gallery is None else one(gallery), gallery_labels, ks=(1, 10))
        for one in (head, _as_they_are)
    ]
    asked = ranked[0].queries
    if not len(asked):
        return None
    compared = measures.compare_columns(
        *(np.stack([one.values[name] for name in MEASURES], axis=1) for one in ranked),
        names=("the head", "the base"),
        over=None if over is None else over[asked],
    )
    return Gain(what, len(asked), len(np.unique(truth[asked])), dict(zip(MEASURES, compared, strict=True)))


def _as_they_are(vectors: Floats) -> Floats:
    return vectors
