"""INRIA Holidays: 1,491 photographs of 500 scenes (Jégou, Douze and Schmid 2008).

The first photograph of each scene asks for the others; it is in the gallery and left out of its own ranking. A name's
last two digits count the photographs of a scene from 00.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from retrieval.protocols.listing import once, pictures, required
from retrieval.protocols.protocol import AVERAGE_PRECISION, OfficialSet, Protocol

LAYOUT = "the pictures 100000.jpg, 100001.jpg, ..., in itself or in jpg/"

_NAME = re.compile(r"1\d{5}\.jpg")


def _home(folder: Path) -> Path | None:
    """Where there are no other pictures but those that are called so, and several scenes begin."""
    for place in (folder, folder / "jpg"):
        if place.is_dir() and os.access(place, os.R_OK):
            found = pictures(place)
            if sum(name.endswith("00.jpg") for name in found) > 1 and all(_NAME.fullmatch(name) for name in found):
                return place
    return None


def recognises(folder: Path) -> bool:
    """Whether a folder, or its jpg/, holds the pictures and no others."""
    return _home(folder) is not None


def read(folder: Path) -> OfficialSet:
    """The set in a folder.

    Raises:
        RetrievalError: it is none.
    """
    place = required(_home(folder), folder, PROTOCOL.title, LAYOUT)
    names = once(pictures(place), place)
    asks = np.array([row for row, name in enumerate(names) if name.endswith("00.jpg")])
    return OfficialSet(
        names=names,
        files=tuple(place / name for name in names),
        labels=tuple(name[:4] for name in names),
        splits=("test",) * len(names),
        asks=asks,
        ranked=np.arange(len(names)),
        own=asks,
    )


PROTOCOL = Protocol(
    name="holidays",
    title="INRIA Holidays",
    layout=LAYOUT,
    recognises=recognises,
    read=read,
    asked="{queries} photographs, each against all others of {gallery}",
    measures=AVERAGE_PRECISION,
    sizes=(0, 500, 1491),
    differs="The authors' program adds up trapezoids (mAP by trapezoids), as published figures do; mAP is the average "
    "precision itself. Many figures since 2014 are of pictures that were turned upright by hand; here they are read as "
    "they are, turned as their EXIF orientation says.",
    sources=(
        "Jégou, Douze and Schmid, Hamming Embedding and Weak Geometric Consistency, ECCV 2008",
        "holidays_map.py, the authors' program (INRIA 2008)",
    ),
)
