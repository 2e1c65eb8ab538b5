"""From the choices of a recipe to the sampler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from retrieval.errors import RetrievalError
from retrieval.training.sampling.balanced import ClassBatches
from retrieval.training.sampling.groups import GroupBatches
from retrieval.training.sampling.pairs import BalancedPairs
from retrieval.training.sampling.sampler import Indices, Sampler
from retrieval.training.sampling.triplets import RandomTriplets


class Choices(Protocol):
    """What of a recipe (:class:`retrieval.training.recipe.Recipe`) the batches depend on."""

    @property
    def sampler(self) -> str: ...
    @property
    def classes_per_batch(self) -> int: ...
    @property
    def pictures_per_class(self) -> int: ...
    @property
    def triplets_per_batch(self) -> int: ...
    @property
    def triplets_per_epoch(self) -> int: ...
    @property
    def pairs_per_batch(self) -> int: ...
    @property
    def seed(self) -> int: ...


def create(recipe: Choices, labels: Indices, groups: Sequence[str] | None = None) -> Sampler:
    """The sampler that a recipe asks for.

    Args:
        labels: int64 (n,), −1 for pictures to leave out.
        groups: a coarser group of each picture (:attr:`retrieval.datasets.PictureSet.levels`), if there is one.

    Raises:
        RetrievalError: too few classes or pictures to draw from, or no groups where they are asked for.
    """
    if recipe.sampler == "random-triplets":
        return RandomTriplets(labels, recipe.triplets_per_batch, recipe.triplets_per_epoch, recipe.seed)
    if recipe.sampler == "pairs":
        return BalancedPairs(labels, recipe.pairs_per_batch, recipe.seed)
    classes, pictures = recipe.classes_per_batch, recipe.pictures_per_class
    if recipe.sampler == "hierarchical":
        if groups is None:
            raise RetrievalError(
                "--sampler hierarchical needs classes in groups, such as Omniglot's alphabets, and these pictures have "
                "none; use --sampler classes."
            )
        return GroupBatches(labels, groups, classes, pictures, recipe.seed)
    return ClassBatches(labels, classes, pictures, recipe.seed)
