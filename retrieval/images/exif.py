"""What a camera wrote beside a picture: when it was taken, with what, and where."""

from __future__ import annotations

import contextlib
import datetime
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image

Fact = str | int | float

PLACE = ("latitude", "longitude")
"""The facts that tell where somebody was."""

_DETAILS, _GPS = 0x8769, 0x8825
_MOST_LETTERS = 100


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    text = "".join(letter for letter in str(value).partition("\0")[0] if letter.isprintable()).strip()
    return text[:_MOST_LETTERS] or None


def _moment(value: Any) -> str | None:
    """EXIF's "2024:05:01 12:34:56" as ISO 8601, in the camera's own time."""
    match = re.fullmatch(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d):(\d\d)", _text(value) or "")
    return None if match is None else datetime.datetime(*map(int, match.groups())).isoformat()  # type: ignore[arg-type]


def _number(value: Any) -> float | None:
    number = float(value[0] if isinstance(value, tuple) else value)
    return float(f"{number:.6g}") if math.isfinite(number) and number > 0 else None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


_FACTS: tuple[tuple[str, int, Callable[[Any], Fact | None]], ...] = (
    ("taken", 0x9004, _moment),  # when it was digitized, unless it says when it was taken
    ("taken", 0x9003, _moment),
    ("lens", 0xA434, _text),
    ("iso", 0x8827, _whole),
    ("exposure", 0x829A, _number),  # seconds
    ("aperture", 0x829D, _number),
    ("focal", 0x920A, _number),  # millimetres
)


def facts(exif: Image.Exif) -> dict[str, Fact]:
    """What is known of a picture, by name; what is damaged or makes no sense is left out.

    Args:
        exif: as Pillow gives it.

    Returns:
        Some of "taken" (ISO 8601, the camera's local time), "camera", "lens", "iso", "exposure" (seconds), "aperture",
        "focal" (millimetres), "latitude" and "longitude" (degrees).
    """
    found: dict[str, Fact] = {}

    def note(name: str, read: Callable[[], Fact | None]) -> None:
        with contextlib.suppress(Exception):  # anything may stand in a file
            value = read()
            if value is not None:
                found[name] = value

    details: Mapping[int, Any] = {}
    place: Mapping[int, Any] = {}
    with contextlib.suppress(Exception):
        note("camera", lambda: _text(exif[0x0110]))
        details = exif.get_ifd(_DETAILS)
        place = exif.get_ifd(_GPS) if _GPS in exif else {}
    for name, tag, read in _FACTS:
        if tag in details:
            note(name, lambda tag=tag, read=read: read(details[tag]))  # type: ignore[misc]
    note("latitude", lambda: _degrees(place[2], place[1], "S", 90))
    note("longitude", lambda: _degrees(place[4], place[3], "W", 180))
    return found if set(PLACE) <= found.keys() else {name: value for name, value in found.items() if name not in PLACE}


def _degrees(parts: Any, side: Any, negative: str, most: int) -> float | None:
    degrees, minutes, seconds = (float(part) for part in parts)
    value = round(degrees + minutes / 60 + seconds / 3600, 6)
    if not 0 <= value <= most:
        return None
    return -value if _text(side) == negative else value
