"""From the choices of a recipe to the loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import nn

from retrieval.errors import RetrievalError
from retrieval.training.losses import pml
from retrieval.training.losses.classification import ArcFaceLoss, SoftmaxLoss
from retrieval.training.losses.contrastive import InfoNCELoss, NPairsLoss, SupervisedContrastiveLoss
from retrieval.training.losses.cross_batch_memory import WithMemory
from retrieval.training.losses.hashing import CSQLoss, HDMLLoss, LaiLoss
from retrieval.training.losses.siamese import ContrastiveLoss, EnergyLoss
from retrieval.training.losses.triplet import SoftTripletLoss, TripletLoss


class Choices(Protocol):
    """What of a recipe (:class:`retrieval.training.recipe.Recipe`) a loss depends on."""

    @property
    def loss(self) -> str: ...
    @property
    def margin(self) -> float | None: ...
    @property
    def mining(self) -> str: ...
    @property
    def temperature(self) -> float | None: ...
    @property
    def sampler(self) -> str: ...
    @property
    def space(self) -> str: ...
    @property
    def memory(self) -> int: ...
    @property
    def seed(self) -> int: ...


MARGINS = {
    "triplet": 0.2,
    "contrastive": 1.4,
    "arcface": 0.3,
    "circle": 0.4,
    "proxy-anchor": 0.1,
    "hdml": 1.0,
    "lai": 1.0,
}
"""The margin where the recipe gives none: squared distance, distance, radians, cosine, cosine, bits, bits."""
TEMPERATURES = {"supcon": 0.1, "infonce": 0.1, "npairs": 0.1, "norm-softmax": 0.05, "arcface": 0.05}
"""The temperature where the recipe gives none."""
RATES = {"contrastive": 4.0, "multi-similarity": 4.0, "circle": 0.07, "proxy-anchor": 0.15}
"""How many times the usual learning rate of SGD suits a loss whose gradients are much smaller or much larger than those
of the others; 1 for those."""
WITH_MEMORY = ("triplet", "soft-triplet", "contrastive", "energy", "supcon", "infonce", "multi-similarity", "circle")
"""The losses that a cross-batch memory goes with: those on pairs and triplets of embeddings."""

_Make = Callable[[Choices, float, float, int, int], nn.Module]

_MAKE: dict[str, _Make] = {
    "triplet": lambda recipe, margin, t, dim, classes: TripletLoss(margin, recipe.mining),
    "soft-triplet": lambda recipe, margin, t, dim, classes: SoftTripletLoss(recipe.mining),
    "contrastive": lambda recipe, margin, t, dim, classes: ContrastiveLoss(
        margin, given=recipe.sampler == "pairs", unit=recipe.space == "unit"
    ),
    "energy": lambda recipe, margin, t, dim, classes: EnergyLoss(
        dim, given=recipe.sampler == "pairs", unit=recipe.space == "unit"
    ),
    "supcon": lambda recipe, margin, t, dim, classes: SupervisedContrastiveLoss(t),
    "infonce": lambda recipe, margin, t, dim, classes: InfoNCELoss(t),
    "npairs": lambda recipe, margin, t, dim, classes: NPairsLoss(t),
    "softmax": lambda recipe, margin, t, dim, classes: SoftmaxLoss(dim, classes, seed=recipe.seed),
    "norm-softmax": lambda recipe, margin, t, dim, classes: ArcFaceLoss(dim, classes, 0.0, 1 / t, recipe.seed),
    "arcface": lambda recipe, margin, t, dim, classes: ArcFaceLoss(dim, classes, margin, 1 / t, recipe.seed),
    "multi-similarity": lambda recipe, margin, t, dim, classes: pml.multi_similarity(),
    "circle": lambda recipe, margin, t, dim, classes: pml.circle(margin),
    "proxy-anchor": lambda recipe, margin, t, dim, classes: pml.proxy_anchor(dim, classes, margin, recipe.seed),
    "hdml": lambda recipe, margin, t, dim, classes: HDMLLoss(margin),
    "lai": lambda recipe, margin, t, dim, classes: LaiLoss(margin),
    "csq": lambda recipe, margin, t, dim, classes: CSQLoss(dim, classes, seed=recipe.seed),
}

NAMES = tuple(_MAKE)
"""What ``--loss`` may be."""


def create(recipe: Choices, dim: int, classes: int) -> nn.Module:
    """The loss that a recipe asks for.

    Args:
        recipe: its choices; a margin or temperature of None is the loss's own (:data:`MARGINS`, :data:`TEMPERATURES`).
        dim: length of the network's embeddings.
        classes: how many classes the labels number.

    Returns:
        A module: ``loss(embeddings, labels) -> (loss, active share or NaN)``, for embeddings (n, dim), which have to be
        unit vectors where its attribute `unit` is True, and labels int64 (n,). Its parameters are what it learns.

    Raises:
        RetrievalError: no loss has that name, or no memory goes with it.
    """
    if recipe.loss not in _MAKE:
        raise RetrievalError(f"There is no loss {recipe.loss!r}; choose one of {', '.join(NAMES)}.")
    margin = MARGINS.get(recipe.loss, 0.0) if recipe.margin is None else recipe.margin
    temperature = TEMPERATURES.get(recipe.loss, 1.0) if recipe.temperature is None else recipe.temperature
    loss = _MAKE[recipe.loss](recipe, margin, temperature, dim, classes)
    if not recipe.memory:
        return loss
    if recipe.loss not in WITH_MEMORY:
        raise RetrievalError(
            f"--memory goes with losses on pairs and triplets of pictures ({', '.join(WITH_MEMORY)}), "
            f"not with --loss {recipe.loss}."
        )
    return WithMemory(loss, recipe.memory, dim)
