"""Files to vectors, many at once: decode and encode on all cores, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retrieval import images
from retrieval.base.machine import cores
from retrieval.base.placed_files import Root
from retrieval.base.progress import bar
from retrieval.base.threads import in_order
from retrieval.images.box import Box
from retrieval.images.reading import Contents, ReadPicture, _or_skipped, at_hand, read_picture
from retrieval.images.room import Room

if TYPE_CHECKING:
    from retrieval.datasets import PictureSet
    from retrieval.encoder import Encoder

PIXELS_A_BATCH = 2**20
"""About how many pixels of network input one thread reads before it encodes: 20 pictures of 224×224."""

PICTURES_A_BATCH = 256
"""Most pictures that one thread reads before it encodes, however small they are."""


PIXELS_IN_MEMORY = 2**24
"""Pixels of network input that pictures in memory are fitted to at a time."""


@dataclass(frozen=True)
class EncodedBatch:
    """What became of one batch of files.

    Attributes:
        start: the place of its first file among all that were asked for.
        pictures: one a file of the batch, in order: what is known of it, or why it was left out.
        vectors: float32 (m, dim), unit rows: one a file that was decoded, in order.
    """

    start: int
    pictures: tuple[ReadPicture | images.Skipped, ...]
    vectors: NDArray[np.float32]


def encode_files(
    files: Sequence[str | Path],
    encoder: Encoder,
    decoder: images.Decoder,
    *,
    threads: int,
    batch: int | None = None,
    root: Path | Root = Path(),
    contents: Contents | None = None,
    room: Room | None = None,
    boxes: Sequence[Box | None] | None = None,
) -> Iterator[EncodedBatch]:
    """Read and encode files.

    Args:
        files: any number of picture files.
        encoder: what turns pixels into vectors. With several threads it had better use one core itself.
        decoder: what decodes JPEGs.
        threads: how many batches are worked on at a time.
        batch: files in one batch; by default what keeps memory small and the cores busy.
        root: where relative paths start from.
        contents: what says which files need not be decoded, because a file of the same bytes is or was.
        room: what files and their pixels may take; those that never fit are left out. By default that of the process.
        boxes: the part of each picture that is encoded, None for the whole of one; None: the whole of all.

    Yields:
        The batches, in the order of `files`. At most `threads` + 1 are in memory besides the one that is yielded.
    """
    p = encoder.config.preprocessing
    step = batch or files_a_batch(p, len(files), threads)

    def work(start: int) -> EncodedBatch:
        some = files[start : start + step]
        cut = [None] * len(some) if boxes is None else boxes[start : start + step]
        pictures = tuple(
            _or_skipped(partial(read_picture, file, p, decoder, contents, room, box))
            for file, box in zip(at_hand(some, root), cut, strict=True)
        )
        decoded = (picture.pixels for picture in pictures if isinstance(picture, ReadPicture))
        pixels = [one for one in decoded if one is not None]
        square = (0, p.size, p.size, p.channels)
        return EncodedBatch(start, pictures, encoder.encode(np.stack(pixels) if pixels else np.empty(square, np.uint8)))

    return in_order(work, range(0, len(files), step), threads)


def encode_set(
    encoder: Encoder,
    pictures: PictureSet,
    what: str,
    decoder: images.Decoder = "pillow",
    boxes: Sequence[Box | None] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Encode a labelled set, in memory or of files.

    Args:
        encoder: what makes the vectors; for a set of files one that uses a single core keeps out of its own way.
        pictures: the set.
        what: what they are, for the progress bar.
        decoder: what decodes files.
        boxes: as for :func:`encode_files`.

    Returns:
        float32 (m, dim), the vectors of those that can be read, and bool (n,), which these are.
    """
    if pictures.files is None:
        return encode_read(encoder, pictures, what), np.ones(len(pictures), bool)
    return encode_readable(encoder, pictures.files, what, decoder, threads=cores(), boxes=boxes)


def encode_readable(
    encoder: Encoder,
    files: Sequence[str | Path],
    what: str,
    decoder: images.Decoder = "pillow",
    *,
    threads: int,
    root: Path | Root = Path(),
    boxes: Sequence[Box | None] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The vectors of the files that can be read, float32 (m, dim), and bool (n,), which these are."""
    kept = np.zeros(len(files), bool)
    parts = [np.empty((0, encoder.dim), np.float32)]
    with bar(len(files), f"Encoding {what}", "pictures") as progress:
        for batch in encode_files(files, encoder, decoder, threads=threads, root=root, boxes=boxes):
            kept[batch.start :][: len(batch.pictures)] = [isinstance(one, ReadPicture) for one in batch.pictures]
            parts.append(batch.vectors)
            progress.update(len(batch.pictures))
    return np.concatenate(parts), kept


def encode_read(encoder: Encoder, pictures: PictureSet, what: str) -> NDArray[np.float32]:
    """The vectors of a set, float32 (n, dim).

    Raises:
        RetrievalError: some of its files cannot be read.
    """
    p = encoder.config.preprocessing
    vectors = np.empty((len(pictures), encoder.dim), np.float32)
    step = read_a_batch(p)
    with bar(len(pictures), f"Encoding {what}", "pictures") as progress:
        for start in range(0, len(pictures), step):
            rows = np.arange(start, min(start + step, len(pictures)))
            vectors[rows] = encoder.encode(pictures.read(p, rows))
            progress.update(len(rows))
    return vectors


def read_a_batch(p: images.Preprocessing) -> int:
    """How many pictures in memory are fitted to a network and encoded at a time."""
    return max(1, PIXELS_IN_MEMORY // p.size**2)


def files_a_batch(p: images.Preprocessing, files: int, threads: int) -> int:
    """How many of so many files each of some threads reads before it encodes them."""
    return max(1, min(pictures_a_batch(p), -(-files // threads)))


def pictures_a_batch(p: images.Preprocessing) -> int:
    """How many pictures a thread reads before it encodes them, unless somebody wants another number."""
    return max(1, min(PICTURES_A_BATCH, PIXELS_A_BATCH // p.size**2))
