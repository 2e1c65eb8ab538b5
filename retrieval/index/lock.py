"""One writer at a time, and whether anybody reads."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from retrieval.errors import RetrievalError

FILE = "writer.lock"
READERS = "readers.lock"

PATIENCE = 60.0
"""Seconds that a reader waits for a writer that is forgetting removed items; it takes seconds for a million."""

_OURS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""No link to another's file, and no waiting for the other end of a pipe."""


class WriterAtWorkError(RetrievalError):
    """Somebody else writes the index, and will have finished at some time."""


class WriterLock:
    """The right to change one index, held from construction to :meth:`release`.

    It is a ``flock`` on the file ``writer.lock``, which the kernel takes back when the process ends, however
    it ends: a dead writer holds nothing. What stands in the file (process, host, since when) is only there
    for the message that the next one gets. The file itself stays: deleting it would let two processes lock
    two files of one name.

    Attributes:
        held: as a reader's mark has it; a writer sees itself.

    Raises:
        WriterAtWorkError: somebody else has it.
        RetrievalError: the folder cannot be written.
    """

    held = True

    def __init__(self, folder: Path) -> None:
        path = folder / FILE
        self._descriptor = self._open(folder, path)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            while not _is_named(self._descriptor, path):  # another index has taken this one's place since
                os.close(self._descriptor)
                self._descriptor = self._open(folder, path)
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _describe(os.pread(self._descriptor, 4096, 0))
            os.close(self._descriptor)
            if isinstance(error, BlockingIOError):
                raise WriterAtWorkError(
                    f"The index {str(folder)!r} is being written by {holder}; wait until it has finished, or stop it."
                ) from None
            raise RetrievalError(
                f"The index {str(folder)!r} cannot be locked ({error.strerror or error}); "
                "work on a copy on a local disk."
            ) from error
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        note = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": now})
        self._noted = os.fstat(self._descriptor).st_nlink == 1  # a hard link may be to somebody's file
        with contextlib.suppress(OSError):  # a full disk, say: the lock holds without its note
            if self._noted:
                os.ftruncate(self._descriptor, 0)
                os.pwrite(self._descriptor, note.encode(), 0)

    @staticmethod
    def _open(folder: Path, path: Path) -> int:
        try:
            return os.open(path, _OURS | os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise cannot_write(folder, error) from error

    def release(self) -> None:
        """Let the next writer in. Calling it twice is harmless."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                if self._noted:
                    os.ftruncate(self._descriptor, 0)
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # a forked child may still have the file open
            os.close(self._descriptor)
            self._descriptor = -1


class ReaderMark:
    """What tells a writer that somebody reads, from construction to :meth:`release`.

    Readers share a ``flock`` on the file ``readers.lock``. Only a writer that wants to forget removed items for good
    looks at it, and does not if it is taken; a reader waits while it forgets. Where the file cannot be made or locked
    (a read-only disk) there is no mark.

    Attributes:
        held: whether there is a mark. Who reads without one must look whether items were forgotten meanwhile.
    """

    def __init__(self, folder: Path) -> None:
        self._descriptor = _open_readers(folder)
        self.held = False
        end = time.monotonic() + PATIENCE
        while self._descriptor >= 0 and not self.held:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                self.held = True
            except BlockingIOError:
                if time.monotonic() > end:
                    break
                time.sleep(0.005)
            except OSError:  # a disk without locks
                break

    def release(self) -> None:
        """Say that this one reads no longer. Calling it twice is harmless."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


@contextlib.contextmanager
def nobody_reads(folder: Path) -> Iterator[bool]:
    """Whether no reader is there now; if so, none comes while this lasts."""
    descriptor = _open_readers(folder)
    try:
        yield descriptor >= 0 and _try_lock(descriptor)
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def cannot_write(folder: Path, error: OSError) -> RetrievalError:
    """What is said where a folder cannot be written."""
    return RetrievalError(
        f"The index {str(folder)!r} cannot be written ({error.strerror or error}); "
        "allow writing there, or work on a copy of the folder."
    )


def _open_readers(folder: Path) -> int:
    for flags in (os.O_RDWR | os.O_CREAT, os.O_RDONLY):
        with contextlib.suppress(OSError):
            return os.open(folder / READERS, _OURS | flags, 0o644)
    return -1


def _is_named(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one of this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except OSError:
        return False


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _describe(note: bytes) -> str:
    try:
        holder = json.loads(note)
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):  # it was caught between taking the lock and writing its name
        return "another process"
