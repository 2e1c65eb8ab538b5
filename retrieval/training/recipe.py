"""Everything that can be chosen about a training, and the two recipes that come with it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from retrieval.base.given import SEEDS
from retrieval.errors import RetrievalError
from retrieval.training import losses, sampling


def choice(default: Any, help_: str, **more: Any) -> Any:
    """A field of a recipe: its default, what `--help` says of it, and its limits (`least`, `most`)."""
    return field(default=default, metadata={"help": help_, **more})


@dataclass(frozen=True)
class Recipe:
    """What a training does. The command line's flags are these fields, their help texts and defaults.

    Mining, margin, loss and learning rate were chosen on a validation split of CIFAR-10's training pictures by
    ``benchmarks/recipes.py``; docs/training.md shows the figures.
    """

    net: str = choice(
        "convnet",
        "convnet, divide-and-encode (for codes), portrait (for faces), seed, vgg16, efficientnet_lite0 or "
        "efficientnet_lite1 (ImageNet weights), or hf:NAME_OR_FOLDER",
    )
    init: str | None = choice(
        None,
        "a run (runs/NAME) or an encoder's folder to go on from: its weights wherever names and shapes agree; --size "
        "and --widths are its own, too (default: random weights)",
    )
    widths: str | None = choice(
        None, "convnet, vgg16: filters of each stage, joined by commas (default: the network's own)"
    )
    dim: int | None = choice(
        None, "length of the embedding, or bits of a code (default: the network's own)", also="--bits", least=1
    )
    size: int | None = choice(
        None, "side of the network's square input in pixels (default: the network's own)", least=8
    )
    loss: str | None = choice(
        None,
        "what is minimised (default: triplet, with --minutes that of the recipe which is best in them); "
        "docs/losses.md has formulas and sources",
    )
    margin: float | None = choice(
        None,
        "by how much the wrong class must be farther (default: the loss's own; triplet: 0.2, in squared distance)",
        least=0,
    )
    mining: str = choice("semi-hard", "triplets of a batch; given: by the sampler")
    temperature: float | None = choice(
        None, "what similarities are divided by (default: the loss's own; supcon: 0.1)", least=1e-3
    )
    smoothing: float = choice(
        0.0, "softmax: the share of each target that is spread over all classes (label smoothing)", least=0, most=0.9
    )
    space: str = choice("unit", "contrastive, energy: compare unit vectors, or the network's raw output as published")
    memory: int = choice(
        0, "embeddings of the last batches to compare each batch with (cross-batch memory; 0: none)", least=0
    )
    sampler: str = choice(
        "classes",
        "classes (P classes × K pictures), hierarchical (the same within one group, as an alphabet), pairs, "
        "or random-triplets (as published)",
    )
    classes_per_batch: int = choice(10, "P of the classes sampler", least=2)
    pictures_per_class: int = choice(25, "K of the classes sampler", least=2)
    pairs_per_batch: int = choice(128, "pairs: pairs a batch, half of them of one class", least=2)
    triplets_per_batch: int = choice(128, "random-triplets: triplets a batch", least=1)
    triplets_per_epoch: int = choice(100_000, "random-triplets: triplets an epoch", least=1)
    augment: str = choice(
        "auto", "flip, affine, shift, cutout joined by commas; none; auto: flip,shift, grey only shift"
    )
    quarter_turns: bool = choice(
        False, "classes turned by 90, 180 and 270 degrees are classes of their own: four times as many"
    )
    mirrored_classes: bool = choice(False, "classes seen in a mirror are classes of their own: twice as many")
    epochs: int | None = choice(
        None, "passes over the pictures (default: 8, more where that is under 1440 steps)", least=1
    )
    minutes: float | None = choice(
        None,
        "train for so many minutes: the schedule follows the clock, and unless --net, --widths or --init says which, "
        "the network is the one that learns most in them on this machine",
    )
    accumulate: int = choice(
        1, "batches a step: their mean loss is minimised, one after the other is computed", least=1
    )
    chunk: int | None = choice(
        None,
        "at most so many pictures at a time on the network, with the loss of the whole batch (default: all)",
        least=2,
    )
    optimizer: str = choice("sgd", "sgd, or adamw (for pretrained transformers)")
    lr: float | None = choice(
        None,
        "peak learning rate (default: 0.07 from scratch, 0.01 from trained weights; adamw: 0.001 and 0.00005; "
        "a multiple of it for some losses)",
        least=0,
    )
    bias_rate: float | None = choice(
        None, "how many times that rate biases and normalisation learn with (default: 1)", least=0
    )
    schedule: str = choice("triangle", "triangle or cosine (warm up, then down to 0), or constant")
    warmup: float = choice(0.2, "triangle, cosine: share of the steps until the peak", least=0, most=1)
    momentum: float = choice(0.9, "momentum of SGD (Nesterov's, where it is not 0); adamw: β₁", least=0)
    weight_decay: float | None = choice(None, "weight decay of matrices and filters (default: 0.0005)", least=0)
    average: float = choice(
        0.0,
        "decay of the moving average of the weights that is validated and saved, as 0.999 (0: the last weights)",
        least=0,
    )
    precision: str = choice(
        "auto", "float32, bfloat16, float16 (with loss scaling), or auto: bfloat16 where the hardware is fast at it"
    )
    compile: bool = choice(False, "torch.compile, where a measurement at the start shows that it pays")
    seed: int = choice(0, "one seed makes a run repeat", least=0, most=SEEDS - 1)
    validation: int = choice(
        2000, "pictures held out of the training split to watch it by, a tenth of it at most", least=0
    )
    threads: int | None = choice(None, "CPU threads (default: all cores)", least=1)
    device: str = choice("auto", "auto, cpu, cuda")

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in (None, *choices):
                raise RetrievalError(f"--{name} {getattr(self, name)} is unknown; choose one of {', '.join(choices)}.")
        for one in fields(self):
            value, least, most = getattr(self, one.name), one.metadata.get("least"), one.metadata.get("most")
            if None not in (value, least) and not (value >= least and math.isfinite(value)):
                raise RetrievalError(f"--{one.name.replace('_', '-')} must be at least {least}, not {value}.")
            if None not in (value, most) and value > most:
                raise RetrievalError(f"--{one.name.replace('_', '-')} must be at most {most}, not {value}.")
        for name in ("momentum", "average"):
            if not getattr(self, name) < 1:
                raise RetrievalError(f"--{name} must be less than 1, not {getattr(self, name)}.")
        if self.widths is not None and not all(width.isdecimal() and int(width) for width in self.widths.split(",")):
            raise RetrievalError(f"--widths must be whole numbers joined by commas, not {self.widths!r}.")
        if self.minutes is not None and not self.minutes > 0:
            raise RetrievalError(f"--minutes must be more than 0, not {self.minutes}.")
        triplets = self.loss in (None, "triplet", "soft-triplet")
        if (self.mining == "given") != (self.sampler == "random-triplets") and triplets:
            raise RetrievalError(
                f"--mining given and --sampler random-triplets go together, not {self.mining} and {self.sampler}."
            )
        siamese = self.loss in ("contrastive", "energy")
        if self.sampler == "pairs" and (not siamese or self.pairs_per_batch % 2):
            raise RetrievalError(
                "--sampler pairs goes with --loss contrastive or energy and an even --pairs-per-batch, "
                f"not with {self.loss or losses.USUAL} and {self.pairs_per_batch}."
            )
        if self.space == "raw" and not siamese:
            raise RetrievalError(
                f"--space raw goes with --loss contrastive or energy, not with {self.loss or losses.USUAL}."
            )
        if self.smoothing and self.loss != "softmax":
            raise RetrievalError(f"--smoothing goes with --loss softmax, not with {self.loss or losses.USUAL}.")
        if self.memory and self.sampler in ("pairs", "random-triplets"):
            raise RetrievalError(f"--memory goes with --sampler classes or hierarchical, not with {self.sampler}.")

    def replace(self, **changes: Any) -> Recipe:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def resolve(self, *, channels: int, pretrained: bool) -> Recipe:
        """The recipe with every ``None`` and ``auto`` that depends on the pictures and the network settled."""
        loss = losses.TABLE[self.loss or losses.USUAL]
        changes: dict[str, Any] = {"loss": self.loss or losses.USUAL}
        if self.bias_rate is None:
            changes["bias_rate"] = 1.0
        if self.weight_decay is None:
            changes["weight_decay"] = 5e-4
        if self.margin is None:
            changes["margin"] = loss.margin
        if self.temperature is None:
            changes["temperature"] = loss.temperature
        if self.augment == "auto":
            # a mirrored digit or letter is another one, a mirrored photograph is not
            changes["augment"] = "flip,shift" if channels == 3 else "shift"
        if self.lr is None:
            # AdamW takes no notice of a gradient's scale
            times = loss.rate if self.optimizer == "sgd" else 1.0
            changes["lr"] = float(f"{times * _RATES[self.optimizer][pretrained]:.2g}")
        return self.replace(**changes)

    def rate(self, step: float, steps: int) -> float:
        """The learning rate at one step of so many, counted from 0, or at a place between two."""
        peak = self.lr or 0.0
        if self.schedule == "constant":
            return peak
        rising = self.warmup * steps
        if step < rising:
            return peak * (0.1 + 0.9 * step / rising)
        if self.schedule == "cosine":
            return peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / (steps - rising)))
        return peak * (steps - step) / (steps - rising)


def as_in_recipe(name: str, **changes: Any) -> Any:
    """A field of another recipe that is one of :class:`Recipe`'s, unless its default changes."""
    known = {f.name: f for f in fields(Recipe)}[name]
    return field(default=changes.get("default", known.default), metadata=known.metadata)


