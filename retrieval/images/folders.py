"""Finding the pictures below a folder."""

from __future__ import annotations

import functools
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from retrieval.base.placed_files import Entry, NotOpenedError, Root, Stamp, failure, irregular, stamp_of
from retrieval.base.progress import bar, note
from retrieval.base.text import printable
from retrieval.base.threads import in_order
from retrieval.images.kinds import HEAD, SUFFIXES, is_picture, kind_of, other_kind, suffix
from retrieval.places.folder import Folder

_SYSTEM = re.compile(
    r"""
    [#]recycle | \$recycle\.bin | recycle[rd] | @recycle | \.?trash(?:es)?(?:-\d+)? | \.wastebasket
    | lost\+found | system\ volume\ information | \.?lost\.dir | found\.\d+
    | @eadir | @tmp | @sharebin | @recently-snapshot | [#]snapshot | \.snapshots? | \.zfs
    | __macosx | \.appledouble | \.spotlight-v100 | \.fseventsd | \.documentrevisions-v100 | \.temporaryitems
    | network\ trash\ folder | temporary\ items
    | \.thumbnails? | \.thumbcache | \.dtrash | \.picasaoriginals | \.comments | .*\.lrdata | .*\.cocatalogdb
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""Folders in which systems and programs keep what was thrown away, what they found, and thumbnails of their own."""

_SAID = ("system folder", "hidden picture", "video")
"""What :func:`find` says that it passed over, with every kind of picture that nothing here reads."""


class Skipped(NamedTuple):
    """A file that was left out, and why.

    Attributes:
        path: printable: bytes that are not UTF-8 are shown as backslash escapes.
        reason: a few words.
    """

    path: str
    reason: str


class Found(NamedTuple):
    """What :func:`find` saw.

    Attributes:
        paths: relative to the folder, with "/" between the parts, sorted.
        skipped: what had to be left out, sorted.
        passed: how many files and folders were passed over, by kind ("system folder", "hidden", "hidden picture",
            "video", "PDF", "other", ...), the most frequent first.
        strangers: the size and time of each file of "other" that had to be opened for its kind, by its path.
    """

    paths: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    passed: Mapping[str, int]
    strangers: Mapping[str, Stamp]


def find(
    folder: str | os.PathLike[str] | Root,
    *,
    hidden: bool = False,
    strangers: Mapping[str, Stamp] | None = None,
    pictures: Callable[[], Mapping[str, Stamp]] | None = None,
) -> Found:
    """All pictures below a folder.

    Passed over, and counted by kind, are: hidden files and folders; recycle bins, caches of thumbnails and other
    folders that systems and programs keep for themselves (:func:`is_system`); and what is no picture. A file whose
    name does not tell is opened, and known by its first bytes. What was passed over and could surprise is said in a
    line on stderr. Links to files are followed; links to folders are not (what they lead to lies outside, is found
    anyway, or is a loop).

    Args:
        folder: where to start: a folder, which is walked whatever it is called, or another place of pictures.
        hidden: take in what is hidden, and the folders of systems and programs.
        strangers: as an earlier walk gave them; files that are as they were then are not opened again.
        pictures: what gives the size and time of each known picture by its path. Where names do not tell, it is asked,
            once, and pictures that are as they were are not opened again either.

    Returns:
        The pictures, what had to be left out (names that are not UTF-8, broken links, links to folders, folders that
        may not be read, pipes and devices), and what was passed over.

    Raises:
        RetrievalError: if there is no such folder, or it cannot be listed to the end.
    """
    root = folder if isinstance(folder, Root) else Folder(Path(folder))
    walk = _Walk(root, hidden, strangers or {}, pictures or dict)
    paths: list[str] = []
    skipped: list[Skipped] = []
    for path, reason in walk.files():
        if reason is None and not _is_utf8(path):
            reason = "name is not UTF-8"
        if reason is None:
            paths.append(path)
        else:
            skipped.append(Skipped(printable(path), reason))
    passed = dict(sorted(walk.passed.items(), key=lambda one: (-one[1], one[0])))
    surprising = [kind for kind in passed if kind in _SAID or kind[0].isupper()]
    if surprising:
        shown = ", ".join(_counted(kind, passed[kind], walk.examples[kind]) for kind in surprising)
        note(f"Passed over in {printable(root.name)!r}: {shown}.")
    return Found(tuple(sorted(paths)), tuple(sorted(skipped)), passed, walk.strangers)


def is_system(name: str) -> bool:
    """Whether a folder of this name is a recycle bin, a cache of thumbnails, or another that nobody keeps pictures in.

    Args:
        name: one part of a path.
    """
    return _SYSTEM.fullmatch(name) is not None


class _Walk:
    """One walk below a folder, and what it passes over."""

    def __init__(
        self, root: Root, hidden: bool, known: Mapping[str, Stamp], pictures: Callable[[], Mapping[str, Stamp]]
    ) -> None:
        self.passed: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self.strangers: dict[str, Stamp] = {}
        self._root = root
        self._hidden = hidden
        self._known = known
        self._pictures = functools.cache(pictures)

    def files(self) -> Iterator[tuple[str, str | None]]:
        """Relative path, and why it cannot be taken (None if it can), of whatever looks like a picture."""
        waiting = [""]
        doubtful: list[tuple[str, Stamp]] = []
        with bar(None, "Listing", "files") as listed:
            for inside, found in self._root.walk(waiting):
                if isinstance(found, str):
                    yield inside, found
                    continue
                listed.update(len(found))
                for entry in found:
                    path = f"{inside}/{entry.name}" if inside else entry.name
                    folder = entry.is_dir(follow_symlinks=False)
                    kind = None if self._hidden else self._unseen(entry.name, folder)
                    ending = suffix(entry.name)
                    if kind is not None:
                        self._pass(kind, path)
                    elif folder:
                        waiting.append(path)
                    elif ending in SUFFIXES:
                        yield path, _obstacle(entry)
                    elif entry.is_symlink() and _is_folder(entry):
                        yield path, "link to a folder"
                    elif (kind := other_kind(ending)) is not None:
                        self._pass(kind, path)
                    elif (stamp := _stamp(entry)) is None:  # nothing says that it is a picture
                        self._pass("other", path)
                    elif self._known.get(path) == stamp:
                        self.strangers[path] = stamp
                        self._pass("other", path)
                    elif self._pictures().get(path) == stamp:
                        yield path, None
                    else:
                        doubtful.append((path, stamp))
        heads = in_order(self._head, (path for path, _ in doubtful), self._root.readers)
        for (path, stamp), head in zip(doubtful, heads, strict=True):
            if isinstance(head, str):
                yield path, head
            elif head is not None and is_picture(head):
                yield path, None
            else:
                kind_found = None if head is None else kind_of(head)
                if head is not None and kind_found is None:
                    self.strangers[path] = stamp
                self._pass("other" if kind_found is None else kind_found.name, path)

    def _head(self, path: str) -> bytes | str | None:
        """The first bytes of a file; why they cannot be read today; None where nothing says that it is a picture."""
        try:
            return self._root.head(path, HEAD)
        except NotOpenedError as refused:
            return refused.reason
        except OSError:
            return None

    @staticmethod
    def _unseen(name: str, folder: bool) -> str | None:
        if folder and is_system(name):
            return "system folder"
        if not name.startswith("."):
            return None
        # What macOS leaves beside a file on foreign disks is named like the file, with "._" before it.
        return "hidden" if folder or name.startswith("._") or suffix(name) not in SUFFIXES else "hidden picture"

    def _pass(self, kind: str, path: str) -> None:
        self.passed[kind] += 1
        self.examples[kind] = min(path, self.examples.get(kind, path))


def _counted(kind: str, count: int, example: str) -> str:
    return f"{count:,} {kind}{'s' if count > 1 and kind[0].islower() else ''} ({printable(example)!r})"


def _obstacle(entry: Entry) -> str | None:
    """Why a directory entry is no file that can be opened; None if it is one."""
    try:
        if entry.is_file():
            return None
        if entry.is_symlink():
            return "link to a folder" if entry.is_dir() else irregular(entry.stat().st_mode)
        return "not a regular file"
    except OSError as error:
        return "broken link" if entry.is_symlink() else failure(error)


def _stamp(entry: Entry) -> Stamp | None:
    """The size and time of a file; None if it is none, or does not say."""
    try:
        status = entry.stat()
    except OSError:  # a broken link, no permission
        return None
    return stamp_of(status) if stat.S_ISREG(status.st_mode) else None


def _is_folder(entry: Entry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself, a name that is too long
        return False


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
