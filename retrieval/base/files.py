"""Files that are either whole or not there: durable writing, and checksums."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from retrieval.errors import RetrievalError

TEMPORARY = ".tmp"
"""How the name of a file that is still being written ends."""

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2

_READ = 1 << 20
"""Bytes that are read at a time."""

_IMPOSSIBLE = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTTY})
"""What a kernel or a file system answers that does not know the call."""


def write_durably(path: Path, content: bytes | memoryview) -> None:
    """Write a new file so that after a crash it is there in full or not at all.

    The bytes go to a temporary name beside it and to the disk (fsync); then the file gets its name, and the
    folder goes to the disk too, since a name is the folder's content.

    Raises:
        RetrievalError: the disk is full, or the folder cannot be written.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        with _said(path):
            temporary.unlink(missing_ok=True)
            with temporary.open("xb") as file:  # a new one: what lay there may be a link to another's file
                file.write(content)
        name_durably(temporary, path)
    except RetrievalError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def name_durably(temporary: Path, path: Path) -> None:
    """Give a file that a library wrote under a temporary name its own, as :func:`write_durably` does."""
    with _said(path):
        _sync_file(temporary)
        temporary.replace(path)
        sync_folder(path.parent)


@contextlib.contextmanager
def written_folder(folder: Path, ours: Callable[[str], bool]) -> Iterator[Path]:
    """A new folder to fill, which takes the place of one when the block ends without an error.

    Whoever looks sees the old one or the new one, complete. What somebody put into the old one moves to the new one.

    Args:
        folder: the place.
        ours: as :func:`carry` takes it, of what is there.

    Raises:
        OSError: the disk is full, or the place cannot be written.
    """
    # Beside the folder, since a rename is whole only within one file system.
    folder = folder.absolute()
    temporary, old = (folder.with_name(f".{folder.name}-{secrets.token_hex(4)}") for _ in range(2))
    replaced = None
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for path in (*temporary.rglob("*"), temporary):
            (sync_folder if path.is_dir() else _sync_file)(path)
        if not folder.exists():
            temporary.rename(folder)
        elif exchange(temporary, folder):
            replaced = temporary
        else:  # in two steps, then
            folder.rename(old)
            temporary.rename(folder)
            replaced = old
        sync_folder(folder.parent)
    finally:
        if old.exists() and not folder.exists():  # stopped between the two renames
            old.rename(folder)
        if replaced is None:
            shutil.rmtree(temporary, ignore_errors=True)
    if replaced is not None:
        carry(replaced, folder, ours)
        shutil.rmtree(replaced, ignore_errors=True)


def carry(old: Path, new: Path, ours: Callable[[str], bool]) -> None:
    """Move what somebody put into a folder to the one that replaced it, as what we did not make is never deleted.

    It keeps its name, or has a number behind it where the new folder has one of that name.

    Args:
        old: what is to be deleted. new: what took its place.
        ours: whether we made what has this name, relative to the folder, with forward slashes; asked for a folder, and
            where it is ours for what is in it.

    Raises:
        OSError: something cannot be moved.
    """

    def move(below: str) -> None:
        for entry in sorted(os.scandir(old / below), key=lambda entry: entry.name):
            name = below + entry.name
            if not ours(name):
                place, number = new / name, 0
                while os.path.lexists(place):
                    number += 1
                    place = new / f"{name}.{number}"
                place.parent.mkdir(parents=True, exist_ok=True)
                (old / name).rename(place)
            elif entry.is_dir(follow_symlinks=False):
                move(name + "/")

    move("")


def _sync_file(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _said(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RetrievalError(
            f"{str(path)!r} cannot be written ({error.strerror or error}); make room, or allow writing there."
        ) from error


def digest(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksum(path: Path) -> str:
    """The XXH3 checksum (128 bits) of a file's bytes, in hexadecimal.

    It finds damage, at the speed at which memory is read. It is no proof against forgery: whoever can change a file
    of an index can change the catalog that holds its checksum, too.
    """
    with path.open("rb", buffering=0) as file:
        return InOrder(file).finish()


class InOrder:
    """The same checksum of a file most of which is in memory anyway: what is not shown to it, it reads itself.

    Args:
        file: open for reading.
    """

    def __init__(self, file: IO[bytes]) -> None:
        import xxhash

        self._state = xxhash.xxh3_128()
        self._file = file
        self._at = 0

    def take(self, place: int, content: memoryview) -> None:
        """What stands at a place of the file, which comes after all that was shown before."""
        self._read(place)
        self._state.update(content)
        self._at += content.nbytes

    def finish(self) -> str:
        """The checksum of the whole file, in hexadecimal."""
        self._read(None)
        return self._state.hexdigest()

    def _read(self, end: int | None) -> None:
        if end == self._at:
            return
        self._file.seek(self._at)
        while part := self._file.read(_READ if end is None else min(_READ, end - self._at)):
            self._state.update(part)
            self._at += len(part)


def exchange(one: Path, other: Path) -> bool:
    """Let two folders, or files, of one file system change names, by Linux's ``renameat2`` (RENAME_EXCHANGE).

    Returns:
        Whether it was done. False where kernel or file system cannot (some network disks); nothing has changed then.

    Raises:
        OSError: one is missing, or may not be renamed; then nothing changed either.
    """
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _IMPOSSIBLE:
        return False
    raise OSError(code, os.strerror(code), str(one), None, str(other))
