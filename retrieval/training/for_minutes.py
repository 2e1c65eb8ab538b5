"""Which network is trained in so many minutes: the one that learns most from what this machine computes in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch

from retrieval.training.recipe import Recipe


@dataclass(frozen=True)
class Candidate:
    """A recipe for the default network.

    Attributes:
        widths: of the network. loss: that it was measured with.
        reached: kNN accuracy (k = 10) by the thousands of pictures that a training saw, each a training of its own
            whose learning rate went down to 0: CIFAR-10, 5,000 pictures held out, asked for among the 45,000 others.
            ``python benchmarks/recipes.py front`` measures them.
        changes: what else of the recipe goes with it.
    """

    widths: str
    reached: dict[int, float]
    loss: str = "triplet"
    changes: dict[str, Any] = field(default_factory=dict, hash=False)

    def expected(self, pictures: float) -> float:
        """The kNN accuracy after so many pictures: a line over their logarithm between two measurements. Nothing is
        promised that nobody saw: after more it is that of the most, and after fewer than the fewest it is 0."""
        seen = np.log([1000 * count for count in self.reached])
        return float(np.interp(math.log(max(1.0, pictures)), seen, list(self.reached.values()), left=0))


CANDIDATES = (
    Candidate("24,64,128", {45: 0.62, 180: 0.834}),
    Candidate("32,128,128", {360: 0.888}),
    Candidate("64,128,256", {45: 0.70, 90: 0.813, 300: 0.892}),
)
"""From the fastest to the slowest."""


class Pick(NamedTuple):
    """What was chosen for the minutes.

    Attributes:
        candidate: the recipe. precision: what it computes in.
        pictures: that it is to see. expected: kNN accuracy with so many, where it was measured.
    """

    candidate: Candidate
    precision: torch.dtype
    pictures: float
    expected: float

    def __str__(self) -> str:
        precision = str(self.precision).removeprefix("torch.")
        reached = f"with so many it reached a kNN accuracy of {self.expected:.2f} on CIFAR-10's held-out pictures"
        return (
            f"Chosen for the minutes: --widths {self.candidate.widths} in {precision}, which sees about "
            f"{self.pictures:,.0f} pictures on this machine; {reached if self.expected else 'so few were never tried'}."
        )


def leaves_open(recipe: Recipe) -> bool:
    """Whether a recipe leaves its network to the minutes."""
    return recipe.minutes is not None and recipe.net == "convnet" and recipe.widths is None and recipe.init is None


def pick(
    recipe: Recipe,
    precisions: Sequence[torch.dtype],
    seconds_of: Callable[[Candidate, torch.dtype], float],
    seconds: float,
    most: float = math.inf,
) -> Pick:
    """The best for so many seconds.

    Args:
        recipe: one that :func:`leaves_open`; what was measured with its loss counts, or else with the default's.
        precisions: to choose from; what is fastest for the first candidate is taken for all.
        seconds_of: times a candidate: the seconds of one picture.
        seconds: for the steps.
        most: pictures to be seen.
    """
    known = {candidate.loss for candidate in CANDIDATES}
    best: Pick | None = None
    for candidate in CANDIDATES:
        if candidate.loss != (recipe.loss if recipe.loss in known else Recipe().loss):
            continue
        each = {precision: seconds_of(candidate, precision) for precision in precisions}
        fastest = min(each, key=each.__getitem__)
        precisions = [fastest]
        pictures = min(most, seconds / each[fastest])
        found = Pick(candidate, fastest, pictures, candidate.expected(pictures))
        if best is not None and found.expected <= best.expected:
            break  # slower ones see fewer pictures still
        best = found
    assert best is not None
    return best
