"""The traps of what is evaluated: queries against their gallery, or a set against itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from retrieval import traps
from retrieval.datasets import PictureSet
from retrieval.evaluation.labelled_vectors import Labelled
from retrieval.images.perceptual import Hashes, hash_files, hash_pixels
from retrieval.index import Index
from retrieval.index.vectors import as_numbers

NEIGHBOURS = 10
"""Of each query, that are looked at."""

HASHED = 50_000
"""Pictures of an index that are also compared by perceptual hashes, which takes decoding them: a minute for so many."""


def look(
    queries: Labelled,
    gallery: Labelled | None,
    asking: PictureSet | None = None,
    shelf: PictureSet | None = None,
    *,
    ignored: Sequence[np.ndarray] = (),
    seed: int,
) -> tuple[traps.Finding, ...]:
    """Look for every trap, the worst first; its examples have names.

    Args:
        queries: who asks.
        gallery: who is asked, also what the model may have been trained on; None: the queries themselves.
        asking: the queries' pictures, for their perceptual hashes; None: there are none.
        shelf: the gallery's.
        ignored: for each query the rows of the gallery that are left out of its ranking; where there is a gallery.
        seed: of what is drawn.
    """
    hashes = None if asking is None else _hashes(asking, queries.rows)
    names = list(queries.classes)
    labels = queries.labels if (queries.labels >= 0).any() else None
    if gallery is None:
        neighbours, scores = _nearest(queries, queries, itself=True)
        found = traps.find(queries.numbers, labels, neighbours, scores, names=names, hashes=hashes, seed=seed)
        return tuple(finding.called(dict(enumerate(queries.names.tolist()))) for finding in found)
    neighbours, scores = _nearest(queries, gallery, itself=False)
    theirs = None if shelf is None else _hashes(shelf, gallery.rows)
    both = (hashes, theirs) if hashes is not None and theirs is not None else (None, None)
    ask, answer = dict(enumerate(queries.names.tolist())), dict(enumerate(gallery.names.tolist()))
    findings = [
        traps.find_leakage_between(neighbours, scores, *both, ignored=ignored).called(ask, answer),
        traps.find_collapse(queries.numbers, labels, names, seed=seed).called(ask),
    ]
    if (gallery.labels >= 0).any():
        findings.append(traps.find_small_classes(gallery.labels, NEIGHBOURS, list(gallery.classes)).called(answer))
    return traps.worst_first(findings)


def look_in_training(
    queries: Labelled, training: Labelled | None, asking: PictureSet, taught: PictureSet
) -> traps.Finding:
    """Near-duplicates of the queries among the pictures that train.

    Args:
        queries: who asks. training: the pictures that train; None: their vectors are not known.
        asking, taught: the pictures of both, for their perceptual hashes.
    """
    neighbours, scores = (None, None) if training is None else _nearest(queries, training, itself=False)
    rows = np.arange(len(taught)) if training is None else training.rows
    found = traps.find_leakage_between(
        neighbours, scores, _hashes(asking, queries.rows), _hashes(taught, rows), gallery="training set"
    )
    names = [taught.names[row] for row in rows]
    return found.called(dict(enumerate(queries.names.tolist())), dict(enumerate(names)))


def look_in(index: Index, *, seed: int, exact: bool = False) -> tuple[traps.Finding, ...]:
    """Look for every trap in an index, as :func:`retrieval.traps.of_index` does; the examples have ids, and paths as
    their names."""
    root = index.pictures
    hashes = None
    if 0 < len(index) <= HASHED:
        files = index.paths()
        if Path(root / files[0]).exists():
            hashes = hash_files(files, root).aligned(len(files))
    found = traps.of_index(index, seed=seed, hashes=hashes, exact=exact)
    named = sorted({id_ for finding in found for example in finding.worst for id_ in example.ids})
    paths = {item.id: item.path for item in index.items(named)}
    return tuple(finding.called(paths) for finding in found)


def _nearest(queries: Labelled, gallery: Labelled, *, itself: bool) -> tuple[np.ndarray, np.ndarray]:
    asked, among = (np.ascontiguousarray(as_numbers(side.vectors)) for side in (queries, gallery))
    return traps.exact_neighbours(asked, among, NEIGHBOURS, own=np.arange(len(asked)) if itself else None)


def _hashes(pictures: PictureSet, rows: np.ndarray) -> Hashes:
    if pictures.files is None:
        return hash_pixels(np.asarray(pictures.pixels)).take(rows)
    return hash_files(pictures.files).aligned(len(pictures)).take(rows)
