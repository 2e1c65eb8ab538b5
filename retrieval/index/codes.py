"""Binary codes as numbers whose inner products are scores."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from retrieval.index import Index


def as_numbers(index: Index, vectors: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """Vectors float32 (n, dim) as they are; codes as ±1, whose inner products no rounding can touch."""
    if index.storage != "binary":
        return np.asarray(vectors, np.float32)
    codes = np.asarray(vectors)
    if codes.dtype == np.uint8:
        bits = np.unpackbits(codes, axis=1, bitorder="little").view(np.int8)
    else:
        bits = (codes > 0).astype(np.int8)  # as the index makes codes of them
    return (2 * bits - 1).astype(np.float32)


def scaled(index: Index, products: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Inner products of :func:`as_numbers` as scores."""
    return products / np.float32(index.dim) if index.storage == "binary" else products


def numbers(index: Index, vectors: NDArray[Any]) -> NDArray[np.float64]:
    """Vectors of an index as float64 (n, d) whose inner products are its scores: of codes ±1/√d for each bit."""
    if index.storage != "binary":
        return vectors.astype(np.float64)
    bits = np.unpackbits(vectors, axis=1, bitorder="little").astype(np.float64)
    return (bits * 2 - 1) / math.sqrt(index.dim)


def asked_numbers(index: Index, vector: NDArray[np.float32]) -> NDArray[np.float64]:
    """The same of a query's vector (d,), which an index of codes takes for its code."""
    if index.storage != "binary":
        return vector.astype(np.float64)
    return np.where(vector > 0, 1.0, -1.0) / math.sqrt(index.dim)


def as_floats(rows: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Vectors float32 (n, d) as they are; binary codes uint8 (n, d/8) as the ±1/√d that they stand for."""
    if rows.dtype != np.uint8:
        return rows
    signs = np.unpackbits(rows, axis=1).astype(np.float32) * 2 - 1
    return signs / np.float32(np.sqrt(max(signs.shape[1], 1)))
