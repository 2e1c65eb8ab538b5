"""Augmentation of whole batches, on the device the batch is on."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from retrieval.errors import RetrievalError

NAMES = ("flip", "shift", "cutout")


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
    x: Tensor, names: tuple[str, ...], generator: torch.Generator, *, start: int = 0, of: int | None = None
) -> Tensor:
    """Each picture changed by its own draw.

    Args:
        x: (n, c, h, w), any dtype; normalised pictures, so that 0 is an average grey.
        names: which of ``flip`` (left–right, half of them), ``shift`` (by up to a sixteenth of the side each way, the
            border mirrored) and ``cutout`` (a square of a quarter of the side set to 0; DeVries and Taylor 2017).
        generator: a CPU generator; the draws are the same on every device.
        start, of: ``x`` are the pictures from ``start`` on of a batch of so many, and change as they would with all of
            it; by default they are all.
    """
    n, _, height, width = x.shape
    n = n if of is None else of
    own = slice(start, start + len(x))
    if "flip" in names:
        chosen = torch.rand(n, generator=generator)[own].to(x.device) < 0.5
        x = torch.where(chosen[:, None, None, None], x.flip(3), x)
    if "shift" in names:
        reach = max(1, min(height, width) // 16)
        x = _shift(x, reach, torch.randint(0, 2 * reach + 1, (2, n), generator=generator)[:, own])
    if "cutout" in names:
        x = x.masked_fill(_square(n, height, width, min(height, width) // 4, generator)[own].to(x.device), 0)
    return x


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
