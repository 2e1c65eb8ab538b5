"""Starting the service, and stopping it: one process, one port."""

from __future__ import annotations

import math
import signal
import socket
import threading
import webbrowser
from collections.abc import Callable, Container, Sequence
from pathlib import Path

from retrieval.base.cache import cache_folder
from retrieval.base.progress import note
from retrieval.base.text import printable
from retrieval.engines.address import Address, is_address
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.index.folder import is_index
from retrieval.service import limits
from retrieval.service.app import create_app
from retrieval.service.collections import Collection, Collections
from retrieval.service.connections import Connection
from retrieval.service.metrics import Metrics
from retrieval.service.service import Service
from retrieval.service.settings import Settings

STOPPING = 10
"""Seconds that requests have to end once the service was told to stop."""


class Server:
    """A service that listens from construction on, and answers while :meth:`run` does.

    Args:
        paths: indexes, or folders of pictures, which are made into indexes first.
        settings: how.
        cache: where thumbnails are kept; None: nowhere.
        mapped: search indexes where they lie on the disk.

    Attributes:
        address: to be opened in a browser.

    Raises:
        RetrievalError: a path is neither, or the address cannot be listened on.
    """

    def __init__(
        self, paths: Sequence[str | Path], settings: Settings, *, cache: Path | None = None, mapped: bool = False
    ) -> None:
        import uvicorn

        metrics = Metrics()
        collections, makes = _collections(paths, metrics, mapped)
        self._socket = _listening(settings)
        try:
            collections.start()
            for collection, pictures in makes:
                collections.build(collection, pictures)
            self.service = Service.of(settings, collections, metrics, cache)
            app = create_app(self.service)
        except BaseException:
            collections.close()
            self._socket.close()
            raise
        self.port = int(self._socket.getsockname()[1])
        self.address = f"{settings.origin}:{self.port}{settings.root_path}/"
        self._uvicorn = uvicorn.Server(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                server_header=False,
                loop="asyncio",
                http=Connection,
                timeout_keep_alive=math.ceil(limits.SILENCE),
                timeout_graceful_shutdown=STOPPING,
                ws="none",
            )
        )

    def run(self) -> None:
        """Answer until :meth:`stop` is called, or SIGTERM or Ctrl-C arrives; what was begun is finished."""
        self._uvicorn.run(sockets=[self._socket])

    def stop(self) -> None:
        """End :meth:`run`, from another thread."""
        self._uvicorn.should_exit = True

    @property
    def started(self) -> bool:
        """Whether it answers."""
        return bool(self._uvicorn.started)


def run(
    paths: Sequence[str | Path],
    settings: Settings,
    *,
    listening: Callable[[str], object],
    open_page: bool = False,
    mapped: bool = False,
) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        paths: indexes, by their folders or addresses, or folders of pictures, which are made into indexes first.
        settings: how.
        listening: is told the address as soon as requests are taken in.
        open_page: show the page in a browser.
        mapped: search indexes where they lie on the disk.

    Raises:
        RetrievalError: a path is neither, or the address cannot be listened on.
    """
    server = Server(paths, settings, cache=cache_folder("thumbnails"), mapped=mapped)
    listening(server.address)
    if not settings.tokens:
        note(
            "WARNING: there is no token, so that everybody on this machine can see the pictures"
            + (" and change the index" if settings.write else "")
            + "; --token-file changes that."
        )
    if open_page:
        threading.Timer(0.5, webbrowser.open, [server.address]).start()
    before = signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn stops, and then hands the signal on
    try:
        server.run()
    finally:
        signal.signal(signal.SIGTERM, before)


def _listening(settings: Settings) -> socket.socket:
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(1024)
        except BaseException:
            listening.close()
            raise
    except OSError as error:
        raise RetrievalError(
            f"{settings.host!r} cannot be listened on at port {settings.port} ({error.strerror or error}); choose "
            "another --host or --port."
        ) from None
    return listening


def _collections(
    paths: Sequence[str | Path], metrics: Metrics, mapped: bool
) -> tuple[Collections, list[tuple[Collection, Path]]]:
    """The indexes by name, and which are to be made of which folder."""
    found: dict[str, Collection] = {}
    makes = []
    for given in paths:
        if is_address(given):
            name = _free(found, Address.of(str(given)).name)
            found[name] = Collection(name, str(given), changed=metrics.index)
            continue
        path = Path(given)
        try:
            index, folder = is_index(path), path.is_dir()
        except OSError as error:
            raise RetrievalError(f"{printable(path)!r} cannot be read ({error.strerror}).") from None
        if not folder:
            raise RetrievalError(
                f"There is no index and no folder of pictures at {printable(path)!r}; give one of them."
            )
        name = path.resolve().name
        if not name:
            raise RetrievalError(f"The folder {printable(path)!r} has no name; build it with `retrieval build --out`.")
        name = _free(found, printable(name))
        out = path if index else _place(path)
        found[name] = Collection(name, out, mapped=mapped, changed=metrics.index)
        if not index:
            makes.append((found[name], path))
    return Collections(list(found.values())), makes


def _free(names: Container[str], name: str) -> str:
    """A name that is not among others yet."""
    free, number = name, 2
    while free in names:
        free, number = f"{name}-{number}", number + 1
    return free


def _place(pictures: Path) -> Path:
    """Where the index of a folder of pictures is made, as `retrieval build` has it.

    Raises:
        RetrievalError: there is an index of another folder.
    """
    root = pictures.resolve()
    out = Path("indexes") / root.name
    if is_index(out):
        with Index.open(out) as index:
            if Path(index.root) != root:
                raise RetrievalError(
                    f"{printable(out)!r} is an index of {printable(index.root)!r}, not of {printable(root)!r}; build "
                    "that under another name (`retrieval build --out`), and serve the index."
                )
    return out
