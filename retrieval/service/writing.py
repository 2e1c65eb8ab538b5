"""Changes to the indexes, one after another in a thread of their own, and seen by the next request."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from retrieval.engines.opening import open_index
from retrieval.index import Index
from retrieval.index.lock import WriterAtWorkError
from retrieval.service import limits
from retrieval.service.collections import Collection
from retrieval.service.problems import busy

_Done = TypeVar("_Done")

PATIENCE = 5.0
"""Seconds that a change waits for another program that writes the index."""


class Writer:
    """The thread."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "writer")
        self._waiting = 0
        self._counting = threading.Lock()

    async def change(self, collection: Collection, change: Callable[[Index], _Done]) -> _Done:
        """Change an index that is opened for it.

        Raises:
            Problem: too many others wait.
            RetrievalError: the index cannot be written now, or what is wanted is wrong.
        """

        def opened() -> _Done:
            with open_index(collection.place, write=True) as index:
                return change(index)

        return await self.run(collection, opened)

    async def run(self, collection: Collection, work: Callable[[], _Done]) -> _Done:
        """Do something that opens an index for writing by itself."""
        with self._counting:
            if self._waiting >= limits.WAITING:
                raise busy("Too many changes wait")
            self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, _patiently, collection, work)
        finally:
            with self._counting:
                self._waiting -= 1

    def close(self) -> None:
        """Finish what was begun."""
        self._pool.shutdown(wait=True)


def _patiently(collection: Collection, work: Callable[[], _Done]) -> _Done:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            done = work()
            break
        except WriterAtWorkError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
    collection.refresh()
    return done
