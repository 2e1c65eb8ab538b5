"""Opening a picture's file: once, without ever waiting for it, and only where its owner lets it lie.

What an index says of its pictures comes from a catalog that may be a stranger's, and in a shared folder anybody can
put a link. So which files are read, shown and embedded for an index is one decision, held by the :class:`Root` that
its pictures lie in: a folder (:mod:`retrieval.places.folder`) or an object store (:mod:`retrieval.places`).
"""

from __future__ import annotations

import io
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

MAX_BYTES = 2**31
"""Size above which a file is refused; some decoders read the whole of it into memory."""

NAMED, LINKED = "outside_named", "outside_linked"
"""Where an index's details keep what its owner allows."""

Stamp = tuple[int, int]
"""A file's size, bytes, and time of change, nanoseconds since 1970 as an SQLite integer holds them."""


class NotOpenedError(Exception):
    """A file that is not opened.

    Attributes:
        reason: why, in a few words.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotReachedError(NotOpenedError):
    """A file that is not opened today: what it lies in did not give it, and may do so tomorrow.

    Attributes:
        why: it was not, in a few words; the reason is that this is temporary, and them.
    """

    def __init__(self, why: str) -> None:
        super().__init__(f"{_TEMPORARY}: {why}")
        self.why = why


_TEMPORARY = "temporary"


def is_temporary(reason: str) -> bool:
    """Whether a file was left out by no fault of its own (:class:`NotReachedError`)."""
    return reason.startswith(f"{_TEMPORARY}: ")


class PictureFile(io.FileIO):
    """An open file of a picture."""

    def stamp(self) -> Stamp:
        """Its size and time of change, as it is opened."""
        return stamp_of(os.fstat(self.fileno()))


class Entry(Protocol):
    """A file or folder in a folder, as `os.DirEntry` gives it."""

    @property
    def name(self) -> str:
        """The last part of its path."""

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a folder."""

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a regular file."""

    def is_symlink(self) -> bool:
        """Whether it is a link."""

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """What kind of file it is, its size and its times."""


class Root(ABC):
    """Where pictures lie, and what may be opened by a path in it: ``root / "cat/1.png"``."""

    named: bool
    """Whether pictures may lie elsewhere, too, by an absolute path or the address of an object."""

    @property
    @abstractmethod
    def address(self) -> str:
        """What a catalog records of it, and :func:`retrieval.places.roots.root_of` makes it of again."""

    @property
    def name(self) -> str:
        """What to call it: as it was given."""
        return self.address

    @property
    def places(self) -> frozenset[str]:
        """How errors may name it, for whoever does not tell strangers."""
        return frozenset((self.name, self.address))

    @property
    def readers(self) -> int:
        """Files that are worth reading at a time for each core: more than one where reading is waiting."""
        return 1

    @abstractmethod
    def __truediv__(self, name: str | os.PathLike[str]) -> Placed:
        """The file at a path below it."""

    @abstractmethod
    def walk(self, waiting: list[str]) -> Iterator[tuple[str, Sequence[Entry] | str]]:
        """What lies in some folders, each by its path and perhaps in several parts; or why that cannot be said, or may
        not be taken, in a few words.

        Args:
            waiting: paths of folders below it, "" for the whole; whoever takes what comes puts more into it.

        Raises:
            RetrievalError: it is not there, or cannot be listed at all.
        """

    @abstractmethod
    def head(self, path: str, count: int) -> bytes:
        """The first bytes of a file that the walk found.

        Raises:
            OSError: it cannot be read.
        """

    def stamp(self, path: str) -> Stamp | None:
        """The size and time of change of a file; None if there is no such file.

        Raises:
            OSError: whether there is cannot be said.
        """
        return (self / path).stamp()

    @abstractmethod
    def settled(self, path: str, began_ns: int) -> Stamp | None:
        """The same, if that is surely what was read since `began_ns`, nanoseconds since 1970."""

    @abstractmethod
    def is_there(self) -> bool:
        """Whether it is there."""

    @abstractmethod
    def is_folder(self) -> bool:
        """Whether it is a folder, where somebody may have meant a file."""

    @abstractmethod
    def allowing(self, details: Mapping[str, object]) -> Self:
        """The same place, with what an index's details say that its owner allows."""

    def patient(self) -> Root:
        """The same place, for whoever has time to ask again for what is not given at once."""
        return self

    @abstractmethod
    def path_of(self, place: str) -> str | None:
        """The path in it of a file by its place anywhere; None if it lies elsewhere."""


