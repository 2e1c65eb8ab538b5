"""A folder of pictures in an object store: listed in parallel, and read a file at a time into nameless files here."""

from __future__ import annotations

import dataclasses
import functools
import os
import stat
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from retrieval.base.object_address import PACKAGES, Address, is_object, is_possible
from retrieval.base.placed_files import (
    MAX_BYTES,
    NAMED,
    OUTSIDE,
    Entry,
    FileElsewhere,
    NotOpenedError,
    NotReachedError,
    PictureFile,
    Placed,
    Root,
    Stamp,
    failure,
)
from retrieval.errors import RetrievalError
from retrieval.places.client import Client, Page, TooLargeError
from retrieval.places.patience import Patience, words

BRIEF, LONG = 4.0, 60.0
"""Seconds that an object is asked for again where somebody waits to see it, and in a build."""

LISTERS, READERS = 16, 12
"""Folders that are listed at a time, and objects that are read at a time for each core."""

_AHEAD = 8 * 2**20
"""Bytes of an object up to which it is fetched before its turn."""

_IMPOSSIBLE = "not a possible path: a part of it is empty, . or .."


class ObjectFile(PictureFile):
    """An object that was read, as a file that only this process has.

    Args:
        descriptor: of that file, which is closed with this. stamp: of the object.
    """

    def __init__(self, descriptor: int, stamp: Stamp) -> None:
        super().__init__(descriptor, "rb")
        self._stamp = stamp

    def stamp(self) -> Stamp:
        return self._stamp


class _Object:
    """An object, or a folder, as an entry of its folder."""

    __slots__ = ("_stamp", "name")

    def __init__(self, name: str, stamp: Stamp | None) -> None:
        self.name = name
        self._stamp = stamp

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return self._stamp is None

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return self._stamp is not None

    def is_symlink(self) -> bool:
        return False

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        size, changed_ns = self._stamp or (0, 0)
        mode = stat.S_IFDIR if self._stamp is None else stat.S_IFREG
        return os.stat_result((mode, 0, 0, 1, 0, 0, size, 0, 0, 0), {"st_mtime_ns": changed_ns})


@dataclass
class _Listing:
    """What a walk has seen: the stamps of objects by their paths, folders, and those that were listed to the end."""

    stamps: dict[str, Stamp] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    listed: set[str] = field(default_factory=set)

    def says(self, path: str) -> bool:
        """Whether it tells if there is an object."""
        if path in self.stamps:
            return True
        folder = path.rpartition("/")[0]
        while folder and folder not in self.folders:
            folder = folder.rpartition("/")[0]
        return folder in self.listed  # and nothing in it leads on to the path


class _Connection(NamedTuple):
    client: Client
    patience: Patience


