"""Which files' bytes have a vector already, so that none are encoded twice."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from retrieval.index import Index, Item


class KnownContents:
    """The contents that an index has vectors of, and those that are about to get one.

    Equal bytes have equal vectors: one index has one encoder and one decoder.

    Args:
        index: the index.
        closed: why no others may be encoded for it; None if they may.

    Attributes:
        lock: to be held while the index is changed, since :meth:`claim` looks things up in it from other threads.
    """

    def __init__(self, index: Index, closed: str | None = None) -> None:
        self.lock = threading.RLock()
        self._index = index
        self._closed = closed
        self._claimed: set[str] = set()
        self._found: set[str] = set()
        self._spoilt: dict[str, str] = {}

    def claim(self, sha256: str) -> bool:
        """Whether whoever asks is to encode these bytes, because nobody has or is about to."""
        with self.lock:
            if sha256 in self._claimed or sha256 in self._found:
                return False
            if self._index.find_sha256(sha256):
                self._found.add(sha256)
                return False
            if self._closed is not None:
                self._spoilt[sha256] = self._closed
                return False
            self._claimed.add(sha256)
            return True

    def spoil(self, sha256: str, reason: str) -> None:
        """Learn that bytes that were claimed are no picture that can be read, and why."""
        with self.lock:
            self._spoilt[sha256] = reason

    def reason(self, sha256: str) -> str | None:
        """Why these bytes cannot be read, as far as anybody has tried."""
        return self._spoilt.get(sha256)

    def is_claimed(self, sha256: str) -> bool:
        """Whether somebody is about to encode these bytes, or has tried."""
        return sha256 in self._claimed

    def committed(self, sha256s: Iterable[str]) -> None:
        """Learn that the index has these now. What was looked up in it is forgotten, so that memory stays small."""
        with self.lock:
            self._claimed.difference_update(sha256s)
            self._found.clear()

    def items(self, sha256s: Iterable[str]) -> dict[str, Item]:
        """Those of these contents that are in the index, with an item that has it."""
        return {sha256: same[0] for sha256 in sha256s if (same := self._index.find_sha256(sha256))}


class Displaced:
    """Items whose own path is gone, or holds something else now: a file of the same bytes takes one over."""

    def __init__(self) -> None:
        self._ids: dict[str, list[int]] = {}

    def add(self, item: Item) -> None:
        """One more, to be taken after all others of its content."""
        if item.sha256:
            self._ids.setdefault(item.sha256, []).append(item.id)

    def take(self, sha256: str) -> int | None:
        """The id of one with this content, once each."""
        ids = self._ids.get(sha256)
        return ids.pop(0) if ids else None
