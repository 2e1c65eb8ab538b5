"""A heat map over the picture that it belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from retrieval import images

if TYPE_CHECKING:
    from retrieval.search.explain import HeatMap

Floats = NDArray[np.float64]

_MIDDLE = (0.985, 0.0, 0.0)
_NEGATIVE = (0.48, -0.035, -0.150)
_POSITIVE = (0.60, 0.170, 0.105)
"""The ends and the middle of the colour scale in OKLab: lightness, green to red, blue to yellow."""

_LIGHTEST, _DARKEST = 1.0, 0.45  # the range that a picture's grey values are squeezed into under a map
_EDGE = (124, 130, 138)


def colours(values: Floats) -> Floats:
    """The colour scale: white at 0, towards red above it and towards blue below.

    Straight lines in the perceptually uniform space OKLab (Ottosson 2020, https://bottosson.github.io/posts/oklab/), so
    that equal steps of the value look equally large; told apart also by those who cannot tell red from green.

    Args:
        values: any shape, −1 to 1; what is beyond is drawn as the nearer end.

    Returns:
        The shape and 3: sRGB, 0 to 1.
    """
    at = np.clip(values, -1, 1)[..., None]
    end = np.where(at < 0, np.array(_NEGATIVE), np.array(_POSITIVE))
    lab = np.array(_MIDDLE) + np.abs(at) * (end - np.array(_MIDDLE))
    to_cones = np.array(
        [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
    )
    to_linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip((lab @ to_cones.T) ** 3 @ to_linear.T, 0, 1)
    srgb: Floats = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return srgb


def overlay(picture: Image.Image, heat: HeatMap, limit: float | None = None) -> Image.Image:
    """The picture in grey, coloured where it makes the score: red raises it, blue lowers it.

    Args:
        picture: the whole picture, upright, at any scale (:func:`retrieval.images.open_picture`). What the network did
            not see of it is paled and outside of a thin line.
        heat: its map.
        limit: the value of the strongest colour, so that several pictures can share one scale; by default the map's
            own largest.

    Returns:
        Of mode "RGB" and the picture's size.
    """
    limit = limit or float(np.abs(heat.values).max()) or 1.0
    width, height = picture.size
    left, top, right, bottom = images.seen(width, height, heat.preprocessing)
    x0, y0, x1, y1 = heat.box
    size = heat.preprocessing.size
    # The middles of the pixels, in units of the network's square and then of the map's cells.
    across = ((np.arange(width) + 0.5 - left) / (right - left) * size - x0) / (x1 - x0) * heat.values.shape[1]
    down = ((np.arange(height) + 0.5 - top) / (bottom - top) * size - y0) / (y1 - y0) * heat.values.shape[0]
    values = _weights(down, heat.values.shape[0]) @ heat.values @ _weights(across, heat.values.shape[1]).T
    grey = np.asarray(picture.convert("L"), np.float64)[..., None] / 255
    drawn = (_DARKEST + (_LIGHTEST - _DARKEST) * grey) * colours(values / limit)
    inside = np.zeros((height, width, 1), bool)
    box = (max(0, round(left)), max(0, round(top)), min(width, round(right)), min(height, round(bottom)))
    inside[box[1] : box[3], box[0] : box[2]] = True
    pale = 0.75 + 0.25 * np.repeat(grey, 3, axis=2)
    result = Image.fromarray(np.rint(255 * np.where(inside, drawn, pale)).astype(np.uint8))
    if box != (0, 0, width, height):
        ImageDraw.Draw(result).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), outline=_EDGE)
    return result


def _weights(at: Floats, cells: int) -> Floats:
    """Linear interpolation between the middles of cells, and beyond the outer ones their own value.

    Args:
        at: (m,), where cell i reaches from i to i + 1.

    Returns:
        (m, cells).
    """
    return np.stack([np.interp(at, np.arange(cells) + 0.5, one) for one in np.eye(cells)], axis=1)
