"""FAISS files for others, and from others.

What comes from others is read by a process of its own (:mod:`retrieval.index.nearest.faiss_reader`), since FAISS trusts
the files it reads and may crash on them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
import numpy.typing as npt

from retrieval.base.sandbox import ask
from retrieval.errors import RetrievalError
from retrieval.index.nearest import faiss_files

Ids = npt.NDArray[np.int64]


class Foreign(NamedTuple):
    """What a FAISS file from elsewhere holds.

    Attributes:
        ids: int64 (n,).
        vectors: float32 (n, d), or uint8 (n, d/8) codes; mapped from a file that has no name any more.
        kind: FAISS's name of the index ("IndexIVFPQ").
        exact: whether it keeps the vectors as they were given to it, rather than something near them.
        distance: what it compares by: "inner product", "euclidean", "hamming", or FAISS's name for others.
    """

    ids: Ids
    vectors: npt.NDArray[Any]
    kind: str
    exact: bool
    distance: str


def write_flat(path: Path, dim: int, blocks: Iterable[tuple[npt.NDArray[Any], Ids]], *, binary: bool = False) -> None:
    """Write vectors as the FAISS index that anybody can read: ``IndexIDMap2`` over ``IndexFlatIP``.

    FAISS writes an index from memory, so that takes as much as all the vectors.

    Args:
        path: the file; the caller gives it a temporary name.
        dim: numbers, or bits, in a vector.
        blocks: vectors float32 (m, dim), or uint8 (m, dim/8) codes, and their ids (m,).
        binary: they are codes; ``IndexBinaryIDMap2`` over ``IndexBinaryFlat`` is written.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    index: Any = (
        faiss.IndexBinaryIDMap2(faiss.IndexBinaryFlat(dim)) if binary else faiss.IndexIDMap2(faiss.IndexFlatIP(dim))
    )
    for vectors, ids in blocks:
        index.add_with_ids(vectors, ids)
    faiss_files.dump(path, index)


def write_structure(source: Path, path: Path, ids: Ids) -> None:
    """Write a structure of ours, which speaks of positions, as one that speaks of ids.

    Args:
        source: its file, whose checksum has been compared.
        path: the file to write; the caller gives it a temporary name.
        ids: int64 (n,), the id of each position.

    Raises:
        RetrievalError: it is of another library, or of codes, whose rotation FAISS's own files have no place for.
        OSError: the disk is full, or the folder cannot be written.
    """
    try:
        inner: Any = faiss.read_index(str(source))
    except (RuntimeError, TypeError):
        raise RetrievalError(f"{str(source)!r} is no structure of FAISS; export the vectors instead.") from None
    if inner.ntotal != len(ids):
        raise RetrievalError(
            f"{str(source)!r} has {inner.ntotal:,} vectors where the catalog says {len(ids):,}; build it again."
        )
    index: Any = faiss.IndexIDMap2(faiss.IndexFlat(inner.d, inner.metric_type))
    index.index, index.ntotal = inner, inner.ntotal  # it takes none but an empty one when it is made
    faiss.copy_array_to_vector(ids, index.id_map)
    index.construct_rev_map()
    faiss_files.dump(path, index)


def read_vectors(path: Path) -> Foreign:
    """The ids and vectors of a FAISS file from elsewhere, for any index that can give its vectors back.

    Args:
        path: the file; nothing in it is trusted.

    Raises:
        RetrievalError: it is no FAISS file, is damaged, gives no vectors back, or makes FAISS crash.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="retrieval-") as folder:
            found = ask(Path(__file__).with_name("faiss_reader.py"), path, folder)
            ids = np.load(Path(folder, "ids.npy"), allow_pickle=False)
            # Mapped, and the mapping outlives the name: the disk is free again when nobody holds the array.
            vectors = np.load(Path(folder, "vectors.npy"), mmap_mode="r", allow_pickle=False)
            return Foreign(ids, vectors, str(found["kind"]), bool(found["exact"]), str(found["distance"]))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RetrievalError(
            f"{str(path)!r} cannot be read as a FAISS index ({reason}); give one that holds its vectors."
        ) from None
