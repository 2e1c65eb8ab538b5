"""Linear maps of vectors before they are compared, the same for one vector and for many."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from retrieval.index.nearest.structures import Floats


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
