"""Arrays of ``.npy`` files, mapped; nothing is unpickled."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.base.placed_files import open_file
from retrieval.base.text import printable
from retrieval.errors import RetrievalError


def mapped(path: Path, wanted: str = "one array of shape (n, d)") -> Any:
    """The array of a file, of any shape and type, left on the disk until it is looked at.

    Args:
        path: the file.
        wanted: what it should hold, for messages.

    Raises:
        RetrievalError: it cannot be read, or is shorter than it says.
    """
    try:
        # Opened here, as a pipe would be waited for; and what it says of itself is compared with its size before
        # NumPy counts rows of no bytes.
        with open_file(path, sys.maxsize) as file:
            version = np.lib.format.read_magic(file)
            header = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}.get(version[0])
            if header is None:
                raise ValueError(f"its version is {version[0]}.{version[1]}")
            shape, fortran, dtype = header(file)
            if dtype.hasobject:
                raise ValueError("it holds Python objects")
            if not dtype.itemsize:
                raise ValueError(f"its type {dtype.str!r} takes no bytes")
            count = math.prod(shape)
            if file.tell() + count * dtype.itemsize > os.fstat(file.fileno()).st_size:
                raise ValueError(f"it says {shape} and is shorter")
            if not count:
                return np.empty(shape, dtype, "F" if fortran else "C")
            return np.memmap(file, dtype, "r", file.tell(), shape, "F" if fortran else "C")
    except Exception as error:  # whatever the parsers that NumPy reads a header with raise
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:200].rstrip(".")
        raise RetrievalError(f"{printable(path)!r} cannot be read as a .npy file ({reason}); give {wanted}.") from None
