"""A program of its own that reads a FAISS file from elsewhere; see :mod:`retrieval.base.sandbox`.

Arguments: the file, and a folder, into which it writes ``vectors.npy`` and ``ids.npy``. The answer has ``kind``,
FAISS's name of the index, ``exact``, whether it keeps the vectors as they were, and ``distance``, what it compares by.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from retrieval.base.sandbox import answer

NUMBERS = 1 << 22
"""Numbers that are decoded at a time."""

WIDEST = 1 << 16
"""Numbers in a vector beyond which a file is not believed."""

DISTANCES = {faiss.METRIC_INNER_PRODUCT: "inner product", faiss.METRIC_L2: "euclidean"}
"""What others than these are called by FAISS, they are called here."""

Decode = Callable[[npt.NDArray[np.int64]], npt.NDArray[Any]]


def read(file: Path) -> dict[str, object]:
    """Read a file and write what it holds.

    Raises:
        ValueError: it does not give its vectors back, or is not what it says.
    """
    folder, size = Path(sys.argv[2]), file.stat().st_size
    with file.open("rb") as opened:
        binary = opened.read(2) == b"IB"
    index = faiss.read_index_binary(str(file)) if binary else faiss.read_index(str(file))
    keys, ids, width, decode, kind = _binary(index) if binary else _floats(index)
    # A vector takes a byte at least, and no quantiser makes that of more than a thousand numbers.
    if len(keys) > size or len(keys) * width > 1024 * size or width > WIDEST:
        raise ValueError(f"it claims to hold {len(keys):,} vectors of {width:,} numbers in {size:,} bytes")
    np.save(folder / "ids.npy", ids)
    dtype = np.dtype(np.uint8 if binary else np.float32)
    with (folder / "vectors.npy").open("wb") as out:
        shape = (len(keys), width)
        header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(out, header)
        step = max(1, NUMBERS // width)
        for start in range(0, len(keys), step):
            out.write(np.ascontiguousarray(decode(keys[start : start + step]), dtype).data)
    exact = kind in ("IndexFlat", "IndexFlatL2", "IndexFlatIP", "IndexHNSWFlat", "IndexNSGFlat", "IndexIVFFlat")
    return {"kind": kind, "exact": exact or binary, "distance": "hamming" if binary else _distance(index.metric_type)}


def _distance(metric: int) -> str:
    names = (name for name in dir(faiss) if name.startswith("METRIC_") and getattr(faiss, name) == metric)
    return DISTANCES.get(metric) or next(names, f"METRIC_{metric}").removeprefix("METRIC_")


def _floats(index: Any) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int, Decode, str]:
    """What to ask for, the ids it belongs to, numbers in a vector, how to ask, and the kind of index."""
    inner, ids = index, None
    if isinstance(index, faiss.IndexIDMap):  # IDMap2 is one, too
        inner, ids = faiss.downcast_index(index.index), faiss.vector_to_array(index.id_map).astype(np.int64)
    if isinstance(inner, faiss.IndexRefine):  # it keeps a better copy beside the one it searches
        inner = faiss.downcast_index(inner.refine_index)
    kind = type(inner).__name__
    keys = np.arange(inner.ntotal, dtype=np.int64)
    lists = faiss.try_extract_index_ivf(inner)
    if lists is not None:
        if isinstance(faiss.downcast_index(lists), faiss.IndexIVFFastScan):  # asking it crashes
            raise ValueError(f"{kind} does not give its vectors back")
        keys = _listed(lists)
        lists.set_direct_map_type(faiss.DirectMap.Hashtable)
    ids = keys if ids is None else ids
    if not len(keys) == len(ids) == index.ntotal:
        raise ValueError(f"it counts {index.ntotal:,} vectors and holds {len(keys):,}")
    return keys, ids, int(inner.d), inner.reconstruct_batch, kind


def _binary(index: Any) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int, Decode, str]:
    """The same of binary codes, whose width is in bytes."""
    inner: Any = index
    ids = None
    if isinstance(index, faiss.IndexBinaryIDMap):
        inner, ids = faiss.downcast_IndexBinary(index.index), faiss.vector_to_array(index.id_map).astype(np.int64)
    kind = type(inner).__name__
    if isinstance(inner, faiss.IndexBinaryHNSW):
        inner = faiss.downcast_IndexBinary(inner.storage)
    width = int(inner.code_size)
    if isinstance(inner, faiss.IndexBinaryIVF):
        own, codes = _listed(inner), _listed_codes(inner)
    elif type(inner).__name__ == "IndexBinaryFlat":
        codes = faiss.vector_to_array(inner.xb).reshape(inner.ntotal, width)
        own = np.arange(len(codes), dtype=np.int64)
    else:
        raise ValueError(f"{kind} does not give its codes back")
    keys = np.arange(len(codes), dtype=np.int64)
    ids = own if ids is None else ids
    if len(ids) != len(keys):
        raise ValueError(f"it has {len(ids):,} ids for {len(keys):,} codes")
    return keys, ids, width, codes.__getitem__, kind


def _listed(index: Any) -> npt.NDArray[np.int64]:
    """The ids in the lists of an inverted file, ascending."""
    return np.sort(_in_lists(index))


def _listed_codes(index: Any) -> npt.NDArray[np.uint8]:
    """Its codes, in the order of their ids."""
    width = int(index.code_size)
    parts = [np.empty((0, width), np.uint8)]
    for number in range(index.nlist):
        count = index.invlists.list_size(number)
        if count:
            parts.append(faiss.rev_swig_ptr(index.invlists.get_codes(number), count * width).reshape(-1, width).copy())
    return np.concatenate(parts)[np.argsort(_in_lists(index), kind="stable")]


def _in_lists(index: Any) -> npt.NDArray[np.int64]:
    """The ids in its lists, one list after the other."""
    parts = [np.empty(0, np.int64)]
    for number in range(index.nlist):
        count = index.invlists.list_size(number)
        if count:
            parts.append(faiss.rev_swig_ptr(index.invlists.get_ids(number), count).astype(np.int64))
    return np.concatenate(parts)


if __name__ == "__main__":
    answer(read)
