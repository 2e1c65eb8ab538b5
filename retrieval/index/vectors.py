"""What may go into an index and into a question to it, and binary codes: made of numbers, and as numbers again."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.base import compiled
from retrieval.errors import RetrievalError

UNIT_TOLERANCE = 1e-3
"""How far a vector's length may be from 1."""


def checked(vectors: npt.NDArray[Any], dim: int, storage: str, what: str) -> npt.NDArray[Any]:
    """:func:`unit_rows`, or :func:`code_rows` where the storage is "binary"."""
    return (code_rows if storage == "binary" else unit_rows)(vectors, dim, what)


def unit_rows(vectors: npt.NDArray[np.float32], dim: int, what: str) -> npt.NDArray[np.float32]:
    """The vectors (n, dim) themselves, C-contiguous.

    Args:
        vectors: float32 (n, dim), each row of length 1 within :data:`UNIT_TOLERANCE`.
        dim: how many numbers each must have.
        what: they are called in a message ("queries").

    Raises:
        RetrievalError: another shape or type, or a row that is not of unit length.
    """
    if compiled.kernel is not None and compiled.kernel.is_unit(vectors, dim, UNIT_TOLERANCE):
        return vectors  # a single query is not to wait for what a batch needs
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or vectors.shape[1] != dim:
        raise RetrievalError(
            f"The {what} have shape {vectors.shape} where this index takes (n, {dim}); "
            "make them with the model that the index was built with."
        )
    if vectors.dtype != np.float32:
        raise RetrievalError(f"The {what} are {vectors.dtype} where an index takes float32; convert them.")
    vectors = np.ascontiguousarray(vectors)
    with np.errstate(over="ignore", invalid="ignore"):
        length = np.sqrt(np.vecdot(vectors, vectors))
    wrong = np.flatnonzero(~(np.abs(length - 1) <= UNIT_TOLERANCE))  # so written that NaN is wrong
    if len(wrong):
        raise RetrievalError(
            f"Row {wrong[0]} of the {what} has length {length[wrong[0]]:.4g} where it must be 1; "
            "divide each row by its length, and leave out rows that are zero or not finite."
        )
    return vectors


def directions(rows: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Rows (n, d) of real numbers scaled to unit length, float64 (n, d), and the lengths they had, float64 (n,).

    Also rows so long or so short that the squares of their numbers are none. The length of a row that is zero or not
    finite, and so has no direction, is NaN, and the row is anything; one too long to say is infinite.
    """
    wide = rows.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        length = np.sqrt(np.vecdot(wide, wide))
        odd = np.flatnonzero(~((length > 1e-100) & (length < 1e100)))
        scale = length
        if len(odd):
            largest = np.abs(wide[odd]).max(axis=1, initial=0)
            largest[~(np.isfinite(largest) & (largest > 0))] = np.nan
            wide[odd] /= largest[:, None]
            within = np.sqrt(np.vecdot(wide[odd], wide[odd]))
            wide[odd] /= within[:, None]
            length[odd] = largest * within
            scale = length.copy()
            scale[odd] = 1
        wide /= scale[:, None]
    return wide, length


def code_rows(vectors: npt.NDArray[Any], dim: int, what: str) -> npt.NDArray[np.uint8]:
    """Binary codes (n, dim / 8), C-contiguous.

    Args:
        vectors: codes themselves, uint8 (n, dim / 8) with the first bit lowest, or real numbers (n, dim), of which
            those above 0 become a 1.
        dim: bits in a code.
        what: they are called in a message ("queries").

    Raises:
        RetrievalError: another shape or type, or numbers that are not finite.
    """
    vectors = np.asarray(vectors)
    if vectors.dtype == np.uint8 and vectors.ndim == 2 and vectors.shape[1] == dim // 8:
        return np.ascontiguousarray(vectors)
    if vectors.dtype.kind != "f" or vectors.ndim != 2 or vectors.shape[1] != dim:
        raise RetrievalError(
            f"The {what} are {vectors.dtype} of shape {vectors.shape} where this index takes codes, uint8 "
            f"(n, {dim // 8}), or numbers to make them from, float (n, {dim}); make them with the index's model."
        )
    if not np.isfinite(vectors).all():
        raise RetrievalError(f"The {what} hold numbers that are not finite; leave such rows out.")
    return packed(vectors)


def packed(numbers: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Codes uint8 (..., d / 8) of numbers (..., d): 1 for each above 0, the first lowest in its byte. Codes stay."""
    return numbers if numbers.dtype == np.uint8 else np.packbits(numbers > 0, axis=-1, bitorder="little")


def signs(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Codes (..., d / 8) as ±1, float32 (..., d). Inner products of these are whole numbers that no rounding touches:
    scores times d."""
    return np.unpackbits(codes, axis=-1, bitorder="little").astype(np.float32) * 2 - 1


def as_numbers(
    vectors: npt.NDArray[Any], storage: str = "", dtype: type[np.floating[Any]] = np.float32
) -> npt.NDArray[Any]:
    """Vectors (..., d) as numbers of a type, whose inner products are scores: of codes the ±1/√d that they stand for.

    Args:
        vectors: real numbers, or codes uint8.
        storage: "binary" for numbers that an index of codes takes for the codes of their signs.
        dtype: the type.
    """
    if vectors.dtype != np.uint8 and storage != "binary":
        return vectors.astype(dtype, copy=False)
    found: npt.NDArray[Any] = signs(packed(vectors)).astype(dtype, copy=False)
    found /= math.sqrt(max(found.shape[-1], 1))
    return found
