"""One vector of a picture from several views of it, each moved a little: shifted, turned and scaled."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from retrieval import images
from retrieval.datasets import PictureSet, Progress
from retrieval.encoder import Encoder
from retrieval.errors import RetrievalError
from retrieval.evaluation.vectors import PIXELS_A_BATCH
from retrieval.images import Pixels

SHIFT = 0.05
TURN = 10.0
SCALE = 0.1
"""How far a view may be moved: in shares of the side along either axis, in degrees, and in shares of the size."""

FINER = 2
"""Views are made of pictures so many times as large as the network's input, so that thin strokes are not blurred."""

MOST = 1000
"""Views beyond which nothing is gained."""


def views(count: int, seed: int) -> npt.NDArray[np.float64]:
    """Where each view looks: float64 (count, 2, 3).

    A matrix maps a place (x, y, 1) of the view to one of the picture, in units of half its side from its middle. The
    first is the picture as it is; the others are drawn evenly, and the same for every picture.

    Raises:
        RetrievalError: the count is below 1 or above :data:`MOST`.
    """
    if not 1 <= count <= MOST:
        raise RetrievalError(f"--average is {count}; give a whole number from 1 to {MOST:,}.")
    generator = np.random.default_rng(seed)
    found = np.zeros((count, 2, 3))
    found[0, :, :2] = np.eye(2)
    for matrix in found[1:]:
        angle = math.radians(generator.uniform(-TURN, TURN))
        factor = math.exp(generator.uniform(-1, 1) * math.log1p(SCALE))
        turned = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        matrix[:, :2] = turned * factor
        matrix[:, 2] = 2 * generator.uniform(-SHIFT, SHIFT, 2)
    return found


def view(pixels: Pixels, matrix: npt.NDArray[np.float64]) -> Pixels:
    """Pictures uint8 (n, s, s, c) as one view shows them, bilinear; beyond the edge lies what is at the edge."""
    if (matrix == np.eye(2, 3)).all():
        return pixels
    side = pixels.shape[1]
    centre = (np.arange(side) + 0.5) * 2 / side - 1
    x, y = np.meshgrid(centre, centre)
    places = np.einsum("ij,jhw->ihw", matrix, np.stack([x, y, np.ones_like(x)]))
    column, row = np.clip((places + 1) * side / 2 - 0.5, 0, side - 1)
    left, top = np.minimum(column.astype(np.int64), side - 2), np.minimum(row.astype(np.int64), side - 2)
    across = (column - left).astype(np.float32)[..., None]
    down = (row - top).astype(np.float32)[..., None]
    corners = [pixels[:, top + i, left + j] for i in (0, 1) for j in (0, 1)]
    upper = corners[0] * (1 - across) + corners[1] * across
    lower = corners[2] * (1 - across) + corners[3] * across
    seen: Pixels = np.rint(upper * (1 - down) + lower * down).astype(np.uint8)
    return seen


def encode_averaged(
    encoder: Encoder, pictures: PictureSet, count: int, *, seed: int = 0, advance: Progress | None = None
) -> npt.NDArray[np.float32]:
    """Vectors of pictures, each the mean of those of its views, scaled to unit length.

    Args:
        encoder: what makes the vectors.
        pictures: all of them readable.
        count: how many views; 1 is the picture alone.
        seed: of the views.
        advance: called with the number of pictures done since the last call.

    Returns:
        float32 (n, dim). Where views cancel out, the vector of the picture as it is.

    Raises:
        RetrievalError: a file cannot be read, or there are too many views.
    """
    matrices = views(count, seed)
    p = encoder.config.preprocessing
    wide = replace(p, size=p.size * FINER)
    step = max(1, PIXELS_A_BATCH // wide.size**2)
    found = np.empty((len(pictures), encoder.dim), np.float32)
    for start in range(0, len(pictures), step):
        rows = np.arange(start, min(start + step, len(pictures)))
        plain = encoder.encode(np.ascontiguousarray(pictures.read(p, rows)))
        total = plain.astype(np.float64)
        pixels = pictures.read(wide, rows) if count > 1 else np.empty(0, np.uint8)
        for matrix in matrices[1:]:
            total += encoder.encode(images.fit_array(view(pixels, matrix), p))
        lengths = np.linalg.norm(total, axis=1, keepdims=True)
        found[rows] = np.where(lengths > 0, total / np.where(lengths > 0, lengths, 1), plain)
        if advance is not None:
            advance(len(rows))
    return found
