"""Moving what could go out of a folder of pictures, and back.

What holds whatever happens in between (a kill or a crash at any step, a full disk, others who write in the same
folders):

- **Nothing is ever deleted.** Each file that is moved is, at every moment, whole at its old place or whole at its new
  one. A move is a rename. Across file systems the file is copied, its copy flushed to the disk and compared byte for
  byte, and only then does the old name go.
- **Nothing is ever written over.** The new name is taken by `renameat2(RENAME_NOREPLACE)`, or by a hard link where a
  file system does not know that; if something has the name already, the file stays where it is.
- **What was looked at is what is moved.** A file goes only while it is the same inode, of the same size and time, and
  so is what it is a copy of, which must be there; of exact copies the bytes are compared once more. What was replaced
  in the very instant of a rename is renamed back. (A hard link leaves an instant in which a file that replaced another
  could lose its name; local file systems of Linux rename.)
- **It can be undone.** Before the first move a file that lists all of them lies in the target, flushed to the disk.
  :func:`undo_move` needs nothing else, and finishes what a kill left: a move, or another undo.
- **No way leads out.** Folders are opened one below the other, and none that is a link. An undo file is read as
  something that a stranger wrote: it moves only pictures and what belongs to them, nothing hidden, only from the folder
  in which it lies to the one that it names, under the same relative path.

One photograph's files go together or not at all.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from retrieval import images
from retrieval.base.found import Found
from retrieval.base.placed_files import failure
from retrieval.base.progress import bar
from retrieval.base.text import plain, printable
from retrieval.base.units import show_bytes
from retrieval.errors import RetrievalError
from retrieval.images.kinds import suffix
from retrieval.traps.duplicates.find import is_an_index
from retrieval.traps.duplicates.photographs import SIDECARS, Seen, is_film
from retrieval.traps.duplicates.report import SHOWN, Copy, Duplicates

FORMAT = "retrieval dedup undo 1"
"""What an undo file says that it is."""

_BLOCK = 1 << 20
_MOST = 1 << 30  # bytes of an undo file: millions of moves
_KNOWN = images.SUFFIXES | SIDECARS
_FULL = frozenset((errno.ENOSPC, errno.EDQUOT))
_CANNOT = frozenset((errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP))  # a rename that does not overwrite
_NO_REPLACE = 1
_TAKEN = "a file of its name is there already"


class _LeftAloneError(Exception):
    """A file is not moved; the message says why, in a few words."""


@dataclass(frozen=True)
class _Listed:
    """A file of an undo file: where it was below the folder, and what it was."""

    path: str
    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True)
class Moved(Found):
    """What :func:`move_copies` did, or would do.

    Attributes:
        root: the pictures' folder.
        target: where they went, below it under the same path.
        photographs: the files of each photograph that was moved, its picture first.
        size: bytes of all of them.
        left: what could go and did not, and why.
        undo: the file that :func:`undo_move` takes; None if nothing was to be moved.
        dry_run: whether it was only asked what would be done.
    """

    root: Path
    target: Path
    photographs: tuple[tuple[str, ...], ...]
    size: int
    left: tuple[images.Skipped, ...]
    undo: Path | None
    dry_run: bool = False

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "root": printable(self.root),
            "target": printable(self.target),
            "dry_run": self.dry_run,
            "moved": [list(files) for files in self.photographs],
            "bytes": self.size,
            "left": plain(self.left),
            "undo": plain(self.undo),
        }

    def table(self) -> str:
        """For people: how many, what was left alone, how to take it back."""
        beside = sum(len(files) - 1 for files in self.photographs)
        more = f" and {beside:,} files that belong to them" if beside else ""
        verb = "would be moved" if self.dry_run else "moved"
        lines = [
            f"{len(self.photographs):,} pictures{more} ({show_bytes(self.size)}) {verb} to {printable(self.target)!r}."
        ]
        if self.dry_run:
            lines += _some([repr(files[0]) for files in self.photographs])
        lines += _left(self.left)
        if self.undo is not None:
            lines.append(f"retrieval dedup --undo {printable(self.undo)!r} moves them back.")
        return "\n".join(lines)


@dataclass(frozen=True)
class Undone(Found):
    """What :func:`undo_move` did.

    Attributes:
        root: the pictures' folder, where they are again.
        target: where they had been moved.
        back: files that were moved back.
        in_place: how many were in their place already.
        left: files that could not be moved back, and why.
    """

    root: Path
    target: Path
    back: tuple[str, ...]
    in_place: int
    left: tuple[images.Skipped, ...]

    def table(self) -> str:
        """For people."""
        lines = [
            f"{len(self.back):,} files moved back to {printable(self.root)!r}; {self.in_place:,} were in their place."
        ]
        return "\n".join([*lines, *_left(self.left)])


def _left(left: tuple[images.Skipped, ...]) -> list[str]:
    lines = _some([f"{path!r}: {why}" for path, why in left])
    return [f"{len(left):,} stay where they are:", *lines] if left else []


def _some(lines: list[str]) -> list[str]:
    more = [f"  and {len(lines) - SHOWN:,} more"] if len(lines) > SHOWN else []
    return [f"  {line}" for line in lines[:SHOWN]] + more


def move_copies(found: Duplicates, target: str | Path, *, dry_run: bool = False) -> Moved:
    """Move every picture that could go, with the files that belong to it, to a folder outside of the pictures'.

    Args:
        found: what :func:`retrieval.traps.duplicates.find.find_duplicates` found.
        target: a folder, made if it is not there.
        dry_run: only say what would be done.

    Returns:
        What was moved, and what was left alone, because it or what it is a copy of has changed, a file of its name is
        in the target already, or the operating system says no.

    Raises:
        RetrievalError: the target lies in the folder of the pictures, of the reference or of an index, or holds one; it
            cannot be written; it is full (what was moved before stays there); another process moves in that folder.
    """
    looked_at = [found.root] if found.against is None else [found.root, found.against]
    place = checked_target(target, *looked_at)
    going = [(group.kept, copy) for group in found.groups for copy in group.copies if not copy.keep]
    if dry_run or not going:
        taken = [any(os.path.lexists(place / seen.path) for seen in copy.seen) for _, copy in going]
        could = [copy for (_, copy), no in zip(going, taken, strict=True) if not no]
        cannot = tuple(
            images.Skipped(printable(copy.path), _TAKEN) for (_, copy), no in zip(going, taken, strict=True) if no
        )
        names = tuple(tuple(seen.path for seen in copy.seen) for copy in could)
        size = sum(seen.size for copy in could for seen in copy.seen)
        return Moved(found.root, place, names, size, cannot, None, dry_run)
    _make(place)
    moved: list[tuple[str, ...]] = []
    left: list[images.Skipped] = []
    size = 0
    with _Folders.opened(found.root, place, secrets.token_hex(8)) as folders:
        listed = [
            _Listed(seen.path, seen.size, seen.mtime_ns, _sha256(folders, copy, seen))
            for _, copy in going
            for seen in copy.seen
        ]
        undo_file = _write_undo(folders, place, found.root, listed)
        number = 0
        with bar(len(going), "Moving", "pictures") as shown:
            for kept, copy in going:
                try:
                    _check(found.root, kept, copy)
                    _together(folders, copy.seen, number)
                except (_LeftAloneError, OSError) as problem:
                    if isinstance(problem, OSError) and problem.errno in _FULL:
                        raise RetrievalError(
                            f"{printable(place)!r} is full; {len(moved):,} of {len(going):,} pictures were moved there "
                            "and the others are where they were; make room and ask again, or take it back: retrieval "
                            f"dedup --undo {printable(undo_file)!r}."
                        ) from problem
                    left.append(images.Skipped(printable(copy.path), _words(problem)))
                else:
                    moved.append(tuple(seen.path for seen in copy.seen))
                    size += sum(seen.size for seen in copy.seen)
                number += len(copy.seen)
                shown.update()
    return Moved(found.root, place, tuple(moved), size, tuple(left), undo_file)


def undo_move(file: str | Path) -> Undone:
    """Move back what a move took away, whether it came to its end or not.

    Args:
        file: the undo file, in the folder that the pictures were moved to.

    Returns:
        What was moved back, and what was left alone: because a file of its name is there again, because it is another
        file now, or because it is in neither place.

    Raises:
        RetrievalError: it is no undo file, or names what no move would; one of the folders is not there; another
            process moves in it.
    """
    token, root, listed = _read_undo(Path(file))
    target = Path(file).resolve().parent
    _apart(target, root, "the folder that the undo file names")
    back: list[str] = []
    left: list[images.Skipped] = []
    with _Folders.opened(root, target, token) as folders, bar(len(listed), "Moving back", "files") as shown:
        with contextlib.suppress(OSError):  # a second name of the undo file, where it was given its own by a link
            os.unlink(folders.undo_part, dir_fd=folders.target)
        for number, one in enumerate(listed):
            try:
                if _take_back(folders, one, number):
                    back.append(one.path)
            except (_LeftAloneError, OSError) as problem:
                left.append(images.Skipped(printable(one.path), _words(problem)))
            shown.update()
    return Undone(root, target, tuple(back), len(listed) - len(back) - len(left), tuple(left))


def checked_target(target: str | Path, *folders: str | Path) -> Path:
    """Where pictures may be moved to: a place outside of every folder that is looked at.

    Args:
        target: a folder, which need not be there.
        folders: of the pictures, and of a reference.

    Raises:
        RetrievalError: it is none, or something else than a folder.
    """
    place = Path(target).resolve()
    for folder in folders:
        _apart(place, Path(folder).resolve(), "a folder of pictures")
    if any(is_an_index(folder) for folder in (place, *place.parents)):
        raise RetrievalError(f"{printable(place)!r} lies in an index; give another folder to move pictures to.")
    if os.path.lexists(place) and not place.is_dir():
        raise RetrievalError(f"{printable(place)!r} is no folder; give one to move pictures to.")
    return place


def _apart(place: Path, root: Path, words: str) -> None:
    """See that neither of two folders lies in the other, under whatever name."""
    for inner, outer in ((place, root), (root, place)):
        if any(_same_folder(folder, outer) for folder in (inner, *inner.parents)):
            how = "lies in" if inner is place else "holds"
            raise RetrievalError(
                f"{printable(place)!r} {how} {words}, {printable(root)!r}; pictures are moved from one to the other, "
                "so give two that lie apart."
            )


def _same_folder(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return one == other


def _make(place: Path) -> None:
    try:
        for folder in reversed([folder for folder in (place, *place.parents) if not folder.exists()]):
            folder.mkdir(exist_ok=True)
            descriptor = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _flush(descriptor)
            finally:
                os.close(descriptor)
    except OSError as error:
        raise RetrievalError(
            f"{printable(place)!r} cannot be made ({failure(error)}); give a folder that can be written."
        ) from error


def _words(problem: Exception) -> str:
    """Why something was left alone."""
    if isinstance(problem, FileExistsError):
        return _TAKEN
    if isinstance(problem, OSError):
        return failure(problem)
    return str(problem)


@dataclass(frozen=True)
class _Folders:
    """Both folders, open, and a token that names what lies about while a file is on its way."""

    root: int
    target: int
    token: str

    @classmethod
    @contextlib.contextmanager
    def opened(cls, root: Path, target: Path, token: str) -> Iterator[_Folders]:
        with contextlib.ExitStack() as stack:
            descriptors = []
            for path in (root, target):
                try:
                    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                except OSError as error:
                    raise RetrievalError(
                        f"The folder {printable(path)!r} cannot be opened ({failure(error)}); put it back, or allow it."
                    ) from error
                stack.callback(os.close, descriptor)
                descriptors.append(descriptor)
            try:
                fcntl.flock(descriptors[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RetrievalError(
                    f"Another process moves pictures in {printable(root)!r}; wait until it is done."
                ) from None
            except OSError:  # a network file system that locks no folders
                pass
            yield cls(descriptors[0], descriptors[1], token)

    @property
    def undo_part(self) -> str:
        """The undo file while it is being written."""
        return f".retrieval-{self.token}.part"

    def part(self, number: int) -> str:
        """A copy that is not whole yet."""
        return f".retrieval-{self.token}-{number}.part"

    def going(self, number: int) -> str:
        """A file whose copy is whole, about to go."""
        return f".retrieval-{self.token}-{number}.going"


def _check(root: Path, kept: Copy, copy: Copy) -> None:
    """See that what is kept is there as it was, and that exact copies still are."""
    there = [seen for seen in kept.seen if not seen.path.lower().endswith(tuple(SIDECARS))]
    for seen in there:
        try:
            status = (root / seen.path).lstat()
        except OSError:
            raise _LeftAloneError(f"what it is a copy of is gone ({printable(seen.path)!r})") from None
        if not seen.still(status):
            raise _LeftAloneError(f"what it is a copy of has changed ({printable(seen.path)!r})")
    for seen in copy.exactly:
        with _reading(os.open(root / seen.path, _READ)) as ours:
            for other in there:
                if other.size == seen.size:
                    with _reading(os.open(root / other.path, _READ)) as theirs:
                        if _same_bytes(ours, theirs):
                            break
            else:
                raise _LeftAloneError("its bytes are no longer those of what it is a copy of")


def _together(folders: _Folders, files: tuple[Seen, ...], number: int) -> None:
    """Move the files of one photograph, or none of them."""
    moved: list[tuple[Seen, int]] = []
    try:
        for place, seen in enumerate(files, number):
            _carry(folders, folders.root, folders.target, seen.path, place, seen)
            moved.append((seen, place))
    except (_LeftAloneError, OSError) as problem:
        stuck = 0
        for seen, place in reversed(moved):
            try:
                _carry(folders, folders.target, folders.root, seen.path, place, None)
            except (_LeftAloneError, OSError):
                stuck += 1
        if stuck:
            words = f"{_words(problem)}; {stuck} of its files were moved before, and only an undo brings them back"
            raise _LeftAloneError(words) from problem
        raise


def _take_back(folders: _Folders, one: _Listed, number: int) -> bool:
    """Move a file back; whether that was to be done. What a kill left of its way there, or back, is settled first."""
    *inside, name = one.path.split("/")
    with contextlib.ExitStack() as stack:
        here = _entered(stack, folders.root, inside)
        there = _entered(stack, folders.target, inside)
        if here is not None and there is not None and os.path.samestat(os.fstat(here), os.fstat(there)):
            raise _LeftAloneError("both places are one folder")
        ends = [folder for folder in (here, there) if folder is not None]
        for folder in ends:
            if _status(folder, folders.part(number)) is not None:  # its original is whole
                os.unlink(folders.part(number), dir_fd=folder)
            going, named = _status(folder, folders.going(number)), _status(folder, name)
            if going is not None and named is not None and os.path.samestat(going, named):  # a link, cut in two
                os.unlink(folders.going(number), dir_fd=folder)
            elif going is not None:
                _rename(folder, folders.going(number), folder, name)
        in_place, moved = (None if folder is None else _status(folder, name) for folder in (here, there))
        if moved is not None and there is not None and name not in os.listdir(there):  # noqa: PTH208
            moved = None  # a file system that takes one name for another, and a file of the other
        if in_place is not None and moved is not None and here is not None and there is not None:
            if os.path.samestat(in_place, moved):  # a rename by link that was cut in two
                os.unlink(name, dir_fd=there)
                return False
            with _reading(_open(here, name)) as ours, _reading(_open(there, name)) as theirs:
                if not _same_bytes(ours, theirs):
                    if _is_listed(here, name, in_place, one):  # it stayed because the other had its name
                        return False
                    raise _LeftAloneError(_TAKEN)
            _drop(folders, there, name, number, moved)
            _flush(there)
            return False
        if in_place is not None:
            return False
        if moved is None or there is None:
            raise _LeftAloneError("it is neither where it was nor where it was moved to")
        if not _is_listed(there, name, moved, one):
            raise _LeftAloneError("another file has its name now")
        if not (suffix(name) in _KNOWN or is_film(name)):
            _see_that_it_is_a_picture(there, name)
    _carry(folders, folders.target, folders.root, one.path, number, None)
    return True


def _is_listed(folder: int, name: str, status: os.stat_result, one: _Listed) -> bool:
    """Whether a file is the one of an undo file, as far as size and time, or its bytes, tell."""
    return status.st_size == one.size and (status.st_mtime_ns == one.mtime_ns or _digest(folder, name) == one.sha256)


def _see_that_it_is_a_picture(folder: int, name: str) -> None:
    """A move took pictures and what belongs to them, and an undo file brings nothing else anywhere."""
    with _reading(_open(folder, name)) as descriptor, open(descriptor, "rb", closefd=False) as file:
        try:
            images.open_picture(file, size=1)
        except images.UnreadableImage as problem:
            raise _LeftAloneError(f"no move took it here: {problem.reason}") from problem


def _carry(folders: _Folders, origin: int, destination: int, path: str, number: int, seen: Seen | None) -> None:
    """Move one file from below one folder to below the other, if it is what was seen; None takes what is there."""
    *inside, name = path.split("/")
    with contextlib.ExitStack() as stack:
        here = _entered(stack, origin, inside)
        if here is None or (status := _status(here, name)) is None:
            raise _LeftAloneError("it is gone")
        if not (stat.S_ISREG(status.st_mode) if seen is None else seen.still(status)):
            raise _LeftAloneError("it has changed since it was looked at")
        there = _entered(stack, destination, inside, make=True)
        assert there is not None
        try:
            _rename(here, name, there, name)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _carry_across(folders, here, there, name, number, status)
            return
        if not _same(_status(there, name), status):
            _rename(there, name, here, name)
            raise _LeftAloneError("it was replaced while it was moved")


def _carry_across(folders: _Folders, here: int, there: int, name: str, number: int, status: os.stat_result) -> None:
    """Copy to another file system, flush, compare, and only then take the old name away."""
    if _status(there, name) is not None:  # before the work; the rename looks again
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
    part = folders.part(number)
    with _reading(_open(here, name)) as ours:
        copy = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=there)
        try:
            with _reading(copy):
                while block := os.read(ours, _BLOCK):
                    rest = memoryview(block)
                    while rest:
                        rest = rest[os.write(copy, rest) :]
                _copy_status(ours, copy)
                os.fsync(copy)
                if not _same_bytes(ours, copy) or not _same(os.fstat(ours), status):
                    raise _LeftAloneError("it changed while it was copied")
                copied = os.fstat(copy)
            _rename(there, part, there, name)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(part, dir_fd=there)
            raise
    _flush(there)
    try:
        _drop(folders, here, name, number, status)
    except OSError:  # the old name cannot go, as on a disk that is only read; then the new one is not to stay either
        if _same(_status(here, name), status):
            with contextlib.suppress(OSError, _LeftAloneError):
                _drop(folders, there, name, number, copied)
        raise
    _flush(here)


def _drop(folders: _Folders, folder: int, name: str, number: int, status: os.stat_result) -> None:
    """Take away a file whose bytes are at its other place, if it still is that file."""
    going = folders.going(number)
    _rename(folder, name, folder, going)  # nobody replaces it under this name
    try:
        if not _same(_status(folder, going), status):
            raise _LeftAloneError("it was replaced while it was moved; what it was is in the other folder")
        os.unlink(going, dir_fd=folder)
    except (_LeftAloneError, OSError):
        _rename(folder, going, folder, name)
        raise


def _rename(here: int, name: str, there: int, new: str) -> None:
    """Give a file another name, in one step, if nothing has that name: :class:`FileExistsError` if something has."""
    renameat2 = _renameat2()
    if renameat2 is not None:
        if renameat2(here, os.fsencode(name), there, os.fsencode(new), _NO_REPLACE) == 0:
            return
        number = ctypes.get_errno()
        if number not in _CANNOT:
            raise OSError(number, os.strerror(number), name)
    try:
        os.link(name, new, src_dir_fd=here, dst_dir_fd=there, follow_symlinks=False)
    except PermissionError as error:  # as a file system says it that has no links either
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), name) from error
    status, linked = _status(here, name), _status(there, new)
    if status is not None and linked is not None and os.path.samestat(status, linked):
        os.unlink(name, dir_fd=here)


@cache
def _renameat2() -> Any:
    """Of the C library; None where it has none."""
    return getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


def _entered(stack: contextlib.ExitStack, folder: int, inside: list[str], *, make: bool = False) -> int | None:
    """A folder below another, open until the stack ends; None if it is not there. No link is followed."""
    for part in inside:
        if make:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, dir_fd=folder)
                _flush(folder)
        try:
            folder = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                raise
            raise _LeftAloneError(f"its folder {printable(part)!r} is no folder, or a link") from error
        stack.callback(os.close, folder)
    return folder


def _flush(folder: int) -> None:
    """Flush a folder's list of names to the disk, where its file system can."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise


