"""Pictures that somebody asked with: kept for a while by their SHA-256, so that an address can name them again."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from retrieval.service import limits
from retrieval.service.problems import Problem, busy


@dataclass(frozen=True)
class Upload:
    """A picture's file that was sent.

    Attributes:
        name: that it was sent under, without folders. data: its bytes. sha256: of them.
        vectors: what networks made of it, by the hash of the network, the name of what decoded it, and the
            part of the picture.
    """

    name: str
    data: bytes
    sha256: str
    vectors: dict[tuple[str, str | None, str], NDArray[np.float32]] = field(default_factory=dict)


class Uploads:
    """Those that were sent last. Any number of threads may use one.

    Args:
        seconds: how long one is kept after it was last used. size: bytes of all of them, at most.
    """

    def __init__(self, seconds: float = limits.KEPT_SECONDS, size: int = limits.KEPT_BYTES) -> None:
        self._seconds = seconds
        self._size = size
        self._held = 0
        self._arriving = 0
        self._lock = threading.Lock()
        self._all: OrderedDict[str, tuple[Upload, float]] = OrderedDict()

    @contextlib.asynccontextmanager
    async def arriving(self, size: int) -> AsyncIterator[None]:
        """While a request sends pictures.

        Args:
            size: bytes that it may have.

        Raises:
            Problem: others send too much meanwhile.
        """
        if self._arriving and self._arriving + size > limits.ARRIVING:
            raise busy("Too many pictures are being sent at a time")
        self._arriving += size  # from the one thread of the event loop
        try:
            yield
        finally:
            self._arriving -= size

    def put(self, name: str, data: bytes) -> Upload:
        """Keep a file; what was used longest ago makes room for it."""
        sha256 = hashlib.sha256(data).hexdigest()
        with self._lock:
            known = self._pop(sha256)
            upload = Upload(plain_name(name), data, sha256, {} if known is None else known.vectors)
            self._all[sha256] = upload, time.monotonic()
            self._held += len(data)
            self._forget()
        return upload

    def get(self, sha256: str) -> Upload:
        """The file of this SHA-256.

        Raises:
            Problem: it is not here, or not any more.
        """
        with self._lock:
            self._forget()
            upload = self._pop(sha256)
            if upload is None:
                raise Problem(
                    404, "The picture that was asked with is no longer kept here; send it again.", "upload-gone"
                )
            self._all[sha256] = upload, time.monotonic()
            self._held += len(upload.data)
        return upload

    def _pop(self, sha256: str) -> Upload | None:
        upload, _ = self._all.pop(sha256, (None, 0.0))
        if upload is not None:
            self._held -= len(upload.data)
        return upload

    def _forget(self) -> None:
        old = time.monotonic() - self._seconds
        while self._all:
            sha256, (_, used) = next(iter(self._all.items()))
            if used > old and (self._held <= self._size or len(self._all) == 1):
                return
            self._pop(sha256)


def plain_name(name: str) -> str:
    """What a browser called a file, as it can stand in an answer: no folders, nothing that steers a terminal."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in last if letter.isprintable())[:100] or "picture"
