"""Small pictures inside a page, so that it needs no other file."""

from __future__ import annotations

import base64
import io

from PIL import Image

from retrieval.images.box import Box
from retrieval.images.decoding import Source, UnreadableImage, open_picture


def small(path: Source, side: int, box: Box | None = None) -> Image.Image | None:
    """A picture file, or a part of it, `side` pixels at most either way; None if it is gone or cannot be read."""
    try:
        picture = open_picture(path, size=side, mode="RGB", box=box)
    except UnreadableImage:
        return None
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return picture


def data_address(picture: Image.Image) -> str:
    """A picture as a ``data:`` address, in JPEG."""
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=82, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()


def embedded(path: Source, side: int, box: Box | None = None) -> str | None:
    """:func:`small` as a ``data:`` address."""
    picture = small(path, side, box)
    return None if picture is None else data_address(picture)
