"""What is shown of the pictures: thumbnails, made anew without what a file says besides its pixels, and the files.

Only a picture of an index is ever opened, by its id, and only where the index's owner lets its pictures lie
(:mod:`retrieval.base.placed_files`). Thumbnails are kept in the user's cache folder by the content of the file that
they are of, whatever index it is in.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import IO, NamedTuple, cast

from PIL import Image

from retrieval.base.placed_files import NotOpenedError, NotReachedError, PictureFile, Placed, failure
from retrieval.base.text import printable
from retrieval.images import kinds
from retrieval.images.decoding import Wanted, decode
from retrieval.index import Item
from retrieval.search.search import Search
from retrieval.service import limits
from retrieval.service.problems import Problem
from retrieval.service.uploads import Upload

SIDES = (64, 128, 256, 512, 1024, 2048)
"""Pixels of the longer side of a thumbnail: the next larger one is made."""

VERSION = 1
"""Of the thumbnails. It goes up with every change that makes others of some file."""

_COLOURS = 100_000
"""Pictures whose mean colour is remembered."""

_SHOWN = {
    kinds.JPEG: "image/jpeg", kinds.PNG: "image/png", kinds.GIF: "image/gif", kinds.WEBP: "image/webp",
    kinds.AVIF: "image/avif", kinds.BMP: "image/bmp",
}  # fmt: skip
"""What browsers show by themselves, and what it is called."""


class Thumbnail(NamedTuple):
    """A small JPEG.

    Attributes:
        data: its bytes. tag: what it is of; the same tag, the same bytes. None where its file has changed since.
    """

    data: bytes
    tag: str | None


class Pictures:
    """Makes and keeps thumbnails, and remembers the mean colours of those that it showed.

    Args:
        cache: where thumbnails are kept; None: nowhere.
        size: bytes that they may take there.
    """

    def __init__(self, cache: Path | None, size: int = limits.THUMBNAILS) -> None:
        self._cache = None if cache is None else DiskCache(cache, size)
        self._colours: OrderedDict[str, str] = OrderedDict()

    def colour(self, sha256: str) -> str | None:
        """The mean colour ("#a0b1c2") of a picture's file, if a thumbnail of it was shown."""
        return self._colours.get(sha256)

    def thumbnail(self, search: Search, item: Item, side: int) -> Thumbnail:
        """A picture of an index, small.

        Raises:
            Problem: its file is not shown, or gone.
            UnreadableImage: it cannot be read.
        """
        side = next((one for one in SIDES if one >= side), SIDES[-1])
        with opened(search, item) as file:
            same = bool(item.sha256) and file.stamp() == (item.size, item.mtime_ns)
            tag = f"{item.sha256}-{side}-{VERSION}" if same else None
            data = self._kept(tag)
            if data is None:
                data = self._made(io.BufferedReader(file), item.path, side, item.sha256 if same else "")
                if tag is not None and self._cache is not None:
                    self._cache.put(tag, data)
            elif item.sha256 not in self._colours:  # it was made by a service that has ended
                with contextlib.suppress(OSError), Image.open(io.BytesIO(data)) as picture:
                    picture.draft("RGB", (1, 1))
                    self._remember(item.sha256, picture)
        return Thumbnail(data, tag)

    def of_upload(self, upload: Upload, side: int) -> Thumbnail:
        """A picture that somebody sent, small; it is kept nowhere.

        Raises:
            UnreadableImage: it cannot be read.
        """
        side = next((one for one in SIDES if one >= side), SIDES[-1])
        made = self._made(io.BytesIO(upload.data), upload.name, side, "")
        return Thumbnail(made, f"{upload.sha256}-{side}-{VERSION}")

    def _kept(self, tag: str | None) -> bytes | None:
        return None if tag is None or self._cache is None else self._cache.get(tag)

    def _made(self, file: IO[bytes], name: str, side: int, sha256: str) -> bytes:
        def small(picture: Image.Image) -> Image.Image:
            picture.thumbnail((side, side), Image.Resampling.LANCZOS)
            return picture

        picture = decode(file, printable(name), Wanted(side, max_pixels=limits.PIXELS), small).made
        if sha256:
            self._remember(sha256, picture)
        content = io.BytesIO()
        # Of the pixels alone, since a picture carries along what its file said besides.
        Image.frombytes(picture.mode, picture.size, picture.tobytes()).save(content, "JPEG", quality=82)
        return content.getvalue()

    def _remember(self, sha256: str, picture: Image.Image) -> None:
        mean = picture.convert("RGB").resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
        self._colours[sha256] = "#{:02x}{:02x}{:02x}".format(*cast(tuple[int, int, int], mean))
        if len(self._colours) > _COLOURS:
            self._colours.popitem(last=False)


def opened(search: Search, item: Item) -> PictureFile:
    """The file of a picture of an index, open.

    Raises:
        Problem: its owner does not show what lies there, it is gone, or its store does not give it now.
    """
    placed: Placed = search.pictures / item.path
    try:
        return placed.open()
    except NotReachedError as missed:
        raise Problem(
            503, f"The picture {printable(item.path)!r} cannot be read: {missed.reason}.", "not-reached"
        ) from None
    except NotOpenedError as refused:
        raise Problem(
            403, f"The picture {printable(item.path)!r} is not shown: {refused.reason}.", "not-shown"
        ) from None
    except OSError as error:
        raise Problem(404, f"The picture {printable(item.path)!r} cannot be read: {failure(error)}.", "gone") from None


def media_of(head: bytes) -> str | None:
    """What a file is called that begins so, if browsers show it by themselves; None for anything else."""
    kind = kinds.kind_of(head)
    return None if kind is None else _SHOWN.get(kind)


class DiskCache:
    """Files by name in a folder that may be deleted at any time; what was used longest ago makes room.

    Args:
        folder: it is made when the first file comes.
        size: bytes of all files, at most.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._folder = folder
        self._size = size
        self._held: int | None = None  # not known before the first file comes
        self._lock = threading.Lock()

    def get(self, name: str) -> bytes | None:
        """What is kept under a name."""
        path = self._path(name)
        try:
            data = path.read_bytes()
            if time.time() - path.stat().st_mtime > 3600:  # it is in use: it had better stay
                os.utime(path)
        except OSError:
            return None
        return data or None

    def put(self, name: str, data: bytes) -> None:
        """Keep something: whole, or not at all, as on a full disk."""
        path = self._path(name)
        temporary = path.with_name(f".{secrets.token_hex(8)}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.parent.mkdir(exist_ok=True, mode=0o700)
            temporary.write_bytes(data)
            temporary.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            return
        with self._lock:
            if self._held is None:
                self._held = sum(size for _, size, _ in self._files())
            else:
                self._held += len(data)
            if self._held > self._size:
                self._prune()

    def _prune(self) -> None:
        """Delete what was used longest ago, until a tenth is free."""
        files = sorted(self._files())
        self._held = sum(size for _, size, _ in files)
        for _, size, path in files:
            if self._held <= 0.9 * self._size:
                return
            with contextlib.suppress(OSError):
                os.unlink(path)  # noqa: PTH108
            self._held -= size

    def _files(self) -> list[tuple[float, int, str]]:
        found = []
        with contextlib.suppress(OSError):
            for folder in os.scandir(self._folder):
                with contextlib.suppress(OSError):
                    for entry in os.scandir(folder.path):
                        status = entry.stat(follow_symlinks=False)
                        found.append((status.st_mtime, status.st_size, entry.path))
        return found

    def _path(self, name: str) -> Path:
        digest = hashlib.sha256(name.encode()).hexdigest()
        return self._folder / digest[:2] / digest
