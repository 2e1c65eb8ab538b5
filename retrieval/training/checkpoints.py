"""A training's state on disk: one safetensors file, whole or absent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from retrieval.errors import RetrievalError
from retrieval.files import write_durably
from retrieval.training.monitoring import Reading

FORMAT = 2


def write(path: Path, step: int, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write everything that the next step depends on.

    Args:
        step: how many steps are done.
        tensors: the state of the engine (:meth:`retrieval.training.engine.Engine.state`).
        about: what the run is (JSON-able); :func:`read` hands it back.
    """
    metadata = {"format": str(FORMAT), "step": str(step), "about": json.dumps(about)}
    write_durably(path, save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata))


def read(path: Path) -> tuple[int, dict[str, Any], dict[str, Tensor]]:
    """What :func:`write` wrote: steps done, what the run is, and the engine's state.

    Raises:
        RetrievalError: the file is damaged, or from a newer version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if int(metadata["format"]) > FORMAT:
                raise RetrievalError(f"{path} was written by a newer version of retrieval; update, or train anew.")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            if int(metadata["format"]) == 1:
                tensors = {_renamed(name): tensor for name, tensor in tensors.items()}
            return int(metadata["step"]), json.loads(metadata["about"]), tensors
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise RetrievalError(f"{path} is no checkpoint of a training ({error}); remove it and train anew.") from error


def pack_history(history: list[Reading]) -> list[list[float]]:
    """The readings as plain numbers, for ``about``."""
    return [list(vars(reading).values()) for reading in history]


def unpack_history(rows: list[list[float]]) -> list[Reading]:
    return [Reading(int(row[0]), int(row[1]), *row[2:]) for row in rows]


def _renamed(name: str) -> str:
    """Format 1 knew one optimizer only."""
    kind, _, number = name.partition(".")
    return f"optimizer.{number}.momentum_buffer" if kind == "momentum" else name
