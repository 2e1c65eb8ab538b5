"""What a query finds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Hit:
    """One picture of the index, as an answer.

    Attributes:
        rank: 1 for the best.
        id: the picture's id in the index.
        path: where it lies, relative to the index's root, with ``/`` between the parts.
        label: its label, or None.
        score: inner product of the two unit vectors, in [−1, 1].
        relevant: whether its label is the query's; None where either has none.
    """

    rank: int
    id: int
    path: str
    label: str | None
    score: float
    relevant: bool | None


@dataclass(frozen=True)
class Answer:
    """What was found for one query.

    Attributes:
        query: the query as it was asked: a file's path, `id 7`, `vectors.npy[3]`, or a text.
        label: the query's label where it is known, or None.
        id: the query's id where it is itself in the index, or None.
        hits: the best first.
        picture: the query's file; None for a text or a vector.
        left_out: ids of the query itself, and of its exact copies, ascending, which the hits leave out.
    """

    query: str
    label: str | None
    id: int | None
    hits: tuple[Hit, ...]
    picture: Path | None = None
    left_out: tuple[int, ...] = ()
