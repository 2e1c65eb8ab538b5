"""Files that are not what the catalog says they are, found out before any library parses them."""

from __future__ import annotations

from pathlib import Path

from retrieval.errors import RetrievalError
from retrieval.files import digest


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
