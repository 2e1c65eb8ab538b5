"""What people do to a picture before they pass it on: crops, compression, turns, mirror images, colours, overlays.

Each alteration takes a picture of mode "RGB" or "L" and a generator, and gives an altered copy of the same mode. How
strong it is is drawn.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance

Generator = np.random.Generator


def cropped(picture: Image.Image, generator: Generator) -> Image.Image:
    """A window of 60 to 90 % of each side."""
    width, height = (max(1, round(side * generator.uniform(0.6, 0.9))) for side in picture.size)
    left = int(generator.integers(0, picture.width - width + 1))
    top = int(generator.integers(0, picture.height - height + 1))
    return picture.crop((left, top, left + width, top + height))


def compressed(picture: Image.Image, generator: Generator) -> Image.Image:
    """A JPEG of quality 10 to 50."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=int(generator.integers(10, 51)))
    return Image.open(file).convert(picture.mode)


def shrunk(picture: Image.Image, generator: Generator) -> Image.Image:
    """30 to 70 % of each side."""
    share = generator.uniform(0.3, 0.7)
    width, height = (max(1, round(side * share)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BILINEAR)


def turned(picture: Image.Image, generator: Generator) -> Image.Image:
    """By one quarter, two or three."""
    turns = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
    return picture.transpose(turns[int(generator.integers(3))])


def mirrored(picture: Image.Image, generator: Generator) -> Image.Image:
    """Left for right."""
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def coloured(picture: Image.Image, generator: Generator) -> Image.Image:
    """Brightness, contrast and saturation, each 60 to 140 % of what it was."""
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        picture = enhance(picture).enhance(generator.uniform(0.6, 1.4))
    return picture


def overlaid(picture: Image.Image, generator: Generator) -> Image.Image:
    """A bar of one colour across it, as a caption has it, of 10 to 25 % of its height."""
    picture = picture.copy()
    height = max(1, round(picture.height * generator.uniform(0.1, 0.25)))
    top = int(generator.integers(0, picture.height - height + 1))
    colour = tuple(generator.integers(0, 256, len(picture.getbands())).tolist())
    ImageDraw.Draw(picture).rectangle((0, top, picture.width, top + height - 1), fill=colour)
    return picture


ALTERATIONS: Mapping[str, Callable[[Image.Image, Generator], Image.Image]] = {
    "crop": cropped,
    "compression": compressed,
    "size": shrunk,
    "turn": turned,
    "mirror image": mirrored,
    "colours": coloured,
    "overlay": overlaid,
}
"""By name."""
