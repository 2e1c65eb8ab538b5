"""Vectors that anybody made, from a file nobody vouches for, with their labels.

``.npy`` holds one array (n, d), and the labels come from another file. HDF5 (``.h5``, ``.hdf5``) holds a data set
``vectors`` or ``embeddings``, and maybe ``labels``, ``names``, and who asks whom: ``query`` and ``gallery`` (one truth
value a vector), or ``split`` (``train``, ``val`` or ``test``, which asks). Its data sets are plain, not compressed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from retrieval.base.hdf5 import arrays
from retrieval.base.npy import mapped
from retrieval.base.progress import bar
from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.evaluation.label_files import LONGEST, Labels, of_array, read_labels
from retrieval.evaluation.labelled_vectors import Labelled
from retrieval.exchange.import_rows import blocks, require_rows, unit
from retrieval.measures import UNLABELLED

SUFFIXES = (".npy", ".h5", ".hdf5")

VECTORS = ("vectors", "embeddings")
_KEYS = (*VECTORS, "labels", "names", "query", "gallery", "split")

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Given:
    """What a file holds.

    Attributes:
        labelled: its vectors with their labels; those that have no direction are left out.
        asks, ranked: bool (n,), which of them are queries and which gallery; None where the file does not say.
        without_direction: how many were left out, as they are zero or not finite.
        notes: what a reader of the figures should know, a sentence each.
    """

    labelled: Labelled
    asks: Mask | None = None
    ranked: Mask | None = None
    without_direction: int = 0
    notes: list[str] = field(default_factory=list)


class InOrder(NamedTuple):
    """Vectors of pictures that somebody else has listed.

    Attributes:
        vectors: float32 (m, d), unit rows; or uint8 (m, bits/8).
        rows: int64 (m,), which of the pictures each is of, ascending; those that have no direction are left out.
        notes: what a reader of the figures should know, a sentence each.
    """

    vectors: npt.NDArray[Any]
    rows: npt.NDArray[np.int64]
    notes: list[str]


def read_in_order(path: Path, names: Sequence[str], *, codes: bool = False) -> InOrder:
    """The vectors of pictures: by their names, where an HDF5 file has `names`; otherwise in their order.

    Args:
        path: the file.
        names: of the pictures.
        codes: the vectors are binary codes, uint8, eight bits a byte.

    Raises:
        RetrievalError: it cannot be read, holds something else, or is not of these pictures.
    """
    rows, found = _rows(path, (*VECTORS, "names"))
    its = _names(found, len(rows), str(path))
    if its is not None:
        place = {name: row for row, name in enumerate(its)}
        missing = [name for name in names if name not in place]
        if missing:
            raise RetrievalError(
                f"{printable(path)!r} has no vector named {printable(missing[0])!r}, nor of {len(missing) - 1:,} other "
                "pictures of the set; name them as the set's own lists do."
            )
        rows = rows[np.array([place[name] for name in names])]
    elif len(rows) != len(names):
        raise RetrievalError(
            f"{printable(path)!r} holds {len(rows):,} vectors, and there are {len(names):,} pictures; give one for "
            "each, the queries first and then the gallery, in the official order."
        )
    if codes:
        return InOrder(_codes(rows, path), np.arange(len(rows)), [])
    vectors, usable, notes = _unit(rows, path)
    kept = np.flatnonzero(usable)
    return InOrder(vectors if kept.size == len(rows) else vectors[kept], kept, notes)


def read_vectors(path: Path, labels: Path | None, *, codes: bool = False) -> Given:
    """Read a file.

    Args:
        path: the file.
        labels: another with the labels; None: they are in an HDF5 file itself.
        codes: the vectors are binary codes, uint8, eight bits a byte.

    Raises:
        RetrievalError: one of them cannot be read, or holds something else.
    """
    rows, found = _rows(path, [key for key in _KEYS if key != "labels" or labels is None])
    n = len(rows)
    if labels is not None:
        known = read_labels(labels, n)
    elif "labels" in found:
        known = of_array(found["labels"], n, f"{path}/labels")
    else:
        raise RetrievalError(f"{printable(path)!r} comes without labels; give a file of them with --labels.")
    asks, ranked = _sides(found, n, str(path))
    names = known.names or _names(found, n, str(path)) or tuple(map(str, range(n)))
    if codes:
        return Given(_labelled(_codes(rows, path), np.arange(n), known, names), asks, ranked)
    vectors, usable, notes = _unit(rows, path)
    kept = np.flatnonzero(usable)
    if not kept.size:
        raise RetrievalError(f"All {n:,} vectors of {printable(path)!r} are zero or not finite; encode them again.")
    return Given(
        _labelled(vectors if kept.size == n else vectors[kept], kept, known, names),
        None if asks is None else asks[kept],
        None if ranked is None else ranked[kept],
        n - kept.size,
        notes,
    )


def rows_of(path: Path) -> Any:
    """The vectors (n, d) of a file as they lie there, of any numbers, on the disk.

    Raises:
        RetrievalError: it cannot be read, or holds something else.
    """
    return _rows(path, VECTORS)[0]


def _rows(path: Path, keys: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """The vectors of a file as they lie there, and those of the data sets `keys` that an HDF5 file has."""
    if not path.is_file():
        raise RetrievalError(f"The vectors {printable(path)!r} are not there, or no regular file; give one.")
    if path.suffix not in SUFFIXES:
        raise RetrievalError(f"The vectors {printable(path)!r} are called neither {', '.join(SUFFIXES)}; save them so.")
    found: dict[str, Any] = {}
    if path.suffix == ".npy":
        rows = mapped(path)
    else:
        found = _hdf5(path, keys)
        rows = next((found[key] for key in VECTORS if key in found), None)
        if rows is None:
            raise RetrievalError(f"{printable(path)!r} has no data set {' or '.join(VECTORS)}; name its vectors so.")
    require_rows(rows, str(path))
    if not len(rows):
        raise RetrievalError(f"{printable(path)!r} holds no vector; give a file with some.")
    return rows, found


def _codes(rows: Any, path: Path) -> npt.NDArray[np.uint8]:
    if rows.dtype != np.uint8:
        raise RetrievalError(
            f"{printable(path)!r} holds {rows.dtype}, and codes are uint8, eight bits a byte; leave --codes out."
        )
    return np.array(rows)


def require_pairs(given: Given, path: Path) -> None:
    """See that vectors which are to find one another have labels by which some should, and some should not.

    Raises:
        RetrievalError: none has a label, all have the same, or no two do.
    """
    labelled, name, n = given.labelled, printable(path), len(given.labelled)
    if labelled.sets is None:
        counts = np.bincount(labelled.labels[labelled.labels != UNLABELLED])
    else:
        counts = labelled.sets.sum(axis=0)
    if not counts.any():
        raise RetrievalError(f"None of the {n:,} vectors of {name!r} has a label; give labels, not −1 or empty ones.")
    if counts.max() < 2:
        raise RetrievalError(
            f"Each label of {name!r} is of one vector alone, so that none has another of its class to find; give "
            "labels that vectors share, or queries of another file with --queries."
        )
    if n == counts.max() == counts.sum():
        raise RetrievalError(
            f"All {n:,} vectors of {name!r} have the one label {labelled.shown(0)!r}, so that every ranking would be "
            "right; give labels of two classes or more."
        )


def _labelled(
    vectors: npt.NDArray[Any], rows: npt.NDArray[np.int64], known: Labels, names: tuple[str, ...]
) -> Labelled:
    return Labelled(
        names=np.asarray(names, dtype=np.str_)[rows],
        classes=known.classes,
        labels=known.labels[rows],
        vectors=vectors,
        rows=rows,
        sets=None if known.sets is None else known.sets[rows],
    )


def _unit(rows: Any, path: Path) -> tuple[npt.NDArray[np.float32], Mask, list[str]]:
    """The vectors at unit length, which of them have a direction, and what is to be said of that."""
    n, width = rows.shape
    vectors, usable, scaled = np.empty((n, width), np.float32), np.empty(n, bool), 0
    with bar(n, f"Reading {printable(path.name)}", "vectors") as progress:
        for part in blocks(n, width):
            block = unit(rows[part])
            vectors[part], usable[part] = block.vectors, block.usable
            scaled += block.scaled
            progress.update(len(block.vectors))
    notes = []
    if scaled:
        notes.append(
            f"{scaled:,} of the {n:,} vectors of {printable(path.name)} were not of unit length and were scaled, so "
            "that rankings are by the cosine."
        )
    if rows.dtype == np.uint8:
        notes.append(
            f"The uint8 vectors of {printable(path.name)} were taken for numbers; --codes takes them for packed bits."
        )
    return vectors, usable, notes


def _hdf5(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    try:
        return arrays(path, keys)[1]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RetrievalError(
            f"{printable(path)!r} cannot be read as HDF5 ({printable(str(reason))}); give plain data sets vectors and "
            "labels."
        ) from None


def _sides(found: dict[str, Any], n: int, name: str) -> tuple[Mask | None, Mask | None]:
    """Which vectors ask, and which are ranked."""
    masks = {key: _mask(found[key], n, key, name) for key in ("query", "gallery") if key in found}
    if "split" in found:
        if masks:
            raise RetrievalError(f"{printable(name)!r} has both split and {' and '.join(masks)}; keep one.")
        splits = np.array([text.decode(errors="replace") for text in _texts(found["split"], n, "split", name)])
        strange = sorted(set(splits.tolist()) - {"train", "val", "test"})
        if strange:
            raise RetrievalError(
                f"{printable(name)!r} has the split {printable(strange[0])[:60]!r}; splits are train, val and test."
            )
        if (splits != "test").all():
            return None, None
        masks = {"query": splits == "test"}
    if not masks:
        return None, None
    asks = masks["query"] if "query" in masks else ~masks["gallery"]
    ranked = masks["gallery"] if "gallery" in masks else ~masks["query"]
    for side, what in ((asks, "asks"), (ranked, "is ranked")):
        if not side.any():
            raise RetrievalError(f"Of the vectors of {printable(name)!r} none {what}; mark some as query or gallery.")
    return asks, ranked


def _mask(array: npt.NDArray[Any], n: int, key: str, name: str) -> Mask:
    if array.shape != (n,) or array.dtype.kind not in "biu":
        raise RetrievalError(
            f"{printable(name)!r} has {key} of shape {array.shape} and type {array.dtype}; give a truth value for each "
            f"of its {n:,} vectors."
        )
    return np.asarray(np.array(array).view(np.dtype(f"u{array.dtype.itemsize}")) != 0)  # a byte may be neither 0 nor 1


def _texts(array: npt.NDArray[Any], n: int, key: str, name: str) -> list[bytes]:
    if array.shape != (n,) or array.dtype.kind != "S" or not 0 < array.dtype.itemsize <= 4 * LONGEST:
        raise RetrievalError(
            f"{printable(name)!r} has {key} of shape {array.shape} and type {array.dtype}; give a short text of fixed "
            f"length for each of its {n:,} vectors."
        )
    return list(array.tolist())


def _names(found: dict[str, Any], n: int, name: str) -> tuple[str, ...] | None:
    if "names" not in found:
        return None
    return tuple(text.decode(errors="replace") for text in _texts(found["names"], n, "names", name))
