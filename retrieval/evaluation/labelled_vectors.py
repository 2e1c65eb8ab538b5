"""Labelled pictures as labelled vectors, which is all that the measures need, and the part of them that asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval import images
from retrieval.datasets import PictureSet
from retrieval.encoder import Encoder
from retrieval.encoder.file_encoding import encode_set
from retrieval.images.box import Box
from retrieval.index.vectors import signs
from retrieval.measures import UNLABELLED

SEPARATOR = ";"
"""Between the labels of a picture that has several."""


@dataclass(frozen=True)
class Labelled:
    """Vectors with what they belong to.

    Attributes:
        names: one a vector.
        classes: the labels' names.
        labels: int64 (n,), an index into `classes`, −1 where there is none.
        vectors: float32 (n, d), unit rows; or uint8 (n, bits/8), binary codes, eight bits a byte.
        rows: int64 (n,), ascending places in the set of pictures; files that cannot be read leave gaps.
        sets: bool (n, classes), which classes each shows, where they may be several; then all of `labels` are −1.
        ids: int64 (n,), their ids in an index.
    """

    names: npt.NDArray[np.str_]
    classes: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    vectors: npt.NDArray[Any]
    rows: npt.NDArray[np.int64]
    sets: npt.NDArray[np.bool_] | None = None
    ids: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def truth(self) -> npt.NDArray[Any]:
        """The labels as the measures take them: integers (n,), or booleans (n, classes)."""
        return self.labels if self.sets is None else self.sets

    @property
    def numbers(self) -> npt.NDArray[np.float32]:
        """float32 (n, d): the vectors; of codes ±1 for each bit, whose products order as the distances do and are
        whole numbers, so that equal distances tie."""
        if self.vectors.dtype != np.uint8:
            return self.vectors
        return signs(self.vectors)

    def select(self, rows: npt.NDArray[np.int64]) -> Labelled:
        """Those at these places."""
        return replace(
            self,
            names=self.names[rows],
            labels=self.labels[rows],
            vectors=self.vectors[rows],
            rows=self.rows[rows],
            sets=None if self.sets is None else self.sets[rows],
            ids=None if self.ids is None else self.ids[rows],
        )

    def at(self, rows: npt.NDArray[np.int64]) -> Labelled:
        """The same, with other places in a set of pictures."""
        return replace(self, rows=rows)

    def several(self) -> Labelled:
        """The same, its labels as sets, though they be of one class each."""
        if self.sets is not None:
            return self
        sets = np.zeros((len(self), len(self.classes)), bool)
        known = np.flatnonzero(self.labels != UNLABELLED)
        sets[known, self.labels[known]] = True
        return replace(self, labels=np.full(len(self), UNLABELLED), sets=sets)

    def shown(self, row: int) -> str:
        """Its class or classes in words, nothing where it has none."""
        if self.sets is not None:
            return SEPARATOR.join(self.classes[place] for place in np.flatnonzero(self.sets[row]))
        return self.classes[self.labels[row]] if self.labels[row] >= 0 else ""

    def relabelled(self, classes: Sequence[str]) -> Labelled:
        """The same under another numbering of classes, by name; classes that it lacks follow after its own."""
        number = {name: position for position, name in enumerate(classes)}
        for name in self.classes:
            number.setdefault(name, len(number))
        table = np.array([*(number[name] for name in self.classes), UNLABELLED])  # −1 is the last place
        sets = None
        if self.sets is not None:
            sets = np.zeros((len(self), len(number)), bool)
            sets[:, table[:-1]] = self.sets
        return replace(self, classes=tuple(number), labels=table[self.labels], sets=sets)


def encode(
    encoder: Encoder,
    pictures: PictureSet,
    what: str,
    *,
    decoder: images.Decoder = "pillow",
    boxes: Sequence[Box | None] | None = None,
) -> Labelled:
    """The vectors of a set of pictures, without the files that cannot be read.

    Args:
        encoder: what makes the vectors; for a set of files one that uses a single core keeps out of its own way.
        pictures: the set.
        what: what they are, for the progress bar.
        decoder: what decodes files.
        boxes: of a set of files the part of each picture that is encoded, None for the whole of one; None: the whole of
            all.
    """
    vectors, kept = encode_set(encoder, pictures, what, decoder, boxes)
    return Labelled(
        names=np.asarray(pictures.names, dtype=np.str_)[kept],
        classes=pictures.classes,
        labels=pictures.labels[kept],
        vectors=vectors,
        rows=np.flatnonzero(kept),
    )


def drawn(n: int, limit: int | None, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Ascending places of at most `limit` of n."""
    if limit is None or n <= limit:
        return np.arange(n)
    return np.sort(generator.choice(n, limit, replace=False))


def some(pictures: PictureSet, limit: int | None, generator: np.random.Generator) -> PictureSet:
    """At most `limit` of the pictures."""
    return pictures if limit is None else pictures.select(drawn(len(pictures), limit, generator))


def asking_part(queries: PictureSet) -> PictureSet:
    """The test split of a set that is there to ask, all of it where it has none."""
    return queries.select("test") if (queries.splits == "test").any() else queries