@dataclass(frozen=True)
class Placed(ABC):
    """A file by its path in a root, to be given to whatever takes the path of a picture.

    Attributes:
        root: where it lies.
        inside: its path there.
    """

    root: Root
    inside: str

    @abstractmethod
    def __fspath__(self) -> str:
        """Its place, as a person would write it."""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return Path(self.inside).name

    @abstractmethod
    def open(self) -> PictureFile:
        """See :func:`open_file`."""

    @abstractmethod
    def stamp(self) -> Stamp | None:
        """See :meth:`Root.stamp`."""

    def fetched(self) -> Placed:
        """The same, at hand already if getting it is waiting; what goes wrong is told when it is opened."""
        return self


@dataclass(frozen=True)
class FileElsewhere(Placed):
    """A file by its absolute path, for a root that lets its pictures lie elsewhere."""

    def __fspath__(self) -> str:
        return self.inside

    def open(self) -> PictureFile:
        if not self.root.named:
            raise NotOpenedError(OUTSIDE)
        return open_file(self.inside)

    def stamp(self) -> Stamp | None:
        return stamp_at(self.inside)


OUTSIDE = "outside the folder of the pictures"
"""Why a file is not opened that lies where its index's owner does not let it lie."""


def stamp_of(status: os.stat_result) -> Stamp:
    """A file's size, and when it last changed: before 1677 and after 2262 the last that 64 bits hold."""
    return status.st_size, max(-(2**63), min(status.st_mtime_ns, 2**63 - 1))


def stamp_at(path: str) -> Stamp | None:
    """The same by a file's path; None if there is no such file.

    Raises:
        OSError: whether there is cannot be said.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 (takes half the time of a Path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return stamp_of(status) if stat.S_ISREG(status.st_mode) else None


def open_file(path: str | os.PathLike[str] | Placed, most: int = MAX_BYTES) -> PictureFile:
    """Open a regular file, unbuffered.

    A pipe or a device is refused before it is opened, as opening one may do things; and if one takes the file's place
    in that moment, opening it does not wait.

    Args:
        path: of the file.
        most: bytes that it may have.

    Raises:
        NotOpenedError: it is no regular file, lies where it may not, or has no possible name.
        OSError: whatever the system says.
    """
    if isinstance(path, Placed):
        return path.open()
    try:
        _refuse_irregular(Path(path).stat().st_mode)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except FileNotFoundError:
        if Path(path).is_symlink():
            raise NotOpenedError("broken link") from None
        raise
    except ValueError:  # a NUL, or surrogates that stand for no byte
        raise NotOpenedError("not a possible file name") from None
    file = PictureFile(descriptor, "rb")
    try:
        status = os.fstat(descriptor)
        _refuse_irregular(status.st_mode)
        if status.st_size > most:
            raise NotOpenedError(f"too large ({status.st_size:,} bytes)")
    except BaseException:
        file.close()
        raise
    return file


def irregular(mode: int) -> str | None:
    """Why something with this `st_mode` is no file that can be read; None if it is one."""
    if stat.S_ISREG(mode):
        return None
    return "a folder" if stat.S_ISDIR(mode) else "not a regular file"


def _refuse_irregular(mode: int) -> None:
    reason = irregular(mode)
    if reason is not None:
        raise NotOpenedError(reason)


def failure(error: OSError) -> str:
    """A few words for what the operating system said."""
    if isinstance(error, PermissionError):
        return "no permission"
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return os.strerror(error.errno).lower() if error.errno else "cannot be read"
