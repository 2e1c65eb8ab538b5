"""Losses on embeddings: pure functions on tensors, and thin modules around them.

A module's ``forward(embeddings, labels)`` takes embeddings (n, d) and labels int64 (n,) and returns the loss and the
share of active triplets, NaN where a loss has no such thing. Its attribute `unit` says whether the embeddings have to
be unit vectors. Everything is computed in the precision given, but never below float32. Distances are squared
Euclidean, ‖x − y‖² = 2 − 2·x·y in [0, 4] for unit vectors, unless a function says otherwise.

A new loss is a class or a function in a file of this package, and a line in :data:`TABLE`. It is imported when it is
asked for, so that names are known without waiting for torch.
"""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any, NamedTuple

from retrieval.errors import RetrievalError

if TYPE_CHECKING:
    from torch import nn


class Loss(NamedTuple):
    """What is known of a loss by its name.

    Attributes:
        make: what makes it: a file of this package and a class or function there, which takes any of ``margin``,
            ``temperature``, ``smoothing``, ``mining`` and ``seed`` of the recipe, ``dim`` (the embeddings' length, or
            bits) and ``classes`` (how many the labels number), ``given`` (a batch is made of pairs) and ``unit``
            (vectors).
        margin: where the recipe gives none: squared distance, distance, radians, cosine or bits.
        temperature: where the recipe gives none.
        rate: how many times the usual learning rate of SGD suits a loss whose gradients are much smaller or much larger
            than those of the others.
        memory: a cross-batch memory goes with it, as with those on pairs and triplets of embeddings; its ``forward``
            takes one.
    """

    make: str
    margin: float | None = None
    temperature: float | None = None
    rate: float = 1.0
    memory: bool = False


TABLE = {
    "triplet": Loss("triplet.TripletLoss", margin=0.2, memory=True),
    "soft-triplet": Loss("triplet.SoftTripletLoss", memory=True),
    "contrastive": Loss("siamese.ContrastiveLoss", margin=1.4, rate=4.0, memory=True),
    "energy": Loss("siamese.EnergyLoss", memory=True),
    "supcon": Loss("contrastive.SupervisedContrastiveLoss", temperature=0.1, memory=True),
    "infonce": Loss("contrastive.InfoNCELoss", temperature=0.1, memory=True),
    "npairs": Loss("contrastive.NPairsLoss", temperature=0.1),
    "softmax": Loss("classification.SoftmaxLoss"),
    "norm-softmax": Loss("classification.norm_softmax", temperature=0.05),
    "arcface": Loss("classification.arcface", margin=0.3, temperature=0.05),
    "multi-similarity": Loss("pml.multi_similarity", rate=4.0, memory=True),
    "circle": Loss("pml.circle", margin=0.4, rate=0.07, memory=True),
    "proxy-anchor": Loss("pml.proxy_anchor", margin=0.1, rate=0.15),
    "hdml": Loss("hashing.HDMLLoss", margin=1.0),
    "lai": Loss("hashing.LaiLoss", margin=1.0),
    "csq": Loss("hashing.CSQLoss"),
}

NAMES = tuple(TABLE)
"""What ``--loss`` may be."""

USUAL = "triplet"
"""What is minimised where nobody says what."""

MINING = ("all", "semi-hard", "hard", "distance-weighted", "given")
"""What ``--mining`` may be."""


def create(recipe: Any, dim: int, classes: int) -> nn.Module:
    """The loss that a recipe asks for.

    Args:
        recipe: a :class:`retrieval.training.recipe.Recipe`; a margin or temperature of None is the loss's own.
        dim: length of the network's embeddings.
        classes: how many classes the labels number.

    Returns:
        A module: ``loss(embeddings, labels) -> (loss, active share or NaN)``, for embeddings (n, dim), which have to be
        unit vectors where its attribute `unit` is True, and labels int64 (n,). Its parameters are what it learns.

    Raises:
        RetrievalError: no loss has that name, no memory goes with it, or the package that it comes from is missing.
    """
    asked = recipe.loss or USUAL
    if asked not in TABLE:
        raise RetrievalError(f"There is no loss {asked!r}; choose one of {', '.join(NAMES)}.")
    known = TABLE[asked]
    if recipe.memory and not known.memory:
        raise RetrievalError(
            "--memory goes with losses on pairs and triplets of pictures "
            f"({', '.join(name for name, loss in TABLE.items() if loss.memory)}), not with --loss {asked}."
        )
    module, _, name = known.make.rpartition(".")
    make = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    choices = {
        "margin": known.margin if recipe.margin is None else recipe.margin,
        "temperature": known.temperature if recipe.temperature is None else recipe.temperature,
        "smoothing": recipe.smoothing,
        "mining": recipe.mining,
        "given": recipe.sampler == "pairs",
        "unit": recipe.space == "unit",
        "dim": dim,
        "classes": classes,
        "seed": recipe.seed,
    }
    loss: nn.Module = make(**{name: choices[name] for name in inspect.signature(make).parameters if name in choices})
    if not recipe.memory:
        return loss
    from retrieval.training.losses.cross_batch_memory import WithMemory

    return WithMemory(loss, recipe.memory, dim)
