"""Lake's one-shot classification runs of Omniglot, as published in one archive (``all_runs.zip``).

Each run `runNN/` has one drawing of each of its classes in `training/`, the drawings to be told in `test/`, and in
`class_labels.txt` a line for each of these: its name, and that of the training drawing of its class. In the twenty
published runs both are 20, of one alphabet, drawn by other people (Lake, Salakhutdinov and Tenenbaum 2015,
https://github.com/brendenlake/omniglot).
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.base.text import printable
from retrieval.datasets.archives import opened_zip
from retrieval.datasets.memory import stack
from retrieval.datasets.picture_set import PictureSet, Progress
from retrieval.errors import RetrievalError
from retrieval.images import SUFFIXES

LABELS = "class_labels.txt"

MOST_RUNS = 1000
MOST_BYTES = 2**20
"""Runs, and bytes of one run's labels, above which an archive is no such archive."""

_LABELS = re.compile(r"((?:[^/]+/)*run\d+)/class_labels\.txt")


@dataclass(frozen=True)
class Runs:
    """The runs of an archive.

    Attributes:
        pictures: every drawing once, in memory, without labels; its name is that in the archive.
        names: of the runs, such as "run01".
        training: for each run int64 (ways,), places of its training drawings in `pictures`, in the order of their
            names.
        test: for each run int64 (q,), those of its test drawings.
        truth: for each run int64 (q,), which training drawing is of the same class, as a place in `training`.
    """

    pictures: PictureSet
    names: tuple[str, ...]
    training: tuple[NDArray[np.int64], ...]
    test: tuple[NDArray[np.int64], ...]
    truth: tuple[NDArray[np.int64], ...]


def recognises(path: Path) -> bool:
    """Whether a file is such an archive."""
    if path.suffix.lower() != ".zip" or not path.is_file():
        return False
    with opened_zip(path) as (names, _):
        return any(_LABELS.fullmatch(name) for name in names)


def unpacked(folder: Path) -> bool:
    """Whether a folder holds what such an archive does."""
    return any((place / "run01" / LABELS).is_file() for place in (folder, folder / "all_runs"))


def load(path: Path, progress: Progress | None = None) -> Runs:
    """Read the runs.

    Args:
        path: the archive; nothing of it is unpacked to disk.
        progress: called with the number of pictures read since the last call.

    Raises:
        RetrievalError: it is damaged, a line of labels does not name a drawing of each kind, a drawing has no line
            or several, or a drawing cannot be read.
    """
    with opened_zip(path) as (members, read):
        folders = [match[1] for match in map(_LABELS.fullmatch, members) if match is not None]
        if not 0 < len(folders) <= MOST_RUNS:
            raise RetrievalError(
                f"{printable(path)!r} holds {len(folders):,} runs with a {LABELS}; give Lake's all_runs.zip."
            )
        answers = {folder: _answers(read(f"{folder}/{LABELS}"), folder, path) for folder in folders}
        drawings = {folder: _drawings(members, folder, "training") for folder in folders}
        asked = {folder: _drawings(members, folder, "test") for folder in folders}
        for folder in folders:
            _check(answers[folder], drawings[folder], asked[folder], path)
        names = [name for folder in folders for name in (*drawings[folder], *asked[folder])]
        pixels, _, skipped = stack(
            names, lambda row: io.BytesIO(read(names[row])), "the runs' drawings have one size", progress
        )
    if skipped:
        raise RetrievalError(
            f"{printable(path)!r} has {len(skipped)} drawings that cannot be read, the first is "
            f"{printable(skipped[0].path)!r} ({skipped[0].reason}); get it once more."
        )
    pictures = PictureSet(
        name=path.stem,
        names=tuple(names),
        classes=(),
        labels=np.full(len(names), -1),
        splits=np.full(len(names), "test", "<U5"),
        pixels=pixels,
    )
    place = {name: row for row, name in enumerate(names)}
    return Runs(
        pictures,
        tuple(folder.rpartition("/")[2] for folder in folders),
        tuple(np.array([place[name] for name in drawings[folder]]) for folder in folders),
        tuple(np.array([place[name] for name in asked[folder]]) for folder in folders),
        tuple(
            np.array([drawings[folder].index(answers[folder][name]) for name in asked[folder]]) for folder in folders
        ),
    )


def _answers(content: bytes, folder: str, path: Path) -> dict[str, str]:
    """Test drawing → training drawing of its class, by their names in the archive."""
    above = folder.rpartition("/")[0]
    lines = content[: MOST_BYTES + 1].decode(errors="replace").split("\n")
    pairs = [line.split() for line in lines if line.strip()]
    wrong = next((pair for pair in pairs if len(pair) != 2), None)
    if wrong is not None or len(content) > MOST_BYTES:
        said = "is too long" if wrong is None else f"has the line {printable(' '.join(wrong))[:60]!r}"
        raise RetrievalError(
            f"{printable(folder)}/{LABELS} of {printable(path)!r} {said}; each line has a test and a training drawing."
        )
    if len({test for test, _ in pairs}) < len(pairs):
        raise RetrievalError(
            f"{printable(folder)}/{LABELS} of {printable(path)!r} names a test drawing twice; get it once more."
        )
    prefix = f"{above}/" if above else ""
    return {prefix + test: prefix + training for test, training in pairs}


def _drawings(members: list[str], folder: str, kind: str) -> list[str]:
    start = f"{folder}/{kind}/"
    return [name for name in members if name.startswith(start) and Path(name).suffix.lower() in SUFFIXES]


def _check(answers: dict[str, str], training: list[str], test: list[str], path: Path) -> None:
    strange = [name for name in answers if name not in set(test)]
    strange += [name for name in answers.values() if name not in set(training)]
    strange += [name for name in test if name not in answers]
    if strange or len(training) < 2 or not test:
        what = f"{printable(strange[0])!r} is not" if strange else "training and test drawings are not all"
        raise RetrievalError(f"In {printable(path)!r} {what} both there and in a {LABELS}; get the archive once more.")
