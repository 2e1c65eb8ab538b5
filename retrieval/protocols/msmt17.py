"""MSMT17: 126,441 pictures of 4,101 people in fifteen cameras (Wei et al. 2018).

1,041 people train; identities are counted from 0 on both sides, so that person 0 of the training is another than
person 0 of the test.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from retrieval.base.text import printable
from retrieval.protocols.listing import Listing, home, once, required
from retrieval.protocols.protocol import OfficialSet, Protocol
from retrieval.protocols.reid import DIFFERS, MEASURES, Seen, other_cameras

LISTS = {"query": "test", "gallery": "test", "train": "train", "val": "val"}
LAYOUT = "list_train.txt, list_val.txt, list_query.txt, list_gallery.txt, and train/ and test/ (or mask_train_v2/ ...)"
FOLDERS = (("train", "test"), ("mask_train_v2", "mask_test_v2"))

_NAME = re.compile(r"(?:.*/)?\d+_\d+_(\d+)_.*")


def _home(folder: Path) -> Path | None:
    lists = [f"list_{name}.txt" for name in LISTS]
    for pair in FOLDERS:
        place = home(folder, *lists, *pair, inside=("MSMT17_V1", "MSMT17_V2"))
        if place is not None:
            return place
    return None


def recognises(folder: Path) -> bool:
    """Whether a folder, or its MSMT17_V1/ or MSMT17_V2/, holds the lists and the pictures."""
    return _home(folder) is not None


def read(folder: Path) -> OfficialSet:
    """The set in a folder: identities stand in the lists, cameras in the names.

    Raises:
        RetrievalError: a list cannot be read, or a name has no camera.
    """
    place = required(_home(folder), folder, PROTOCOL.title, LAYOUT)
    train, test = next(pair for pair in FOLDERS if (place / pair[0]).is_dir())
    names: list[str] = []
    seen: list[Seen] = []
    splits: list[str] = []
    sides: dict[str, range] = {}
    for list_name, split in LISTS.items():
        first = len(names)
        listing = Listing(place / f"list_{list_name}.txt")
        for number, (name, identity) in listing.rows(2, names_last=False):
            camera = _NAME.fullmatch(listing.picture(number, name))
            if camera is None:
                listing.refuse(number, f"names {printable(name)[:60]!r}, which has no camera")
            side = "test" if split == "test" else "train"
            names.append(f"{test if side == 'test' else train}/{name}")
            seen.append((f"{side} {listing.whole(number, identity):04d}", int(camera[1])))
            splits.append(split)
        sides[list_name] = range(first, len(names))
    unique = once(names, place)
    asks, ranked = sides["query"], sides["gallery"]
    return OfficialSet(
        names=unique,
        files=tuple(place / name for name in unique),
        labels=tuple(identity for identity, _ in seen),
        splits=tuple(splits),
        asks=np.array(asks),
        ranked=np.array(ranked),
        settings=other_cameras([seen[one] for one in asks], [seen[one] for one in ranked]),
    )


PROTOCOL = Protocol(
    name="msmt17",
    title="MSMT17",
    layout=LAYOUT,
    recognises=recognises,
    read=read,
    asked="{queries} queries against {gallery} pictures of the gallery, each person in other cameras",
    measures=MEASURES,
    marks=("list_query.txt", "MSMT17_V1/list_query.txt", "MSMT17_V2/list_query.txt"),
    sizes=(32_621, 11_659, 82_161),
    differs=DIFFERS,
    sources=(
        "Wei et al., Person Transfer GAN to Bridge Domain Gap for Person Re-Identification, CVPR 2018",
        "KaiyangZhou/deep-person-reid, torchreid/data/datasets/image/msmt17.py",
    ),
)
