"""Pictures out of an index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval.base.text import printable
from retrieval.engines.address import shown
from retrieval.engines.opening import open_index
from retrieval.errors import RetrievalError
from retrieval.index import Item


@dataclass(frozen=True)
class Removal:
    """What was taken out of an index, or would be.

    Attributes:
        index: the index's folder, or its address.
        items: what was taken out, by ascending id.
        total: pictures that are in the index now.
        dry_run: whether nothing was done.
    """

    index: Path | str
    items: tuple[Item, ...]
    total: int
    dry_run: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "index": printable(self.index),
            "removed": len(self.items),
            "items": [{"id": item.id, "path": item.path, "label": item.label} for item in self.items],
            "total": self.total,
            "dry_run": self.dry_run,
        }


def remove_pictures(
    index: str | Path,
    *,
    ids: Sequence[int] = (),
    paths: Sequence[str] = (),
    where: str | None = None,
    dry_run: bool = False,
    everything: bool = False,
) -> Removal:
    """Take pictures out of an index, all or none. Their files stay: a sync adds again what is in the folder.

    Args:
        index: the index's folder, or its address.
        ids: theirs.
        paths: theirs, as the index knows them.
        where: an expression that they match (:mod:`retrieval.index.filters`).
        dry_run: only say what would be taken out.
        everything: also if nothing is left then.

    Raises:
        RetrievalError: one is not in the index, the expression is wrong, or nothing would be left.
    """
    with open_index(index, write=not dry_run) as opened:
        chosen = set(map(int, ids))
        for path in paths:
            item = opened.find(path)
            if item is None:
                raise RetrievalError(
                    f"There is no picture {path!r} in the index {printable(opened.name)!r}; give a path relative to "
                    f"{printable(opened.root)!r}, or an absolute one if it was added from elsewhere."
                )
            chosen.add(item.id)
        if where is not None:
            chosen.update(opened.select(where).tolist())
        items = opened.items(sorted(chosen))
        total = len(opened) - len(items)
        if items and not total and not (everything or dry_run):
            raise RetrievalError(
                f"That would take out all {len(items):,} pictures of the index {printable(opened.name)!r}; "
                "say --yes if it is meant."
            )
        if not dry_run:
            opened.remove([item.id for item in items])
    return Removal(shown(index), tuple(items), total, dry_run)
