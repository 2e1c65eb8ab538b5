"""An index, wherever it is."""

from __future__ import annotations

from pathlib import Path

from retrieval.engines.address import Address, is_address
from retrieval.engines.engine_index import EngineIndex
from retrieval.index import Index
from retrieval.index.folder import is_index as is_index_folder


def is_index(place: str | Path) -> bool:
    """Whether this is the address of an index, or a folder that is one as far as a look at its names tells.

    Raises:
        OSError: the folder may not be looked into.
    """
    return is_address(place) or is_index_folder(place)


def open_index(place: str | Path, *, write: bool = False, mapped: bool = False) -> Index:
    """Open an index, wherever it is; see :meth:`retrieval.index.Index.open`.

    Args:
        place: its folder, or its address (``postgresql://HOST:PORT/DATABASE/NAME``).
        write: also to change it. mapped: of a folder: search it where it lies.

    Raises:
        RetrievalError: there is none, it cannot be reached, or it cannot be written now.
    """
    if is_address(place):
        return EngineIndex.at(Address.of(str(place)), write=write)
    return Index.open(place, write=write, mapped=mapped)
