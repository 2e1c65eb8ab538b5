"""How well the embedding does on pictures that it is not trained on."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retrieval.datasets import PictureSet
from retrieval.images import Preprocessing
from retrieval.training.engine import Engine
from retrieval.training.training_set import Source

GALLERY, QUERIES = 5000, 1000
"""At most so many training and validation pictures are compared."""


class Validation:
    """P@1 of validation pictures among training pictures, on a fixed part of both.

    Args:
        source: the training pictures, which have ``labels`` int64 (n,).
        validation: the others; without any, nothing is measured.
    """

    def __init__(
        self,
        source: Source,
        labels: NDArray[np.int64],
        validation: PictureSet,
        preprocessing: Preprocessing,
        seed: int,
    ) -> None:
        random = np.random.default_rng(seed)
        self._source = source
        self._labels = labels
        self._gallery = random.permutation(len(labels))[:GALLERY]
        self._validation = validation.select(random.permutation(len(validation))[:QUERIES])
        self._preprocessing = preprocessing

    @property
    def queries(self) -> int:
        return len(self._validation)

    @property
    def gallery(self) -> int:
        return len(self._gallery)

    @functools.cached_property
    def _queries(self) -> Source:
        return Source(self._validation, self._preprocessing)

    def precision_at_1(self, engine: Engine) -> float:
        """In [0, 1]; NaN without validation pictures."""
        if self.queries == 0:
            return math.nan
        with engine.averaged():
            queries = self._embed(engine, self._queries, np.arange(self.queries))
            similar = queries @ self._embed(engine, self._source, self._gallery).T
        found = self._labels[self._gallery][similar.argmax(1).cpu().numpy()]
        return float((found == self._validation.labels).mean())

    def _embed(self, engine: Engine, source: Source, indices: NDArray[np.int64]) -> Tensor:
        parts = np.array_split(indices, max(1, len(indices) // 500))
        return torch.cat([engine.embed(source.read(part)) for part in parts])
