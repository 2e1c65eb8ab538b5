"""Batches within one group of classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from retrieval.errors import RetrievalError
from retrieval.training.sampling.balanced import ClassBatches
from retrieval.training.sampling.sampler import Indices


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
