"""Who may ask what: hosts, tokens, cookies, foreign pages, sizes."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from served import form, serving

from retrieval.errors import RetrievalError
from retrieval.service import limits
from retrieval.service.access import Guard
from retrieval.service.problems import Problem
from retrieval.service.settings import Settings, read_tokens

if TYPE_CHECKING:
    from served import Served

READ, WRITE = "r" * 20, "w" * 20


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def guarded(index: Path) -> Iterator[Served]:
    """With tokens, a name of its own, and a path below which it lies."""
    with serving(
        index, readers=frozenset({READ}), writers=frozenset({WRITE}), host_names=("pictures.example",), root_path="/p"
    ) as service:
        yield service


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200), ("127.0.0.1", 200), ("localhost:{port}", 200), ("LOCALHOST", 200),
        ("localhost.", 200), ("evil.example", 421), ("evil.example:{port}", 421), ("127.0.0.1.evil.example", 421),
        ("192.168.0.1", 421), ("[::1]", 421), ("", 421), ("localhost@evil.example", 421), ("0.0.0.0", 421),
    ],
)  # fmt: skip
def test_hosts(served: Served, host: str, status: int) -> None:
    """A name that somebody else points here is none of ours."""
    assert served("GET", "/info", headers={"Host": host.format(port=served.server.port)}).status == status


def test_a_name_that_it_was_told(guarded: Served) -> None:
    assert guarded("GET", "/p/healthz", headers={"Host": "pictures.example"}).status == 200
    assert guarded("GET", "/p/healthz", headers={"Host": "picture.example"}).status == 421


@pytest.mark.parametrize(
    "path", ["/info", "/items", "/items/1/image", "/items/1/thumbnail", "/metrics", "/openapi.json", "/nowhere"]
)
def test_without_a_token_nothing_is_told(guarded: Served, path: str) -> None:
    for headers in ({}, bearer("x" * 20), bearer(""), {"Cookie": "retrieval_session=" + READ}, {"Cookie": '="; x'},
                    {"Authorization": f"Basic {READ}"}):  # fmt: skip
        assert guarded.problem("GET", "/p" + path, headers=headers)[0] == 401


def test_a_token_reads_and_another_writes(guarded: Served) -> None:
    assert guarded("GET", "/p/info", headers=bearer(READ)).status == 200
    assert guarded("GET", "/p/session", headers=bearer(READ)).json == {"read": True, "write": False, "tokens": True}
    assert guarded("GET", "/p/session", headers=bearer(WRITE)).json == {"read": True, "write": True, "tokens": True}
    assert guarded("GET", "/session").json == {"read": False, "write": False, "tokens": True}
    assert guarded.problem("PATCH", "/p/items/1", {"tag": "x"}, headers=bearer(READ))[0] == 403
    assert guarded.problem("DELETE", "/p/items/1", headers=bearer(READ))[0] == 403


def test_the_page_itself_needs_none_and_keeps_the_token_in_a_cookie(guarded: Served) -> None:
    page = guarded("GET", "/p/i/photos")
    assert page.status == 200
    assert b'data-root="/p"' in page.body
    assert guarded.problem("POST", "/p/session", {"token": "x" * 20})[0] == 401
    assert guarded.problem("POST", "/p/session", {"token": ["x"]})[0] == 401
    said = guarded("POST", "/p/session", {"token": WRITE})
    cookie = said.headers["set-cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=strict", "Path=/p"))
    assert WRITE not in cookie
    kept = {"Cookie": cookie.partition(";")[0]}
    assert guarded("GET", "/p/session", headers=kept).json == {"read": True, "write": True, "tokens": True}
    assert "Max-Age=0" in guarded("DELETE", "/p/session", headers=kept).headers["set-cookie"]


def test_who_needs_no_token_may_as_much_without_one(index: Path) -> None:
    with serving(index, write=True) as service:
        said = {"read": True, "write": True, "tokens": False}
        assert service("GET", "/session").json == service("DELETE", "/session").json == said


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_a_foreign_page_asks_nothing(served: Served, headers: dict[str, str], status: int) -> None:
    sent = {name: value.format(port=served.server.port) for name, value in headers.items()}
    assert served("POST", "/search", {"like": ["id:1"]}, headers=sent).status == status


def test_a_foreign_form_writes_nothing(index: Path, tmp_path: Path) -> None:
    """A form may be sent from anywhere without the browser asking first; it cannot set a header."""
    body, media = form([("a.png", b"x")])
    with serving(index, write=True, uploads=tmp_path) as service:
        for sent in ({}, {"X-Retrieval": ""}, {"X-Retrieval": "0"}):
            assert service.problem("POST", "/items", body, media=media, headers=sent)[0] == 403
        assert service.problem("POST", "/items", body, media=media, headers={"X-Retrieval": "1"})[0] == 422


def test_every_answer_says_what_may_run(served: Served) -> None:
    for said in (
        served("GET", "/"),
        served("GET", "/info"),
        served("GET", "/nowhere"),
        served("GET", "/items/0/thumbnail"),
    ):
        policy = said.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert said.headers["x-content-type-options"] == "nosniff"
        assert said.headers["referrer-policy"] == "no-referrer"
        assert "server" not in said.headers
        assert "access-control-allow-origin" not in said.headers
    assert served("GET", "/info").headers["cache-control"] == "no-store"


def test_nothing_is_written_unless_told(served: Served) -> None:
    for method, path, body in (("PATCH", "/items/1", {"tag": "x"}), ("PATCH", "/items", {"ids": [1], "tag": "x"}),
                               ("DELETE", "/items/1", None), ("POST", "/items", {})):  # fmt: skip
        status, detail = served.problem(method, path, body)
        assert (status, "--write" in detail) == (403, True)


def test_too_much_is_refused(served: Served) -> None:
    large = b"x" * (limits.BODY + 1)
    assert served.problem("POST", "/search", large, media="application/json")[0] == 413
    with socket.create_connection(("127.0.0.1", served.server.port)) as connection:  # no length is said beforehand
        connection.sendall(b"POST /search HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):  # it may hang up before all is sent
            for _ in range(limits.BODY // 2**16 + 2):
                connection.sendall(b"10000\r\n" + b"x" * 2**16 + b"\r\n")
        connection.settimeout(10)
        answer = connection.recv(4096)
    assert b" 413 " in answer.splitlines()[0]


def test_a_request_that_does_not_arrive_is_not_waited_for(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PATIENCE", 0.2)
    with socket.create_connection(("127.0.0.1", served.server.port)) as connection:
        head = b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
        connection.sendall(head + b"{")
        connection.settimeout(20)
        assert b" 408 " in connection.recv(4096).splitlines()[0]


def test_one_address_asks_so_much_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose requests come too fast is told to slow down, by itself, until time has gone by."""
    now = [100.0]
    monkeypatch.setattr("retrieval.service.access.time.monotonic", lambda: now[0])
    monkeypatch.setattr(limits, "BURST", 3.0)
    monkeypatch.setattr(limits, "RATE", 1.0)
    guard = Guard(None, Settings(), lambda *_: None)
    for _ in range(3):
        guard._count("192.0.2.1")
    with pytest.raises(Problem, match="slow down"):
        guard._count("192.0.2.1")
    guard._count("192.0.2.2")
    for _ in range(10):
        guard._count("127.0.0.1")
    now[0] += 2
    guard._count("192.0.2.1")


