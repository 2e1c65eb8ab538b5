"""Decoding one picture file, whatever it holds.

Which decoder a file gets is read off its first bytes, and only those of :data:`_OPENERS` are there: a file
that merely calls itself `.jpg` cannot reach one of Pillow's rarer decoders, or a program outside. Whatever
goes wrong becomes an :class:`UnreadableImage` with a short reason, so that a job of a million files can skip
it, count it and go on.
"""

from __future__ import annotations

import io
import logging
import os
import struct
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import IO, Literal

from PIL import Image, ImageFile

from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.images.colours import plain
from retrieval.images.folders import failure, irregular
from retrieval.images.preprocessing import Pixels, Preprocessing, prepare

Source = str | os.PathLike[str] | IO[bytes]
Decoder = Literal["pillow", "simplejpeg"]

MAX_PIXELS = 178_956_970
"""Width × height above which a picture is refused: 512 MiB as RGB, where Pillow too suspects a bomb."""

MAX_BYTES = 2**31
"""Size above which a file is refused; some decoders read the whole of it into memory."""


# Pillow warns about odd metadata, and logs: nothing a user could act on, since a picture is either read or
# reported. A filter set once is the only way that is safe beside other threads (catch_warnings is not).
warnings.filterwarnings("ignore", module=r"PIL\.")


logging.getLogger("PIL").addHandler(logging.NullHandler())


