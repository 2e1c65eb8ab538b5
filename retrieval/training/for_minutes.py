"""Which network is trained in so many minutes: the one that learns most from what this machine computes in them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from retrieval.training.losses import USUAL
from retrieval.training.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Candidate:
    """A recipe for the default network.

    Attributes:
        widths: of the network, as many as it has stages.
        rest: what else of a recipe was measured with them; the loss at least.
        reached: kNN accuracy (k = 10) by the thousands of pictures that a training saw, each a training of its own
            whose learning rate went down to 0: CIFAR-10, 5,000 pictures held out, asked for among the 45,000 others.
            ``python benchmarks/front.py`` measures them.
        share: of the side of the pictures, which the network's input has.
    """

    widths: str
    rest: dict[str, Any]
    reached: dict[float, float]
    share: float = 1.0

    def expected(self, pictures: float) -> float:
        """The kNN accuracy after so many pictures: a line over their logarithm between two measurements. After more
        than the most nothing more is promised, and after fewer than the fewest each halving costs :data:`HALVING`."""
        seen = np.log2([1000 * count for count in self.reached])
        now = math.log2(max(1.0, pictures))
        missing = max(0.0, float(seen[0]) - now)
        return max(0.0, float(np.interp(now, seen, list(self.reached.values()))) - HALVING * missing)

    def settings(self, recipe: Recipe, side: int) -> dict[str, Any]:
        """What a recipe leaves open, which is what it has by default, for pictures that a network would see with that
        side."""
        size = {"size": max(LEAST_SIDE, round(self.share * side))} if self.share < 1 else {}
        own = {"widths": self.widths, **size, **self.rest}
        return {name: value for name, value in own.items() if getattr(recipe, name) == getattr(_DEFAULT, name)}

    def settled(self, recipe: Recipe, side: int) -> Recipe:
        """A recipe with what it leaves open taken from here."""
        return recipe.replace(**self.settings(recipe, side))


CLASSIFIER: dict[str, Any] = {"loss": "softmax", "bias_rate": 16.0, "weight_decay": 5e-3}
"""By kNN accuracy and P@10 better than triplets after the same arithmetic (docs/training.md)."""

TRIPLETS: dict[str, Any] = {**CLASSIFIER, "loss": USUAL}

TABLE = Path(__file__).with_name("minutes.json")
"""A row for each training that was measured, as ``python benchmarks/front.py`` writes them."""

KNN = "kNN accuracy (k=10)"


def candidates_of(rows: Iterable[dict[str, Any]]) -> tuple[Candidate, ...]:
    """The recipes of some rows of the table, of each loss those first that compute least for a picture."""
    recipes: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row["thousand pictures"]):
        own = {name: row[name] for name in ("widths", "rest", "share")}
        known = recipes.setdefault(json.dumps(own), {**own, "reached": {}, "each": 0.0})
        known["reached"][row["thousand pictures"]] = row[KNN][0]
        known["each"] = row["PFLOP"] / row["thousand pictures"]
    ordered = sorted(recipes.values(), key=lambda one: (one["rest"]["loss"] != CLASSIFIER["loss"], one.pop("each")))
    return tuple(Candidate(**one) for one in ordered)


CANDIDATES = candidates_of(json.loads(TABLE.read_text()))

HALVING = 0.05
"""What half as many pictures cost where nothing was measured with so few: 0.047 between the two measurements of
64,128,256."""

LEAST_SIDE = 16
"""No network sees smaller pictures."""

_OF_LOSSES = ("margin", "mining", "temperature", "space", "memory", "sampler")
"""What is said of a loss without its name."""

_DEFAULT = Recipe()


class Pick(NamedTuple):
    """What was chosen for the minutes.

    Attributes:
        settings: what was open. precision: what it computes in.
        pictures: that it is to see. expected: kNN accuracy with so many, where it was measured.
    """

    settings: dict[str, Any]
    precision: torch.dtype
    pictures: float
    expected: float

    def __str__(self) -> str:
        flags = [
            f"--{name.replace('_', '-')} {self.settings[name]}"
            for name in ("widths", "size", "pictures_per_class", "loss")
            if name in self.settings
        ]
        precision = str(self.precision).removeprefix("torch.")
        return (
            f"Chosen for the minutes: {' '.join(flags)} in {precision}, which sees about {self.pictures:,.0f} pictures "
            f"on this machine; on CIFAR-10, so many led to a kNN accuracy of about {self.expected:.2f} for held-out "
            "pictures."
        )


def leaves_open(recipe: Recipe) -> bool:
    """Whether a recipe leaves its network to the minutes."""
    return recipe.minutes is not None and recipe.net == "convnet" and recipe.widths is None and recipe.init is None


def candidates(recipe: Recipe) -> list[Candidate]:
    """Those of the recipe's loss; where it names none, of the best one, unless it speaks of triplets and the like; and
    where nothing was measured with its loss, those of triplets, for their widths. Of a size or a batch that are given
    nothing is known but by those that leave them as they are."""
    own = any(getattr(recipe, name) != getattr(_DEFAULT, name) for name in _OF_LOSSES)
    loss = recipe.loss or (USUAL if own else CLASSIFIER["loss"])
    found = [candidate for candidate in CANDIDATES if candidate.rest["loss"] == loss]
    found = found or [candidate for candidate in CANDIDATES if candidate.rest["loss"] == USUAL]
    if recipe.size is not None:
        found = [candidate for candidate in found if candidate.share == 1]
    if recipe.pictures_per_class != _DEFAULT.pictures_per_class:
        found = [candidate for candidate in found if "pictures_per_class" not in candidate.rest]
    return found


def pick(
    recipe: Recipe,
    side: int,
    precisions: Sequence[torch.dtype],
    seconds_of: Callable[[Recipe, torch.dtype], float],
    enough: Callable[[], bool],
    seconds: float,
    most: float = math.inf,
) -> Pick:
    """The best for so many seconds.

    Args:
        recipe: one that :func:`leaves_open`.
        side: of the network's input where nobody asks for another.
        precisions: to choose from; what is fastest for the first candidate is taken for all.
        seconds_of: times a settled recipe: the seconds of one picture.
        enough: whether no more time is to be spent on choosing.
        seconds: for the steps.
        most: pictures to be seen.
    """
    best: Pick | None = None
    pictures = math.inf
    for candidate in candidates(recipe):
        # it is slower than the last one that was timed, and would see no more pictures than that
        if best is not None and candidate.expected(pictures) <= best.expected:
            continue
        settings = candidate.settings(recipe, side)
        each: dict[torch.dtype, float] = {}
        for precision in precisions:
            if not each or not enough():
                each[precision] = seconds_of(recipe.replace(**settings), precision)
        fastest = min(each, key=each.__getitem__)
        precisions = [fastest]
        pictures = min(most, seconds / each[fastest])
        found = Pick(settings, fastest, pictures, candidate.expected(pictures))
        if best is None or found.expected > best.expected:
            best = found
        if enough():
            break
    assert best is not None
    return best
