"""The sets of the field's benchmarks (:mod:`retrieval.protocols`), each with its official split."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from retrieval.base.text import numbered
from retrieval.datasets.picture_set import PictureSet
from retrieval.protocols import OfficialSet, Protocol, recognised


def recognises(folder: Path) -> bool:
    """Whether a folder holds one of them."""
    return recognised(folder) is not None


def load(folder: Path) -> PictureSet:
    """The set in a folder; no picture is opened.

    Raises:
        RetrievalError: its lists cannot be read.
    """
    protocol = recognised(folder)
    assert protocol is not None and protocol.read is not None
    return as_pictures(protocol.read(folder), protocol, folder)


def as_pictures(official: OfficialSet, protocol: Protocol, folder: Path) -> PictureSet:
    """An official set as the labelled set of pictures that every source becomes."""
    classes, labels = numbered(official.labels)
    return PictureSet(
        name=protocol.name,
        names=official.names,
        classes=classes,
        labels=labels,
        splits=np.array(official.splits, "<U5"),
        files=official.files,
        root=folder,
    )
