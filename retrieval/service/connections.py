"""One connection: uvicorn's own, with bounds on what somebody can hold who does nothing.

Each connection takes one of the files that the process may have open. So there are only so many, and each moment in
which it is the other side's turn ends after a while: until the head of a request is complete, and while nothing of an
answer is taken. (How long a body may take is the guard's to say.)
"""

from __future__ import annotations

import asyncio
import math

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from retrieval.service import limits
from retrieval.service.problems import MEDIA, busy


class Connection(HttpToolsProtocol):  # type: ignore[misc]
    """See the module."""

    _silence: asyncio.TimerHandle | None = None  # set while the head of a request is waited for
    _stall: asyncio.TimerHandle | None = None  # set while an answer is not taken
    _head: int | None = None  # bytes of a head that is not complete

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Somebody is there."""
        super().connection_made(transport)
        self._wait()
        if len(self.connections) > limits.OPEN:
            transport.write(_full())
            transport.close()

    def data_received(self, data: bytes) -> None:
        """A part of a request, or several requests."""
        begun = self._head is not None
        super().data_received(data)
        if begun and self._head is not None:
            self._head += len(data)
            if self._head > limits.HEAD and not self.transport.is_closing():
                self.send_400_response("The head of the request is too long.")

    def on_message_begin(self) -> None:
        """A request begins, be it that the one before is not answered yet."""
        super().on_message_begin()
        self._head = 0

    def on_headers_complete(self) -> None:
        """What is asked is known."""
        self._head = None
        self._stop_waiting()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """It is the other side's turn again."""
        super().on_response_complete()
        if not self.pipeline:
            self._wait()

    def pause_writing(self) -> None:
        """What was written is not taken as fast."""
        super().pause_writing()
        self._must_shrink(math.inf)

    def resume_writing(self) -> None:
        """It was taken."""
        super().resume_writing()
        self._stop_watching()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more."""
        self._stop_waiting()
        super().connection_lost(exc)
        self._stop_watching()

    def _wait(self) -> None:
        self._stop_waiting()
        self._silence = self.loop.call_later(limits.SILENCE, self._end)

    def _stop_waiting(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def _end(self) -> None:
        self.transport.close()  # which waits until what was written is taken
        self._must_shrink(math.inf)

    def _must_shrink(self, before: float) -> None:
        """See to it that something of what was written is taken in each while."""
        self._stop_watching()
        left = self.transport.get_write_buffer_size()
        if left >= before:
            self.transport.abort()
        elif left:
            self._stall = self.loop.call_later(limits.PATIENCE, self._must_shrink, left)

    def _stop_watching(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None


def _full() -> bytes:
    """What a connection is told that is one too many."""
    problem = busy("There are too many connections")
    body = problem.body()
    headers = {"Content-Type": MEDIA, "Content-Length": str(len(body)), "Connection": "close", **problem.headers}
    lines = ["HTTP/1.1 503 Service Unavailable", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode() + body
