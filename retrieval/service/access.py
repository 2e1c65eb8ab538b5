"""Who may ask what: every request passes here before anything else looks at it.

- The ``Host`` must be one that the service listens on, or was told of: a page elsewhere whose name somebody points to
  this machine (DNS rebinding) is turned away.
- A token comes in ``Authorization: Bearer`` or, from the page, in a cookie, which holds a keyed hash of it.
- What changes anything or asks much (every method but GET and HEAD) must not come from a page elsewhere; the browser
  says so in ``Sec-Fetch-Site`` and ``Origin``.
- Bytes, requests at a time and requests a second are bounded.
- Every answer says to the browser that nothing but the service's own files may run in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

from retrieval.service import limits
from retrieval.service.problems import MEDIA, Problem, busy
from retrieval.service.settings import Settings, is_loopback

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

COOKIE = "retrieval_session"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

_HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"geolocation=(), microphone=()"),
)

_OPEN = ("/", "/healthz", "/readyz", "/session", "/favicon.ico")
_OPEN_BELOW = ("/static/", "/i/")
"""Paths that hold nothing of anybody's pictures: the page itself, which then asks for a token."""

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_DRAINED = 4 * limits.UPLOAD
"""Bytes of a request that is refused that are read before it is told."""

_KNOWN = 10_000
"""Addresses whose requests are counted at a time."""


def granted(settings: Settings, headers: Mapping[bytes, bytes]) -> tuple[bool, bool]:
    """Whether who sent these headers may read, and write.

    Every token is compared, and in constant time, so that the time that it takes says nothing.
    """
    if not settings.tokens:
        return True, settings.write
    given = headers.get(b"authorization", b"")
    token = given[7:].strip() if given[:7].lower() == b"bearer " else b""
    try:
        morsel = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1")).get(COOKIE)
    except CookieError:
        morsel = None
    session = b"" if morsel is None else morsel.value.encode("latin-1")
    return _among(settings.readers | settings.writers, token, session), _among(settings.writers, token, session)


def session_of(token: str) -> str:
    """What a cookie holds for a token: nothing that the token could be told from."""
    return hmac.new(token.encode(), b"retrieval session", hashlib.sha256).hexdigest()


def _among(tokens: frozenset[str], token: bytes, session: bytes) -> bool:
    found = False
    for one in tokens:
        found |= hmac.compare_digest(one.encode(), token)
        found |= hmac.compare_digest(session_of(one).encode(), session)
    return found


