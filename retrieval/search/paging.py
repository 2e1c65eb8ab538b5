"""Cursors: the place in an answer after which its next page begins, as a line of text.

``9c1fa0b2c3d4e5f6:0.73126346:17:10``: a digest of what was asked, the last hit's score to its last bit, its id, and how
many hits came up to there; where the answer is sorted, the value that it is sorted by, as JSON in percent signs. A page
has the hits that come after that place in the order of the answer. What others add or remove in between moves no place:
whatever was there all the time is shown once.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote

import numpy as np

from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.index.records import Value

_LARGEST = 2**63
_NUMBERS = (int, float)


@dataclass(frozen=True)
class Cursor:
    """A place in an answer.

    Attributes:
        digest: of what was asked.
        score: a float32 as Python's own number. id: of an item, which may be gone by now. They are of the last hit.
        shown: how many hits came up to there.
        value: what it was sorted by, where it was.
    """

    digest: str
    score: float
    id: int
    shown: int
    value: Value | None = None

    def __str__(self) -> str:
        value = "" if self.value is None else ":" + quote(json.dumps(self.value, ensure_ascii=False), safe="")
        return f"{self.digest}:{np.float32(self.score)!s}:{self.id}:{self.shown}{value}"


def read(text: str) -> Cursor:
    """The cursor that a text is.

    Raises:
        RetrievalError: it is none.
    """
    digest, *rest = text.split(":")
    try:
        with np.errstate(over="ignore"):
            score = float(np.float32(float(rest[0])))
        id_, shown = int(rest[1]), int(rest[2])
        value = json.loads(unquote(rest[3], errors="strict")) if len(rest) > 3 else None
        right = len(rest) <= 4 and -1 <= score <= 1 and 0 <= id_ < _LARGEST and 0 <= shown < _LARGEST
        right = right and (
            value is None or isinstance(value, str) or (type(value) in _NUMBERS and math.isfinite(value))
        )
    except (ValueError, IndexError, OverflowError, RecursionError):
        right = False
    if not right:
        raise RetrievalError(f"{text!r:.100} is no cursor; give one that a page of this query came with.")
    return Cursor(digest, score, id_, shown, value)


def index_asked(index: Index) -> tuple[object, ...]:
    """What tells an index from others, for :func:`digest`; it stays the same as long as there is one."""
    return index.created, index.encoder_hash, index.storage


def digest(about: Sequence[object], vector: bytes) -> str:
    """What tells one question to one index from others, in 16 letters.

    Args:
        about: of the index, as :func:`index_asked` has it, and whatever else decides on the hits and their order, texts
            and numbers. vector: the query's.
    """
    return hashlib.sha256(repr([*about]).encode() + vector).hexdigest()[:16]


def require_same(cursor: Cursor, expected: str) -> None:
    """Make sure that a cursor goes on with what is asked now.

    Raises:
        RetrievalError: it came with another question.
    """
    if cursor.digest != expected:
        raise RetrievalError(
            f"The cursor {str(cursor)!r:.100} belongs to another query, filter, cut-off, order or index; "
            "ask for the first page again."
        )