_OPENERS: tuple[tuple[Callable[[bytes], bool], str, str], ...] = (
    (lambda head: head.startswith(b"\xff\xd8\xff"), "PIL.JpegImagePlugin", "jpeg_factory"),
    (lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"), "PIL.PngImagePlugin", "PngImageFile"),
    (lambda head: head.startswith(b"RIFF") and head[8:12] == b"WEBP", "PIL.WebPImagePlugin", "WebPImageFile"),
    (lambda head: head.startswith((b"GIF87a", b"GIF89a")), "PIL.GifImagePlugin", "GifImageFile"),
    (lambda head: head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")), "PIL.TiffImagePlugin", "TiffImageFile"),
    (lambda head: head.startswith(b"BM"), "PIL.BmpImagePlugin", "BmpImageFile"),
    (lambda head: head.startswith((b"P1", b"P2", b"P3", b"P4", b"P5", b"P6")), "PIL.PpmImagePlugin", "PpmImageFile"),
)
"""What a file begins with, and who decodes it. Imported when the first such file comes: together they take 30
ms."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each EXIF orientation (tag 274)."""

_ORIENTED = frozenset({"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"})
"""Where a decoder leaves metadata that may tell the orientation."""


class UnreadableImage(RetrievalError):  # noqa: N818 (names the thing)
    """A file that is no picture, or not one that can be read.

    Attributes:
        path: what was to be opened, printable.
        reason: a few words: "truncated", "not a picture", "empty file", "too many pixels (W×H)", ...
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)  # both, so that it survives the way back from another process
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"The picture {self.path!r} cannot be read: {self.reason}."


def read(path: str | os.PathLike[str], p: Preprocessing, decoder: Decoder = "pillow") -> Pixels:
    """One picture file as a network's input.

    Args:
        path: the file.
        p: what the network expects.
        decoder: "simplejpeg" decodes JPEGs with libjpeg-turbo directly, where that package is installed. Its
            pixels differ from Pillow's by a few units, so one index should stick to one. Other formats, and
            JPEGs that it cannot decode (CMYK), go through Pillow all the same.

    Returns:
        uint8 (size, size, channels), C-contiguous, writable.

    Raises:
        UnreadableImage: for whatever is wrong with the file.
        RetrievalError: if simplejpeg is asked for and not installed.
    """
    if decoder == "simplejpeg":
        picture = _open_simplejpeg(path, p)
        if picture is not None:
            return prepare(picture, p)
    return prepare(open_picture(path, size=p.size, mode=p.mode), p)


def open_picture(
    source: Source,
    *,
    size: int | None = None,
    mode: Literal["RGB", "L"] | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """A picture, upright and in plain colours.

    The first frame of a moving picture; turned as its EXIF orientation says; 16 bits scaled to 8; palette,
    CMYK and the like converted; what is transparent laid over white.

    Args:
        source: a path, or a binary file, which is read from where it stands and stays open.
        size: the shorter side that will be needed, pixels. A JPEG is then decoded at the smallest of 1/8,
            1/4, 1/2 and 1/1 that is at least as large (Pillow's draft mode): several times faster for a
            photograph.
        mode: "RGB" or "L"; if None, "L" for grey pictures and "RGB" for all others.
        max_pixels: width × height above which the picture is refused before any pixel is decoded.

    Returns:
        A loaded picture of mode "RGB" or "L" that no longer needs the file.

    Raises:
        UnreadableImage: for whatever is wrong with the file.
    """
    name = _name(source)
    try:
        with _opened(source, name) as file:
            try:
                picture = _identify(file, name)
                _refuse_large(picture, name, max_pixels)
                if size is not None and picture.format in ("JPEG", "MPO"):
                    picture.draft("L" if mode == "L" else None, (size, size))
                picture.load()
                upright = plain(_turned(picture, _turn(picture)))
                return upright if mode is None or upright.mode == mode else upright.convert(mode)
            except UnreadableImage:
                raise
            except Exception as error:  # a decoder raises anything at all on a hostile file
                raise UnreadableImage(name, _reason(error, file)) from error
    except OSError as error:
        raise UnreadableImage(name, failure(error)) from error


def _name(source: Source) -> str:
    if isinstance(source, (str, os.PathLike)):
        return printable(source)
    name = getattr(source, "name", None)
    return printable(name) if isinstance(name, str) else "(in memory)"


def _opened(source: Source, name: str) -> IO[bytes]:
    """The open file. A pipe or a device is refused before it is opened: opening one may wait for ever."""
    if not isinstance(source, (str, os.PathLike)):
        # A copy, since leaving the caller's `with` block must not close somebody's file.
        return io.BytesIO(source.read(MAX_BYTES))
    path = Path(source)
    try:
        status = path.stat()
    except OSError as error:
        broken = isinstance(error, FileNotFoundError) and path.is_symlink()
        raise UnreadableImage(name, "broken link" if broken else failure(error)) from error
    except ValueError as error:  # a NUL, or surrogates that stand for no byte
        raise UnreadableImage(name, "not a possible file name") from error
    reason = irregular(status.st_mode)
    if reason is None and status.st_size == 0:
        reason = "empty file"
    if reason is None and status.st_size > MAX_BYTES:
        reason = f"too large ({status.st_size:,} bytes)"
    if reason is not None:
        raise UnreadableImage(name, reason)
    return path.open("rb")


def _identify(file: IO[bytes], name: str) -> ImageFile.ImageFile:
    """The picture's header, by the decoder that its first bytes call for."""
    head = file.read(16)
    if not head:
        raise UnreadableImage(name, "empty file")
    for accepts, module, opener in _OPENERS:
        if accepts(head):
            file.seek(0)
            header: ImageFile.ImageFile = getattr(import_module(module), opener)(file, "")
            return header
    raise UnreadableImage(name, "not a picture")


def _refuse_large(header: ImageFile.ImageFile, name: str, max_pixels: int) -> None:
    if header.width * header.height > max_pixels:
        raise UnreadableImage(name, f"too many pixels ({header.width}×{header.height})")


def _turn(header: ImageFile.ImageFile) -> Image.Transpose | None:
    """What has to be done to the pixels so that the picture stands upright."""
    # Pillow turns TIFF files by itself while loading. The others are only asked for EXIF data where they have
    # some, since parsing costs as much as decoding a small picture.
    if header.format == "TIFF" or not _ORIENTED.intersection(header.info):
        return None
    try:
        return _TURNS.get(header.getexif().get(0x0112, 1))
    except Exception:  # damaged metadata is no reason to do without the picture
        return None


def _turned(picture: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    return picture if turn is None else picture.transpose(turn)


def _open_simplejpeg(path: str | os.PathLike[str], p: Preprocessing) -> Image.Image | None:
    """A JPEG by simplejpeg, upright; None for whatever Pillow had better do."""
    try:
        import simplejpeg
    except ImportError as error:
        raise RetrievalError(
            "The package simplejpeg is not installed; install it (`pip install simplejpeg`) or use Pillow."
        ) from error
    name = _name(path)
    try:
        with _opened(path, name) as file:
            data = file.read(3)
            if data != b"\xff\xd8\xff":
                return None
            data += file.read()
        header = _identify(io.BytesIO(data), name)
        _refuse_large(header, name, MAX_PIXELS)
        if header.mode not in ("L", "RGB"):
            return None
        colours = "GRAY" if "L" in (p.mode, header.mode) else "RGB"
        pixels = simplejpeg.decode_jpeg(data, colours, min_height=p.size, min_width=p.size)
    except UnreadableImage:
        raise
    except Exception:  # Pillow meets the same trouble and names it, or does better
        return None
    return _turned(Image.fromarray(pixels[..., 0] if colours == "GRAY" else pixels), _turn(header))


def _reason(error: Exception, file: IO[bytes]) -> str:
    """A few words for what a decoder raised."""
    if isinstance(error, OSError) and error.errno:
        return failure(error)
    if isinstance(error, Image.DecompressionBombError):
        return "too many pixels"
    if isinstance(error, MemoryError):
        return "not enough memory"
    ended = isinstance(error.__cause__ or error, (EOFError, IndexError, struct.error))
    return "truncated" if ended or "truncated" in str(error).lower() or _ends_early(file) else "damaged"


def _ends_early(file: IO[bytes]) -> bool:
    """Whether a WebP or TIFF file is shorter than its header says; their decoders do not tell."""
    if file.closed:
        return False
    file.seek(0)
    head = file.read(8)
    size = file.seek(0, os.SEEK_END)
    if head.startswith(b"RIFF"):
        return size < 8 + int.from_bytes(head[4:8], "little")
    if head.startswith(b"II*\0"):
        return size <= int.from_bytes(head[4:8], "little")  # where the directory starts
    return head.startswith(b"MM\0*") and size <= int.from_bytes(head[4:8], "big")
