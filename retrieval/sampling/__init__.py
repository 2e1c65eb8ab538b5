"""Which pictures make a batch. An epoch's batches depend on the labels, the seed and the epoch's number alone.

A sampler has a length, the batches of an epoch; ``epoch(number)``, which yields them as positions, int64 (b,) each; and
`parts`, of how many equally long sections each of its batches is made (the anchors, positives and negatives of
triplets are three), row by row together.
"""

from retrieval.sampling.classes import ClassBatches
from retrieval.sampling.creating import create
from retrieval.sampling.groups import GroupBatches
from retrieval.sampling.labels import by_class
from retrieval.sampling.pairs import BalancedPairs
from retrieval.sampling.shards import Sampler, Shard
from retrieval.sampling.triplets import RandomTriplets

__all__ = [
    "BalancedPairs",
    "ClassBatches",
    "GroupBatches",
    "RandomTriplets",
    "Sampler",
    "Shard",
    "by_class",
    "create",
]
