"""NUS-WIDE as hashing takes it: photographs of Flickr with several of 21 (or 81) concepts (Chua et al. 2009).

Right is what shares a concept with the query.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from retrieval.protocols.hashing import LAYOUT, LISTED, LISTED_DIFFERS, ZEROS, columns, read_lists
from retrieval.protocols.protocol import Protocol

LABELS = (21, 81)


def recognises(folder: Path) -> bool:
    """Whether a folder holds the three lists, with as many labels."""
    return columns(folder) in LABELS


PROTOCOL = Protocol(
    name="nuswide",
    title="NUS-WIDE",
    layout=f"{LAYOUT}; 21 labels, or 81",
    recognises=recognises,
    read=partial(read_lists, title="NUS-WIDE", labels=LABELS),
    asked="{queries} queries against {gallery} of the database, by Hamming distance",
    measures=LISTED,
    zeros=ZEROS,
    codes=True,
    differs=LISTED_DIFFERS,
    sources=(
        "Chua et al., NUS-WIDE: A Real-World Web Image Database, CIVR 2009",
        "Cao et al., HashNet: Deep Learning to Hash by Continuation, ICCV 2017",
        "swuxyj/DeepHash-pytorch, utils/tools.py",
    ),
)
