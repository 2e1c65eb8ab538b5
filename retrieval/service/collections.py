"""The indexes that are served, by name: each open, and exchanged for its next generation while requests go on.

A request leases what is open at the time; a watcher opens what a writer has committed, or what took an index's place,
beside it, and later requests get that. The old one is let go, with its files, when the last request that has it ends.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.base import progress
from retrieval.base.machine import cores
from retrieval.base.text import printable
from retrieval.engines.address import shown
from retrieval.engines.opening import is_index
from retrieval.errors import RetrievalError
from retrieval.search.search import Search
from retrieval.service.problems import Problem

EVERY = 0.25
"""Seconds between two looks at whether an index has changed."""

ARRIVING = 1.0
"""Seconds between two looks at whether pictures have come into a folder that has none."""


@dataclass
class Building:
    """How far the making of an index has come.

    Attributes:
        what: is being done. done: pictures. of: how many; None if that is not known yet.
        error: why it ended without one.
    """

    what: str = "Looking for pictures"
    done: int = 0
    of: int | None = None
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"what": self.what, "done": self.done, "of": self.of, "error": self.error}


class _Opened:
    """An open index, and how many requests use it."""

    def __init__(self, search: Search) -> None:
        self.search = search
        self.users = 0
        self.retired = False


class Collection:
    """One index.

    Args:
        name: in addresses.
        place: where it is, its folder or its address.
        mapped: search it where it lies on the disk.
        changed: is told the name, generation and number of items of what is served from now on.

    Attributes:
        building: how far it is in the making; None if nobody here makes it.
        pictures: the folder that it is made of here, if it is.
    """

    def __init__(
        self,
        name: str,
        place: Path | str,
        *,
        mapped: bool = False,
        changed: Callable[[str, int, int], None] = lambda *_: None,
    ) -> None:
        self.name = name
        self.place = place
        self.building: Building | None = None
        self.pictures: Path | None = None
        self._mapped = mapped
        self._changed = changed
        self._lock = threading.Lock()
        self._refreshing = threading.Lock()
        self._opened: _Opened | None = None

    @contextlib.contextmanager
    def lease(self) -> Iterator[Search]:
        """What is open now; it stays open until the block ends.

        Raises:
            Problem: nothing is yet.
        """
        with self._lock:
            opened = self._opened
            if opened is not None:
                opened.users += 1
        if opened is None:
            raise self._not_ready()
        try:
            yield opened.search
        finally:
            with self._lock:
                opened.users -= 1
                last = opened.retired and not opened.users
            if last:
                opened.search.close()

    @property
    def places(self) -> list[str]:
        """Where it and its pictures lie, as errors name that; the longest first."""
        opened = self._opened
        found = {printable(shown(self.place))}
        if isinstance(self.place, Path):
            found.add(printable(self.place.resolve()))
        if opened is not None:
            found |= {printable(place) for place in opened.search.pictures.places}
        if self.pictures is not None:
            found |= {printable(self.pictures), printable(self.pictures.resolve())}
        return sorted((place for place in found if len(place) > 1), key=len, reverse=True)

    @property
    def ready(self) -> bool:
        """Whether there is something to search."""
        return self._opened is not None

    def refresh(self) -> None:
        """See what has been committed since, or what took the index's place.

        Raises:
            RetrievalError: what is there cannot be opened; what was open stays.
        """
        with self._refreshing:
            opened = self._opened
            if opened is None:
                if is_index(self.place):
                    self._exchange(Search.open(self.place, mapped=self._mapped))
                return
            index = opened.search.index
            if index.in_place and index.newest == index.generation:
                return
            if not is_index(self.place):  # it was moved or deleted: what was opened is still there
                return
            self._exchange(opened.search.renewed() or Search.open(self.place, mapped=self._mapped))

    def close(self) -> None:
        """Let it go as soon as nobody uses it."""
        with self._refreshing:
            self._exchange(None)

    def _exchange(self, search: Search | None) -> None:
        if search is not None:
            try:
                _warm(search)
            except BaseException:
                search.close()
                raise
        with self._lock:
            before, self._opened = self._opened, None if search is None else _Opened(search)
            if before is not None:
                before.retired = True
            idle = before is not None and not before.users
        if before is not None and idle:
            before.search.close()
        if search is not None:
            self._changed(self.name, search.index.generation, len(search.index))

    def _not_ready(self) -> Problem:
        building = self.building
        if building is not None and building.error is not None:
            return Problem(503, building.error, "not-built")
        return Problem(
            503,
            f"The index {self.name!r} is being made and has no picture yet; try again in a moment.",
            "being-built",
            {"building": None if building is None else building.to_json()},
            {"Retry-After": "2"},
        )


def _warm(search: Search) -> None:
    """Read what a search needs, before a request waits for it."""
    index = search.index
    if len(index):
        index.search(np.eye(1, index.dim, dtype=np.float32), 1)
    search.calibration  # noqa: B018  (read once, and kept)


class Collections:
    """All of them.

    Args:
        all_: at least one; the first is the one that is meant where none is named.
    """

    def __init__(self, all_: Sequence[Collection]) -> None:
        self.all = tuple(all_)
        self._by_name = {one.name: one for one in all_}
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def named(self, name: str | None) -> Collection:
        """The one of this name; the first where none is given.

        Raises:
            Problem: there is none.
        """
        if name is None:
            return self.all[0]
        if name not in self._by_name:
            known = ", ".join(self._by_name)
            raise Problem(404, f"There is no index {name[:100]!r} here; there are {known}.", "no-such-index")
        return self._by_name[name]

    def without_folders(self, text: str) -> str:
        """A sentence for who asks, who need not know where the indexes and their pictures lie."""
        for one in self.all:
            for place in one.places:
                text = text.replace(place, one.name)
        return text

    def start(self) -> None:
        """Open what is there, and watch it from now on."""
        for one in self.all:
            one.refresh()
        self._threads.append(threading.Thread(target=self._watch, name="watch", daemon=True))
        self._threads[-1].start()

    def build(self, collection: Collection, pictures: Path) -> None:
        """Make an index of a folder of pictures, or bring it up to date, in a thread."""
        collection.building, collection.pictures = Building(), pictures
        thread = threading.Thread(target=self._build, args=(collection, pictures), name="build", daemon=True)
        thread.start()

    def close(self) -> None:
        """Stop watching, and let all go."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for one in self.all:
            one.close()

    def _watch(self) -> None:
        said: dict[str, str] = {}
        while not self._stop.wait(EVERY):
            for one in self.all:
                try:
                    one.refresh()
                    said.pop(one.name, None)
                except Exception as error:  # whatever it is, the others are watched on
                    if said.get(one.name) != str(error):  # once, and not four times a second
                        said[one.name] = str(error)
                        progress.note(f"{printable(shown(one.place))!r} stays as it was opened: {error}")

    def _build(self, collection: Collection, pictures: Path) -> None:
        """Make an index; of a folder without a picture that can be read, as soon as one is there."""
        seen: tuple[int, int] | None = _files(pictures)
        while seen is not None and not _built(collection, pictures) and not collection.ready:
            progress.note(f"{printable(pictures)!r} is looked at until pictures come.")
            seen = self._changed(pictures, seen)
            collection.building = Building()

    def _changed(self, folder: Path, before: tuple[int, int]) -> tuple[int, int] | None:
        """Wait until something comes into a folder, and all of it is there.

        Returns:
            The files there are then; None if the service ends before.
        """
        now = last = before
        pause = ARRIVING
        while now == before or now != last:
            if self._stop.wait(pause):
                return None
            began = time.monotonic()
            last, now = now, _files(folder)
            pause = max(ARRIVING, 10 * (time.monotonic() - began))
        return now


def _files(folder: Path) -> tuple[int, int]:
    """How many files are below a folder, and their bytes."""
    count = size = 0
    for place, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                size += os.lstat(os.path.join(place, name)).st_size  # noqa: PTH118
                count += 1
    return count, size


def _built(collection: Collection, pictures: Path) -> bool:
    from retrieval.ingest import build

    building = collection.building or Building()

    def heard(what: str, done: int, of: int | None) -> None:
        building.what, building.done, building.of = what, done, of

    try:
        with progress.told_to(heard):
            build(pictures, collection.place, threads=max(1, cores() - 1))  # one core is left for who asks meanwhile
        collection.building = None
        return True
    except RetrievalError as error:
        building.error = str(error)
        progress.note(str(error))
        return False
    except Exception as error:  # a thread that ends says nothing by itself
        building.error = f"The index could not be made ({type(error).__name__}); its log says why."
        raise
