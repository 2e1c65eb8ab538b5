"""From the choices of a recipe to the network and the optimizer."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from retrieval import networks
from retrieval.datasets import PictureSet
from retrieval.errors import RetrievalError
from retrieval.networks import pairs
from retrieval.training.pair_recipe import PATCHES, PairRecipe
from retrieval.training.recipe import Recipe


def build_network(
    recipe: Recipe, pictures: PictureSet, options: dict[str, Any] | None = None
) -> tuple[Any, dict[str, Any]]:
    """The network, and the options that make it again whatever the defaults will be by then.

    Args:
        options: those that are known already; if None, they come from the recipe and the pictures.
    """
    # one that does not exist is refused below
    exists = recipe.net in networks.NAMES or recipe.net.startswith("hf:")
    if exists and recipe.size is not None and not networks.takes(recipe.net, "size"):
        raise RetrievalError(f"--size does not go with --net {recipe.net}, whose input has a size of its own.")
    if exists and recipe.widths is not None and not networks.takes(recipe.net, "widths"):
        raise RetrievalError(f"--widths does not go with --net {recipe.net}, whose filters are given.")
    if options is not None:
        return networks.create(recipe.net, **options), options
    options = chosen(recipe)
    if networks.takes(recipe.net, "size"):
        options |= _input(recipe, pictures)
    network: Any = networks.create(recipe.net, **options)
    return network, options if networks.pretrained(recipe.net) else networks.settled(network, options)


def build_pair_network(recipe: PairRecipe, pictures: PictureSet) -> tuple[Any, dict[str, Any]]:
    """The pair network, and the options that make it again whatever the defaults will be by then."""
    options = chosen(recipe)
    if recipe.net != "comparison":
        options |= _input(recipe, pictures, least=PATCHES) | {"size": recipe.size or PATCHES}
        network: Any = pairs.create(recipe.net, **options)
        return network, networks.settled(network, options)
    sized = networks.takes(recipe.trunk, "size")
    if recipe.trunk in networks.NAMES and not sized and (recipe.size is not None or recipe.widths is not None):
        raise RetrievalError(f"--size and --widths do not go with --trunk {recipe.trunk}, which has its own.")
    if sized:
        options |= _input(recipe, pictures, least=32)
    network = pairs.create("comparison", trunk=recipe.trunk, **options)
    return network, {"trunk": recipe.trunk, **(networks.settled(network.trunk, options) if sized else options)}


def chosen(recipe: Recipe | PairRecipe) -> dict[str, Any]:
    """The options of a network that a recipe says something about, but for its input."""
    options: dict[str, Any] = {}
    if recipe.dim is not None:
        options["dim"] = recipe.dim
    if recipe.widths is not None:
        options["widths"] = [int(width) for width in recipe.widths.split(",")]
    return options


def _input(recipe: Recipe | PairRecipe, pictures: PictureSet, least: int = 16) -> dict[str, Any]:
    """What the network sees: grey where all pictures are, and no more pixels than they have."""
    grey = pictures.pixels is not None and pictures.pixels.shape[3] == 1
    return {"channels": 1 if grey else 3, "size": recipe.size or usual_side(pictures, least)}


def usual_side(pictures: PictureSet, least: int = 16) -> int:
    """Of the input, where nobody asks for another: that of the pictures, within limits."""
    side = max(pictures.pixels.shape[1:3]) if pictures.pixels is not None else 64
    return min(max(side, least), 128)


def build_optimizer(recipe: Recipe, modules: nn.Module) -> Optimizer:
    """What moves everything that is learned; matrices and filters decay, biases and normalisation do not.

    A group's ``times`` is what the learning rate is to be multiplied by for it.
    """
    learned = [p for p in modules.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in learned if p.ndim > 1], "weight_decay": recipe.weight_decay, "times": 1.0},
        {"params": [p for p in learned if p.ndim <= 1], "weight_decay": 0.0, "times": recipe.bias_rate},
    ]
    if recipe.optimizer == "adamw":
        return AdamW(groups, lr=1.0, betas=(recipe.momentum, 0.999))
    return SGD(groups, lr=1.0, momentum=recipe.momentum, nesterov=recipe.momentum > 0)
