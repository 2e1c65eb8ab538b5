"""A server of models on this machine that answers like the Hugging Face hub, as far as its client asks."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Hub(ThreadingHTTPServer):
    """Serves the files of `folder` as the model `name` at `revision`, and at its main branch.

    Attributes:
        breaks: bytes after which the next answer with weights is broken off; None: none is.
        ranges: the Range headers of the requests for weights.
        gated: ask for conditions to be accepted.
    """

    daemon_threads = True

    def __init__(self, folder: Path, name: str, revision: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.name, self.revision = folder, name, revision
        self.breaks: int | None = None
        self.ranges: list[str | None] = []
        self.gated = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections that are broken off are no news."""


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        hub, path = self.server, self.path.partition("?")[0]
        asked = path.removeprefix(f"/api/models/{hub.name}")
        if path != asked and asked in ("", "/revision/main", f"/revision/{hub.revision}"):
            names = [{"rfilename": file.name} for file in sorted(hub.folder.iterdir())]
            self._send(json.dumps({"id": hub.name, "sha": hub.revision, "siblings": names}).encode(), body)
            return
        if path == f"/api/models/{hub.name}/tree/{hub.revision}":
            self._send(json.dumps([_described(file) for file in sorted(hub.folder.iterdir())]).encode(), body)
            return
        file = hub.folder / path.rpartition("/")[2]
        if not path.startswith(f"/{hub.name}/resolve/{hub.revision}/") or not file.is_file():
            self._send(b"{}", body, 404, {"X-Error-Code": "RepoNotFound"})
            return
        if hub.gated:
            self._send(b"{}", body, 403, {"X-Error-Code": "GatedRepo"})
            return
        content = file.read_bytes()
        large = file.suffix == ".safetensors"
        tag = _described(file)["oid"]
        wanted = self.headers.get("Range")
        begin = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted and body else 0
        more = {"ETag": f'"{tag}"', "X-Repo-Commit": hub.revision, "Accept-Ranges": "bytes"}
        if begin:
            more["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        if large and body:
            hub.ranges.append(wanted)
        self._send(content[begin:], body, 206 if begin else 200, more, hub.breaks if large and body else None)

    def _send(
        self, content: bytes, body: bool, status: int = 200, more: dict[str, str] | None = None, cut: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if body and cut is not None:
            self.server.breaks = None
            self.wfile.write(content[:cut])
            self.close_connection = True
        elif body:
            self.wfile.write(content)


def _described(file: Path) -> dict[str, Any]:
    """A file in a list of files; of a large one the SHA-256 is its name in the client's cache."""
    content = file.read_bytes()
    if file.suffix != ".safetensors":
        return {"type": "file", "path": file.name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
    sha256 = hashlib.sha256(content).hexdigest()
    lfs = {"oid": sha256, "size": len(content), "pointerSize": 134}
    return {"type": "file", "path": file.name, "size": len(content), "oid": sha256, "lfs": lfs}


@contextmanager
def serving(folder: Path, name: str, revision: str) -> Iterator[Hub]:
    """Such a server, which runs until the block ends."""
    with Hub(folder, name, revision) as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
