"""Which pictures make a batch. An epoch's batches depend on the labels, the seed and the epoch's number alone.

So several processes that train together draw the same batches without a word, and each takes its rows of them
(:class:`retrieval.training.processes.World`): what one process would see, they see between them, no row twice.
"""

from __future__ import annotations

from retrieval.training.sampling.balanced import ClassBatches
from retrieval.training.sampling.create import create
from retrieval.training.sampling.groups import GroupBatches
from retrieval.training.sampling.hits import HitPairs, WrongHits
from retrieval.training.sampling.pairs import BalancedPairs
from retrieval.training.sampling.sampler import Sampler, by_class
from retrieval.training.sampling.triplets import RandomTriplets

__all__ = [
    "BalancedPairs",
    "ClassBatches",
    "GroupBatches",
    "HitPairs",
    "RandomTriplets",
    "Sampler",
    "WrongHits",
    "by_class",
    "create",
]
