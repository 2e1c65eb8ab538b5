"""Files that are not what the catalog says they are, found out before any library parses them."""

from __future__ import annotations

import errno
import os
import stat
import weakref
from pathlib import Path
from typing import IO

from retrieval.base.files import checksum
from retrieval.errors import RetrievalError


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


class OpenFile:
    """A file of the index, held open: a writer may give it up and delete it meanwhile.

    One that cannot be opened is an error when it is read, not before, as nobody may want to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.missing = False
        self._descriptor = -1
        self._reason = ""
        try:
            # Without waiting, as a pipe would do for somebody who writes into it, and no link to another's file.
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
            weakref.finalize(self, os.close, self._descriptor)
        except OSError as error:
            self.missing = isinstance(error, FileNotFoundError)
            self._reason = "it is a link" if error.errno == errno.ELOOP else error.strerror or str(error)

    @property
    def name(self) -> str:
        """A name by which a library can open it, also after it was deleted."""
        return f"/dev/fd/{self._descriptor}"

    def reader(self) -> IO[bytes]:
        """A file object of its own.

        Raises:
            DamagedFileError: it could not be opened.
        """
        try:
            return open(self.name, "rb")  # noqa: PTH123 (a place of its own in the file, which dup would not give)
        except OSError as error:
            raise DamagedFileError(self.path, f"cannot be read: {self._reason or error.strerror}") from error

    def check(self, size: int, expected: str, *, full: bool) -> None:
        """Compare it with what the catalog says of it.

        Args:
            size: bytes it must have.
            expected: the checksum it must have.
            full: read it all and compare the checksum too; otherwise its size alone.

        Raises:
            DamagedFileError: it is missing, cannot be read, or differs.
        """
        if self._descriptor < 0:
            raise DamagedFileError(self.path, f"cannot be read: {self._reason}")
        try:
            status = os.fstat(self._descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise DamagedFileError(self.path, "is not a regular file")
            found = status.st_size
            if found != size:
                raise DamagedFileError(self.path, f"has {found:,} bytes where the catalog says {size:,}")
            if full:
                self.require(checksum(Path(self.name)), expected)
        except OSError as error:
            raise DamagedFileError(self.path, f"cannot be read: {error.strerror or error}") from error

    def require(self, found: str, expected: str) -> None:
        """Compare its checksum with the one that it must have.

        Raises:
            DamagedFileError: it differs.
        """
        if found != expected:
            raise DamagedFileError(self.path, "has changed since it was written (its checksum differs)")
