"""Which benchmarks there are, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from retrieval.base.found import Found
from retrieval.base.text import aligned, plain
from retrieval.protocols import PROTOCOLS, Protocol


@dataclass(frozen=True)
class Overview(Found):
    """The benchmarks.

    Attributes:
        protocols: one after the other.
    """

    protocols: tuple[Protocol, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        said = ("name", "title", "layout", "sizes", "sources", "published")
        return {
            "benchmarks": [
                {key: plain(getattr(one, key)) for key in said} | {"measures": measured(one)} for one in self.protocols
            ]
        }

    def table(self) -> str:
        """A line a benchmark."""
        rows = [("name", "set", "measures")]
        rows += [(one.name, one.title, ", ".join(measured(one))) for one in self.protocols]
        return "\n".join(aligned(rows, words=3))


def measured(protocol: Protocol) -> list[str]:
    """The names of its measures."""
    pairs = ("µAP", "recall at 90 % precision") if protocol.pairs is not None else ()
    if protocol.trials:
        return ["error"]
    return [*protocol.measures, *(("NMI", "AMI") if protocol.clusters else ()), *pairs]


def overview() -> Overview:
    """All of them."""
    return Overview(tuple(PROTOCOLS.values()))
