"""The formats, and which one a name stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.exchange import ann_benchmarks, clip_retrieval, faiss_file, fvecs, numpy_file
from retrieval.exchange.export_rows import Contents
from retrieval.exchange.import_rows import Source

FAISS, NUMPY, CLIP, FVECS, ANN = "faiss", "npy", "clip-retrieval", "fvecs", "ann-benchmarks"

SUFFIXES = {
    ".faiss": FAISS,
    ".index": FAISS,
    ".npy": NUMPY,
    ".fvecs": FVECS,
    ".hdf5": ANN,
    ".h5": ANN,
}
"""How a file's name tells its format; a folder is clip-retrieval's."""

FORMATS = (FAISS, NUMPY, CLIP, FVECS, ANN)

READERS: Mapping[str, Callable[[Path], Source]] = {
    FAISS: faiss_file.read,
    NUMPY: numpy_file.read,
    CLIP: clip_retrieval.read,
    FVECS: fvecs.read,
    ANN: ann_benchmarks.read,
}

WRITERS: Mapping[str, Callable[[Contents, Path], None]] = {
    FAISS: faiss_file.write,
    NUMPY: numpy_file.write,
    CLIP: clip_retrieval.write,
    FVECS: fvecs.write,
}
"""Those that need nothing but the index; ann-benchmarks' needs queries, too."""


def format_of(path: str | Path, asked: str | None) -> str:
    """The format of a file or folder.

    Args:
        path: its name, which need not exist; one that ends in "/" is a folder.
        asked: one of :data:`FORMATS`, or None for what the name says.

    Raises:
        RetrievalError: there is no such format, or the name says none.
    """
    if asked is not None:
        if asked not in FORMATS:
            raise RetrievalError(f"There is no format {asked!r}; choose {', '.join(FORMATS)}.")
        return asked
    suffix = Path(path).suffix.lower()
    if str(path).endswith("/") or Path(path).is_dir() or not suffix:
        return CLIP
    if suffix not in SUFFIXES:
        raise RetrievalError(
            f"The name {printable(path)!r} says no format; end it in {', '.join(SUFFIXES)} or /, or give --format."
        )
    return SUFFIXES[suffix]
