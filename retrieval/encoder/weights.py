"""A network's weights: their fingerprint, and their way to disk and back (safetensors, never pickle)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

from retrieval import networks
from retrieval.encoder import store
from retrieval.encoder.graph_model import no_network
from retrieval.errors import RetrievalError
from retrieval.networks.unfilled import fill, misfits, unfilled

_FOREIGN = ("model.", "base.model.")
"""How the names of a transformers model's own weights begin."""


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
    backbone = getattr(network, "base", network)
    if isinstance(backbone, Backbone):
        backbone.save(folder / store.BACKBONE)
        state = {name: weight for name, weight in state.items() if not name.startswith(_FOREIGN)}
    if state:
        plain = {name: weight.detach().cpu().contiguous() for name, weight in state.items()}
        (folder / store.WEIGHTS).write_bytes(save(plain))


def restore(saved: store.Saved) -> nn.Module:
    """The network of a saved encoder, on the CPU, ready to encode.

    Of a network of ours nothing is allocated by what the configuration says (:mod:`retrieval.networks.unfilled`).

    Raises:
        RetrievalError: its files are not the ones that were saved, or do not fit its configuration.
    """
    config = saved.config
    if config.graph_only:
        raise no_network(config.network)
    if config.transformers:
        return _pretrained(saved)
    options = dict(config.options)
    if networks.pretrained(config.network):
        options["pretrained"] = False  # its weights come from the file
    weights = _read(saved)
    try:
        network = unfilled(lambda: networks.create(config.network, **options))
    except (RetrievalError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise _unfit(saved, _first_line(error)) from None
    wrong = misfits(network, weights)
    if wrong:
        raise _unfit(saved, wrong)
    return fill(network, weights)


def _pretrained(saved: store.Saved) -> nn.Module:
    """A transformers model with its own files; ours has the weights of the layers after it, where there are any."""
    config, here = saved.config, f"hf:{saved.backbone()}"
    with torch.random.fork_rng(devices=[]):  # making those layers draws random weights; nobody else's may change
        if config.network.startswith("hf:"):
            network = networks.create(here, **config.options)
        else:
            network = networks.create(config.network, **{**config.options, "base": here})
    if store.WEIGHTS in saved.files:
        try:
            missing, unexpected = network.load_state_dict(_read(saved), strict=False)
        except RuntimeError as error:
            raise _unfit(saved, str(error).strip().splitlines()[-1].strip()) from None
        if unexpected or any(not name.startswith(_FOREIGN) for name in missing):
            raise _unfit(saved, f"{len(missing)} weights missing, {len(unexpected)} unknown")
    return network.eval().requires_grad_(False)


def _read(saved: store.Saved) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(saved.read(store.WEIGHTS))
    except (SafetensorError, ValueError) as error:
        raise _unfit(saved, _first_line(error)) from None


def _first_line(error: Exception) -> str:
    """What happened; torch's errors go on with a stack."""
    return str(error).strip().partition("\n")[0]


def _unfit(saved: store.Saved, why: str) -> RetrievalError:
    return RetrievalError(
        f"The weights in {str(saved.folder / store.WEIGHTS)!r} do not fit the network "
        f"{saved.config.network!r} ({why.rstrip('.')}); train it anew, or use the version of this program "
        "that wrote them."
    )