def _status(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _same(one: os.stat_result | None, other: os.stat_result) -> bool:
    return one is not None and Seen.of("", other).still(one)


_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def _open(folder: int, name: str) -> int:
    return os.open(name, _READ, dir_fd=folder)


@contextlib.contextmanager
def _reading(descriptor: int) -> Iterator[int]:
    """A descriptor that is closed in the end; that of an ordinary file."""
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _LeftAloneError("it is no ordinary file")
        yield descriptor
    finally:
        os.close(descriptor)


def _same_bytes(one: int, other: int) -> bool:
    """Whether two open files hold the same, from their beginnings."""
    for descriptor in (one, other):
        os.lseek(descriptor, 0, os.SEEK_SET)
    while True:
        ours, theirs = _block(one), _block(other)
        if ours != theirs:
            return False
        if not ours:
            return True


def _block(descriptor: int) -> bytes:
    """The next bytes, as many as asked for unless the file ends."""
    parts, wanted = [], _BLOCK
    while wanted and (part := os.read(descriptor, wanted)):
        parts.append(part)
        wanted -= len(part)
    return b"".join(parts)


def _copy_status(source: int, copy: int) -> None:
    """Times, permissions and extended attributes, as far as the other file system keeps them."""
    status = os.fstat(source)
    with contextlib.suppress(OSError):
        os.fchmod(copy, stat.S_IMODE(status.st_mode))
    if hasattr(os, "listxattr"):
        with contextlib.suppress(OSError):
            for name in os.listxattr(source):
                os.setxattr(copy, name, os.getxattr(source, name))
    with contextlib.suppress(OSError):
        os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))


