"""What kind of file something is: by the end of its name, and by its first bytes, which are what counts.

A name alone says which files a walk opens at all. Once a file is open only its bytes decide: a file that merely calls
itself `.jpg` reaches no other decoder than the one that its content calls for, and no program outside.
"""

from __future__ import annotations

import re
from typing import NamedTuple

HEAD = 1024
"""Bytes from the start of a file that tell its kind."""


class Kind(NamedTuple):
    """A kind of file.

    Attributes:
        name: as people call it.
        module: of the class of Pillow's kind that decodes it; empty where nothing does.
        opener: that class.
        extra: what to install where the module is missing.
    """

    name: str
    module: str = ""
    opener: str = ""
    extra: str = ""


JPEG = Kind("JPEG", "PIL.JpegImagePlugin", "jpeg_factory")
PNG = Kind("PNG", "PIL.PngImagePlugin", "PngImageFile")
WEBP = Kind("WebP", "PIL.WebPImagePlugin", "WebPImageFile")
GIF = Kind("GIF", "PIL.GifImagePlugin", "GifImageFile")
TIFF = Kind("TIFF", "PIL.TiffImagePlugin", "TiffImageFile")
BMP = Kind("BMP", "PIL.BmpImagePlugin", "BmpImageFile")
PNM = Kind("PNM", "PIL.PpmImagePlugin", "PpmImageFile")
AVIF = Kind("AVIF", "PIL.AvifImagePlugin", "AvifImageFile")
HEIC = Kind("HEIC", "retrieval.images.heic", "HeifImageFile", "pi-heif")
JPEG_2000 = Kind("JPEG 2000", "PIL.Jpeg2KImagePlugin", "Jpeg2KImageFile")
JPEG_XL = Kind("JPEG XL", "pillow_jxl.JpegXLImagePlugin", "JXLImageFile", "pillow-jxl-plugin")
PSD = Kind("PSD", "PIL.PsdImagePlugin", "PsdImageFile")
RAW = Kind("camera RAW")  # which holds a JPEG, see :mod:`retrieval.images.camera_raw`
VIDEO = Kind("video")

