"""The parts that a question is made of, and how each is written.

    PART    = WHAT [#BOX] [@WEIGHT]
    WHAT    = FILE | id:N | path:P | text:WORDS | vector:FILE.npy | vector:FILE.npy[ROW]
    BOX     = x,y,width,height          pixels of the upright picture, or per cent of it with a % behind all four
    WEIGHT  = a number above 0          1 where there is none

A name under which a file lies wins over every other reading, the longest first: with a file `a.jpg@0.5`, that text is
this file, and `a.jpg@0.5@2` is it with the weight 2.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.base.npy import mapped
from retrieval.base.object_address import is_object
from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.images.box import NUMBER, Box, plain, split
from retrieval.search.query import InMemory, lies, pictures_of

Kind = Literal["file", "memory", "id", "path", "text", "vector"]

NAMED: tuple[Kind, ...] = ("id", "path", "text", "vector")
"""The kinds that a text says in front of its colon; any other text is a file."""

_WEIGHT = re.compile(rf"(.*)@({NUMBER})", re.DOTALL)
_ROW = re.compile(r"(.+)\[([0-9]+)\]", re.DOTALL)
_WHOLE = "#0%,0%,100%,100%"
"""A box that is the whole picture, and so none. It ends a name that itself ends like a box."""


@dataclass(frozen=True)
class Part:
    """One part of a question.

    Attributes:
        kind: "file", a picture's file; "memory", a picture in no file; "id" and "path", an item of the index; "text",
            words; "vector".
        value: of a file, an item's path, words, or a vector's `.npy` file (`v.npy[3]`: its row 3) the text; of an id
            the number; of a picture in memory the :class:`InMemory`; of a vector in memory its numbers.
        weight: how much it counts, above 0.
        box: which part of the picture it is; None for all of it.

    Raises:
        RetrievalError: the weight is not above 0, a text or vector has a box, or there is nothing in it.
    """

    kind: Kind
    value: str | int | InMemory | tuple[float, ...]
    weight: float = 1.0
    box: Box | None = None

    def __post_init__(self) -> None:
        if isinstance(self.value, str):
            kept = self.value.strip() if self.kind == "text" else self.value
            if not kept:
                raise RetrievalError(f"A part of the question is empty ({self.kind}); {_FORMS}.")
            if self.kind == "file" and not is_object(kept):
                kept = os.fspath(Path(kept))
            object.__setattr__(self, "value", kept)
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise RetrievalError(
                f"The weight {plain(self.weight)} of {printable(self.named)!r} is no number above 0; give one (what "
                "the hits must not be like goes among the unlike)."
            )
        object.__setattr__(self, "weight", float(self.weight))
        if self.box is not None and self.box.whole:
            object.__setattr__(self, "box", None)
        if self.box is not None and self.kind in ("text", "vector"):
            raise RetrievalError(
                f"{printable(self.named)!r} is no picture, so that it has no part #{self.box}; leave it out"
                + (f", or write {_WHOLE} behind it if it belongs to the words." if self.kind == "text" else ".")
            )

    @property
    def named(self) -> str:
        """What it is, without box and weight."""
        if isinstance(self.value, InMemory):
            return self.value.name
        if isinstance(self.value, tuple):
            return f"vector of {len(self.value)} numbers"
        if self.kind == "file":
            file = str(self.value)
            return f"./{file}" if file.startswith(("-", *(f"{kind}:" for kind in NAMED))) else file
        return f"{self.kind}:{self.value}"

    def __str__(self) -> str:
        """As :meth:`parse` reads it, but for what lies in memory, which is only named.

        ``parse(str(part)) == part``, unless a file lies under a name that would otherwise be read in another way.
        """
        text = self.named
        if self.box is not None:
            text += f"#{self.box}"
        elif split(text) is not None:
            text += _WHOLE
        return text + f"@{plain(self.weight)}" * (self.weight != 1 or _WEIGHT.fullmatch(text) is not None)

    def vector(self) -> NDArray[Any]:
        """The numbers (dim,) of a vector, of any real type; a file is read.

        Raises:
            RetrievalError: the file cannot be read, has no such row, or has several and none is named.
        """
        if not isinstance(self.value, str):
            return np.asarray(self.value)
        found = None if lies(self.value) else _ROW.fullmatch(self.value)
        file, row = (self.value, None) if found is None else (found[1], int(found[2]))
        rows: NDArray[Any] = mapped(Path(file), "an array of vectors, (n, dim) or (dim,)")
        rows = rows[None] if rows.ndim == 1 else rows
        count = len(rows) if rows.ndim == 2 else 0
        if count == 0 or (count > 1 and row is None) or (row or 0) >= count:
            raise RetrievalError(
                f"{printable(self.named)!r} is not one vector: the file's shape is {rows.shape}; "
                + (f"name a row from 0 to {count - 1}, as vector:{printable(file)}[0]." if count else "give (n, dim).")
            )
        one: NDArray[Any] = rows[row or 0]
        return one

    @classmethod
    def parse(cls, text: str, *, files: bool = True) -> Part:
        """One part as somebody wrote it.

        Args:
            text: as the module says.
            files: look whether a file lies under the name; without that the disk has no say, as it should have none in
                what a stranger asks.

        Raises:
            RetrievalError: there is nothing in it, or a weight, a box or an id is none.
        """

        def there(name: str) -> bool:
            return files and lies(name)

        weight, box, what = 1.0, None, text
        weighed = None if there(what) else _WEIGHT.fullmatch(what)
        if weighed is not None:
            what, weight = weighed[1], float(weighed[2])
        boxed = None if there(what) else split(what)
        if boxed is not None:
            what, box = boxed[0], Box.parse(boxed[1])
        if there(what):
            return cls("file", what, weight, box)
        name, hash_, last = what.rpartition("#")
        if hash_ and there(name):
            Box.parse(last)  # which says what is wrong with it
        for kind in NAMED:
            if what.startswith(f"{kind}:"):
                value = what.removeprefix(f"{kind}:")
                return cls(kind, _number(value) if kind == "id" else value, weight, box)
        return cls("file", what, weight, box)

    @classmethod
    def of(cls, given: GivenPart) -> Part:
        """One part as a program has it: a text is read by :meth:`parse`.

        Args:
            given: a part; a text; a picture file's path; a whole number, an item's id; the bytes of a file, a picture
                of Pillow's or pixels, uint8 (h, w, 3) or (h, w); a vector of real numbers (dim,).

        Raises:
            RetrievalError: it is none of these.
        """
        if isinstance(given, Part):
            return given
        if isinstance(given, str):
            return cls.parse(given)
        if isinstance(given, Path):
            return cls("file", os.fspath(given))
        if isinstance(given, int | np.integer) and not isinstance(given, bool):
            return cls("id", int(given))
        if isinstance(given, np.ndarray) and given.ndim == 1 and given.dtype.kind in "fiu":
            return cls("vector", tuple(given.astype(np.float64).tolist()))
        if not isinstance(given, Image.Image | bytes | bytearray | memoryview | np.ndarray):
            raise RetrievalError(f"{given!r:.60} is no part of a question; {_FORMS}.")
        pictures = pictures_of(given, [])
        if len(pictures) != 1 or not isinstance(pictures[0], InMemory):
            raise RetrievalError(f"An array of {len(pictures)} pictures is no part of a question; give one picture.")
        return cls("memory", pictures[0])


GivenPart = Part | str | Path | int | bytes | Image.Image | NDArray[Any]
"""What :meth:`Part.of` makes a part of."""


def parts_of(given: GivenPart | Iterable[GivenPart]) -> list[Part]:
    """One part or many, as :meth:`Part.of` takes them.

    Raises:
        RetrievalError: something is no part.
    """
    one = isinstance(given, str | bytes | bytearray | memoryview | Image.Image | np.ndarray)
    several: Iterable[Any] = given if isinstance(given, Iterable) and not one else [given]
    return [Part.of(part) for part in several]


def spelled(like: Sequence[Part], unlike: Sequence[Part]) -> str:
    """A question in words: `like a.jpg, id:17@0.5; unlike text:dog`."""
    sides = [("like", like), ("unlike", unlike)]
    return "; ".join(f"{side} {', '.join(printable(str(part)) for part in parts)}" for side, parts in sides if parts)


_FORMS = "give a picture file, id:17, path:2019/a.jpg, text:a red dog or vector:v.npy"


def _number(text: str) -> int:
    if not re.fullmatch("[0-9]{1,18}", text):
        raise RetrievalError(f"{printable('id:' + text)!r} is no id of an item; give a whole number, as id:17.")
    return int(text)
