"""All traps at once: in arrays, and in an index."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from retrieval.base.text import numbered
from retrieval.images.perceptual import Hashes
from retrieval.index.vectors import as_numbers
from retrieval.traps.collapse import find_collapse
from retrieval.traps.finding import Finding, worst_first
from retrieval.traps.hubs import find_hubs
from retrieval.traps.labels import find_label_errors
from retrieval.traps.leakage import find_leakage, find_leakage_between
from retrieval.traps.neighbours import exact_neighbours, neighbours_of
from retrieval.traps.small_classes import find_small_classes

if TYPE_CHECKING:
    from retrieval.index import Index

WHOLE, DRAWN = 100_000, 10_000
"""Pictures of an index up to which all of them are asked for, and how many of more are drawn to ask."""


def find(
    vectors: npt.ArrayLike,
    labels: npt.ArrayLike | None,
    neighbours: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float32],
    *,
    ids: npt.NDArray[np.int64] | None = None,
    names: list[str] | None = None,
    hashes: Hashes | None = None,
    seed: int = 0,
) -> tuple[Finding, ...]:
    """Look for every trap in one set of pictures, where each asks for the others.

    Args:
        vectors: float32 (n, d).
        labels: int64 (n,), −1 for none; None if there are none at all, and then nothing is said about them.
        neighbours: int64 (n, k): for each picture its k nearest, itself not among them, best first, as ids (rows, if no
            ids are given), −1 where there are fewer.
        scores: float32 (n, k), theirs.
        ids: int64 (n,), ascending, of the rows; 0 to n − 1 by default.
        names: of the labels 0, 1, …
        hashes: of the n pictures, by which near-duplicates are found that the vectors miss.
        seed: of what is drawn.

    Returns:
        One finding a trap, the worst first.

    Raises:
        RetrievalError: arrays of shapes or types that do not fit.
    """
    rows = np.arange(len(neighbours)) if ids is None else ids
    found = neighbours if ids is None else np.where(neighbours < 0, -1, np.searchsorted(ids, neighbours))
    findings = [
        find_leakage(found, scores, hashes),
        find_collapse(vectors, labels, names, seed=seed),
        find_hubs(found),
    ]
    if labels is not None:
        findings += [
            find_label_errors(found, scores, labels, names),
            find_small_classes(labels, max(found.shape[1], 1), names),
        ]
    return tuple(finding.with_ids(rows) for finding in worst_first(findings))


def of_index(
    index: Index, k: int = 10, seed: int = 0, hashes: Hashes | None = None, *, exact: bool = False
) -> tuple[Finding, ...]:
    """Look for every trap in an index.

    Of more than :data:`WHOLE` pictures :data:`DRAWN` ask, since every picture asked for among all others takes the
    square of their number: for near-duplicates and label errors those drawn ask for their nearest of all, and hubs are
    looked for among those drawn. The sentences say so.

    Args:
        index: searched as it is: with an approximate structure, a few neighbours are missed.
        k: neighbours of each picture; of a smaller index, all others.
        seed: of what is drawn.
        hashes: of all its pictures by ascending id (:meth:`retrieval.images.perceptual.HashedFiles.aligned`); not used
            where some are drawn.
        exact: have all of them ask, however many.

    Returns:
        As :func:`find`; what it says of labels is left out where no picture has one.
    """
    n = len(index)
    asked = None
    if n > WHOLE and not exact:
        asked = np.sort(np.random.default_rng(seed).choice(n, DRAWN, replace=False))
    neighbours, scores = neighbours_of(index, min(k, max(n - 1, 1)), asked, exact=exact)
    ids, rows = index.all_vectors()
    vectors = as_numbers(rows)
    classes, marks = numbered(index.labels())
    names, labels = list(classes), marks if classes else None
    if asked is None:
        return find(vectors, labels, neighbours, scores, ids=ids, names=names, hashes=hashes, seed=seed)
    found = np.where(neighbours < 0, -1, np.searchsorted(ids, neighbours))
    some = np.ascontiguousarray(vectors[asked])
    among, _ = exact_neighbours(some, some, found.shape[1], own=np.arange(len(some)))
    leakage = find_leakage_between(found, scores, gallery="index").with_ids(ids[asked], ids)
    findings = [leakage, find_hubs(among).with_ids(ids[asked])]
    if labels is not None:
        findings.append(find_label_errors(found, scores, labels, names, asked).with_ids(ids))
    drawn = f"Of {len(ids):,} pictures {len(asked):,} were drawn: "
    findings = [replace(one, sentence=drawn + one.sentence[:1].lower() + one.sentence[1:]) for one in findings]
    findings.append(find_collapse(vectors, labels, names, seed=seed).with_ids(ids))
    if labels is not None:
        findings.append(find_small_classes(labels, max(found.shape[1], 1), names).with_ids(ids))
    return worst_first(findings)
