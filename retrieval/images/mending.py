"""Files that are whole but not by the book: given back as what a decoder takes, where no pixel is missing."""

from __future__ import annotations

import random
import re
import struct
import zlib
from collections.abc import Callable

from PIL import Image

_NEEDED = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"eXIf"})
_CHUNKS = 1 << 18
_PROFILE = 8 * 2**20
"""Chunks of a PNG, and bytes of its unpacked profile, above which no more are looked at."""

_FILM = re.compile(rb"MotionPhoto_Data|....ftyp", re.DOTALL)
_END = b"\xff\xd9"
_NOISE = random.Random(0).randbytes(4096).replace(b"\xff", b"\x7f")


def png(data: bytes) -> tuple[bytes, bytes | None] | None:
    """A PNG without what is not needed to show it: texts of any size, checksums that are wrong, private chunks.

    Args:
        data: the whole file.

    Returns:
        The file and its colour profile; None if nothing could be left out.
    """
    parts = [data[:8]]
    profile = None
    place = 8
    for _ in range(_CHUNKS):
        if len(data) < place + 12:
            parts.append(data[place:])
            break
        (length,) = struct.unpack_from(">I", data, place)
        name = data[place + 4 : place + 8]
        if not name.isalpha():
            return None
        end = place + 12 + length
        content = data[place + 8 : end - 4]
        if name == b"iCCP":
            profile = _unpacked_profile(content)
        sound = len(data) >= end and zlib.crc32(name + content) == int.from_bytes(data[end - 4 : end], "big")
        if name in _NEEDED and (sound or name[:1].isupper()):
            parts.append(data[place:end])
        place = end
        if name == b"IEND":
            break
    mended = b"".join(parts)
    return None if len(mended) >= len(data) else (mended, profile)


def _unpacked_profile(content: bytes) -> bytes | None:
    start = content.find(b"\0", 0, 80) + 2
    if start < 2:
        return None
    unpacking = zlib.decompressobj()
    try:
        profile = unpacking.decompress(content[start:], _PROFILE)
    except zlib.error:
        return None
    return None if unpacking.unconsumed_tail else profile


def jpeg(data: bytes, decode: Callable[[bytes], Image.Image]) -> Image.Image | None:
    """The picture of a JPEG that lacks nothing but its end marker, whatever lies behind it.

    Whether nothing else is missing shows in that the pixels do not depend on what follows.

    Args:
        data: the whole file.
        decode: decodes a file that has an end.

    Returns:
        None if pixels are missing.
    """
    scan = data.rfind(b"\xff\xda")
    if scan < 0 or not _is_complete(data):
        return None
    film = _FILM.search(data, scan)
    body = (data[: film.start()] if film is not None else data).rstrip(b"\xff")
    picture = decode(body + _END)
    return picture if picture.tobytes() == decode(body + _NOISE + _END).tobytes() else None


def _is_complete(data: bytes) -> bool:
    """Whether there is a scan for every bit of every coefficient, as a progressive JPEG has many."""
    frame = next((match for match in re.finditer(rb"\xff[\xc0-\xc2](..)\x08....(.)", data, re.DOTALL)), None)
    if frame is None:
        return False
    if data[frame.start() + 1] != 0xC2:
        return True
    coarse = {(component, coefficient) for component in range(frame[2][0]) for coefficient in range(64)}
    components: dict[int, int] = {}
    for number in range(frame[2][0]):
        components[data[frame.end() + 3 * number]] = number
    for match in re.finditer(rb"\xff\xda\0(.)([\x01-\x04])", data, re.DOTALL):
        count = match[2][0]
        if match[1][0] != 6 + 2 * count or len(data) < match.end() + 2 * count + 3:
            continue
        first, last, low = data[match.end() + 2 * count : match.end() + 2 * count + 3]
        if low & 15:
            continue
        for number in range(count):
            component = components.get(data[match.end() + 2 * number], -1)
            coarse.difference_update((component, coefficient) for coefficient in range(first, min(last, 63) + 1))
    return not coarse
