"""Files as cameras, scanners and programs write them, made here byte by byte."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from retrieval import images

HEIC = base64.b85decode(
    "0000SW^{RQXk}?*00000ZE0pPXk}?*ZE0a<0005VZDn*}000000000XXk=`10000000000aA{+700000000000000000000G-+&aV*mgE07O6l"
    "0ssL300001>;M4(00000006200ssI200Nc(0RR9100000Bme*aIB98aW&i*H00062000$fZf0cy000000RRAKc4ILB0000LX>Mj^0ssI300IC2"
    "MR;ju000004sdC7Z2$lO00031009SSaB^?}008D`aAR)(004Gqc4I>U18@KU0FVFx0000U@BsY%`1k+-4+CHT0RR|40Sp2E{{wIU00RJ!00093"
    "00RIXx&lC90096hLID8-Z~y=U0FVFx0{{R603M(qfd!W8<fgf}2xu@M00096AOHXZ03l)k0RRR>0l{;?i2wiq6Ju{|a&BX6cmM$a4FCp!0000K"
    "X>)L8000000000$0000$0000eV{Bn?0000$000010000e000010000000002|NsB!000020000GaA|mH000000|*ER00009X>xCL0{{R38EJ5B"
    "VE_OC000000RRC8fdT^sgoXeB02*m>Wo7^X0000001jhhb7KGk009620002iZDe6|0001{C;_ht;64tUo=y;Su*OLbuwS4a&harQkB!mMP2+pi"
    "QkWKxF`AvuK+ZVd{%zI&aH#K^)8CK1IVnKywKVoG>W^<Xl5l~+>1@+MrnxzE)@K|fgyTm}3+}q=`BQnH=ElEcuvW-*4K>x%Jtlu)aKE~%Zh7w?"
    "={KLy{K31Sp&Iq&1J%{J11oy#k%|nKppZkdePS7l)2r!KSc?tn9g7hK#3%p&00u>PX=VTbO-%qQ000080099K00RI30096700000000"
)
"""64 × 40, to be turned right: `gradient(64, 40)` of small_sets at quality 60, which no library here can write."""

TYPES = {"H": 3, "I": 4, "s": 2}


def tiff(pages: list[tuple[dict[int, tuple[str, Any]], bytes]], order: str = "<") -> bytes:
    """A TIFF of pages, each with one strip.

    Args:
        pages: tags as (type, value or values), and the bytes of the strip, for which tags are added.
        order: "<" or ">".
    """
    whole = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 0)
    link = 4
    for tags, strip in pages:
        start = len(whole)
        whole += strip + b"\0" * (len(strip) % 2)
        entries = {**tags, 273: ("I", start), 279: ("I", len(strip))}
        packed = []
        for tag, (kind, value) in sorted(entries.items()):
            values = value if isinstance(value, tuple) else (value,)
            content = value if kind == "s" else struct.pack(f"{order}{len(values)}{kind}", *values)
            count = len(content) if kind == "s" else len(values)
            if len(content) > 4:
                place = len(whole)
                whole += content + b"\0" * (len(content) % 2)
                content = struct.pack(order + "I", place)
            packed.append(struct.pack(order + "HHI", tag, TYPES[kind], count) + content.ljust(4, b"\0"))
        whole = whole[:link] + struct.pack(order + "I", len(whole)) + whole[link + 4 :]
        whole += struct.pack(order + "H", len(packed)) + b"".join(packed)
        link = len(whole)
        whole += b"\0" * 4
    return whole


def tiff_of(
    values: np.ndarray, *, bits: int | None = None, colours: int | None = None, order: str = "<", **tags: Any
) -> tuple[dict[int, tuple[str, Any]], bytes]:
    """A page of an array (h, w) or (h, w, channels), as :func:`tiff` takes it.

    Args:
        values: of any type; sizes are those of its type.
        bits: of a sample, which are packed.
        colours: photometric interpretation; 1 for grey, 2 for three channels.
        order: as of the file.
        tags: others, as t254=("I", 1).
    """
    height, width, channels = (*values.shape, 1)[:3]
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    if bits is None:
        bits, strip = 8 * values.itemsize, values.astype(values.dtype.newbyteorder(order)).tobytes()
    else:
        ones = (values.reshape(height, -1, 1) >> np.arange(bits - 1, -1, -1)) & 1
        strip = np.packbits(ones.reshape(height, -1).astype(np.uint8), axis=1).tobytes()
    own = {int(name[1:]): value for name, value in tags.items()}
    page = {
        256: ("I", width),
        257: ("I", height),
        258: ("H", (bits,) * channels),
        259: ("H", 1),
        262: ("H", colours if colours is not None else 2 if channels == 3 else 1),
        277: ("H", channels),
        278: ("I", height),
        339: ("H", (kind,) * channels),
    }
    return page | own, strip


def chunk(name: bytes, content: bytes, wrong: int = 0) -> bytes:
    """A part of a PNG; its checksum is off by `wrong`."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content) ^ wrong)


def png(pixels: np.ndarray, *before: bytes, behind: bytes = b"") -> bytes:
    """A PNG of uint8 (h, w, 3) with more parts before and behind its pixels."""
    height, width, _ = pixels.shape
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(before) + rows + behind + chunk(b"IEND", b"")


def saved(picture: Image.Image, form: str, **options: Any) -> bytes:
    """A file of Pillow's."""
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def film() -> bytes:
    """What a telephone appends to a photograph that moves."""
    noise = np.random.default_rng(0).integers(0, 256, 4000, np.uint8).tobytes()
    return b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + b"\0\0\x0f\xa8mdat" + noise


def opened(data: bytes, **options: Any) -> np.ndarray:
    """A file's pixels, (h, w) or (h, w, 3), as numbers to subtract."""
    return np.asarray(images.open_picture(io.BytesIO(data), **options)).astype(int)


def reason(data: bytes | Path, **options: Any) -> str:
    """Why a file is not read."""
    try:
        images.open_picture(io.BytesIO(data) if isinstance(data, bytes) else data, **options)
    except images.UnreadableImage as error:
        return error.reason
    raise AssertionError("it was read")


def swapped_profile() -> bytes:
    """A colour profile whose red is the blue of sRGB, and whose blue its red."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack_from(">I", profile, 128)[0]
    for number in range(count):
        place = 132 + 12 * number
        name = bytes(profile[place : place + 4])
        other = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}.get(name, name)
        profile[place : place + 4] = other
    profile[84:100] = bytes(16)  # the profile's checksum, which may be left out
    return bytes(profile)
