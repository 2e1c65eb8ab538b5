"""A training's state on disk: one safetensors file, whole or absent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import SGD

from retrieval.errors import RetrievalError
from retrieval.files import write_durably
from retrieval.training.monitoring import Reading

FORMAT = 1


def write(path: Path, step: int, modules: nn.Module, optimizer: SGD, about: dict[str, Any]) -> None:
    """Write everything that the next step depends on.

    Args:
        step: how many steps are done.
        modules: network and loss in one.
        about: what the run is (JSON-able); :func:`read` hands it back.
    """
    tensors = {f"module.{name}": tensor.contiguous() for name, tensor in modules.state_dict().items()}
    for i, parameter in enumerate(_parameters(optimizer)):
        momentum = optimizer.state[parameter].get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum.{i}"] = momentum.contiguous()
    metadata = {"format": str(FORMAT), "step": str(step), "about": json.dumps(about)}
    write_durably(path, save(tensors, metadata))


def read(path: Path) -> tuple[int, dict[str, Any], dict[str, Tensor]]:
    """What :func:`write` wrote: steps done, what the run is, and the tensors for :func:`restore`.

    Raises:
        RetrievalError: the file is damaged, or from a newer version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if int(metadata["format"]) > FORMAT:
                raise RetrievalError(f"{path} was written by a newer version of retrieval; update, or train anew.")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            return int(metadata["step"]), json.loads(metadata["about"]), tensors
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise RetrievalError(f"{path} is no checkpoint of a training ({error}); remove it and train anew.") from error


def restore(tensors: dict[str, Tensor], modules: nn.Module, optimizer: SGD) -> None:
    """Put the tensors of :func:`read` back.

    Raises:
        RetrievalError: they belong to another network.
    """
    state = {name.removeprefix("module."): t for name, t in tensors.items() if name.startswith("module.")}
    try:
        modules.load_state_dict(state)
    except RuntimeError:
        raise RetrievalError(
            "The checkpoint belongs to another network; train with the recipe it was made with, or anew."
        ) from None
    for i, parameter in enumerate(_parameters(optimizer)):
        momentum = tensors.get(f"momentum.{i}")
        if momentum is not None:
            optimizer.state[parameter]["momentum_buffer"] = momentum.to(parameter.device)


def pack_history(history: list[Reading]) -> list[list[float]]:
    """The readings as plain numbers, for ``about``."""
    return [list(vars(reading).values()) for reading in history]


def unpack_history(rows: list[list[float]]) -> list[Reading]:
    return [Reading(int(row[0]), int(row[1]), *row[2:]) for row in rows]


def _parameters(optimizer: SGD) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
