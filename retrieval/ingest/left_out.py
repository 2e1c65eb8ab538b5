"""Files of a folder that are no pictures, or none that can be read: remembered, so that no sync reads them again.

What is remembered holds for a file of this size and time of change, and for this decoder: with another one, or another
release of its library, everything is tried once more. So is whatever may have been the fault of the day: no permission,
too little memory, something that is not installed.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from retrieval.base.placed_files import Root, Stamp
from retrieval.errors import RetrievalError
from retrieval.images.reading import choose_decoder, recorded_decoder
from retrieval.index import Index
from retrieval.index.catalog import Catalog
from retrieval.index.records import LeftOut as Row

_LASTING = re.compile(
    r"truncated|damaged|not a picture|empty file|too many pixels \(.*\)|too large \(.*\)|not supported \([^)]*\)"
)
"""Reasons that are the file's own."""


class LeftOut(NamedTuple):
    """What an index knows of its folder besides its pictures.

    Attributes:
        unreadable: size, time of change and reason of each picture that was left out.
        strangers: size and time of each file that is no picture, where its name did not tell.
        hidden: whether hidden files and the folders of systems and programs are taken in.
    """

    unreadable: Mapping[str, tuple[Stamp, str]]
    strangers: Mapping[str, Stamp]
    hidden: bool


NOTHING = LeftOut({}, {}, False)


def recall(index: Index) -> LeftOut:
    """What an index has remembered."""
    return _recalled(index.left_out(), index.decoder, index.details)


def recall_at(folder: Path) -> LeftOut:
    """The same of an index that nobody has opened, and that may not be sound: then nothing is remembered."""
    try:
        with contextlib.closing(Catalog(folder, write=False)) as catalog:
            return _recalled(catalog.left_out(), catalog.meta.get("decoder"), catalog.meta.get("details", {}))
    except RetrievalError:
        return NOTHING


def pictures_at(folder: Path) -> Mapping[str, Stamp]:
    """Size and time of each picture of such an index, by its path; none if it is not sound."""
    try:
        with contextlib.closing(Catalog(folder, write=False)) as catalog:
            return catalog.known()
    except RetrievalError:
        return {}


def _recalled(rows: Iterable[Row], decoder: str | None, details: Mapping[str, object]) -> LeftOut:
    now = choose_decoder(recorded_decoder(decoder))
    unreadable: dict[str, tuple[Stamp, str]] = {}
    strangers: dict[str, Stamp] = {}
    for path, size, mtime_ns, reason, by in rows:
        if by == now and reason is None:
            strangers[path] = (size, mtime_ns)
        elif by == now and reason is not None:
            unreadable[path] = ((size, mtime_ns), reason)
    return LeftOut(unreadable, strangers, bool(details.get("hidden")))


def remember(
    index: Index,
    root: Root,
    unreadable: Iterable[tuple[str, str]],
    recalled: Mapping[str, tuple[Stamp, str]],
    strangers: Mapping[str, Stamp],
    began_ns: int,
) -> None:
    """Record what was left out.

    Args:
        index: open for writing.
        root: where the pictures lie.
        unreadable: (path, reason) of what was read in vain.
        recalled: what was not read, since it was in vain before.
        strangers: what is no picture, though no name told.
        began_ns: when the work began, nanoseconds since 1970; a file that was written later may not be what was read.
    """
    now = choose_decoder(recorded_decoder(index.decoder))
    rows: list[Row] = [(path, *stamp, reason, now) for path, (stamp, reason) in recalled.items()]
    rows += [(path, *stamp, None, now) for path, stamp in strangers.items()]
    for path, reason in unreadable:
        if _LASTING.fullmatch(reason):
            try:
                stamp = root.settled(path, began_ns)
            except OSError:
                continue
            if stamp is not None:
                rows.append((path, *stamp, reason, now))
    rows.sort(key=lambda row: row[0])
    if rows != index.left_out():
        index.record_left_out(rows)
