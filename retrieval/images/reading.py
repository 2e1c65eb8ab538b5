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
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from retrieval import images
from retrieval.base.placed_files import NotOpenedError, PictureFile, Placed, Root, Stamp, failure, open_file
from retrieval.base.text import printable
from retrieval.base.threads import _Done, in_order
from retrieval.errors import RetrievalError
from retrieval.images.box import Box
from retrieval.images.decoding import VERSION, Wanted, decode, needed_for, room_for
from retrieval.images.exif import Fact
from retrieval.images.room import SHARED, Room

_SMALL = 4 * 2**20
"""Bytes of a file up to which it is read before its header is looked at."""


_PIXELS = f", pixels {VERSION}"


class Contents(Protocol):
    """What remembers which files' bytes were met before; asked from many threads at a time."""

    def claim(self, sha256: str) -> bool:
        """Whether whoever asks is to decode and encode these bytes, because nobody has or is about to."""

    def spoil(self, sha256: str, reason: str) -> None:
        """Learn that bytes that were claimed are no picture that can be read, and why."""


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
        facts: what the camera wrote beside the picture, if it was decoded.
    """

    pixels: images.Pixels | None
    width: int
    height: int
    size: int
    mtime_ns: int
    sha256: str
    facts: Mapping[str, Fact] = field(default_factory=dict)


def hash_files(
    files: Sequence[str | Path], *, threads: int, root: Path | Root = Path()
) -> Generator[Fingerprint | images.Skipped]:
    """Read files without looking at what they show.

    Args:
        files: any number of files.
        threads: how many are read at a time, or several times as many where reading is waiting.
        root: where relative paths start from.

    Yields:
        What identifies each file, or why it cannot be read, in the order of `files`.
    """
    at_a_time = threads * (root.readers if isinstance(root, Root) else 1)
    return in_order(lambda file: _or_skipped(partial(_fingerprint, root / file)), files, at_a_time)


def at_hand(files: Sequence[str | Path], root: Path | Root) -> Generator[Path | Placed]:
    """Files where they lie, in order: where reading is waiting, the next few are on their way meanwhile."""
    if not isinstance(root, Root) or root.readers == 1:
        return (root / file for file in files)
    return in_order(lambda file: (root / file).fetched(), files, root.readers)


def read_picture(
    path: Path | Placed,
    p: images.Preprocessing,
    decoder: images.Decoder,
    contents: Contents | None = None,
    room: Room | None = None,
    box: Box | None = None,
) -> ReadPicture:
    """Read one file, once: its bytes are hashed and decoded from memory.

    Args:
        path: the file.
        p: what the network expects.
        decoder: what decodes JPEGs.
        contents: what says whether these bytes need decoding; without it they are decoded.
        room: where there must be enough of it first; by default that of the whole process.
        box: the part of the picture that the pixels show; by default all of it.

    Raises:
        UnreadableImage: for whatever is wrong with the file, or the box lies beside the picture.
        RetrievalError: the decoder is simplejpeg and not installed.
    """
    name = printable(path)
    shorter = p.size if box is None else None
    wanted = Wanted(shorter, p.mode, decoder, room=room or SHARED, facts=True, box=box)
    with _opened(path) as (file, (size, changed_ns)), contextlib.ExitStack() as held:
        if size > _SMALL:  # it may be none, or need so much memory that the file had better wait
            reader = io.BufferedReader(file)
            needed = 2 * size + needed_for(reader, name, wanted)
            reader.detach().seek(0)  # detached, or it would close the file with itself
            held.enter_context(room_for(needed, wanted.room or SHARED, name))
            wanted = wanted._replace(room=None)
        data = file.readall()
        digest = hashlib.sha256(data).hexdigest()
        if contents is not None and not contents.claim(digest):
            return ReadPicture(None, 0, 0, size, changed_ns, digest)
        try:
            pixels, width, height, known = decode(io.BytesIO(data), name, wanted, partial(images.prepare, p=p))
        except images.UnreadableImage as problem:
            if contents is not None:
                contents.spoil(digest, problem.reason)
            raise
        return ReadPicture(pixels, width, height, size, changed_ns, digest, known)


def choose_decoder(choice: str) -> str:
    """What an index records as its decoder.

    Args:
        choice: "pillow", "simplejpeg", or "auto" for simplejpeg where it is installed and Pillow elsewhere.

    Returns:
        Its name and version, and that of the pixels ("pillow 13.0.0, pixels 2").

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
    return f"{name} {importlib.metadata.version(name)}{_PIXELS}"


def recorded_decoder(recorded: str | None) -> images.Decoder:
    """Which decoder an index was built with, from what it records."""
    return "simplejpeg" if (recorded or "").startswith("simplejpeg") else "pillow"


def is_outdated(recorded: str | None) -> bool:
    """Whether an index was built with other pixels than are made now, from what it records as its decoder."""
    return recorded is not None and not recorded.endswith(_PIXELS)


def _or_skipped(read: Callable[[], _Done]) -> _Done | images.Skipped:
    try:
        return read()
    except images.UnreadableImage as problem:
        return images.Skipped(problem.path, problem.reason)


def _fingerprint(path: Path | Placed) -> Fingerprint:
    with _opened(path) as (file, stamp):
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Fingerprint(*stamp, digest)


@contextlib.contextmanager
def _opened(path: Path | Placed) -> Iterator[tuple[PictureFile, Stamp]]:
    """An open file, and its size and time as it is opened; whatever goes wrong with it is an `UnreadableImage`."""
    name = printable(path)
    try:
        with open_file(path) as file:
            yield file, file.stamp()
    except NotOpenedError as refused:
        raise images.UnreadableImage(name, refused.reason) from refused
    except OSError as error:
        raise images.UnreadableImage(name, failure(error)) from error
