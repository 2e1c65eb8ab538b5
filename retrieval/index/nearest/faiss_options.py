"""What FAISS is asked for: empty indexes, linear maps before the comparison, parameters made once for each width."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from retrieval.errors import RetrievalError
from retrieval.index.nearest.structure import Floats

_KEPT = 256
"""Widths whose parameters are kept."""


class Settings:
    """The search parameters of one index.

    Making one takes as long as a short search. None is changed once it is made, so any number of threads may search
    with it.

    Args:
        index: a graph (HNSW), or lists (IVF); of others nothing can be set.
    """

    def __init__(self, index: Any) -> None:
        self._transformed = isinstance(index, faiss.IndexPreTransform)
        if self._transformed:
            index = faiss.downcast_index(index.index)
        self._graph = isinstance(index, faiss.IndexHNSW | faiss.IndexBinaryHNSW)
        self._most = int(getattr(index, "nlist", 0))
        if self._graph:
            self._most = max(1, int(index.ntotal))
        self._made: dict[int, Any] = {}

    def __call__(self, count: int, parameters: Mapping[str, int]) -> Any:
        """What to search with.

        Args:
            count: neighbours that are wanted; a graph is searched at least so widely.
            parameters: ``efSearch`` of graphs, ``nprobe`` of lists.
        """
        if not self._most:
            return None
        width = max(count, parameters.get("efSearch", 0)) if self._graph else parameters.get("nprobe", 1)
        made = self._made.get(width)
        if made is None:
            made = self._make(max(1, min(width, self._most)))
            if len(self._made) >= _KEPT:
                self._made.clear()
            self._made[width] = made
        return made

    def _make(self, width: int) -> Any:
        made = faiss.SearchParametersHNSW(efSearch=width) if self._graph else faiss.SearchParametersIVF(nprobe=width)
        return faiss.SearchParametersPreTransform(index_params=made) if self._transformed else made


def empty(known: re.Pattern[str], make: Callable[[int, str], Any], factory: str, dim: int) -> Any:
    """An index without vectors.

    Args:
        known: what of FAISS's descriptions is understood.
        make: from numbers in a vector and a description to an index.
        factory: the description.
        dim: numbers in a vector.

    Raises:
        RetrievalError: there is no such structure, or none of so many numbers.
    """
    if not known.fullmatch(factory):
        raise RetrievalError(f"There is no structure {factory!r}; choose another one.")
    try:
        return make(dim, factory)
    except (RuntimeError, TypeError) as error:  # a TypeError if `dim` is no 32-bit integer
        raise RetrievalError(
            f"FAISS cannot make {factory} for vectors of {dim:,} numbers; choose another structure."
        ) from error


def linear(matrix: npt.NDArray[Any], offset: npt.NDArray[Any]) -> Any:
    """x → matrix (m, d) · x + offset (m,), as a transform of FAISS."""
    made = faiss.LinearTransform(matrix.shape[1], matrix.shape[0], True)
    faiss.copy_array_to_vector(np.ascontiguousarray(matrix, np.float32).ravel(), made.A)
    faiss.copy_array_to_vector(np.ascontiguousarray(offset, np.float32), made.b)
    made.is_trained = True
    return made


def project(transform: Any, vectors: Floats) -> Floats:
    """Of vectors (n, d) their images (n, m) by a linear transform of FAISS, one vector at a time.

    All at once they would be multiplied as matrices, which rounds otherwise than one alone does, and an answer is not
    to depend on what it is asked with.
    """
    out = np.empty((len(vectors), transform.d_out), np.float32)
    for vector, image in zip(vectors, out, strict=True):
        transform.apply_noalloc(1, faiss.swig_ptr(vector), faiss.swig_ptr(image))
    return out
