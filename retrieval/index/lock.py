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


class WriterLock:
    """The right to change one index, held from construction to :meth:`release`.

    It is a ``flock`` on the file ``writer.lock``, which the kernel takes back when the process ends, however
    it ends: a dead writer holds nothing. What stands in the file (process, host, since when) is only there
    for the message that the next one gets. The file itself stays: deleting it would let two processes lock
    two files of one name.

    Raises:
        RetrievalError: somebody else has it, or the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / FILE
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise cannot_write(folder, error) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _describe(os.pread(self._descriptor, 4096, 0))
            os.close(self._descriptor)
            if isinstance(error, BlockingIOError):
                raise RetrievalError(
                    f"The index {str(folder)!r} is being written by {holder}; wait until it has finished, or stop it."
                ) from None
            raise RetrievalError(
                f"The index {str(folder)!r} cannot be locked ({error.strerror or error}); "
                "work on a copy on a local disk."
            ) from error
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        note = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": now})
        with contextlib.suppress(OSError):  # a full disk, say: the lock holds without its note
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, note.encode(), 0)

    def release(self) -> None:
        """Let the next writer in. Calling it twice is harmless."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # a forked child may still have the file open
            os.close(self._descriptor)
            self._descriptor = -1


class ReaderMark:
    """What tells a writer that somebody reads, from construction to :meth:`release`.

    Readers share a ``flock`` on the file ``readers.lock``. Only a writer that wants to forget removed items for good
    looks at it, and does not if it is taken; nobody waits for long. Where the file cannot be made or locked (a
    read-only disk) there is no mark.
    """

    def __init__(self, folder: Path) -> None:
        self._descriptor = _open_readers(folder)
        for _ in range(20):  # a writer that is forgetting just now has it for a moment
            if self._descriptor < 0 or _try_lock(self._descriptor, fcntl.LOCK_SH):
                break
            time.sleep(0.005)

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
        yield descriptor >= 0 and _try_lock(descriptor, fcntl.LOCK_EX)
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
            return os.open(folder / READERS, flags | os.O_CLOEXEC, 0o644)
    return -1


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _describe(note: bytes) -> str:
    try:
        holder = json.loads(note)
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):  # it was caught between taking the lock and writing its name
        return "another process"
