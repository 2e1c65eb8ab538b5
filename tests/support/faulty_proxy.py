"""Between a client and a server, on a real socket: drops connections, cuts answers short, refuses, takes its time."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Fault = str | float | None
"""None: passed on; "drop": no answer; "cut": half of one; a status, as "503 SlowDown"; seconds, before it is passed
on."""


class FaultyProxy:
    """Passes requests on, or does not.

    Args:
        port: of the server.
        fault: what happens to a request, by its method and path; asked from many threads.
    """

    def __init__(self, port: int, fault: Callable[[str, str], Fault]) -> None:
        self.fault = fault
        self.asked: list[tuple[str, str]] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                proxy.asked.append((self.command, self.path))
                fault = proxy.fault(self.command, self.path)
                self.close_connection = fault is not None
                if fault == "drop":
                    return
                if isinstance(fault, str) and fault != "cut":
                    self._refuse(*fault.split(maxsplit=1))
                    return
                if isinstance(fault, float):
                    time.sleep(fault)
                self._pass_on(cut=fault == "cut")

            def _refuse(self, status: str, code: str) -> None:
                body = f"<Error><Code>{code}</Code><Message>{proxy.secret}</Message></Error>".encode()
                self.send_response(int(status))
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def _pass_on(self, *, cut: bool) -> None:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                connection.request(self.command, self.path, body, dict(self.headers))
                answer = connection.getresponse()
                data = answer.read()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("connection", "transfer-encoding", "content-length", "server", "date"):
                        self.send_header(name, value)
                length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
                self.send_header("Content-Length", length or "0")
                self.end_headers()
                self.wfile.write(data[: len(data) // 2] if cut else data)
                connection.close()

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815 (as they are looked for)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:  # a client that gave up
                pass

        self.secret = "what a server may say of somebody's secret"
        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        """Its endpoint."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()
