"""Indexes that a database holds, under an address that stands wherever an index's folder may stand.

No engine of our own: what is here is the thin part between one and the rest of the program. ``docs/engines.md``
explains it to people. Nothing of an engine's library is imported before one is asked.
"""

from __future__ import annotations

from pathlib import Path

from retrieval.engines.address import Address
from retrieval.engines.engine import ENGINES
from retrieval.engines.engine_index import EngineIndex
from retrieval.index import Index
from retrieval.index.folder import is_index as is_index_folder

__all__ = ["Address", "EngineIndex", "is_address", "is_index", "open_index", "shown"]


def is_address(place: str | Path) -> bool:
    """Whether a text is the address of an index in an engine, and no folder."""
    return isinstance(place, str) and place.partition("://")[0] in ENGINES and "://" in place


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


def shown(place: str | Path) -> Path | str:
    """Where an index is, as reports have it: its folder, or its address without a password."""
    return Address.of(str(place)).shown if is_address(place) else Path(place)
