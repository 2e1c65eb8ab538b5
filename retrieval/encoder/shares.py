"""Where in a picture its vector comes from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class VectorShares:
    """Unit vectors as sums over the positions of the network's last feature map.

    Attributes:
        positions: float32 (n, h, w, dim); ``positions.sum((1, 2)) + constant`` are the unit vectors.
        constant: float32 (n, dim), what comes from no position.
        box: what the h × w cells cover: left, top, right and bottom in pixels of the network's square.
    """

    positions: NDArray[np.float32]
    constant: NDArray[np.float32]
    box: tuple[float, float, float, float]
