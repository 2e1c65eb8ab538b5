"""A real S3 server on this machine, in a process of its own: moto's, which keeps everything in memory."""

from __future__ import annotations

import http.client
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

REGION = "us-east-1"

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIATESTTESTTEST", "AWS_SECRET_ACCESS_KEY": "a-very-secret-key-of-nobody"}
"""Which the server takes, as it takes any."""


def installed() -> bool:
    """Whether the server, and what reads from it, is installed here."""
    return all(importlib.util.find_spec(name) for name in ("moto", "flask", "flask_cors", "s3fs"))


class S3Server:
    """A server."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **CREDENTIALS, "AWS_DEFAULT_REGION": REGION, "PYTHONDONTWRITEBYTECODE": ""},
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    @property
    def address(self) -> str:
        """Its endpoint."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """With which it, and nothing else, is read from."""
        nobodys = dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), os.devnull)
        return {**CREDENTIALS, **nobodys, "AWS_DEFAULT_REGION": REGION, "AWS_ENDPOINT_URL": self.address}

    def close(self) -> None:
        """Stop it."""
        self._process.kill()
        self._process.wait()

    def request(self, method: str, path: str, data: bytes = b"", status: int = 200) -> bytes:
        """Do something with it, without any of the libraries that are tested."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        # Signed by nobody, and taken: it says who asks, and that is all that the server looks at.
        who = f"AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/s3/aws4_request, SignedHeaders=host, Signature=0"
        connection.request(method, path, data, {"Authorization": who, "Content-Length": str(len(data))})
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == status, (method, path, answer.status, body)
        connection.close()
        return body

    def make(self, bucket: str) -> None:
        """Make a bucket."""
        self.request("PUT", f"/{bucket}")

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """Put an object."""
        self.request("PUT", f"/{bucket}/{quote(key)}", data)

    def delete(self, bucket: str, key: str) -> None:
        """Take one away."""
        self.request("DELETE", f"/{bucket}/{quote(key)}", status=204)

    def fill(self, bucket: str, count: int, folders: int) -> None:
        """Put very many empty objects, spread over some folders."""
        for start in range(0, count, 10_000):  # none of which takes as long as a request may
            self.request("POST", f"/moto-fill/{bucket}/{start}/{min(start + 10_000, count)}/{folders}")

    def upload(self, bucket: str, folder: Path, below: str = "") -> list[str]:
        """Put all files in a folder that can be objects: links as what they lead to; the keys of the others."""
        left_out = []
        for path, name in _files(folder):
            key = f"{below}/{name}" if below else name
            try:
                key.encode()
                if not path.is_file() or path.stat().st_size > 2**27:
                    raise OSError
                self.put(bucket, key, path.read_bytes())
            except (OSError, UnicodeEncodeError):
                left_out.append(key)
        return left_out


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    for where, _, names in os.walk(folder):
        for name in names:
            path = Path(where, name)
            yield path, path.relative_to(folder).as_posix()


_STAND_IN = "\u2424".encode()


def _serve() -> None:
    from moto.s3.models import s3_backends
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    whole = DomainDispatcherApplication(create_backend_app)

    def app(environ, start):  # type: ignore[no-untyped-def]
        parts = environ["PATH_INFO"].split("/")
        if parts[1] != "moto-fill":
            # S3 takes newlines in keys, and moto's routes do not: it keeps another letter in their place.
            environ["PATH_INFO"] = environ["PATH_INFO"].replace("\n", _STAND_IN.decode("latin-1"))
            environ["RAW_URI"] = environ["REQUEST_URI"] = environ.get("RAW_URI", "").replace("%0A", quote(_STAND_IN))
            kept = []
            answer = b"".join(whole(environ, lambda *head: kept.append(head)))
            if environ["REQUEST_METHOD"] == "GET" and environ["QUERY_STRING"]:
                answer = answer.replace(quote(_STAND_IN).encode(), b"%0A")
            status, headers = kept[0][:2]
            if environ["REQUEST_METHOD"] != "HEAD":
                headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
                headers.append(("Content-Length", str(len(answer))))
            start(status, headers)
            return [answer]
        backend = s3_backends["123456789012"]["aws"]
        for number in range(int(parts[3]), int(parts[4])):
            backend.put_object(parts[2], f"{number % int(parts[5]):02d}/{number:07d}.jpg", b"")
        start("200 OK", [])
        return [b""]

    server = make_server("127.0.0.1", 0, app, threaded=True)
    print(server.port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    _serve()
