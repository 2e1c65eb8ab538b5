"""Which pictures make a batch. An epoch's batches depend on the labels, the seed and the epoch's number alone.

So several processes that train together draw the same batches without a word, and each takes its rows of them
(:class:`retrieval.training.processes.World`): what one process would see, they see between them, no row twice.
"""

from retrieval.sampling.classes import ClassBatches
from retrieval.sampling.creating import create
from retrieval.sampling.groups import GroupBatches
from retrieval.sampling.hits import HitPairs, WrongHits
from retrieval.sampling.labels import by_class
from retrieval.sampling.pairs import BalancedPairs
from retrieval.sampling.sampler import Sampler
from retrieval.sampling.triplets import RandomTriplets

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
