"""Keeping an index up to date with its folder while somebody changes that."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from retrieval.base import progress
from retrieval.base.held_folder import identity
from retrieval.base.object_address import is_object
from retrieval.base.placed_files import stamp_of
from retrieval.base.text import printable
from retrieval.engines.opening import is_index, open_index
from retrieval.errors import RetrievalError
from retrieval.index.lock import WriterAtWorkError
from retrieval.index.records import AUTO
from retrieval.ingest.build_report import BuildReport
from retrieval.ingest.sync_folder import sync
from retrieval.ingest.update import Workers

QUIET, LONGEST = 1.0, 10.0
"""Seconds without a change after which a sync begins, and after which one begins at the latest."""

EVERY = 60.0
"""Seconds between two walks of a folder whose system tells of no changes, and two tries of a sync that failed."""

MOUNTS = Path("/proc/self/mountinfo")
"""Where Linux says what is mounted."""

_NETWORK = re.compile(r"nfs\d?|cifs|smb\w*|9p|afs|ceph|glusterfs|lustre|gpfs|beegfs|ncpfs|virtiofs|vboxsf|fuse(\..*)?")
"""File systems that others change without this machine's being told."""


def watch(
    index: str | Path,
    pictures: str | Path | None = None,
    *,
    done: Callable[[BuildReport], None],
    labels: str | Path = AUTO,
    checksum: bool = False,
    threads: int | None = None,
    batch: int | None = None,
    memory: int | None = None,
    on: Workers | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Sync an index now, and again after each burst of changes in its folder of pictures, until it is stopped.

    The system tells of changes, by `watchfiles`. In a network folder, where it cannot, or without that library, the
    folder is walked every minute. Between syncs the index is not locked: where another process writes it, the sync
    waits. A folder that vanishes takes nothing out; that is said once on stderr, and it goes on when it is back.

    Args:
        index, pictures, labels, checksum, threads, batch, memory, on: as for :func:`retrieval.ingest.sync`.
        done: is given the report of each sync.
        stop: ends it within about a second; otherwise KeyboardInterrupt does.

    Raises:
        RetrievalError: the first sync failed, or the index is no longer there.
    """
    stop = stop or threading.Event()
    with open_index(index, mapped=True) as opened:
        if is_object(opened.root if pictures is None else pictures):
            raise RetrievalError(
                f"{printable(opened.root if pictures is None else pictures)!r} lies in an object store, which tells "
                "nobody of changes; run `retrieval sync` without --watch as often as it is wanted."
            )
        root, own = Path(opened.root if pictures is None else pictures).resolve(), opened.folder.resolve()
    synced = False
    said = ""
    due: float | None = 0.0  # when the next sync begins

    def say(text: str) -> None:
        nonlocal said
        if text != said:
            progress.note(text)
        said = text

    for changed in _changes(root, own, stop):
        if changed:
            due = time.monotonic()
        if synced and not root.is_dir():
            say(f"The folder {printable(root)!r} is not there: nothing is taken out, and it goes on when it is back.")
            due = None  # it comes back as another one, which is a change
        if due is None or time.monotonic() < due:
            continue
        try:
            report = sync(
                index,
                pictures,
                labels=labels,
                checksum=checksum,
                threads=threads,
                batch=batch,
                memory=memory,
                on=on,
            )
        except WriterAtWorkError as error:
            say(f"{error} This goes on by itself.")
            due = time.monotonic() + QUIET
        except RetrievalError as error:
            if not synced or not is_index(index):
                raise
            if root.is_dir():  # otherwise that is said next
                say(str(error))
            due = time.monotonic() + EVERY
        else:
            synced, said, due, pictures = True, "", None, None
            done(report)


def network_kind(folder: Path, mounts: Path = MOUNTS) -> str | None:
    """The kind of network file system that a folder lies on; None if it is none, or nobody knows.

    Args:
        folder: it is looked at as it is without links.
        mounts: a list as :data:`MOUNTS` is one.
    """
    place = os.path.realpath(folder)
    nearest, kind = "", ""
    with contextlib.suppress(OSError):
        for line in mounts.read_bytes().decode(errors="surrogateescape").splitlines():
            before, _, after = line.partition(" - ")
            point = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), before.split(" ")[4])
            below = place == point or place.startswith(point.rstrip("/") + "/")
            if below and len(point) >= len(nearest):  # of two on one point the later hides the other
                nearest, kind = point, after.split(" ")[0]
    return kind if _NETWORK.fullmatch(kind) else None


def _changes(root: Path, index: Path, stop: threading.Event) -> Iterator[bool]:
    """About every second: whether something in the folder has changed and is quiet again. It has, to begin with."""
    walked = ""
    while not stop.is_set():
        there = identity(root)
        if there is None:
            yield False
            stop.wait(QUIET)
            continue
        why = _not_told(root)
        if why is None:
            try:
                yield from _told(root, index, stop)
                continue
            except OSError as error:  # the system watches so many folders and no more, say
                if not root.is_dir():
                    continue
                why = f"the system cannot watch it ({error})"
        if why != walked:
            progress.note(f"{printable(root)!r} is walked every {EVERY:g} s: {why}.")
            walked = why
        yield from _walked(root, index, stop)


def _not_told(root: Path) -> str | None:
    """Why a folder has to be walked; None if the system tells what changes in it."""
    kind = network_kind(root)
    if kind is not None:
        return f"it lies on a network ({kind}), which tells of no changes"
    if importlib.util.find_spec("watchfiles") is None:
        return 'the library watchfiles is missing (pip install "retrieval[watch]")'
    return None


def _told(root: Path, index: Path, stop: threading.Event) -> Iterator[bool]:
    """By what the system tells, until the folder is another one.

    Raises:
        OSError: it cannot.
    """
    from watchfiles import watch as told

    own = f"{index}{os.sep}"
    there = identity(root)
    begun = False
    for changes in told(
        root,
        watch_filter=lambda _, path: not path.startswith(own),
        step=round(1000 * QUIET),
        debounce=round(1000 * LONGEST),
        rust_timeout=round(1000 * QUIET),
        yield_on_timeout=True,
        stop_event=stop,
        ignore_permission_denied=True,
    ):
        yield bool(changes) or not begun  # only now, so that nothing happens between the first sync and the watch
        begun = True
        if identity(root) != there:
            return


def _walked(root: Path, index: Path, stop: threading.Event) -> Iterator[bool]:
    """By walking, until the folder is another one."""
    there = identity(root)
    before: int | None = None
    while not stop.is_set() and identity(root) == there:
        now = _sum(root, index)
        if now != before:
            began = time.monotonic()
            while not stop.wait(QUIET) and time.monotonic() - began < LONGEST:
                last, now = now, _sum(root, index)
                if now == last:
                    break
            before = now
            yield True
        end = time.monotonic() + EVERY
        while time.monotonic() < end and identity(root) == there and not stop.wait(min(QUIET, EVERY)):
            yield False


def _sum(root: Path, index: Path) -> int:
    """A number that is another one when a file below a folder has come, gone or changed."""
    total = 0
    waiting = [os.fspath(root)]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if not entry.is_dir(follow_symlinks=False):
                        status = entry.stat()
                        total ^= hash((entry.path, *stamp_of(status)))
                    elif entry.path != os.fspath(index):
                        waiting.append(entry.path)
    return total
