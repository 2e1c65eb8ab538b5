"""Which measured way of searching to take: pure functions on a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from retrieval.base.units import show_bytes, show_seconds

EXACT = "exact"
"""In place of a structure's factory: search without one."""

MARGIN = 1.1
"""How many times faster than exact search a structure must be to take its place.

Two measurements of one thing differ by that much on a busy machine, and exact search needs no memory, no time to build,
and misses nothing.
"""


@dataclass(frozen=True)
class Point:
    """One structure searched with one choice of parameters, measured.

    Attributes:
        factory: what it is, in the words of :mod:`retrieval.index.nearest`, or :data:`EXACT`.
        parameters: those of the search.
        recall: mean over the queries of the share of the true k nearest that were found; a neighbour counts if its
            score reaches the true k-th one's. low, high: its 95 % interval.
        single: queries per second, one at a time, on one thread, by the processor's time.
        latency: seconds within which 95 of 100 single queries were answered, likewise.
        batched: queries per second by the clock, when all are asked in one call on all cores.
        structure_bytes: memory that the structure takes.
        memory: bytes that a search reads from: the structure, and the stored vectors unless they are mapped.
        build_seconds: how long building it took.
        in_turns: whether the speeds are from the final rounds, in which the best took turns.
    """

    factory: str
    parameters: Mapping[str, int] = field(default_factory=dict)
    recall: float = 1.0
    low: float = 1.0
    high: float = 1.0
    single: float = 0.0
    latency: float = math.inf
    batched: float = 0.0
    structure_bytes: int = 0
    memory: int = 0
    build_seconds: float = 0.0
    in_turns: bool = False


@dataclass(frozen=True)
class Wishes:
    """What is asked of a search. None: whatever it may be.

    Attributes:
        recall: least recall@k, from 0 to 1; the measured mean must reach it.
        memory: most bytes. latency: most seconds for a single query (:attr:`Point.latency`).
    """

    recall: float | None = None
    memory: int | None = None
    latency: float | None = None

    def met_by(self, point: Point) -> bool:
        """Whether a point has everything that is asked for."""
        return (
            (self.recall is None or point.recall >= self.recall)
            and (self.memory is None or point.memory <= self.memory)
            and (self.latency is None or point.latency <= self.latency)
        )


def choose(points: Sequence[Point], wishes: Wishes) -> Point | None:
    """The point to take, or None if none does what is asked.

    Without a limit on latency it is the fastest (single queries) among those that reach the recall within the memory;
    exact search stays unless that is :data:`MARGIN` times faster. With one, whoever set it is content with that speed,
    so it is the highest recall among those within it, exact search before a structure that missed nothing in the
    measurement. Equal tables give equal choices, in whatever order their rows stand.
    """
    ranked = in_order(points, wishes)
    if not ranked:
        return None
    best = ranked[0]
    if wishes.latency is None:
        for point in ranked[1:]:
            if point.factory == EXACT and best.single < MARGIN * point.single:
                return point
    return best


def in_order(points: Sequence[Point], wishes: Wishes) -> list[Point]:
    """The points that do what is asked, the one to prefer first.

    That is the faster, or under a limit on latency the one of higher recall; what is equal in this is decided by the
    other of the two, memory, name and parameters, in this order.
    """

    def key(point: Point) -> tuple[object, ...]:
        rest = (point.memory, point.factory, sorted(point.parameters.items()))
        if wishes.latency is None:
            return -point.single, -point.recall, *rest
        return -point.recall, point.factory != EXACT, -point.single, *rest

    return sorted((point for point in points if wishes.met_by(point)), key=key)


def pareto(points: Sequence[Point], *, memory: bool = True) -> list[Point]:
    """The points that no other one beats, by descending recall, then descending speed.

    One beats another if it has at least its recall and speed (single queries) in at most its memory, and more of one of
    these. Of equal points all stay.

    Args:
        points: any.
        memory: whether less memory is better.
    """

    def beats(a: Point, b: Point) -> bool:
        gains = [a.recall - b.recall, a.single - b.single, b.memory - a.memory if memory else 0]
        return min(gains) >= 0 and max(gains) > 0

    front = [point for point in points if not any(beats(other, point) for other in points)]
    return sorted(front, key=lambda point: (-point.recall, -point.single, point.memory, point.factory))


def why_none(points: Sequence[Point], wishes: Wishes, k: int) -> str:
    """One sentence: why no point does what is asked, and what would have to give."""
    asked, nearest = [], []

    def without(wish: str) -> list[Point]:
        return [point for point in points if replace(wishes, **{wish: None}).met_by(point)]

    if wishes.recall is not None:
        asked.append(f"recall@{k} of {wishes.recall:g}")
        if best := max(without("recall"), key=lambda point: point.recall, default=None):
            nearest.append(f"otherwise recall reaches {best.recall:.4f} ({best.factory})")
    if wishes.latency is not None:
        asked.append(f"{show_seconds(wishes.latency)} a query")
        if best := min(without("latency"), key=lambda point: point.latency, default=None):
            nearest.append(f"otherwise a query takes {show_seconds(best.latency)} at least ({best.factory})")
    if wishes.memory is not None:
        asked.append(f"{show_bytes(wishes.memory)} of memory")
        if best := min(without("memory"), key=lambda point: point.memory, default=None):
            nearest.append(f"otherwise it takes {show_bytes(best.memory)} at least ({best.factory})")
    return (
        f"Nothing that was measured has {' and '.join(asked)}{' at once' if len(asked) > 1 else ''}"
        + (f": {'; '.join(nearest)}" if nearest else "")
        + "; loosen a limit, or give it more --minutes."
    )
