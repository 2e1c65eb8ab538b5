"""What is asked, as it comes over HTTP: read and checked before anything is done for it.

A part names a picture by its id or path in the index, by the SHA-256 of one that was sent, or words; never a file of
this machine, and never an address elsewhere.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from retrieval.images import Box
from retrieval.search.arrangement import PLAIN, Arrangement
from retrieval.search.diverse import LAMBDA
from retrieval.search.parts import Part
from retrieval.service import limits
from retrieval.service.problems import Problem

_UPLOAD = "upload:"
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Piece:
    """A part of a question, as it comes over HTTP.

    Attributes:
        part: what it is. sign: 1 for what hits are to be like, −1 for what they are not.
        upload: the SHA-256 of a picture that was sent, if it is one.
        vector: its numbers (n,), of any real type, if it is a vector.
    """

    part: Part
    sign: int = 1
    upload: str | None = None
    vector: NDArray[Any] | None = None

    @property
    def plain(self) -> bool:
        """Whether it is a whole thing that hits are to be like."""
        return self.sign == 1 and self.part.box is None


@dataclass(frozen=True)
class Asked:
    """A question.

    Attributes:
        pieces: what it is made of. k: hits that are wanted. where: a filter that they match. above: the least score of
            theirs. same: whether pictures of the collection that
            the question is, come first, and are not left out. details: whether hits tell of their files, too. hidden:
            whether hidden pictures may be hits. arrange: how the hits are sorted, grouped, counted, paged or chosen.
        marks: what was said of hits, each by id or path. rerank: what orders them anew. explain: whether to say why
            each hit is one.
    """

    pieces: tuple[Piece, ...]
    k: int | None = 50
    where: str | None = None
    above: float | None = None
    same: bool = True
    details: bool = True
    hidden: bool = False
    arrange: Arrangement = PLAIN
    marks: tuple[tuple[int | str, bool], ...] = ()
    rerank: str | None = None
    explain: bool = False

    def also(self, pieces: tuple[Piece, ...]) -> Asked:
        """The same with more parts."""
        return replace(self, pieces=pieces + self.pieces)


_FORMS = "give id:17, path:2019/a.jpg or text:a red dog, or send a picture"

MARKS = 1_000
"""Marks of one question."""

RERANKERS = ("aqe", "alpha-qe", "k-reciprocal")
"""What may order hits anew: nothing that lies in a folder of this machine."""


def read_json(body: bytes) -> dict[str, Any]:
    """An object.

    Raises:
        Problem: it is none.
    """
    try:
        found = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        _refuse('The request is no JSON object; send one such as {"like": ["id:17"]}')
    return dict(found)


def read_npy(body: bytes) -> Piece:
    """One vector, as NumPy saves it; nothing in it is unpickled.

    Raises:
        Problem: it is none.
    """
    try:
        array = np.load(io.BytesIO(body), allow_pickle=False)
        rows = np.asarray(array)
    except Exception:  # whatever the parsers that NumPy reads a header or an archive with raise
        _refuse("The vector is no .npy file; send one row of numbers, as numpy.save writes them")
    if rows.ndim == 2 and len(rows) == 1:
        rows = rows[0]
    if rows.ndim != 1 or rows.dtype.kind not in "fiu":
        _refuse(f"The vector is {rows.dtype} of shape {rows.shape}; send one row of numbers")
    return _vector(rows)


def read_asked(given: Mapping[str, Any], query: Mapping[str, str]) -> Asked:
    """A question, from an object and from what stands in the address, which the object overrules.

    Raises:
        Problem: something in it is not as it must be.
    """
    said: dict[str, Any] = {**query, **given}
    pieces = [read_piece(one, sign) for name, sign in (("like", 1), ("unlike", -1)) for one in _several(said.get(name))]
    if "vector" in said:
        pieces.append(_vector(_numbers(said["vector"])))
    if len(pieces) > limits.PARTS:
        _refuse(f"The question has {len(pieces)} parts; give at most {limits.PARTS}")
    above = said.get("above")
    matches = _flag(said.get("matches", False), "matches") or above == "matches"
    above = None if above in (None, "", "matches") else _number(above, "above")
    explain = _flag(said.get("explain", False), "explain")
    most = limits.EXPLAINED if explain else limits.HITS
    k = said.get("k")
    return Asked(
        tuple(pieces),
        # As the command line has it: with a least score all that reach it, as far as one answer goes.
        k=min(50 if above is None or "cursor" in said else most, most) if k is None else _whole(k, "k", 1, most),
        where=_text(said.get("filter"), "filter"),
        above=above,
        same=_flag(said.get("same", True), "same"),
        details=_flag(said.get("details", True), "details"),
        hidden=_flag(said.get("hidden", False), "hidden"),
        arrange=_arrangement(said, matches),
        marks=_marks(said.get("marks")),
        rerank=_reranker(said.get("rerank")),
        explain=explain,
    )


def _arrangement(said: Mapping[str, Any], matches: bool) -> Arrangement:
    cursor, diverse = said.get("cursor"), said.get("diverse")
    if cursor is not None and not (isinstance(cursor, str) and len(cursor) <= limits.TEXT):
        _refuse("The cursor is none that an answer came with; leave it empty for the first page")
    if diverse in (True, "true"):
        diverse = LAMBDA
    elif diverse in (None, False, "", "false"):
        diverse = None
    else:
        diverse = _number(diverse, "diverse")
    return Arrangement(
        _text(said.get("sort"), "sort"),
        _text(said.get("group"), "group"),
        _flag(said.get("facets", False), "facets"),
        cursor,
        diverse,
        matches,
    )


def read_piece(given: object, sign: int = 1) -> Piece:
    """One part: a text such as `id:17#10%,0%,50%,100%@0.5`, or an object {"part": ..., "weight": ..., "box": ...}.

    Raises:
        Problem, RetrievalError: it is none, or names a file of this machine.
    """
    weight, box = 1.0, None
    if isinstance(given, dict):
        weight = _number(given.get("weight", 1), "weight")
        box = _box(given.get("box"))
        given = given.get("part")
    if not isinstance(given, str) or len(given) > limits.TEXT:
        _refuse(f"A part of the question is {str(given)[:60]!r}; {_FORMS}")
    part = Part.parse(given, files=False)
    if weight != 1:
        part = replace(part, weight=part.weight * weight)
    if box is not None:
        part = replace(part, box=box)
    if part.kind in ("id", "path", "text"):
        return Piece(part, sign)
    if part.kind == "file" and str(part.value).startswith(_UPLOAD):
        sha256 = str(part.value).removeprefix(_UPLOAD)
        if _SHA256.fullmatch(sha256):
            return Piece(part, sign, upload=sha256)
    _refuse(
        f"{given[:60]!r} is nothing that is opened here, be it a file of the service's machine or an address; {_FORMS}"
    )


def _vector(numbers: NDArray[Any]) -> Piece:
    if not np.isfinite(numbers).all():
        _refuse("The vector has a number that is not finite")
    return Piece(Part("vector", tuple(numbers.astype(np.float64).tolist())), vector=numbers)


def _marks(given: object) -> tuple[tuple[int | str, bool], ...]:
    """What was said of hits: each by id or path, and whether it is right."""
    if given in (None, [], ""):
        return ()
    if not isinstance(given, list) or len(given) > MARKS:
        _refuse(f'The marks are no list of at most {MARKS:,}, such as [{{"item": 17, "right": true}}]')
    found: list[tuple[int | str, bool]] = []
    for one in given:
        item: Any
        item, right = (one.get("item"), one.get("right")) if isinstance(one, dict) else (None, None)
        known = (type(item) is int and 0 <= item < 2**63) or (isinstance(item, str) and 0 < len(item) <= limits.TEXT)
        if not known or not isinstance(right, bool):
            _refuse(f'A mark is {str(one)[:60]!r}; give {{"item": id or path, "right": true or false}}')
        found.append((item, right))
    return tuple(found)


def _reranker(given: object) -> str | None:
    if given in (None, ""):
        return None
    if given not in RERANKERS:
        _refuse(f"There is no re-ranker {str(given)[:60]!r} here; give {', '.join(RERANKERS)}")
    return str(given)


def _several(given: object) -> list[object]:
    return [] if given is None else given if isinstance(given, list) else [given]


def _box(given: object) -> Box | None:
    """A box as PART has it, or four numbers in pixels."""
    if given is None or given == "":
        return None
    if isinstance(given, list) and len(given) == 4:
        x, y, width, height = (_number(one, "box") for one in given)
        return Box(x, y, width, height)
    if not isinstance(given, str) or len(given) > 200:
        _refuse(f"The box is {str(given)[:60]!r}; give x,y,width,height in pixels, or with a % behind each number")
    return Box.parse(given)


def _refuse(sentence: str) -> NoReturn:
    raise Problem(400, sentence + ".", "refused")


def _number(value: object, what: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        _refuse(f"{what} is {str(value)[:60]!r}; give a number")
    return number


def _whole(value: object, what: str, least: int, most: int) -> int:
    number = _number(value, what)
    if not number.is_integer() or not least <= number <= most:
        _refuse(f"{what} is {str(value)[:60]!r}; give a whole number from {least} to {most}")
    return int(number)


def _flag(value: object, what: str) -> bool:
    if value in (True, 1, "1", "true"):
        return True
    if value in (False, 0, "0", "false"):
        return False
    _refuse(f"{what} is {str(value)[:60]!r}; give 1 or 0")


def _text(value: object, what: str) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > limits.TEXT:
        _refuse(f"{what} is no text of at most {limits.TEXT} letters")
    return value


def _numbers(value: object) -> NDArray[np.float64]:
    if not isinstance(value, list) or not value or any(isinstance(one, bool | str) for one in value):
        _refuse("The vector is no list of numbers")
    try:
        array = np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.empty(0)
    if array.ndim != 1 or not len(array):
        _refuse("The vector is no list of numbers")
    return array
