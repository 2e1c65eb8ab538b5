"""Everything that can be chosen about the training of a head."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, fields
from typing import Any

from retrieval.errors import RetrievalError
from retrieval.networks import HEAD
from retrieval.training import losses
from retrieval.training.recipe import Recipe, as_in_recipe, choice

CLOSED = "discriminant"
"""The head in closed form, without a loss."""


@dataclass(frozen=True)
class HeadRecipe:
    """What a training does. The fields that :class:`retrieval.training.recipe.Recipe` has, too, have the same limits
    and the same flags on the command line."""

    net: str = choice(HEAD, "head: a layer over the vectors of an encoder")
    on: str | None = choice(
        None, "head: the encoder below it (default: the index's own, for pictures the one for photographs)"
    )
    marks: str | None = choice(
        None, "head: learn from this file of marks (query --marks, or the page) in place of labels", metavar="FILE"
    )
    loss: str = choice(CLOSED, "discriminant (closed form), or any of the losses")
    dim: int | None = as_in_recipe("dim")
    shrinkage: float | None = choice(
        None, "head: share of the scatter within classes that is evened out (default: chosen)", least=1e-6, most=1
    )
    mix: float | None = choice(
        None, "head: how much what classes do not need counts beside what tells them apart (default: chosen)", least=0
    )
    margin: float | None = as_in_recipe("margin")
    mining: str = as_in_recipe("mining")
    temperature: float | None = as_in_recipe("temperature")
    sampler: str = as_in_recipe("sampler")
    classes_per_batch: int = as_in_recipe("classes_per_batch")
    pictures_per_class: int = as_in_recipe("pictures_per_class")
    pairs_per_batch: int = as_in_recipe("pairs_per_batch")
    epochs: int = choice(10, "passes over the vectors", least=1)
    lr: float = choice(0.001, "peak learning rate of AdamW", least=0)
    seed: int = as_in_recipe("seed")
    threads: int | None = as_in_recipe("threads")

    def __post_init__(self) -> None:
        if self.net != HEAD:
            raise RetrievalError(f"--net {self.net} is no head; give --net {HEAD}.")
        for one in fields(self):
            value, least, most = getattr(self, one.name), one.metadata.get("least"), one.metadata.get("most")
            flag = "--" + one.name.replace("_", "-")
            if None not in (value, least) and not value >= least:
                raise RetrievalError(f"{flag} must be at least {least:g}, not {value:g}.")
            if None not in (value, most) and value > most:
                raise RetrievalError(f"{flag} must be at most {most:g}, not {value:g}.")
            if isinstance(value, float) and not math.isfinite(value):
                raise RetrievalError(f"{flag} must be a finite number, not {value:g}.")
        if self.marks is not None and self.loss != CLOSED:
            raise RetrievalError(f"--loss {self.loss} learns from labels, and --marks has none; leave one of them out.")
        if self.loss == CLOSED:
            # a choice that changes nothing is a mistake
            for one in fields(self):
                if one.name in _OF_LOSSES and getattr(self, one.name) != one.default:
                    flag = "--" + one.name.replace("_", "-")
                    raise RetrievalError(f"{flag} says nothing in closed form; choose a --loss, or leave it out.")
        else:
            self.for_losses()  # which knows the limits of the other fields

    def for_losses(self) -> Recipe:
        """The same choices for losses and samplers, which need not know what they move."""
        known = losses.TABLE.get(self.loss)
        if known is not None and known.make.startswith("hashing."):
            raise RetrievalError(f"--loss {self.loss} makes codes, and a head makes none; choose another loss.")
        own = ("net", "on", "marks", "shrinkage", "mix", "lr", "epochs")
        return Recipe(**{one.name: getattr(self, one.name) for one in fields(self) if one.name not in own})

    def replace(self, **changes: Any) -> HeadRecipe:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)


_OF_LOSSES = (
    "margin",
    "mining",
    "temperature",
    "sampler",
    "classes_per_batch",
    "pictures_per_class",
    "pairs_per_batch",
    "epochs",
    "lr",
)
