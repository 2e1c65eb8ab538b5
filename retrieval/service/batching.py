"""One thread that does what needs all cores: what has come in while it was busy is done together.

Two requests never fight for cores then, and nobody waits for others to come: a question that finds the thread idle is
answered at once, and under load the batches grow by themselves, as far as is allowed.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from retrieval.errors import RetrievalError
from retrieval.service import limits
from retrieval.service.problems import busy

_Job = TypeVar("_Job")
_Done = TypeVar("_Done")

Together = Callable[[Sequence[_Job]], Sequence[_Done | Exception]]
"""Does some jobs of one kind; its results are in their order, and one may be the exception that it ended in."""


@dataclass
class _Waiting(Generic[_Job, _Done]):
    kind: Hashable
    job: _Job
    together: Together[_Job, _Done]
    most: int
    future: Future[_Done] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)


class Lane:
    """The thread.

    Args:
        seen: is told of each batch: how many jobs it has, the seconds that its first one waited, and the seconds it
            took.
    """

    def __init__(self, seen: Callable[[int, float, float], None] = lambda *_: None) -> None:
        self._seen = seen
        self._waiting: deque[_Waiting[Any, Any]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._done: list[tuple[asyncio.Future[Any], Future[Any]]] = []
        self._bringing = threading.Lock()  # what is done comes from the lane's thread, what is given up from the loop's
        self._thread = threading.Thread(target=self._run, name="lane", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """How many jobs wait."""
        return len(self._waiting)

    def submit(
        self, kind: Hashable, job: _Job, together: Together[_Job, _Done], most: int = limits.TOGETHER
    ) -> Future[_Done]:
        """Have something done.

        Args:
            kind: jobs of equal kind are done together.
            job: what is to be done.
            together: does it.
            most: how many it takes at a time.

        Raises:
            Problem: too many others wait, or the service ends.
        """
        future = self._enter(_Waiting(kind, job, together, most))
        self._begin()
        return future

    async def do(
        self, kind: Hashable, job: _Job, together: Together[_Job, _Done], most: int = limits.TOGETHER
    ) -> _Done:
        """The same from a coroutine, which goes on when it is done.

        What has arrived together is begun together, and what was done together comes back together: otherwise the two
        threads would hand the interpreter to and fro for each of them.
        """
        loop = asyncio.get_running_loop()
        here: asyncio.Future[_Done] = loop.create_future()

        def back(done: Future[_Done]) -> None:
            with self._bringing:
                self._done.append((here, done))
                first = len(self._done) == 1
            if first:
                loop.call_soon_threadsafe(self._bring_back)

        future = self._enter(_Waiting(kind, job, together, most))
        future.add_done_callback(back)
        loop.call_soon(self._begin)  # once those that arrived with this one have entered theirs
        try:
            return await here
        except asyncio.CancelledError:
            future.cancel()
            raise

    def _enter(self, waiting: _Waiting[_Job, _Done]) -> Future[_Done]:
        with self._changed:
            if self._closed:
                raise busy("The service is about to stop")
            if len(self._waiting) >= limits.WAITING:
                raise busy("Too many questions wait for an answer")
            self._waiting.append(waiting)
        return waiting.future

    def _begin(self) -> None:
        with self._changed:
            self._changed.notify()

    def _bring_back(self) -> None:
        with self._bringing:
            some, self._done = self._done, []
        for here, done in some:
            if here.cancelled():
                continue
            error = done.exception()
            if error is None:
                here.set_result(done.result())
            else:
                here.set_exception(error)

    def close(self) -> None:
        """Take no more jobs, and wait until those that wait are done."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                batch = self._take()
            running = [one for one in batch if one.future.set_running_or_notify_cancel()]
            began = time.monotonic()
            late = [one for one in running if began - one.since > limits.PATIENCE]
            for one in late:
                one.future.set_exception(busy("The question waited too long for its turn"))
            running = [one for one in running if not one.future.done()]
            if running:
                _do(running)
                self._seen(len(running), began - running[0].since, time.monotonic() - began)

    def _take(self) -> list[_Waiting[Any, Any]]:
        """The job that waits the longest, and others of its kind."""
        first = self._waiting.popleft()
        batch = [first]
        others: list[_Waiting[Any, Any]] = []
        while self._waiting and len(batch) < first.most:
            one = self._waiting.popleft()
            (batch if one.kind == first.kind else others).append(one)
        self._waiting.extendleft(reversed(others))
        return batch


def _do(batch: Sequence[_Waiting[Any, Any]]) -> None:
    try:
        results = list(batch[0].together([one.job for one in batch]))
        if len(results) != len(batch):
            raise ValueError(f"{len(results)} results of {len(batch)} jobs")
    except RetrievalError as error:
        if len(batch) > 1:  # one of them spoils it for the others
            for one in batch:
                _do([one])
            return
        results = [error]
    except BaseException as error:  # whatever it is, those who wait must hear of it
        results = [error] * len(batch)
    for one, result in zip(batch, results, strict=True):
        if isinstance(result, BaseException):
            one.future.set_exception(result)
        else:
            one.future.set_result(result)
