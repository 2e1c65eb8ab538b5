"""DeepFashion In-Shop Clothes Retrieval: 52,712 photographs of 7,982 pieces of clothing (Liu et al. 2016).

3,997 pieces train; of the other 3,985 some pictures ask and others are the gallery.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from retrieval.base.text import printable
from retrieval.protocols.listing import Listing, home, once, required
from retrieval.protocols.protocol import OfficialSet, Protocol, recalls

PARTITION = "list_eval_partition.txt"
LAYOUT = f"{PARTITION} (or Eval/{PARTITION}) and img/"
HEADER = ["image_name", "item_id", "evaluation_status"]
STATUSES = ("train", "query", "gallery")


def _home(folder: Path) -> Path | None:
    """The folder that the names in the list start from."""
    pictures = home(folder, "img", inside=("Img",))
    return pictures if pictures is not None and home(folder, PARTITION, inside=("Eval",)) is not None else None


def recognises(folder: Path) -> bool:
    """Whether a folder holds the partition, or has it in Eval/, and the pictures in img/ or Img/img/."""
    return _home(folder) is not None


def read(folder: Path) -> OfficialSet:
    """The set in a folder; the list begins with the number of its rows and the names of its columns.

    Raises:
        RetrievalError: the list cannot be read, or a status is none.
    """
    place = required(_home(folder), folder, PROTOCOL.title, LAYOUT)
    listing = Listing(required(home(folder, PARTITION, inside=("Eval",)), folder, PROTOCOL.title, LAYOUT) / PARTITION)
    names: list[str] = []
    labels: list[str] = []
    statuses: list[str] = []
    for number, line in listing.lines():
        if (number == 1 and line.isdecimal()) or line.split() == HEADER:
            continue
        cells = line.rsplit(None, 2)
        if len(cells) != 3 or cells[2] not in STATUSES:
            listing.refuse(number, f"is {printable(line)[-60:]!r}, not a name, an item and {' or '.join(STATUSES)}")
        names.append(listing.picture(number, cells[0]))
        labels.append(cells[1])
        statuses.append(cells[2])
    unique = once(names, listing.path)
    status = np.array(statuses)
    return OfficialSet(
        names=unique,
        files=tuple(place / name for name in unique),
        labels=tuple(labels),
        splits=tuple("train" if one == "train" else "test" for one in statuses),
        asks=np.flatnonzero(status == "query"),
        ranked=np.flatnonzero(status == "gallery"),
    )


PROTOCOL = Protocol(
    name="inshop",
    title="In-Shop Clothes Retrieval",
    layout=LAYOUT,
    recognises=recognises,
    read=read,
    asked="{queries} queries against {gallery} pictures of the gallery",
    measures=recalls(1, 10, 20, 30),
    marks=(PARTITION, f"Eval/{PARTITION}"),
    sizes=(25_882, 14_218, 12_612),
    sources=("Liu et al., DeepFashion: Powering Robust Clothes Recognition and Retrieval, CVPR 2016",),
)
