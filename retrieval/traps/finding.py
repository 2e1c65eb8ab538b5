"""What looking for a trap found, for people and for programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from retrieval.base.text import plain

Severity = Literal["fine", "notice", "warning"]
"""Nothing found; something a reader of the figures should know; figures that should not be believed as they are."""

_WORSE: Mapping[str, int] = {"warning": 0, "notice": 1, "fine": 2}

WORST = 24
"""Examples that a finding names at most: what fits a page."""

Value = float | int | str | None


@dataclass(frozen=True)
class Example:
    """One of the worst examples.

    Attributes:
        ids: the pictures it is about: a pair, a picture and those it is confused with, some of a class.
        figures: what was measured of it, by name ("score", "bits", ...).
        names: of the pictures, where they are known.
    """

    ids: tuple[int, ...]
    figures: Mapping[str, Value]
    names: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        names = {"names": list(self.names)} if self.names else {}
        return {"ids": list(self.ids), **names, **plain(self.figures)}


@dataclass(frozen=True)
class Finding:
    """What was found of one trap.

    Attributes:
        name: of the trap ("leakage", "collapse", "hubs", "labels", "small classes").
        severity: how bad it is.
        sentence: what was found, with the figures, and what to do about it.
        figures: everything that was measured, by name.
        worst: the worst examples, worst first, :data:`WORST` at most. Their ids are rows of the arrays that were given,
            or the index's ids where those are known.
    """

    name: str
    severity: Severity
    sentence: str
    figures: Mapping[str, Value]
    worst: tuple[Example, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it: numbers that are none are null."""
        return {name: plain(value) for name, value in vars(self).items()}

    def with_ids(self, *ids: npt.NDArray[np.int64]) -> Finding:
        """The same with ids in the place of rows.

        Args:
            ids: int64 (n,), the id of each row; with two of them, the first is of an example's first picture (a query)
                and the second of all others (of the gallery).
        """
        worst = (Example(tuple(map(int, _looked_up(one.ids, ids))), one.figures) for one in self.worst)
        return dataclasses.replace(self, worst=tuple(worst))

    def called(self, *names: Mapping[int, str]) -> Finding:
        """The same with the pictures' names, given by id or row; with two mappings as in :meth:`with_ids`."""
        worst = (dataclasses.replace(one, names=tuple(_looked_up(one.ids, names))) for one in self.worst)
        return dataclasses.replace(self, worst=tuple(worst))


def _looked_up(ids: tuple[int, ...], tables: Sequence[Any]) -> Iterator[Any]:
    """What stands for the first of them in the first table, and for the others in the last."""
    return (tables[min(place, len(tables) - 1)][one] for place, one in enumerate(ids))


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Warnings before notices, and what is fine last."""
    return tuple(sorted(findings, key=lambda one: _WORSE[one.severity]))
