"""The structure that an index has already: whether it is of use, and whether it is still about right."""

from __future__ import annotations

import numpy as np

from retrieval.base.files import checksum
from retrieval.index import Index
from retrieval.index.records import StructureRecord

STALE = 0.1
"""Share of items that came or went since a structure was built, above which it is built again."""


def drop_unusable(index: Index) -> None:
    """Have an index do without a structure that is damaged, or that needs a library which is not installed here."""
    from retrieval.index.nearest import kinds

    record = index.structure
    if record is not None and not (kinds.available(record.factory) and _is_whole(index, record)):
        index.set_structure(None)


def is_fresh(index: Index) -> bool:
    """Whether most of what a structure holds is in the index, and the other way round."""
    record = index.structure
    if record is None:
        return False
    there = np.isin(index.ids(), record.ids, assume_unique=True)
    gone, came = record.items - int(there.sum()), int((~there).sum())
    return gone + came <= STALE * len(index)


def _is_whole(index: Index, record: StructureRecord) -> bool:
    path = index.folder / record.file
    try:
        return path.stat().st_size == record.size and checksum(path) == record.checksum
    except OSError:
        return False