_STARTS: tuple[tuple[re.Pattern[bytes], Kind], ...] = tuple(
    (re.compile(pattern, re.DOTALL), kind)
    for pattern, kind in (
        (rb"\xff\xd8\xff", JPEG),
        (rb"\x89PNG\r\n\x1a\n", PNG),
        (rb"RIFF....WEBP", WEBP),
        (rb"GIF8[79]a", GIF),
        (rb"(?:II[*+]\0.{4}CR|IIU\0|IIR[OS]|MMOR|II\x1a\0\0\0HEAPCCDR|FUJIFILMCCD-RAW|FOVb|\0MRM)", RAW),
        (rb"(?:II[*+]\0|MM\0[*+])", TIFF),
        (rb"BM.{12}[\x0c-\x7c]\0\0\0", BMP),
        (rb"P[1-6](?:\s+|#[^\n]*\n)+\d", PNM),
        (rb"P[Ff]\s", PNM),
        (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", JPEG_2000),
        (rb"\0\0\0\x0cJXL \r\n\x87\n|\xff\x0a", JPEG_XL),
        (rb"8BPS\0\x01", PSD),
        (rb"8BPS\0\x02", Kind("PSB")),
        (rb"RIFF....AVI |\x1aE\xdf\xa3|\0\0\x01\xba|OggS|FLV\x01", VIDEO),
        (rb"%PDF-", Kind("PDF")),
        (rb"(?:\xef\xbb\xbf)?\s*<(?:svg|\?xml[^>]*>\s*(?:<!.{0,400}>\s*)?<svg)\b", Kind("SVG")),
        (rb"\0\0[\x01\x02]\0[\x01-\x40]\0", Kind("Windows icon")),
        (rb"v/1\x01", Kind("OpenEXR")),
        (rb"#\?RADIANCE|#\?RGBE", Kind("Radiance HDR")),
        (rb"gimp xcf", Kind("XCF")),
        (rb"DDS \x7c", Kind("DDS")),
    )
)

_ISO_BRANDS = (
    (frozenset((b"crx ",)), RAW),
    (frozenset((b"avif", b"avis")), AVIF),
    (frozenset(b"heic heix heim heis hevc hevx hevm hevs mif1 mif2 msf1".split()), HEIC),
)

_PICTURE_NAMES = (
    "jpg jpeg jpe jfif mpo png apng webp gif bmp dib tif tiff pgm ppm pbm pnm pfm "
    "heic heif hif avif avifs jp2 j2k j2c jpc jpf jpx jxl psd"
)

_RAW_NAMES = "3fr ari arw cr2 cr3 crw dcr dng erf iiq kdc mef mos mrw nef nrw orf pef raf rw2 rwl sr2 srf srw x3f"

RAW_SUFFIXES = frozenset(f".{name}" for name in _RAW_NAMES.split())
"""Of those, what cameras' own files end with."""

SUFFIXES = RAW_SUFFIXES | {f".{name}" for name in _PICTURE_NAMES.split()}
"""What is taken for a picture by the end of its name, in small letters, until it is opened."""

_OTHER_NAMES = {
    "video": "mp4 mov m4v avi mkv webm 3gp 3g2 mts m2ts mpg mpeg mpe wmv asf flv f4v ogv vob mxf lrv insv braw",
    "sound": "mp3 wav flac ogg oga m4a aac wma aiff aif opus amr mid midi",
    "SVG": "svg svgz",
    "PSB": "psb",
    "PDF": "pdf",
    "PostScript": "eps ps ai",
    "Windows icon": "ico cur",
    "OpenEXR": "exr",
    "Radiance HDR": "hdr",
    "XCF": "xcf",
    "TGA": "tga",
    "DDS": "dds",
    "PCX": "pcx",
    "other": (": ( "),
}

_OTHER = {f".{name}": kind for kind, names in _OTHER_NAMES.items() for name in names.split()}


def suffix(name: str) -> str:
    """The end of a file's name from its last dot on, in small letters; empty where there is none."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def other_kind(ending: str) -> str | None:
    """What a file is by the end of its name if that is no picture's; None if nobody knows before it is opened."""
    return _OTHER.get(ending)


def kind_of(head: bytes) -> Kind | None:
    """What a file is by its first bytes.

    Args:
        head: the first :data:`HEAD` bytes, or all of them.

    Returns:
        None if it is nothing that is shown: no picture, and no video or document either.
    """
    for start, kind in _STARTS:
        if start.match(head):
            return kind
    if head[4:8] == b"ftyp":
        end = min(int.from_bytes(head[:4], "big"), len(head), 256)
        brands = {head[8:12], *(head[place : place + 4] for place in range(16, end - 3, 4))}
        for known, kind in _ISO_BRANDS:
            if not known.isdisjoint(brands):
                return kind
        return VIDEO
    return None


def is_picture(head: bytes) -> bool:
    """Whether a file that begins so is a picture that can be read, or could be if one thing more were installed."""
    kind = kind_of(head)
    return kind is RAW or (kind is not None and bool(kind.module))


def jpeg_xl_pixels(head: bytes) -> tuple[int, int]:
    """Width and height of a JPEG XL, from its first bytes; (0, 0) where they do not tell."""
    start = head.find(b"\xff\x0a", 0, 256)
    if start < 0:
        return 0, 0
    bits = int.from_bytes(head[start + 2 : start + 18], "little")

    def take(count: int) -> int:
        nonlocal bits
        value = bits & ((1 << count) - 1)
        bits >>= count
        return value

    def length(small: bool) -> int:
        return 8 * (take(5) + 1) if small else take((9, 13, 18, 30)[take(2)]) + 1

    small = bool(take(1))
    height = length(small)
    ratio = take(3)
    shapes = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
    width = length(small) if ratio == 0 else height * shapes[ratio - 1][0] // shapes[ratio - 1][1]
    return width, height
