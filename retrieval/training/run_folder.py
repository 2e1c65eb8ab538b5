"""A run's folder: what it holds already, and a training's state in it, whole or absent."""

from __future__ import annotations

import dataclasses
import errno
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from retrieval.base.files import write_durably
from retrieval.errors import RetrievalError
from retrieval.training import history, plan

CHECKPOINT = "checkpoint.safetensors"
PAIR_CHECKPOINT = "pair-checkpoint.safetensors"
"""Of a pair network (:mod:`retrieval.training.pairs.pair_loop`)."""

RESULTS = {"encoder": CHECKPOINT, "pair": PAIR_CHECKPOINT}
"""What a training leaves behind, and the checkpoint that stands beside it until it is finished."""

_BEFORE = (history.FOLDER, plan.FILE)

FORMAT = 2

_GAVE_UP = "gave up"
"""What a checkpoint is marked with from which nobody can go on."""


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


AnyRecipe = TypeVar("AnyRecipe", bound=_Dataclass)


@dataclass(frozen=True)
class Saved:
    """A checkpoint: where it is, steps done, what the run is, and the state of the engine."""

    path: Path
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
        RetrievalError: the folder holds something that must not be overwritten, or cannot be written.
    """
    _require_writable(out)
    checkpoint = out / RESULTS[result]
    if checkpoint.is_file():
        saved = Saved(checkpoint, *read(checkpoint))
        gave_up = saved.about.get(_GAVE_UP)
        if gave_up is not None and not resume:
            return None  # nobody can go on with it, so that another takes its place
        if gave_up is not None:
            raise RetrievalError(f"The training in {out} cannot go on, since it would end as it did: {gave_up}")
        if resume:
            return saved
        raise RetrievalError(
            f"{out} holds an unfinished training; add --resume to go on with it, or choose another --out."
        )
    if any((out / name).exists() for name in RESULTS):
        raise RetrievalError(f"{out} holds a finished training; choose another --out, or remove it first.")
    # logs and decisions alone are what a training leaves that was cut off before its first checkpoint
    if out.exists() and (not out.is_dir() or any(path.name not in _BEFORE for path in out.iterdir())):
        raise RetrievalError(f"{out} exists and is no training of ours; choose another --out.")
    return None


def _require_writable(out: Path) -> None:
    """See now, and not after an hour's training, that a run can be written."""
    try:
        out.exists()  # its name may be none
        there = out
        while not there.exists() and there != there.parent:
            there = there.parent
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{str(there)!r} is no folder")
        with tempfile.TemporaryFile(dir=there):
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RetrievalError(f"No run can be written to {str(out)!r} ({reason}); choose another --out.") from error


def give_up(checkpoint: Path, why: str) -> None:
    """Note in a checkpoint, if there is one, that going on from it leads nowhere.

    Args:
        checkpoint: it. why: a sentence for whoever tries, with what to do.
    """
    if checkpoint.is_file():
        step, about, tensors = read(checkpoint)
        write(checkpoint, step, tensors, {**about, _GAVE_UP: why})


def same_recipe(saved: Saved, asked: AnyRecipe | None, kind: type[AnyRecipe]) -> AnyRecipe:
    """What a checkpoint began with, which nobody may change on the way.

    Raises:
        RetrievalError: another recipe is asked for, or the checkpoint has none of this kind.
    """
    try:
        began = kind(**saved.about["asked"])
    except (TypeError, KeyError) as error:
        raise no_checkpoint(saved.path, error) from None
    before, now = dataclasses.asdict(began), dataclasses.asdict(asked or began)
    for name, value in before.items():
        if now[name] != value:
            raise RetrievalError(
                f"The training in {saved.path.parent} began with {name} {value}, not {now[name]}; "
                "leave the choices out to go on with it, or train anew with another --out."
            )
    return began


def no_checkpoint(path: Path, error: Exception) -> RetrievalError:
    """What is wrong with a file that should be one."""
    return RetrievalError(
        f"{path} is no checkpoint of a training ({type(error).__name__}: {error}); remove it and train anew."
    )


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
        raise no_checkpoint(path, error) from error


def _renamed(name: str) -> str:
    """Format 1 knew one optimizer only."""
    kind, _, number = name.partition(".")
    return f"optimizer.{number}.momentum_buffer" if kind == "momentum" else name
