"""CUB-200-2011: 11,788 photographs of 200 kinds of birds (Wah et al. 2011).

The first 100 kinds train, the other 100 are asked among themselves, whole pictures, as Song et al. (2016) began it. The
boxes that come with the set are not used: figures on pictures cut to them are of another, easier task.
"""

from __future__ import annotations

from pathlib import Path

from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.protocols.listing import Listing, home, once, required
from retrieval.protocols.protocol import CLUSTERED, MAP_AT_R, OfficialSet, Protocol, among_themselves, halves, recalls

LISTS = ("images.txt", "image_class_labels.txt")
LAYOUT = "images.txt, image_class_labels.txt and images/"


def _home(folder: Path) -> Path | None:
    return home(folder, *LISTS, "images", inside=("CUB_200_2011",))


def recognises(folder: Path) -> bool:
    """Whether a folder, or its CUB_200_2011/, holds the lists and the pictures."""
    return _home(folder) is not None


def read(folder: Path) -> OfficialSet:
    """The set in a folder; the lists know pictures by numbers, in any order.

    Raises:
        RetrievalError: a list cannot be read, or a picture has no label.
    """
    place = required(_home(folder), folder, PROTOCOL.title, LAYOUT)
    listing = Listing(place / LISTS[0])
    named = {
        listing.whole(n, cells[0], 1): listing.picture(n, cells[1]) for n, cells in listing.rows(2, names_last=True)
    }
    labelling = Listing(place / LISTS[1])
    classes = {
        labelling.whole(n, cells[0], 1): labelling.whole(n, cells[1], 1)
        for n, cells in labelling.rows(2, names_last=True)
    }
    missing = sorted(named.keys() - classes.keys())
    if missing:
        raise RetrievalError(
            f"{printable(labelling.path)!r} has no line for picture {missing[0]} and {len(missing) - 1} others of "
            f"{LISTS[0]}; get the set once more."
        )
    names = once([f"images/{name}" for name in named.values()], listing.path)
    numbers = [classes[number] for number in named]
    splits = halves(numbers, of=200)
    return among_themselves(place, names, [f"{number:03d}" for number in numbers], splits)


PROTOCOL = Protocol(
    name="cub200",
    title="CUB-200-2011",
    layout=LAYOUT,
    recognises=recognises,
    read=read,
    asked="{queries} pictures of the second half of the classes, each against all others of {gallery}",
    measures={**recalls(1, 2, 4, 8), **MAP_AT_R},
    marks=(LISTS[1], f"CUB_200_2011/{LISTS[1]}"),
    sizes=(5864, 5924, 5924),
    clusters=True,
    differs=CLUSTERED,
    sources=(
        "Wah et al., The Caltech-UCSD Birds-200-2011 Dataset, 2011",
        "Song et al., Deep Metric Learning via Lifted Structured Feature Embedding, CVPR 2016",
        "Musgrave et al., A Metric Learning Reality Check, ECCV 2020",
    ),
)