def epochs_for(recipe: Recipe, batches: int) -> int:
    """How many epochs of so many batches a recipe asks for, before any limit on the minutes."""
    return recipe.epochs or max(8, min(400, math.ceil(1440 / batches)))


CHOICES: dict[str, tuple[str, ...]] = {
    "loss": losses.NAMES,
    "mining": losses.MINING,
    "space": ("unit", "raw"),
    "sampler": sampling.NAMES,
    "optimizer": ("sgd", "adamw"),
    "schedule": ("triangle", "cosine", "constant"),
    "precision": ("auto", "float32", "bfloat16", "float16"),
    "device": ("auto", "cpu", "cuda"),
}
_RATES = {"sgd": (0.07, 0.01), "adamw": (0.001, 0.00005)}
"""The peak learning rate from scratch, and from pretrained weights."""

Preset = Literal["default", "seed"]
PRESETS: dict[Preset, Recipe] = {
    "default": Recipe(),
    # the original article's program, number for number
    "seed": Recipe(
        net="seed",
        dim=1024,
        loss="triplet",
        margin=1.0,
        mining="given",
        sampler="random-triplets",
        augment="none",
        lr=0.01,
        schedule="constant",
        momentum=0.0,
        weight_decay=0.0,
        precision="float32",
    ),
}
