"""Many ask, some of them badly: who waits is told, who does nothing is let go, and nothing is left behind."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from served import Served, serving, until

from retrieval.index import Index, NewItem
from retrieval.service import limits

DIM = 16
SEARCH = (
    b"POST /search?k=5 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
)


def unit(seed: int, count: int) -> Any:
    rows = np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index without pictures."""
    folder = tmp_path_factory.mktemp("index") / "index"
    with Index.create(folder, DIM, root=str(folder), encoder_hash="imported:x", details={}) as index:
        index.add(unit(0, 200), [NewItem(str(one), label="a") for one in range(200)])
    return folder


@pytest.fixture
def service(vectors: Path) -> Iterator[Served]:
    with serving(vectors) as running:
        yield running


class Line:
    """One connection."""

    def __init__(self, service: Served) -> None:
        self.socket = socket.create_connection(("127.0.0.1", service.server.port), timeout=30)
        self._file = self.socket.makefile("rb")

    def ask(self, question: Any) -> None:
        body = json.dumps(question).encode()
        self.socket.sendall(SEARCH % (len(body), body))

    def answer(self) -> tuple[int, dict[str, str], Any]:
        status = int(self._file.readline().split()[1])
        headers = {}
        while (line := self._file.readline().decode().strip()) != "":
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        return status, headers, json.loads(self._file.read(int(headers["content-length"])))

    def ended(self) -> bool:
        """Whether the service hangs up; it is waited for."""
        with contextlib.suppress(ConnectionError):
            return self._file.read(1) == b""
        return True

    def close(self) -> None:
        self._file.close()
        self.socket.close()


@pytest.fixture
def lines(service: Served) -> Iterator[list[Line]]:
    """Connections that are closed in the end."""
    some: list[Line] = []
    yield some
    for one in some:
        one.close()


def connected(service: Served, lines: list[Line], count: int = 1) -> list[Line]:
    more = [Line(service) for _ in range(count)]
    lines += more
    return more


def connections(service: Served) -> int:
    return len(service.server._uvicorn.server_state.connections)


def test_who_comes_when_too_many_wait_is_told_to_come_again(
    service: Served, lines: list[Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WAITING", 3)
    go, there = threading.Event(), threading.Event()
    service.server.service.asker.lane.submit("blocked", None, lambda _: [there.set() or go.wait(30)])
    assert there.wait(10)
    asking = connected(service, lines, 8)
    for one in asking:
        one.ask({"like": ["id:1"]})
    until(lambda: len(select.select([one.socket for one in asking], [], [], 0)[0]) == 5)
    go.set()
    answers = [one.answer() for one in asking]
    assert sorted(status for status, _, _ in answers) == [200] * 3 + [503] * 5
    assert {headers.get("retry-after") for status, headers, _ in answers if status == 503} == {"1"}


@pytest.mark.parametrize("sent", [b"", b"GET /info HTT", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"])
def test_who_says_nothing_is_let_go(
    service: Served, lines: list[Line], sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, in the midst of a head, or after an answer."""
    monkeypatch.setattr(limits, "SILENCE", 0.2)
    (line,) = connected(service, lines)
    line.socket.sendall(sent)
    if sent.endswith(b"\r\n\r\n"):
        assert line.answer()[0] == 200
    assert line.ended()
    until(lambda: connections(service) == 0)


def test_letters_one_by_one_are_no_head(service: Served, lines: list[Line], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SILENCE", 0.3)
    (line,) = connected(service, lines)
    with pytest.raises(OSError):
        for number in range(300):
            line.socket.sendall(b"GET / HTTP/1.1\r\nX: "[number : number + 1] or b"x")
            threading.Event().wait(0.02)


def test_a_head_has_a_bound(service: Served, lines: list[Line]) -> None:
    (line,) = connected(service, lines)
    until(lambda: connections(service) == 1)
    with contextlib.suppress(OSError):  # it may hang up before all is sent
        for _ in range(20):
            line.socket.sendall(b"GET / HTTP/1.1\r\nX: " if _ == 0 else b"x" * limits.HEAD)
    until(lambda: connections(service) == 0)
    assert service("GET", "/healthz").status == 200


def test_who_takes_nothing_is_let_go(service: Served, lines: list[Line], monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are asked for, and never read: what they take is given back."""
    monkeypatch.setattr(limits, "PATIENCE", 0.3)
    (line,) = connected(service, lines)
    until(lambda: connections(service) == 1)
    line.socket.sendall(300 * b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
    until(lambda: connections(service) == 0)


def test_there_are_only_so_many_connections(
    service: Served, lines: list[Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "OPEN", 3)
    three = connected(service, lines, 3)
    until(lambda: connections(service) == 3)
    (fourth,) = connected(service, lines)
    status, headers, said = fourth.answer()
    assert (status, headers["retry-after"], said["status"]) == (503, "1", 503)
    assert fourth.ended()
    for one in three:
        one.ask({"like": ["id:1"]})
        assert one.answer()[0] == 200
    three[0].close()
    until(lambda: connections(service) == 2)
    assert service("GET", "/healthz").status == 200


def test_who_hangs_up_leaves_nothing_behind(
    service: Served, lines: list[Line], capfd: pytest.CaptureFixture[str]
) -> None:
    """In the midst of a body, before the answer, or with one direction only."""
    body = b'{"like": ["id:1"]}'
    for sent, how in ((SEARCH % (100, body), socket.SHUT_RDWR), (SEARCH % (len(body), body), socket.SHUT_RDWR),
                      (SEARCH % (len(body), body), socket.SHUT_WR)):  # fmt: skip
        for line in connected(service, lines, 5):
            line.socket.sendall(sent)
            line.socket.shutdown(how)
    assert service("POST", "/search", {"like": ["id:1"]}).status == 200  # those before it have been taken in by then
    until(lambda: connections(service) == 0)
    assert "Traceback" not in capfd.readouterr().err


def test_a_new_generation_while_64_ask(vectors: Path, service: Served, lines: list[Line]) -> None:
    """Nobody is dropped, and each answer is of one state: of as many items as its generation has."""
    asking = connected(service, lines, 64)
    generations: dict[int, int] = {}
    with Index.open(vectors) as opened:
        generations[opened.generation] = len(opened)
    seen = set()
    for turn in range(6):
        for number, one in enumerate(asking):
            one.ask({"vector": unit(number, 1)[0].tolist(), "above": -1, "k": 1})
        with Index.open(vectors, write=True) as opened:
            opened.add(unit(turn, 5), [NewItem(f"{turn}/{one}") for one in range(5)])
            generations[opened.generation] = len(opened)
        for one in asking:
            status, _, said = one.answer()
            assert (status, said["matches"]) == (200, generations[said["generation"]])
            seen.add(said["generation"])
        until(lambda now=opened.generation: service("GET", "/info").json["indexes"][0]["generation"] == now)
    assert len(seen) > 3


def test_files_and_threads_do_not_grow(service: Served, lines: list[Line]) -> None:
    def held() -> tuple[int, int]:
        until(lambda: connections(service) == 0)
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    def ask() -> None:
        for one in (some := connected(service, lines, 40)):
            one.ask({"like": ["id:1"]})
        for one in some:
            assert one.answer()[0] == 200
            one.close()
        assert service("GET", "/facets").status == 200

    for _ in range(3):
        ask()
    before = held()
    for _ in range(5):
        ask()
    assert held() == before