def _digest(folder: int, name: str) -> str:
    found = hashlib.sha256()
    with _reading(_open(folder, name)) as descriptor:
        while block := os.read(descriptor, _BLOCK):
            found.update(block)
    return found.hexdigest()


def _sha256(folders: _Folders, copy: Copy, seen: Seen) -> str:
    """What tells a file when its time says nothing, as after a copy to a stick; "" if it cannot be read."""
    if seen is copy.seen[0]:
        return copy.sha256
    *inside, name = seen.path.split("/")
    with contextlib.ExitStack() as stack:
        try:
            folder = _entered(stack, folders.root, inside)
            return "" if folder is None else _digest(folder, name)
        except (OSError, _LeftAloneError):
            return ""


def _write_undo(folders: _Folders, place: Path, root: Path, listed: list[_Listed]) -> Path:
    """Write the list of what is about to be moved, durably, under a name that nothing has."""
    content = {
        "format": FORMAT,
        "token": folders.token,
        "from": str(root),
        "files": [vars(one) for one in listed],
    }
    data = memoryview(json.dumps(content, indent=1).encode())  # ASCII: names that are no UTF-8 as escapes
    base = f"undo-{time.strftime('%Y%m%d-%H%M%S')}"
    part = folders.undo_part
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=folders.target)
        with open(descriptor, "wb") as file:  # noqa: PTH123 (a descriptor)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        for number in range(1, 1000):
            name = f"{base}{'' if number == 1 else f'-{number}'}.json"
            try:
                _rename(folders.target, part, folders.target, name)
            except FileExistsError:
                continue
            _flush(folders.target)
            return place / name
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), base)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(part, dir_fd=folders.target)
        raise RetrievalError(
            f"No undo file can be written in {printable(place)!r} ({failure(error)}), so nothing was moved; make room, "
            "allow writing there, or give another folder."
        ) from error


