"""Batches of so many classes and so many pictures of each, from all classes or within one group of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
                f"A training needs pictures of at least 2 classes, and there are {len(self.members)}; "
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


class GroupBatches:
    """P classes × K pictures a batch, all of one group, such as the characters of one alphabet.

    Classes of one group look alike, so that such batches are harder than those of classes from anywhere. Over an epoch
    every picture comes at least once, and the groups take turns at random, each as often as its pictures need. A group
    of fewer classes than P makes smaller batches; one of a single class, which has nothing to be told apart from, goes
    with the group after it in the alphabet (the last with the one before).

    Args:
        labels: int64 (n,), −1 for pictures to leave out.
        groups: the group of each picture (n,); a class's is that of its first picture. None where there are no groups.
        classes: P, at least 2.
        pictures: K, at least 2.
    """

    def __init__(self, labels: Indices, groups: Sequence[str] | None, classes: int, pictures: int, seed: int) -> None:
        if groups is None:
            raise RetrievalError(
                "--sampler hierarchical needs classes in groups, such as Omniglot's alphabets, and these pictures have "
                "none; use --sampler classes."
            )
        known, first = np.unique(labels, return_index=True)
        of_class = {int(c): groups[i] for c, i in zip(known, first.tolist(), strict=True) if c >= 0}
        if len(of_class) < 2:
            raise RetrievalError(
                f"Batches within groups need pictures of at least 2 classes, and there are {len(of_class)}."
            )
        self.samplers: list[ClassBatches] = []
        for number, members in enumerate(_never_single(of_class)):
            own = np.where(np.isin(labels, members), labels, -1)
            draws = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
            self.samplers.append(ClassBatches(own, classes, pictures, draws))
        self.seed = seed

    def __len__(self) -> int:
        return sum(len(sampler) for sampler in self.samplers)

    def epoch(self, number: int) -> Iterator[Indices]:
        """The batches of one epoch, int64 (P·K,) or fewer each, the K pictures of a class side by side."""
        turns = np.repeat(np.arange(len(self.samplers)), [len(sampler) for sampler in self.samplers])
        batches = [sampler.epoch(number) for sampler in self.samplers]
        for turn in np.random.default_rng([self.seed, number]).permutation(turns):
            yield next(batches[turn])


def _never_single(of_class: dict[int, str]) -> list[list[int]]:
    """The classes of each group, in the order of the groups' names, none of them alone."""
    groups: list[list[int]] = []
    alone: list[int] = []
    for name in sorted(set(of_class.values())):
        members = alone + [c for c, group in of_class.items() if group == name]
        if len(members) > 1:
            groups.append(members)
            alone = []
        else:
            alone = members
    if alone:
        groups[-1] += alone
    return groups
