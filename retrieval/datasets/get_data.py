"""Getting a labelled set by its name, or from a path, and keeping it as one file."""

from __future__ import annotations

import os
from pathlib import Path

from retrieval.base.progress import bar
from retrieval.datasets import fetch, hdf5
from retrieval.datasets.fetch import Got
from retrieval.datasets.formats import load
from retrieval.datasets.memory import resident
from retrieval.errors import RetrievalError

FOLDER = "data"
"""Where a set that is fetched by its name goes, if nobody says where."""


def get_data(
    source: str | os.PathLike[str],
    to: str | os.PathLike[str] | None = None,
    *,
    copy: str | os.PathLike[str] | None = None,
) -> Got:
    """Get a labelled set of pictures, and keep it as one file.

    A set with a name (:data:`.fetch.NAMES`) is downloaded and checked, unless it is there. Progress is shown on stderr.

    Args:
        source: such a name, or a path to anything that :func:`.load` understands.
        to: the folder for NAME.h5. None: :data:`FOLDER` for a name, and no file for a path.
        copy: of the named set, a folder or an archive to read instead of the network.

    Raises:
        RetrievalError: it cannot be had, read or written, is not the set of that name, or `copy` is given for a path.
    """
    if source in fetch.NAMES:
        return fetch.fetch(str(source), FOLDER if to is None else to, copy)
    if copy is not None:
        raise RetrievalError(
            f"A copy goes with the named sets ({', '.join(fetch.NAMES)}); give {os.fspath(source)!r} alone."
        )
    with bar(None, "Reading", "pictures") as progress:
        pictures = load(source, progress.update)
    if to is None:
        return Got(pictures, None, already=False)
    path = Path(to) / f"{pictures.name}.h5"
    with bar(len(pictures), "Reading", "pictures") as progress:
        pictures = resident(pictures, progress.update)
    already = path.exists() and hdf5.holds(path, pictures)
    if not already:
        hdf5.save(pictures, path)
    return Got(pictures, path, already)
