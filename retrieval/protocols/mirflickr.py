"""MIRFlickr-25k as hashing takes it: photographs with several of 24 (or 38) annotations (Huiskes and Lew 2008).

Right is what shares an annotation with the query.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from retrieval.protocols.hashing import LAYOUT, LISTED, LISTED_DIFFERS, ZEROS, columns, read_lists
from retrieval.protocols.protocol import Protocol

LABELS = (24, 38)


def recognises(folder: Path) -> bool:
    """Whether a folder holds the three lists, with as many labels."""
    return columns(folder) in LABELS


PROTOCOL = Protocol(
    name="mirflickr",
    title="MIRFlickr-25k",
    layout=f"{LAYOUT}; 24 labels, or 38",
    recognises=recognises,
    read=partial(read_lists, title="MIRFlickr-25k", labels=LABELS),
    asked="{queries} queries against {gallery} of the database, by Hamming distance",
    measures=LISTED,
    zeros=ZEROS,
    codes=True,
    differs=LISTED_DIFFERS,
    sources=(
        "Huiskes and Lew, The MIR Flickr Retrieval Evaluation, MIR 2008",
        "swuxyj/DeepHash-pytorch, utils/tools.py",
    ),
)
