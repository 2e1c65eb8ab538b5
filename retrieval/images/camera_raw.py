"""Cameras' raw files: the JPEG that the camera made of the picture, which nearly all of them hold.

Makers differ in where they keep it, so it is looked for: of all that begins like a JPEG the one with the most pixels.
"""

from __future__ import annotations

import io
import re
from typing import NamedTuple

from retrieval.images import tiff

_JPEG = re.compile(rb"\xff\xd8\xff[\xc0-\xc2\xc4\xdb\xdd\xe0-\xef\xfe]")

_CANDIDATES = 256
_HEADER = 1 << 20
"""Beginnings that are looked into, and bytes of each that must hold its header."""


class Preview(NamedTuple):
    """What a camera made of a picture.

    Attributes:
        start: where the JPEG begins, bytes.
        orientation: how the camera was held, as EXIF counts; None if the raw file does not tell.
    """

    start: int
    orientation: int | None


def preview(data: bytes) -> Preview | None:
    """The largest JPEG in a raw file; None if there is none.

    Args:
        data: the whole file.
    """
    from PIL.JpegImagePlugin import JpegImageFile

    best, start = 0, -1
    for number, match in enumerate(_JPEG.finditer(data)):
        if number == _CANDIDATES:
            break
        try:
            with JpegImageFile(io.BytesIO(data[match.start() : match.start() + _HEADER]), "") as header:
                pixels = header.width * header.height
        except Exception:  # bytes that look like a JPEG, or what the sensor saw, compressed as none that is shown
            continue
        if pixels > best:
            best, start = pixels, match.start()
    return None if start < 0 else Preview(start, _orientation(data))


def _orientation(data: bytes) -> int | None:
    """From the directory that most raw files begin with, or that Canon's later ones hold in a box."""
    if data[4:8] == b"ftyp":
        box = data.find(b"CMT1", 0, 1 << 16)
        head = data[box + 4 : box + (1 << 16)] if box >= 0 else b""
    else:
        head = data
    if not head.startswith((b"II", b"MM")):
        return None
    pages = tiff.parse(io.BytesIO(head)).pages
    return (pages[0].one(tiff.ORIENTATION, 0) or None) if pages else None
