"""Ctrl-C between two steps of a training, never inside one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def held_back() -> Iterator[Callable[[], bool]]:
    """Hold a Ctrl-C back until the program asks for it.

    A step that is cut off has moved some of the weights and not others, and a checkpoint of that could not be resumed
    bit for bit. A second Ctrl-C is not held back. Nothing changes where Ctrl-C was not Python's to handle: in other
    threads than the main one, and in a process that ignores it.

    Yields:
        Whether there was one.
    """
    came = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if came:
            raise KeyboardInterrupt
        came = True

    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield lambda: False
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: came
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
