"""Batches of so many classes and so many pictures of each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from retrieval.errors import RetrievalError
from retrieval.training.sampling.sampler import Indices, by_class


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
