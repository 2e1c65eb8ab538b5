"""Progress on stderr, for whatever takes longer than two seconds."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

DELAY = 2.0
"""Seconds of work before a bar shows."""

Listener = Callable[[str, int, int | None], None]
"""Is told what is being done ("Indexing"), how many units are done, and of how many."""

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextlib.contextmanager
def told_to(listener: Listener) -> Iterator[None]:
    """Tell somebody of the progress in this thread, besides the terminal."""
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)


def bar(total: int | None, what: str, unit: str = "it", **options: Any) -> Any:
    """A progress bar that stays silent for the first two seconds and never touches stdout.

    Args:
        total: how many units there are in all, or None when nobody knows.
        what: a few words that stand left of the bar ("Encoding").
        unit: what one step is ("pictures").
        options: anything else that :class:`tqdm.tqdm` takes.

    Returns:
        A :class:`tqdm.tqdm`, to be used as a context manager and moved on by ``update(n)``.
    """
    from tqdm import tqdm  # here, because a query by id must start at once

    listener, interactive = _listener.get(), sys.stderr.isatty()
    shown = tqdm(
        total=total,
        desc=what,
        unit=" " + unit,
        delay=DELAY,
        disable=not speaks(),
        file=getattr(sys.stderr, "bars", sys.stderr),
        dynamic_ncols=interactive,
        mininterval=0.1 if interactive else 10.0,  # a log file wants a line now and then
        **options,
    )
    return shown if listener is None else _Told(shown, what, total, listener)


class _Told:
    """A progress bar that somebody else hears of, too."""

    def __init__(self, shown: Any, what: str, total: int | None, listener: Listener) -> None:
        self._shown, self._what, self._total, self._listener = shown, what, total, listener
        self._done = 0

    def __enter__(self) -> _Told:
        self._listener(self._what, 0, self._total)
        return self

    def __exit__(self, *_: object) -> None:
        self._shown.close()

    def update(self, count: int = 1) -> None:
        self._done += count
        self._shown.update(count)
        self._listener(self._what, self._done, self._total)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shown, name)


def note(text: str) -> None:
    """Say a line on stderr, at once."""
    if speaks():
        sys.stderr.write(text + "\n")


def speaks() -> bool:
    """Whether this process reports to the user: of those that ``torchrun`` started together the first does."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("RANK") == "0"
