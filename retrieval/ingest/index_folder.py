"""The folder that an index is built in: made whole, continued, or replaced at the end."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from retrieval import images
from retrieval.base.files import write_durably
from retrieval.base.table import csv_text
from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.index import Index, catalog
from retrieval.index.lock import WriterLock

ENCODER = "encoder"
"""The folder in an index that holds the encoder that it was built with."""

SKIPPED = "skipped.csv"
"""The file in an index that lists what could not be read: path, reason."""


class Place:
    """Where a build writes.

    An index is made in a hidden folder beside its own (``.NAME.new``) and moved to its name as soon as it is one,
    empty as it may be, so that a build that is killed leaves nothing that the next could not continue. With
    `overwrite` it stays there until it is finished, and then takes the place of the one that exists.

    Use it as a context manager.

    Args:
        out: the index's folder.
        overwrite: replace an index that is there.

    Raises:
        RetrievalError: `out` is something else than an index, or somebody else is writing it.
    """

    def __init__(self, out: Path, overwrite: bool) -> None:
        self.name = printable(out)  # as the user knows it
        try:
            out = out.resolve()  # beside the folder itself, not beside a link to it
            self.out = out
            self._beside = out.with_name(f".{out.name}.new")
            self._old = out.with_name(f".{out.name}.old")
            if self._old.exists():
                self._recover()
            there = _is_index(out)
            usable = there or not out.exists() or (out.is_dir() and not any(out.iterdir()))
        except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: links in a circle; ValueError: no name
            raise _cannot_write(self.name, error) from None
        if not usable:
            raise RetrievalError(
                f"{self.name!r} exists and is no index, so it is left alone; name another folder with --out."
            )
        self.overwrite = overwrite and there
        self.folder = self._beside if self.overwrite else out
        self._lock = WriterLock(out) if self.overwrite else None  # nobody may change what will be replaced

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            self._lock.release()

    @property
    def exists(self) -> bool:
        """Whether there is an index to continue."""
        return _is_index(self.folder)

    def make(self, fill: Callable[[Path], None]) -> None:
        """Make the index: all of it, or nothing.

        Args:
            fill: makes an index in the folder that it is given.
        """
        self.clear()
        try:
            fill(self._beside)
            if self.folder != self._beside:
                self._beside.rename(self.folder)
        except OSError as error:
            raise _cannot_write(self.name, error) from None
        except BaseException:
            shutil.rmtree(self._beside, ignore_errors=True)
            raise

    def discard(self, index: Index) -> None:
        """Throw away an index that was made in vain."""
        index.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def take(self) -> None:
        """Put what was built into its place. The old index is gone only when the new one is there."""
        if not self.overwrite:
            return
        try:
            self.out.rename(self._old)
            self._beside.rename(self.out)
        except OSError as error:
            raise _cannot_write(self.name, error) from None
        shutil.rmtree(self._old, ignore_errors=True)

    def _recover(self) -> None:
        """Finish or undo a replacement that was cut off."""
        if self.out.exists():
            shutil.rmtree(self._old, ignore_errors=True)
        else:
            self._old.rename(self.out)

    def clear(self) -> None:
        """Throw away what an earlier build with `overwrite` left unfinished.

        Raises:
            RetrievalError: somebody is at work on it.
        """
        if self._beside.exists():
            WriterLock(self._beside).release()
            shutil.rmtree(self._beside, ignore_errors=True)


def write_skipped(folder: Path, skipped: Sequence[images.Skipped]) -> None:
    """Write `skipped.csv` into an index, or remove it where nothing was left out."""
    file = folder / SKIPPED
    content = csv_text([("path", "reason"), *skipped]).encode()
    try:
        if not skipped:
            file.unlink(missing_ok=True)
        elif not file.exists() or file.read_bytes() != content:
            write_durably(file, content)
    except OSError as error:
        raise _cannot_write(printable(file), error) from None


def _is_index(folder: Path) -> bool:
    return (folder / catalog.FILE).is_file()


def _cannot_write(name: str, error: Exception) -> RetrievalError:
    why = getattr(error, "strerror", None) or error
    return RetrievalError(f"{name!r} cannot be written ({why}); make room or choose another folder.")
