"""Timing two things side by side: they take turns, so that whatever else the machine does meets both alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def take_turns(
    runs: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, dict[str, float]]:
    """Run everything `rounds` times in turn, after one round that warms up.

    Args:
        runs: name → what to time; the first is what the others are compared with.
        clock: seconds; `time.process_time` counts the processor's time instead of the clock's.

    Returns:
        For each name its median ``seconds``, and the ``ratio`` to the first with its ``least`` and ``most``, round by
        round. A ratio above 1 is slower than the first.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        # every other round in the opposite order, since the first of a round may find a colder cache
        for name in list(runs) if turn % 2 else reversed(list(runs)):
            start = clock()
            runs[name]()
            elapsed = clock() - start
            if turn:
                seconds[name].append(elapsed)
    first = seconds[next(iter(runs))]
    out = {}
    for name, times in seconds.items():
        ratios = sorted(mine / theirs for mine, theirs in zip(times, first, strict=True))
        out[name] = {
            "seconds": statistics.median(times),
            "ratio": statistics.median(ratios),
            "least": ratios[0],
            "most": ratios[-1],
        }
    return out
