"""Stanford Online Products: 120,053 photographs of 22,634 things on sale (Song et al. 2016).

11,318 things train, the other 11,316 are asked among themselves: two to twelve pictures each, so that R@1 finds one of
very few.
"""

from __future__ import annotations

from pathlib import Path

from retrieval.protocols.listing import Listing, home, once, required
from retrieval.protocols.protocol import MAP_AT_R, OfficialSet, Protocol, among_themselves, recalls

LISTS = {"train": "Ebay_train.txt", "test": "Ebay_test.txt"}
LAYOUT = "Ebay_train.txt, Ebay_test.txt and the folders of pictures that they name"


def _home(folder: Path) -> Path | None:
    return home(folder, *LISTS.values(), inside=("Stanford_Online_Products",))


def recognises(folder: Path) -> bool:
    """Whether a folder, or its Stanford_Online_Products/, holds the two lists."""
    return _home(folder) is not None


def read(folder: Path) -> OfficialSet:
    """The set in a folder; each list begins with the names of its columns.

    Raises:
        RetrievalError: a list cannot be read.
    """
    place = required(_home(folder), folder, PROTOCOL.title, LAYOUT)
    names: list[str] = []
    labels: list[str] = []
    splits: list[str] = []
    for split, file in LISTS.items():
        listing = Listing(place / file)
        for number, cells in listing.rows(4, names_last=True):
            if number == 1 and cells[0] == "image_id":
                continue
            labels.append(f"{listing.whole(number, cells[1], 1):05d}")
            names.append(listing.picture(number, cells[3]))
            splits.append(split)
    unique = once(names, place / LISTS["test"])
    return among_themselves(place, unique, labels, splits)


PROTOCOL = Protocol(
    name="sop",
    title="Stanford Online Products",
    layout=LAYOUT,
    recognises=recognises,
    read=read,
    asked="{queries} pictures of the test classes, each against all others of {gallery}",
    measures={**recalls(1, 10, 100, 1000), **MAP_AT_R},
    marks=(*LISTS.values(), *(f"Stanford_Online_Products/{name}" for name in LISTS.values())),
    sizes=(59_551, 60_502, 60_502),
    sources=("Song et al., Deep Metric Learning via Lifted Structured Feature Embedding, CVPR 2016",),
)
