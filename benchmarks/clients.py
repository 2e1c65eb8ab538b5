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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)

_TICK = 1 / 100
"""Seconds of a tick of /proc/PID/stat."""


@dataclass(frozen=True)
class Asked:
    """What clients were told.

    Attributes:
        seconds: of every answer, from the first byte of its request to the last of its own.
        answers: of each client, in the order of its requests: bodies, empty where the status was not 200.
        took: seconds in all. own: seconds of a processor that the clients needed.
    """

    seconds: list[float]
    answers: list[list[bytes]]
    took: float
    own: float


def ask(port: int, each: Sequence[Sequence[bytes]], length: float) -> Asked:
    """Ask a service of this machine.

    Args:
        port: its port. each: of every client the requests, the next one as soon as the one before is answered.
        length: seconds after which no more is asked.

    Raises:
        EOFError: the service hung up.
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
    def __init__(self, port: int, requests: Sequence[bytes]) -> None:
        self.connection = socket.create_connection(("127.0.0.1", port))
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.requests: Iterator[bytes] = iter(requests)
        self.answers: list[bytes] = []
        self.began = 0.0
        self._parts: list[bytes] = []
        self._lacking = -1  # bytes of the answer; -1 while its head is not complete

    def asks(self) -> bool:
        """Send the next request, if there is one."""
        request = next(self.requests, None)
        if request is not None:
            self.began = time.perf_counter()
            self.connection.sendall(request)
        return request is not None

    def answered(self) -> bool:
        """Take in what has arrived; whether the answer is complete."""
        part = self.connection.recv(1 << 20)
        if not part:
            raise EOFError
        self._parts.append(part)
        if self._lacking < 0:
            whole = b"".join(self._parts)
            end = whole.find(b"\r\n\r\n")
            length = _LENGTH.search(whole, 0, end)
            if length is None:
                return False
            self._parts, self._lacking = [whole], end + 4 + int(length[1])
            part = whole
        self._lacking -= len(part)
        if self._lacking:
            return False
        whole = b"".join(self._parts)
        self.answers.append(whole.partition(b"\r\n\r\n")[2] if whole.startswith(b"HTTP/1.1 200") else b"")
        self._parts, self._lacking = [], -1
        return True


def _ask(port: int, each: Sequence[Sequence[bytes]], length: float, out: Any) -> None:
    """In a process of its own: so many clients for a while."""
    gc.disable()
    clients = {one.connection.fileno(): one for one in (_Client(port, own) for own in each)}
    seconds: list[float] = []
    ready = select.epoll()
    own, began = time.process_time(), time.perf_counter()
    end, asking = began + length, 0
    for place, one in clients.items():
        ready.register(place, select.EPOLLIN)
        asking += one.asks()
    while asking:
        for place, _ in ready.poll():
            one = clients[place]
            if one.answered():
                now = time.perf_counter()
                seconds.append(now - one.began)
                asking -= now > end or not one.asks()
    took, own = time.perf_counter() - began, time.process_time() - own
    out.send(Asked(seconds, [one.answers for one in clients.values()], took, own))


def processor_seconds(process: int) -> float:
    """Seconds of a processor that a process has needed since it began."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK
