"""What a system to compare is: how it is built, with what it can be searched, and helpers to say so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from contest.data import Floats

Setting = Mapping[str, float]
Search = Callable[[Floats], Any]
"""Queries (nq, d) to the rows of their ten nearest, (nq, 10); with one query (1, d) also (10,)."""

SEED = 0

WIDTHS = (10, 14, 20, 28, 40, 56, 80, 112, 160, 240, 360, 540, 800)
"""How many candidates a walk through a graph keeps (ef, efSearch, window, ...)."""


def construction(n: int) -> int:
    """How many candidates are kept while a graph of n vectors is built (efConstruction and its like), for all alike.

    The usual 200, and 80 for more than 200,000 vectors, so that building takes minutes.
    """
    return 200 if n <= 200_000 else 80


class Means(NamedTuple):
    """What a builder may use.

    Attributes:
        folder: an empty one, for libraries that work on files.
        memory: bytes that ours took, for a library that chooses by them.
    """

    folder: Path
    memory: int


class Searches(NamedTuple):
    """An index with the parameters of its search set.

    Attributes:
        one: searches for one query (1, d).
        many: searches for many queries in one call, if there is such a call.
        alone: ours without our own layer: what the structure itself answers to either.
    """

    one: Search
    many: Search | None = None
    alone: Search | None = None


class Built(NamedTuple):
    """An index that can be searched.

    Attributes:
        details: what it is, for the table.
        settings: parameters of its search, from cheap to thorough.
        use: makes it search with one of them.
    """

    details: str
    settings: Sequence[Setting]
    use: Callable[[Setting], Searches]


Builder = Callable[[Floats, Means], Built]
"""Gets the vectors (n, d), unit rows."""


@dataclass(frozen=True)
class System:
    """A system to compare.

    Attributes:
        package: the distribution it comes in.
        module: what is imported from it.
        build: makes its index.
        family: under which name it is drawn: its library, or how it was chosen.
    """

    package: str
    module: str
    build: Builder
    family: str


def ladder(name: str, values: Iterable[float]) -> list[Setting]:
    """One parameter through its values."""
    return [{name: value} for value in values]


def grid(**values: Sequence[float]) -> list[Setting]:
    """Two parameters, each with each; the first varies slowest."""
    (first, firsts), (second, seconds) = values.items()
    return [{first: a, second: b} for a in firsts for b in seconds]


def probes(lists: int) -> list[int]:
    """How many of so many lists are looked into: from one, by a factor of 1.6, up to a quarter of them."""
    return sorted({max(1, round(1.6**step)) for step in range(40) if 1.6**step <= max(1, lists / 4)})
