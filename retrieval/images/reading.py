"""Files to vectors, many at once: read, hash, decode and encode, on all cores and in bounded memory.

Each thread takes a batch through all its steps by itself. Reading, hashing, decoding and the network's own work all
let go of Python's lock, so the threads share the cores with no queue between them that could run full or empty, and
no thread of a network waits for another that is busy decoding. ``benchmarks/build.py`` measures it.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple, Protocol

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from retrieval import images
from retrieval.base.text import printable
from retrieval.base.threads import _Done, in_order
from retrieval.base.units import show_bytes
from retrieval.errors import RetrievalError
from retrieval.images.folders import failure, irregular

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB", "PPM")

_PLAIN, _OTHER = 10, 28
"""Bytes for each pixel that decoding takes at its peak: of pictures in plain colours, which are turned at most (8 were
measured), and of all others, which are converted (27 for floating-point TIFF and transparent WebP)."""

_ORIENTATION = 0x0112
_SIDEWAYS = frozenset({5, 6, 7, 8})  # the EXIF orientations that swap width and height


class Contents(Protocol):
    """What remembers which files' bytes were met before; asked from many threads at a time."""

    def claim(self, sha256: str) -> bool:
        """Whether whoever asks is to decode and encode these bytes, because nobody has or is about to."""

    def spoil(self, sha256: str, reason: str) -> None:
        """Learn that bytes that were claimed are no picture that can be read, and why."""


