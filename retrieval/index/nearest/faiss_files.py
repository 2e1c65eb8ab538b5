"""FAISS's own files: written durably, and read as what anybody may have written.

FAISS checks most of what it reads (of a graph, that every neighbour is a node), but it makes room for whatever sizes a
file names, and believes the ids in its lists and the widths by which its fast scans step.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss

from retrieval.base.files import TEMPORARY, name_durably
from retrieval.base.open_file import DamagedFileError
from retrieval.errors import RetrievalError

_FIELDS = (
    "d", "metric_type", "d_in", "d_out", "have_bias", "nlist", "code_size", "by_residual", "M", "M2", "ksub", "nbits",
    "bbs", "implem", "qbs", "qbs2", "qtype", "nb_bits", "qb",
)  # fmt: skip
_PARTS = ("index", "storage", "quantizer", "pq", "sq", "rabitq")

OTHER = "is not the structure that the catalog describes"
"""What is wrong with a file that can be read and is of another kind or size."""

_LIMITS = threading.Lock()
"""FAISS's limits on what it reads are the whole process's."""


def write(path: Path, *parts: Any) -> None:
    """Write indexes and transforms durably, one after the other.

    Raises:
        RetrievalError: the disk is full, or the folder cannot be written.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        dump(temporary, *parts)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RetrievalError(f"{str(path)!r} cannot be written; make room, or allow writing there.") from error
    name_durably(temporary, path)


def dump(path: Path, *parts: Any) -> None:
    """Write them to a file that nobody reads yet.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    with path.open("wb") as file:  # FAISS would not say what goes wrong when it closes a file of its own
        writer = faiss.PyCallbackIOWriter(file.write)
        for part in parts:
            _put(part, writer)


def size(*parts: Any) -> int:
    """Bytes that the file of some parts takes, counted while they are written to nowhere."""
    counted = 0

    def count(block: bytes) -> None:
        nonlocal counted
        counted += len(block)

    writer = faiss.PyCallbackIOWriter(count)
    for part in parts:
        _put(part, writer)
    return counted


def read(path: Path, like: Any, items: int, *, mapped: bool = False) -> Any:
    """Read an index that :func:`write` wrote, and whose checksum has been compared.

    Args:
        path: the file.
        like: an index without vectors, of the kind that it should be.
        items: how many vectors it should hold.
        mapped: leave what is large on the disk, until it is looked at. FAISS can do so but with what it has packed for
            its fast scans.

    Raises:
        DamagedFileError: it is not what it should be.
    """
    with _parsing(path, like):
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if mapped else 0)
    _check(path, index, like, items)
    return index


def read_coded(path: Path, like: Any, items: int, dim: int) -> tuple[Any, Any]:
    """Read a binary index, and the linear transform of what it holds codes of, which :func:`write` wrote before it.

    Args:
        path: the file.
        like: as :func:`read` takes it.
        items: how many vectors it should hold.
        dim: how many numbers the transform should take.

    Raises:
        DamagedFileError: it is not what it should be.
    """
    with _parsing(path, like):
        reader = faiss.FileIOReader(str(path))
        transform = faiss.read_VectorTransform(reader)
        index = faiss.read_index_binary(reader)
    wanted = faiss.LinearTransform(dim, like.d, True)
    if _signature(transform) != _signature(wanted) or transform.A.size() != dim * like.d:
        raise DamagedFileError(path, OTHER)
    _check(path, index, like, items)
    return index, transform


@contextmanager
def _parsing(path: Path, like: Any) -> Iterator[None]:
    try:
        with _no_more_than(path.stat().st_size + _table(like)):
            yield
    except (OSError, RuntimeError, TypeError, MemoryError) as error:  # a TypeError if the name is not Unicode
        raise DamagedFileError(path, "is not a structure that FAISS can read") from error


def _table(whole: Any) -> int:
    """Bytes of the table that FAISS computes when it reads quantized lists: of each list's centre with each code word.

    It has nothing to do with what the file holds.
    """
    index = _downcast(whole)
    if isinstance(index, faiss.IndexPreTransform):
        return _table(index.index)
    quantized = hasattr(index, "pq") and hasattr(index, "nlist")
    return 4 * index.nlist * index.pq.M * index.pq.ksub if quantized else 0


def _check(path: Path, index: Any, like: Any, items: int) -> None:
    if _signature(index) != _signature(like) or not index.is_trained or not _holds(index, items):
        raise DamagedFileError(path, OTHER)


def _put(part: Any, writer: Any) -> None:
    if isinstance(part, faiss.VectorTransform):
        faiss.write_VectorTransform(part, writer)
    elif isinstance(part, faiss.IndexBinary):
        faiss.write_index_binary(part, writer)
    else:
        faiss.write_index(part, writer)


@contextmanager
def _no_more_than(size: int) -> Iterator[None]:
    """No array that FAISS makes meanwhile has more bytes, and no list more entries."""
    with _LIMITS:
        before = faiss.get_deserialization_vector_byte_limit(), faiss.get_deserialization_loop_limit()
        faiss.set_deserialization_vector_byte_limit(size + 1)
        faiss.set_deserialization_loop_limit(size + 1)
        try:
            yield
        finally:
            faiss.set_deserialization_vector_byte_limit(before[0])
            faiss.set_deserialization_loop_limit(before[1])


def _downcast(part: Any) -> Any:
    if isinstance(part, faiss.IndexBinary):
        return faiss.downcast_IndexBinary(part)
    if isinstance(part, faiss.VectorTransform):
        return faiss.downcast_VectorTransform(part)
    return faiss.downcast_index(part) if isinstance(part, faiss.Index) else part


def _signature(whole: Any) -> tuple[Any, ...]:
    """What an index is made of, down to the widths of its codes; the same before and after it holds vectors."""
    part = _downcast(whole)  # which lives only as long as the whole
    kind = type(part).__name__
    return (
        "IndexFlat" if kind == "IndexFlatL2" else kind,  # it becomes one when it is read
        *((name, getattr(part, name)) for name in _FIELDS if isinstance(getattr(part, name, None), int | bool)),
        *((name, _signature(getattr(part, name))) for name in _PARTS if getattr(part, name, None) is not None),
        *((_signature(part.chain.at(at)) for at in range(part.chain.size())) if hasattr(part, "chain") else ()),
    )


def _holds(whole: Any, items: int) -> bool:
    """Whether an index and its parts hold so many vectors, each list only positions of them."""
    index = _downcast(whole)
    if index.ntotal != items:
        return False
    for name in ("index", "storage"):
        if getattr(index, name, None) is not None and not _holds(getattr(index, name), items):
            return False
    lists = getattr(index, "invlists", None)
    if lists is None:
        return not hasattr(index, "ntotal2") or _packed(index, items)
    return bool(index.quantizer.ntotal == index.nlist) and _list_items(lists, items)


def _packed(index: Any, items: int) -> bool:
    """Whether what a fast scan reads without lists, blocks of codes, is there and no more."""
    blocks = -(-items // index.bbs)
    return bool(index.ntotal2 == blocks * index.bbs and index.codes.size() == blocks * index.bbs * index.M2 // 2)


def _list_items(lists: Any, items: int) -> bool:
    """Whether inverted lists hold so many positions, and none beyond them."""
    sizes = [lists.list_size(number) for number in range(lists.nlist)]
    if sum(sizes) != items:
        return False
    for number, length in enumerate(sizes):
        if length:
            ids = faiss.rev_swig_ptr(lists.get_ids(number), length)
            if ids.min() < 0 or ids.max() >= items:
                return False
    return True
