"""Everything that can be chosen about the training of a pair network."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, fields
from typing import Any

from retrieval.errors import RetrievalError
from retrieval.networks.pairs import NAMES, is_siamese
from retrieval.training.recipe import Recipe, as_in_recipe, choice

PATCHES = 64
"""Side of the input of the networks that were published for patches, where nobody asks for another."""


@dataclass(frozen=True)
class PairRecipe:
    """What a training does. All fields but the first three are those of
    :class:`retrieval.training.recipe.Recipe`, with the same limits and the same flags on the command line. The
    defaults are the same, too, but for P × K, where many classes of few pictures teach more (docs/pairs.md)."""

    net: str = choice("comparison", f"pair networks: {', '.join(NAMES)}")
    trunk: str = choice("convnet", "comparison: the embedding network whose outputs are compared")
    hits_of: str | None = choice(
        None,
        "pair networks: the encoder (a run or an index) whose hits will be re-ranked: impostors are drawn from what it "
        "confuses, and its similarity counts beside the network",
    )
    widths: str | None = as_in_recipe("widths")
    dim: int | None = as_in_recipe("dim")
    size: int | None = as_in_recipe("size")
    classes_per_batch: int = choice(32, "comparison, siamese: P; where there are fewer classes, K grows instead")
    pictures_per_class: int = choice(4, "comparison, siamese: K")
    pairs_per_batch: int = as_in_recipe("pairs_per_batch")
    augment: str = as_in_recipe("augment")
    epochs: int | None = as_in_recipe("epochs")
    minutes: float | None = as_in_recipe("minutes")
    accumulate: int = as_in_recipe("accumulate")
    optimizer: str = as_in_recipe("optimizer")
    lr: float | None = as_in_recipe("lr")
    schedule: str = as_in_recipe("schedule")
    warmup: float = as_in_recipe("warmup")
    momentum: float = as_in_recipe("momentum")
    weight_decay: float | None = as_in_recipe("weight_decay")
    average: float = as_in_recipe("average")
    precision: str = as_in_recipe("precision")
    seed: int = as_in_recipe("seed")
    validation: int = as_in_recipe("validation")
    threads: int | None = as_in_recipe("threads")
    device: str = as_in_recipe("device")

    def __post_init__(self) -> None:
        if self.net not in NAMES:
            raise RetrievalError(f"--net {self.net} is no pair network; choose one of {', '.join(NAMES)}.")
        if self.pairs_per_batch % 2:
            raise RetrievalError(f"--pairs-per-batch must be even, not {self.pairs_per_batch}.")
        # a choice that changes nothing is a mistake
        takes = ("classes_per_batch", "pictures_per_class") if is_siamese(self.net) else ("pairs_per_batch",)
        for f in fields(self):
            batch = f.name in ("classes_per_batch", "pictures_per_class", "pairs_per_batch")
            if batch and f.name not in takes and getattr(self, f.name) != f.default:
                flags = " and ".join(map(_flag, takes))
                raise RetrievalError(f"{_flag(f.name)} does not go with --net {self.net}, which takes {flags}.")
        self.for_engine()  # which knows the limits of the other fields

    def replace(self, **changes: Any) -> PairRecipe:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def for_engine(self) -> Recipe:
        """The same choices for the engine, which need not know what network it moves."""
        own = ("net", "trunk", "hits_of")
        return Recipe(bias_rate=1.0, **{f.name: getattr(self, f.name) for f in fields(self) if f.name not in own})

    def resolve(self, *, channels: int, pretrained: bool) -> PairRecipe:
        """The recipe with all settled that depends on the pictures and the network."""
        settled = self.for_engine().resolve(channels=channels, pretrained=pretrained)
        return self.replace(augment=settled.augment, lr=settled.lr, weight_decay=settled.weight_decay)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
