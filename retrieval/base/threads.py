"""Work on several threads whose results come in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Work = TypeVar("_Work")
_Done = TypeVar("_Done")


def in_order(work: Callable[[_Work], _Done], tasks: Iterable[_Work], threads: int) -> Generator[_Done]:
    """`map` on some threads that stays at most `threads` + 1 tasks ahead of whoever takes the results."""
    if threads == 1:
        yield from map(work, tasks)
        return
    running: deque[Future[_Done]] = deque()
    pool = ThreadPoolExecutor(threads, "reading")
    try:
        for task in tasks:
            running.append(pool.submit(work, task))
            if len(running) > threads:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:  # also when nobody wants the rest, after Ctrl-C for one
        pool.shutdown(wait=True, cancel_futures=True)
