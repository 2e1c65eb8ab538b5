"""Embedding networks, one architecture a file.

A network maps pictures, float32 (n, c, h, w) and already normalised, to embeddings (n, dim) that are *not* yet of unit
length: the losses and the encoder normalise. Each has ``dim`` and ``preprocessing``, which says what its input is.

A new network is a new file and a line in :data:`TABLE`. What it takes on the command line follows from the arguments of
its class: ``--size`` goes with ``size``, ``--widths`` with ``widths``, and one with ``pretrained`` begins with weights
from elsewhere. It is imported when it is asked for, here and in :mod:`retrieval.networks.pairs`, so that names are
known without waiting for torch.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from retrieval.errors import RetrievalError
from retrieval.images import Preprocessing

if TYPE_CHECKING:
    from torch import Tensor, nn

TABLE = {
    "convnet": "retrieval.networks.convnet.ConvNet",
    "divide-and-encode": "retrieval.networks.divide_and_encode.DivideAndEncode",
    "seed": "retrieval.networks.seed.SeedNetwork",
    "vgg16": "retrieval.networks.vgg16.VGG16",
    "portrait": "retrieval.networks.portrait.Portrait",
    "efficientnet_lite0": "retrieval.networks.efficientnet_lite.EfficientNetLite0",
    "efficientnet_lite1": "retrieval.networks.efficientnet_lite.EfficientNetLite1",
}
"""Name → class."""

NAMES = tuple(TABLE)
"""What ``--net`` takes, besides ``hf:NAME_OR_FOLDER`` and :data:`HEAD`."""

HEAD = "head"
"""A layer over the vectors of another encoder (:mod:`retrieval.networks.head`), trained in a way of its own."""


class EmbeddingNetwork(Protocol):
    """What the training and the encoder ask of a network, besides being an ``nn.Module``."""

    dim: int
    preprocessing: Preprocessing

    def __call__(self, x: Tensor) -> Tensor: ...


def create(name: str, **options: Any) -> nn.Module:
    """A new network by its name.

    Args:
        name: one of :data:`NAMES`, or ``hf:`` and a transformers model's name or folder.
        options: the architecture's own keyword arguments, for example ``dim``.

    Raises:
        RetrievalError: no such network, or options that it does not take.
    """
    if name.startswith("hf:"):
        options["source"] = name.removeprefix("hf:")
    elif not known(name):
        raise RetrievalError(f"There is no network {name!r}; choose one of {', '.join(NAMES)} or hf:NAME.")
    return made(architecture(name), f"network {name!r}", options)


def known(name: str) -> bool:
    """Whether a network of this name can be made again."""
    return name in (*TABLE, HEAD) or name.startswith("hf:")


def architecture(name: str, table: Mapping[str, str] = TABLE) -> Any:
    """The class of a network."""
    elsewhere = {HEAD: "retrieval.networks.head.Head"}
    place = "retrieval.networks.backbone.Backbone" if name.startswith("hf:") else {**table, **elsewhere}[name]
    module, _, own = place.rpartition(".")
    return getattr(importlib.import_module(module), own)


def made(architecture: Any, what: str, options: dict[str, Any]) -> nn.Module:
    """A new network of a class.

    Args:
        what: it is, for messages.

    Raises:
        RetrievalError: it does not take these options.
    """
    try:
        network: nn.Module = architecture(**options)
        return network
    except TypeError as error:
        raise RetrievalError(f"The {what} does not take these options: {error}.") from None


def takes(name: str, option: str) -> bool:
    """Whether a network has such an option; one that does not exist has none."""
    makes = name in TABLE or name.startswith("hf:")
    return makes and option in inspect.signature(architecture(name)).parameters


def pretrained(name: str) -> bool:
    """Whether a network begins with weights that were trained elsewhere."""
    return name.startswith("hf:") or takes(name, "pretrained")


def settled(network: nn.Module, options: dict[str, Any]) -> dict[str, Any]:
    """The options that make a network again whatever the defaults will be by then: those that were given, and the
    defaults of the others."""
    parameters = inspect.signature(type(network)).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    return {**{name: list(v) if isinstance(v, tuple) else v for name, v in defaults.items()}, **options}
