"""Pictures in a folder: class folders, with or without splits above them, or no folders at all."""

from __future__ import annotations

from pathlib import Path

from retrieval import images
from retrieval.base.text import printable
from retrieval.datasets.layout import arrange
from retrieval.datasets.picture_set import PictureSet
from retrieval.errors import RetrievalError


def load(folder: Path) -> PictureSet:
    """A set of the pictures below `folder`; no file is opened. The rules are those of
    :func:`.layout.arrange`.

    Raises:
        RetrievalError: if there is no picture.
    """
    found = images.find(folder)
    if not found.paths:
        left_out = f" ({len(found.skipped)} could not be taken)" if found.skipped else ""
        raise RetrievalError(
            f"There is no picture below {printable(folder)!r}{left_out}; "
            "give a folder that holds JPEG, PNG, HEIC, TIFF or other pictures."
        )
    layout = arrange(found.paths)
    return PictureSet(
        name=folder.resolve().name or "pictures",
        names=layout.names,
        classes=layout.classes,
        labels=layout.labels,
        splits=layout.splits,
        files=tuple([folder / path for path in found.paths]),
        skipped=found.skipped,
        root=folder,
    )
