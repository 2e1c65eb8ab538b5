"""Approximate structures on disk: made from a snapshot, checked before they are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from retrieval.files import digest
from retrieval.index.damage import DamagedFileError, check
from retrieval.index.records import StructureRecord
from retrieval.index.snapshot import Snapshot

FOLDER = "ann"

STALE = 0.1
"""Share of items that came or went since a structure was built, above which it is built again."""


def is_fresh(folder: Path, snapshot: Snapshot) -> bool:
    """Whether the snapshot's structure is whole and still about right."""
    record = snapshot.structure
    if record is None:
        return False
    try:
        check(folder / record.file, record.size, record.sha256, full=True)
    except DamagedFileError:
        return False
    gone = int(np.count_nonzero(snapshot.removed <= record.last_item))
    came = len(snapshot) - (record.items - gone)
    return gone + came <= STALE * len(snapshot)


def build(folder: Path, snapshot: Snapshot, number: int, seed: int) -> StructureRecord | None:
    """Build a structure over a snapshot and write its file, durably.

    Args:
        folder: the index folder.
        snapshot: of 20 items or more.
        number: in the file's name; not used before.
        seed: of the sample that it is measured with.

    Returns:
        The record to commit in the catalog, or None if none is worth having.
    """
    from retrieval.index import nearest

    ids, vectors = snapshot.everything()
    built = nearest.Structure.build(vectors, ids, seed=seed)
    if built is None:
        return None
    structure, recall, queries = built
    file = f"{FOLDER}/{number:08d}.faiss"
    structure.write(folder / file)
    return StructureRecord(
        file=file,
        factory=structure.FACTORY,
        parameters=structure.parameters,
        items=len(structure),
        last_item=int(ids[-1]),
        recall=recall,
        queries=queries,
        size=(folder / file).stat().st_size,
        sha256=digest(folder / file),
    )
