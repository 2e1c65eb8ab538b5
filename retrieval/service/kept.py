"""What takes long to find out about a collection: made in the background, once, and kept.

It is kept in memory, and in the user's cache folder by a hash of what the collection holds, so that neither a tag nor a
restart makes it anew. While it is made, what there was before goes on being shown. One thing is made at a time, on one
thread, beside the questions.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import xxhash
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped,unused-ignore]

from retrieval.base import progress
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.search.search import Search
from retrieval.service import limits
from retrieval.service.collections import Building, Collection
from retrieval.service.columns import reading
from retrieval.service.pictures import DiskCache
from retrieval.service.problems import Problem

_Value = TypeVar("_Value")

MOST = 32
"""Things that are kept in memory; more of them on the disk."""


@dataclass(frozen=True)
class Work(Generic[_Value]):
    """Something that takes long.

    Attributes:
        name: of it, with its version and its options: the same name and collection, the same value.
        make: finds it out. It is read by other threads from then on.
        pack, unpack: to bytes and back; `unpack` raises ValueError or KeyError for what it cannot read.
    """

    name: str
    make: Callable[[Search], _Value]
    pack: Callable[[_Value], bytes]
    unpack: Callable[[bytes], _Value]


@dataclass(frozen=True)
class Found(Generic[_Value]):
    """What there is of it.

    Attributes:
        value: of the collection as it is, or as it was before; None if there is none yet.
        making: how far the making has come; None if nothing is being made.
    """

    value: _Value | None
    making: Building | None

    @property
    def state(self) -> dict[str, Any]:
        """Plain values: "ready", or "making" and how far that is."""
        if self.making is None:
            return {"state": "ready"}
        if self.making.error is not None:
            return {"state": "failed", "error": self.making.error}
        return {"state": "making", **self.making.to_json()}


@dataclass
class _Entry:
    of: str
    value: Any = None
    building: Building | None = None


class Kept:
    """All of it.

    Args:
        folder: where it is kept; None: in memory alone.
    """

    def __init__(self, folder: Path | None) -> None:
        self._disk = None if folder is None else DiskCache(folder, limits.THUMBNAILS)
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        self._states: WeakKeyDictionary[Search, str] = WeakKeyDictionary()
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._closed = False
        # A daemon: what is being made when the service ends is not waited for.
        threading.Thread(target=self._run, name="kept", daemon=True).start()

    def get(self, collection: Collection, work: Work[_Value]) -> Found[_Value]:
        """What there is of something, which is made if it is not there."""
        with collection.lease() as search:
            of = self._state(search)
        key = (collection.name, work.name)
        with self._lock:
            entry = self._entries.setdefault(key, _Entry(""))
            self._entries.move_to_end(key)
            if len(self._entries) > MOST:
                idle = [one for one, other in self._entries.items() if other.building is None and one != key]
                for one in idle[: len(self._entries) - MOST]:
                    del self._entries[one]
            if entry.of != of:  # another collection than before: what it was is shown until it is made anew
                entry.of, entry.building = of, Building("Waiting for its turn")
                self._jobs.put(partial(self._make, collection, work, entry, of))
            return Found(entry.value, entry.building)

    def _state(self, search: Search) -> str:
        """What changes with every picture of a collection, and its label, and with nothing else; known at once."""
        if search not in self._states:
            index = search.index
            self._states[search] = f"{index.created} {index.encoder_hash} {index.root} {index.items_changed}"
        return self._states[search]

    def close(self) -> None:
        """Make nothing more."""
        self._closed = True
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None and not self._closed:
            job()

    def _make(self, collection: Collection, work: Work[Any], entry: _Entry, of: str) -> None:
        building = entry.building
        if building is None or entry.of != of:  # it has changed once more, which is to be made later
            return

        def heard(what: str, done: int, total: int | None) -> None:
            if self._closed:
                raise _StoppedError
            building.what, building.done, building.of = what, done, total

        try:
            with collection.lease() as search:
                with reading(collection, search) as index:
                    name = f"{work.name} {contents(index)}"
                value = self._read(work, name)
                if value is None:
                    with progress.told_to(heard), threadpool_limits(1, "openmp"):
                        value = work.make(search)
                    if self._disk is not None:
                        self._disk.put(name, work.pack(value))
            with self._lock:
                entry.value, entry.building = value, None
        except (RetrievalError, Problem) as error:
            building.error = str(error)
        except _StoppedError:
            return
        except Exception as error:  # a thread that ends says nothing by itself
            building.error = f"It could not be made ({type(error).__name__}); the service's log says why."
            progress.note(f"{work.name} of {collection.name!r}: {error!r}")

    def _read(self, work: Work[Any], name: str) -> Any:
        data = None if self._disk is None else self._disk.get(name)
        try:
            return None if data is None else work.unpack(data)
        except (ValueError, KeyError, TypeError):
            return None  # of another version, or cut short


def contents(index: Index) -> str:
    """A hash of what a collection holds: its files, labels and network, but no attribute."""
    hashed = xxhash.xxh3_128(f"{index.encoder_hash}\n{index.root}\n{index.dim} {index.storage}\n".encode())
    hashed.update(index.ids().tobytes())
    for path, seen in index.known().items():
        hashed.update(f"{path}\0{seen}\n".encode(errors="surrogatepass"))
    hashed.update("\0".join(label or "" for label in index.labels()).encode(errors="surrogatepass"))
    return hashed.hexdigest()


class _StoppedError(Exception):
    """The service ends."""
