"""From any of Pillow's colour modes to plain RGB or grey, and from deep values to eight bits."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.images.profiles import to_srgb

_DEPTHS = (8, 10, 12, 14, 16)
"""Bits that cameras and scanners give a sample that is stored in sixteen."""

_BLOCK = 1 << 20  # values that are scaled at a time: 8 MiB of float64


def plain(picture: Image.Image, bits: int | None = None) -> Image.Image:
    """The picture in mode "L" if it is grey and "RGB" if not, in sRGB; what is transparent laid over white.

    Args:
        picture: loaded, of any mode. A colour profile is used.
        bits: of deep grey values, if that is known; see :func:`eight_bits`.

    Returns:
        `picture` itself where nothing needs to change.

    Raises:
        ValueError: for a mode that Pillow cannot convert.
    """
    mode = picture.mode
    if "transparency" in picture.info and mode in ("1", "L", "P", "RGB"):
        return _over_white(picture.convert("LA" if mode in ("1", "L") else "RGBA"))
    if mode in ("RGB", "L"):
        return to_srgb(picture) if "icc_profile" in picture.info else picture
    if mode in ("LA", "La"):
        return _over_white(picture.convert("LA"))
    if mode in ("RGBA", "RGBa", "PA"):
        return _over_white(picture.convert("RGBA"))
    if mode.startswith(("I", "F")):
        grey = Image.fromarray(eight_bits(np.asarray(picture), bits=bits))
        grey.info.update(picture.info)
        return to_srgb(grey)
    converted = to_srgb(picture)
    if converted.mode == "RGB":
        return converted
    converted = picture.convert("L" if mode == "1" else "RGB")
    return to_srgb(converted) if mode == "P" else converted


def _over_white(picture: Image.Image) -> Image.Image:
    alpha = picture.getchannel("A")
    opaque: Literal["RGB", "L"] = "RGB" if picture.mode == "RGBA" else "L"
    colours = to_srgb(picture.convert(opaque))
    ground = Image.new(opaque, picture.size, "white")
    ground.paste(colours, mask=alpha)
    return ground


def eight_bits(
    values: NDArray[Any], *, bits: int | None = None, nothing: float | None = None, negative: bool = False
) -> NDArray[np.uint8]:
    """Scale deep values to 0 … 255.

    Fractions within 0 … 1 are shares of white. Whole numbers within 0 … 65535 are taken for the fewest of 8, 10, 12,
    14 and 16 bits that hold them all: what cameras and scanners measure in twelve bits is most often stored in
    sixteen as it is. Anything else has no agreed range and is spread from its own least to its own largest value. One
    value that lies farther from all others than those lie apart stands for "nothing was measured" and does not count
    for the range; nor does what is not finite, which becomes 0.

    Args:
        values: (h, w) or (h, w, channels), whole numbers or fractions.
        bits: of each value, where the file says it.
        nothing: the value that the file says stands for no value; it becomes 0.
        negative: whether 0 is white.

    Returns:
        uint8 of the same shape.
    """
    low, high, holes = _range(values, nothing)
    if bits is not None and values.dtype.kind == "u":
        low, high = 0.0, float(2**bits - 1)
    elif values.dtype.kind == "f" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif values.dtype.kind in "iu" and values.min() >= 0 and high <= 65535:
        low, high = 0.0, float(next(2**depth - 1 for depth in _DEPTHS if high < 2**depth))
    scaled = np.empty(values.shape, np.uint8)
    step = max(1, _BLOCK // max(1, values[:1].size))
    for start in range(0, len(values), step):
        block = np.nan_to_num(values[start : start + step].astype(np.float64), nan=low, posinf=high, neginf=low)
        shares = (np.clip(block, low, high) - low) * (255 / max(high - low, 1e-300))
        scaled[start : start + step] = np.rint(255 - shares if negative else shares)
    if holes is not None:
        scaled[holes] = 0
    return scaled


def _range(values: NDArray[Any], nothing: float | None) -> tuple[float, float, NDArray[np.bool_] | None]:
    """The least and the largest value that count, and where there is none."""
    holes = None
    if values.dtype.kind == "f":
        holes = ~np.isfinite(values)
    if nothing is not None:
        is_nothing = values == np.asarray(nothing).astype(values.dtype)
        holes = is_nothing if holes is None else holes | is_nothing
    if holes is not None and not holes.any():
        holes = None
    counted = values if holes is None else values[~holes]
    if not counted.size:
        return 0.0, 1.0, holes
    low, high = float(counted.min()), float(counted.max())
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        return low, high, holes
    above, below = counted[counted > low], counted[counted < high]
    if above.size and float(above.min()) - low > high - float(above.min()) > 0:
        low = float(above.min())
    elif below.size and high - float(below.max()) > float(below.max()) - low > 0:
        high = float(below.max())
    return low, high, holes
