"""Arrays of ``.npy`` files, mapped; nothing is unpickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

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
        return np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # whatever the parsers that NumPy reads a header with raise
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:200].rstrip(".")
        raise RetrievalError(f"{printable(path)!r} cannot be read as a .npy file ({reason}); give {wanted}.") from None
