"""Labelled pictures as labelled vectors, which is all that the measures need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from retrieval import images, progress
from retrieval.datasets import PictureSet, Progress
from retrieval.encoder import Encoder
from retrieval.machine import cores
from retrieval.measures import UNLABELLED

PIXELS_A_BATCH = 2**24
"""Pixels of network input that pictures in memory are fitted to at a time."""


@dataclass(frozen=True)
class Labelled:
    """Vectors with what they belong to.

    Attributes:
        names: one a vector.
        classes: the labels' names.
        labels: int64 (n,), an index into `classes`, −1 where there is none.
        vectors: float32 (n, d), unit rows.
        rows: int64 (n,), ascending places in the set of pictures; files that cannot be read leave gaps.
    """

    names: npt.NDArray[np.str_]
    classes: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    vectors: npt.NDArray[np.float32]
    rows: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def relabelled(self, classes: Sequence[str]) -> Labelled:
        """The same under another numbering of classes, by name; classes that it lacks follow after its own."""
        number = {name: position for position, name in enumerate(classes)}
        for name in self.classes:
            number.setdefault(name, len(number))
        table = np.array([*(number[name] for name in self.classes), UNLABELLED])  # −1 is the last place
        return replace(self, classes=tuple(number), labels=table[self.labels])


def encode(encoder: Encoder, pictures: PictureSet, what: str, *, decoder: images.Decoder = "pillow") -> Labelled:
    """The vectors of a set of pictures, without the files that cannot be read.

    Args:
        encoder: what makes the vectors; for a set of files one that uses a single core keeps out of its own way.
        pictures: the set.
        what: what they are, for the progress bar.
        decoder: what decodes files.
    """
    with progress.bar(len(pictures), f"Encoding {what}", "pictures") as bar:
        if pictures.files is None:
            vectors, kept = _from_memory(encoder, pictures, bar.update), np.ones(len(pictures), bool)
        else:
            vectors, kept = _from_files(encoder, pictures, decoder, bar.update)
    return Labelled(
        names=np.asarray(pictures.names, dtype=np.str_)[kept],
        classes=pictures.classes,
        labels=pictures.labels[kept],
        vectors=vectors,
        rows=np.flatnonzero(kept),
    )


def _from_memory(encoder: Encoder, pictures: PictureSet, advance: Progress) -> npt.NDArray[np.float32]:
    p = encoder.config.preprocessing
    step = max(1, PIXELS_A_BATCH // p.size**2)
    vectors = np.empty((len(pictures), encoder.dim), np.float32)
    for start in range(0, len(pictures), step):
        rows = np.arange(start, min(start + step, len(pictures)))
        vectors[rows] = encoder.encode(pictures.read(p, rows))
        advance(len(rows))
    return vectors


def _from_files(
    encoder: Encoder, pictures: PictureSet, decoder: images.Decoder, advance: Progress
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    from retrieval.reading import encode_files  # here, because most sets are in memory

    kept = np.zeros(len(pictures), bool)
    parts = [np.empty((0, encoder.dim), np.float32)]
    for batch in encode_files(pictures.files or (), encoder, decoder, threads=cores()):
        for place, picture in enumerate(batch.pictures, start=batch.start):
            kept[place] = not isinstance(picture, images.Skipped)
        parts.append(batch.vectors)
        advance(len(batch.pictures))
    return np.concatenate(parts), kept
