"""Progress on stderr, for whatever takes longer than two seconds."""

from __future__ import annotations

import os
import sys
from typing import Any

DELAY = 2.0
"""Seconds of work before a bar shows."""


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

    interactive = sys.stderr.isatty()
    return tqdm(
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


def note(text: str) -> None:
    """Say a line on stderr, at once."""
    if speaks():
        sys.stderr.write(text + "\n")


def speaks() -> bool:
    """Whether this process reports to the user: of those that ``torchrun`` started together the first does."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("RANK") == "0"
