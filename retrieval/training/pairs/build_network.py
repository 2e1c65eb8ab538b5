"""From the choices of a recipe to the network."""

from __future__ import annotations

from typing import Any

from retrieval import networks
from retrieval.datasets import PictureSet
from retrieval.errors import RetrievalError
from retrieval.networks import pairs
from retrieval.training.pair_recipe import PATCHES, PairRecipe


def build_network(recipe: PairRecipe, pictures: PictureSet) -> tuple[Any, dict[str, Any]]:
    """The network, and the options that make it again whatever the defaults will be by then."""
    grey = pictures.pixels is not None and pictures.pixels.shape[3] == 1
    options: dict[str, Any] = {"channels": 1 if grey else 3}
    if recipe.widths is not None:
        options["widths"] = [int(width) for width in recipe.widths.split(",")]
    if recipe.dim is not None:
        options["dim"] = recipe.dim
    if recipe.net != "comparison":
        options["size"] = recipe.size or PATCHES
        network: Any = pairs.create(recipe.net, **options)
        return network, networks.settled(network, options)
    if recipe.trunk not in networks.SIZED:
        if recipe.trunk in networks.NAMES and (recipe.size is not None or recipe.widths is not None):
            raise RetrievalError(f"--size and --widths do not go with --trunk {recipe.trunk}, which has its own.")
        options = {name: value for name, value in options.items() if name == "dim"}
        network = pairs.create("comparison", trunk=recipe.trunk, **options)
        return network, {"trunk": recipe.trunk, **options}
    side = max(pictures.pixels.shape[1:3]) if pictures.pixels is not None else 64
    options["size"] = recipe.size or min(max(side, 32), 128)
    network = pairs.create("comparison", trunk=recipe.trunk, **options)
    return network, {"trunk": recipe.trunk, **networks.settled(network.trunk, options)}