def _read_undo(file: Path) -> tuple[str, Path, list[_Listed]]:
    """The token, the pictures' folder and the files of an undo file."""
    try:
        with file.open("rb") as opened:
            data = opened.read(_MOST + 1)
    except OSError as error:
        raise RetrievalError(
            f"The undo file {printable(file)!r} cannot be read ({failure(error)}); give the one that a move named."
        ) from error
    try:
        if len(data) > _MOST:
            raise ValueError("too large")
        content = json.loads(data)
        if content["format"] != FORMAT:
            raise ValueError("of another format")
        token, root = content["token"], content["from"]
        if not re.fullmatch("[0-9a-f]{16}", token):
            raise ValueError("its token is none")
        if not root.startswith("/") or "\0" in root:
            raise ValueError("its folder is no absolute path")
        os.fsencode(root)
        listed = [_Listed(one["path"], one["size"], one["mtime_ns"], one["sha256"]) for one in content["files"]]
        for one in listed:
            if type(one.size) is not int or type(one.mtime_ns) is not int or not isinstance(one.sha256, str):
                raise ValueError(f"{one.path!r} has no size, time or content")
            _possible(one.path)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        words = str(error) if type(error) is ValueError else "not what a move writes"
        raise RetrievalError(
            f"{printable(file)!r} is no undo file that can be trusted ({printable(words)}); nothing was moved; give "
            "one that `retrieval dedup --move-to` wrote."
        ) from error
    return token, Path(root), listed


def _possible(path: str) -> None:
    """See that a path of an undo file is one that a move can have had.

    Raises:
        ValueError: it is not.
    """
    os.fsencode(path)
    parts = path.split("/")
    if any(not part or part.startswith(".") for part in parts) or "\0" in path:
        raise ValueError(f"{path!r} leads out of the folder, or to something hidden")