class Guard:
    """What stands before the application.

    Args:
        app: the application.
        settings: of the service.
        seen: is told the status and the seconds of every answer, with the template of its path.
    """

    def __init__(self, app: Any, settings: Settings, seen: Callable[[str, int, float], None]) -> None:
        self._app = app
        self._settings = settings
        self._seen = seen
        self._names = {name.lower() for name in settings.host_names} | {settings.host.lower()}
        self._now = 0
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # nothing here speaks WebSocket; the server closes the connection
        began = time.perf_counter()
        status = 500
        started = False

        async def sending(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                given = [(name, value) for name, value in message.get("headers", ()) if name != b"server"]
                if not any(name == b"cache-control" for name, _ in given):
                    given.append((b"cache-control", b"no-store"))
                message = {**message, "headers": [*given, *_HEADERS]}
            await send(message)

        self._now += 1
        try:
            headers = dict(scope["headers"])
            scope = self._below_root(scope)
            self._admit(scope, headers)
            await self._app(scope, _Body(receive, _most(scope, headers), headers), sending)
        except Problem as problem:
            if started:
                raise
            await _drain(receive)
            await _answer(problem, sending)
        finally:
            self._now -= 1
            route = scope.get("route")
            self._seen(getattr(route, "path", "other"), status, time.perf_counter() - began)

    def _below_root(self, scope: Scope) -> Scope:
        """A request below the root path, whether the proxy takes that off what it hands on or not."""
        root, path = self._settings.root_path, scope["path"]
        inner = path.removeprefix(root) if path == root or path.startswith(root + "/") else path
        return {**scope, "root_path": root, "path": root + inner}

    def _admit(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        """Refuse what may not be asked."""
        if sum(name == b"host" for name, _ in scope["headers"]) > 1:
            raise Problem(400, "The request has several Hosts; send one.")
        host = headers.get(b"host", b"").decode("latin-1")
        if not self._is_ours(host, scope):
            raise Problem(
                421,
                f"This service is not called {host[:100]!r}; use the address that it listens on, or start it with "
                "--host-name.",
                "wrong-host",
            )
        if self._now > limits.CONNECTIONS:
            raise busy("There are too many requests at a time")
        self._count((scope.get("client") or ("",))[0])
        if scope["method"] not in _SAFE:
            _refuse_foreign(headers, host)
        reads, writes = granted(self._settings, headers)
        scope["may_read"], scope["may_write"] = reads, writes
        path = scope["path"].removeprefix(scope["root_path"])
        if not reads and path not in _OPEN and not path.startswith(_OPEN_BELOW):
            raise Problem(
                401, "A token is needed; give it as `Authorization: Bearer TOKEN`, or on the page.", "token-needed",
                headers={"WWW-Authenticate": "Bearer"},
            )  # fmt: skip

    def _is_ours(self, host: str, scope: Scope) -> bool:
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and not host.endswith("]") else host
        name = name.lower().removeprefix("[").removesuffix("]").removesuffix(".")
        if name in self._names:
            return True
        here = (scope.get("server") or ("", 0))[0]  # where this connection arrived
        if name == "localhost":
            return is_loopback(here)
        try:  # an address cannot be made to point elsewhere, as a name can
            return ipaddress.ip_address(name) == ipaddress.ip_address(here.partition("%")[0])
        except ValueError:
            return False

    def _count(self, address: str) -> None:
        """Take one from what an address may ask: a bucket that fills up again as time goes by."""
        if not address or is_loopback(address):
            return
        now = time.monotonic()
        left, then = self._buckets.pop(address, (limits.BURST, now))
        left = min(limits.BURST, left + (now - then) * limits.RATE)
        self._buckets[address] = max(left - 1, 0), now
        if len(self._buckets) > _KNOWN:
            self._buckets.popitem(last=False)
        if left < 1:
            raise Problem(429, "These are too many requests a second; slow down.", headers={"Retry-After": "1"})


def _refuse_foreign(headers: Mapping[bytes, bytes], host: str) -> None:
    """Refuse what a page of another origin has the browser send."""
    site = headers.get(b"sec-fetch-site", b"none")
    origin = headers.get(b"origin")
    foreign = origin is not None and origin.decode("latin-1").partition("://")[2].lower() != host.lower()
    if site not in (b"same-origin", b"none") or foreign:
        raise Problem(403, "A page of another origin may not ask this service; open its own page.", "foreign-origin")


def _most(scope: Scope, headers: Mapping[bytes, bytes]) -> int:
    """Bytes that a request may have."""
    pictures = headers.get(b"content-type", b"").lower().startswith(b"multipart/")
    return limits.UPLOAD if pictures and scope["method"] == "POST" else limits.BODY


class _Body:
    """The body of a request, up to so many bytes and so many seconds."""

    def __init__(self, receive: Receive, most: int, headers: Mapping[bytes, bytes]) -> None:
        self._receive = receive
        self._most = most
        self._ends = time.monotonic() + limits.PATIENCE * most / limits.BODY
        self._rest = most
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > most:
            raise self._too_large()

    async def __call__(self) -> Message:
        try:
            async with asyncio.timeout(None if self._ends == math.inf else self._ends - time.monotonic()):
                message = await self._receive()
        except TimeoutError:
            raise Problem(408, "The request did not arrive in time; send it again.") from None
        if message["type"] == "http.request":
            self._rest -= len(message.get("body", b""))
            if self._rest < 0:
                raise self._too_large()
            if not message.get("more_body"):
                self._ends = math.inf  # what comes now is that the other side has hung up
        return message

    def _too_large(self) -> Problem:
        return Problem(413, f"The request is larger than {self._most / 2**20:.0f} MiB; send less.", "too-large")


async def _drain(receive: Receive) -> None:
    """Let who sends finish: one that is cut off while it sends does not see the answer."""
    left = _DRAINED
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limits.PATIENCE):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body"):
                    return


async def _answer(problem: Problem, send: Send) -> None:
    body = problem.body()
    headers = {"content-type": MEDIA, "content-length": str(len(body)), "connection": "close", **problem.headers}
    await send(
        {
            "type": "http.response.start",
            "status": problem.status,
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})
