"""The folder that an index is built in: made whole, continued, or replaced at the end."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from retrieval import images
from retrieval.base import saved_folder
from retrieval.base.files import carry, exchange, write_durably
from retrieval.base.table import csv_text
from retrieval.base.text import printable
from retrieval.encoder import store
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.index.folder import ENCODER, REPLACED, SKIPPED, UNFINISHED, is_index, is_ours
from retrieval.index.lock import WriterLock


class Place:
    """Where a build writes.

    An index is made in a hidden folder beside its own (``.NAME.new``) and moved to its name as soon as it is one,
    empty as it may be, so that a build that is killed leaves nothing that the next could not continue. With
    `overwrite` it stays there until it is finished, and then changes places with the one that exists, in one step.

    What is deleted bears a mark of ours inside: :data:`UNFINISHED` the one that is being made, :data:`REPLACED` the one
    that goes. A folder of such a name without the mark is somebody's, and is left alone; so is what somebody put into
    an index that is replaced: it moves to the new one.

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
            self._recover()
            there = is_index(out)
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
        return is_index(self.folder) and (not self.overwrite or _bears(self._beside, UNFINISHED))

    def make(self, fill: Callable[[Path], None]) -> None:
        """Make the index: all of it, or nothing.

        Args:
            fill: makes an index in the folder that it is given.

        Raises:
            RetrievalError: the folder cannot be written, or something that is not ours stands where it would be made.
        """
        self.clear()
        try:
            self._beside.mkdir(parents=True)
            (self._beside / UNFINISHED).touch()
            fill(self._beside)
            if self.folder != self._beside:
                self._beside.rename(self.folder)
                (self.folder / UNFINISHED).unlink(missing_ok=True)
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
            (self.out / REPLACED).touch()
            if not exchange(self._beside, self.out):
                if self._old.exists():
                    raise _not_ours(self._old)
                self.out.rename(self._old)  # in two steps, then; what is cut off between them is put right
                self._beside.rename(self.out)
            self._recover()
        except OSError as error:
            raise _cannot_write(self.name, error) from None

    def _recover(self) -> None:
        """Finish or undo a replacement that was cut off."""
        if _bears(self._old, REPLACED) and not self.out.exists():
            self._old.rename(self.out)
        for gone in (self._old, self._beside):
            if _bears(gone, REPLACED) and self.out.exists():
                carry(gone, self.out, _ours(gone))
                shutil.rmtree(gone, ignore_errors=True)
        for mark in (UNFINISHED, REPLACED):
            if _bears(self.out, mark):
                (self.out / mark).unlink(missing_ok=True)

    def clear(self) -> None:
        """Throw away what an earlier build left unfinished.

        Raises:
            RetrievalError: somebody is at work on it, or it is not ours.
        """
        if not self._beside.exists() and not self._beside.is_symlink():
            return
        if not _bears(self._beside, UNFINISHED):
            raise _not_ours(self._beside)
        WriterLock(self._beside).release()
        shutil.rmtree(self._beside, ignore_errors=True)


def _bears(folder: Path, mark: str) -> bool:
    """Whether a folder, and no link to one, has this mark of ours."""
    return folder.is_dir() and not folder.is_symlink() and (folder / mark).is_file()


def _ours(index: Path) -> Callable[[str], bool]:
    """Which names in an index's folder are its own."""
    of_encoder = saved_folder.holds(index / ENCODER, store.KIND)

    def ours(name: str) -> bool:
        top, _, inner = name.partition("/")
        return of_encoder(inner) if inner and top == ENCODER else is_ours(name)

    return ours


def _not_ours(folder: Path) -> RetrievalError:
    return RetrievalError(
        f"{printable(folder)!r} stands where the index would be made, and no build left it there; move it away first."
    )


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


def _cannot_write(name: str, error: Exception) -> RetrievalError:
    why = getattr(error, "strerror", None) or error
    return RetrievalError(f"{name!r} cannot be written ({why}); make room or choose another folder.")
