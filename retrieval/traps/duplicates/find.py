"""Looking for duplicates: the files read, their hashes and their vectors."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from retrieval import images
from retrieval.base.machine import cores
from retrieval.base.object_address import is_object
from retrieval.base.placed_files import Root
from retrieval.base.progress import bar
from retrieval.base.text import printable
from retrieval.encoder.file_encoding import encode_readable
from retrieval.errors import RetrievalError
from retrieval.images import perceptual, reading
from retrieval.index import Index
from retrieval.index.folder import ENCODER, is_index
from retrieval.index.vectors import as_numbers
from retrieval.places.folder import Folder
from retrieval.traps.duplicates.grouping import Known, grouped
from retrieval.traps.duplicates.photographs import OneFile, files_of, in_system_folder
from retrieval.traps.duplicates.report import LARGEST, OLDEST, Duplicates
from retrieval.traps.near_duplicates import BITS
from retrieval.traps.neighbours import MANY, exact_neighbours, neighbours_of

NEIGHBOURS = 20
"""Nearest of each picture that are looked at for copies by score."""

_BLOCK = 2048  # pictures read before they are hashed, at a time

Ints = npt.NDArray[np.int64]


def find_duplicates(
    source: str | Path,
    *,
    against: str | Path | None = None,
    keep: str = LARGEST,
    model: str | Path | None = None,
    score: float | None = None,
    bits: int = BITS,
    exact: bool = False,
    outside: bool = False,
    threads: int | None = None,
) -> Duplicates:
    """Find pictures that are in a folder, or in an index, more than once; or new ones that a reference has.

    Each file is read: its bytes are compared (SHA-256), and its perceptual hashes (pHash and dHash, both within
    `bits`). Of an index the vectors are compared, too, and of a folder if a model is given, the :data:`NEIGHBOURS`
    nearest of each picture. Where there are both, only what both agree on is offered to go; crops and other versions
    that vectors alone find are shown.

    Args:
        source: a folder of pictures, or an index.
        against: a folder, or an index, whose pictures all stay: `source` is then a folder of new pictures, and only
            those of them are found that the reference has. If it is an index that has an encoder, that makes vectors
            of the new ones.
        keep: which picture of a group stays: "largest" (most pixels, then the largest file, then the first by path),
            "oldest" (by the time of the file, then the largest), or a folder inside the pictures' (what lies in it
            first, then the largest). Files with a camera's RAW come before others, real files before links.
        model: for a folder, what makes vectors: as `retrieval build --model` takes it.
        score: the least score that counts; by default :data:`.near_duplicates.SCORE`, and where that many pairs
            have it that it tells classes, only together with hashes, within some bits more than `bits`.
        bits: the greatest distance of each of the two hashes.
        exact: compare all vectors of an index, however many. Above :data:`retrieval.traps.neighbours.MANY` pictures
            a structure names the near ones, which may miss a few.
        outside: of folders, look also at what links in them lead to outside of them. Of an index that is what its owner
            said when it was built.
        threads: how many cores to use; all by default.

    Raises:
        RetrievalError: there is no such folder; nothing in it can be read; a model is given for an index, which has its
            own; the rule for what to keep is none; or a threshold is out of range.
    """
    if score is not None and not -1 <= score <= 1:
        raise RetrievalError(f"The least score is {score:g}; give one from -1 to 1.")
    if not 0 <= bits <= 32:
        raise RetrievalError(f"A hash distance of {bits} bits was asked for; give 0 to 32, where chance begins.")
    for one in (source, against):
        if model is not None and one is not None and is_an_index(one):
            raise RetrievalError(f"{printable(one)!r} is an index, which has vectors; leave --model out.")
    threads = threads or cores()
    if against is not None:
        if keep != LARGEST:
            raise RetrievalError(f"The reference {printable(against)!r} is kept whatever --keep says; leave that out.")
        return _against(source, against, model, score, bits, threads, outside)
    looked = _look_at(source, threads, exact=exact, outside=outside)
    known = looked.known
    folder = None if keep in (LARGEST, OLDEST) else _inside(keep, known.root)
    if model is not None:
        vectors = _encoded(known, model, threads)
        neighbours, scores = _nearest(vectors, vectors)
        known = dataclasses.replace(known, vectors=vectors, neighbours=neighbours, scores=scores)
    found = grouped(known, looked.skipped, looked.notes, score, bits, keep=printable(keep), folder=folder)
    return dataclasses.replace(found, places=(known.allowed,))


def duplicates_of(
    index: Index,
    *,
    keep: str = LARGEST,
    among: npt.NDArray[np.int64] | None = None,
    ranks: Mapping[str, int] | None = None,
    score: float | None = None,
    threads: int | None = None,
) -> Duplicates:
    """:func:`find_duplicates` of an index that is open.

    Args:
        index: as it is now, with its pictures' files as they are now.
        keep: as there.
        among: int64 (m,), ids: look at these pictures alone, which are compared with each other and nothing else. None:
            at all.
        ranks: of paths, where somebody has said what is to stay: the lower comes first in a group, whatever `keep`
            says; 0 for those that are not named.
        score: as there.
        threads: how many cores to use; all by default.

    Raises:
        RetrievalError: as there.
    """
    known, skipped, notes = _of_index(index, threads or cores(), False, among)
    folder = None if keep in (LARGEST, OLDEST) else _inside(keep, known.root)
    return grouped(known, skipped, notes, score, BITS, keep=printable(keep), folder=folder, ranks=ranks)


def is_an_index(folder: str | Path) -> bool:
    """Whether a folder is an index; what may not, or cannot, be looked into is none."""
    try:
        return is_index(folder)
    except OSError:
        return False


def _inside(folder: str, root: Path) -> PurePosixPath:
    """A folder of the pictures, relative to theirs: as it is named from here, or from there."""
    for path in (Path(folder).resolve(), (root / folder).resolve()):
        if path.is_relative_to(root) and os.path.isdir(path):  # noqa: PTH112 (a name too long is no folder)
            return PurePosixPath(path.relative_to(root).as_posix())
    raise RetrievalError(
        f"{printable(folder)!r} is neither {LARGEST} nor {OLDEST}, nor a folder in {printable(root)!r}; give one of "
        "them to --keep."
    )


class _Looked(NamedTuple):
    """A folder or an index, looked at."""

    known: Known
    skipped: tuple[images.Skipped, ...]
    notes: list[str]


def _look_at(source: str | Path, threads: int, *, exact: bool = False, outside: bool = False) -> _Looked:
    if is_an_index(source):
        with Index.open(source) as index:
            return _of_index(index, threads, exact)
    _refuse_objects(source)
    found = images.find(source)
    root = Path(source).resolve()
    looked = _read(root, found.paths, threads, Folder(root, linked=outside))
    if not looked.known.pictures:
        raise RetrievalError(f"No picture in {printable(root)!r} can be read; give a folder or an index.")
    return looked._replace(skipped=(*found.skipped, *looked.skipped))


def _refuse_objects(place: str | Path) -> None:
    if is_object(place):
        raise RetrievalError(
            f"The pictures in {printable(place)!r} are objects of a store, and near-duplicates are looked for among "
            "files, which can be moved and moved back; give a folder with copies of them."
        )


def _of_index(index: Index, threads: int, exact: bool, among: Ints | None = None) -> _Looked:
    ids = index.ids() if among is None else np.unique(among)
    if not len(ids):
        raise RetrievalError(f"The index {printable(index.name)!r} is empty; add pictures to it.")
    _refuse_objects(index.root)
    root = Path(index.root).resolve()
    items = index.items(ids)
    known, skipped, notes = _read(root, [item.path for item in items], threads, index.pictures)
    pictures = known.pictures
    if not pictures:
        raise RetrievalError(
            f"No picture of the index can be read in {printable(root)!r}, where it expects them; put them back, "
            "or give the folder they are in now."
        )
    place = {path: row for row, file in enumerate(known.files) for path in (file.path, *file.names)}
    rows = as_numbers(index.vectors(ids), index.storage)
    if among is None:
        by_id, by_id_scores = neighbours_of(index, NEIGHBOURS, exact=exact)
    else:
        by_id, by_id_scores = exact_neighbours(rows, rows, NEIGHBOURS, ids=ids, own=ids)
    if among is None and len(ids) > MANY and not exact:
        notes.append(
            f"The vectors of {len(ids):,} pictures were compared by a structure, which may miss a few (--exact)."
        )
    # A file that has changed since has another vector than the index's.
    row_of = np.full(len(items) + 1, -1)
    for number, item in enumerate(items):
        row = place.get(item.path, -1)
        if row >= 0 and pictures[row].sha256 == (item.sha256 or pictures[row].sha256):
            row_of[number] = row
    here = np.flatnonzero(row_of >= 0)
    stale = len(pictures) - len(np.unique(row_of[here]))  # a file of two names is two items
    vectors = np.full((len(pictures), rows.shape[1]), np.nan, np.float32)
    vectors[row_of[here]] = rows[here]
    neighbours = np.full((len(pictures), NEIGHBOURS), -1, np.int64)
    scores = np.full((len(pictures), NEIGHBOURS), -np.inf, np.float32)
    near = row_of[np.where(by_id < 0, len(items), np.searchsorted(ids, by_id))]
    neighbours[row_of[here], : near.shape[1]] = near[here]
    scores[row_of[here], : near.shape[1]] = by_id_scores[here]
    if stale:
        notes.append(
            f"{stale:,} files changed since they were indexed, and their vectors were left out (retrieval sync)."
        )
    return _Looked(dataclasses.replace(known, vectors=vectors, neighbours=neighbours, scores=scores), skipped, notes)


def _against(
    source: str | Path,
    against: str | Path,
    model: str | Path | None,
    score: float | None,
    bits: int,
    threads: int,
    outside: bool,
) -> Duplicates:
    """New pictures that a reference has."""
    if is_an_index(source):
        raise RetrievalError(f"{printable(source)!r} is an index; give the folder of new pictures to compare.")
    ours, theirs = (_look_at(one, threads, outside=outside) for one in (source, against))
    new, reference = ours.known, theirs.known
    if new.root == reference.root:
        raise RetrievalError(f"{printable(source)!r} was to be compared with itself; leave --against out.")
    notes = [*ours.notes, *theirs.notes]
    # One folder may lie in the other: the inner one is what was meant.
    inner = new.root.is_relative_to(reference.root)
    both = _identities(new) & _identities(reference)
    if both:
        new, reference = (new, _without(reference, both)) if inner else (_without(new, both), reference)
        whose = "the new ones" if inner else "the reference"
        notes.append(f"{len(both):,} files are on both sides, and were taken for some of {whose}.")
    for known, where in ((new, source), (reference, against)):
        if not known.pictures:
            raise RetrievalError(f"Nothing is left in {printable(where)!r} to compare; give two folders that differ.")
    home = Path(against) if is_an_index(against) else None
    if model is None and home is not None and (home / ENCODER).is_dir():
        model = home
    vectors = neighbours = scores = None
    if model is not None:
        mine = _encoded(new, model, threads)
        shelf = reference.vectors
        if shelf is None:
            shelf = _encoded(reference, model, threads)
        else:
            mine = _as_stored(mine, against)
        neighbours, scores = _nearest(mine, shelf, within=False)
        vectors = np.concatenate([mine, shelf])
    elif home is not None:
        notes.append("The index has no encoder to make vectors of the new pictures; only hashes were compared.")
    files = [*new.files, *(_absolute(file, reference.root) for file in reference.files)]
    known = Known(
        new.root,
        new.allowed,
        files,
        [*new.pictures, *reference.pictures],
        perceptual.joined([new.hashes, reference.hashes]),
        vectors,
        neighbours,
        scores,
        len(new.files),
    )
    found = grouped(known, (*ours.skipped, *theirs.skipped), notes, score, bits, against=reference.root)
    return dataclasses.replace(found, places=(new.allowed, reference.allowed))


def _as_stored(vectors: npt.NDArray[np.float32], folder: str | Path) -> npt.NDArray[np.float32]:
    """New vectors as an index keeps its own: of codes only the signs."""
    with Index.open(folder) as index:
        read = ~np.isnan(vectors[:, :1])
        return np.where(read, as_numbers(vectors, index.storage), np.nan).astype(np.float32)


def _identities(known: Known) -> set[tuple[int, int]]:
    return {(file.seen.device, file.seen.inode) for file in known.files if file.seen is not None and file.seen.inode}


def _without(known: Known, some: set[tuple[int, int]]) -> Known:
    """What is known of all but some files; the neighbours, which are numbers of rows, are left out."""
    rows = [
        row
        for row, file in enumerate(known.files)
        if file.seen is None or (file.seen.device, file.seen.inode) not in some
    ]
    return Known(
        known.root,
        known.allowed,
        [known.files[row] for row in rows],
        [known.pictures[row] for row in rows],
        known.hashes.take(np.array(rows, np.int64)),
        None if known.vectors is None else known.vectors[rows],
    )


def _absolute(file: OneFile, root: Path) -> OneFile:
    seen = None if file.seen is None else dataclasses.replace(file.seen, path=str(root / file.path))
    return OneFile(seen, str(root / file.path), tuple(str(root / name) for name in file.names), file.linked)


def _read(root: Path, paths: Sequence[str], threads: int, allowed: Root) -> _Looked:
    """The files that can be read, each once, what is known of them, and the others."""
    outside = [path for path in paths if not in_system_folder(path)]
    files = files_of(root, outside)
    notes = []
    if len(outside) < len(paths):
        notes.append(
            f"{len(paths) - len(outside):,} pictures lie in recycle bins and other folders of the system, and were "
            "passed over."
        )

    def one(file: OneFile) -> reading.ReadPicture | images.Skipped:
        try:
            picture = reading.read_picture(allowed / file.path, perceptual.PREPROCESSING, "pillow")
            same = file.seen is not None and file.seen.still((root / file.path).stat())
        except images.UnreadableImage as problem:
            return images.Skipped(printable(file.path), problem.reason)
        except ValueError:  # a NUL: no folder gives such a name, but an index that somebody made up may
            return images.Skipped(printable(file.path), "not a possible file name")
        except OSError:  # gone since it was read
            same = False
        return picture if same else images.Skipped(printable(file.path), "changed while it was read")

    read: list[OneFile] = []
    pictures: list[reading.ReadPicture] = []
    hashes = [perceptual.hash_pixels(np.empty((0, perceptual.SIDE, perceptual.SIDE, 1), np.uint8))]
    skipped: list[images.Skipped] = []
    with ThreadPoolExecutor(threads, "reading") as pool, bar(len(files), "Reading", "pictures") as shown:
        for start in range(0, len(files), _BLOCK):
            some = files[start : start + _BLOCK]
            squares = []
            for file, picture in zip(some, pool.map(one, some), strict=True):
                shown.update()
                if isinstance(picture, images.Skipped):
                    skipped.append(picture)
                elif picture.pixels is not None:
                    read.append(file)
                    squares.append(picture.pixels)
                    pictures.append(dataclasses.replace(picture, pixels=None))  # its hashes are all that is needed
            if squares:
                hashes.append(perceptual.hash_pixels(np.stack(squares)))
    return _Looked(Known(root, allowed, read, pictures, perceptual.joined(hashes)), tuple(skipped), notes)


def _encoded(known: Known, model: str | Path, threads: int) -> npt.NDArray[np.float32]:
    from retrieval.encoder import Encoder

    paths = known.paths
    encoder = Encoder.load(model, threads=1)  # the threads that read encode, too
    vectors = np.full((len(paths), encoder.dim), np.nan, np.float32)
    found, read = encode_readable(encoder, paths, "pictures", threads=threads, root=known.allowed)
    vectors[read] = found
    return vectors


def _nearest(
    vectors: npt.NDArray[np.float32], shelf: npt.NDArray[np.float32], *, within: bool = True
) -> tuple[Ints, npt.NDArray[np.float32]]:
    """Rows and scores (n, k) of the nearest on the shelf of each row that is not NaN, within a set but for itself."""
    neighbours = np.full((len(vectors), NEIGHBOURS), -1, np.int64)
    scores = np.full((len(vectors), NEIGHBOURS), -np.inf, np.float32)
    here, there = (np.flatnonzero(~np.isnan(some[:, 0])) for some in (vectors, shelf))
    asked, rows = (np.ascontiguousarray(some) for some in (vectors[here], shelf[there]))
    own = here if within else None
    neighbours[here], scores[here] = exact_neighbours(asked, rows, NEIGHBOURS, ids=there, own=own)
    return neighbours, scores
