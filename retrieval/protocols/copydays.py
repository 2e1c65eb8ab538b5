"""INRIA Copydays: 157 photographs and what became of them under attacks (Douze et al. 2009).

Every attacked copy asks for its original: JPEG at nine qualities, crops of nine sizes, and strong attacks made by hand.
A name's first four digits are the original's. Distractors, which published figures nearly always have, are given as
vectors.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import numpy as np

from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.protocols.listing import once, pictures, required
from retrieval.protocols.protocol import AVERAGE_PRECISION, OfficialSet, Protocol, Setting

QUALITIES = (3, 5, 8, 10, 15, 20, 30, 50, 75)
CROPS = (10, 15, 20, 30, 40, 50, 60, 70, 80)
ATTACKS = ("strong", *(f"jpegqual/{one}" for one in QUALITIES), *(f"crops/{one}" for one in CROPS))
LAYOUT = "original/, and strong/, jpegqual/3/ ... jpegqual/75/, crops/10/ ... crops/80/ or some of these"

_NAME = re.compile(r"(\d{4})\d{2}\.jpg")


def _home(folder: Path) -> Path | None:
    there = (folder / "original").is_dir() and any((folder / attack).is_dir() for attack in ATTACKS)
    return folder if there else None


def recognises(folder: Path) -> bool:
    """Whether a folder holds the originals and an attack."""
    return _home(folder) is not None


def read(folder: Path) -> OfficialSet:
    """The set in a folder; attacks that are not there are not asked.

    Raises:
        RetrievalError: it is none, or a name has no original.
    """
    place = required(_home(folder), folder, PROTOCOL.title, LAYOUT)
    there = [attack for attack in ATTACKS if (place / attack).is_dir()]
    names: list[str] = []
    originals: list[str] = []
    turns: dict[str, list[int]] = defaultdict(list)
    for inside in (*there, "original"):
        for name in pictures(place / inside):
            found = _NAME.fullmatch(name)
            if found is None:
                raise RetrievalError(f"{printable(place / inside / name)!r} is not called like 200001.jpg; move it.")
            turns[inside].append(len(names))
            names.append(f"{inside}/{name}")
            originals.append(found[1])
    unique = once(names, place)
    asking = len(names) - len(turns["original"])
    return OfficialSet(
        names=unique,
        files=tuple(place / name for name in unique),
        labels=tuple(originals),
        splits=("test",) * len(unique),
        asks=np.arange(asking),
        ranked=np.arange(asking, len(unique)),
        settings=tuple(Setting(attack, asks=np.array(turns[attack])) for attack in there if turns[attack]),
    )


PROTOCOL = Protocol(
    name="copydays",
    title="INRIA Copydays",
    layout=LAYOUT,
    recognises=recognises,
    read=read,
    asked="{queries} attacked copies against {gallery} originals",
    measures=AVERAGE_PRECISION,
    differs="With one right answer at rank r the average precision is 1 / r; published figures are the area by "
    "trapezoids of the Holidays' program, which is half of that from rank 2 on.",
    sources=(
        "Douze et al., Evaluation of GIST Descriptors for Web-scale Image Search, CIVR 2009",
        "eval_copy_detection.py of facebookresearch/dino, as found in a program that carries it on",
    ),
)