@dataclass(frozen=True)
class Bucket(Root):
    """A bucket, or a folder in one: all objects whose keys begin with its own and "/".

    It is made again from :attr:`address` alone, in another process or on another machine: what a walk has seen, and
    the connection, are this process's own.

    Attributes:
        at: where it is.
        named: pictures may lie elsewhere by absolute paths, and by addresses.
        seconds: for which an object is asked for again that is not given.
    """

    at: Address
    named: bool = False
    seconds: float = BRIEF
    _seen: list[_Listing] = field(default_factory=list, compare=False, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return Bucket, (self.at, self.named, self.seconds)

    def __truediv__(self, name: str | os.PathLike[str]) -> Placed:
        inside = os.fspath(name)
        if inside.startswith("/"):
            return FileElsewhere(self, inside)
        if not is_object(inside):
            return PlacedObject(self, inside)
        own = self.path_of(inside)
        return object_elsewhere(self, inside) if own is None else PlacedObject(self, own)

    @property
    def address(self) -> str:
        return str(self.at)

    @property
    def places(self) -> frozenset[str]:
        return frozenset((self.address, str(self.at._replace(key=""))))

    @property
    def readers(self) -> int:
        return READERS

    def walk(self, waiting: list[str]) -> Iterator[tuple[str, Sequence[Entry] | str]]:
        listing = _Listing()
        self._seen[:] = [listing]
        more: list[tuple[str, Any]] = []
        running: dict[Future[Page], str] = {}
        pool = ThreadPoolExecutor(LISTERS, "listing")
        try:
            while waiting or more or running:
                while len(running) < LISTERS and (more or waiting):
                    inside, token = more.pop() if more else (waiting.pop(), None)
                    running[pool.submit(self._page, inside, token)] = inside
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    inside = running.pop(future)
                    page = self._listed(inside, future)
                    if isinstance(page, str):
                        yield inside, page
                        continue
                    if page.token is not None:
                        more.append((inside, page.token))
                    else:
                        listing.listed.add(inside)
                    yield from self._entries(inside, page, listing)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def head(self, path: str, count: int) -> bytes:
        if (self.stamp(path) or (0,))[0] == 0:
            return b""
        client, patience = self._connection
        return patience.call(lambda: client.head(self.at.key_of(path), count), self.seconds)

    def stamp_of_object(self, path: str) -> Stamp | None:
        """See :meth:`Root.stamp`."""
        if self._seen and self._seen[0].says(path):
            return self._seen[0].stamps.get(path)
        if not is_possible(path):
            return None
        client, patience = self._connection
        try:
            return patience.call(lambda: client.stamp(self.at.key_of(path)), self.seconds)
        except NotReachedError as error:
            raise OSError(error.reason) from error

    def settled(self, path: str, began_ns: int) -> Stamp | None:
        return self.stamp(path)

    def is_there(self) -> bool:
        return True  # as far as anybody knows who has not asked

    def is_folder(self) -> bool:
        if not self.at.key:
            return True
        try:
            return dataclasses.replace(self, at=self.at._replace(key="")).stamp(self.at.key) is None
        except OSError:  # whoever lists it says why
            return True

    def allowing(self, details: Mapping[str, object]) -> Bucket:
        return dataclasses.replace(self, named=bool(details.get(NAMED)))

    def patient(self) -> Bucket:
        return dataclasses.replace(self, seconds=LONG)

    def path_of(self, place: str) -> str | None:
        begin = f"{self.address}/"
        path = place.removeprefix(begin)
        return path if place.startswith(begin) and is_possible(path) else None

    def read(self, path: str, most: int = MAX_BYTES) -> ObjectFile:
        """An object's bytes, in a file that has no name and is gone when it is closed.

        Args:
            path: of the object. most: bytes that it may have.

        Raises:
            NotOpenedError: it is too large, has no possible path, or is not given today.
            OSError: there is none.
            RetrievalError: the store is gone.
        """
        if not is_possible(path):
            raise NotOpenedError(OUTSIDE)
        client, patience = self._connection

        def attempt() -> ObjectFile:
            with tempfile.TemporaryFile(buffering=0) as file:
                stamp = client.read(self.at.key_of(path), file, most)
                file.seek(0)
                return ObjectFile(os.dup(file.fileno()), stamp)

        try:
            return patience.call(attempt, self.seconds)
        except FileNotFoundError:
            raise
        except PermissionError as error:
            raise NotReachedError(f"no permission ({words(error)})") from error
        except OSError as error:  # no room for it here, for one
            raise NotReachedError(failure(error)) from error

    @property
    def _connection(self) -> _Connection:
        return _connected(self.at.scheme, self.at.bucket, os.getpid())

    def _page(self, inside: str, token: Any) -> Page:
        client, patience = self._connection
        folder = self.at.key_of(inside)
        return patience.call(lambda: client.page(f"{folder}/" if folder else "", token), max(self.seconds, LONG))

    def _listed(self, inside: str, page: Future[Page]) -> Page | str:
        """A page of a folder; or why there is none, of a folder in it."""
        try:
            return page.result()
        except NotReachedError as error:
            raise RetrievalError(
                f"{self.address!r} could not be listed to the end ({error.why}), so that nothing was changed; run "
                "the same command again."
            ) from error
        except FileNotFoundError as error:
            if inside:
                return Page((), (), None)  # it went meanwhile
            raise RetrievalError(
                f"There is no {self.address!r}, or no bucket of that name; look for a typing error, or at the endpoint "
                "and the region in the environment."
            ) from error
        except OSError as error:
            if inside:
                return f"folder: {failure(error)}"
            raise RetrievalError(
                f"{self.address!r} may not be listed ({words(error)}); give the credentials of somebody who may, in "
                f"the environment or in a profile, as {PACKAGES[self.at.scheme]} takes them."
            ) from error

    def _entries(self, inside: str, page: Page, listing: _Listing) -> Iterator[tuple[str, Sequence[Entry] | str]]:
        begin = f"{inside}/" if inside else ""
        entries: list[_Object] = []
        for name in page.folders:
            if is_possible(name):
                listing.folders.add(begin + name)
                entries.append(_Object(name, None))
            else:
                yield f"{begin}{name}/", _IMPOSSIBLE
        for name, stamp in page.objects:
            if is_possible(name):
                listing.stamps[begin + name] = stamp
                entries.append(_Object(name, stamp))
            elif name or stamp[0]:  # an empty object of the folder's own name only says that the folder is there
                yield begin + name, _IMPOSSIBLE
        yield inside, entries


@dataclass(frozen=True)
class PlacedObject(Placed):
    """An object by its path in a bucket."""

    root: Bucket

    def __fspath__(self) -> str:
        return f"{self.root.address}/{self.inside}"

    def stamp(self) -> Stamp | None:
        return self.root.stamp_of_object(self.inside)

    def open(self) -> PictureFile:
        return self.root.read(self.inside)

    def fetched(self) -> Placed:
        try:
            return _FetchedObject(self.root, self.inside, self.root.read(self.inside, _AHEAD))
        except TooLargeError:
            return self  # it is read when there is room for it
        except (NotOpenedError, OSError) as error:
            return _FetchedObject(self.root, self.inside, error)


@dataclass(frozen=True)
class _FetchedObject(PlacedObject):
    """An object that was read, to be opened once; or why it was not."""

    got: ObjectFile | Exception

    def open(self) -> PictureFile:
        if isinstance(self.got, Exception):
            raise self.got
        return self.got


@dataclass(frozen=True)
class _ObjectElsewhere(Placed):
    """An object by its address, for a root that lets its pictures lie elsewhere."""

    at: PlacedObject

    def __fspath__(self) -> str:
        return self.inside

    def stamp(self) -> Stamp | None:
        return self.at.stamp()

    def open(self) -> PictureFile:
        if not self.root.named:
            raise NotOpenedError(OUTSIDE)
        return self.at.open()


def object_elsewhere(root: Root, address: str) -> Placed:
    """An object that does not lie in the root.

    Raises:
        NotOpenedError: there is no such address.
    """
    try:
        scheme, bucket, key = Address.of(address)
    except RetrievalError as error:
        raise NotOpenedError("not a possible address") from error
    return _ObjectElsewhere(root, address, PlacedObject(Bucket(Address(scheme, bucket, "")), key))


_CONNECTING = threading.Lock()


def _connected(scheme: str, bucket: str, process: int) -> _Connection:
    with _CONNECTING:
        return _connection(scheme, bucket, process)


@functools.lru_cache(16)
def _connection(scheme: str, bucket: str, process: int) -> _Connection:
    try:
        if PACKAGES[scheme] == "s3fs":
            from retrieval.places.s3_client import S3Client

            client: Client = S3Client(bucket)
        else:
            from retrieval.places.fsspec_client import FsspecClient

            client = FsspecClient(scheme, bucket)
    except ImportError as error:
        raise RetrievalError(
            f"Reading from {scheme}:// needs fsspec and {PACKAGES[scheme]}; install them (`pip install "
            f"'retrieval[objects]'{'' if PACKAGES[scheme] == 's3fs' else ' ' + PACKAGES[scheme]}`)."
        ) from error
    return _Connection(client, Patience(str(Address(scheme, bucket, ""))))
