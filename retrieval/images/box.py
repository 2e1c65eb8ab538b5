"""A rectangle in a picture, in pixels or per cent of it."""

from __future__ import annotations

import math
import re
from dataclasses import astuple, dataclass

from retrieval.base.text import printable
from retrieval.errors import RetrievalError

NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?:nan|inf)"
"""A number in a text, as a regular expression; also one that is none that can be used, to be refused by its name."""

_BOX = re.compile(",".join([f"((?:{NUMBER})%?)"] * 4))
_ENDS = re.compile(rf"(.*)#({_BOX.pattern})", re.DOTALL)


@dataclass(frozen=True)
class Box:
    """A rectangle in the picture as it is shown: upright.

    Attributes:
        x: left of it, from the picture's left edge; may be negative, or a fraction.
        y: above it, likewise.
        width: of it.
        height: of it.
        per_cent: these are hundredths of the picture's width and height; otherwise pixels.

    Raises:
        RetrievalError: a number is not finite, or width or height is not above 0.
    """

    x: float
    y: float
    width: float
    height: float
    per_cent: bool = False

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, self._numbers)) or self.width <= 0 or self.height <= 0:
            raise RetrievalError(
                f"The part #{self} of a picture is empty; give x,y,width,height with a width and a height above 0."
            )

    def __str__(self) -> str:
        return ",".join(plain(number) + "%" * self.per_cent for number in self._numbers)

    @property
    def _numbers(self) -> tuple[float, ...]:
        return astuple(self)[:4]

    @classmethod
    def parse(cls, text: str) -> Box:
        """`10,20,64,48` in pixels, or `10%,20%,50%,50%`.

        Raises:
            RetrievalError: it has not this form, some numbers have a `%` and others none, or the box is empty.
        """
        found = _BOX.fullmatch(text)
        if found is None:
            raise RetrievalError(
                f"{printable('#' + text)!r} is no part of a picture; write #x,y,width,height in pixels, or with a % "
                "behind each number."
            )
        signs = sum(number.endswith("%") for number in found.groups())
        if signs not in (0, 4):
            raise RetrievalError(
                f"The part #{text} of a picture mixes pixels and per cent; write % behind all four numbers, or none."
            )
        x, y, width, height = (float(number.removesuffix("%")) for number in found.groups())
        return cls(x, y, width, height, signs == 4)

    @property
    def whole(self) -> bool:
        """Whether it is the whole of any picture."""
        return self == Box(0, 0, 100, 100, per_cent=True)

    def edges(self, width: int, height: int) -> tuple[int, int, int, int] | None:
        """Left, top, right and bottom in a picture of this size, whole pixels: what of the box lies in the picture.

        Edges between two pixels go to the nearer one (half a pixel to the even one), but a box that holds a part of
        the picture has at least one pixel. None if it lies beside the picture.
        """
        across, down = (width / 100, height / 100) if self.per_cent else (1, 1)
        left, right = self.x * across, (self.x + self.width) * across
        top, bottom = self.y * down, (self.y + self.height) * down
        if left >= width or top >= height or right <= 0 or bottom <= 0:
            return None
        (left, right), (top, bottom) = _within(left, right, width), _within(top, bottom, height)
        return left, top, right, bottom


def _within(low: float, high: float, most: int) -> tuple[int, int]:
    """Whole numbers from 0 to `most`, the second above the first."""
    first = min(round(max(low, 0)), most - 1)
    return first, max(round(min(high, most)), first + 1)


def split(text: str) -> tuple[str, str] | None:
    """A text that ends like `#10,20,64,48`: what stands before that, and the box as :meth:`Box.parse` reads it. None if
    it does not end so."""
    found = _ENDS.fullmatch(text)
    return None if found is None else (found[1], found[2])


def plain(number: float) -> str:
    """A number as briefly as it can be written without another one being read: 0.5, 3."""
    return repr(float(number)).removesuffix(".0")
