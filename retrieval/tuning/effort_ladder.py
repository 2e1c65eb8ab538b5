"""Which settings of one structure's search are worth measuring."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

ENOUGH = 0.9995
"""Recall from which more effort is not tried."""

_GAIN = 0.001
"""Recall that scoring more candidates must add for still more to be tried."""

_LEAST = 0.5
"""Recall from which a setting is measured in full."""

_FEWER = 0.85
"""What must be left of the misses of one setting for the next one to be measured in full."""

Parameters = Mapping[str, int]


class Glance(NamedTuple):
    """A setting as it looks by a few queries."""

    parameters: Parameters
    recall: float
    single: float  # queries per second


def scan(ladder: Sequence[Parameters], look: Callable[[Parameters], Glance], slowest: float) -> list[Glance]:
    """Look at settings from cheap to thorough, as far as that is of use.

    Args:
        ladder: settings that differ in effort, and for each effort in how many candidates are scored.
        look: by a few queries.
        slowest: queries per second below which nothing is of use.

    Returns:
        those looked at.
    """
    seen: list[Glance] = []
    effort, recall, more = None, 0.0, True
    for parameters in ladder:
        its_effort = {name: value for name, value in parameters.items() if name != "candidates"}
        first = its_effort != effort
        if not first and not more:
            continue
        glance = look(parameters)
        seen.append(glance)
        slow = glance.single < slowest
        if glance.recall >= ENOUGH or (first and slow):
            break
        more = not slow and (first or glance.recall >= recall + _GAIN)
        effort, recall = its_effort, glance.recall
    return seen


def worth_measuring(glances: Sequence[Glance]) -> list[Parameters]:
    """Those that no other one beats in recall and speed, thinned out, from the fastest to the most thorough."""
    front: list[Glance] = []
    for glance in sorted(glances, key=lambda glance: (-glance.single, -glance.recall)):
        if not front or glance.recall > front[-1].recall:
            front.append(glance)
    kept: list[Glance] = []
    for glance in front:
        if glance.recall >= _LEAST and (not kept or 1 - glance.recall <= _FEWER * (1 - kept[-1].recall)):
            kept.append(glance)
    return [glance.parameters for glance in kept or front[-1:]]


def halfway(low: Parameters, high: Parameters) -> dict[str, int]:
    """Search parameters between two: each the geometric mean."""
    return {name: round((low[name] * high[name]) ** 0.5) for name in low}
