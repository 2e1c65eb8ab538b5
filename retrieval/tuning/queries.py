"""Who asks: queries from a file, or vectors of the index that are held out."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.index.vectors import checked

FEWEST_ITEMS = 20
"""Items below which none can be spared, so that all ask and are asked."""

_MOST, _LEAST = 1000, 200
"""Queries that are asked of a small index, and of the largest, if there are as many."""

_TRUTH = 2e11
"""Multiplications that the true neighbours of all queries may take, about: some seconds' work."""


def read_queries(file: str | Path) -> npt.NDArray[Any]:
    """The vectors of a ``.npy`` file, where they lie. One that holds Python objects is refused, not unpickled.

    Raises:
        RetrievalError: it cannot be read, or holds no array.
    """
    try:
        found = np.load(file, mmap_mode="r", allow_pickle=False)
        if not isinstance(found, np.ndarray):
            raise ValueError("it holds several arrays")
    except (OSError, ValueError, EOFError, OverflowError, MemoryError, zipfile.BadZipFile) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split()).rstrip(".")
        raise RetrievalError(
            f"The queries {str(file)!r} cannot be read ({reason}); give a .npy file of vectors (n, dim)."
        ) from None
    return found


def draw(
    index: Index, queries: npt.NDArray[Any] | None, generator: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    """A random sample of those who may ask.

    Args:
        index: what will be asked; not empty.
        queries: float32 (nq, dim), unit rows, or codes; None for vectors of the index.
        generator: of the sample.

    Returns:
        The ids, ascending, that must be held out, and the queries.

    Raises:
        RetrievalError: the queries do not fit the index, or there are none.
    """
    n = len(index)
    most = int(np.clip(_TRUTH / (n * index.dim), _LEAST, _MOST))
    if queries is None:
        ids, vectors = index.all_vectors()
        if n < FEWEST_ITEMS:
            return ids[:0], vectors
        rows = np.sort(generator.choice(n, min(most, n // 10), replace=False))
        return ids[rows], np.ascontiguousarray(vectors[rows])
    queries = checked(queries, index.dim, index.storage, "queries")
    if not len(queries):
        raise RetrievalError("There is not one query; give some, or leave them out, and vectors are held out instead.")
    rows = np.sort(generator.choice(len(queries), min(most, len(queries)), replace=False))
    return np.empty(0, np.int64), np.ascontiguousarray(queries[rows])
