"""What an index says about itself."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from retrieval.index.catalog import Catalog
from retrieval.index.database import FORMAT_VERSION
from retrieval.index.records import State
from retrieval.version import __version__

LARGEST = 5
"""How many classes a description names."""


def libraries() -> dict[str, str]:
    """The versions of what writes an index."""
    import platform
    import sqlite3
    from importlib import metadata

    versions = {"retrieval": __version__, "python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    for name in ("numpy", "h5py", "faiss-cpu"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # FAISS goes by several names
            continue
    return versions


def describe(folder: Path, catalog: Catalog, state: State) -> dict[str, Any]:
    """Everything about an index that fits a page, as JSON can hold it; see :meth:`retrieval.index.Index.info`."""
    meta = catalog.meta
    labels = [(label, count) for label, count in catalog.label_counts() if label is not None]
    structure = state.structure
    return {
        "kind": "index",
        "folder": str(folder),
        "format": FORMAT_VERSION,
        "items": state.items,
        "removed": sum(record.rows for record in state.segments) - state.items,
        "dim": meta["dim"],
        "storage": meta["storage"],
        "labels": len(labels),
        "labelled": sum(count for _, count in labels),
        "largest": dict(labels[:LARGEST]),
        "segments": len(state.segments),
        "structure": None
        if structure is None
        else {
            "factory": structure.factory,
            "parameters": dict(structure.parameters),
            "items": structure.items,
            "measured": dict(structure.measured),
            "bytes": structure.size,
        },
        "bytes": sum(_size(path) for path in folder.rglob("*")),
        "attributes": sorted(catalog.attribute_kinds()),
        "encoder": {"network": _network(folder / "encoder"), "hash": meta["encoder_hash"]},
        "root": meta["root"],
        "decoder": meta.get("decoder"),
        "created": meta.get("created"),
        "libraries": meta.get("libraries"),
        "skipped": len(catalog.skipped()),
        "details": meta.get("details"),
    }


def _size(path: Path) -> int:
    """Bytes of a file that is the index's for good; 0 for anything else."""
    try:
        found = path.stat()
    except OSError:  # a write-ahead log that another process has just tidied up
        return 0
    # The file "-shm" is memory that SQLite shares while a catalog is open.
    return found.st_size if stat.S_ISREG(found.st_mode) and not path.name.endswith("-shm") else 0


def _network(encoder: Path) -> str | None:
    try:
        name = json.loads((encoder / "config.json").read_text(encoding="utf-8")).get("network")
    except (OSError, ValueError, AttributeError):
        return None
    return None if name is None else str(name)
