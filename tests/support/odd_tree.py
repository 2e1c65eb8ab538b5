"""A folder with one of everything that disks hold and ordinary folders of pictures do not.

:func:`grow` makes it; :data:`READ`, :data:`LEFT_OUT` and :data:`PASSED` say what a walk and a build must make of it.
"""

from __future__ import annotations

import io
import os
import socket
import struct
from pathlib import Path

import numpy as np
from odd_files import HEIC, chunk, film, png, saved, swapped_profile, tiff, tiff_of
from PIL import Image, ImageDraw, features

CLASSES = ("cat", "dog", "eel")
EACH = 6
"""Ordinary pictures of a class."""

HOLES = 1 << 28
"""Bytes of a file that has next to none on the disk."""


def picture(seed: int, width: int = 60, height: int = 40) -> Image.Image:
    """Soft blots: pictures of different seeds look nothing like each other, also to a hash."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def grow(root: Path) -> Path:
    """Make the folder."""
    for number, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for one in range(EACH):
            picture(100 * number + one).save(root / name / f"{one}.png")
    _formats(root / "cat")
    _scans(root / "dog")
    _names(root / "eel")
    _links(root)
    _one_photograph(root / "cat")
    _no_content(root / "eel")
    _damaged(root / "dog")
    _not_pictures(root)
    _of_systems(root)
    _dates(root / "eel")
    return root


def _write(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


# What is read


def _formats(folder: Path) -> None:
    """Formats, files without a telling name, profiles."""
    frames = [picture(70), picture(71)]
    files = {
        "phone.HEIC": HEIC,
        "unnamed": saved(picture(50, 50, 60), "PNG"),
        "edited.jpg_original": saved(picture(51), "JPEG"),
        "wrong name.gif": saved(picture(52), "JPEG"),
        "moving.png": saved(Image.new("RGB", (60, 40)), "PNG", save_all=True, append_images=frames, default_image=True),
        "print.jpg": saved(picture(53).convert("CMYK"), "JPEG"),
        "swapped.jpg": saved(picture(63), "JPEG", icc_profile=swapped_profile()),
        "no end.jpg": saved(picture(54), "JPEG", quality=95)[:-2],
        "moves.jpg": saved(picture(55), "JPEG")[:-2] + film(),
        "see through.bmp": _bitmap(np.asarray(picture(56))),
        "much text.png": png(np.asarray(picture(57)), chunk(b"tEXt", b"Comment\0hello", wrong=1)),
    }
    if features.check("avif"):
        files["screen.avif"] = saved(picture(58), "AVIF")
    if features.check("jpg_2000"):
        files["archive.jp2"] = saved(picture(59), "JPEG2000")
    _write(folder, files)


def _bitmap(pixels: np.ndarray) -> bytes:
    """A BMP of 32 bits whose fourth byte is zero everywhere."""
    height, width = pixels.shape[:2]
    rows = np.dstack([pixels[..., ::-1], np.zeros((height, width), np.uint8)])[::-1].tobytes()
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 32, 0, len(rows), 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(rows), 0, 0, 54) + header + rows


def _scans(folder: Path) -> None:
    """Deep and unusual values; all of them show the same, so that a black or a negative one stands out."""
    grey = np.asarray(picture(60).convert("L")).astype(np.uint32)
    grey[0, 1:3] = 0, 255  # 32 bits are spread from the least to the largest
    real = (grey / 255).astype(np.float32)
    gap = real.copy()
    gap[0, 0] = -9999
    bands = np.dstack([np.asarray(picture(64))] * 2)[..., :5]
    small = picture(61, 15, 10)
    _write(
        folder,
        {
            "8.tif": tiff([tiff_of(grey.astype(np.uint8))]),
            "12.tif": tiff([tiff_of((grey * 4095 // 255).astype(np.uint16), bits=12)]),
            "16.tif": tiff([tiff_of((grey * 257).astype(np.uint16))], ">"),
            "32.tif": tiff([tiff_of(grey * 16843009)]),
            "negative.tif": tiff([tiff_of((65535 - grey * 257).astype(np.uint16), colours=0)]),
            "real.tif": tiff([tiff_of(real)]),
            "long real.tif": tiff([tiff_of(real.astype(np.float64))]),
            "gap.tif": tiff([tiff_of(gap)]),
            "bands.tif": tiff([tiff_of(bands, colours=2, t338=("H", (0, 0)))]),
            "preview first.tif": tiff([tiff_of(np.asarray(small), t254=("I", 1)), tiff_of(np.asarray(picture(62)))]),
            "16.png": _deep_png(grey),
        },
    )


def _deep_png(grey: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray((grey * 257).astype(np.uint16)).save(file, "PNG")
    return file.getvalue()


SAME = ("8.tif", "12.tif", "16.tif", "32.tif", "negative.tif", "real.tif", "long real.tif", "gap.tif", "16.png")
"""Of those, in `dog`, what looks alike."""

NAMES = (
    "caf\u00e9.png",
    "cafe\u0301 later.png",
    "line\nbreak.png",
    "carriage\rreturn.png",
    "\x1b[31mred.png",
    "=1+1.png",
    "-rf.png",
    "  blanks .png",
    "quo\"te's.png",
    "\u202egnp.exe.png",
    "n" * 251 + ".png",
)
"""Names of pictures in `eel`."""

NOT_UTF8 = b"caf\xe9.png"


def _names(folder: Path) -> None:
    for number, name in enumerate(NAMES):
        picture(300 + number).save(folder / name)
    Path(os.fsdecode(os.fsencode(folder) + b"/" + NOT_UTF8)).write_bytes(saved(picture(330), "PNG"))


def _links(root: Path) -> None:
    (root / "dog/link.png").symlink_to("../cat/0.png")
    (root / "dog/hard.png").hardlink_to(root / "dog/1.png")
    (root / "dog/gone.png").symlink_to("nowhere.png")
    (root / "dog/itself.png").symlink_to("itself.png")
    (root / "dog/up").symlink_to("..")
    (root / "cat/copy of 1.png").write_bytes((root / "cat/1.png").read_bytes())
    picture(2, 180, 120).save(root / "cat/larger 2.png")  # what cat/2.png shows


def _one_photograph(folder: Path) -> None:
    """A photograph as a camera and a program keep it: three files, one thing; and its copy with all of them."""
    shown = picture(80, 120, 80)
    jpeg = saved(shown, "JPEG", quality=95)
    thumbnail = tiff_of(np.asarray(shown.resize((12, 8))), t254=("I", 1))
    sensor = np.random.default_rng(1).integers(0, 1 << 14, (80, 120), np.uint16)
    raw = tiff([thumbnail, tiff_of(sensor, colours=32803, t254=("I", 0))]) + jpeg
    _write(folder, {"IMG_7.jpg": jpeg, "IMG_7.nef": raw, "IMG_7.xmp": b"<x:xmpmeta/>"})


def _no_content(folder: Path) -> None:
    """Pictures in which there is next to nothing, and different ones with the same vector."""
    for number in range(3):
        icon = Image.new("RGBA", (48, 48), (255, 255, 255, 0))
        ImageDraw.Draw(icon).ellipse((8 + number, 8, 30, 30 + number), fill=(255, 255, 255, 255))
        icon.save(folder / f"icon {number}.png")
    for number in range(6):
        Image.new("RGB", (40 + number, 40)).save(folder / f"black {number}.png")


def _dates(folder: Path) -> None:
    """Files of another age, as a dead battery and a wrong clock leave them."""
    for name, seconds in (("0.png", -11_670_000_000), ("1.png", 10_420_000_000)):
        os.utime(folder / name, (0, seconds))


# What is not read


def _damaged(folder: Path) -> None:
    noise = Image.effect_noise((200, 120), 70).convert("RGB")
    huge = struct.pack(">IIBBBBB", 200_000, 200_000, 8, 2, 0, 0, 0)
    _write(
        folder,
        {
            "cut.jpg": saved(noise, "JPEG", quality=90)[:-300],
            "cut.png": saved(noise, "PNG")[:-2000],
            "zeros.jpg": b"\xff\xd8\xff\xe1" + bytes(1 << 20),
            "empty.jpg": b"",
            "text.jpg": b"no picture, whatever its name says\n",
            "huge.png": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", huge) + chunk(b"IDAT", b"x\x9c" + bytes(50)),
        },
    )
    with (folder / "sparse.jpg").open("wb") as file:
        file.write(b"\xff\xd8\xff\xe1")
        file.truncate(HOLES)
    os.mkfifo(folder / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(folder)  # a socket's path may have a hundred bytes
        listener.bind("socket.jpg")
        os.chdir(here)
    (folder / "secret.png").write_bytes(saved(picture(90), "PNG"))
    (folder / "secret.png").chmod(0)


def _not_pictures(root: Path) -> None:
    _write(
        root,
        {
            "cat/film.MOV": film(),
            "cat/film": film(),
            "cat/notes.txt": b"notes",
            "cat/README": b"BM is what this begins with\n",
            "dog/._0.png": b"\0\5\x16\7",
            "dog/.hidden.png": saved(picture(91), "PNG"),
            "dog/nothing": b"",
            "eel/drawing.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            "eel/letter.pdf": b"%PDF-1.4\n",
        },
    )
    os.mkfifo(root / "eel/pipe")


def _of_systems(root: Path) -> None:
    """Copies that a system keeps, and thumbnails within a class."""
    for name in ("#recycle", "$RECYCLE.BIN", "cat/@eaDir", ".Trash-1000/files", "__MACOSX", "lost+found"):
        _write(root / name, {"0.png": (root / "dog/0.png").read_bytes()})
    picture(92, 16, 16).save(root / "cover.png")
    (root / "cat/thumbs").mkdir()
    picture(93, 16, 16).save(root / "cat/thumbs/small.png")


def read() -> dict[str, tuple[int, int]]:
    """Path and upright size of every picture that must be read."""
    plain = [f"{name}/{n}.png" for name in CLASSES for n in range(EACH)]
    plain += [f"dog/{name}" for name in (*SAME, "bands.tif", "preview first.tif", "link.png", "hard.png")]
    plain += [f"eel/{name}" for name in NAMES]
    plain += [f"cat/{name}" for name in ("edited.jpg_original", "wrong name.gif", "moving.png", "print.jpg")]
    plain += ["cat/copy of 1.png"]
    plain += [f"cat/{name}" for name in ("swapped.jpg", "no end.jpg", "moves.jpg", "see through.bmp", "much text.png")]
    plain += ["cat/screen.avif"] * features.check("avif") + ["cat/archive.jp2"] * features.check("jpg_2000")
    plain += ["dog/secret.png"] * (os.geteuid() == 0)  # who reads everything
    return {
        **dict.fromkeys(plain, (60, 40)),
        **{f"eel/icon {n}.png": (48, 48) for n in range(3)},
        **{f"eel/black {n}.png": (40 + n, 40) for n in range(6)},
        **dict.fromkeys(("cat/IMG_7.jpg", "cat/IMG_7.nef"), (120, 80)),
        **dict.fromkeys(("cover.png", "cat/thumbs/small.png"), (16, 16)),
        "cat/larger 2.png": (180, 120),
        "cat/phone.HEIC": (40, 64),
        "cat/unnamed": (50, 60),
    }


def left_out() -> dict[str, str]:
    """Name, as it is shown, and the reason of every picture that must be left out."""
    reasons = {
        "dog/cut.jpg": "truncated",
        "dog/cut.png": "truncated",
        "dog/zeros.jpg": "damaged",
        "dog/sparse.jpg": "damaged",
        "dog/empty.jpg": "empty file",
        "dog/text.jpg": "not a picture",
        "dog/huge.png": "too many pixels (200000×200000)",
        "dog/pipe.jpg": "not a regular file",
        "dog/socket.jpg": "not a regular file",
        "dog/gone.png": "broken link",
        "dog/itself.png": "broken link",
        "dog/up": "link to a folder",
        "eel/caf\\xe9.png": "name is not UTF-8",
    }
    return reasons if os.geteuid() == 0 else {**reasons, "dog/secret.png": "no permission"}


PASSED = {"system folder": 6, "video": 2, "hidden": 1, "hidden picture": 1, "other": 5, "SVG": 1, "PDF": 1}
"""What a walk passes over, by kind: `other` are a sidecar, two texts, an empty file and a pipe."""


def everything(root: Path) -> dict[bytes, tuple[object, ...]]:
    """Every name below a folder, with all that could change of it but for the time of its last reading."""
    found: dict[bytes, tuple[object, ...]] = {}
    for folder, folders, files in os.walk(os.fsencode(root)):
        for name in (*folders, *files):
            path = os.path.join(folder, name)  # noqa: PTH118  (bytes)
            status = os.lstat(path)
            whole: bytes | None = None
            if os.path.islink(path):  # noqa: PTH114
                whole = os.readlink(path)  # noqa: PTH115
            elif name in files and os.path.isfile(path) and status.st_size < HOLES:  # noqa: PTH113
                whole = Path(os.fsdecode(path)).read_bytes() if os.access(path, os.R_OK) else None
            changed = (status.st_size, status.st_mtime_ns) if name in files else ()
            found[os.path.relpath(path, os.fsencode(root))] = (status.st_mode, status.st_ino, *changed, whole)
    return found
