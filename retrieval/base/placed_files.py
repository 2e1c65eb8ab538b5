"""Opening a picture's file: once, without ever waiting for it, and only where its owner lets it lie.

What an index says of its pictures comes from a catalog that may be a stranger's, and in a shared folder anybody can
put a link. So which files are read, shown and embedded for an index is one decision, held here: those below its folder;
besides, if its owner said so, those that were added by a path elsewhere, and those that links lead to. It is the file
that was opened that is asked where it lies, so that nothing can be exchanged between the look and the reading.
"""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

MAX_BYTES = 2**31
"""Size above which a file is refused; some decoders read the whole of it into memory."""

NAMED, LINKED = "outside_named", "outside_linked"
"""Where an index's details keep what its owner allows."""


class NotOpenedError(Exception):
    """A file that is not opened.

    Attributes:
        reason: why, in a few words.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Root:
    """A folder of pictures, and what may be opened by a path in it: ``root / "cat/1.png"``.

    Attributes:
        path: the folder.
        named: absolute paths may lead elsewhere.
        linked: links may lead out of the folder.
        real: the folder without links, as it lay when this was made.
    """

    path: Path
    named: bool = False
    linked: bool = False
    real: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "real", os.path.realpath(self.path))

    @classmethod
    def of(cls, path: str | Path, details: Mapping[str, object]) -> Root:
        """That of an index, by its details."""
        return cls(Path(path), named=bool(details.get(NAMED)), linked=bool(details.get(LINKED)))

    def __truediv__(self, name: str | os.PathLike[str]) -> Placed:
        return Placed(self, os.fspath(name))

    def holds(self, place: str) -> bool:
        """Whether a place, without links in it, is one below the folder."""
        return place.startswith(self.real.rstrip("/") + "/")


@dataclass(frozen=True)
class Placed:
    """A file by its path in a folder, to be given to whatever takes the path of a picture.

    Attributes:
        root: the folder.
        path: relative to it, or absolute.
    """

    root: Root
    inside: str

    def __fspath__(self) -> str:
        return os.path.join(self.root.path, self.inside)  # noqa: PTH118 (the name as it is)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return Path(self.inside).name

    def open(self) -> io.FileIO:
        """See :func:`open_file`."""
        path, root = os.fspath(self), self.root
        place = os.path.abspath(path)  # noqa: PTH100 (links stay)
        folders = os.path.abspath(root.path), root.real  # noqa: PTH100
        elsewhere = not any(place.startswith(folder.rstrip("/") + "/") for folder in folders)
        if elsewhere and not (root.named and Path(self.inside).is_absolute()):
            raise NotOpenedError("outside the folder of the pictures")
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


def open_file(path: str | os.PathLike[str] | Placed, most: int = MAX_BYTES) -> io.FileIO:
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
    file = io.FileIO(descriptor, "rb")
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
