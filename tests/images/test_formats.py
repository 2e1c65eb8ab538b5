"""Kinds of files beyond JPEG and PNG, and files that are whole but not by the book."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import odd_files
import pytest
from odd_files import chunk, film, opened, png, reason, saved, tiff, tiff_of
from PIL import Image
from small_sets import gradient

from retrieval import images
from retrieval.images import decoding, kinds
from retrieval.images.reading import read_picture

# pytest puts its own filters over those with which Pillow's warnings are kept from users.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

TRUTH = np.asarray(gradient(64, 40)).astype(int)


# --- Kinds


def test_heic_is_read_and_stands_upright() -> None:
    got = opened(odd_files.HEIC)
    assert got.shape == (64, 40, 3)
    assert np.abs(got - np.rot90(TRUTH, -1)).mean() < 6


@pytest.mark.parametrize("form", ["AVIF", "JPEG2000", "JXL"])
def test_newer_formats_are_read(form: str) -> None:
    if form == "JXL":
        pytest.importorskip("pillow_jxl")
    options = {"AVIF": {"quality": 95}, "JPEG2000": {}, "JXL": {"lossless": True}}[form]
    assert np.abs(opened(saved(gradient(64, 40), form, **options)) - TRUTH).mean() < 4


def test_the_size_of_a_jpeg_xl_is_known_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pillow_jxl")
    for size in ((64, 40), (256, 256), (1000, 3), (160, 90)):
        assert kinds.jpeg_xl_pixels(saved(Image.new("RGB", size), "JXL")[: kinds.HEAD]) == size
    monkeypatch.setattr(decoding, "MAX_PIXELS", 2000)
    assert reason(saved(gradient(64, 40), "JXL")) == "too many pixels (64×40)"


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "retrieval.images.heic", None)
    assert reason(odd_files.HEIC) == "not supported (HEIC) without pi-heif: pip install pi-heif"


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\0\0\0\x18ftypisom\0\0\0\0isomavc1" + bytes(99), "video"),
        (b"%PDF-1.7\n" + bytes(99), "PDF"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"8BPS\0\2" + bytes(99), "PSB"),
        (b"v/1\1" + bytes(99), "OpenEXR"),
        (b"FUJIFILMCCD-RAW " + bytes(99), "camera RAW without a preview"),
    ],
)
def test_what_is_known_and_not_read_is_named(head: bytes, kind: str) -> None:
    assert reason(head) == f"not supported ({kind})"


def psd(pixels: np.ndarray) -> bytes:
    """As Photoshop writes it, without layers."""
    height, width, _ = pixels.shape
    head = b"8BPS\0\1" + bytes(6) + b"\0\3" + height.to_bytes(4) + width.to_bytes(4) + b"\0\x08\0\3"
    return head + bytes(12) + b"\0\0" + pixels.transpose(2, 0, 1).astype(np.uint8).tobytes()


def test_photoshop_files_are_read() -> None:
    np.testing.assert_array_equal(opened(psd(TRUTH)), TRUTH)


def raw_files() -> dict[str, bytes]:
    """The layouts of several makers: a small and a large JPEG in a container, beside what the sensor saw."""
    small = saved(gradient(16, 10), "JPEG")
    large = saved(gradient(64, 40), "JPEG", quality=95)
    sensor = np.random.default_rng(1).integers(0, 1 << 14, (80, 120), np.uint16)
    thumbnail = tiff_of(np.asarray(gradient(16, 10)), t254=("I", 1), t274=("H", 6))
    mosaic = tiff_of(sensor, colours=32803, t254=("I", 0))
    nikon = tiff([thumbnail, mosaic]) + small + large
    canon = bytearray(tiff([thumbnail]) + large + small)
    at = int.from_bytes(canon[4:8], "little")
    canon[8:8] = b"CR\2\0\0\0\0\0"  # where Canon's second version says that it is one
    moved = tiff([({274: ("H", 6), 256: ("I", 1), 257: ("I", 1)}, b"\0\0")])
    fuji = b"FUJIFILMCCD-RAW 0201FF" + bytes(100) + small + large + sensor.tobytes()
    box = b"ftypcrx \0\0\0\1crx isom"
    canon3 = (len(box) + 4).to_bytes(4) + box + b"\0\0\1\0moov" + bytes(30) + b"CMT1" + moved + large + sensor.tobytes()
    assert at > 0
    return {"nikon": nikon, "fuji": fuji, "canon3": canon3}


@pytest.mark.parametrize("maker", ["nikon", "fuji", "canon3"])
def test_of_raw_files_the_largest_preview_is_read(maker: str) -> None:
    got = opened(raw_files()[maker])
    wanted = TRUTH if maker == "fuji" else np.rot90(TRUTH, -1)
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).mean() < 4


# --- Not by the book


def test_a_png_is_read_without_the_parts_that_it_can_do_without() -> None:
    large = zlib.compress(b"x" * 2_000_000)
    parts = {
        "text": chunk(b"zTXt", b"workflow\0\0" + large),
        "xmp": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + large),
        "profile": chunk(b"iCCP", b"printer\0\0" + large),
        "checksum": chunk(b"tEXt", b"Comment\0hello", wrong=1),
        "time": chunk(b"tIME", b"\x07\xe0\1\1\0\0\0", wrong=5),
    }
    pixels = TRUTH.astype(np.uint8)
    for name, part in parts.items():
        np.testing.assert_array_equal(opened(png(pixels, part)), TRUTH, err_msg=name)
        if name != "profile":
            np.testing.assert_array_equal(opened(png(pixels, behind=part)), TRUTH, err_msg=f"{name} behind")
    whole = png(pixels, parts["checksum"])
    assert reason(whole.replace(b"IDAT", b"IDAU")) in ("damaged", "truncated")
    broken = bytearray(whole)
    broken[whole.index(b"IHDR") + 6] ^= 1
    assert reason(bytes(broken)) == "damaged"
    assert reason(whole[:-60]) == "truncated"


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_may_lack_its_end_and_nothing_else(progressive: bool) -> None:
    picture = Image.effect_noise((200, 120), 70).convert("RGB")
    whole = saved(picture, "JPEG", quality=90, progressive=progressive)
    wanted = opened(whole)
    bare = whole[:-2]
    for name, data in {
        "bare": bare,
        "half": whole[:-1],
        "film": bare + film(),
        "whole film": whole + film(),
        "samsung": bare + b"\0\0\x30\x0a\x10\0\0\0MotionPhoto_Data" + film(),
    }.items():
        np.testing.assert_array_equal(opened(data), wanted, err_msg=name)
        np.testing.assert_array_equal(opened(data, size=40), opened(whole, size=40), err_msg=name)
    for cut in (40, 300, len(whole) // 2):
        assert reason(whole[:-cut]) == "truncated"
    if progressive:
        scans = [place for place in range(len(whole)) if whole[place : place + 2] == b"\xff\xda"]
        assert reason(whole[: scans[-1]]) == "truncated"  # a picture, but not as sharp as it was


def test_a_page_that_is_no_reduced_version_is_shown() -> None:
    small, large = np.asarray(gradient(16, 10)), TRUTH.astype(np.uint8)
    for number, mark in ((254, ("I", 1)), (255, ("H", 2)), (254, ("I", 4))):
        file = tiff([tiff_of(small, **{f"t{number}": mark}), tiff_of(large)])
        np.testing.assert_array_equal(opened(file), TRUTH)
    assert opened(tiff([tiff_of(small, t254=("I", 1))])).shape == (10, 16, 3)
    np.testing.assert_array_equal(opened(tiff([tiff_of(large), tiff_of(small)])), TRUTH)


def test_a_hidden_first_frame_is_passed_over() -> None:
    hidden, shown = Image.new("RGB", (8, 8), "black"), Image.new("RGB", (8, 8), "red")
    frames = [shown, Image.new("RGB", (8, 8), "blue")]
    data = saved(hidden, "PNG", save_all=True, append_images=frames, default_image=True)
    assert opened(data)[4, 4].tolist() == [255, 0, 0]
    assert opened(saved(shown, "PNG", save_all=True, append_images=frames[1:]))[4, 4].tolist() == [255, 0, 0]


def bitmap(alpha: np.ndarray) -> bytes:
    """A BMP of the fifth version, which says that its fourth byte is transparency."""
    height, width = alpha.shape
    pixels = np.dstack([TRUTH[..., ::-1].astype(np.uint8), alpha])[::-1].tobytes()
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + bytes(64)
    header = struct.pack("<IiiHHIIiiII", 124, width, height, 1, 32, 3, len(pixels), 2835, 2835, 0, 0) + masks
    return b"BM" + struct.pack("<IHHI", 138 + len(pixels), 0, 0, 138) + header + pixels


def test_a_bitmap_whose_fourth_byte_means_nothing() -> None:
    np.testing.assert_array_equal(opened(bitmap(np.zeros((40, 64), np.uint8))), TRUTH)
    half = np.zeros((40, 64), np.uint8)
    half[:, 32:] = 255
    got = opened(bitmap(half))
    assert (got[:, :32] == 255).all() and (got[:, 32:] == TRUTH[:, 32:]).all()


def test_what_only_unusual_libraries_unpack_is_not_called_damaged() -> None:
    values = tiff_of(np.zeros((4, 4), np.uint8), t259=("H", 34712))
    assert reason(tiff([values])) == "not supported (TIFF with JPEG 2000)"
    deep = tiff_of(np.zeros((4, 4), np.float32), t259=("H", 34887))
    assert reason(tiff([deep])) == "not supported (TIFF with LERC)"
    complex_ = tiff_of(np.zeros((4, 4), np.float32), t339=("H", 6))
    assert reason(tiff([complex_])) == "not supported (TIFF of complex numbers)"


# --- Size, time and memory


class Counting(io.BytesIO):
    reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self.reads += 1
        return super().read(size)


@pytest.mark.parametrize("head", [b"\xff\xd8\xff\xe1", b"GIF89a\x40\x01\xf0\0\0\0\0", b"\xff\xd8\xff\xdb\0\4\0\0"])
def test_zeros_behind_a_header_are_soon_given_up(head: bytes) -> None:
    file = Counting(head + bytes(4 << 20))
    with pytest.raises(images.UnreadableImage, match=r"damaged|truncated"):
        decoding.needed_for(file, "zeros", decoding.Wanted(32))
    assert file.reads < 10_050


def test_a_file_with_holes_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "sparse.jpg"
    with path.open("wb") as file:
        file.write(b"\xff\xd8\xff\xe1")
        file.truncate(1 << 30)
    with pytest.raises(images.UnreadableImage, match="damaged"):
        read_picture(path, images.Preprocessing(32), "pillow")


def test_files_of_many_megabytes_are_read(tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (1300, 1300, 3), np.uint8))
    for form in ("PNG", "TIFF", "BMP", "WEBP", "PPM"):
        path = tmp_path / form
        noise.save(path, form, **({"lossless": True, "method": 0} if form == "WEBP" else {}))
        assert path.stat().st_size > 4 << 20
        picture = read_picture(path, images.Preprocessing(32), "pillow")
        assert (picture.width, picture.height) == (1300, 1300) and picture.pixels is not None
    (tmp_path / "long.jpg").write_bytes(saved(gradient(200, 100), "JPEG") + bytes(5 << 20))
    assert read_picture(tmp_path / "long.jpg", images.Preprocessing(32), "pillow").width == 200


def test_the_limit_of_pixels_is_on_what_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    large = saved(gradient(800, 640), "JPEG")
    assert reason(large, max_pixels=100 * 80) == "too many pixels (800×640)"
    assert opened(large, size=80, max_pixels=100 * 80).shape == (80, 100, 3)
    assert reason(large, size=80, max_pixels=100 * 80 - 1) == "too many pixels (800×640)"


def test_very_large_pictures_are_made_smaller_strip_by_strip(monkeypatch: pytest.MonkeyPatch) -> None:
    p = images.Preprocessing(32)
    alpha = Image.fromarray(np.tile(np.linspace(0, 255, 500).astype(np.uint8), (330, 1)))
    plain = gradient(500, 330)
    see_through = plain.copy()
    see_through.putalpha(alpha)
    for picture in (plain, see_through, plain.convert("L"), plain.quantize(64)):
        data = saved(picture, "PNG")
        wanted = images.read(io.BytesIO(data), p).astype(int)
        with monkeypatch.context() as patch:
            patch.setattr(decoding, "_SHRINKING", 1000)
            patch.setattr(decoding, "_STRIP", 20_000)
            needed = decoding.needed_for(io.BytesIO(data), "", decoding.Wanted(32))
            assert needed < 500 * 330 * 4 + 64 * 20_000 + 1
            got = images.read(io.BytesIO(data), p).astype(int)
        assert np.abs(got - wanted).max() <= 4


def test_nobody_decodes_more_at_a_time_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(gradient(300, 200), "PNG")
    needed = decoding.needed_for(io.BytesIO(data), "", decoding.Wanted())
    small = decoding.Wanted(room=decoding.Room(needed - 1))
    with pytest.raises(images.UnreadableImage, match=r"needs 600 kB of memory"):
        decoding.decode(io.BytesIO(data), "a", small, lambda picture: picture)
    enough = decoding.Wanted(room=decoding.Room(needed))
    assert decoding.decode(io.BytesIO(data), "a", enough, lambda picture: picture.size)[:3] == ((300, 200), 300, 200)


def test_libtiff_writes_nothing_to_stderr(tmp_path: Path) -> None:
    data = bytearray(saved(gradient(64, 40), "TIFF", compression="tiff_lzw"))
    data[40:200] = b"\xff" * 160
    (tmp_path / "a.tif").write_bytes(data)
    code = (
        "import sys\nfrom retrieval import images\n"
        "try: images.open_picture(sys.argv[1])\n"
        "except images.UnreadableImage: print('no')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.tif")], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("no\n", "")


@pytest.mark.parametrize("kind", ["heic", "avif", "jp2", "deep", "packed", "raw", "profile"])
def test_damaged_bytes_of_every_kind_are_only_left_out(kind: str) -> None:
    """In this process: a decoder that crashes would take the test with it, as it would a build."""
    values = np.linspace(0, 65535, 2400).astype(np.uint16).reshape(40, 60)
    whole = {
        "heic": lambda: odd_files.HEIC,
        "avif": lambda: saved(gradient(), "AVIF"),
        "jp2": lambda: saved(gradient(), "JPEG2000"),
        "deep": lambda: tiff([tiff_of(values)]),
        "packed": lambda: tiff([tiff_of(values >> 4, bits=12)]),
        "raw": lambda: raw_files()["nikon"],
        "profile": lambda: saved(gradient(), "PNG", icc_profile=odd_files.swapped_profile()),
    }[kind]()
    rng = np.random.default_rng(5)
    ends = {"read": 0, "left out": 0}
    for number in range(150):
        data = np.frombuffer(whole, np.uint8).copy()
        first = max(4, len(data) - 250) if kind in ("deep", "packed") and number % 2 else 4
        data[rng.integers(first, len(data), 4)] = rng.integers(0, 256, 4)
        try:
            images.open_picture(io.BytesIO(data.tobytes()), size=32, max_pixels=10**6)
            ends["read"] += 1
        except images.UnreadableImage as error:
            assert error.reason
            ends["left out"] += 1
    assert sum(ends.values()) == 150 and ends["read"] > 0
