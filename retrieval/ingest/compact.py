"""Giving back the room of what was removed from an index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval.index import Index

SIZES = ("bytes", "segments", "removed")


@dataclass(frozen=True)
class Compaction:
    """What compacting an index did.

    Attributes:
        folder: the index's.
        items: how many it has.
        before: ``bytes`` on disk, ``segments`` (files of vectors), and ``removed`` vectors that are still in them.
        after: likewise.
    """

    folder: Path
    items: int
    before: Mapping[str, int]
    after: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"folder": str(self.folder), "items": self.items, "before": self.before, "after": self.after}


def compact(folder: str | Path) -> Compaction:
    """Rewrite an index's vectors as one file, and forget for good what was removed from it.

    Raises:
        RetrievalError: there is no index in this folder, somebody else writes it, or the disk is full.
    """
    with Index.open(folder, write=True) as index:
        before = index.info()
        index.compact()
    with Index.open(folder) as index:  # what the log of changes took is free once the writer has closed it
        after = index.info()
    return Compaction(
        Path(folder), after["items"], {name: before[name] for name in SIZES}, {name: after[name] for name in SIZES}
    )
