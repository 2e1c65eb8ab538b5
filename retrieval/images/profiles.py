"""Colours as a picture's own profile means them, brought to sRGB.

Numbers of Display P3, of Adobe RGB or of a printing press are other colours than the same numbers of sRGB, in which
networks were trained. A profile that is sRGB itself, as of most pictures that have one, costs a look into a table.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform

LARGEST = 8 * 2**20
"""Bytes of a profile above which it is not looked at."""

_NEAR = 2  # levels of 255 by which conversion to sRGB changes no colour of a profile that is sRGB itself

_SPACES = {"RGB": ("RGB ", "RGB"), "RGBA": ("RGB ", "RGBA"), "L": ("GRAY", "RGB"), "CMYK": ("CMYK", "RGB"),
           "LAB": ("Lab ", "RGB")}  # fmt: skip
"""Of each mode: the colour space that its profile must be of, and what it is converted to."""


def to_srgb(picture: Image.Image) -> Image.Image:
    """The picture with sRGB colours; itself where it has no profile, or one that cannot be used.

    Args:
        picture: of mode "RGB", "RGBA", "L", "CMYK" or "LAB"; all others are left alone.

    Returns:
        A picture of mode "L" if it was "L", "RGBA" if it was "RGBA", and "RGB" if its colours were converted.
    """
    profile = picture.info.get("icc_profile") or (b"" if picture.mode == "LAB" else None)
    if picture.mode not in _SPACES or not isinstance(profile, bytes) or len(profile) > LARGEST:
        return picture
    transform = _transform(profile, picture.mode)
    if transform is None:
        return picture
    converted = transform.apply(picture)
    return converted.convert("L") if picture.mode == "L" else converted


def changes(picture: Image.Image) -> bool:
    """Whether :func:`to_srgb` changes colours; of a picture that need not be loaded."""
    profile = picture.info.get("icc_profile")
    usable = isinstance(profile, bytes) and len(profile) <= LARGEST and picture.mode in _SPACES
    return usable and _transform(profile, picture.mode) is not None


@lru_cache(64)
def _transform(profile: bytes, mode: str) -> ImageCmsTransform | None:
    """What brings colours of a profile to sRGB; None if it changes nothing, or the profile is none of this mode."""
    from PIL import ImageCms  # here, as most pictures need none

    space, out = _SPACES[mode]
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile)) if profile else ImageCms.createProfile("LAB")
        if isinstance(own, ImageCms.ImageCmsProfile) and own.profile.xcolor_space != space:
            return None
        transform = ImageCms.buildTransform(own, ImageCms.createProfile("sRGB"), mode, out)
        trial = _trial(mode)
        changed = transform.apply(trial)
    except Exception:  # a damaged profile is no reason to do without the picture
        return None
    if mode in ("CMYK", "LAB"):
        return transform
    before = np.asarray(trial.convert(out), np.int16)
    return None if np.abs(before - np.asarray(changed, np.int16)).max() <= _NEAR else transform


def _trial(mode: str) -> Image.Image:
    """A picture of colours all over a mode's range."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3)
    if mode in ("RGB", "RGBA"):
        return Image.fromarray(cube).convert(mode)
    return Image.new(mode, (1, 1))
