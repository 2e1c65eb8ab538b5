"""Files that no longer belong to an index, or never did."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from retrieval.base.files import TEMPORARY
from retrieval.errors import RetrievalError
from retrieval.index import segments
from retrieval.index.catalog import Catalog

STRUCTURES = "ann"
"""The folder of approximate structures."""

_OURS = re.compile(r"\d{8}\.ann")
"""What an index calls the file of one."""


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
            orphans += (folder / name).glob("*" + TEMPORARY)
        for path in (folder / STRUCTURES).iterdir():
            if _OURS.fullmatch(path.name) and f"{STRUCTURES}/{path.name}" not in known:
                orphans.append(path)
        for path in orphans:
            if path.relative_to(folder).as_posix() not in known:  # as the next number could say if it is damaged
                path.unlink(missing_ok=True)
    except OSError as error:
        raise RetrievalError(
            f"The index {str(folder)!r} cannot be written ({error.strerror or error}); "
            "allow writing there, or work on a copy of the folder."
        ) from error
    sweep(folder, catalog)


def sweep(folder: Path, catalog: Catalog) -> None:
    """Delete the files that the catalog has given up. Readers that hold them open do not notice."""
    garbage = catalog.garbage()
    if not garbage:
        return
    for file in garbage:
        with contextlib.suppress(OSError):  # the next writer tries again
            (folder / file).unlink(missing_ok=True)
    catalog.forget_garbage(file for file in garbage if not (folder / file).exists())
