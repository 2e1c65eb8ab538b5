"""Decoding one picture file, whatever it holds.

Which decoder a file gets is read off its first bytes (:mod:`retrieval.images.kinds`): a file that merely calls itself
`.jpg` cannot reach one of Pillow's rarer decoders, or a program outside. Whatever goes wrong becomes an
:class:`UnreadableImage` with a short reason, so that a job of a million files can skip it, count it and go on.
"""

from __future__ import annotations

import io
import logging
import os
import struct
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from importlib import import_module
from types import MappingProxyType
from typing import IO, Any, Generic, Literal, NamedTuple, TypeVar

from PIL import Image, ImageFile

from retrieval.base.placed_files import MAX_BYTES, NotOpenedError, failure, open_file
from retrieval.base.text import printable
from retrieval.base.units import show_bytes
from retrieval.errors import RetrievalError
from retrieval.images import camera_raw, kinds, mending, profiles, tiff
from retrieval.images.box import Box
from retrieval.images.colours import plain
from retrieval.images.exif import Fact, facts
from retrieval.images.preprocessing import Pixels, Preprocessing, prepare
from retrieval.images.room import SHARED, Room

Source = str | os.PathLike[str] | IO[bytes]
Decoder = Literal["pillow", "simplejpeg"]
_Done = TypeVar("_Done")

VERSION = 2
"""Of the pixels that are made of a file. It goes up with every change that makes other pixels of some file; an index
records it, since vectors of other pixels do not belong beside each other."""

MAX_PIXELS = 178_956_970
"""Width × height above which a picture is refused, as it is decoded: 512 MiB as RGB, where Pillow too suspects a bomb.
A JPEG that is decoded at an eighth of its size may have 64 times as many."""

_READS = 10_000
"""How often a decoder may read from a file before it knows the picture's size. Some go byte by byte through a file
that holds nothing but zeros behind its first bytes, as a download that was never finished."""

_SHRINKING = 16 * 10**6
"""Pixels above which a picture is made smaller strip by strip before anything else is done with it."""

_STRIP = 1 << 20  # pixels of such a strip

_PLAIN, _OTHER = 10, 28
"""Bytes for each pixel that decoding takes at its peak: of pictures in plain colours, which are turned at most (8 were
measured), and of all others, which are converted (27 for transparent WebP)."""

_COPIES = frozenset({kinds.WEBP, kinds.AVIF, kinds.HEIC, kinds.JPEG_2000, kinds.JPEG_XL})
"""Whose decoders have the whole picture once more."""


# Pillow warns about odd metadata, and logs: nothing a user could act on, since a picture is either read or
# reported. A filter set once is the only way that is safe beside other threads (catch_warnings is not).
warnings.filterwarnings("ignore", module=r"PIL\.")


logging.getLogger("PIL").addHandler(logging.NullHandler())


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

_SIDEWAYS = frozenset({5, 6, 7, 8})  # the orientations that swap width and height

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


class Decoded(NamedTuple, Generic[_Done]):
    """What was made of a picture.

    Attributes:
        made: of it, upright, of mode "RGB" or "L" and perhaps smaller than it is in the file.
        width: of the picture in the file, as it is shown, pixels.
        height: likewise.
        facts: what the camera wrote beside it, if that is wanted; see :func:`retrieval.images.exif.facts`.
    """

    made: _Done
    width: int
    height: int
    facts: Mapping[str, Fact] = MappingProxyType({})


class Wanted(NamedTuple):
    """What somebody wants of a picture.

    Attributes:
        size: the shorter side that will be needed, pixels; None for the picture as it is.
        mode: "RGB" or "L"; None for "L" of grey pictures and "RGB" of all others.
        decoder: what decodes JPEGs.
        max_pixels: most that are decoded.
        room: where there must be enough memory first; None if whoever calls has seen to it.
        facts: whether to tell what the camera wrote beside it.
        box: the part of it that is wanted, of the upright picture in its full size: give it with no `size`.
    """

    size: int | None = None
    mode: Literal["RGB", "L"] | None = None
    decoder: Decoder = "pillow"
    max_pixels: int = MAX_PIXELS
    room: Room | None = SHARED
    facts: bool = False
    box: Box | None = None


