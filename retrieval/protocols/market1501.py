"""Market-1501: 32,668 pictures of 1,501 people in six cameras (Zheng et al. 2015).

751 people train; the other 750 are asked for. In the gallery are besides people of nobody's (identity 0, distractors,
which are wrong answers) and bad detections (identity −1, junk, which is ignored).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.protocols.listing import home, once, pictures, required
from retrieval.protocols.protocol import OfficialSet, Protocol
from retrieval.protocols.reid import DIFFERS, MEASURES, Seen, other_cameras

FOLDERS = {"query": "test", "bounding_box_test": "test", "bounding_box_train": "train"}
LAYOUT = "query/, bounding_box_test/ and bounding_box_train/"

_NAME = re.compile(r"(-1|\d{4})_c(\d+)s\d+_\d+_\d+.*")

JUNK = "-1"


def _home(folder: Path) -> Path | None:
    return home(folder, *FOLDERS, inside=("Market-1501-v15.09.15",))


def recognises(folder: Path) -> bool:
    """Whether a folder, or its Market-1501-v15.09.15/, holds the three folders."""
    return _home(folder) is not None


def read(folder: Path) -> OfficialSet:
    """The set in a folder: identity and camera stand in the names.

    Raises:
        RetrievalError: a folder cannot be read, or a name is of another form.
    """
    place = required(_home(folder), folder, PROTOCOL.title, LAYOUT)
    names: list[str] = []
    seen: list[Seen] = []
    splits: list[str] = []
    sides: dict[str, range] = {}
    for inside, split in FOLDERS.items():
        first = len(names)
        for name in pictures(place / inside):
            found = _NAME.fullmatch(name)
            if found is None:
                raise RetrievalError(
                    f"{printable(place / inside / name)!r} is not called like 0002_c1s1_000451_03.jpg, identity and "
                    "camera; take it out."
                )
            names.append(f"{inside}/{name}")
            seen.append((found[1], int(found[2])))
            splits.append(split)
        sides[inside] = range(first, len(names))
    unique = once(names, place)
    asks, ranked = sides["query"], sides["bounding_box_test"]
    return OfficialSet(
        names=unique,
        files=tuple(place / name for name in unique),
        labels=tuple(None if identity == JUNK else identity for identity, _ in seen),
        splits=tuple(splits),
        asks=np.array(asks),
        ranked=np.array(ranked),
        settings=other_cameras([seen[one] for one in asks], [seen[one] for one in ranked]),
    )


PROTOCOL = Protocol(
    name="market1501",
    title="Market-1501",
    layout=LAYOUT,
    recognises=recognises,
    read=read,
    asked="{queries} queries against {gallery} pictures of the gallery, each person in other cameras",
    measures=MEASURES,
    sizes=(12_936, 3368, 19_732),
    differs=DIFFERS,
    sources=(
        "Zheng et al., Scalable Person Re-identification: A Benchmark, ICCV 2015",
        "zhunzhong07/person-re-ranking, evaluation/utils/compute_AP.m (the authors' MATLAB program)",
        "KaiyangZhou/deep-person-reid, torchreid/metrics/rank.py and torchreid/data/datasets/image/market1501.py",
    ),
)
