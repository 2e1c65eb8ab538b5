"""Memory for pictures that are being decoded, shared by all threads of a process."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator

MOST = 2 * 10**9
"""Bytes that pictures may take while they are decoded, all threads together, where nobody says otherwise; at most half
of the machine's memory."""


_LARGE = 32 * 2**20
"""Bytes of a picture after which what the C library keeps for the next one goes back to the system: each thread has an
arena of its own, and what all of them keep is more than the pictures there at a time. It takes a millisecond."""


class Room:
    """Memory for pictures that are being decoded: each waits until it fits beside the others.

    Args:
        size: bytes.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._free = size
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def hold(self, count: int) -> Iterator[None]:
        """Have so many bytes, `size` at most, to oneself for a while."""
        with self._changed:
            self._changed.wait_for(lambda: self._free >= count)
            self._free -= count
        try:
            yield
        finally:
            if count >= _LARGE:
                _give_back()
            with self._changed:
                self._free += count
                self._changed.notify_all()


def _give_back() -> None:
    with contextlib.suppress(OSError, AttributeError):  # a C library that has no such call
        ctypes.CDLL(None).malloc_trim(0)


def _half_of_the_machine() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (ValueError, OSError):  # a system that does not say
        return MOST


SHARED = Room(min(MOST, _half_of_the_machine()))
"""The room of whoever brings none."""
