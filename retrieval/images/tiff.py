"""TIFF files: which of their pages is the picture, and values that Pillow does not read.

The directories are read by a parser of a few lines, which looks at no more than so many pages and entries. What
Pillow knows it decodes. Of deep values (more than eight bits, fractions, many bands) it is handed a directory that
calls each row a row of bytes, so that libtiff unpacks them, whatever they are compressed with; what the bytes mean is
worked out here.
"""

from __future__ import annotations

import ctypes
import io
import struct
from functools import cache
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from retrieval.images.colours import eight_bits

WIDTH, HEIGHT, BITS, COMPRESSION, COLOURS, ORIENTATION, SAMPLES, FORMAT = 256, 257, 258, 259, 262, 274, 277, 339
_SUBFILE, _OLD_SUBFILE, _STRIPS, _ROWS, _STRIP_BYTES, _LARGEST, _PLANES = 254, 255, 273, 278, 279, 281, 284
_PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES, _INNER, _PROFILE = 317, 322, 323, 324, 325, 330, 34675
_NO_DATA, _DNG = 42113, 50706
_WANTED = frozenset(
    (
        *(WIDTH, HEIGHT, BITS, COMPRESSION, COLOURS, ORIENTATION, SAMPLES, FORMAT, _SUBFILE, _OLD_SUBFILE, _STRIPS),
        *(_ROWS, _STRIP_BYTES, _LARGEST, _PLANES, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES, _INNER),
        *(_PROFILE, _NO_DATA, _DNG),
    )
)

_PAGES = 32
_ENTRIES = 4096
_VALUES = 1 << 22
"""Pages, entries of one, and bytes of one entry's values, above which no more are read."""

