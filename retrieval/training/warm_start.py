"""Going on from a trained encoder: its weights wherever names and shapes agree, the rest of the network new."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from retrieval.encoder import store, weights
from retrieval.errors import RetrievalError
from retrieval.training.build_network import chosen
from retrieval.training.recipe import Recipe

TRUNKS = {"divide-and-encode": "convnet"}
"""Networks that are another one but for the last layer."""


@dataclass(frozen=True)
class Initial:
    """A trained encoder to begin with.

    Attributes:
        name: where it was found, as the user gave it.
        saved: its folder, read and checked.
        network: the network with its weights, on the CPU.
    """

    name: str
    saved: store.Saved
    network: nn.Module

    @classmethod
    def open(cls, name: str) -> Initial:
        """Read a run's or an encoder's folder.

        Raises:
            RetrievalError: there is no encoder, or its files are not the ones that were saved.
        """
        folder = Path(name)
        inner = folder / "encoder"
        saved = store.Saved.open(inner if (inner / store.CONFIG).is_file() else folder)
        return cls(name, saved, weights.restore(saved))

    def options(self, recipe: Recipe) -> dict[str, Any]:
        """What the new network is made with: what the old one was, but for what the recipe says otherwise.

        The length of the embedding is the old one's only where the architecture is the same.

        Raises:
            RetrievalError: the recipe asks for another architecture.
        """
        config = self.saved.config
        if _trunk(recipe.net) != _trunk(config.network):
            raise RetrievalError(
                f"--init {self.name} holds the network {config.network}, whose weights do not fit --net {recipe.net}; "
                f"add --net {config.network}, or choose another run."
            )
        options = dict(config.options)
        if recipe.net != config.network:
            options.pop("dim", None)
        if recipe.size is not None:
            options["size"] = recipe.size
        return options | chosen(recipe)

    @torch.no_grad()
    def hand_over(self, network: Any) -> str:
        """Copy every weight whose name and shape the new network has, too, and take over the preprocessing.

        Args:
            network: made with :meth:`options`; its preprocessing keeps its size.

        Returns:
            A line that says what it began with and which layers are new.

        Raises:
            RetrievalError: the new network shares no layer that is learned.
        """
        old, new = self.network.state_dict(), network.state_dict()
        shared = {name for name, weight in new.items() if name in old and old[name].shape == weight.shape}
        learned = {name for name, weight in network.named_parameters() if weight.requires_grad and weight.ndim > 1}
        if not shared & learned:
            raise RetrievalError(
                f"--init {self.name} shares no layer with the new network: their shapes differ everywhere; "
                "leave out --widths, or choose another run."
            )
        for name in shared:
            new[name].copy_(old[name])
        size = network.preprocessing.size
        network.preprocessing = dataclasses.replace(self.saved.config.preprocessing, size=size)
        others = sorted(layers(set(new), shared))
        return (
            f"Began with the weights of {self.name} ({self.saved.config.network}, encoder "
            f"{self.saved.config.hash(self.saved.weights)[:12]}); new layers: {', '.join(others) or 'none'}"
        )


def layers(names: set[str], shared: set[str]) -> set[str]:
    """The layers of which nothing is shared, each by the shortest name that holds nothing else.

    Args:
        names: those of all weights, as ``embedding.features.0.weight``.
        shared: those of some.
    """
    found = set()
    for name in names - shared:
        parts = name.split(".")
        beginnings = (".".join(parts[:count]) for count in range(1, len(parts) + 1))
        found.add(next(start for start in beginnings if not any(f"{s}.".startswith(f"{start}.") for s in shared)))
    return found


def _trunk(network: str) -> str:
    return "hf:" if network.startswith("hf:") else TRUNKS.get(network, network)
