"""What a store is asked for, whatever store it is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import IO, Any, NamedTuple, Protocol

from retrieval.base.placed_files import NotOpenedError, Stamp

BLOCK = 2**20
"""Bytes of an object that are in memory at a time."""


class Listed(NamedTuple):
    """An object in a folder.

    Attributes:
        name: the rest of its key.
        stamp: its size, and its time and tag (:func:`stamp_by`).
    """

    name: str
    stamp: Stamp


class Page(NamedTuple):
    """A part of what lies in a folder.

    Attributes:
        objects: in it. folders: names of those in it.
        token: what the next page is asked for with; None after the last.
    """

    objects: Sequence[Listed]
    folders: Sequence[str]
    token: Any


class TooLargeError(NotOpenedError):
    """An object that has more bytes than are read."""

    def __init__(self, size: int) -> None:
        super().__init__(f"too large ({size:,} bytes)")


class Client(Protocol):
    """A bucket of a store. Each call is one attempt, which raises whatever went wrong; several run at a time."""

    def page(self, folder: str, token: Any) -> Page:
        """A part of what lies in a folder.

        Args:
            folder: what the keys begin with, ending with "/"; or "". token: the page before gave it.
        """

    def stamp(self, key: str) -> Stamp | None:
        """The stamp of an object; None if there is none."""

    def head(self, key: str, count: int) -> bytes:
        """The first bytes of an object that is not empty."""

    def read(self, key: str, file: IO[bytes], most: int) -> Stamp:
        """Write all bytes of an object, as it is at one moment, into an empty file.

        Args:
            key: of the object. file: where to. most: bytes that it may have.

        Returns:
            Its stamp, then or before: never a later one, so that a change meanwhile shows.

        Raises:
            TooLargeError: it has more than that; nothing of it was read.
        """


def stamp_by(size: int, changed: object, tag: object) -> Stamp:
    """An object's size, and when it changed; what stands behind the whole second is its tag's.

    Two versions of an object can be of one second and one size; their tags (which are of the content, or of the
    version) differ. So the time of an object is true to the second, and another one after every change.

    Args:
        size: bytes. changed: when, if the store says so. tag: its ETag or generation, if it has one.
    """
    if isinstance(changed, str):
        try:
            changed = datetime.fromisoformat(changed.replace("Z", "+00:00"))
        except ValueError:
            changed = None
    moment = 0.0
    if isinstance(changed, datetime):
        moment = (changed if changed.tzinfo else changed.replace(tzinfo=UTC)).timestamp()
    elif isinstance(changed, int | float):
        moment = float(changed)
    if tag is None or tag == "":
        return size, int(moment * 10**6) * 1000
    digest = hashlib.blake2b(str(tag).strip('"').encode(), digest_size=8).digest()
    return size, int(moment) * 10**9 + int.from_bytes(digest) % 10**9
