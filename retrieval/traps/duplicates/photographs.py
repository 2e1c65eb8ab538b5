"""Which names are one file, and which files are one photograph.

Two names of one file (symbolic and hard links, bind mounts) are no copies: nothing would come free if one went, and
if the wrong one went, the only file would be gone. And a camera or a telephone writes one photograph as several files
of one stem, with what a program notes about it beside them:

- a camera RAW or HEIC file with the JPEG of the same shot, and whatever else of that stem is a picture;
- the film of a live photograph;
- sidecars: `IMG_1.xmp`, `IMG_1.aae`, `IMG_1.jpg.xmp`, `IMG_1.jpg.json`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from retrieval import images
from retrieval.images.kinds import RAW_SUFFIXES, other_kind, suffix

HEIF = frozenset((".heic", ".heif", ".hif"))
"""What telephones write, often with a JPEG beside it."""

SIDECARS = frozenset((".xmp", ".aae", ".thm", ".pp3", ".dop", ".json", ".wav"))
"""What programs and cameras note beside a picture: development, edits, a caption, a voice."""


@dataclass(frozen=True)
class Seen:
    """A file as it was when it was looked at: only while it still is so may it be moved.

    Attributes:
        path: relative to the folder, or absolute.
        size: bytes.
        mtime_ns: when it last changed.
        device: with `inode`, what tells it from every other file.
        inode: likewise.
        links: names that it has, as the file system counts them: hard links.
    """

    path: str
    size: int
    mtime_ns: int
    device: int
    inode: int
    links: int

    @classmethod
    def of(cls, path: str, status: os.stat_result) -> Seen:
        """What a file's status says of it."""
        return cls(path, status.st_size, status.st_mtime_ns, status.st_dev, status.st_ino, status.st_nlink)

    def still(self, status: os.stat_result) -> bool:
        """Whether a status is that of the same file, unchanged."""
        now = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        return stat.S_ISREG(status.st_mode) and now == (self.device, self.inode, self.size, self.mtime_ns)


@dataclass(frozen=True)
class OneFile:
    """A file with all its names.

    Attributes:
        seen: itself, under the name that is no link where there is one; None if there is no such file.
        path: that name.
        names: its others, sorted.
        linked: whether every name is a symbolic link, or lies behind one.
    """

    seen: Seen | None
    path: str
    names: tuple[str, ...] = ()
    linked: bool = False


def in_system_folder(path: str) -> bool:
    """Whether a path leads through a recycle bin, a cache of thumbnails or another folder of a system."""
    return any(images.is_system(part) for part in PurePosixPath(path).parts[:-1])


def files_of(root: Path, paths: Iterable[str]) -> list[OneFile]:
    """The files that names lead to, each once, in the order of their first names.

    Args:
        root: where relative paths start from, free of links.
        paths: names.
    """
    found: dict[tuple[int, ...], list[tuple[bool, str, Seen]]] = {}
    files: list[tuple[int, ...] | str] = []
    straight: dict[str, bool] = {}  # folders, and whether no link is on the way to them
    for path in paths:
        try:
            full = os.path.join(root, path)  # noqa: PTH118 (a million times)
            status = os.stat(full)  # noqa: PTH116
            folder = os.path.dirname(full)  # noqa: PTH120
            if folder not in straight:
                straight[folder] = os.path.realpath(folder) == os.path.normpath(folder)
            linked = os.path.islink(full) or not straight[folder]  # noqa: PTH114
        except (OSError, ValueError):  # whoever reads it will say why
            files.append(path)
            continue
        # Size and time as well: some network file systems give several files one number. Others give all of them 0.
        key: tuple[int, ...] = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if status.st_ino == 0:
            key = (len(files),)
        if key not in found:
            files.append(key)
        found.setdefault(key, []).append((linked, path, Seen.of(path, status)))
    out = []
    for one in files:
        if isinstance(one, str):
            out.append(OneFile(None, one))
            continue
        (linked, path, seen), *others = sorted(found[one], key=lambda name: name[:2])
        out.append(OneFile(seen, path, tuple(sorted(name[1] for name in others)), linked))
    return out


