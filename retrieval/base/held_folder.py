"""A small folder whose files stay readable, whatever becomes of their names."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from retrieval.base.open_file import OpenFile


def identity(folder: Path) -> tuple[int, int] | None:
    """What tells a folder from another that takes its name: device and inode; None where there is none."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


class HeldFolder:
    """Every file of a folder, held open: its owner may move the folder, replace it or delete it meanwhile.

    Links are not followed, and what is no regular file is passed over.

    Args:
        folder: where it lies; one that is not there has no files.
    """

    def __init__(self, folder: Path) -> None:
        self._files: dict[Path, OpenFile] = {}
        for place, folders, names in os.walk(folder):
            here = Path(place)
            folders[:] = [name for name in folders if not (here / name).is_symlink()]
            for name in names:
                self._files[(here / name).relative_to(folder)] = OpenFile(here / name)

    def restore(self, folder: Path) -> None:
        """Write the files into another folder.

        Raises:
            DamagedFileError: one could not be opened when the folder was there.
            OSError: the disk is full.
        """
        for name, file in self._files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with file.reader() as source, (folder / name).open("wb") as target:
                shutil.copyfileobj(source, target)

    def close(self) -> None:
        """Let the files go. Calling it twice is harmless."""
        self._files.clear()
