"""A local or mounted folder of pictures: what lies in it, and what of that may be opened.

Below the folder everything may; besides, if the index's owner said so, what was added by a path elsewhere, and what
links lead to. It is the file that was opened that is asked where it lies, so that nothing can be exchanged between the
look and the reading.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from retrieval.base.object_address import is_object
from retrieval.base.placed_files import (
    LINKED,
    NAMED,
    OUTSIDE,
    Entry,
    NotOpenedError,
    PictureFile,
    Placed,
    Root,
    Stamp,
    failure,
    open_file,
    stamp_at,
    stamp_of,
)
from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.places.bucket import LISTERS, object_elsewhere


@dataclass(frozen=True)
class Folder(Root):
    """A folder of pictures.

    Attributes:
        path: the folder.
        named: absolute paths, and the addresses of objects, may lead elsewhere.
        linked: links may lead out of the folder.
        real: the folder without links, as it lay when this was made.
    """

    path: Path
    named: bool = False
    linked: bool = False
    real: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "real", os.path.realpath(self.path))

    def __truediv__(self, name: str | os.PathLike[str]) -> Placed:
        inside = os.fspath(name)
        return object_elsewhere(self, inside) if is_object(inside) else FileInFolder(self, inside)

    @property
    def address(self) -> str:
        return self.real

    @property
    def name(self) -> str:
        return str(self.path)

    def walk(self, waiting: list[str]) -> Iterator[tuple[str, Sequence[Entry] | str]]:
        if not self.is_there():
            raise RetrievalError(f"There is no folder {printable(self.path)!r}; give one that holds pictures.")
        running: deque[tuple[str, Future[list[os.DirEntry[str]]]]] = deque()
        pool = ThreadPoolExecutor(LISTERS, "listing")  # as a server's disk takes its time to answer for a folder
        try:
            while waiting or running:
                while waiting and len(running) < LISTERS:
                    inside = waiting.pop()
                    running.append((inside, pool.submit(self._entries, inside)))
                inside, entries = running.popleft()
                try:
                    here = entries.result()
                except OSError as error:
                    yield inside or ".", f"folder: {failure(error)}"
                else:
                    yield inside, here
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _entries(self, inside: str) -> list[os.DirEntry[str]]:
        with os.scandir(f"{self.path}/{inside}") as entries:
            return list(entries)

    def head(self, path: str, count: int) -> bytes:
        with open(f"{self.path}/{path}", "rb", buffering=0) as file:  # noqa: PTH123 (no Path: there are many)
            return file.read(count)

    def settled(self, path: str, began_ns: int) -> Stamp | None:
        status = (self.path / path).stat()
        return stamp_of(status) if status.st_ctime_ns < began_ns else None

    def is_there(self) -> bool:
        try:
            return self.path.is_dir()
        except OSError:  # a link that leads to itself, a name that is too long
            return False

    def is_folder(self) -> bool:
        return self.is_there()

    def allowing(self, details: Mapping[str, object]) -> Folder:
        return dataclasses.replace(self, named=bool(details.get(NAMED)), linked=bool(details.get(LINKED)))

    def path_of(self, place: str) -> str | None:
        return place[len(self.real.rstrip("/")) + 1 :] if self.holds(place) else None

    def holds(self, place: str) -> bool:
        """Whether a place, without links in it, is one below the folder."""
        return place.startswith(self.real.rstrip("/") + "/")


@dataclass(frozen=True)
class FileInFolder(Placed):
    """A file by its path in a folder, relative to it, or absolute."""

    root: Folder

    def __fspath__(self) -> str:
        return os.path.join(self.root.path, self.inside)  # noqa: PTH118 (the name as it is)

    def stamp(self) -> Stamp | None:
        return stamp_at(os.fspath(self))

    def open(self) -> PictureFile:
        path, root = os.fspath(self), self.root
        place = os.path.abspath(path)  # noqa: PTH100 (links stay)
        folders = os.path.abspath(root.path), root.real  # noqa: PTH100
        elsewhere = not any(place.startswith(folder.rstrip("/") + "/") for folder in folders)
        if elsewhere and not (root.named and Path(self.inside).is_absolute()):
            raise NotOpenedError(OUTSIDE)
        file = open_file(path)
        if not elsewhere and not root.linked:
            try:
                inside = root.holds(_lies(file.fileno(), path))
            except OSError:
                inside = False
            if not inside:
                file.close()
                raise NotOpenedError("a link out of the folder of the pictures")
        return file


def _lies(descriptor: int, path: str) -> str:
    """Where an open file lies, without links."""
    try:
        return os.fspath(Path(f"/proc/self/fd/{descriptor}").readlink())
    except OSError:
        if sys.platform == "darwin":
            import fcntl

            return os.fsdecode(fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
    place = os.path.realpath(path)
    if not os.path.samestat(Path(place).stat(), os.fstat(descriptor)):
        raise NotOpenedError("changed while it was opened")
    return place
