"""What a killed writer leaves behind."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from retrieval.errors import RetrievalError
from retrieval.files import TEMPORARY
from retrieval.index import segments, structures
from retrieval.index.records import SegmentRecord


def remove_orphans(folder: Path, records: Sequence[SegmentRecord], known: Collection[str]) -> None:
    """Delete the files of a writer that was killed before its transaction.

    It never got further than the segment after the last one. Any other file stays, even a segment that the catalog
    does not name: if the catalog is damaged, that may be the only copy. Structures are derived, so nothing is lost.

    Args:
        folder: the index folder; the caller holds its lock.
        records: the segments in the catalog.
        known: every file in the catalog, relative to the folder.

    Raises:
        RetrievalError: the folder cannot be written.
    """
    orphans = [folder / segments.file_name(max((record.id for record in records), default=0) + 1)]
    try:
        for name in (segments.FOLDER, structures.FOLDER):  # an archive may have dropped an empty folder
            (folder / name).mkdir(exist_ok=True)
            orphans += (folder / name).glob("*" + TEMPORARY)
        for path in (folder / structures.FOLDER).glob("*.faiss"):
            if f"{structures.FOLDER}/{path.name}" not in known:
                orphans.append(path)
        for path in orphans:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise RetrievalError(
            f"The index {str(folder)!r} cannot be written ({error.strerror or error}); "
            "allow writing there, or work on a copy of the folder."
        ) from error
