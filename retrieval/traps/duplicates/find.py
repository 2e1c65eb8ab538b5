"""Looking for duplicates: the files read, their hashes and their vectors."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval import images
from retrieval.base.machine import cores
from retrieval.base.progress import bar
from retrieval.base.text import printable
from retrieval.encoder.file_encoding import encode_files
from retrieval.errors import RetrievalError
from retrieval.images import perceptual, reading
from retrieval.images.perceptual import Hashes
from retrieval.index import Index
from retrieval.index.folder import is_index
from retrieval.index.vectors import as_numbers
from retrieval.traps.duplicates.grouping import Known, grouped
from retrieval.traps.duplicates.report import Duplicates
from retrieval.traps.near_duplicates import BITS
from retrieval.traps.neighbours import exact_neighbours, neighbours_of

NEIGHBOURS = 20
"""Nearest of each picture that are looked at for copies by score."""

_BLOCK = 2048  # pictures read before they are hashed, at a time

Ints = npt.NDArray[np.int64]


def find_duplicates(
    source: str | Path,
    *,
    model: str | Path | None = None,
    score: float | None = None,
    bits: int = BITS,
    threads: int | None = None,
) -> Duplicates:
    """Find pictures that are in a folder, or in an index, more than once.

    Each file is read: its bytes are compared (SHA-256), and its perceptual hashes (pHash and dHash, both within
    `bits`). Of an index the vectors are compared, too, and of a folder if a model is given, the :data:`NEIGHBOURS`
    nearest of each picture: they find crops and other versions that no hash does.

    Args:
        source: a folder of pictures, or an index.
        model: for a folder, what makes vectors: as `retrieval build --model` takes it.
        score: the least score that counts; by default :data:`.near_duplicates.SCORE`, and where that many pairs
            have it that it tells classes, only together with hashes, within some bits more than `bits`.
        bits: the greatest distance of each of the two hashes.
        threads: how many cores to use; all by default.

    Raises:
        RetrievalError: there is no such folder; nothing in it can be read; a model is given for an index, which has its
            own; or a threshold is out of range.
    """
    if score is not None and not -1 <= score <= 1:
        raise RetrievalError(f"The least score is {score:g}; give one from -1 to 1.")
    if not 0 <= bits <= 32:
        raise RetrievalError(f"A hash distance of {bits} bits was asked for; give 0 to 32, where chance begins.")
    if is_index(source):
        if model is not None:
            raise RetrievalError(f"{printable(source)!r} is an index, which has vectors; leave --model out.")
        with Index.open(source) as index:
            return _of_index(index, score, bits, threads or cores())
    found = images.find(source)
    root = Path(source).resolve()
    paths, pictures, hashes, skipped = _read(root, found.paths, threads or cores())
    if not pictures:
        raise RetrievalError(f"No picture in {printable(root)!r} can be read; give a folder or an index.")
    vectors = neighbours = scores = None
    if model is not None:
        vectors = _encoded(root, paths, model, threads or cores())
        neighbours, scores = _nearest(vectors)
    known = Known(paths, pictures, hashes, vectors, neighbours, scores)
    return grouped(root, known, (*found.skipped, *skipped), [], score, bits)


def _of_index(index: Index, score: float | None, bits: int, threads: int) -> Duplicates:
    ids = index.ids()
    if not len(ids):
        raise RetrievalError(f"The index {printable(index.folder)!r} is empty; add pictures to it.")
    root = Path(index.root)
    items = index.items(ids)
    paths, pictures, hashes, skipped = _read(root, [item.path for item in items], threads)
    if not pictures:
        raise RetrievalError(
            f"No picture of the index can be read in {printable(root)!r}, where it expects them; put them back, "
            "or give the folder they are in now."
        )
    place = {path: row for row, path in enumerate(paths)}
    by_id, by_id_scores = neighbours_of(index, NEIGHBOURS)
    rows = as_numbers(index.all_vectors()[1])
    # A file that has changed since has another vector than the index's.
    row_of = np.full(len(items) + 1, -1)
    for number, item in enumerate(items):
        row = place.get(item.path, -1)
        if row >= 0 and pictures[row].sha256 == (item.sha256 or pictures[row].sha256):
            row_of[number] = row
    here = np.flatnonzero(row_of >= 0)
    stale = len(pictures) - len(here)
    vectors = np.full((len(pictures), rows.shape[1]), np.nan, np.float32)
    vectors[row_of[here]] = rows[here]
    neighbours = np.full((len(pictures), NEIGHBOURS), -1, np.int64)
    scores = np.full((len(pictures), NEIGHBOURS), -np.inf, np.float32)
    neighbours[row_of[here]] = row_of[np.where(by_id < 0, len(items), np.searchsorted(ids, by_id))][here]
    scores[row_of[here]] = by_id_scores[here]
    notes = []
    if stale:
        notes.append(
            f"{stale:,} files changed since they were indexed, and their vectors were left out (retrieval sync)."
        )
    known = Known(paths, pictures, hashes, vectors, neighbours, scores)
    return grouped(root, known, tuple(skipped), notes, score, bits)


def _read(
    root: Path, paths: Sequence[str], threads: int
) -> tuple[list[str], list[reading.ReadPicture], Hashes, list[images.Skipped]]:
    """The files that can be read, what is known of them, their hashes, and the other files."""

    def one(path: str) -> reading.ReadPicture | images.Skipped:
        try:
            return reading.read_picture(root / path, perceptual.PREPROCESSING, "pillow")
        except images.UnreadableImage as problem:
            return images.Skipped(printable(path), problem.reason)
        except ValueError:  # a NUL: no folder gives such a name, but an index that somebody made up may
            return images.Skipped(printable(path), "not a possible file name")

    names: list[str] = []
    pictures: list[reading.ReadPicture] = []
    hashes = [perceptual.hash_pixels(np.empty((0, perceptual.SIDE, perceptual.SIDE, 1), np.uint8))]
    skipped: list[images.Skipped] = []
    with ThreadPoolExecutor(threads, "reading") as pool, bar(len(paths), "Reading", "pictures") as shown:
        for start in range(0, len(paths), _BLOCK):
            some = paths[start : start + _BLOCK]
            squares = []
            for path, picture in zip(some, pool.map(one, some), strict=True):
                shown.update()
                if isinstance(picture, images.Skipped):
                    skipped.append(picture)
                elif picture.pixels is not None:
                    names.append(path)
                    squares.append(picture.pixels)
                    pictures.append(dataclasses.replace(picture, pixels=None))  # its hashes are all that is needed
            if squares:
                hashes.append(perceptual.hash_pixels(np.stack(squares)))
    return names, pictures, perceptual.joined(hashes), skipped


def _encoded(root: Path, paths: list[str], model: str | Path, threads: int) -> npt.NDArray[np.float32]:
    from retrieval.encoder import Encoder

    encoder = Encoder.load(model, threads=1)  # the threads that read encode, too
    vectors = np.full((len(paths), encoder.dim), np.nan, np.float32)
    with bar(len(paths), "Encoding", "pictures") as shown:
        for batch in encode_files(paths, encoder, "pillow", threads=threads, root=root):
            read = [isinstance(picture, reading.ReadPicture) for picture in batch.pictures]
            vectors[batch.start + np.flatnonzero(read)] = batch.vectors
            shown.update(len(batch.pictures))
    return vectors


def _nearest(vectors: npt.NDArray[np.float32]) -> tuple[Ints, npt.NDArray[np.float32]]:
    """Rows and scores (n, k) of the nearest of each row that is not NaN."""
    neighbours = np.full((len(vectors), NEIGHBOURS), -1, np.int64)
    scores = np.full((len(vectors), NEIGHBOURS), -np.inf, np.float32)
    here = np.flatnonzero(~np.isnan(vectors[:, 0]))
    shelf = np.ascontiguousarray(vectors[here])
    neighbours[here], scores[here] = exact_neighbours(shelf, shelf, NEIGHBOURS, ids=here, own=here)
    return neighbours, scores
