"""One vector made of several: what a question of many parts asks the index for.

The vector is ``Σ sᵢ·wᵢ·uᵢ`` scaled to unit length: uᵢ the unit vector of part i, wᵢ > 0 its weight, sᵢ = 1 for what
hits are to be like and −1 for what they are not. The score of a hit is then the weighted sum of its scores with the
parts, divided by the sum's length: an order by that sum.

In an index of binary codes uᵢ is the code as ±1/√d, and the sum becomes a code again by its signs. A place where the
sum is 0 says nothing, and has no sign: such places become 1 and 0 by turns, so that they favour neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import RetrievalError
from retrieval.index.vectors import as_numbers, directions, packed

NOTHING = 1e-3
"""Length of the sum, as a share of the sum of the weights, up to which the parts cancel out. A picture's vector has an
error of about that where it was stored in 16 bits, so that what is left of two of the same is chance."""

_TIED = 1e-9
"""Up to which a place of the sum is 0, as a share of the most that it could be: weights are no binary fractions."""


def combined(vectors: Sequence[NDArray[Any]], weights: Sequence[float], storage: str) -> NDArray[Any]:
    """The vector of a question of several parts.

    Args:
        vectors: of the parts (dim,) each: of unit length, or where the storage is "binary" also codes uint8 (dim / 8,).
        weights: of each, below 0 for what hits are not to be like.
        storage: of the index.

    Returns:
        float32 (dim,) of unit length; a code, uint8 (dim / 8,), for a "binary" index. Of a single part with a weight
        above 0 its vector as it is.

    Raises:
        RetrievalError: nothing is left of the sum.
    """
    if len(vectors) == 1 and weights[0] > 0:
        return vectors[0]
    units = directions(np.stack([as_numbers(vector, storage, np.float64) for vector in vectors]))[0]
    shares = np.asarray(weights, np.float64) / np.abs(weights).max()
    most = np.abs(shares).sum()
    total = shares @ units
    length = float(np.linalg.norm(total))
    if length <= NOTHING * most:
        raise RetrievalError(
            "The parts of the question cancel out: nothing is left of their sum to look for; change a weight, or leave "
            "out a part."
        )
    if storage != "binary":
        return np.asarray(total / length, np.float32)
    tied = np.flatnonzero(np.abs(total) <= _TIED * most / np.sqrt(len(total)))
    total[tied] = np.where(np.arange(len(tied)) % 2 == 0, 1.0, -1.0)
    code: NDArray[np.uint8] = packed(total)
    return code
