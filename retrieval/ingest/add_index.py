"""One index into another: what is in it is copied, and nothing is encoded."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.base import progress
from retrieval.base.object_address import is_object
from retrieval.base.placed_files import NAMED
from retrieval.base.text import printable
from retrieval.engines.address import is_address, shown
from retrieval.engines.opening import open_index
from retrieval.errors import RetrievalError
from retrieval.index import Index, Item, NewItem
from retrieval.ingest.changes import is_outside
from retrieval.ingest.encode_new import mark_incomplete
from retrieval.ingest.update import see_to_structure

BLOCK_ITEMS = 4096
"""Items that are copied in one transaction."""


@dataclass(frozen=True)
class AddedIndex:
    """What adding an index to another did.

    Attributes:
        index: the index's folder.
        other: the one that was added.
        total: pictures in the index now.
        added: pictures that were new.
        kept: pictures that it had already, with the same content.
        differing: paths, printable, that it has with another content: its own were left alone.
        unplaced: paths, printable, that lead out of the other's folder of pictures although its owner did not allow
            it: they were left out.
        seconds: spent.
    """

    index: Path | str
    other: Path | str
    total: int
    added: int
    kept: int
    differing: tuple[str, ...]
    unplaced: tuple[str, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        paths = {"index": printable(self.index), "other": printable(self.other)}
        return {**{name: getattr(self, name) for name in self.__dataclass_fields__}, **paths}


def add_index(index: str | Path, other: str | Path, *, memory: int | None = None) -> AddedIndex:
    """Add all that is in another index, which stays as it is. Vectors are copied, and no picture is read.

    Items get new ids, and bring their labels, sizes, times, checksums and attributes. A picture below the index's
    folder of pictures gets its path there; all others keep their absolute path, and the index lets its pictures lie
    elsewhere from then on, as after :func:`retrieval.ingest.add_pictures`. It is committed bit by bit, each all or
    nothing, so that the same call goes on where one was stopped.

    Args:
        index: the index's folder, or its address. other: the same of the one to add.
        memory: bytes that the process may take.

    Raises:
        RetrievalError: they are one index; they have another model, decoder, storage or size of vectors; or one cannot
            be read, or the first not written.
    """
    began = time.perf_counter()
    with open_index(index, write=True) as into:
        if _is_same(index, other):
            raise RetrievalError(f"{printable(shown(other))!r} is the index itself; name another one to add.")
        with open_index(other, mapped=True) as source:
            _check_alike(into, source)
            added, kept, differing, unplaced = _copy(into, source)
        before = into.details
        if not before.get("complete"):
            into.record_details({**before, "complete": see_to_structure(into, memory)})
        return AddedIndex(
            index=shown(index),
            other=shown(other),
            total=len(into),
            added=added,
            kept=kept,
            differing=tuple(differing),
            unplaced=tuple(unplaced),
            seconds=time.perf_counter() - began,
        )


def _is_same(index: str | Path, other: str | Path) -> bool:
    if is_address(index) or is_address(other):
        return str(index) == str(other)
    try:
        return Path(index).samefile(other)
    except OSError:
        return False


def _check_alike(into: Index, source: Index) -> None:
    """See that vectors of one index can stand beside those of the other.

    Raises:
        RetrievalError: they cannot.
    """
    sides = (
        ("model", into.encoder_hash, source.encoder_hash),
        ("decoder", into.decoder, source.decoder),
        ("storage", into.storage, source.storage),
        ("size of vectors", into.dim, source.dim),
    )
    for what, own, others in sides:
        if own != others:
            raise RetrievalError(
                f"The index {printable(source.name)!r} has another {what} ({others}) than {printable(into.name)!r} "
                f"({own}), so that their vectors cannot be compared; add its pictures instead, or build it anew alike."
            )


def _copy(into: Index, source: Index) -> tuple[int, int, list[str], list[str]]:
    """Copy what is new; how many that was, how many were there, whose content differs, and what was left out."""
    place = _placing(into, source)
    added = kept = 0
    differing: list[str] = []
    unplaced: list[str] = []
    everything = source.select("id is present")
    with progress.bar(len(everything), "Copying", "pictures") as bar:
        for start in range(0, len(everything), BLOCK_ITEMS):
            ids = everything[start : start + BLOCK_ITEMS]
            rows = source.vectors(ids)
            chosen: list[int] = []
            new: dict[str, NewItem] = {}
            for row, item in enumerate(source.items(ids)):
                path = place(item.path)
                there = None if path is None else new.get(path) or into.find(path)
                if path is None:
                    unplaced.append(printable(item.path))
                elif there is None:
                    chosen.append(row)
                    new[path] = NewItem(
                        path, item.label, item.width, item.height, item.size, item.mtime_ns, item.sha256
                    )
                elif _is_one(into, there, item, rows[row]):
                    kept += 1
                else:
                    differing.append(printable(path))
            _commit(into, source, rows[chosen], list(new.values()), ids[chosen])
            added += len(new)
            bar.update(len(ids))
    return added, kept, differing, unplaced


def _commit(
    into: Index,
    source: Index,
    rows: npt.NDArray[Any],
    items: Sequence[NewItem],
    ids: npt.NDArray[np.int64],
) -> None:
    """Add some items of another index, with all that belongs to them, in one transaction."""
    if not items:
        return
    mark_incomplete(into)
    if not into.details.get(NAMED) and any(is_outside(item.path) for item in items):
        into.record_details({**into.details, NAMED: True})
    attributes = source.attributes(ids)
    # A fact whose attribute somebody took away would bring it back.
    facts = [
        tuple(fact for fact in source.facts(id_) if fact[0] in own)
        for id_, own in zip(ids.tolist(), attributes, strict=True)
    ]
    into.upsert(rows, items, facts, attributes)


def _is_one(into: Index, there: Item | NewItem, item: Item, row: npt.NDArray[Any]) -> bool:
    """Whether two items of one path have the same content: by their checksums; by their vectors if there are none."""
    if there.sha256 or item.sha256 or isinstance(there, NewItem):
        return there.sha256 == item.sha256
    return np.array_equal(into.vectors([there.id])[0], row)


def _placing(into: Index, source: Index) -> Callable[[str], str | None]:
    """What gives the path that one index has for another's; None if it leads where the other may not look."""
    own, others = into.pictures, source.pictures

    def place(path: str) -> str | None:
        whole = path if is_outside(path) else f"{others.address.rstrip('/')}/{path}"
        if not is_object(whole):
            whole = os.path.normpath(whole)
        if not others.named and others.path_of(whole) is None:
            return None
        below = own.path_of(whole)
        return whole if below is None else below

    return place
