"""Requests to a service, over connections that are kept."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections.abc import Mapping
from urllib.parse import urlencode

from retrieval import images
from retrieval.base.text import for_terminal
from retrieval.errors import RetrievalError

TOKEN = "RETRIEVAL_TOKEN"
"""The environment variable that holds the token, where none is given."""

TRIES = 6
"""How often something is asked of a service that is busy."""

MOST = 256 * 2**20
"""Bytes of an answer that are read."""


class RefusedError(RetrievalError):
    """What a service did not do; with its sentence."""


class Connection:
    """A way to a service. Any number of threads may use one, and each has a connection of its own.

    Args:
        address: as it was given, for messages.
        host, port, secure: of it.
        root: what stands before every path, quoted.
        token: what it is shown; None for nothing.
        timeout: seconds that an answer may take to come.
    """

    def __init__(
        self, address: str, host: str, port: int | None, *, secure: bool, root: str, token: str | None, timeout: float
    ) -> None:
        self._address = address
        self._host, self._port = host, port
        self._secure = secure
        self._root = root
        self._token = token
        self._timeout = timeout
        self._local = threading.local()
        self._open: list[http.client.HTTPConnection] = []

    def close(self) -> None:
        """Let the connections go."""
        for connection in self._open:
            connection.close()

    def fetch(self, method: str, path: str, wanted: Mapping[str, str], body: bytes = b"", media: str = "") -> bytes:
        """What the service answers; one that is busy is asked again.

        Raises:
            RetrievalError: with its sentence, or one that says why there is none.
        """
        target = f"{self._root}{path}?{urlencode(wanted)}"
        headers = {"Content-Type": media} if media else {}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        for attempt in range(1, TRIES + 1):
            status, data, after = self._once(method, target, body, headers)
            if status < 300:
                return data
            if status not in (409, 429, 503) or attempt == TRIES:
                break
            time.sleep(min(after * 1.5 ** (attempt - 1), 10))
        raise self._refused(status, data)

    def _once(self, method: str, target: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes, float]:
        """Status, content, and the seconds after which to come again."""
        for fresh in (False, True):  # a connection that was kept may have been closed meanwhile
            connection = self._connection(fresh=fresh)
            kept = connection.sock is not None
            try:
                connection.request(method, target, body or None, dict(headers))
                answer = connection.getresponse()
                data = answer.read(MOST + 1)
                if len(data) > MOST:
                    raise self.strange()
                after = answer.headers.get("Retry-After", "")
                return answer.status, data, float(after) if after.isdigit() else 1.0
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if fresh or not kept or isinstance(error, TimeoutError):
                    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
                    plain = isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER"
                    advice = "it speaks no TLS, so write http://" if plain else "see that it runs, and at that address"
                    raise RetrievalError(
                        f"The service {self._address!r} cannot be asked ({reason}); {advice}."
                    ) from None
        raise AssertionError("unreachable")

    def _connection(self, *, fresh: bool) -> http.client.HTTPConnection:
        """This thread's."""
        known: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if known is None:
            kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
            known = kind(self._host, self._port, timeout=self._timeout)
            self._local.connection = known
            self._open.append(known)
        if fresh:
            known.close()  # the next request opens it again
        return known

    def _refused(self, status: int, data: bytes) -> RetrievalError:
        try:
            said = json.loads(data)
            detail, kind, reason = said["detail"], said["type"], said.get("reason")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return self.strange(f"status {status}")
        if kind == "/problems/unreadable-picture" and isinstance(reason, str):
            return images.UnreadableImage("", for_terminal(reason))
        if kind == "/problems/token-needed":
            asked = "another token" if self._token else "a token"
            return RefusedError(f"The service {self._address!r} asks for {asked}; set {TOKEN}, or ask whoever runs it.")
        return RefusedError(for_terminal(str(detail)))

    def strange(self, why: str = "it is no JSON") -> RetrievalError:
        return RetrievalError(f"What answers at {self._address!r} is no service of this program ({why}).")
