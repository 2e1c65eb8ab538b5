"""Which pictures make a batch. An epoch's batches depend on the labels, the seed and the epoch's number alone.

So several processes that train together draw the same batches without a word, and each takes its rows of them
(:class:`retrieval.training.processes.World`): what one process would see, they see between them, no row twice.

A new sampler is a class in a file of this package, and a line in :data:`TABLE`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from retrieval.training.sampling.balanced import ClassBatches, GroupBatches
from retrieval.training.sampling.pairs import BalancedPairs
from retrieval.training.sampling.sampler import Indices, Sampler
from retrieval.training.sampling.triplets import RandomTriplets

TABLE: dict[str, Callable[[Any, Indices, Sequence[str] | None], Sampler]] = {
    "classes": lambda r, labels, groups: ClassBatches(labels, r.classes_per_batch, r.pictures_per_class, r.seed),
    "hierarchical": lambda r, labels, groups: GroupBatches(
        labels, groups, r.classes_per_batch, r.pictures_per_class, r.seed
    ),
    "pairs": lambda r, labels, groups: BalancedPairs(labels, r.pairs_per_batch, r.seed),
    "random-triplets": lambda r, labels, groups: RandomTriplets(
        labels, r.triplets_per_batch, r.triplets_per_epoch, r.seed
    ),
}
"""Name → sampler, of a recipe, labels and groups."""

NAMES = tuple(TABLE)
"""What ``--sampler`` may be."""


def create(recipe: Any, labels: Indices, groups: Sequence[str] | None = None) -> Sampler:
    """The sampler that a recipe asks for.

    Args:
        recipe: a :class:`retrieval.training.recipe.Recipe`.
        labels: int64 (n,), −1 for pictures to leave out.
        groups: a coarser group of each picture (:attr:`retrieval.datasets.PictureSet.levels`), if there is one.

    Raises:
        RetrievalError: too few classes or pictures to draw from, or no groups where they are asked for.
    """
    return TABLE[recipe.sampler](recipe, labels, groups)
