"""From the choices of a recipe to the network and the optimizer."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from retrieval import networks
from retrieval.datasets import PictureSet
from retrieval.errors import RetrievalError
from retrieval.training.recipe import Recipe


def build_network(
    recipe: Recipe, pictures: PictureSet, options: dict[str, Any] | None = None
) -> tuple[Any, dict[str, Any]]:
    """The network, and the options that make it again whatever the defaults will be by then.

    Args:
        options: those that are known already; if None, they come from the recipe and the pictures.
    """
    if recipe.size is not None and recipe.net not in networks.SIZED:
        raise RetrievalError(f"--size does not go with --net {recipe.net}, whose input has a size of its own.")
    if recipe.widths is not None and recipe.net not in networks.STAGED:
        raise RetrievalError(f"--widths does not go with --net {recipe.net}, whose filters are given.")
    if options is not None:
        return networks.create(recipe.net, **options), options
    options = {} if recipe.dim is None else {"dim": recipe.dim}
    if recipe.net in networks.SIZED:
        grey = pictures.pixels is not None and pictures.pixels.shape[3] == 1
        side = max(pictures.pixels.shape[1:3]) if pictures.pixels is not None else 64
        options |= {"channels": 1 if grey else 3, "size": recipe.size or min(max(side, 16), 128)}
        if recipe.widths is not None:
            options["widths"] = [int(width) for width in recipe.widths.split(",")]
    network: Any = networks.create(recipe.net, **options)
    return network, networks.settled(network, options) if recipe.net in networks.FROM_SCRATCH else options


def build_optimizer(recipe: Recipe, modules: nn.Module) -> Optimizer:
    """What moves everything that is learned; matrices and filters decay, biases and normalisation do not.

    A group's ``times`` is what the learning rate is to be multiplied by for it.
    """
    learned = [p for p in modules.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learned if p.ndim > 1], "weight_decay": recipe.weight_decay, "times": 1.0},
        {"params": [p for p in learned if p.ndim <= 1], "weight_decay": 0.0, "times": recipe.bias_rate},
    ]
    if recipe.optimizer == "adamw":
        return AdamW(groups, lr=1.0, betas=(recipe.momentum, 0.999))
    return SGD(groups, lr=1.0, momentum=recipe.momentum, nesterov=recipe.momentum > 0)