_TYPES = {1: "B", 2: "s", 3: "H", 4: "I", 6: "b", 7: "s", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q", 18: "Q"}

_RAW_COLOURS = frozenset({32803, 34892})  # what a sensor saw, through its filters or without
_RAW_COMPRESSIONS = frozenset({32767, 32769, 32770, 34713, 65000, 65535})

_CODECS = frozenset({1, 5, 8, 32773, 32946, 34925, 50000})
"""Compressions that give back bytes, whatever these mean."""

_NAMES = {6: "old JPEG", 34661: "JBIG", 34712: "JPEG 2000", 33003: "JPEG 2000", 33005: "JPEG 2000", 34887: "LERC",
          34892: "lossy JPEG", 34925: "LZMA", 50000: "Zstandard", 50001: "WebP", 52546: "JPEG XL"}  # fmt: skip

_EVERYWHERE = frozenset({1, 2, 3, 4, 5, 7, 8, 32773, 32946})
"""Compressions that every libtiff knows: what fails of these is damaged."""

Tags = dict[int, tuple[Any, ...]]


class Unsupported(Exception):  # noqa: N818 (says of what kind the file is)
    """A whole file of a kind that nothing here reads."""


class Page(NamedTuple):
    """One picture of a file.

    Attributes:
        at: where its directory starts, bytes.
        tags: those of :data:`_WANTED` that it has.
    """

    at: int
    tags: Tags

    def one(self, tag: int, default: int) -> int:
        """The first value of a tag, as a whole number."""
        values = self.tags.get(tag)
        return int(values[0]) if values and not isinstance(values[0], bytes) else default

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, pixels."""
        return self.one(WIDTH, 0), self.one(HEIGHT, 0)

    @property
    def reduced(self) -> bool:
        """Whether it is a smaller version of another page, or the mask of one."""
        return bool(self.one(_SUBFILE, 0) & 5) or self.one(_OLD_SUBFILE, 1) == 2

    @property
    def raw(self) -> bool:
        """Whether it is what a camera's sensor saw, or belongs to such."""
        return (
            self.one(COLOURS, 0) in _RAW_COLOURS or self.one(COMPRESSION, 1) in _RAW_COMPRESSIONS or _DNG in self.tags
        )

    @property
    def simple(self) -> bool:
        """Whether its values are shades of grey, or red, green and blue."""
        return self.one(COLOURS, 1) in (0, 1, 2)

    @property
    def deep(self) -> bool:
        """Whether its values are worked out here, as Pillow would read them wrong or not at all."""
        bits = self.tags.get(BITS, (1,))
        whole = set(self.tags.get(FORMAT, (1,))) <= {1, 4}
        odd = not whole or max(bits) > 8 or max(len(bits), self.one(SAMPLES, 1)) > 4
        alpha = whole and max(bits) == 16 and len(bits) == 4 and self.one(COLOURS, 1) == 2  # which Pillow reads
        return self.simple and odd and not alpha


class File(NamedTuple):
    """A file's pages.

    Attributes:
        pages: the pages one after the other, and then those inside them.
        order: "<" or ">".
        big: whether it is a BigTIFF.
    """

    pages: tuple[Page, ...]
    order: str
    big: bool

    @property
    def raw(self) -> bool:
        """Whether it is a camera's raw file."""
        return any(page.raw for page in self.pages)

    @property
    def misread(self) -> bool:
        """Whether Pillow takes it for what it is not, as it does with a BigTIFF whose high bytes come first."""
        return self.big and self.order == ">"

    @property
    def shown(self) -> Page | None:
        """The page that a viewer shows: the first that is no reduced version of another; None if there is none."""
        return next((page for page in self.pages if not page.reduced), self.pages[0] if self.pages else None)


def parse(file: IO[bytes]) -> File:
    """Read a file's directories; damaged ones end the list.

    Args:
        file: is left anywhere.
    """
    file.seek(0)
    head = file.read(16)
    order = ">" if head.startswith(b"MM") else "<"
    big = head[2:4] in (b"+\0", b"\0+")
    (first,) = struct.unpack_from(order + ("Q" if big else "I"), head.ljust(16, b"\0"), 8 if big else 4)
    pages: list[Page] = []
    seen: set[int] = set()
    waiting = [first]
    inner: list[int] = []
    while (waiting or inner) and len(pages) < _PAGES:
        at = waiting.pop() if waiting else inner.pop(0)
        if not at or at in seen:
            continue
        seen.add(at)
        try:
            tags, following = _directory(file, at, order, big)
        except (struct.error, OSError, ValueError, OverflowError):
            continue
        pages.append(Page(at, tags))
        waiting.append(following)
        inner.extend(value for value in tags.get(_INNER, ()) if isinstance(value, int))
    return File(tuple(pages), order, big)


def _directory(file: IO[bytes], at: int, order: str, big: bool) -> tuple[Tags, int]:
    """The tags of one directory, and where the next one starts."""
    file.seek(at)
    (count,) = struct.unpack(order + ("Q" if big else "H"), file.read(8 if big else 2))
    if count > _ENTRIES:
        raise ValueError(count)
    length, offset = (20, "Q") if big else (12, "I")
    entries = file.read(count * length)
    following = file.read(8 if big else 4)
    tags: Tags = {}
    for place in range(0, len(entries) - length + 1, length):
        tag, kind, number = struct.unpack_from(order + "HH" + offset, entries, place)
        if tag not in _WANTED or kind not in _TYPES:
            continue
        form = f"{order}{number}{_TYPES[kind]}"
        size = number * struct.calcsize(order + _TYPES[kind]) if number <= _VALUES else _VALUES + 1
        if size > _VALUES:
            continue
        inside = 8 if big else 4
        if size <= inside:
            content = entries[place + length - inside : place + length]
        else:
            (where,) = struct.unpack_from(order + offset, entries, place + length - inside)
            file.seek(where)
            content = file.read(size)
        if len(content) >= size:
            tags[tag] = struct.unpack_from(form, content)
    return tags, struct.unpack(order + offset, following)[0] if len(following) >= (8 if big else 4) else 0


def pointed_at(data: bytes, file: File, page: Page) -> bytes:
    """The same file with another page as its first."""
    start, width, form = (8, 8, "Q") if file.big else (4, 4, "I")
    return b"".join((data[:start], struct.pack(file.order + form, page.at), data[start + width :]))


def why_not(page: Page) -> str | None:
    """Of what kind a page is that could not be decoded, if that may be the reason; None if it is damaged."""
    compression = page.one(COMPRESSION, 1)
    if compression not in _EVERYWHERE:
        return f"TIFF with {_NAMES.get(compression, f'compression {compression}')}"
    return None


def bytes_of(page: Page) -> int:
    """How many bytes the values of a page are."""
    width, height = page.size
    bits = int(max(*page.tags.get(BITS, (1,)), 8))
    return width * height * max(page.one(SAMPLES, 1), 1) * bits // 8


def deep_picture(data: bytes, file: File, page: Page) -> Image.Image:
    """A page of deep values, in mode "L" or "RGB", not turned yet.

    Raises:
        Unsupported: its values are of a kind that is not worked out here.
    """
    values = _samples(data, file, page)
    bits = page.tags[BITS][0] if BITS in page.tags else 1
    largest = page.tags.get(_LARGEST)
    known: int | None = bits if bits < 16 else None
    if bits == 16 and largest and 255 <= int(largest[0]) < 65535:
        known = int(largest[0]).bit_length()
    inverted = page.one(COLOURS, 1) == 0
    grey = eight_bits(values, bits=known, nothing=_nothing(page), negative=inverted)
    picture = Image.fromarray(grey[..., 0] if grey.shape[2] == 1 else grey)
    profile = page.tags.get(_PROFILE)
    if profile:
        picture.info["icc_profile"] = profile[0] if isinstance(profile[0], bytes) else bytes(profile)
    return picture


def _nothing(page: Page) -> float | None:
    """What GDAL says stands for no value."""
    text = page.tags.get(_NO_DATA, (b"",))[0]
    try:
        return float(text.rstrip(b"\0 ")) if isinstance(text, bytes) else None
    except ValueError:
        return None


def _samples(data: bytes, file: File, page: Page) -> NDArray[Any]:
    """Values (h, w, 1 or 3)."""
    width, height = page.size
    tags = page.tags
    every = tags.get(BITS, (1,))
    bits, samples = int(every[0]), max(page.one(SAMPLES, 1), 1)
    compression, predictor = page.one(COMPRESSION, 1), page.one(_PREDICTOR, 1)
    if compression not in _CODECS:
        raise Unsupported(why_not(page) or f"TIFF of {bits} bits with compression {compression}")
    kinds = {1: "u", 2: "i", 3: "f", 4: "u"}
    kind = kinds.get(page.one(FORMAT, 1))
    packed = bits not in (8, 16, 32, 64)
    if kind is None or len(set(every)) > 1 or (packed and (bits > 16 or kind != "u" or predictor != 1)):
        raise Unsupported(f"TIFF of {bits} bits" if kind else "TIFF of complex numbers")
    if (kind == "f") < (predictor == 3) or (kind == "f" and bits == 8):
        raise Unsupported(f"TIFF of {bits} bits with predictor {predictor}")
    shown = 3 if page.one(COLOURS, 1) == 2 and samples >= 3 else 1
    apart = page.one(_PLANES, 1) == 2 and samples > 1
    beside = 1 if apart else samples  # samples that stand beside each other in a row
    across = tags[_TILE_WIDTH][0] if _TILES in tags else width
    row = -(-across * beside * bits // 8)
    count = -(-width // max(across, 1))
    planes = []
    for band in range(shown if apart else 1):
        rows = _rows(data, page, row, count, (band, samples) if apart else (0, 1)).reshape(height, count, row)
        if packed:
            values = _unpacked(rows, across * beside, bits)
        elif predictor == 3:
            values = _summed_bytes(rows, beside, bits // 8).view(f">f{bits // 8}")
        else:
            values = rows.view(f"{file.order}{kind}{bits // 8}")
            if predictor == 2:
                shape = (height, count, across, beside)
                values = np.cumsum(values.reshape(shape), axis=2, dtype=values.dtype.newbyteorder("="))
        planes.append(values.reshape(height, count * across, beside)[:, :width, : 1 if apart else shown])
    whole = planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)
    return whole.astype(whole.dtype.newbyteorder("="), copy=False)


def _rows(data: bytes, page: Page, row: int, count: int, part: tuple[int, int]) -> NDArray[np.uint8]:
    """Rows of bytes (h, count · row), unpacked by libtiff; of one plane among several."""
    tags, (plane, planes) = page.tags, part
    height = page.size[1]
    entries: dict[int, tuple[int, ...]] = {
        WIDTH: (row * count,), HEIGHT: (height,), BITS: (8,), COMPRESSION: (page.one(COMPRESSION, 1),), COLOURS: (1,),
        SAMPLES: (1,),
    }  # fmt: skip
    if _TILES in tags:
        entries |= {_TILE_WIDTH: (row,), _TILE_HEIGHT: tags[_TILE_HEIGHT]}
    else:
        entries[_ROWS] = (min(page.one(_ROWS, height), height),)
    for tag in (_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES):
        if tag in tags:
            own = len(tags[tag]) // planes
            entries[tag] = tags[tag][plane * own : (plane + 1) * own]
    order = "<" if data.startswith(b"II") else ">"
    start = len(data) + len(data) % 2
    directory = [struct.pack(order + "H", len(entries))]
    behind = start + 2 + 12 * len(entries) + 4
    values = b""
    for tag, numbers in sorted(entries.items()):
        content = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(numbers) > 1:
            place = struct.pack(order + "I", behind + len(values))
            values += content
        directory.append(struct.pack(order + "HHI", tag, 4, len(numbers)) + (place if len(numbers) > 1 else content))
    head = data[:2] + struct.pack(order + "HI", 42, start)
    body = data[8:].ljust(start - 8, b"\0")
    from PIL.TiffImagePlugin import TiffImageFile

    with TiffImageFile(io.BytesIO(b"".join((head, body, *directory, bytes(4), values))), "") as unpacked:
        unpacked.load()
        return np.asarray(unpacked)


def _unpacked(rows: NDArray[np.uint8], across: int, bits: int) -> NDArray[np.uint16]:
    """Values (h, count, across) of so many bits each, the highest first, each row beginning with a byte."""
    values = np.empty((*rows.shape[:2], across), np.uint16)
    weights = (1 << np.arange(bits - 1, -1, -1)).astype(np.uint16)
    for number, line in enumerate(rows):
        ones = np.unpackbits(line, axis=1)[:, : across * bits]
        values[number] = ones.reshape(len(line), across, bits).astype(np.uint16) @ weights
    return values


def _summed_bytes(rows: NDArray[np.uint8], beside: int, size: int) -> NDArray[np.uint8]:
    """Undo what TIFF calls the floating point predictor: each byte less the one before it, high bytes first."""
    height, count, row = rows.shape
    summed = np.cumsum(rows.reshape(height, count, row // beside, beside), axis=2, dtype=np.uint8)
    planes = summed.reshape(height, count, size, row // size)
    return np.ascontiguousarray(planes.transpose(0, 1, 3, 2)).reshape(height, count, row)


@cache
def quieten() -> None:
    """Keep libtiff from writing lines to stderr that name no file: what fails is reported by Pillow as well."""
    here = Path(PIL.__file__).parent
    for library in chain((here.parent / "pillow.libs").glob("libtiff*"), (here / ".dylibs").glob("libtiff*")):
        try:
            handler = ctypes.CDLL(str(library)).TIFFSetErrorHandler
        except (OSError, AttributeError):
            continue
        handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
        handler(None)