class Room:
    """Memory for pictures that are being decoded: each waits until it fits beside the others.

    Args:
        size: bytes.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._free = size
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def hold(self, count: int) -> Iterator[None]:
        """Have so many bytes, `size` at most, to oneself for a while."""
        with self._changed:
            self._changed.wait_for(lambda: self._free >= count)
            self._free -= count
        try:
            yield
        finally:
            with self._changed:
                self._free += count
                self._changed.notify_all()


class Fingerprint(NamedTuple):
    """What identifies a file's content.

    Attributes:
        size: bytes.
        mtime_ns: when the file last changed, nanoseconds since 1970.
        sha256: of the bytes, in hexadecimal.
    """

    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True)
class ReadPicture:
    """A picture file's pixels, as the network wants them, and what identifies the file.

    Attributes:
        pixels: uint8 (size, size, channels); None where the content was known, and not decoded.
        width: of the picture as it is shown, pixels; 0 where it was not decoded.
        height: likewise.
        size: of the file, bytes.
        mtime_ns: when the file last changed, nanoseconds since 1970.
        sha256: of the file's bytes, in hexadecimal.
    """

    pixels: images.Pixels | None
    width: int
    height: int
    size: int
    mtime_ns: int
    sha256: str


def hash_files(
    files: Sequence[str | Path], *, threads: int, root: Path = Path()
) -> Generator[Fingerprint | images.Skipped]:
    """Read files without looking at what they show.

    Args:
        files: any number of files.
        threads: how many are read at a time.
        root: where relative paths start from.

    Yields:
        What identifies each file, or why it cannot be read, in the order of `files`.
    """
    return in_order(lambda file: _or_skipped(partial(_fingerprint, root / file)), files, threads)


def read_picture(
    path: Path,
    p: images.Preprocessing,
    decoder: images.Decoder,
    contents: Contents | None = None,
    room: Room | None = None,
) -> ReadPicture:
    """Read one file, once: its bytes are hashed and decoded from memory.

    Args:
        path: the file.
        p: what the network expects.
        decoder: what decodes JPEGs.
        contents: what says whether these bytes need decoding; without it they are decoded.
        room: where there must be enough of it first.

    Raises:
        UnreadableImage: for whatever is wrong with the file.
        RetrievalError: the decoder is simplejpeg and not installed.
    """
    with _opened(path) as (file, status), contextlib.ExitStack() as held:
        if room is not None:
            needed = 3 * status.st_size + decoding_bytes(file, p.size)  # decoders make copies of the file
            if needed > room.size:
                reason = f"needs {show_bytes(needed)} of memory"
                raise images.UnreadableImage(printable(path), reason)
            held.enter_context(room.hold(needed))
        data = file.readall()
        digest = hashlib.sha256(data).hexdigest()
        if contents is not None and not contents.claim(digest):
            return ReadPicture(None, 0, 0, status.st_size, status.st_mtime_ns, digest)
        try:
            pixels, width, height = _decode(data, p, decoder)
        except images.UnreadableImage as problem:
            if contents is not None:
                contents.spoil(digest, problem.reason)
            raise images.UnreadableImage(printable(path), problem.reason) from problem
        return ReadPicture(pixels, width, height, status.st_size, status.st_mtime_ns, digest)


def decoding_bytes(file: IO[bytes], size: int) -> int:
    """About how much memory decoding takes at most, by the picture's header; 0 if it is none.

    Args:
        file: is left where it starts.
        size: the shorter side that is needed, pixels, to which JPEGs are reduced while they are decoded.
    """
    try:
        header = Image.open(file, formats=_FORMATS)
        pixels = header.width * header.height
        if header.format in ("JPEG", "MPO"):
            scale = next((scale for scale in (8, 4, 2) if min(header.size) >= scale * size), 1)
            coefficients = 2 * len(header.getbands()) * pixels if header.info.get("progressive") else 0
            return coefficients + _OTHER * pixels // scale**2
        plain = header.mode in ("1", "L", "P", "RGB") and "transparency" not in header.info and header.format != "WEBP"
        return (_PLAIN if plain else _OTHER) * pixels
    except Exception:  # a decoder raises anything; whoever decodes the file will say what is wrong
        return 0
    finally:
        file.seek(0)


def choose_decoder(choice: str) -> str:
    """What an index records as its decoder.

    Args:
        choice: "pillow", "simplejpeg", or "auto" for simplejpeg where it is installed and Pillow elsewhere.

    Returns:
        Its name and version ("pillow 11.0.0").

    Raises:
        RetrievalError: there is no such decoder, or it is not installed.
    """
    if choice not in ("auto", "pillow", "simplejpeg"):
        raise RetrievalError(f"There is no decoder {choice!r}; choose auto, pillow or simplejpeg.")
    installed = importlib.util.find_spec("simplejpeg") is not None
    if choice == "simplejpeg" and not installed:
        raise RetrievalError(
            "The decoder simplejpeg is not installed; install it (pip install simplejpeg), or build the index anew "
            "with --decoder pillow."
        )
    name = "simplejpeg" if installed and choice != "pillow" else "pillow"
    return f"{name} {importlib.metadata.version(name)}"


def recorded_decoder(recorded: str | None) -> images.Decoder:
    """Which decoder an index was built with, from what it records."""
    return "simplejpeg" if (recorded or "").startswith("simplejpeg") else "pillow"


def _or_skipped(read: Callable[[], _Done]) -> _Done | images.Skipped:
    try:
        return read()
    except images.UnreadableImage as problem:
        return images.Skipped(problem.path, problem.reason)


def _fingerprint(path: Path) -> Fingerprint:
    with _opened(path) as (file, status):
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Fingerprint(status.st_size, status.st_mtime_ns, digest)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[io.FileIO, os.stat_result]]:
    """An open file, and its size and time as it is opened; whatever goes wrong with it is an `UnreadableImage`."""
    name = printable(path)
    try:
        # Opening a pipe would wait for somebody to write to it; the flag changes nothing for a file.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 (a descriptor)
            status = os.fstat(descriptor)
            reason = irregular(status.st_mode)
            if reason is None and status.st_size > images.MAX_BYTES:
                reason = f"too large ({status.st_size:,} bytes)"
            if reason is not None:
                raise images.UnreadableImage(name, reason)
            yield file, status
    except OSError as error:
        broken = isinstance(error, FileNotFoundError) and path.is_symlink()
        raise images.UnreadableImage(name, "broken link" if broken else failure(error)) from error


def _decode(data: bytes, p: images.Preprocessing, decoder: images.Decoder) -> tuple[images.Pixels, int, int]:
    """Pixels for the network, and the picture's own width and height."""
    if not data.startswith(b"\xff\xd8\xff"):
        picture = images.open_picture(io.BytesIO(data), mode=p.mode)
        return images.prepare(picture, p), picture.width, picture.height
    pixels = _decode_jpeg(data, p, decoder)
    header = JpegImageFile(io.BytesIO(data))  # once more, as decoding at a fraction of the size forgets the size
    width, height = header.size
    try:
        sideways = "exif" in header.info and header.getexif().get(_ORIENTATION) in _SIDEWAYS
    except Exception:  # damaged metadata, which the decoder passes over too
        sideways = False
    return (pixels, height, width) if sideways else (pixels, width, height)


def _decode_jpeg(data: bytes, p: images.Preprocessing, decoder: images.Decoder) -> images.Pixels:
    if decoder == "simplejpeg":
        try:
            return images.read(io.BytesIO(data), p, decoder)  # type: ignore[arg-type]  # it reads streams too
        except images.UnreadableImage:  # or a kind of JPEG that it leaves to Pillow, which needs the bytes again
            pass
    return images.prepare(images.open_picture(io.BytesIO(data), size=p.size, mode=p.mode), p)
