"""The rows of the family's table: what they hold, and how they are kept."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from retrieval.base.files import write_durably
from retrieval.cli.train import print_warning
from retrieval.datasets import PictureSet
from retrieval.encoder import Encoder
from retrieval.errors import RetrievalError
from retrieval.measures.intervals import Interval
from retrieval.training.loop import train
from retrieval.training.recipe import Recipe
from retrieval.training.run_folder import finished

Size = Literal["small", "medium", "full"]
"""What continuous integration runs, what docs/family.md shows, and the published sizes."""


@dataclass(frozen=True)
class Row:
    """One system's figures.

    Attributes:
        system, data, published: in words.
        ours: measure → value and the ends of its 95 % interval, shares from 0 to 1; one number where there is none.
        seconds: of training and testing.
        command: what repeats it.
    """

    system: str
    data: str
    published: str
    ours: dict[str, list[float]]
    seconds: float
    command: str


Measure = Callable[[Path, Path, Size], Row]
"""Measures a system: with the folder of the data, and a folder that it may leave its trainings in."""


class MissingDataError(RetrievalError):
    """Data that a system needs is not there, so that its row is left out."""


class Run(NamedTuple):
    """A trained encoder, the seconds that its training took, and its folder."""

    encoder: Encoder
    seconds: float
    folder: Path


def need(data: Path, name: str) -> Path:
    """A file or folder of the data.

    Raises:
        MissingDataError: it is not there.
    """
    path = data / name
    if not path.exists():
        raise MissingDataError(f"{path} is missing.")
    return path


def trained(pictures: PictureSet, run: Path, recipe: Recipe) -> Run:
    """An encoder trained on the pictures, or the one that an earlier call with the same folder left there."""
    if not finished(run):
        train(pictures, run, recipe, resume=True, warn=print_warning)
    return Run(Encoder.load(run), seconds_of(run), run)


def seconds_of(run: Path) -> float:
    """What a finished training took, of an encoder or a pair network."""
    with (run / "curves.csv").open(newline="") as file:
        *_, last = csv.DictReader(file)
    return float(last["seconds"])


def values(interval: Interval) -> list[float]:
    """An interval as a row holds it."""
    known = [interval.value, interval.low, interval.high]
    return known[:1] if math.isnan(interval.low) else known


def command(name: str, size: Size) -> str:
    """What measures a row again."""
    return f"python benchmarks/family.py DATA --only {name}" + ("" if size == "medium" else f" --size {size}")


def keep(row: Row, path: Path) -> None:
    """Write a row down."""
    write_durably(path, (json.dumps(asdict(row), indent=2) + "\n").encode())


def kept(path: Path) -> Row:
    """What :func:`keep` wrote.

    Raises:
        RetrievalError: the file holds something else.
    """
    try:
        return Row(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise RetrievalError(f"{path} holds no row ({error}); remove it, and it is measured anew.") from None
