"""What a run's folder holds already: nothing, an unfinished training, a finished one, or something else."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from torch import Tensor

from retrieval.errors import RetrievalError
from retrieval.training import board, checkpoints

CHECKPOINT = "checkpoint.safetensors"
PAIR_CHECKPOINT = "pair-checkpoint.safetensors"
"""Of a pair network (:mod:`retrieval.pairs.training`)."""

RESULTS = {"encoder": CHECKPOINT, "pair": PAIR_CHECKPOINT}
"""What a training leaves behind, and the checkpoint that stands beside it until it is finished."""


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


AnyRecipe = TypeVar("AnyRecipe", bound=_Dataclass)


@dataclass(frozen=True)
class Saved:
    """A checkpoint: steps done, what the run is, and the state of the engine."""

    step: int
    about: dict[str, Any]
    tensors: dict[str, Tensor]


def finished(out: str | Path) -> bool:
    """Whether a folder holds a training that was carried to its end."""
    return any(
        (Path(out) / result / "config.json").is_file() and not (Path(out) / checkpoint).exists()
        for result, checkpoint in RESULTS.items()
    )


def open_run(out: Path, resume: bool, result: str = "encoder") -> Saved | None:
    """The checkpoint to go on from, or None where a training can begin.

    Args:
        out: the run's folder.
        resume: whether to go on from a checkpoint.
        result: what the training leaves behind, one of :data:`RESULTS`.

    Raises:
        RetrievalError: the folder holds something that must not be overwritten.
    """
    checkpoint = out / RESULTS[result]
    if resume and checkpoint.is_file():
        return Saved(*checkpoints.read(checkpoint))
    if checkpoint.is_file():
        raise RetrievalError(
            f"{out} holds an unfinished training; add --resume to go on with it, or choose another --out."
        )
    if any((out / name).exists() for name in RESULTS):
        raise RetrievalError(f"{out} holds a finished training; choose another --out, or remove it first.")
    # logs alone are what a training leaves that was cut off before its first checkpoint
    if out.exists() and (not out.is_dir() or any(path.name != board.FOLDER for path in out.iterdir())):
        raise RetrievalError(f"{out} exists and is no training of ours; choose another --out.")
    return None


def same_recipe(out: Path, asked: AnyRecipe | None, began: AnyRecipe) -> AnyRecipe:
    """What a checkpoint began with, which nobody may change on the way."""
    before, now = dataclasses.asdict(began), dataclasses.asdict(asked or began)
    for name, value in before.items():
        if now[name] != value:
            raise RetrievalError(
                f"The training in {out} began with {name} {value}, not {now[name]}; "
                "leave the choices out to go on with it, or train anew with another --out."
            )
    return began
