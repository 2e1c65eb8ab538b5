"""What the protocols of hashing share: rankings by Hamming distance, and lists of pictures with several labels."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.measures import Ranking
from retrieval.protocols.listing import Listing, home, once, required
from retrieval.protocols.protocol import Measures, OfficialSet

KS = (1000, 5000)

MEASURES: Measures = {
    "mAP": Ranking.average_precision,
    **{f"mAP@{k}": partial(Ranking.average_precision_at, k=k) for k in KS},
    **{f"mAP@{k} of the found": partial(Ranking.average_precision_of_found, k=k) for k in KS},
    "P@radius 2": partial(Ranking.precision_within, distance=2),
}

LISTED: Measures = {"mAP": MEASURES["mAP"], "mAP of the found": MEASURES["mAP"], **MEASURES}
"""Of sets whose lists have queries that nothing answers."""

ZEROS = frozenset(name for name in LISTED if name.endswith("of the found"))

DIFFERS = (
    "mAP@k is divided by min(R, k). Published mAP@k is divided by the right answers among the first k, however few "
    "(mAP@k of the found). Codes tie by the thousand: published figures go by the order in which the database happens "
    "to lie; here every figure is the mean over all orders."
)
LISTED_DIFFERS = (
    f"{DIFFERS} A query that shares no label with the database counts 0 in published figures (those of the found), and "
    "in no other here. What has no label in the database is wrong for everybody."
)

LISTS = ("test.txt", "database.txt", "train.txt")
LAYOUT = "test.txt, database.txt and train.txt (a name and a 0 or 1 for each label), and the pictures that they name"


def columns(folder: Path) -> int:
    """How many labels the lists of a folder have; 0 where there are no such lists."""
    place = home(folder, *LISTS)
    if place is None:
        return 0
    try:
        first = next((line for _, line in Listing(place / LISTS[0]).lines()), "")
    except RetrievalError:
        return 0
    flags = first.split()[1:]
    return len(flags) if set(flags) <= {"0", "1"} else 0


def read_lists(folder: Path, title: str, labels: tuple[int, ...]) -> OfficialSet:
    """A set from its three lists.

    Args:
        folder: with the lists. title: of the set. labels: how many of them there may be.

    Raises:
        RetrievalError: a list cannot be read, or its labels are not the same number of 0 and 1 everywhere.
    """
    count = columns(folder)
    place = required(folder if count in labels else None, folder, title, LAYOUT)
    shown: dict[str, tuple[str, ...]] = {}
    sides: dict[str, list[str]] = {}
    for file in LISTS:
        listing = Listing(place / file)
        sides[file] = []
        for number, line in listing.lines():
            name, *flags = line.split()
            if len(flags) != count or not set(flags) <= {"0", "1"}:
                listing.refuse(number, f"has no name with {count} times 0 or 1: {printable(line)[:60]!r}")
            if shown.setdefault(listing.picture(number, name), tuple(flags)) != tuple(flags):
                listing.refuse(number, f"gives {printable(name)[:60]!r} other labels than a list before")
            sides[file].append(name)
        once(sides[file], place / file)
    asking, database, taught = (sides[file] for file in LISTS)
    both = sorted(set(asking) & {*database, *taught})
    if both:
        raise RetrievalError(
            f"{printable(place / LISTS[0])!r} names {printable(both[0])!r}, which another list has, too; get the lists "
            "once more."
        )
    known = set(database)
    names = (*asking, *database, *(name for name in taught if name not in known))
    training = set(taught)
    return OfficialSet(
        names=names,
        files=tuple(place / name for name in names),
        labels=(None,) * len(names),
        splits=tuple("train" if name in training else "test" for name in names),
        asks=np.arange(len(asking)),
        ranked=np.arange(len(asking), len(asking) + len(database)),
        sets=np.array([[flag == "1" for flag in shown[name]] for name in names]),
    )
