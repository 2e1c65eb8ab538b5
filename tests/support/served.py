"""A service that listens on this machine, in a thread, and what asks it without any help of this program."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from retrieval.service.server import Server
from retrieval.service.settings import Settings


class Said(NamedTuple):
    """An answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Served:
    """A service under test."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.address = server.address.rstrip("/")

    def __call__(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, media: str = ""
    ) -> Said:
        """Ask; what is no bytes goes as JSON."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {"Content-Type": media or "application/json"} if data is not None else {}
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, data, {**sent, **(headers or {})})
            answer = connection.getresponse()
            return Said(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    def problem(self, *args: Any, **options: Any) -> tuple[int, str]:
        """Ask, and see that the answer is a problem; its status and sentence."""
        said = self(*args, **options)
        assert said.headers["content-type"] == "application/problem+json", said
        found = said.json
        assert found["status"] == said.status >= 400
        assert {"type", "title", "detail"} <= found.keys()
        assert "Traceback" not in found["detail"]
        return said.status, found["detail"]


@contextlib.contextmanager
def serving(*paths: Path, cache: Path | None = None, **settings: Any) -> Iterator[Served]:
    """A service of some indexes or folders."""
    server = Server(paths, Settings(**{"port": 0, **settings}), cache=cache)
    thread = threading.Thread(target=server.run, name="server")
    thread.start()
    try:
        until(lambda: server.started)
        yield Served(server)
    finally:
        server.stop()
        thread.join(30)
        assert not thread.is_alive()


def until(what: Any, seconds: float = 60) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def form(files: Sequence[tuple[str, bytes]], **fields: str) -> tuple[bytes, str]:
    """A form as a browser sends it, and its media type."""
    parts = [
        f'--B\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    for name, data in files:
        head = (
            f'--B\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: image/png\r\n\r\n'
        )
        parts.append(head.encode() + data + b"\r\n")
    return b"".join(parts) + b"--B--\r\n", "multipart/form-data; boundary=B"
