"""What is an index's own in its folder: the names it gives, and that nothing else stands behind them.

An index folder may come from anybody. Behind a name of its own may then stand a link to somebody's files, which a
writer would truncate or delete, or a pipe, at which a reader would wait for ever.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from retrieval.base.files import TEMPORARY
from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.index import catalog, lock, orphans, segments

ENCODER = "encoder"
"""The folder that holds a copy of the model that made the vectors."""

SKIPPED = "skipped.csv"
"""The file that lists what could not be read: path, reason."""

UNFINISHED = "unfinished"
"""An empty file in an index that is being made in a place of its own."""

REPLACED = "replaced"
"""An empty file in an index that another takes the place of."""

_FOLDERS = frozenset({ENCODER, segments.FOLDER, orphans.STRUCTURES})
_FILES = frozenset(
    {
        *(catalog.FILE + end for end in ("", "-wal", "-shm", "-journal", TEMPORARY)),
        *(lock.FILE, lock.READERS, SKIPPED, SKIPPED + TEMPORARY, UNFINISHED, REPLACED),
    }
)


def is_ours(name: str) -> bool:
    """Whether an index gives this name to a file or folder of its own."""
    return name in _FOLDERS or name in _FILES


def require_own(folder: Path) -> None:
    """See to it that an index's own names are those of files and folders of its own.

    Raises:
        RetrievalError: one is a link, a pipe or the like.
    """
    for name in sorted(_FOLDERS | _FILES):
        path = folder / name
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            continue
        except OSError as error:
            raise RetrievalError(
                f"{printable(path)!r} cannot be read ({error.strerror}); check its permissions."
            ) from error
        if stat.S_ISLNK(mode):
            raise RetrievalError(
                f"{printable(path)!r} is a link, which an index's own files are not, since what is behind it would be "
                "changed; put the real one in its place."
            )
        if not (stat.S_ISDIR if name in _FOLDERS else stat.S_ISREG)(mode):
            kind = "folder" if name in _FOLDERS else "regular file"
            raise RetrievalError(
                f"{printable(path)!r} is no {kind}; take it away, or bring the index back from a copy."
            )
