"""Bringing pictures that are files into memory, at their own size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from retrieval import images
from retrieval.datasets.picture_set import PictureSet, Progress
from retrieval.errors import RetrievalError
from retrieval.images import Pixels, Skipped, Source, UnreadableImage

MAX_MEMORY = 8 * 2**30
"""Bytes of pixels above which a set is left on disk."""


class Stack(NamedTuple):
    """Pictures of one size.

    Attributes:
        pixels: uint8 (n, h, w, c); c is 1 if all are grey and 3 otherwise.
        kept: (n,), which of the sources they are.
        skipped: the rest.
    """

    pixels: Pixels
    kept: list[int]
    skipped: list[Skipped]


def stack(
    names: Sequence[str], opened: Callable[[int], Source], advice: str, progress: Progress | None = None
) -> Stack:
    """Decode pictures of one size into one array.

    Args:
        names: what to call each picture in a message.
        opened: gives the file of picture i.
        advice: what to do if the pictures differ in size; the end of a sentence.
        progress: called with the number of pictures done since the last call.

    Raises:
        RetrievalError: if the pictures differ in size, would take more than :data:`MAX_MEMORY`, or none is
            readable.
    """
    pixels: Pixels | None = None
    kept: list[int] = []
    skipped: list[Skipped] = []
    for row, name in enumerate(names):
        try:
            picture = np.asarray(images.open_picture(opened(row)))
        except UnreadableImage as error:
            skipped.append(Skipped(name, error.reason))
            continue
        picture = picture[..., None] if picture.ndim == 2 else picture
        if pixels is None:
            if len(names) * picture.size > MAX_MEMORY:
                raise RetrievalError(f"{len(names)} pictures like {name!r} do not fit into memory; {advice}.")
            pixels = np.empty((len(names), *picture.shape), np.uint8)
        if picture.shape[:2] != pixels.shape[1:3]:
            raise RetrievalError(
                f"The pictures differ in size ({names[kept[0]]!r} has {_size(pixels[0])} pixels, {name!r} "
                f"{_size(picture)}) and cannot be one array; {advice}."
            )
        if picture.shape[2] > pixels.shape[3]:  # the first picture in colour
            pixels = np.repeat(pixels, 3, axis=3)
        pixels[len(kept)] = picture
        kept.append(row)
        if progress is not None:
            progress(1)
    if pixels is None:
        first = f", the first for this reason: {skipped[0].reason}" if skipped else ""
        raise RetrievalError(f"Not one of {len(names)} pictures can be read{first}; {advice}.")
    return Stack(pixels[: len(kept)], kept, skipped)


def resident(pictures: PictureSet, progress: Progress | None = None) -> PictureSet:
    """The same set in memory, without those that cannot be read.

    Raises:
        RetrievalError: as :func:`stack` does.
    """
    if pictures.files is None:
        return pictures
    files = pictures.files
    advice = "keep them as a folder (or `--export` them as one)"
    pixels, kept, skipped = stack(pictures.names, files.__getitem__, advice, progress)
    readable = pictures.select(kept)
    return replace(readable, pixels=pixels, files=None, skipped=(*pictures.skipped, *skipped))


def _size(picture: Pixels) -> str:
    return f"{picture.shape[1]}×{picture.shape[0]}"