def read(path: Source, p: Preprocessing, decoder: Decoder = "pillow") -> Pixels:
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
    return _from(path, Wanted(p.size, p.mode, decoder), partial(prepare, p=p))


def open_picture(
    source: Source,
    *,
    size: int | None = None,
    mode: Literal["RGB", "L"] | None = None,
    max_pixels: int = MAX_PIXELS,
    box: Box | None = None,
) -> Image.Image:
    """A picture, upright and in plain colours, as a viewer shows it.

    The first frame of a moving picture, and the first page that is no reduced version of another; what a camera made
    of its raw file; turned as its EXIF orientation says; deep values scaled to 8 bits; palette, CMYK and the like
    converted; colours of a profile brought to sRGB; what is transparent laid over white.

    Args:
        source: a path, or a binary file, which is read from where it stands and stays open.
        size: the shorter side that will be needed, pixels. A JPEG is then decoded at the smallest of 1/8,
            1/4, 1/2 and 1/1 that is at least as large (Pillow's draft mode): several times faster for a
            photograph. Very large pictures of other kinds are made smaller, too, but not below twice of this.
        mode: "RGB" or "L"; if None, "L" for grey pictures and "RGB" for all others.
        max_pixels: width × height of what is decoded above which the picture is refused before that.
        box: only this part of it, in its full size.

    Returns:
        A loaded picture of mode "RGB" or "L" that no longer needs the file.

    Raises:
        UnreadableImage: for whatever is wrong with the file.
    """
    wanted = Wanted(size if box is None else None, mode, max_pixels=max_pixels, box=box)
    return _from(source, wanted, lambda picture: picture)


def _from(source: Source, wanted: Wanted, make: Callable[[Image.Image], _Done]) -> _Done:
    name = _name(source)
    try:
        with _opened(source) as file:
            return decode(file, name, wanted, make).made
    except NotOpenedError as refused:
        raise UnreadableImage(name, refused.reason) from refused
    except OSError as error:
        raise UnreadableImage(name, failure(error)) from error


def decode(file: IO[bytes], name: str, wanted: Wanted, make: Callable[[Image.Image], _Done]) -> Decoded[_Done]:
    """Decode an open file.

    Args:
        file: binary, seekable, at its start.
        name: what to call it, printable.
        wanted: what is wanted of it.
        make: what is made of the picture, while there is memory for it.

    Raises:
        UnreadableImage: for whatever is wrong with the file.
        RetrievalError: if simplejpeg is asked for and not installed.
    """

    def job() -> Decoded[_Done]:
        header = Header(file, name)
        header.refuse_large(wanted)
        if wanted.room is None:
            return header.decoded(wanted, make)
        with room_for(header.bytes_needed(wanted), wanted.room, name):
            return header.decoded(wanted, make)

    return _trouble_named(job, file, name)


def needed_for(file: IO[bytes], name: str, wanted: Wanted) -> int:
    """About how much memory decoding takes at most, by the picture's header.

    Args:
        file: binary, seekable, at its start, where it is left.
        name: what to call it, printable.
        wanted: what is wanted of it.

    Raises:
        UnreadableImage: for whatever is wrong with the header.
    """

    def job() -> int:
        header = Header(file, name)
        header.refuse_large(wanted)
        file.seek(0)
        return header.bytes_needed(wanted)

    return _trouble_named(job, file, name)


def _name(source: Source) -> str:
    if isinstance(source, (str, os.PathLike)):
        return printable(source)
    name = getattr(source, "name", None)
    return printable(name) if isinstance(name, str) else "(in memory)"


