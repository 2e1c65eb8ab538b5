"""VeRi-776: 51,035 pictures of 776 vehicles in twenty cameras (Liu et al. 2016).

576 vehicles train. Every query is in the gallery, too; for each the set has a list of what is right (the vehicle in
other cameras) and one of what is ignored (the vehicle in its own camera, and so the query itself).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.protocols.listing import Listing, home, once, required
from retrieval.protocols.protocol import Ints, OfficialSet, Protocol, Setting
from retrieval.protocols.reid import DIFFERS, MEASURES

SIDES = {"query": "test", "test": "test", "train": "train"}
LISTS = (*(f"name_{side}.txt" for side in SIDES), "gt_index.txt", "jk_index.txt")
LAYOUT = f"{', '.join(LISTS)}, and image_query/, image_test/ and image_train/"

_NAME = re.compile(r"(\d+)_c\d+_.*")


def _home(folder: Path) -> Path | None:
    return home(folder, *LISTS, "image_query", "image_test", inside=("VeRi",))


def recognises(folder: Path) -> bool:
    """Whether a folder, or its VeRi/, holds the lists and the pictures."""
    return _home(folder) is not None


def read(folder: Path) -> OfficialSet:
    """The set in a folder; the two lists of answers count the gallery from 1.

    Raises:
        RetrievalError: a list cannot be read, a name has no vehicle, or the lists of answers are not of these queries.
    """
    place = required(_home(folder), folder, PROTOCOL.title, LAYOUT)
    names: list[str] = []
    vehicles: list[str] = []
    splits: list[str] = []
    sides: dict[str, range] = {}
    for side, split in SIDES.items():
        first = len(names)
        listing = Listing(place / f"name_{side}.txt")
        for number, name in listing.lines():
            found = _NAME.fullmatch(name)
            if found is None:
                listing.refuse(number, f"names {printable(name)[:60]!r}, which has no vehicle and camera")
            names.append(f"image_{side}/{listing.picture(number, name)}")
            vehicles.append(found[1])
            splits.append(split)
        sides[side] = range(first, len(names))
    unique = once(names, place)
    asks, ranked = sides["query"], sides["test"]
    relevant, ignored = (_answers(place / name, len(asks), len(ranked)) for name in LISTS[3:])
    return OfficialSet(
        names=unique,
        files=tuple(place / name for name in unique),
        labels=tuple(vehicles),
        splits=tuple(splits),
        asks=np.array(asks),
        ranked=np.array(ranked),
        settings=(Setting(relevant=relevant, ignored=ignored),),
    )


def _answers(path: Path, queries: int, gallery: int) -> tuple[Ints, ...]:
    """The gallery's places, counted from 0, that a file names in a line for each query."""
    listing = Listing(path)
    found = []
    for number, line in listing.lines():
        places = np.array([listing.whole(number, cell, 1) for cell in line.split()])
        if places.max() > gallery:
            listing.refuse(number, f"names picture {places.max():,} of a gallery of {gallery:,}")
        found.append(places - 1)
    if len(found) != queries:
        raise RetrievalError(
            f"{printable(path)!r} has {len(found):,} lines for {queries:,} queries; get the set once more."
        )
    return tuple(found)


PROTOCOL = Protocol(
    name="veri",
    title="VeRi-776",
    layout=LAYOUT,
    recognises=recognises,
    read=read,
    asked="{queries} queries against {gallery} pictures of the gallery, each vehicle in other cameras",
    measures=MEASURES,
    marks=(*LISTS[3:], *(f"VeRi/{name}" for name in LISTS[3:])),
    sizes=(37_778, 1678, 11_579),
    differs=DIFFERS,
    sources=("Liu et al., A Deep Learning-Based Approach to Progressive Vehicle Re-identification, ECCV 2016",),
)
