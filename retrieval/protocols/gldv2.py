"""Google Landmarks v2, retrieval: 761,757 photographs of the index and 117,577 of the test (Weyand et al. 2020).

Of the test photographs 1,129 show a landmark of the index; the solution lists what is right for each, and marks it as
public or private. mAP@100 is divided by min(R, 100).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from retrieval.base.table import Table
from retrieval.base.text import printable
from retrieval.measures import Ranking
from retrieval.protocols.listing import home, once, required
from retrieval.protocols.protocol import Ints, OfficialSet, Protocol, Setting

SOLUTIONS = ("retrieval_solution_v2.1.csv", "retrieval_solution_v2.csv")
INDEX = "index.csv"
TRAIN = "train.csv"
LAYOUT = f"{SOLUTIONS[0]}, {INDEX}, and index/0/0/0/ID.jpg, test/0/0/0/ID.jpg (and {TRAIN} with train/, if wanted)"
USAGES = ("Public", "Private")


def _home(folder: Path) -> Path | None:
    return next((place for name in SOLUTIONS if (place := home(folder, name, INDEX)) is not None), None)


def recognises(folder: Path) -> bool:
    """Whether a folder holds a solution and the list of the index."""
    return _home(folder) is not None


def read(folder: Path) -> OfficialSet:
    """The set in a folder.

    Raises:
        RetrievalError: a list cannot be read, or the solution names a picture that is not in the index.
    """
    place = required(_home(folder), folder, PROTOCOL.title, LAYOUT)
    solution = next(place / name for name in SOLUTIONS if (place / name).exists())
    index = once(_ids(Table(place / INDEX, "The list", ("id",))), place / INDEX)
    spot = {name: row for row, name in enumerate(index)}
    table = Table(solution, "The solution", ("id", "images", "usage"))
    asking: list[str] = []
    right: list[Ints] = []
    turns: dict[str, list[int]] = {usage: [] for usage in USAGES}
    for row in table.rows():
        name, images, usage = (table.text(row, column) for column in ("id", "images", "usage"))
        if usage == "Ignored":
            continue
        if usage not in USAGES:
            table.refuse(row.number, f"has the usage {printable(usage)[:60]!r}, not Public, Private or Ignored")
        missing = next((one for one in images.split() if one not in spot), None)
        if missing is not None or not name:
            table.refuse(row.number, f"has no id, or names {printable(missing or '')!r}, which {INDEX} lacks")
        turns[usage].append(len(asking))
        asking.append(_id(table, row.number, name))
        right.append(np.array([spot[one] for one in images.split()], np.int64))
    once(asking, solution)
    taught, labels = _training(place)
    names = (
        *(f"test/{_path(name)}" for name in asking),
        *(f"index/{_path(name)}" for name in index),
        *(f"train/{_path(name)}" for name in taught),
    )
    ranked = len(asking), len(asking) + len(index)
    return OfficialSet(
        names=names,
        files=tuple(place / name for name in names),
        labels=(*[None] * ranked[1], *labels),
        splits=(*["test"] * ranked[1], *["train"] * len(taught)),
        asks=np.arange(len(asking)),
        ranked=np.arange(*ranked),
        settings=tuple(
            Setting(usage.lower(), asks=np.array(rows), relevant=tuple(right[row] for row in rows))
            for usage, rows in turns.items()
            if rows
        ),
    )


def _training(place: Path) -> tuple[list[str], list[str]]:
    """Ids and landmarks of the pictures that train, if they are there."""
    if not (place / TRAIN).exists() or not (place / "train").is_dir():
        return [], []
    table = Table(place / TRAIN, "The list", ("id", "landmark_id"))
    ids, landmarks = [], []
    for row in table.rows():
        ids.append(_id(table, row.number, table.text(row, "id")))
        landmarks.append(table.text(row, "landmark_id"))
    return list(once(ids, place / TRAIN)), landmarks


def _ids(table: Table) -> list[str]:
    return [_id(table, row.number, table.text(row, "id")) for row in table.rows()]


def _id(table: Table, number: int, name: str) -> str:
    if len(name) < 3 or not name.isascii() or not name.isalnum():
        table.refuse(number, f"has the id {printable(name)[:60]!r}, which names no picture")
    return name


def _path(name: str) -> str:
    """Where a picture lies: its id's first three letters are folders."""
    return f"{name[0]}/{name[1]}/{name[2]}/{name}.jpg"


PROTOCOL = Protocol(
    name="gldv2",
    title="Google Landmarks v2, retrieval",
    layout=LAYOUT,
    recognises=recognises,
    read=read,
    asked="{queries} pictures of the test against {gallery} of the index",
    measures={"mAP@100": partial(Ranking.average_precision_at, k=100)},
    marks=SOLUTIONS,
    sources=(
        "Weyand et al., Google Landmarks Dataset v2, CVPR 2020",
        "tensorflow/models, research/delf/delf/python/datasets/google_landmarks_dataset/metrics.py",
    ),
)
