"""How a picture becomes a network's input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.errors import RetrievalError
from retrieval.images.colours import plain

Pixels = NDArray[np.uint8]

_RESAMPLE = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}

_CHOICES = {"mode": ("RGB", "L"), "fit": ("crop", "pad", "stretch"), "resample": tuple(_RESAMPLE)}


@dataclass(frozen=True)
class Preprocessing:
    """How a picture file becomes a network's input. Travels in the encoder's configuration.

    Attributes:
        size: side of the square that the network sees, pixels.
        mode: "RGB", or "L" for one grey channel.
        fit: "crop" scales the shorter side to `size` and cuts the centre out, "pad" scales the longer side
            and fills the rest with `mean`, "stretch" ignores the proportions.
        resample: the filter; all but "nearest" are anti-aliased when they make a picture smaller.
        mean: one a channel (or one for all), in units of the pixel range [0, 1].
        std: the same.

    Raises:
        RetrievalError: for values that make no sense; configurations are read from files.
    """

    size: int
    mode: Literal["RGB", "L"] = "RGB"
    fit: Literal["crop", "pad", "stretch"] = "crop"
    resample: Literal["bilinear", "bicubic", "lanczos", "nearest"] = "bicubic"
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise RetrievalError(
                    f"Preprocessing has {name} {getattr(self, name)!r}; give one of {', '.join(allowed)}."
                )
        if type(self.size) is not int or not 1 <= self.size <= 8192:
            raise RetrievalError(f"Preprocessing has size {self.size!r}; give a whole number from 1 to 8192.")
        # In JSON a tuple is a list; equality and hashing want tuples.
        object.__setattr__(self, "mean", _per_channel("mean", self.mean, self.channels))
        object.__setattr__(self, "std", _per_channel("std", self.std, self.channels))
        if min(self.std) <= 0:
            raise RetrievalError(f"Preprocessing has std {self.std}; each must be above 0.")

    @property
    def channels(self) -> int:
        """3 for RGB, 1 for grey."""
        return 1 if self.mode == "L" else 3


def prepare(picture: Image.Image, p: Preprocessing) -> Pixels:
    """Fit a picture into the square that a network expects.

    Args:
        picture: as :func:`retrieval.images.open_picture` gives it.
        p: what the network expects.

    Returns:
        uint8 (size, size, channels), C-contiguous, writable.
    """
    if picture.mode != p.mode:
        picture = plain(picture).convert(p.mode)
    if picture.size != (p.size, p.size):
        picture = _square(picture, p)
    return np.array(picture).reshape(p.size, p.size, p.channels)


def fit_array(pixels: Pixels, p: Preprocessing) -> Pixels:
    """:func:`prepare` for pictures that are in memory already.

    Args:
        pixels: uint8 (n, h, w, c), c 1 or 3.
        p: what the network expects.

    Returns:
        uint8 (n, size, size, channels); `pixels` itself, not a copy, where nothing needs to change.
    """
    if pixels.shape[1:] == (p.size, p.size, p.channels):
        return pixels
    if pixels.shape[1:] == (p.size, p.size, 1):  # grey to RGB
        return np.repeat(pixels, p.channels, axis=3)
    fitted = np.empty((len(pixels), p.size, p.size, p.channels), np.uint8)
    for row, one in enumerate(pixels):
        fitted[row] = prepare(Image.fromarray(one[..., 0] if one.shape[-1] == 1 else one), p)
    return fitted


def seen(width: int, height: int, p: Preprocessing) -> tuple[float, float, float, float]:
    """Where the square that :func:`prepare` makes lies in the picture that it is made of.

    Args:
        width: of the picture, pixels.
        height: likewise.
        p: what the network expects.

    Returns:
        Left, top, right and bottom in pixels of the picture; with "pad" beyond its edges.
    """
    if p.fit == "stretch":
        return (0, 0, width, height)
    if p.fit == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        return (left, top, left + side, top + side)
    box: list[float] = []
    for whole, inner, before in zip((width, height), *_padding(width, height, p), strict=True):
        box += [-before * whole / inner, (p.size - before) * whole / inner]
    return (box[0], box[2], box[1], box[3])


def _padding(width: int, height: int, p: Preprocessing) -> tuple[tuple[int, int], tuple[int, int]]:
    """The size of the picture within a padded square, and how much of the square is left of it and above it."""
    scale = p.size / max(width, height)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    return inner, ((p.size - inner[0]) // 2, (p.size - inner[1]) // 2)


def _square(picture: Image.Image, p: Preprocessing) -> Image.Image:
    square = (p.size, p.size)
    resample = _RESAMPLE[p.resample]
    if p.fit != "pad":
        # Cut and scaled in one step, so that only the pixels that are kept are computed.
        return picture.resize(square, resample, box=seen(*picture.size, p))
    inner, corner = _padding(*picture.size, p)
    ground = Image.new(p.mode, square, blank(p))
    ground.paste(picture.resize(inner, resample), corner)
    return ground


def blank(p: Preprocessing) -> tuple[int, ...] | int:
    """The colour that the network sees as nothing, since it is 0 after normalisation: the mean; one value for grey."""
    colour = tuple(round(255 * mean) for mean in p.mean)
    return colour if p.mode == "RGB" else colour[0]


def _per_channel(name: str, values: Any, channels: int) -> tuple[float, ...]:
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) == 1:
        numbers *= channels
    if len(numbers) != channels or not np.isfinite(numbers).all():
        raise RetrievalError(f"Preprocessing has {name} {values!r}; give {channels} finite number(s), one a channel.")
    return numbers