@dataclass(frozen=True)
class Beside:
    """What lies beside the pictures of a photograph.

    Attributes:
        files: its other files: a RAW, a film, a picture that cannot be read.
        sidecars: what is noted about it.
    """

    files: tuple[Seen, ...] = ()
    sidecars: tuple[Seen, ...] = ()


def photographs(root: Path, paths: Sequence[str]) -> list[tuple[list[int], Beside]]:
    """Pictures put together that are one photograph, with what belongs to them.

    A stem stands for one photograph if only one picture has it, or if one of its files is a RAW or HEIC. Where several
    ordinary pictures share a stem, each is its own, and what belongs to the stem belongs to none of them.

    Args:
        root: where relative paths start from.
        paths: one name of each file that could be read as a picture.

    Returns:
        Rows of `paths`, and what lies beside them, one for each photograph.
    """
    rows: dict[tuple[str, str], list[int]] = {}
    for row, path in enumerate(paths):
        folder, name = os.path.split(path)
        rows.setdefault((folder, _stem(name)), []).append(row)
    listings: dict[str, _Listing] = {}
    found = []
    for (folder, stem), some in rows.items():
        if folder not in listings:
            listings[folder] = _Listing(root, folder)
        listing = listings[folder]
        taken = {os.path.basename(paths[row]) for row in some}  # noqa: PTH119
        together = [name for name in listing.stems.get(stem, ()) if name not in taken]
        original = any(suffix(name) in RAW_SUFFIXES | HEIF for name in (*taken, *together))
        pictures = len(some) + sum(suffix(name) in images.SUFFIXES for name in together)
        alone = original or pictures == 1
        for part in [some] if alone else [[row] for row in some]:
            files = [name for name in together if alone and (is_film(name) or suffix(name) in images.SUFFIXES)]
            sidecars = [name for name in together if alone and suffix(name) in SIDECARS]
            sidecars += [name for row in part for name in listing.of_name(os.path.basename(paths[row]))]  # noqa: PTH119
            found.append((part, Beside(listing.seen(files), listing.seen(sidecars))))
    return found


class _Listing:
    """The ordinary files of one folder, by what their names begin with."""

    def __init__(self, root: Path, folder: str) -> None:
        self._root, self._folder = root, folder
        self.stems: dict[str, list[str]] = {}
        self._sidecars: dict[str, list[str]] = {}
        try:
            with os.scandir(root / folder) as entries:
                names = sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False))
        except OSError:
            names = []
        for name in names:
            self.stems.setdefault(_stem(name), []).append(name)
            if suffix(name) in SIDECARS:
                start = name.find(".", 1)
                while start > 0:
                    self._sidecars.setdefault(name[:start], []).append(name)
                    start = name.find(".", start + 1)

    def of_name(self, picture: str) -> list[str]:
        """The sidecars whose names are a whole picture's with something behind it."""
        return self._sidecars.get(picture, []) if "." in picture else []

    def seen(self, names: list[str]) -> tuple[Seen, ...]:
        found = []
        for name in dict.fromkeys(names):
            path = f"{self._folder}/{name}" if self._folder else name
            try:
                found.append(Seen.of(path, (self._root / path).lstat()))
            except OSError:  # gone meanwhile
                continue
        return tuple(found)


def has_original(paths: Iterable[str]) -> bool:
    """Whether one of these is the file of a camera, of which pictures are made."""
    return any(suffix(path) in RAW_SUFFIXES for path in paths)


def is_film(name: str) -> bool:
    """Whether a file is the moving part of a live photograph, by its name."""
    return other_kind(suffix(name)) == "video"


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]  # noqa: PTH122
