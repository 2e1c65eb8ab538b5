"""DISC21, the set of the Image Similarity Challenge: a million references, and queries of which some are copies of one
(Douze et al. 2021).

All pairs of a query and a reference are one ranking, by descriptors alone as in the challenge's second track: the best
half million count. So scores must mean the same for every query; queries that are copies of nothing make them pay.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.measures import Ranking
from retrieval.protocols.listing import Listing, home, once, pictures, required
from retrieval.protocols.protocol import OfficialSet, Protocol, Published, Setting

TRUTHS = (
    "public_ground_truth.csv",
    "dev_queries_groundtruth.csv",
    "test_queries_groundtruth.csv",
    "subset_1_ground_truth.csv",
)
LISTS = "list_files"
HEADERS = ("query_id,reference_id", "query_image_id,db_image_id")
LAYOUT = f"queries/ and references/ (or images/queries/ ...), and {TRUTHS[0]} or another ground truth"

PAIRS = 500_000
"""Pairs that the challenge counts."""


def _home(folder: Path) -> Path | None:
    there = any(_truth(folder, name) for name in TRUTHS)
    return home(folder, "queries", "references", inside=("images",)) if there else None


def _truth(folder: Path, name: str) -> Path | None:
    place = home(folder, name, inside=(LISTS,))
    return None if place is None else place / name


def recognises(folder: Path) -> bool:
    """Whether a folder holds both kinds of pictures and a ground truth."""
    return _home(folder) is not None


def read(folder: Path) -> OfficialSet:
    """The set in a folder. A ground truth with lines that name a query alone names all queries; otherwise all pictures
    of queries/ ask.

    Raises:
        RetrievalError: a list cannot be read, or names a picture that no folder has.
    """
    place = required(_home(folder), folder, PROTOCOL.title, LAYOUT)
    path = next(found for name in TRUTHS if (found := _truth(folder, name)) is not None)
    sides = {side: [name.rpartition(".")[0] for name in pictures(place / side)] for side in ("queries", "references")}
    endings = {side: dict(zip(sides[side], pictures(place / side), strict=True)) for side in sides}
    spot = {name: row for row, name in enumerate(sides["references"])}
    listing = Listing(path)
    right: dict[str, list[int]] = {}
    alone = False
    for number, line in listing.lines():
        if line in HEADERS:
            continue
        query, comma, reference = line.partition(",")
        if not comma or query not in endings["queries"] or (reference and reference not in spot):
            listing.refuse(number, f"is {printable(line)[:60]!r}, which names no query, or no reference that is there")
        right.setdefault(query, [])
        if reference:
            right[query].append(spot[reference])
        alone = alone or not reference
    asking = list(right) if alone else sides["queries"]
    taught = pictures(place / "train") if (place / "train").is_dir() else []
    if not any(right.values()):
        raise RetrievalError(f"{printable(path)!r} names no copy; get the file once more.")
    names = once(
        [
            *(f"queries/{endings['queries'][name]}" for name in asking),
            *(f"references/{endings['references'][name]}" for name in sides["references"]),
            *(f"train/{name}" for name in taught),
        ],
        place,
    )
    ends = len(asking), len(asking) + len(spot)
    return OfficialSet(
        names=names,
        files=tuple(place / name for name in names),
        labels=(None,) * len(names),
        splits=(*["test"] * ends[1], *["train"] * len(taught)),
        asks=np.arange(ends[0]),
        ranked=np.arange(*ends),
        settings=(Setting(relevant=tuple(np.array(right.get(name, []), np.int64) for name in asking)),),
    )


PROTOCOL = Protocol(
    name="disc21",
    title="DISC21",
    layout=LAYOUT,
    recognises=recognises,
    read=read,
    asked="{queries} queries that are copies, and all others, against {gallery} references",
    measures={f"recall@{k}": partial(Ranking.recall, k=k) for k in (1, 10)},
    pairs=PAIRS,
    differs="µAP is of all pairs in one ranking, divided by the number of copies. Of equal scores the challenge's "
    "program takes the wrong pairs first (µAP, wrong first); µAP is the expectation. recall@1 and recall@10 are of the "
    "queries that are copies.",
    sources=(
        "Douze et al., The 2021 Image Similarity Dataset and Challenge, arXiv:2106.09672",
        "facebookresearch/isc2021, isc/metrics.py and scripts/compute_metrics.py",
    ),
    published=(
        Published(
            "MultiGrain, 1,500 numbers, 25,000 development queries",
            {
                "µAP, wrong first": 0.15402,
                "recall at 90 % precision": 0.03426,
                "recall@1": 0.44861,
                "recall@10": 0.48387,
            },
            "facebookresearch/isc2021, docs/5_multigrain_full.md",
        ),
    ),
)
