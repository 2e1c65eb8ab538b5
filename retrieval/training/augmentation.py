"""Augmentation of whole batches, on the device the batch is on."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from retrieval.errors import RetrievalError

NAMES = ("flip", "affine", "shift", "cutout")

TURN, SCALE, SHEAR, MOVE = 15.0, 0.2, 0.2, 0.1
"""How far ``affine`` goes, each way: degrees, a share of either side's length, a shear, and a share of the side."""


def parse(text: str) -> tuple[str, ...]:
    """``flip,shift`` → ("flip", "shift"); ``none`` → ().

    Raises:
        RetrievalError: a name that is not one of :data:`NAMES`.
    """
    names = () if text == "none" else tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in NAMES:
            raise RetrievalError(
                f"There is no augmentation {name!r}; choose from {', '.join(NAMES)} (joined by commas) or none."
            )
    return names


def augment(
    x: Tensor, names: tuple[str, ...], generator: torch.Generator, *, mirrored: Tensor, start: int = 0
) -> Tensor:
    """Each picture changed by its own draw, but for whether it is mirrored.

    Args:
        x: (n, c, h, w), any dtype; normalised pictures, so that 0 is an average grey.
        names: which of

            - ``flip``: left–right, those that ``mirrored`` names;
            - ``affine``: turned, sheared, moved, and scaled along either side by itself, each evenly by up to
              :data:`TURN`, :data:`SHEAR`, :data:`MOVE` and :data:`SCALE`; beyond the edge lies what is at the edge;
            - ``shift``: by up to a sixteenth of the side each way, the border mirrored;
            - ``cutout``: a square of a quarter of the side set to 0 (DeVries and Taylor 2017).
        generator: a CPU generator; the draws are the same on every device.
        mirrored: bool (m,), of the whole batch.
        start: ``x`` are the pictures from ``start`` on of the batch, and change as they would with all of it.
    """
    n, (height, width) = len(mirrored), x.shape[2:]
    own = slice(start, start + len(x))
    if "flip" in names:
        x = torch.where(mirrored[own].to(x.device)[:, None, None, None], x.flip(3), x)
    if "affine" in names:
        grid = F.affine_grid(_affine(n, generator)[own].to(x), list(x.shape), align_corners=False)
        x = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    if "shift" in names:
        reach = max(1, min(height, width) // 16)
        x = _shift(x, reach, torch.randint(0, 2 * reach + 1, (2, n), generator=generator)[:, own])
    if "cutout" in names:
        x = x.masked_fill(_square(n, height, width, min(height, width) // 4, generator)[own].to(x.device), 0)
    return x


def _affine(n: int, generator: torch.Generator) -> Tensor:
    """Where in a picture each place of the new one lies: float32 (n, 2, 3), in halves of the side."""
    drawn = torch.rand(6, n, generator=generator) * 2 - 1
    angle = drawn[0] * math.radians(TURN)
    wide, high = torch.exp(drawn[1:3] * math.log1p(SCALE))
    cosine, sine, shear = angle.cos(), angle.sin(), drawn[3] * SHEAR
    # a turn, times a shear, times a scale
    rows = [cosine * wide, (cosine * shear - sine) * high, sine * wide, (sine * shear + cosine) * high]
    return torch.cat([torch.stack(rows, 1).view(n, 2, 2), 2 * MOVE * drawn[4:].T.unsqueeze(2)], 2)


def _shift(x: Tensor, reach: int, offsets: Tensor) -> Tensor:
    height, width = x.shape[2:]
    padded = F.pad(x, (reach,) * 4, "reflect")
    dy, dx = offsets.tolist()
    # one slice a picture: half the time of indexing with broadcast tensors on a CPU
    return torch.stack(
        [picture[:, i : i + height, j : j + width] for picture, i, j in zip(padded, dy, dx, strict=True)]
    )


def _square(n: int, height: int, width: int, side: int, generator: torch.Generator) -> Tensor:
    top = torch.randint(0, height - side + 1, (n, 1), generator=generator)
    left = torch.randint(0, width - side + 1, (n, 1), generator=generator)
    rows, columns = torch.arange(height)[None], torch.arange(width)[None]
    inside = ((rows >= top) & (rows < top + side))[:, :, None]
    return (inside & ((columns >= left) & (columns < left + side))[:, None, :])[:, None]
