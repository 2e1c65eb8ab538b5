"""From any of Pillow's colour modes to plain RGB or grey."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def plain(picture: Image.Image) -> Image.Image:
    """The picture in mode "L" if it is grey and "RGB" if not; what is transparent laid over white.

    Args:
        picture: loaded, of any mode.

    Returns:
        `picture` itself where nothing needs to change.

    Raises:
        ValueError: for a mode that Pillow cannot convert (CIE Lab).
    """
    mode = picture.mode
    if "transparency" in picture.info and mode in ("1", "L", "P", "RGB"):
        return _over_white(picture.convert("LA" if mode in ("1", "L") else "RGBA"))
    if mode in ("RGB", "L"):
        return picture
    if mode in ("LA", "La"):
        return _over_white(picture.convert("LA"))
    if mode in ("RGBA", "RGBa", "PA"):
        return _over_white(picture.convert("RGBA"))
    if mode.startswith(("I", "F")):
        return Image.fromarray(_eight_bits(np.asarray(picture)))
    return picture.convert("L" if mode == "1" else "RGB")


def _over_white(picture: Image.Image) -> Image.Image:
    opaque: Literal["RGB", "L"] = "RGB" if picture.mode == "RGBA" else "L"
    ground = Image.new(opaque, picture.size, "white")
    ground.paste(picture.convert(opaque), mask=picture.getchannel("A"))
    return ground


def _eight_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale deep grey values to 0 … 255.

    Integers within 0 … 65535 are taken for 16 bits, fractions within 0 … 1 for shares of white. Anything else
    has no agreed range and is spread from its own least to its own largest value; what is not finite becomes
    0.
    """
    if values.dtype.kind == "f":
        values = np.nan_to_num(values, posinf=0, neginf=0)
    elif values.dtype.itemsize == 2:
        return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    low, high = float(values.min()), float(values.max())
    full = 1.0 if values.dtype.kind == "f" else 65535.0
    if low < 0 or high > full:
        return np.rint((values.astype(np.float64) - low) * (255 / max(high - low, 1e-300))).astype(np.uint8)
    return np.rint(values.astype(np.float64) * (255 / full)).astype(np.uint8)
