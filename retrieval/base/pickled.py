"""Pickles of plain containers and arrays, read without running anything that they name.

A pickle is a program. Here it gets nothing to call but harmless stand-ins for the few names by which NumPy's arrays
and numbers are pickled; whatever else it asks for ends the reading.
"""

from __future__ import annotations

import io
import math
import pickle
from typing import Any

import numpy as np
import numpy.typing as npt

CODES = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8")
"""The types of arrays that are read."""


def plain(data: bytes) -> Any:
    """What a pickle holds: None, truth values, numbers, texts, bytes, lists, tuples, dictionaries and sets of these, as
    Python 2 or 3 wrote it. Texts of Python 2 are bytes. Arrays and NumPy's numbers are :class:`Array`.

    Raises:
        ValueError: it is no pickle, or asks for anything else.
    """
    try:
        return _Unpickler(io.BytesIO(data), encoding="bytes").load()
    except ValueError:
        raise
    except Exception as error:  # a hostile pickle can raise anything
        raise ValueError("not a pickle of plain values") from error


class Array:
    """Stands where a pickle asks for a NumPy array, and only remembers what it is told."""

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def array(self) -> npt.NDArray[Any]:
        """The array.

        Raises:
            ValueError: it is of another type than :data:`CODES`, or shorter than it says.
        """
        if not isinstance(self.state, tuple) or len(self.state) != 5:
            raise ValueError("an array says nothing of itself")
        _, shape, kind, fortran, data = self.state
        dtype = kind.dtype() if isinstance(kind, _Kind) else None
        if dtype is None or not isinstance(data, bytes):
            raise ValueError("an array is not of plain numbers")
        if not isinstance(shape, tuple) or not all(isinstance(side, int) and side >= 0 for side in shape):
            raise ValueError("an array has no shape")
        if len(data) != math.prod(shape) * dtype.itemsize:
            raise ValueError("an array is shorter than it says")
        found: npt.NDArray[Any] = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
        return found


class _Kind:
    """Stands where a pickle asks for a NumPy dtype."""

    def __init__(self, code: Any = None, *_: Any) -> None:
        self.code = code.decode("latin-1") if isinstance(code, bytes) else code
        self.order: Any = "<"

    def __setstate__(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        self.order = order.decode("latin-1") if isinstance(order, bytes) else order

    def dtype(self) -> np.dtype[Any] | None:
        if self.code not in CODES or self.order not in ("<", ">", "|", "="):
            return None
        return np.dtype(f"{self.order}{self.code}")


def _number(kind: Any, data: Any) -> Array:
    """One of NumPy's numbers, as an array without sides."""
    number = Array()
    number.state = (1, (), kind, False, data)
    return number


def _of_buffer(data: Any, kind: Any, shape: Any, order: Any) -> Array:
    """How NumPy pickles arrays at protocol 5."""
    found = Array()
    found.state = (1, shape, kind, order == "F", bytes(data) if isinstance(data, bytearray) else data)
    return found


def _nothing() -> bytes:
    """How Python 3 pickles no bytes at protocol 2."""
    return b""


def _latin1(text: str, encoding: str) -> bytes:
    """How Python 3 pickles bytes at protocol 2."""
    return text.encode("latin-1")


class _Unpickler(pickle._Unpickler):
    """The one that is written in Python: its memo is a dictionary, so that a forged index cannot claim gigabytes."""

    _known = {  # noqa: RUF012 (never changed)
        "numpy.core.multiarray _reconstruct": Array,
        "numpy._core.multiarray _reconstruct": Array,
        "numpy.core.multiarray scalar": _number,
        "numpy._core.multiarray scalar": _number,
        "numpy._core.numeric _frombuffer": _of_buffer,
        "numpy.core.numeric _frombuffer": _of_buffer,
        "numpy ndarray": Array,
        "numpy dtype": _Kind,
        "_codecs encode": _latin1,
        "__builtin__ bytes": _nothing,
    }

    def find_class(self, module: str, name: str) -> Any:
        known = self._known.get(f"{module} {name}")
        if known is None:
            raise ValueError(f"it asks for {module}.{name}, which has no place in plain values")
        return known
