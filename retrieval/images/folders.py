"""Finding the pictures below a folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from retrieval.base.text import printable
from retrieval.errors import RetrievalError

SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib"),
        *(".tif", ".tiff", ".pgm", ".ppm", ".pbm", ".pnm"),
    )
)
"""What :func:`find` takes for a picture, by the end of its name, in small letters."""


class Skipped(NamedTuple):
    """A file that was left out, and why.

    Attributes:
        path: printable: bytes that are not UTF-8 are shown as backslash escapes.
        reason: a few words.
    """

    path: str
    reason: str


class Found(NamedTuple):
    """What :func:`find` saw.

    Attributes:
        paths: relative to the folder, with "/" between the parts, sorted.
        skipped: what had to be left out, sorted.
    """

    paths: tuple[str, ...]
    skipped: tuple[Skipped, ...]


def find(folder: str | os.PathLike[str]) -> Found:
    """All pictures below a folder.

    Hidden files and folders, and files whose names do not end like a picture's, are passed over in silence.
    Links to files are followed; links to folders are not (what they lead to lies outside, is found anyway, or
    is a loop).

    Args:
        folder: where to start.

    Returns:
        The pictures, and what had to be left out: names that are not UTF-8, broken links, links to folders,
        folders that may not be read, pipes and devices.

    Raises:
        RetrievalError: if there is no such folder.
    """
    root = Path(folder)
    if not _is_folder(root):
        raise RetrievalError(f"There is no folder {printable(root)!r}; give one that holds pictures.")
    paths: list[str] = []
    skipped: list[Skipped] = []
    for path, reason in _walk(str(root)):
        if reason is None and not _is_utf8(path):
            reason = "name is not UTF-8"
        if reason is None:
            paths.append(path)
        else:
            skipped.append(Skipped(printable(path), reason))
    return Found(tuple(sorted(paths)), tuple(sorted(skipped)))


def irregular(mode: int) -> str | None:
    """Why something with this `st_mode` is no file that can be read; None if it is one."""
    if stat.S_ISREG(mode):
        return None
    return "a folder" if stat.S_ISDIR(mode) else "not a regular file"


def failure(error: OSError) -> str:
    """A few words for what the operating system said."""
    if isinstance(error, PermissionError):
        return "no permission"
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return os.strerror(error.errno).lower() if error.errno else "cannot be read"


def _walk(root: str) -> Iterator[tuple[str, str | None]]:
    """Relative path, and why it cannot be taken (None if it can), of whatever looks like a picture."""
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        try:
            with os.scandir(f"{root}/{inside}") as entries:
                here = list(entries)
        except OSError as error:
            yield inside or ".", f"folder: {failure(error)}"
            continue
        for entry in here:
            if entry.name.startswith("."):
                continue
            path = f"{inside}/{entry.name}" if inside else entry.name
            dot = entry.name.rfind(".")
            if entry.is_dir(follow_symlinks=False):
                waiting.append(path)
            elif dot > 0 and entry.name[dot:].lower() in SUFFIXES:
                yield path, _obstacle(entry)
            elif entry.is_symlink() and _is_folder(entry):
                yield path, "link to a folder"


def _obstacle(entry: os.DirEntry[str]) -> str | None:
    """Why a directory entry is no file that can be opened; None if it is one."""
    try:
        if entry.is_file():
            return None
        if entry.is_symlink():
            return "link to a folder" if entry.is_dir() else irregular(entry.stat().st_mode)
        return "not a regular file"
    except OSError as error:
        return "broken link" if entry.is_symlink() else failure(error)


def _is_folder(entry: os.DirEntry[str] | Path) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself, a name that is too long
        return False


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
