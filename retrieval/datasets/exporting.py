"""Writing a set as a folder of pictures."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image

from retrieval import images
from retrieval.base.placed_files import MAX_BYTES, NotOpenedError, Placed, failure, open_file
from retrieval.base.text import printable
from retrieval.datasets.layout import SPLIT_FOLDERS
from retrieval.datasets.picture_set import PictureSet, Progress
from retrieval.errors import RetrievalError
from retrieval.images import Pixels, Skipped, UnreadableImage
from retrieval.places.folder import Folder


class Exported(NamedTuple):
    """What an export did.

    Attributes:
        written: how many files it wrote.
        kept: how many it found there already, the same byte for byte.
        skipped: what was left out: no picture that can be read, or none that lies where it may.
    """

    written: int
    kept: int
    skipped: tuple[Skipped, ...] = ()


def export(
    pictures: PictureSet,
    folder: str | os.PathLike[str],
    *,
    split: str | None = None,
    limit: int | None = None,
    anywhere: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Write pictures as `folder`/split/class/name: PNG where they are in memory, else copies of their files.

    Each file is whole or absent, and one that is there with the same bytes is kept: an interrupted export
        goes on where it stopped. A list may come from a stranger: only files that can be read as pictures are copied,
        and of a list only those in its own folder, unless `anywhere`.

    Args:
        pictures: the set. Pictures without a label lie beside the class folders.
        folder: where to; made if need be.
        split: only this split, as `folder`/class/name.
        limit: only so many pictures, taken at even distances so that every class has its share.
        anywhere: copy pictures from outside the folder of the list, or that links lead to outside of a folder, too.
        progress: called with the number of pictures done since the last call.

    Raises:
        RetrievalError: if there is nothing to write, no file may be copied, or one cannot be written.
    """
    if limit is not None and limit < 1:
        raise RetrievalError(f"The limit is {limit}; give at least 1.")
    chosen = pictures if split is None else pictures.select(split)
    if not len(chosen):
        raise RetrievalError(
            f"{pictures.name} has no {split or ''} pictures to export; its splits are {_splits(pictures)}."
        )
    if limit is not None and limit < len(chosen):
        chosen = chosen.select(np.linspace(0, len(chosen) - 1, limit).round().astype(np.int64))
    root = Path(folder)
    allowed = None if anywhere or chosen.root is None else Folder(Path(chosen.root))
    written = 0
    skipped: list[Skipped] = []
    try:
        places = [root / place for place in targets(chosen, with_split=split is None)]
        for row, place in enumerate(places):
            if chosen.pixels is not None:
                written += _write_png(chosen.pixels[row], place)
            elif chosen.files is not None:
                file = chosen.files[row]
                try:
                    written += _copy(file if allowed is None else allowed / file.absolute(), place)
                except UnreadableImage as problem:
                    skipped.append(Skipped(problem.path, problem.reason))
            if progress is not None:
                progress(1)
    except OSError as error:
        what = printable(error.filename or root)
        raise RetrievalError(f"The export stopped at {what!r}: {error.strerror or error}.") from error
    if len(skipped) == len(chosen):
        first = skipped[0]
        elsewhere = f"if those outside of {printable(chosen.root or '')!r} are meant, add --anywhere"
        raise RetrievalError(
            f"None of the {len(chosen):,} pictures of {pictures.name} was copied (the first, {first.path!r}: "
            f"{first.reason}); {elsewhere if allowed is not None else 'give files that can be read as pictures'}."
        )
    return Exported(written, len(chosen) - written - len(skipped), tuple(skipped))


def targets(pictures: PictureSet, *, with_split: bool = True) -> list[str]:
    """Where in the folder each picture goes: relative, "/"-separated, unique, and never outside.

    Args:
        pictures: the set.
        with_split: whether a split's folder stands first.
    """
    short = [_target(pictures, row, with_split, shorten=True) for row in range(len(pictures))]
    if len(set(short)) == len(short):
        return short
    full = [_target(pictures, row, with_split, shorten=False) for row in range(len(pictures))]
    if len(set(full)) == len(full):
        return full
    raise RetrievalError(f"Several pictures of {pictures.name} have one name; give each its own.")


def _target(pictures: PictureSet, row: int, with_split: bool, shorten: bool) -> str:
    """One place. Shortened, the name loses the split and class folders that it begins with, and its
    ending."""
    split = str(pictures.splits[row])
    parts = _parts(pictures.names[row])
    label = int(pictures.labels[row])
    group: Sequence[str] = ()
    if label >= 0:
        name = pictures.classes[label]
        group = _parts(name) if pictures.levels is not None else _parts(name.replace("/", "-"))
    if shorten:
        if len(parts) > 1 and SPLIT_FOLDERS.get(parts[0].lower()) == split:
            parts = parts[1:]
        if len(parts) > len(group) and parts[: len(group)] == list(group):
            parts = parts[len(group) :]
    if pictures.pixels is not None:
        parts[-1] = (str(PurePosixPath(parts[-1]).with_suffix("")) if shorten else parts[-1]) + ".png"
    return "/".join([*([split] if with_split else []), *group, *parts])


def _parts(name: str) -> list[str]:
    """A name from a file that may be hostile, as folders and files that are neither hidden nor above."""
    parts = [part.replace("\0", "").lstrip(".") for part in name.replace("\\", "/").split("/")]
    return [part for part in parts if part] or ["unnamed"]


def _write_png(pixels: Pixels, place: Path) -> bool:
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return _put(place, buffer.getvalue())


def _copy(file: Path | Placed, place: Path) -> bool:
    """Copy the very bytes that were read as a picture."""
    name = printable(file)
    try:
        with open_file(file) as opened:
            content = opened.read(MAX_BYTES)
    except NotOpenedError as refused:
        raise UnreadableImage(name, refused.reason) from refused
    except OSError as error:
        raise UnreadableImage(name, failure(error)) from error
    try:
        images.open_picture(io.BytesIO(content), size=1, mode="L")
    except UnreadableImage as problem:
        raise UnreadableImage(name, problem.reason) from problem
    return _put(place, content)


def _put(place: Path, content: bytes) -> bool:
    """Write a file whole or not at all, unless it is there; whether it was written."""
    if place.is_file() and place.stat().st_size == len(content) and place.read_bytes() == content:
        return False
    place.parent.mkdir(parents=True, exist_ok=True)
    # Not synced to disk, for speed: what a power cut leaves behind differs from what it should be, and the next
    # export, which compares the bytes, writes it anew. Hidden, so that nothing takes it for a picture, and without the
    # file's own name, which may be as long as a name can be.
    temporary = place.with_name(f".retrieval-{os.getpid()}")
    try:
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:  # a new one: what lay there may be a link to another's file
            file.write(content)
        temporary.replace(place)
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _splits(pictures: PictureSet) -> str:
    return ", ".join(np.unique(pictures.splits).tolist()) or "none"
