"""Asking a store again when it does not answer, for a while."""

from __future__ import annotations

import errno
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from retrieval.base.placed_files import NotOpenedError, NotReachedError
from retrieval.base.text import for_terminal
from retrieval.errors import RetrievalError

_Done = TypeVar("_Done")

SILENCE = 120.0
"""Seconds without one answer from a store after which whoever reads from it stops."""

_FIRST, _LONGEST = 0.1, 5.0
"""Seconds between the first two attempts, and most between any two."""

_LASTING = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError)
_LASTING_NUMBERS = {errno.EINVAL, errno.EPERM, errno.ENOSYS, errno.ENAMETOOLONG, errno.ENOSPC, errno.EMFILE,
                    getattr(errno, "EREMCHG", errno.EINVAL)}  # fmt: skip


class Patience:
    """Tries again what may go right the next time, at growing distances, for some seconds.

    One store has one: from the moment that nothing at all has come from it for :data:`SILENCE`, it counts as gone, so
    that a million objects are not waited for one by one.

    Args:
        name: of the store, as messages have it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._silent_since: float | None = None

    def call(self, work: Callable[[], _Done], seconds: float) -> _Done:
        """What `work` gives.

        Args:
            work: may be called several times.
            seconds: after which no further attempt is made.

        Raises:
            NotReachedError: it has failed for so long.
            RetrievalError: so has all that was asked of the store lately.
            OSError: it will not go right: there is no such object, no permission, ...
        """
        until = time.monotonic() + seconds
        pause = _FIRST
        while True:
            try:
                done = work()
            except Exception as error:
                if isinstance(error, _LASTING):
                    self._heard()
                    raise
                if not may_pass(error):
                    raise
                self._not_heard(error)
                if time.monotonic() + pause > until:
                    raise NotReachedError(words(error)) from error
                time.sleep(random.uniform(pause / 2, pause))
                pause = min(2 * pause, _LONGEST)
            else:
                self._heard()
                return done

    def _heard(self) -> None:
        self._silent_since = None

    def _not_heard(self, error: Exception) -> None:
        with self._lock:
            now = time.monotonic()
            since = self._silent_since = self._silent_since or now
        if now - since > SILENCE:
            raise RetrievalError(
                f"{self._name!r} has given nothing for {now - since:.0f} s ({words(error)}); what was done is kept: "
                "the same command goes on from there when it is back."
            ) from error


def may_pass(error: Exception) -> bool:
    """Whether what went wrong may go right the next time: the connection, the time, the load of the store."""
    if isinstance(error, (RetrievalError, NotOpenedError, *_LASTING)):
        return False
    if isinstance(error, OSError):
        return error.errno not in _LASTING_NUMBERS
    return not isinstance(error, ValueError | TypeError | LookupError | AttributeError | ImportError | MemoryError)


def words(error: BaseException) -> str:
    """A few words for what went wrong: never a message, as what libraries write there may hold what nobody should
    read."""
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
    if isinstance(response, dict):
        code = response.get("Error", {}).get("Code", "")
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", "")
        return for_terminal(f"{status} {code}".strip() if str(status) != str(code) else str(code))[:60]
    kind = type(error).__name__
    if isinstance(error, TimeoutError) or "Timeout" in kind:
        return "no answer in time"
    if isinstance(error, PermissionError):
        return "no permission"
    if isinstance(error, FileNotFoundError):
        return "there is no such thing"
    if isinstance(error, ConnectionError) or any(part in kind for part in ("Connect", "Payload", "Incomplete", "HTTP")):
        return "the connection failed"
    return kind
