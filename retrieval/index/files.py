"""Files that are either whole or not there: durable writing, checksums, deletion."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from retrieval.errors import RetrievalError

TEMPORARY = ".tmp"
"""How the name of a file that is still being written ends."""


class DamagedFileError(RetrievalError):
    """A file of the index is missing, or is not what the catalog says it is.

    Attributes:
        path: the file.
        problem: what is wrong with it, to follow its name in a sentence.
    """

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{str(path)!r} {problem}; bring it back from a copy, or build the index again.")
        self.path = path
        self.problem = problem


def write_durably(path: Path, content: bytes | memoryview) -> None:
    """Write a new file so that after a crash it is there in full or not at all.

    The bytes go to a temporary name beside it and to the disk (fsync); then the file gets its name, and the
    folder goes to the disk too, since a name is the folder's content.

    Raises:
        RetrievalError: the disk is full, or the folder cannot be written.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise RetrievalError(
            f"{str(path)!r} cannot be written ({error.strerror or error}); make room, or allow writing there."
        ) from error


def name_durably(temporary: Path, path: Path) -> None:
    """Give a file that a library wrote under a temporary name its own, as :func:`write_durably` does."""
    try:
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise RetrievalError(
            f"{str(path)!r} cannot be written ({error.strerror or error}); make room, or allow writing there."
        ) from error


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(path: Path, size: int, sha256: str, *, full: bool) -> None:
    """Compare a file with what the catalog says of it, before any library parses it.

    Args:
        path: the file.
        size: bytes it must have.
        sha256: the checksum it must have, in hexadecimal.
        full: read it all and compare the checksum too; otherwise its size alone.

    Raises:
        DamagedFileError: it is missing, cannot be read, or differs.
    """
    try:
        found = path.stat().st_size
        if found != size:
            raise DamagedFileError(path, f"has {found:,} bytes where the catalog says {size:,}")
        if full and digest(path) != sha256:
            raise DamagedFileError(path, "has changed since it was written (its checksum differs)")
    except OSError as error:
        raise DamagedFileError(path, f"cannot be read: {error.strerror or error}") from error
