"""Embedding networks, one architecture a file.

A network maps pictures, float32 (n, c, h, w) and already normalised, to embeddings (n, dim) that are *not* yet of unit
length: the losses and the encoder normalise. Each has ``dim`` and ``preprocessing``, which says what its input is.
"""

from __future__ import annotations

import inspect
from typing import Any, Protocol, cast

from torch import Tensor, nn

from retrieval.errors import RetrievalError
from retrieval.images import Preprocessing

SIZED = ("convnet", "divide-and-encode", "seed", "vgg16")
"""Those that begin with random weights, and take any ``channels`` and ``size``."""

STAGED = ("convnet", "divide-and-encode", "vgg16")
"""Those whose stages take any ``widths``."""

FROM_SCRATCH = (*SIZED, "portrait")
"""Those that begin with random weights."""

NAMES = (*FROM_SCRATCH, "efficientnet_lite0")
"""What ``--net`` takes, besides ``hf:NAME_OR_FOLDER``."""


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
    architecture: type[nn.Module]
    if name == "convnet":
        from retrieval.networks import convnet

        architecture = convnet.ConvNet
    elif name == "divide-and-encode":
        from retrieval.networks import divide_and_encode

        architecture = divide_and_encode.DivideAndEncode
    elif name == "portrait":
        from retrieval.networks import portrait

        architecture = portrait.Portrait
    elif name == "seed":
        from retrieval.networks import seed

        architecture = seed.SeedNetwork
    elif name == "vgg16":
        from retrieval.networks import vgg16

        architecture = vgg16.VGG16
    elif name == "efficientnet_lite0":
        from retrieval.networks import efficientnet_lite0

        architecture = efficientnet_lite0.EfficientNetLite0
    elif name.startswith("hf:"):
        from retrieval.networks.backbone import Backbone

        return cast(nn.Module, Backbone(name.removeprefix("hf:"), **options))
    else:
        raise RetrievalError(f"There is no network {name!r}; choose one of {', '.join(NAMES)} or hf:NAME.")
    try:
        return architecture(**options)
    except TypeError as error:
        raise RetrievalError(f"The network {name!r} does not take these options: {error}.") from None


def settled(network: nn.Module, options: dict[str, Any]) -> dict[str, Any]:
    """The options that make a network again whatever the defaults will be by then: those that were given, and the
    defaults of the others."""
    parameters = inspect.signature(type(network)).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    return {**{name: list(v) if isinstance(v, tuple) else v for name, v in defaults.items()}, **options}
