"""A siamese network whose comparison is learned, over any embedding network."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from retrieval import networks
from retrieval.errors import RetrievalError

HIDDEN = 512


class LearnedComparison(nn.Module):
    """h = trunk(x) for each picture; |h₁ − h₂| → fully connected 512 → ReLU → fully connected 1.

    The absolute difference under a learned layer is that of Koch, Zemel and Salakhutdinov 2015, who weight it by one
    layer; here a hidden layer of 512 stands in between.

    Args:
        trunk: one of :data:`retrieval.networks.NAMES`.
        options: the trunk's keyword arguments, for example ``size``.

    Shapes:
        two of float32 (n, c, size, size) → logits (n,); it is symmetric.
    """

    symmetric = True

    def __init__(self, trunk: str = "convnet", **options: Any) -> None:
        super().__init__()
        if trunk not in networks.NAMES:
            raise RetrievalError(
                f"There is no trunk {trunk!r} for a learned comparison; choose one of {', '.join(networks.NAMES)}."
            )
        self.trunk = cast(networks.EmbeddingNetwork, networks.create(trunk, **options))
        self.preprocessing = self.trunk.preprocessing
        self.comparison = nn.Sequential(nn.Linear(self.trunk.dim, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))

    def fit_to(self, pictures: Tensor) -> None:
        """Set what does not come from learning, if the trunk has anything of the kind.

        Args:
            pictures: some training pictures, uint8 (n, h, w, channels).
        """
        if hasattr(self.trunk, "fit_to"):
            self.trunk.fit_to(pictures)
            self.preprocessing = self.trunk.preprocessing

    def embed(self, x: Tensor) -> Tensor:
        """float32 (n, c, size, size) → features (n, trunk.dim), not of unit length."""
        out: Tensor = self.trunk(x)
        return out

    def compare(self, first: Tensor, second: Tensor) -> Tensor:
        """Features (n, trunk.dim) each → logits (n,)."""
        out: Tensor = self.comparison((first - second).abs())
        return out.squeeze(1)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        # both sides in one pass, so that batch normalisation sees one batch
        return self.compare(*self.embed(torch.cat([first, second])).chunk(2))
