"""Texts from files that nobody vouches for."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt


def texts(array: npt.NDArray[Any]) -> list[str]:
    """The texts of an array (n,), of NumPy's letters or of bytes of UTF-8.

    Raises:
        ValueError: some are no text: NumPy itself stumbles over a letter beyond Unicode.
    """
    if array.dtype.kind == "S":
        return [text.decode() for text in array.tolist()]
    rows = np.ascontiguousarray(array)
    letters = rows.view(np.dtype("u4").newbyteorder(rows.dtype.byteorder)) if rows.dtype.itemsize else np.zeros(1)
    if letters.max(initial=0) > sys.maxunicode:
        raise ValueError("a letter lies beyond Unicode")
    found: list[str] = rows.tolist()
    "".join(found).encode()  # half a pair of surrogates is no letter either
    return found


def shown(text: str) -> str:
    """A text from a file as a terminal may show it, without what would steer it."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
