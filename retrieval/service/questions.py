"""What is asked, as it comes over HTTP: read and checked before anything is done for it.

A part names a picture by its id or path in the index, by the SHA-256 of one that was sent, or words; never a file of
this machine, and never an address elsewhere.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from retrieval.service import limits
from retrieval.service.problems import Problem

Kind = Literal["id", "path", "text", "upload", "vector"]


@dataclass(frozen=True)
class Part:
    """One part of a question.

    Attributes:
        kind: "id" or "path" of an item, "text", "upload" (the SHA-256 of a picture that was sent) or "vector".
        value: it; of a vector its numbers (n,), of any real type.
    """

    kind: Kind
    value: str | int | NDArray[Any]

    @property
    def named(self) -> str:
        """As it is called in an answer."""
        return "vector" if self.kind == "vector" else f"{self.kind}:{self.value}"


@dataclass(frozen=True)
class Asked:
    """A question.

    Attributes:
        parts: what it is made of. k: hits that are wanted. where: a filter that they match. above: the least score of
            theirs, or "matches": that from which on two pictures match. same: whether pictures of the collection that
            the question is, come first, and are not left out. details: whether hits tell of their files, too. hidden:
            whether hidden pictures may be hits.
    """

    parts: tuple[Part, ...]
    k: int | None = 50
    where: str | None = None
    above: float | Literal["matches"] | None = None
    same: bool = True
    details: bool = True
    hidden: bool = False

    def also(self, parts: tuple[Part, ...]) -> Asked:
        """The same with more parts."""
        return replace(self, parts=self.parts + parts)


_FORMS = "give id:17, path:2019/a.jpg, text:a red dog or upload:SHA256"

_LATER = ("unlike", "marks", "cursor", "sort", "group", "facets", "diverse", "rerank", "explain")
"""What the contract has and nothing here answers yet."""


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


def read_npy(body: bytes) -> Part:
    """One vector, as NumPy saves it; nothing in it is unpickled.

    Raises:
        Problem: it is none.
    """
    try:
        array = np.load(io.BytesIO(body), allow_pickle=False)
        rows = np.asarray(array)
    except (ValueError, OSError, EOFError, MemoryError, SyntaxError, TypeError, OverflowError):
        _refuse("The vector is no .npy file; send one row of numbers, as numpy.save writes them")
    if rows.ndim == 2 and len(rows) == 1:
        rows = rows[0]
    if rows.ndim != 1 or rows.dtype.kind not in "fiu":
        _refuse(f"The vector is {rows.dtype} of shape {rows.shape}; send one row of numbers")
    return Part("vector", rows)


def read_asked(given: Mapping[str, Any], query: Mapping[str, str]) -> Asked:
    """A question, from an object and from what stands in the address, which the object overrules.

    Raises:
        Problem: something in it is not as it must be.
    """
    said: dict[str, Any] = {**query, **given}
    for name in _LATER:
        if said.get(name) not in (None, "", 0, "0", False, []):
            _refuse(f"{name!r} is not known to this service yet; leave it out")
    like = said.get("like", [])
    if not isinstance(like, list):
        like = [like]
    parts = [read_part(one) for one in like]
    if "vector" in said:
        parts.append(Part("vector", _numbers(said["vector"])))
    above = said.get("above")
    if above is not None and above != "matches":
        above = _number(above, "above")
    k = said.get("k")
    return Asked(
        tuple(parts),
        # As the command line has it: with a least score all that reach it, as far as one answer goes.
        k=(limits.HITS if above is not None else 50) if k is None else _whole(k, "k", 1, limits.HITS),
        where=_text(said.get("filter"), "filter"),
        above=above,
        same=_flag(said.get("same", True), "same"),
        details=_flag(said.get("details", True), "details"),
        hidden=_flag(said.get("hidden", False), "hidden"),
    )


def read_part(given: object) -> Part:
    """One part: a text such as `id:17`, or an object {"part": ...}.

    Raises:
        Problem: it is none, or names a file of this machine.
    """
    if isinstance(given, dict):
        if given.get("box") is not None or given.get("weight", 1) != 1:
            _refuse("Weights and boxes are not known to this service yet; leave them out")
        given = given.get("part")
    if not isinstance(given, str) or len(given) > limits.TEXT:
        _refuse(f"A part of the question is {str(given)[:60]!r}; {_FORMS}")
    kind, colon, value = given.partition(":")
    if kind == "id" and value.isascii() and value.isdigit() and len(value) <= 18:
        return Part("id", int(value))
    if kind == "upload" and len(value) == 64 and set(value) <= set("0123456789abcdef"):
        return Part("upload", value)
    if kind in ("path", "text") and value.strip():
        return Part("path" if kind == "path" else "text", value)
    if kind in ("vector", "file") or not colon:
        _refuse(
            f"{given[:60]!r} would be a file of the machine that the service runs on, which it does not open; send it"
        )
    _refuse(f"{given[:60]!r} is no part of a question; {_FORMS}")


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
