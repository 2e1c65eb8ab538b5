"""UKBench: 10,200 photographs of 2,550 things, four of each (Nistér and Stewénius 2006).

Every photograph asks, and is itself the first of its four right answers: the score is how many of the four stand among
the first four, from 0 to 4.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from retrieval.protocols.listing import once, pictures, required
from retrieval.protocols.protocol import OfficialSet, Protocol

LAYOUT = "the pictures ukbench00000.jpg, ukbench00001.jpg, ..., in itself or in full/"
EACH = 4

_NAME = re.compile(r"ukbench(\d{5})\.jpg")


def _home(folder: Path) -> Path | None:
    return next((place for place in (folder, folder / "full") if (place / "ukbench00000.jpg").exists()), None)


def recognises(folder: Path) -> bool:
    """Whether a folder, or its full/, holds the first picture."""
    return _home(folder) is not None


def read(folder: Path) -> OfficialSet:
    """The set in a folder.

    Raises:
        RetrievalError: it is none.
    """
    place = required(_home(folder), folder, PROTOCOL.title, LAYOUT)
    found = [match for match in map(_NAME.fullmatch, pictures(place)) if match is not None]
    names = once([match[0] for match in found], place)
    return OfficialSet(
        names=names,
        files=tuple(place / name for name in names),
        labels=tuple(f"{int(match[1]) // EACH:04d}" for match in found),
        splits=("test",) * len(names),
        asks=np.arange(len(names)),
        ranked=np.arange(len(names)),
    )


PROTOCOL = Protocol(
    name="ukbench",
    title="UKBench",
    layout=LAYOUT,
    recognises=recognises,
    read=read,
    asked="{queries} photographs, each against all {gallery}, itself among them",
    measures={"N-S score": lambda ranking: ranking.hits(EACH)},
    limits=(0.0, float(EACH)),
    sizes=(0, 10_200, 10_200),
    sources=("Nistér and Stewénius, Scalable Recognition with a Vocabulary Tree, CVPR 2006",),
)
