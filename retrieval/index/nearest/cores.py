"""How many of the processor's cores a search takes: as many as its work is worth, whatever there are.

Waking a thread takes as long as a short search, and NumPy's turn for a while before they sleep again. Results are the
same bit for bit on any number of threads.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

import faiss

_Done = TypeVar("_Done")
EACH = 16
"""Queries of a structure that are worth a thread: about a millisecond."""


def threads(work: int, each: int) -> int:
    """How many threads to take, at least one.

    Args:
        work: how much there is to do. each: how much of it is worth a thread.
    """
    return max(1, min(int(faiss.omp_get_max_threads()), work // each))


@contextlib.contextmanager
def at_most(count: int) -> Iterator[None]:
    """FAISS takes no more threads for what this thread asks of it inside; other threads' searches stay as they are."""
    most = faiss.omp_get_max_threads()
    if count >= most:
        yield
        return
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(most)


@contextlib.contextmanager
def one_for_products() -> Iterator[None]:
    """NumPy multiplies matrices on the one thread that asks, in the whole process, so that threads which do other work
    besides can have a core each."""
    _enter(1)
    try:
        yield
    finally:
        _enter(-1)


def _enter(more: int) -> None:
    with _LOCK:
        before = _INSIDE["threads"]
        _INSIDE["threads"] += more
        if not before:
            _INSIDE["limit"] = _libraries().limit(limits=1, user_api="blas")
        elif not _INSIDE["threads"]:
            _INSIDE["limit"].restore_original_limits()


@cache
def _libraries() -> Any:
    # Here, because few searches are so long.
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped,unused-ignore]

    return ThreadpoolController()  # kept: looking for them takes as long as a short search


_LOCK = threading.Lock()
_INSIDE: dict[str, Any] = {"threads": 0, "limit": None}
"""How many threads want that just now, and what gives back what was set before."""


def in_parts(work: Callable[[slice], _Done], count: int, on: int) -> list[_Done]:
    """What `work` makes of each part of 0 to `count`, in order; each part on a thread of its own.

    Args:
        work: what gives up the interpreter's lock for most of its time. count: of whatever is taken apart.
        on: how many threads there are.
    """
    if on <= 1:
        return [work(slice(0, count))]
    ends = [count * end // on for end in range(on + 1)]
    with ThreadPoolExecutor(on) as pool:  # for this call alone: a process that forks takes no threads along
        return list(pool.map(work, map(slice, ends, ends[1:])))
