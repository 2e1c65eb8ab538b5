"""A linear head over the unit vectors of an encoder that is trained already, mixed with those vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval import networks
from retrieval.networks.layers import Shares


class Head(nn.Module):
    """An encoder's network and a linear layer over its unit vectors x: the embedding of a picture is

        [u, λ·v] with u = (W·x + b) / ‖W·x + b‖ and v = (P·x + q) / ‖P·x + q‖,

    two unit vectors side by side, so that the similarity of two pictures is (cos(u, u′) + λ²·cos(v, v′)) / (1 + λ²):
    what tells the classes at hand apart, and what there is besides, for things that the head never saw.

    Args:
        base: the encoder's network, or its name (:func:`retrieval.networks.create`).
        options: what makes it again, by its name.
        base_dim: length of its vectors.
        base_hash: the hash of that encoder, whose vectors the head may be laid over wherever they are kept.
        size: length of u.
        kept: length of v; 0: there is none.
        plain: v is x itself, and there are no P and q; `kept` is then `base_dim`.
        mix: λ, at least 0.

    Attributes:
        dim: size + kept.
        preprocessing: the base's.
        text: the base also turns texts into vectors.

    Input: float32 (n, c, h, w), normalised as the base wants it. Output: float32 (n, dim).
    """

    def __init__(
        self,
        base: str | nn.Module,
        options: Mapping[str, Any],
        base_dim: int,
        base_hash: str,
        size: int,
        kept: int = 0,
        plain: bool = False,
        mix: float = 0.0,
    ) -> None:
        super().__init__()
        self.base: Any = networks.create(base, **options) if isinstance(base, str) else base
        self.base_hash = base_hash
        self.layer = nn.Linear(base_dim, size)
        self.rest: nn.Identity | nn.Linear | None = None
        if kept:
            self.rest = nn.Identity() if plain else nn.Linear(base_dim, kept)
        self.mix = mix
        self.dim = size + kept
        self.preprocessing = self.base.preprocessing
        self.text = bool(getattr(self.base, "text", False))

    def forward(self, x: Tensor) -> Tensor:
        return self.over(self.base(x))

    def over(self, vectors: Tensor) -> Tensor:
        """The embeddings (n, dim) of pictures, from the base's vectors (n, base_dim) of them, of any length."""
        x = F.normalize(vectors, dim=1)
        learned = F.normalize(self.layer(x), dim=1)
        if self.rest is None:
            return learned
        return torch.cat([learned, self.mix * F.normalize(self.rest(x), dim=1)], dim=1)

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """What texts are to the base; only where it has a text side."""
        found: Tensor = self.base.tokens(texts)
        return found

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Embeddings of texts, through the same head."""
        return self.over(self.base.encode_tokens(tokens))

    def tokenizer_file(self) -> bytes:
        """The base's."""
        content: bytes = self.base.tokenizer_file()
        return content

    def shares(self, x: Tensor) -> Shares | None:
        """Where the embeddings come from: given the lengths, all that stands above the base is linear."""
        decompose = getattr(self.base, "shares", None)
        found: Shares | None = None if decompose is None else decompose(x)
        if found is None:
            return None
        vectors = found.positions.sum((1, 2)) + found.constant
        length = vectors.norm(dim=1).clamp_min(1e-12)
        positions = found.positions / length[:, None, None, None]
        constant = found.constant / length[:, None]
        unit = vectors / length[:, None]
        learned = self.layer(unit).norm(dim=1).clamp_min(1e-12)
        parts = [F.linear(positions, self.layer.weight) / learned[:, None, None, None]]
        constants = [self.layer(constant) / learned[:, None]]
        if self.rest is not None:
            times = self.mix / self.rest(unit).norm(dim=1).clamp_min(1e-12)
            linear = positions if isinstance(self.rest, nn.Identity) else F.linear(positions, self.rest.weight)
            parts.append(linear * times[:, None, None, None])
            constants.append(self.rest(constant) * times[:, None])
        return Shares(torch.cat(parts, dim=-1), torch.cat(constants, dim=1), found.box)
