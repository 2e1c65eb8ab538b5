"""Files to vectors, many at once: read, hash, decode and encode, on all cores and in bounded memory.

Each thread takes a batch through all its steps by itself. Reading, hashing, decoding and the network's own work all
let go of Python's lock, so the threads share the cores with no queue between them that could run full or empty, and
no thread of a network waits for another that is busy decoding. ``benchmarks/build.py`` measures it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import io
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL.JpegImagePlugin import JpegImageFile

from retrieval import images
from retrieval.errors import RetrievalError
from retrieval.images.folders import failure, irregular

if TYPE_CHECKING:
    from retrieval.encoder import Encoder

PIXELS_A_BATCH = 2**20
"""About how many pixels of network input one thread reads before it encodes: 20 pictures of 224×224."""

PICTURES_A_BATCH = 256
"""Most pictures that one thread reads before it encodes, however small they are."""

_Work = TypeVar("_Work")
_Done = TypeVar("_Done")

_ORIENTATION = 0x0112
_SIDEWAYS = frozenset({5, 6, 7, 8})  # the EXIF orientations that swap width and height


@dataclass(frozen=True)
class ReadPicture:
    """A picture file's pixels, as the network wants them, and what identifies the file.

    Attributes:
        pixels: uint8 (size, size, channels).
        width: of the picture as it is shown, pixels.
        height: likewise.
        size: of the file, bytes.
        mtime_ns: when the file last changed, nanoseconds since 1970.
        sha256: of the file's bytes, in hexadecimal.
    """

    pixels: images.Pixels
    width: int
    height: int
    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True)
class EncodedBatch:
    """What became of one batch of files.

    Attributes:
        start: the place of its first file among all that were asked for.
        pictures: one a file of the batch, in order: what is known of it, or why it was left out.
        vectors: float32 (m, dim), unit rows: one a file that was read, in order.
    """

    start: int
    pictures: tuple[ReadPicture | images.Skipped, ...]
    vectors: NDArray[np.float32]


def encode_files(
    files: Sequence[Path], encoder: Encoder, decoder: images.Decoder, *, threads: int, batch: int | None = None
) -> Iterator[EncodedBatch]:
    """Read and encode files.

    Args:
        files: any number of picture files.
        encoder: what turns pixels into vectors. With several threads it had better use one core itself.
        decoder: what decodes JPEGs.
        threads: how many batches are worked on at a time.
        batch: files in one batch; by default what keeps memory small and the cores busy.

    Yields:
        The batches, in the order of `files`. At most `threads` + 1 are in memory besides the one that is yielded.
    """
    p = encoder.config.preprocessing
    step = batch or max(1, min(PICTURES_A_BATCH, PIXELS_A_BATCH // p.size**2, -(-len(files) // threads)))

    def work(start: int) -> EncodedBatch:
        pictures = tuple(_read_or_skip(file, p, decoder) for file in files[start : start + step])
        pixels = [picture.pixels for picture in pictures if isinstance(picture, ReadPicture)]
        square = (0, p.size, p.size, p.channels)
        return EncodedBatch(start, pictures, encoder.encode(np.stack(pixels) if pixels else np.empty(square, np.uint8)))

    return _in_order(work, range(0, len(files), step), threads)


def read_picture(path: Path, p: images.Preprocessing, decoder: images.Decoder) -> ReadPicture:
    """Read one file, once: its bytes are hashed and decoded from memory.

    Raises:
        UnreadableImage: for whatever is wrong with the file.
        RetrievalError: the decoder is simplejpeg and not installed.
    """
    name = images.printable(path)
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
            data = file.readall()
    except OSError as error:
        broken = isinstance(error, FileNotFoundError) and path.is_symlink()
        raise images.UnreadableImage(name, "broken link" if broken else failure(error)) from error
    try:
        pixels, width, height = _decode(data, p, decoder)
    except images.UnreadableImage as problem:
        raise images.UnreadableImage(name, problem.reason) from problem
    digest = hashlib.sha256(data).hexdigest()
    return ReadPicture(pixels, width, height, status.st_size, status.st_mtime_ns, digest)


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


def _read_or_skip(path: Path, p: images.Preprocessing, decoder: images.Decoder) -> ReadPicture | images.Skipped:
    try:
        return read_picture(path, p, decoder)
    except images.UnreadableImage as problem:
        return images.Skipped(problem.path, problem.reason)


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


def _in_order(work: Callable[[_Work], _Done], tasks: Iterable[_Work], threads: int) -> Iterator[_Done]:
    """`map` on some threads that stays at most `threads` + 1 tasks ahead of whoever takes the results."""
    if threads == 1:
        yield from map(work, tasks)
        return
    running: deque[Future[_Done]] = deque()
    pool = ThreadPoolExecutor(threads, "reading")
    try:
        for task in tasks:
            running.append(pool.submit(work, task))
            if len(running) > threads:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:  # also when nobody wants the rest, after Ctrl-C for one
        pool.shutdown(wait=True, cancel_futures=True)
