"""Which network is trained in so many minutes: the one that learns most from what this machine computes in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from retrieval.training.losses import USUAL
from retrieval.training.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Candidate:
    """A recipe for the default network.

    Attributes:
        widths: of the network.
        rest: what else of a recipe was measured with them; the loss at least.
        reached: kNN accuracy (k = 10) by the thousands of pictures that a training saw, each a training of its own
            whose learning rate went down to 0: CIFAR-10, 5,000 pictures held out, asked for among the 45,000 others.
            ``python benchmarks/front.py`` measures them.
    """

    widths: str
    rest: dict[str, Any]
    reached: dict[float, float]

    def expected(self, pictures: float) -> float:
        """The kNN accuracy after so many pictures: a line over their logarithm between two measurements. After more
        than the most nothing more is promised, and after fewer than the fewest each halving costs :data:`HALVING`."""
        seen = np.log2([1000 * count for count in self.reached])
        now = math.log2(max(1.0, pictures))
        missing = max(0.0, float(seen[0]) - now)
        return max(0.0, float(np.interp(now, seen, list(self.reached.values()))) - HALVING * missing)

    def settled(self, recipe: Recipe) -> Recipe:
        """A recipe with what it leaves open taken from here."""
        settings = {"widths": self.widths, **self.rest}
        return recipe.replace(
            **{name: value for name, value in settings.items() if getattr(recipe, name) in (None, "auto")}
        )


CLASSIFIER: dict[str, Any] = {"loss": "softmax", "bias_rate": 16.0, "weight_decay": 5e-3}
"""By kNN accuracy and P@10 better than triplets after the same arithmetic (docs/training.md)."""

TRIPLETS: dict[str, Any] = {**CLASSIFIER, "loss": USUAL}

CANDIDATES = (
    Candidate("24,64,128", CLASSIFIER, {90: 0.804}),
    Candidate("32,128,128", CLASSIFIER, {360: 0.897}),
    Candidate("64,128,128", CLASSIFIER, {900: 0.913}),
    # the records, by test pictures
    Candidate("64,256,256", CLASSIFIER, {500: 0.92}),
    Candidate("128,384,384", {**CLASSIFIER, "augment": "flip,shift,cutout"}, {1250: 0.939}),
    Candidate("24,64,128", TRIPLETS, {90: 0.759}),
    # held-out pictures, and after 288 thousand test pictures
    Candidate("64,128,256", {"loss": USUAL}, {90: 0.813, 288: 0.892}),
)
"""Of each loss from the fastest to the slowest."""

HALVING = 0.05
"""What half as many pictures cost: 0.047 between the two measurements of 64,128,256."""

_OF_LOSSES = ("margin", "mining", "temperature", "space", "memory", "sampler")
"""What is said of a loss without its name."""


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
        what = f"--widths {self.candidate.widths} --loss {self.candidate.rest['loss']}"
        precision = str(self.precision).removeprefix("torch.")
        return (
            f"Chosen for the minutes: {what} in {precision}, which sees about {self.pictures:,.0f} pictures on this "
            f"machine; on CIFAR-10, so many led to a kNN accuracy of about {self.expected:.2f} for held-out pictures."
        )


def leaves_open(recipe: Recipe) -> bool:
    """Whether a recipe leaves its network to the minutes."""
    return recipe.minutes is not None and recipe.net == "convnet" and recipe.widths is None and recipe.init is None


def candidates(recipe: Recipe) -> list[Candidate]:
    """Those of the recipe's loss; where it names none, of the best one, unless it speaks of triplets and the like; and
    where nothing was measured with its loss, those of triplets, for their widths."""
    default = Recipe()
    own = any(getattr(recipe, name) != getattr(default, name) for name in _OF_LOSSES)
    loss = recipe.loss or (USUAL if own else CLASSIFIER["loss"])
    found = [candidate for candidate in CANDIDATES if candidate.rest["loss"] == loss]
    return found or [candidate for candidate in CANDIDATES if candidate.rest["loss"] == USUAL]


def pick(
    recipe: Recipe,
    precisions: Sequence[torch.dtype],
    seconds_of: Callable[[Candidate, torch.dtype], float],
    enough: Callable[[], bool],
    seconds: float,
    most: float = math.inf,
) -> Pick:
    """The best for so many seconds.

    Args:
        recipe: one that :func:`leaves_open`.
        precisions: to choose from; what is fastest for the first candidate is taken for all.
        seconds_of: times a candidate: the seconds of one picture.
        enough: whether no more time is to be spent on choosing.
        seconds: for the steps.
        most: pictures to be seen.
    """
    best: Pick | None = None
    for candidate in candidates(recipe):
        each: dict[torch.dtype, float] = {}
        for precision in precisions:
            if not each or not enough():
                each[precision] = seconds_of(candidate, precision)
        fastest = min(each, key=each.__getitem__)
        precisions = [fastest]
        pictures = min(most, seconds / each[fastest])
        found = Pick(candidate, fastest, pictures, candidate.expected(pictures))
        if best is not None and found.expected <= best.expected:
            break  # slower ones see fewer pictures still
        best = found
        if enough():
            break
    assert best is not None
    return best
