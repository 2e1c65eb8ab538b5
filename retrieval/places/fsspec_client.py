"""What any store that fsspec knows is asked for."""

from __future__ import annotations

from typing import IO, Any

import fsspec

from retrieval.base.placed_files import Stamp
from retrieval.places.client import Listed, Page, TooLargeError, stamp_by

_BLOCK = 8 * 2**20
"""Bytes that one request asks for."""

_TIMES = ("LastModified", "last_modified", "updated", "mtime", "timeModified", "created")
_TAGS = ("ETag", "etag", "generation", "md5Hash", "VersionId")
"""Where stores say when an object changed, and what tells its versions apart."""


class FsspecClient:
    """A bucket.

    Args:
        scheme: of the addresses of its store. bucket: its name.
    """

    def __init__(self, scheme: str, bucket: str) -> None:
        self._fs = fsspec.filesystem(scheme, use_listings_cache=False, skip_instance_cache=True)
        self._bucket = bucket

    def page(self, folder: str, token: Any) -> Page:
        """See :meth:`retrieval.places.client.Client.page`; there is one page alone."""
        begin = f"{self._bucket}/{folder}"
        objects, folders = [], []
        for one in self._fs.ls(begin.rstrip("/"), detail=True):
            name = one["name"].lstrip("/").removeprefix(begin).rstrip("/")
            if one["type"] == "directory":
                folders.append(name)
            elif one["name"].lstrip("/").startswith(begin):
                objects.append(Listed(name, _stamp(one)))
        return Page(objects, folders, None)

    def stamp(self, key: str) -> Stamp | None:
        """See :meth:`retrieval.places.client.Client.stamp`."""
        try:
            found = self._fs.info(self._path(key))
        except FileNotFoundError:
            return None
        return _stamp(found) if found["type"] == "file" else None

    def head(self, key: str, count: int) -> bytes:
        """See :meth:`retrieval.places.client.Client.head`."""
        return bytes(self._fs.cat_file(self._path(key), start=0, end=count))

    def read(self, key: str, file: IO[bytes], most: int) -> Stamp:
        """See :meth:`retrieval.places.client.Client.read`."""
        stamp = self.stamp(key)
        if stamp is None:
            raise FileNotFoundError
        size = stamp[0]
        if size > most:
            raise TooLargeError(size)
        while (start := file.tell()) < size:
            block = self._fs.cat_file(self._path(key), start=start, end=min(start + _BLOCK, size))
            file.write(block)
            if not block:
                break
        several = size > _BLOCK  # of which the first and the last may be of two versions
        if file.tell() != size or (several and self.stamp(key) != stamp):
            raise ConnectionError
        return stamp

    def _path(self, key: str) -> str:
        return f"{self._bucket}/{key}"


def _stamp(found: dict[str, Any]) -> Stamp:
    return stamp_by(
        found["size"] or 0,
        next((found[name] for name in _TIMES if found.get(name)), None),
        next((found[name] for name in _TAGS if found.get(name)), None),
    )
