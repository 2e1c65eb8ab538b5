"""How a benchmark ends that keeps what it has measured, and goes on from there."""

from __future__ import annotations

import sys
from collections.abc import Callable

from retrieval.errors import RetrievalError


def status(main: Callable[[], int]) -> int:
    """The exit status of a program: its own; 1 and a sentence for a user's mistake; 130 and one for Ctrl-C."""
    try:
        return main()
    except RetrievalError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped. What was finished is kept; the same command goes on from there.", file=sys.stderr)
        return 130
