"""The folder of an index: the names in it, whether it is one, and what lies there and no longer belongs to it.

An index folder may come from anybody. Behind a name of its own may then stand a link to somebody's files, which a
writer would truncate or delete, or a pipe, at which a reader would wait for ever.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from pathlib import Path

from retrieval.base.files import TEMPORARY
from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.index import lock, segments
from retrieval.index.catalog import FILE as CATALOG
from retrieval.index.catalog import Catalog

STRUCTURES = "ann"
"""The folder of approximate structures."""

ENCODER = "encoder"
"""The folder of the model that made the vectors."""

SKIPPED = "skipped.csv"
"""The file that lists what could not be read: path, reason."""

UNFINISHED = "unfinished"
"""An empty file in an index that is being made in a place of its own."""

REPLACED = "replaced"
"""An empty file in an index that another takes the place of."""

_FOLDERS = frozenset({ENCODER, segments.FOLDER, STRUCTURES})
_FILES = frozenset(
    {
        *(CATALOG + end for end in ("", "-wal", "-shm", "-journal", TEMPORARY)),
        *(lock.FILE, lock.READERS, SKIPPED, SKIPPED + TEMPORARY, UNFINISHED, REPLACED),
    }
)
_ADDRESS = re.compile("([a-z]+):/")
"""How the address of an index somewhere else begins, also as a path, in which two slashes are one."""

_PART = re.compile(
    rf"(?:{segments.FOLDER}/(?:\d{{8}}\.h5|[0-9a-f]{{32}}{re.escape(segments.PART)})|{STRUCTURES}/\d{{8}}\.ann)"
    rf"(?:{re.escape(TEMPORARY)})?",
    re.ASCII,
)
"""What an index calls the files of segments and structures, whole or being written."""


def is_ours(name: str) -> bool:
    """Whether an index gives this name, relative to its folder, to a file or folder of its own; but for what is in its
    encoder's, which that one knows."""
    return name in _FOLDERS or name in _FILES or _PART.fullmatch(name) is not None


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


def is_index(folder: str | Path) -> bool:
    """Whether a folder is an index, as far as a look at its names tells.

    Raises:
        OSError: it may not be looked into.
    """
    return Path(folder, CATALOG).is_file()


def require(folder: Path) -> None:
    """See to it that a folder is an index, as far as a look at its names tells.

    Raises:
        RetrievalError: it is none, or may not be looked into.
    """
    try:
        if is_index(folder):
            return
        _refuse_address(folder)
        if folder.is_dir():
            raise RetrievalError(
                f"{str(folder)!r} is not an index (it has no {CATALOG}); make one with `retrieval build`."
            )
    except OSError as error:
        raise RetrievalError(f"{str(folder)!r} cannot be read ({error.strerror}); check its permissions.") from error
    raise RetrievalError(f"There is no index at {str(folder)!r}; make one with `retrieval build`.")


def _refuse_address(folder: Path) -> None:
    """Of an address nothing more is said, as a password may stand in it."""
    if address := _ADDRESS.match(str(folder)):
        raise RetrievalError(
            f"An address ({address[1]}://...) stands where this needs the folder of an index; give one."
        )


def make(folder: Path) -> None:
    """Make the folder of a new index.

    Args:
        folder: where; it may exist.

    Raises:
        RetrievalError: it has something else in it, or cannot be made.
    """
    _refuse_address(folder)
    if str(folder) != str(folder).encode(errors="replace").decode():
        raise RetrievalError(f"The folder name {str(folder)!r} is not Unicode; choose another one.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = {entry.name for entry in folder.iterdir()}
    except OSError as error:
        raise RetrievalError(
            f"No index can be made at {str(folder)!r} ({error.strerror or error}); choose another folder."
        ) from error
    foreign = sorted(name for name in there if not is_ours(name))
    if foreign and CATALOG not in there:
        raise RetrievalError(f"{str(folder)!r} is not empty (it has {foreign[0]!r}); choose a new or an empty folder.")
    require_own(folder)


def remove_orphans(folder: Path, catalog: Catalog) -> None:
    """Delete the files of a writer that was killed before its transaction, and what it gave up and did not delete.

    It never got further than the segment with the next number. Any other file stays, even a segment that the catalog
    does not name: if the catalog is damaged, that may be the only copy. Structures are derived, so nothing is lost.

    Args:
        folder: the index folder; the caller holds its lock.
        catalog: of this folder.

    Raises:
        RetrievalError: the folder cannot be written.
    """
    known = catalog.files()
    orphans = [folder / segments.file_name(int(catalog.meta["next_segment"]))]
    try:
        for name in (segments.FOLDER, STRUCTURES):  # an archive may have dropped an empty folder
            (folder / name).mkdir(exist_ok=True)
            for path in (folder / name).iterdir():
                left = name == STRUCTURES or path.name.endswith((TEMPORARY, segments.PART))
                if left and is_ours(f"{name}/{path.name}"):
                    orphans.append(path)
        for path in orphans:
            if path.relative_to(folder).as_posix() not in known:  # as the next number could say if it is damaged
                path.unlink(missing_ok=True)
    except OSError as error:
        raise lock.cannot_write(folder, error) from error
    sweep(folder, catalog)


def remove_parts(folder: Path) -> None:
    """Delete what others wrote for the writer of an index, who is the caller, and takes no more of it."""
    for path in (folder / segments.FOLDER).glob(f"*{segments.PART}*"):
        if is_ours(f"{segments.FOLDER}/{path.name}"):
            with contextlib.suppress(OSError):  # the next writer tries again
                path.unlink(missing_ok=True)


def sweep(folder: Path, catalog: Catalog) -> None:
    """Delete the files that the catalog has given up. Readers that hold them open do not notice."""
    garbage = catalog.garbage()
    if not garbage:
        return
    for file in garbage:
        with contextlib.suppress(OSError):  # the next writer tries again
            (folder / file).unlink(missing_ok=True)
    catalog.forget_garbage(file for file in garbage if not (folder / file).exists())


def bytes_of(folder: Path) -> int:
    """How much room it takes."""
    return sum(_size(path) for path in folder.rglob("*"))


def _size(path: Path) -> int:
    """Bytes of a file that is the index's for good; 0 for anything else."""
    try:
        found = path.stat()
    except OSError:  # a write-ahead log that another process has just tidied up
        return 0
    # The file "-shm" is memory that SQLite shares while a catalog is open.
    return found.st_size if stat.S_ISREG(found.st_mode) and not path.name.endswith("-shm") else 0


def network_of(folder: Path) -> str | None:
    """What its encoder is called; None if it has none that says so."""
    try:
        name = json.loads((folder / ENCODER / "config.json").read_text(encoding="utf-8")).get("network")
    except (OSError, ValueError, AttributeError):
        return None
    return None if name is None else str(name)
