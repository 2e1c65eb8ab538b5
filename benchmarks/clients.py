"""Clients of an HTTP service that ask again as soon as they are answered, all of them in one process.

One thread reads whatever has arrived and answers it with the next request, straight on the sockets, so that of the
cores that are measured it takes as little as can be; what it takes is measured, too.
"""

from __future__ import annotations

import gc
import multiprocessing
import re
import select
import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)

_TICK = 1 / 100
"""Seconds of a tick of /proc/PID/stat."""


@dataclass(frozen=True)
class Asked:
    """What clients were told.

    Attributes:
        seconds: of every answer, from the first byte of its request to the last of its own.
        answers: of each client, in the order of its requests: bodies, empty where the status says that there is none.
        took: seconds in all. own: seconds of a processor that the clients needed.
    """

    seconds: list[float]
    answers: list[list[bytes]]
    took: float
    own: float


def ask(port: int, each: Sequence[Iterable[bytes]], length: float) -> Asked:
    """Ask a service of this machine.

    Args:
        port: its port. each: of every client the requests, the next one as soon as the one before is answered.
        length: seconds after which no more is asked.

    Raises:
        EOFError: the service hung up in the midst of it.
    """
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_ask, args=(port, each, length, there))
    process.start()
    there.close()  # so that a process that ends without an answer is noticed
    found: Asked = here.recv()
    process.join()
    return found


class _Client:
    def __init__(self, port: int, requests: Iterable[bytes]) -> None:
        self._port = port
        self._requests = iter(requests)
        self._parts: list[bytes] = []
        self._lacking = -1  # bytes of the answer; -1 while its head is not complete
        self.answers: list[bytes] = []
        self.began = 0.0
        self._connect()

    def _connect(self) -> None:
        self.connection = socket.create_connection(("127.0.0.1", self._port))
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def asks(self) -> bool:
        """Send the next request, if there is one."""
        request = next(self._requests, None)
        if request is not None:
            self.began = time.perf_counter()
            if self.connection.fileno() < 0:
                self._connect()
            self.connection.sendall(request)
        return request is not None

    def answered(self) -> bool:
        """Take in what has arrived; whether the answer is complete."""
        part = self.connection.recv(1 << 20)
        if not part:
            raise ConnectionError("The service hung up.")
        self._parts.append(part)
        if self._lacking < 0:
            part = b"".join(self._parts)
            end = part.find(b"\r\n\r\n")
            length = _LENGTH.search(part, 0, end) if end >= 0 else None
            if length is None:
                return False
            self._parts, self._lacking = [part], end + 4 + int(length[1])
        self._lacking -= len(part)
        if self._lacking:
            return False
        head, _, body = b"".join(self._parts).partition(b"\r\n\r\n")
        self.answers.append(body if head.startswith(b"HTTP/1.1 2") else b"")
        self._parts, self._lacking = [], -1
        if _CLOSES.search(head):
            self.connection.close()
        return True


def _ask(port: int, each: Sequence[Iterable[bytes]], length: float, out: Any) -> None:
    """In a process of its own: so many clients for a while."""
    gc.disable()
    everybody = [_Client(port, requests) for requests in each]
    seconds: list[float] = []
    ready, asking = select.epoll(), {}
    own, began = time.process_time(), time.perf_counter()

    def go_on(one: _Client) -> None:
        if time.perf_counter() < began + length and one.asks():
            place = one.connection.fileno()
            if place not in asking:
                asking[place] = one
                ready.register(place, select.EPOLLIN)
        else:
            asking.pop(one.connection.fileno(), None)
            one.connection.close()

    for one in everybody:
        go_on(one)
    while asking:
        for place, _ in ready.poll():
            one = asking[place]
            if one.answered():
                seconds.append(time.perf_counter() - one.began)
                if one.connection.fileno() < 0:
                    del asking[place]
                go_on(one)
    took, own = time.perf_counter() - began, time.process_time() - own
    out.send(Asked(seconds, [one.answers for one in everybody], took, own))


def processor_seconds(process: int) -> float:
    """Seconds of a processor that a process has needed since it began."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK
