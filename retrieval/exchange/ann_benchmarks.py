"""The HDF5 files of ann-benchmarks: vectors to search, queries, and each query's true neighbours.

Data sets ``train`` (n, d), ``test`` (m, d), ``neighbors`` int32 (m, k), rows of ``train``, nearest first, and
``distances`` (m, k); the attribute ``distance`` says how they are measured. Of unit vectors "angular" is
1 − inner product.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from retrieval.base.given import seeded
from retrieval.base.hdf5 import arrays, make_room, reason_of, write_at
from retrieval.base.progress import bar
from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.exchange.export_rows import Contents
from retrieval.exchange.import_rows import Part, Source, require_rows

NEIGHBOURS = 100
"""True neighbours that are written for each query, as in the published files."""

_KEYS = ("train", "test", "neighbors", "distances")

HELD_OUT = 10_000
"""Vectors that become queries, at most; never more than a tenth."""


class AnnBenchmarks(NamedTuple):
    """What such a file holds.

    Attributes:
        train: (n, d), mapped; the vectors to search.
        test: (m, d), the queries.
        neighbors: integers (m, k), rows of `train`, nearest first.
        distances: floats (m, k), theirs.
        distance: "angular", "euclidean" or what else the file says.
    """

    train: npt.NDArray[Any]
    test: npt.NDArray[Any]
    neighbors: npt.NDArray[Any]
    distances: npt.NDArray[Any]
    distance: str


def hold_out(contents: Contents, seed: int) -> tuple[Contents, npt.NDArray[np.float32]]:
    """Draw vectors to be queries: those that stay, and the queries, which are not among them.

    Raises:
        RetrievalError: there are too few.
    """
    n = len(contents)
    count = min(HELD_OUT, n // 10)
    if not count:
        raise RetrievalError(
            f"The index {str(contents.index.folder)!r} has {n} vectors, of which none can be spared as queries; "
            "give queries with --queries."
        )
    drawn = np.zeros(n, bool)
    drawn[seeded(seed).choice(n, count, replace=False)] = True
    return Contents(contents.index, contents.ids[~drawn]), contents.index.vectors(contents.ids[drawn])


def write(contents: Contents, path: Path, queries: npt.NDArray[np.float32], note: str) -> None:
    """Write vectors, queries and their true neighbours; the caller gives the file a temporary name.

    Args:
        contents: the vectors to search, at least one.
        path: the file.
        queries: float32 (m, d), unit rows.
        note: where the queries come from, kept as the attribute ``test``.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    from retrieval.index.nearest import exact_search, merge

    n, m, d, k = len(contents), len(queries), contents.width, min(NEIGHBOURS, len(contents))
    best = np.full((m, k), -np.inf, np.float32), np.full((m, k), -1, np.int64)
    shapes = {"train": ((n, d), "<f4"), "test": ((m, d), "<f4"), "neighbors": ((m, k), "<i4")}
    about: dict[str, str | int] = {
        "type": "dense",
        "distance": "angular",
        "dimension": d,
        "point_type": "float",
        "test": note,
    }
    try:
        at, *rest = make_room(path, {**shapes, "distances": ((m, k), "<f4")}, about)
    except (OSError, RuntimeError) as error:
        raise OSError(reason_of(error)) from error
    with path.open("r+b") as file, bar(n, "Exporting", "vectors") as progress:
        start = 0
        for _, rows in contents.blocks():
            at = write_at(file, at, rows.astype("<f4", copy=False))
            best = merge([best, exact_search(queries, rows, np.arange(start, start + len(rows)), k)], k)
            start += len(rows)
            progress.update(len(rows))
        found = queries.astype("<f4", copy=False), best[1].astype("<i4"), (1 - best[0]).astype("<f4")
        for place, array in zip(rest, found, strict=True):
            write_at(file, place, array)


def load_ann_benchmarks(path: str | os.PathLike[str]) -> AnnBenchmarks:
    """A file of ann-benchmarks, for measuring.

    Raises:
        RetrievalError: it is none, is damaged, or is compressed.
    """
    path = Path(path)
    name = printable(path)
    try:
        attributes, found = arrays(path, _KEYS)
        if not isinstance(attributes.get("distance"), str):
            raise ValueError("it has no attribute distance")
        for key in _KEYS:
            if key not in found:
                raise ValueError(f"{key} is missing")
            if found[key].ndim != 2:
                raise ValueError(f"{key} has {found[key].ndim} dimensions")
        train, test, neighbors, distances = (found[key] for key in _KEYS)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RetrievalError(f"{name!r} is no whole file of ann-benchmarks ({reason}); copy it anew.") from None
    for key, array, kinds, shape in (
        ("train", train, "fiub", (len(train), train.shape[1])),
        ("test", test, "fiub", (len(test), train.shape[1])),
        ("neighbors", neighbors, "iu", (len(test), neighbors.shape[1])),
        ("distances", distances, "f", (len(test), neighbors.shape[1])),
    ):
        if array.dtype.kind not in kinds or array.shape != shape:
            raise RetrievalError(
                f"{name!r} is damaged: {key!r} is {array.dtype} of shape {array.shape}, beside train of shape "
                f"{train.shape} and neighbors of shape {neighbors.shape}; copy it anew."
            )
    if neighbors.size and not (neighbors.min() >= 0 and neighbors.max() < len(train)):
        raise RetrievalError(f"{name!r} is damaged: a neighbour is none of the {len(train):,} vectors; copy it anew.")
    return AnnBenchmarks(train, np.array(test), np.array(neighbors), np.array(distances), str(attributes["distance"]))


def read(path: Path) -> Source:
    """The vectors to search of a file.

    Raises:
        RetrievalError: it is none, is damaged, or its vectors are compared by something else than angle or length.
    """
    found = load_ann_benchmarks(path)
    if found.distance not in ("angular", "euclidean"):
        raise RetrievalError(
            f"{printable(path)!r} compares by {found.distance[:40]!r}, and an index by the angle; "
            "give a file that says angular or euclidean."
        )
    return Source([Part(str(path), require_rows(found.train, str(path)))], distance=found.distance)
