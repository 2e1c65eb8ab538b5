"""Everything that can be chosen about the training of a pair network."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field, fields
from typing import Any

from retrieval.errors import RetrievalError
from retrieval.training.recipes import Recipe, epochs_for

NETS = ("comparison", "two-channel", "two-stream", "siamese", "pseudo-siamese")
"""The names of :data:`retrieval.networks.pairs.NAMES`, known without importing torch."""

PATCHES = 64
"""Side of the input of the networks that were published for patches, where nobody asks for another."""


def _choice(default: Any, help_: str) -> Any:
    return field(default=default, metadata={"help": help_})


def _as_in_recipe(name: str) -> Any:
    known = {f.name: f for f in fields(Recipe)}[name]
    return field(default=known.default, metadata=known.metadata)


@dataclass(frozen=True)
class PairRecipe:
    """What a training does. All fields but the first two are those of :class:`retrieval.training.recipes.Recipe`, with
    the same defaults and limits, and the same flags on the command line."""

    net: str = _choice("comparison", f"pair networks: {', '.join(NETS)}")
    trunk: str = _choice("convnet", "comparison: the embedding network whose outputs are compared")
    widths: str | None = _as_in_recipe("widths")
    dim: int | None = _as_in_recipe("dim")
    size: int | None = _as_in_recipe("size")
    pairs_per_batch: int = _as_in_recipe("pairs_per_batch")
    augment: str = _as_in_recipe("augment")
    epochs: int | None = _as_in_recipe("epochs")
    minutes: float | None = _as_in_recipe("minutes")
    accumulate: int = _as_in_recipe("accumulate")
    optimizer: str = _as_in_recipe("optimizer")
    lr: float | None = _as_in_recipe("lr")
    schedule: str = _as_in_recipe("schedule")
    warmup: float = _as_in_recipe("warmup")
    momentum: float = _as_in_recipe("momentum")
    weight_decay: float = _as_in_recipe("weight_decay")
    average: float = _as_in_recipe("average")
    precision: str = _as_in_recipe("precision")
    seed: int = _as_in_recipe("seed")
    validation: int = _as_in_recipe("validation")
    threads: int | None = _as_in_recipe("threads")
    device: str = _as_in_recipe("device")

    def __post_init__(self) -> None:
        if self.net not in NETS:
            raise RetrievalError(f"--net {self.net} is no pair network; choose one of {', '.join(NETS)}.")
        if self.pairs_per_batch % 2:
            raise RetrievalError(f"--pairs-per-batch must be even, not {self.pairs_per_batch}.")
        self.for_engine()  # which knows the limits of the other fields

    def replace(self, **changes: Any) -> PairRecipe:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def for_engine(self) -> Recipe:
        """The same choices for the engine, which need not know what network it moves."""
        return Recipe(**{f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("net", "trunk")})

    def resolve(self, *, channels: int, pretrained: bool, steps: int) -> PairRecipe:
        """The recipe with all settled that depends on the pictures, the network and the steps of an epoch."""
        settled = self.for_engine().resolve(channels=channels, pretrained=pretrained)
        return self.replace(augment=settled.augment, lr=settled.lr, epochs=epochs_for(settled, steps))
