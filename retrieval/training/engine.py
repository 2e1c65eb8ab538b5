"""The engine of a training: network, loss and optimizer, and how one step moves them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval.errors import RetrievalError
from retrieval.images import Preprocessing
from retrieval.training.augmentation import augment, parse
from retrieval.training.building import build_optimizer
from retrieval.training.monitoring import spread
from retrieval.training.recipes import Recipe


class Measured(NamedTuple):
    """What one step measured: the loss, the share of active triplets (or NaN), and the embeddings' spread."""

    loss: float
    active: float
    spread: float


class Engine:
    """What a training moves.

    Args:
        network: an embedding network, on ``device``.
        loss: on ``device``; ``unit`` says whether it wants unit vectors.
        recipe: settled (:meth:`Recipe.resolve`).
        preprocessing: what the network's input is.
        dtype: what the network computes in.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        recipe: Recipe,
        preprocessing: Preprocessing,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.network = network
        self.loss = loss
        self.modules = nn.ModuleDict({"network": network, "loss": loss})
        self.optimizer = build_optimizer(recipe, self.modules)
        self.recipe = recipe
        self.device = device
        self.dtype = dtype
        self._augmentation = parse(recipe.augment)
        # the statistics that the network's input is normalised by, shaped to be broadcast
        self._mean = torch.tensor(preprocessing.mean, device=device).view(1, -1, 1, 1) * 255
        self._std = torch.tensor(preprocessing.std, device=device).view(1, -1, 1, 1) * 255

    def step(self, number: int, pixels: Tensor, labels: Tensor, lr: float) -> Measured:
        """Learn from one batch.

        Args:
            number: how many steps were done before; what is drawn at random depends on it and on the seed alone.
            pixels: uint8 (n, h, w, c).
            labels: int64 (n,).
            lr: learning rate.
        """
        seed = int(np.random.SeedSequence([self.recipe.seed, number]).generate_state(1)[0])
        draws = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)  # what the network itself draws (dropout)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.modules.train()
        x = augment(self._normalised(pixels), self._augmentation, draws)
        raw = self._forward(x).float()
        embeddings = F.normalize(raw)
        loss, active = self.loss(embeddings if self.loss.unit else raw, labels.to(self.device))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return Measured(loss.item(), active.item(), spread(embeddings))

    @torch.no_grad()
    def embed(self, pixels: Tensor) -> Tensor:
        """Pictures uint8 (n, h, w, c) → unit embeddings float32 (n, dim), as the encoder will give them."""
        self.modules.eval()
        return F.normalize(self._forward(self._normalised(pixels)).float())

    def state(self) -> dict[str, Tensor]:
        """Everything that the next step depends on; the tensors themselves, no copies."""
        tensors = {f"module.{name}": tensor for name, tensor in self.modules.state_dict().items()}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{name}": t for name, t in state.items() if isinstance(t, Tensor)}
        return tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what :meth:`state` gave.

        Raises:
            RetrievalError: it belongs to another network.
        """
        state = {name.removeprefix("module."): t for name, t in tensors.items() if name.startswith("module.")}
        try:
            self.modules.load_state_dict(state)
        except RuntimeError:
            raise RetrievalError(
                "The checkpoint belongs to another network; train with the recipe it was made with, or anew."
            ) from None
        optimizer: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, i, key = name.split(".")
                optimizer.setdefault(int(i), {})[key] = tensor
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": optimizer})

    def _forward(self, x: Tensor) -> Tensor:
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            out: Tensor = self.network(x)
        return out

    def _normalised(self, pixels: Tensor) -> Tensor:
        """uint8 (n, h, w, c) → float32 (n, c, h, w), channels last in memory."""
        return (pixels.to(self.device).permute(0, 3, 1, 2).float() - self._mean) / self._std
