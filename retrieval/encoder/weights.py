"""A network's weights: their fingerprint, and their way to disk and back (safetensors, never pickle)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import nn

from retrieval import networks
from retrieval.encoder import store
from retrieval.errors import RetrievalError

_WITHOUT_WEIGHTS = {"efficientnet_lite0": {"pretrained": False}}
"""Options with which an architecture is made when its weights come from a file anyway."""


def digest(network: nn.Module) -> str:
    """SHA-256 over the names, types, shapes and values of all weights, whatever file format they came in."""
    sha256 = hashlib.sha256()
    for name, weight in sorted(network.state_dict().items()):
        sha256.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        sha256.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return sha256.hexdigest()


def write(network: nn.Module, folder: Path) -> None:
    """Write the weights into an encoder's folder, a transformers model's in that library's own format."""
    from safetensors.torch import save

    from retrieval.networks.backbone import Backbone

    state = network.state_dict()
    if isinstance(network, Backbone):
        network.save(folder / store.BACKBONE)
        state = {name: weight for name, weight in state.items() if name.startswith("embedding.")}
    if state:
        plain = {name: weight.detach().cpu().contiguous() for name, weight in state.items()}
        (folder / store.WEIGHTS).write_bytes(save(plain))


def restore(saved: store.Saved) -> nn.Module:
    """The network of a saved encoder, on the CPU, ready to encode.

    Raises:
        RetrievalError: its files are not the ones that were saved, or do not fit its configuration.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    config = saved.config
    pretrained = config.network.startswith("hf:")
    name = f"hf:{saved.backbone()}" if pretrained else config.network
    options = {**config.options, **_WITHOUT_WEIGHTS.get(config.network, {})}
    with torch.random.fork_rng(devices=[]):  # making a network draws random weights; nobody else's may change
        network = networks.create(name, **options)
    if not pretrained or store.WEIGHTS in saved.files:
        content = saved.read(store.WEIGHTS)
        try:
            missing, unexpected = network.load_state_dict(load(content), strict=False)
        except (SafetensorError, RuntimeError, ValueError) as error:
            raise _unfit(saved, str(error).strip().splitlines()[-1].strip()) from None
        expected = {name for name in network.state_dict() if not pretrained or name.startswith("embedding.")}
        if unexpected or expected.intersection(missing):
            raise _unfit(saved, f"{len(missing)} weights missing, {len(unexpected)} unknown")
    return network.eval().requires_grad_(False)


def _unfit(saved: store.Saved, why: str) -> RetrievalError:
    return RetrievalError(
        f"The weights in {str(saved.folder / store.WEIGHTS)!r} do not fit the network "
        f"{saved.config.network!r} ({why.rstrip('.')}); train it anew, or use the version of this program "
        "that wrote them."
    )
