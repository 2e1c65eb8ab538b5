"""Telling by a look which kind of set a source is."""

from __future__ import annotations

import os
from pathlib import Path

from retrieval.base.text import printable
from retrieval.datasets import (
    archives,
    cifar10,
    class_folders,
    csv_list,
    digits,
    hdf5,
    lake_runs,
    mnist,
    official,
    omniglot,
    zips,
)
from retrieval.datasets.picture_set import PictureSet, Progress
from retrieval.errors import RetrievalError

UNDERSTOOD = (
    "a folder of pictures (class folders, with train/val/test above them or not), CIFAR-10's or MNIST's folder, "
    "Omniglot's, that of a benchmark (`retrieval benchmark --list`), a .tar.gz or .tgz of CIFAR-10, a .zip of class "
    "folders, a list (.csv, .tsv, .jsonl, .json, .parquet), a .h5 that `retrieval data` wrote"
)


def load(source: str | os.PathLike[str], progress: Progress | None = None) -> PictureSet:
    """A labelled set of pictures from any of the usual layouts, recognised by looking.

    Args:
        source: a path, or "digits" for the handwritten digits that scikit-learn ships.
        progress: called with the number of pictures read since the last call, where reading takes a while
            (zips).

    Returns:
        The set; in memory for the sources that are arrays or archives, files otherwise. Files are not opened.

    Raises:
        RetrievalError: for a source that is missing, damaged or not understood.
    """
    path = Path(source)
    try:
        if path.is_dir():
            return _folder(path, progress)
        if path.is_file():
            return _file(path, progress)
        if os.fspath(source) == "digits":
            return digits.load()
        raise RetrievalError(f"There is no file or folder {printable(path)!r}; give {UNDERSTOOD}.")
    except PermissionError as error:
        raise RetrievalError(f"There is no permission to read {printable(path)!r}; change its mode.") from error
    except OSError as error:
        raise RetrievalError(f"{printable(path)!r} cannot be read: {error.strerror or error}.") from error


def _folder(path: Path, progress: Progress | None) -> PictureSet:
    if cifar10.recognises(path):
        return cifar10.load(path)
    if mnist.recognises(path):
        return mnist.load(path)
    if omniglot.recognises(path):
        return omniglot.load(path, progress)
    if official.recognises(path):
        return official.load(path)
    if lake_runs.unpacked(path):
        raise RetrievalError(
            f"{printable(path)!r} holds Lake's runs unpacked, whose folders are no classes; give their archive, "
            "all_runs.zip, for one-shot trials."
        )
    return class_folders.load(path)


def _file(path: Path, progress: Progress | None) -> PictureSet:
    if path.suffix.lower() in (".h5", ".hdf5"):
        return hdf5.load(path)
    if path.suffix.lower() in (".csv", ".tsv", ".jsonl", ".json", ".parquet"):
        return csv_list.load(path)
    if archives.is_tar(path):
        return cifar10.load(path)
    if path.suffix.lower() == ".zip":
        return omniglot.load(path, progress) if omniglot.recognises(path) else zips.load(path, progress)
    raise RetrievalError(f"{printable(path)!r} is not a set of pictures that is understood; give {UNDERSTOOD}.")