def _opened(source: Source) -> IO[bytes]:
    """The open file."""
    if not isinstance(source, (str, os.PathLike)):
        # A copy, since leaving the caller's `with` block must not close somebody's file.
        return io.BytesIO(source.read(MAX_BYTES))
    return io.BufferedReader(open_file(source))


class _Bounded:
    """A file that counts how often it is read from."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.left: float = _READS
        self.seek, self.tell = file.seek, file.tell

    def read(self, count: int = -1) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise ValueError("too much before the picture")
        return self._file.read(count)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class Header:
    """What a file says of its picture before any pixel is decoded.

    Args:
        file: binary, seekable, at its start.
        name: what to call it, printable.

    Raises:
        UnreadableImage: it is no picture, or none that is supported.
        Exception: whatever decoders raise.
    """

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file = file
        self._name = name
        self._orientation: int | None = None  # where it is not the decoder that knows it
        self._deep: tuple[bytes, tiff.File, tiff.Page] | None = None
        self._held = 0  # bytes of copies of the file
        self._container: bytes | None = None  # a raw file that begins like a TIFF
        head = file.read(kinds.HEAD)
        if not head:
            raise UnreadableImage(name, "empty file")
        kind = kinds.kind_of(head)
        if kind is None:
            raise UnreadableImage(name, "not a picture")
        self.kind = kind
        if kind is kinds.RAW:
            self._open_raw()
        elif kind is kinds.TIFF:
            self._open_tiff()
        else:
            self._open()

    def _open(self) -> None:
        """Let the decoder of the file's kind read its header."""
        if not self.kind.module:
            raise UnreadableImage(self._name, f"not supported ({self.kind.name})")
        try:
            opener = getattr(import_module(self.kind.module), self.kind.opener)
        except ImportError as error:
            reason = f"not supported ({self.kind.name}) without {self.kind.extra}: pip install {self.kind.extra}"
            raise UnreadableImage(self._name, reason) from error
        if self.kind is kinds.JPEG_XL:
            self._file.seek(0)
            self._refuse(kinds.jpeg_xl_pixels(self._file.read(kinds.HEAD)), MAX_PIXELS)  # it decodes at once
        self._file.seek(0)
        # The counting costs more than it is worth where no decoder goes byte by byte.
        bounded = None if self.kind in (kinds.PNG, kinds.WEBP) else _Bounded(self._file)
        try:
            self.picture: ImageFile.ImageFile = opener(bounded or self._file, "")
        except Exception:
            mended = self._mended_png()
            if mended is None:
                raise
            self.picture = mended
        if bounded is not None:
            bounded.left = float("inf")
        self.width, self.height = self.picture.size

    def _mended_png(self) -> ImageFile.ImageFile | None:
        """The header of a PNG without the parts that it can do without; None if it has none."""
        if self.kind is not kinds.PNG:
            return None
        self._file.seek(12)
        if self._file.read(4) != b"IHDR":  # nothing follows that could be mended
            return None
        self._file.seek(0)
        mended = mending.png(self._file.read())
        if mended is None:
            return None
        from PIL.PngImagePlugin import PngImageFile

        self._file = io.BytesIO(mended[0])
        picture = PngImageFile(self._file, "")
        if mended[1] is not None:
            picture.info["icc_profile"] = mended[1]
        return picture

    def _open_raw(self) -> None:
        """Take the JPEG that a camera put into its raw file."""
        self._file.seek(0)
        data = self._file.read()
        preview = camera_raw.preview(data)
        if preview is None:
            raise UnreadableImage(self._name, "not supported (camera RAW without a preview)")
        self._orientation = preview.orientation
        self._container = data if data.startswith((b"II*\0", b"MM\0*")) else None
        self._file, self.kind = io.BytesIO(data[preview.start :]), kinds.JPEG
        self._held = 2 * len(data)
        self._open()

    def _open_tiff(self) -> None:
        """Find the page that is the picture, and who decodes it."""
        tiff.quieten()
        parsed = tiff.parse(self._file)
        if parsed.raw:
            try:
                self._open_raw()
                return
            except UnreadableImage:  # the thumbnail that raw files begin with is better than nothing
                self.kind = kinds.TIFF
        page = parsed.shown
        if page is None:
            return self._open()
        ours = page.deep or (parsed.misread and page.simple)
        if page is not parsed.pages[0] or ours:
            self._file.seek(0)
            data = self._file.read()
            self._held = 3 * len(data)
            self._deep = (data, parsed, page)
            self.width, self.height = page.size
            if ours:
                return
            self._file = io.BytesIO(tiff.pointed_at(data, parsed, page))
        try:
            self._open()
            self._deep = None
        except (SyntaxError, KeyError, ValueError) as error:
            reason = tiff.why_not(page)
            if reason is not None:
                raise tiff.Unsupported(reason) from error
            if "unknown pixel mode" not in str(error):
                raise
            self._file.seek(0)
            self._deep = (self._file.read(), parsed, page)
            self.width, self.height = page.size
        self._page = page

    def _scale(self, size: int | None) -> int:
        """By how much a JPEG is made smaller while it is decoded."""
        if size is None or self.kind is not kinds.JPEG:
            return 1
        return next((scale for scale in (8, 4, 2) if min(self.width, self.height) >= scale * size), 1)

    def refuse_large(self, wanted: Wanted) -> None:
        """See that not too many pixels would be decoded.

        Raises:
            UnreadableImage: they would.
        """
        if self.width * self.height > wanted.max_pixels * self._scale(wanted.size) ** 2:
            self._refuse((self.width, self.height), wanted.max_pixels)

    def _refuse(self, size: tuple[int, int], most: int) -> None:
        if size[0] * size[1] > most:
            raise UnreadableImage(self._name, f"too many pixels ({size[0]}×{size[1]})")

    def _shrinks(self, wanted: Wanted) -> bool:
        return wanted.size is not None and self.width * self.height > _SHRINKING and self.kind is not kinds.JPEG

    def bytes_needed(self, wanted: Wanted) -> int:
        """About how much memory decoding takes at most."""
        pixels = self.width * self.height
        if self._deep is not None:
            return self._held + 3 * tiff.bytes_of(self._deep[2]) + 8 * pixels
        header = self.picture
        if self.kind is kinds.JPEG:
            coefficients = 2 * len(header.getbands()) * pixels if header.info.get("progressive") else 0
            return self._held + coefficients + _OTHER * pixels // self._scale(wanted.size) ** 2
        if self._shrinks(wanted):
            each = 1 if header.mode in ("1", "L", "P") else 6 if header.mode.startswith(("I", "F")) else 4
            return self._held + (each + 8 * (self.kind in _COPIES)) * pixels + 64 * _STRIP
        simple = header.mode in ("1", "L", "P", "RGB") and "transparency" not in header.info
        return self._held + (_PLAIN if simple and self.kind not in _COPIES else _OTHER) * pixels

    def decoded(self, wanted: Wanted, make: Callable[[Image.Image], _Done]) -> Decoded[_Done]:
        """The picture, and what is made of it; once.

        Raises:
            UnreadableImage: simplejpeg is asked for and not installed.
            Exception: whatever decoders raise.
        """
        if self._deep is not None:
            picture = tiff.deep_picture(*self._deep)
            self._orientation = self._deep[2].one(tiff.ORIENTATION, 1)
        else:
            picture = self._loaded(wanted)
        orientation = self._turn()
        picture = self._shrunk(picture, wanted) if self._shrinks(wanted) else self._plain(picture)
        if wanted.mode is not None and picture.mode != wanted.mode:
            picture = picture.convert(wanted.mode)
        if orientation in _TURNS:
            picture = picture.transpose(_TURNS[orientation])
        sideways = orientation in _SIDEWAYS
        made = make(picture if wanted.box is None else self._part(picture, wanted.box))
        known = self._facts() if wanted.facts else {}
        self.__dict__.pop("picture", None)  # its memory is given back before that of the room is
        self._deep = None
        width, height = (self.height, self.width) if sideways else (self.width, self.height)
        return Decoded(made, width, height, known)

    def _loaded(self, wanted: Wanted) -> Image.Image:
        """The pixels as they are stored, of a JPEG perhaps fewer."""
        if self.kind is kinds.JPEG:
            return self._loaded_jpeg(wanted)
        try:
            picture: Image.Image = self._load()
        except Exception:
            mended = self._mended_png()
            if mended is None:
                raise
            self.picture = mended
            picture = self._load()
        self.width, self.height = picture.size  # TIFF has been turned by now
        if self.kind is kinds.BMP and picture.mode == "RGBA" and picture.getchannel("A").getextrema() == (0, 0):
            return picture.convert("RGB")  # written by programs that do not know that the fourth byte means something
        return picture

    def _load(self) -> ImageFile.ImageFile:
        header = self.picture
        if self.kind is kinds.PNG and header.info.get("default_image") and getattr(header, "n_frames", 1) > 1:
            header.seek(1)  # what stands before it is for programs that know no moving pictures
        deep = self.kind is kinds.PNG and header.mode == "RGB" and any(";16" in str(tile[3]) for tile in header.tile)
        header.load()
        if deep:
            return _brightened(header)
        return header

    def _loaded_jpeg(self, wanted: Wanted) -> Image.Image:
        header = self.picture
        grey = "L" if wanted.mode == "L" and not profiles.changes(header) else None
        if wanted.decoder == "simplejpeg":
            picture = self._by_simplejpeg(wanted, grey)
            if picture is not None:
                return picture
        size = wanted.size and (wanted.size, wanted.size)
        if size:
            header.draft(grey, size)
        try:
            header.load()
            return header
        except Exception:
            from PIL.JpegImagePlugin import JpegImageFile

            def decode_whole(data: bytes) -> Image.Image:
                picture = JpegImageFile(io.BytesIO(data), "")
                if size:
                    picture.draft(grey, size)
                picture.load()
                return picture

            self._file.seek(0)
            mended = mending.jpeg(self._file.read(), decode_whole)
            if mended is None:
                raise
            return mended

    def _by_simplejpeg(self, wanted: Wanted, grey: str | None) -> Image.Image | None:
        """A JPEG by simplejpeg; None for whatever Pillow had better do."""
        try:
            import simplejpeg
        except ImportError as error:
            raise RetrievalError(
                "The package simplejpeg is not installed; install it (`pip install simplejpeg`) or use Pillow."
            ) from error
        if self.picture.mode not in ("L", "RGB"):
            return None
        colours = "GRAY" if "L" in (grey, self.picture.mode) else "RGB"
        self._file.seek(0)
        try:
            pixels = simplejpeg.decode_jpeg(self._file.read(), colours, min_height=wanted.size, min_width=wanted.size)
        except Exception:  # Pillow meets the same trouble and names it, or does better
            return None
        picture = Image.fromarray(pixels[..., 0] if colours == "GRAY" else pixels)
        if "icc_profile" in self.picture.info:
            picture.info["icc_profile"] = self.picture.info["icc_profile"]
        return picture

    def _plain(self, picture: Image.Image) -> Image.Image:
        return plain(picture, 16 if self.kind in (kinds.PNM, kinds.JPEG_2000) else None)

    def _shrunk(self, picture: Image.Image, wanted: Wanted) -> Image.Image:
        """The picture in plain colours, at least twice as large as is wanted, with little memory besides its own."""
        if picture.mode.startswith(("I", "F")):
            picture = self._plain(picture)
        factor = max(1, min(picture.size) // (2 * (wanted.size or 1)))
        rows = max(1, _STRIP // picture.width // factor) * factor
        strips: list[Image.Image] = []
        for top in range(0, picture.height, rows):
            strip = picture.crop((0, top, picture.width, min(picture.height, top + rows)))
            strips.append(self._plain(strip).reduce(factor))
        whole = Image.new(strips[0].mode, (strips[0].width, sum(strip.height for strip in strips)))
        top = 0
        for strip in strips:
            whole.paste(strip, (0, top))
            top += strip.height
        return whole

    def _facts(self) -> dict[str, Fact]:
        """What the camera wrote beside the picture."""
        exif = None
        try:
            if self._deep is None and (self.kind is kinds.TIFF or "exif" in self.picture.info):
                exif = self.picture.getexif()
            elif self._container is not None:
                exif = Image.Exif()
                exif.load(self._container)
        except Exception:  # damaged metadata is no reason to do without the picture
            return {}
        return {} if exif is None else facts(exif)

    def _part(self, picture: Image.Image, box: Box) -> Image.Image:
        """A part of the upright picture.

        Raises:
            UnreadableImage: it lies beside it.
        """
        edges = box.edges(*picture.size)
        if edges is None:
            raise UnreadableImage(self._name, f"its {picture.width}×{picture.height} pixels have no part #{box}")
        return picture.crop(edges)

    def _turn(self) -> int:
        """The EXIF orientation of the pixels."""
        if self._orientation is not None:
            return self._orientation
        # TIFF and HEIC files are turned while they are loaded. The others are only asked for EXIF data where they have
        # some, since parsing costs as much as decoding a small picture.
        header = self.picture
        if self.kind in (kinds.TIFF, kinds.HEIC) or not _ORIENTED.intersection(header.info):
            return 1
        if self.kind is kinds.JPEG_XL and not getattr(header, "jpeg", False):
            return 1  # its decoder has turned it
        try:
            return int(header.getexif().get(0x0112, 1))
        except Exception:  # damaged metadata is no reason to do without the picture
            return 1


def _brightened(picture: ImageFile.ImageFile) -> ImageFile.ImageFile:
    """A picture of sixteen bits a channel, of which Pillow keeps the upper eight, if only the lower ones are used."""
    highest = max(channel[1] for channel in picture.getextrema() if isinstance(channel, tuple))
    full = next(full for full in (3, 15, 63, 255) if highest <= full)
    if full < 255:
        picture.im = picture.point(lambda value: value * 255 / full).im
    return picture


def room_for(needed: int, room: Room, name: str) -> AbstractContextManager[None]:
    """Memory to decode in, as soon as there is enough of it.

    Raises:
        UnreadableImage: there is never enough.
    """
    if needed > room.size:
        raise UnreadableImage(name, f"needs {show_bytes(needed)} of memory")
    return room.hold(needed)


def _trouble_named(job: Callable[[], _Done], file: IO[bytes], name: str) -> _Done:
    """What a job gives; whatever goes wrong with it is an `UnreadableImage`."""
    try:
        return job()
    except RetrievalError:
        raise
    except Exception as error:  # a decoder raises anything at all on a hostile file
        raise UnreadableImage(name, _reason(error, file)) from error


def _reason(error: Exception, file: IO[bytes]) -> str:
    """A few words for what a decoder raised."""
    if isinstance(error, OSError) and error.errno:
        return failure(error)
    if isinstance(error, Image.DecompressionBombError):
        return "too many pixels"
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, tiff.Unsupported):
        return f"not supported ({error})"
    said = str(error).lower()
    ended = isinstance(error.__cause__ or error, (EOFError, IndexError, struct.error))
    if ended or "truncated" in said or _ends_early(file):
        return "truncated"
    file.seek(0)
    kind = kinds.kind_of(file.read(kinds.HEAD))
    unknown = any(words in said for words in _NOT_KNOWN) or (kind is kinds.PSD and isinstance(error, KeyError))
    return f"not supported ({kind.name})" if kind is not None and unknown else "damaged"


_NOT_KNOWN = ("unsupported", "not supported", "support not installed", "unknown pixel mode", "cannot handle")
"""What Pillow says of files that may be whole and are none of those that it reads."""


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
