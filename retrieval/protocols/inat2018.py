"""iNaturalist 2018 as Smooth-AP divides it: 461,939 photographs of 8,142 species (Brown et al. 2020).

5,690 species train, the other 2,452 are asked among themselves.
"""

from __future__ import annotations

from pathlib import Path

from retrieval.base.text import printable
from retrieval.protocols.listing import Listing, home, once, required
from retrieval.protocols.protocol import MAP_AT_R, OfficialSet, Protocol, among_themselves, recalls

LISTS = {"train": "Inaturalist_train_set1.txt", "test": "Inaturalist_test_set1.txt"}
INSIDE = "Inat_dataset_splits"
LAYOUT = f"{INSIDE}/{LISTS['train']}, {INSIDE}/{LISTS['test']} and the folders of pictures that they name"


def _home(folder: Path) -> Path | None:
    return home(folder, *LISTS.values(), inside=(INSIDE,))


def recognises(folder: Path) -> bool:
    """Whether a folder, or its Inat_dataset_splits/, holds the two lists."""
    return _home(folder) is not None


def read(folder: Path) -> OfficialSet:
    """The set in a folder: the two folders above a picture are its species.

    Raises:
        RetrievalError: a list cannot be read, or a picture lies in no two folders.
    """
    lists = required(_home(folder), folder, PROTOCOL.title, LAYOUT)
    names: list[str] = []
    labels: list[str] = []
    splits: list[str] = []
    for split, file in LISTS.items():
        listing = Listing(lists / file)
        for number, line in listing.lines():
            parts = listing.picture(number, line).split("/")
            if len(parts) < 3:
                listing.refuse(number, f"names {printable(line)[:60]!r}, which lies in no group and species")
            names.append(line)
            labels.append("/".join(parts[-3:-1]))
            splits.append(split)
    unique = once(names, lists / LISTS["test"])
    return among_themselves(folder, unique, labels, splits)


PROTOCOL = Protocol(
    name="inat2018",
    title="iNaturalist 2018",
    layout=LAYOUT,
    recognises=recognises,
    read=read,
    asked="{queries} pictures of the test species, each against all others of {gallery}",
    measures={**recalls(1, 4, 16, 32), **MAP_AT_R},
    marks=(*LISTS.values(), *(f"{INSIDE}/{name}" for name in LISTS.values())),
    sizes=(325_846, 136_093, 136_093),
    sources=(
        "Brown et al., Smooth-AP: Smoothing the Path Towards Large-Scale Image Retrieval, ECCV 2020",
        "Andrew-Brown1/Smooth_AP, src/datasets.py",
    ),
)
