"""Which pictures make a batch. An epoch's batches depend on the labels, the seed and the epoch's number alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import RetrievalError

Indices = NDArray[np.int64]


def by_class(labels: Indices) -> list[Indices]:
    """The positions of each class's pictures, classes in ascending order; unlabelled pictures (−1) are left out."""
    order = np.argsort(labels, kind="stable")
    order = order[labels[order] >= 0]
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


class ClassBatches:
    """P classes × K pictures a batch (Hermans et al. 2017); over an epoch every picture comes at least once.

    The pictures of each class are shuffled and cut into groups of K, the last one filled up with pictures of the same
    class drawn again. A batch takes one group each from the P classes that have most groups left, so that the classes
    run out together; where fewer than P have any left, other classes give a group again.

    Args:
        labels: int64 (n,), −1 for pictures to leave out.
        classes: P, at least 2; more than there are means all of them.
        pictures: K, at least 2.
    """

    def __init__(self, labels: Indices, classes: int, pictures: int, seed: int) -> None:
        self.members = by_class(labels)
        if len(self.members) < 2:
            raise RetrievalError(
                f"Triplets need pictures of at least 2 classes, and there are {len(self.members)}; "
                "give a labelled set (one folder a class, or a CSV with a label column)."
            )
        if classes < 2 or pictures < 2:
            raise RetrievalError(
                f"A batch needs at least 2 classes and 2 pictures of each, not {classes} × {pictures}."
            )
        self.classes = min(classes, len(self.members))
        self.pictures = pictures
        self.seed = seed
        groups = np.array([-(-len(member) // pictures) for member in self.members])
        self._groups = groups
        # each batch takes one group from P distinct classes
        self.batches = max(int(groups.max()), -(-int(groups.sum()) // self.classes))

    def __len__(self) -> int:
        return self.batches

    def epoch(self, number: int) -> Iterator[Indices]:
        """The batches of one epoch, int64 (P·K,) each, the K pictures of a class side by side."""
        random = np.random.default_rng([self.seed, number])
        queues = [self._cut(member, random) for member in self.members]
        left = self._groups.copy()
        for _ in range(self.batches):
            # most groups left first, ties by lot
            chosen = np.lexsort((random.random(len(left)), -left))[: self.classes]
            batch = []
            for c in chosen:
                if left[c] == 0:
                    queues[c] = self._cut(self.members[c], random)
                else:
                    left[c] -= 1
                batch.append(queues[c].pop())
            yield np.concatenate(batch)

    def _cut(self, member: Indices, random: np.random.Generator) -> list[Indices]:
        shuffled = random.permutation(member)
        missing = -len(member) % self.pictures
        again = random.choice(member, missing, replace=missing > len(member))
        return list(np.concatenate([shuffled, again]).reshape(-1, self.pictures))


class RandomTriplets:
    """The triplets of the original article: each batch draws one class and one other class, then anchors and positives
    at random from the first and negatives from the second.

    Args:
        labels: int64 (n,), −1 for pictures to leave out.
        triplets: triplets a batch.
        epoch_triplets: triplets an epoch (the last batch is as long as the others).
    """

    def __init__(self, labels: Indices, triplets: int = 128, epoch_triplets: int = 100_000, seed: int = 0) -> None:
        self.members = by_class(labels)
        self._first = [c for c, member in enumerate(self.members) if len(member) > 1]
        if len(self.members) < 2 or not self._first:
            raise RetrievalError(
                "Triplets need at least 2 classes, one of them with 2 pictures or more; give a larger labelled set."
            )
        self.triplets = triplets
        self.batches = -(-epoch_triplets // triplets)
        self.seed = seed

    def __len__(self) -> int:
        return self.batches

    def epoch(self, number: int) -> Iterator[Indices]:
        """The batches of one epoch, int64 (3·triplets,) each: all anchors, then their positives, then negatives."""
        random = np.random.default_rng([self.seed, number])
        for _ in range(self.batches):
            first = int(random.choice(self._first))
            second = int(random.integers(len(self.members) - 1))
            second += second >= first
            same, other = self.members[first], self.members[second]
            anchor = random.integers(len(same), size=self.triplets)
            # a positive is another picture than its anchor
            positive = (anchor + random.integers(1, len(same), size=self.triplets)) % len(same)
            negative = random.integers(len(other), size=self.triplets)
            yield np.concatenate([same[anchor], same[positive], other[negative]])
