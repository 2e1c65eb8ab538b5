"""DISC21, the set of the Image Similarity Challenge: a million references, and queries of which some are copies of one
(Douze et al. 2021).

All pairs of a query and a reference are one ranking, by descriptors alone as in the challenge's second track: the best
half million count. So scores must mean the same for every query; queries that are copies of nothing make them pay.
"""

from __future__ import annotations

import re
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
SIDES = ("queries", "references")
HEADERS = ("query_id,reference_id", "query_image_id,db_image_id")
LAYOUT = f"queries/ and references/ (or images/queries/ ...), and {TRUTHS[0]} or another ground truth"

_NAME = re.compile(r"[A-Za-z0-9_-]+")

PAIRS = 500_000
"""Pairs that the challenge counts."""

KS = (1, 10)
"""Of recall@k."""


def _home(folder: Path) -> Path | None:
    return home(folder, "queries", "references", inside=("images",)) if _truths(folder) else None


def _truths(folder: Path) -> list[Path]:
    places = ((home(folder, name, inside=(LISTS,)), name) for name in TRUTHS)
    return [place / name for place, name in places if place is not None]


def recognises(folder: Path) -> bool:
    """Whether a folder holds both kinds of pictures and a ground truth."""
    return _home(folder) is not None


def read(folder: Path) -> OfficialSet:
    """The set in a folder. A ground truth with lines that name a query alone names all queries; otherwise all pictures
    of queries/ ask, too. Of several ground truths it is the one of which the greatest share of the queries is there.

    Raises:
        RetrievalError: a list cannot be read, or names a picture that no picture of the set is called like.
    """
    place = required(_home(folder), folder, PROTOCOL.title, LAYOUT)
    there = {side: {name.rpartition(".")[0]: name for name in pictures(place / side)} for side in SIDES}
    truths = [(path, *_answers(path)) for path in _truths(folder)]
    path, right, whole = max(truths, key=lambda one: sum(name in there["queries"] for name in one[1]) / len(one[1]))
    if not any(right.values()):
        raise RetrievalError(f"{printable(path)!r} names no copy; get the file once more.")
    asking = list(right) if whole else sorted({*right, *there["queries"]})
    references = sorted({*there["references"], *(name for its in right.values() for name in its)})
    spot = {name: row for row, name in enumerate(references)}
    taught = pictures(place / "train") if (place / "train").is_dir() else []
    names = once(
        [
            *(f"queries/{there['queries'].get(name, f'{name}.jpg')}" for name in asking),
            *(f"references/{there['references'].get(name, f'{name}.jpg')}" for name in references),
            *(f"train/{name}" for name in taught),
        ],
        place,
    )
    ends = len(asking), len(asking) + len(references)
    return OfficialSet(
        names=names,
        files=tuple(place / name for name in names),
        labels=(None,) * len(names),
        splits=(*["test"] * ends[1], *["train"] * len(taught)),
        asks=np.arange(ends[0]),
        ranked=np.arange(*ends),
        settings=(
            Setting(relevant=tuple(np.array([spot[one] for one in right.get(name, [])], np.int64) for name in asking)),
        ),
        note=f"The ground truth is {path.name}.",
    )


def _answers(path: Path) -> tuple[dict[str, list[str]], bool]:
    """The references that each query of a ground truth is a copy of, and whether it names copies of nothing, too."""
    listing = Listing(path)
    right: dict[str, list[str]] = {}
    whole = False
    for number, line in listing.lines():
        if line in HEADERS:
            continue
        query, comma, reference = line.partition(",")
        if not comma or not _NAME.fullmatch(query) or (reference and not _NAME.fullmatch(reference)):
            listing.refuse(
                number, f"is {printable(line)[:60]!r}, which is not a query and a reference, as Q00001,R000002"
            )
        its = right.setdefault(query, [])
        whole = whole or not reference
        if reference in its:
            listing.refuse(number, f"says once more what a line before says: {printable(line)[:60]!r}")
        if reference:
            its.append(reference)
    if not right:
        raise RetrievalError(f"{printable(path)!r} names no copy; get the file once more.")
    return right, whole


PROTOCOL = Protocol(
    name="disc21",
    title="DISC21",
    layout=LAYOUT,
    recognises=recognises,
    read=read,
    asked="{queries} queries that are copies, and all others, against {gallery} references",
    measures={f"recall@{k}": partial(Ranking.recall, k=k) for k in KS},
    pairs=PAIRS,
    found_at=KS,
    differs="µAP is of all pairs in one ranking, divided by the number of copies. Of equal scores the challenge's "
    "program takes the wrong pairs first (µAP, wrong first); µAP is the expectation. recall@1 and recall@10 are means "
    "over the queries that are copies, each among all references; the program's are shares of all copies, among the "
    "best pairs alone, wrong ones first (recall@k of the best pairs).",
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
                "recall@1 of the best pairs": 0.44861,
                "recall@10 of the best pairs": 0.48387,
            },
            "facebookresearch/isc2021, docs/5_multigrain_full.md",
        ),
    ),
)
