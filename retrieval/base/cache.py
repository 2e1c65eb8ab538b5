"""The user's cache folder: what can be made again, kept so that it need not be.

Nobody need trust what lies there: it is this user's alone, or it is not used.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from pathlib import Path


def cache_folder(name: str) -> Path:
    """Where this user's caches lie, in the folder `retrieval` of $XDG_CACHE_HOME or else of ~/.cache.

    Args:
        name: of the one in it.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "retrieval" / name  # noqa: PTH117


def private(folder: Path) -> bool:
    """Whether a folder is this user's, and nobody else writes there; a link to one is not."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022


def make_private(folder: Path) -> None:
    """Make a folder that is :func:`private`, with those above it; what others could write to is emptied.

    Raises:
        OSError: it cannot be made, or is another user's.
    """
    if not private(folder):
        with contextlib.suppress(FileNotFoundError):
            remove(folder)
        folder.mkdir(parents=True, mode=0o700)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with all that is in it.

    Raises:
        OSError: it is not there, or cannot be removed.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def make_room(folder: Path, size: int) -> None:
    """Remove what was used longest ago from a folder of folders, until the rest takes no more than `size` bytes.

    An entry was used when its folder was last changed (``os.utime``).
    """
    entries = []
    with contextlib.suppress(OSError):
        for entry in folder.iterdir():
            with contextlib.suppress(OSError):
                held = sum(path.lstat().st_size for path in (entry, *entry.rglob("*")))
                entries.append((entry.lstat().st_mtime, held, entry))
    entries.sort()
    held = sum(size for _, size, _ in entries)
    for _, freed, entry in entries:
        if held <= size:
            return
        with contextlib.suppress(OSError):
            remove(entry)
            held -= freed
