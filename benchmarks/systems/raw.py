"""What a trained network says before its output is scaled to unit length, as the articles measured it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from retrieval.datasets import PictureSet
from retrieval.encoder import store, weights

BATCH = 500


def raw_vectors(run: Path, pictures: PictureSet) -> NDArray[np.float32]:
    """The network's raw output for each picture, float32 (n, dim)."""
    saved = store.Saved.open(run / "encoder")
    network, p = weights.restore(saved), saved.config.preprocessing
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) * 255 for values in (p.mean, p.std))
    parts = []
    with torch.inference_mode():
        for start in range(0, len(pictures), BATCH):
            rows = np.arange(start, min(start + BATCH, len(pictures)))
            pixels = torch.from_numpy(pictures.read(p, rows)).permute(0, 3, 1, 2).float()
            parts.append(network((pixels - mean) / std).numpy())
    return np.concatenate(parts)
