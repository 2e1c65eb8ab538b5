"""What a query is before it is asked: picture files found, and vectors made fit for an index."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval import images
from retrieval.base import compiled
from retrieval.base.object_address import is_object
from retrieval.base.placed_files import Placed
from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.images.box import split
from retrieval.index import Index, Item
from retrieval.index.vectors import directions
from retrieval.places.roots import picture_at, root_at


class Question(NamedTuple):
    """A query on its way, besides its vector.

    Attributes:
        query: as it was asked. picture: its file. item: itself, where it is in the index. sha256: of its file.
        label: where it is known.
        calibrated: whether it is one picture and all of it, or its vector: then what was calibrated with these holds
            for its scores, and it has the id and label of a copy in the index.
        words: whether it is a text, for whose scores something else was calibrated.
        box: the part of the picture that it is; None for all of it.
        of: what it is made of, where it was asked in parts.
        asked: the names by which marks know it; None if these are those of its picture.
    """

    query: str
    picture: Path | Placed | None = None
    item: Item | None = None
    sha256: str | None = None
    label: str | None = None
    calibrated: bool = True
    words: bool = False
    box: images.Box | None = None
    of: tuple[Question, ...] = ()
    asked: frozenset[str] | None = None

    @property
    def whole(self) -> Path | Placed | None:
        """The file of the picture, if it is all of it."""
        return self.picture if self.box is None else None


Picture = str | Path | bytes | Image.Image | NDArray[Any]
"""A picture's file, or a folder; the bytes of a file; a picture of Pillow's; pixels uint8 (h, w), (h, w, 3) or, with
how opaque they are, (h, w, 4)."""


_ONE = (str, Path, bytes, bytearray, memoryview, Image.Image)


class InMemory(NamedTuple):
    """A picture that lies in no file.

    Attributes:
        name: what it is called in its answer. data: as a file would hold it.
        own: whether these bytes were given, and not made of pixels.
    """

    name: str
    data: bytes
    own: bool


class Boxed(NamedTuple):
    """A part of a picture."""

    file: Path | Placed
    box: images.Box


def pictures_of(
    given: Picture | Iterable[Picture], skipped: list[images.Skipped]
) -> list[Path | Placed | InMemory | Boxed]:
    """Pictures one by one, with each folder replaced by the pictures in it, and a text `a.jpg#10,20,64,48` under which
    no file lies by this part of the picture.

    Args:
        given: one, or many.
        skipped: takes in what a folder holds that is no picture to read.

    Raises:
        RetrievalError: something is no picture of any kind, or a part is empty.
    """
    one = given.ndim < 4 if isinstance(given, np.ndarray) else isinstance(given, _ONE)
    if not one and (hasattr(given, "read") or not isinstance(given, Iterable)):
        raise _no_picture(given)
    several: Iterable[Any] = [given] if one else given  # type: ignore[assignment]
    found: list[Path | Placed | InMemory | Boxed] = []
    for number, picture in enumerate(several):
        boxed = _part_of_file(picture) if isinstance(picture, str) else None
        if boxed is not None:
            found.append(boxed)
        elif isinstance(picture, str | Path):
            found += _picture_files(picture, skipped)
        elif isinstance(picture, bytes | bytearray | memoryview):
            found.append(InMemory(f"bytes {number}", bytes(picture), own=True))
        elif isinstance(picture, Image.Image | np.ndarray):
            found.append(InMemory(f"picture {number}", _written(picture), own=False))
        else:
            raise _no_picture(picture)
    return found


def _no_picture(given: object) -> RetrievalError:
    return RetrievalError(
        f"{given!r:.60} is no picture; give a file's name or bytes, a picture of Pillow's, or an array uint8 (h, w, 3)."
    )


_AS_TIFF = frozenset({"CMYK", "YCbCr", "LAB", "F", "I"})
"""Modes of Pillow that a PNG cannot hold."""

_AS_PNG = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})


def _written(picture: Image.Image | NDArray[Any]) -> bytes:
    """A picture as a file of its pixels, so that all that holds for files (turns, profiles, depth) holds for it."""
    if isinstance(picture, np.ndarray):
        shaped = picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] in (3, 4))
        if picture.dtype != np.uint8 or not shaped or not picture.size:
            raise RetrievalError(
                f"A picture is an array {picture.dtype} {picture.shape}; give pixels from 0 to 255, uint8 (h, w, 3) or "
                "(h, w), or its vector to query_vectors."
            )
        picture = Image.fromarray(picture)
    file = io.BytesIO()
    try:
        if picture.mode not in _AS_PNG | _AS_TIFF:
            picture = picture.convert("RGBA" if "a" in picture.mode.lower() else "RGB")
        kind = "TIFF" if picture.mode in _AS_TIFF else "PNG"
        picture.save(file, kind, exif=picture.getexif(), **({"compress_level": 1} if kind == "PNG" else {}))
    except (OSError, ValueError, SyntaxError) as error:  # it may be read only now, or was closed
        raise RetrievalError(f"The picture {picture!r:.100} cannot be used ({error}); open it again.") from error
    return file.getvalue()


def _part_of_file(text: str) -> Boxed | None:
    """What a text says that ends like a box, if it is not the name of something."""
    ended = split(text) if "#" in text else None
    if ended is None or lies(text):
        return None
    return Boxed(picture_at(ended[0]), images.Box.parse(ended[1]))


def lies(name: str) -> bool:
    """Whether there is a file or a folder of this name."""
    try:
        return bool(name) and Path(name).exists()
    except (OSError, ValueError):  # no possible name
        return False


def _picture_files(given: str | Path, skipped: list[images.Skipped]) -> list[Path | Placed]:
    """A picture's file or object; or, of a folder, all pictures in it."""
    root = root_at(given)
    if not root.is_folder():
        return [picture_at(given)]
    found = images.find(root)
    skipped.extend(images.Skipped(f"{printable(root.name)}/{path}", reason) for path, reason in found.skipped)
    return [picture_at(os.fspath(root / path)) for path in found.paths]


def place_of(file: str | Path | Placed) -> str:
    """Where a file lies, absolute; if it is a link, where the link lies, as an index has it; an object's address."""
    place = str(os.fspath(file))
    return place if is_object(place) else os.fspath(Path(place).parent.resolve() / Path(place).name)


def unit_rows(vectors: NDArray[Any], index: Index, named: str | None = None) -> NDArray[np.float32]:
    """Vectors (n, dim) or (dim,), of any real type, as float32 (n, dim), each scaled to unit length.

    Args:
        vectors: these. index: that takes them.
        named: what the only one is called, for the message; None: row 0.

    Raises:
        RetrievalError: another shape or type, or a row is zero or not finite.
    """
    dim = index.dim
    rows = vectors[None] if vectors.ndim == 1 else vectors
    if rows.ndim != 2 or rows.shape[1] != dim or rows.dtype.kind not in "fiu":
        raise RetrievalError(
            f"The vectors are {vectors.dtype} of shape {vectors.shape}, and the index "
            f"{printable(index.name)!r} takes real numbers of shape (n, {dim}); "
            "make them with the encoder that the index was built with."
        )
    if compiled.kernel is not None and len(rows):
        scaled = np.empty(rows.shape, np.float32)
        if compiled.kernel.unit_into(scaled, rows, dim):
            return scaled
    unit, lengths = directions(rows)  # of another type, or not all of them have a direction
    wrong = np.flatnonzero(np.isnan(lengths))
    if len(wrong):
        raise RetrievalError(
            f"{named or f'Row {wrong[0]} of the vectors'} is zero or not finite, and so has no direction; leave it out."
        )
    return unit.astype(np.float32)
