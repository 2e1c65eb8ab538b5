"""What has changed among an index's pictures, by the size and time of each file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from retrieval.base.object_address import is_object
from retrieval.base.placed_files import Root, Stamp
from retrieval.index import Index

_NO_FILE: Stamp = (0, 0)
"""The stamp of an item whose file nobody has seen: it was imported."""


@dataclass(frozen=True)
class Changes:
    """What there is to look into. Paths are relative to the folder of pictures, or absolute where they lie outside.

    Attributes:
        new: files that are not in the index.
        doubtful: files that are, and have another size or time than then.
        gone: what is in the index and no longer there.
        kept: how many pictures are as they were.
        outside: how many of those lie outside the folder, or have no file.
        unreadable: files that are as they were when they could not be read: their size and time, and the reason.
    """

    new: Sequence[str]
    doubtful: Sequence[str]
    gone: Sequence[str]
    kept: int
    outside: int = 0
    unreadable: Mapping[str, tuple[Stamp, str]] = field(default_factory=dict)


def in_folder(
    index: Index,
    root: Root,
    paths: Sequence[str],
    *,
    checksum: bool = False,
    unreadable: Mapping[str, tuple[Stamp, str]] | None = None,
) -> Changes:
    """Compare an index with its whole folder.

    What is in the index and on the disk stays, also if nobody would find it by its name. What was added from outside
    (absolute paths), or imported without its file, is none of the folder's business.

    Args:
        index: the index.
        root: where the pictures lie, as it was walked.
        paths: all that were found in it.
        checksum: doubt every file, whatever its size and time.
        unreadable: size, time and reason of files that could not be read before.
    """
    known = index.known()
    doubtful: list[str] = []
    gone: list[str] = []
    inside = outside = 0
    for path, before in known.items():
        if is_outside(path):
            outside += 1
            continue
        try:
            now = root.stamp(path)
        except OSError:  # which says nothing about the picture: no permission, a network that is down
            now = before
        if now is None and before == _NO_FILE:
            outside += 1
        elif now is None:
            gone.append(path)
        elif checksum or now != before:
            doubtful.append(path)
        else:
            inside += 1
    in_vain = {} if checksum or unreadable is None else unreadable
    new: list[str] = []
    as_before: dict[str, tuple[Stamp, str]] = {}
    for path in paths:
        if path in known:
            continue
        if path in in_vain and is_as_it_was(root, path, in_vain[path][0]):
            as_before[path] = in_vain[path]
        else:
            new.append(path)
    return Changes(new, sorted(doubtful), sorted(gone), inside + outside, outside, as_before)


def of_files(index: Index, root: Root, paths: Iterable[str]) -> Changes:
    """Compare an index with some files; all others are left alone."""
    new: list[str] = []
    doubtful: list[str] = []
    kept = 0
    for path in paths:
        item = index.find(path)
        if item is None:
            new.append(path)
        elif is_as_it_was(root, path, (item.size, item.mtime_ns)):
            kept += 1
        else:
            doubtful.append(path)
    return Changes(new, doubtful, (), kept)


def is_outside(path: str) -> bool:
    """Whether a picture was added from outside the index's folder of pictures."""
    return path.startswith("/") or is_object(path)


def is_as_it_was(root: Root, path: str, before: Stamp) -> bool:
    """Whether a file is there, and has this size and time of change."""
    try:
        return root.stamp(path) == before
    except OSError:
        return False


def size_of(root: Root, path: str) -> int | None:
    """A file's size, bytes; None if it is not there, or does not say."""
    try:
        there = root.stamp(path)
    except OSError:
        return None
    return there and there[0]