def test_requests_that_are_none(served: Served) -> None:
    for lines in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"garbage\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: localhost\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", served.server.port)) as connection:
            connection.sendall(lines)
            connection.settimeout(10)
            assert b" 200 " not in connection.recv(4096).splitlines()[0]
    assert served("GET", "/healthz").status == 200


def test_other_methods_and_paths_are_problems(served: Served) -> None:
    assert served.problem("PUT", "/search", {})[0] == 405
    assert served.problem("GET", "/search")[0] == 405
    assert served("PUT", "/items/1", {}).headers["allow"] == "DELETE, GET, PATCH"
    for path in ("/../../etc/passwd", "/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/docs",
                 "/items/1/image/../../x", "/items/99999999999999999999", "/items/x", "/i/nowhere"):  # fmt: skip
        assert served.problem("GET", path)[0] in (404, 422)
    assert served.problem("GET", "/items?index=nowhere")[0] == 404
    assert served.problem("GET", "/items?k=0")[0] == 422


# How it is told to run


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"host": "0.0.0.0"}, "--token-file"),
        ({"host": "example.org"}, "--token-file"),
        ({"write": True, "readers": frozenset({READ})}, "write TOKEN"),
        ({"uploads": Path("x")}, "--uploads"),
        ({"root_path": "pictures"}, "root path"),
        ({"root_path": "/pictures/"}, "root path"),
        ({"port": 70000}, "port"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, object], words: str) -> None:
    with pytest.raises(RetrievalError, match=words):
        Settings(**settings)  # type: ignore[arg-type]


def test_token_files(tmp_path: Path) -> None:
    file = tmp_path / "tokens"

    def written(text: str, mode: int = 0o600) -> Path:
        file.write_text(text)
        file.chmod(mode)
        return file

    assert read_tokens(written(f"# mine\n\nread {READ}\nwrite {WRITE}\n")) == ({READ}, {WRITE})
    for text, mode, words in (
        ("", 0o600, "no token"),
        (f"admin {READ}", 0o600, "Line 1"),
        (f"read {READ} x", 0o600, "Line 1"),
        ("read short", 0o600, "guess"),
        (f"read {READ}", 0o644, "chmod 600"),
    ):
        with pytest.raises(RetrievalError, match=words):
            read_tokens(written(text, mode))
    with pytest.raises(RetrievalError, match="cannot be read"):
        read_tokens(tmp_path / "none")


def test_an_address_that_is_taken(served: Served, index: Path) -> None:
    from retrieval.service.server import Server

    with pytest.raises(RetrievalError, match="cannot be listened on"):
        Server([index], Settings(port=served.server.port))


def test_openapi_says_every_path(served: Served) -> None:
    """And of each what it takes and that its errors are problems; it names no address elsewhere."""
    said = served("GET", "/openapi.json")
    paths = said.json["paths"]
    assert {"/search", "/items", "/items/{id}", "/items/{id}/heat", "/facets", "/uploads", "/info"} <= paths.keys()
    for path, methods in paths.items():
        for method, told in methods.items():
            assert "application/problem+json" in told["responses"]["4XX"]["content"], (method, path)
            assert ("requestBody" in told) == (method in ("post", "patch")), (method, path)
            named = {one["name"] for one in told.get("parameters", ()) if one["in"] == "path"}
            assert named == set(re.findall(r"\{(\w+)\}", path)), path
    assert b"://" not in said.body
