"""Deep values and colour profiles come out as the picture that they stand for."""

from __future__ import annotations

import io

import numpy as np
import pytest
from odd_files import opened, png, saved, swapped_profile, tiff, tiff_of
from PIL import Image, ImageCms
from small_sets import gradient

from retrieval import images
from retrieval.images import Preprocessing, profiles

SHARES = np.linspace(0, 1, 40 * 64).reshape(40, 64)
TRUTH = np.rint(SHARES * 255).astype(int)
COLOURS = np.asarray(gradient(64, 40)).astype(int)


# --- Deep values


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("kind", "full"),
    [("u2", 65535), ("u4", 2**32 - 1), ("u8", 2**64 - 2048), ("f2", 1), ("f4", 1), ("f8", 1), ("f4", 65000.0)],
)
def test_values_of_every_type_are_scaled(kind: str, full: float, order: str) -> None:
    values = (SHARES * full).astype(kind)
    assert np.abs(opened(tiff([tiff_of(values, order=order)], order)) - TRUTH).max() <= 1
    colours = (COLOURS / 255 * full).astype(kind)
    got = opened(tiff([tiff_of(colours, order=order)], order))
    assert got.shape == (40, 64, 3)
    assert np.abs(got - COLOURS).max() <= 1


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_fewer_bits_than_sixteen(bits: int) -> None:
    full = 2**bits - 1
    values = np.rint(SHARES * full).astype(np.uint16)
    colours = np.rint(COLOURS / 255 * full).astype(np.uint16)
    for name, data, wanted in (
        ("packed", tiff([tiff_of(values, bits=bits)]), TRUTH),
        ("packed colours", tiff([tiff_of(colours, bits=bits)]), COLOURS),
        ("stored in sixteen", tiff([tiff_of(values)]), TRUTH),
        ("colours in sixteen", tiff([tiff_of(colours)]), COLOURS),
        ("said to be so many", tiff([tiff_of(values, t281=("H", full))]), TRUTH),
        ("png", saved(Image.fromarray(values), "PNG"), TRUTH),
    ):
        assert np.abs(opened(data) - wanted).max() <= 1, name
    dark = np.minimum(values, 9)  # a dark picture stays one where the file says what white is
    assert opened(tiff([tiff_of(dark, bits=bits)])).max() <= 9 * 255 / full + 1
    assert opened(tiff([tiff_of(dark, t281=("H", full))])).max() <= 9 * 255 / full + 1


def test_white_is_zero_in_every_depth() -> None:
    for values in (
        (255 - TRUTH).astype(np.uint8),
        ((1 - SHARES) * 65535).astype(np.uint16),
        ((1 - SHARES) * (2**32 - 1)).astype(np.uint32),
        (1 - SHARES).astype(np.float32),
    ):
        assert np.abs(opened(tiff([tiff_of(values, colours=0)])) - TRUTH).max() <= 1, values.dtype
    packed = np.rint((1 - SHARES) * 4095).astype(np.uint16)
    assert np.abs(opened(tiff([tiff_of(packed, bits=12, colours=0)])) - TRUTH).max() <= 1


@pytest.mark.parametrize("nothing", [-9999.0, -3.4e38, np.nan, np.inf, -np.inf])
def test_a_value_for_nothing_does_not_count(nothing: float) -> None:
    heights = (SHARES * 2500 + 300).astype(np.float32)
    holed = heights.copy()
    holed[:5, :7] = nothing
    wanted = opened(tiff([tiff_of(heights)]))
    got = opened(tiff([tiff_of(holed)]))
    assert np.abs(got[5:] - wanted[5:]).max() <= 3 and got[5:].max() == 255
    if nothing != np.inf:
        assert (got[:5, :7] == 0).all()


def test_a_value_for_nothing_that_the_file_names() -> None:
    heights = (SHARES * 2500 + 300).astype(np.float32)
    heights[:20] = 5000
    got = opened(tiff([tiff_of(heights, t42113=("s", b"5000\0"))]))
    assert (got[:20] == 0).all() and got[20:].min() == 0 and got[20:].max() == 255
    whole = heights.astype(np.int16)
    whole[3, 3] = -32768
    assert opened(tiff([tiff_of(whole, t42113=("s", b"-32768"))]))[3, 3] == 0


def test_of_many_bands_those_that_are_seen_are_shown() -> None:
    grey = np.repeat(TRUTH.astype(np.uint8)[..., None], 5, axis=2)
    grey[..., 1:] = 7
    np.testing.assert_array_equal(opened(tiff([tiff_of(grey, colours=1)])), TRUTH)
    seven = np.dstack([COLOURS, np.full((40, 64, 4), 9)]).astype(np.uint8)
    np.testing.assert_array_equal(opened(tiff([tiff_of(seven, colours=2)])), COLOURS)
    deep = (seven.astype(np.float32)) / 255
    assert np.abs(opened(tiff([tiff_of(deep, colours=2)])) - COLOURS).max() <= 1


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd", "lzma"])
def test_deep_values_are_unpacked(compression: str) -> None:
    values = (SHARES * 65535).astype(np.uint16)
    for picture in (Image.fromarray(values), Image.fromarray(SHARES.astype(np.float32))):
        try:
            data = saved(picture, "TIFF", compression=compression)
        except (OSError, KeyError):
            pytest.skip("this libtiff cannot write it")
        assert np.abs(opened(data) - TRUTH).max() <= 1


def test_deep_pictures_stand_upright() -> None:
    values = (SHARES * 65535).astype(np.uint16)
    got = opened(tiff([tiff_of(values, t274=("H", 6))]))
    assert np.abs(got - np.rot90(TRUTH, -1)).max() <= 1


def test_colours_of_sixteen_bits_in_png_are_not_black() -> None:
    import struct
    import zlib

    from odd_files import chunk

    twelve = np.rint(COLOURS / 255 * 4095).astype(">u2")
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in twelve))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 40, 16, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    assert np.abs(opened(data) - COLOURS).max() <= 17  # of which Pillow keeps four bits


# --- Profiles


def profile(name: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()


def carriers() -> dict[str, dict[str, object]]:
    return {
        "PNG": {},
        "TIFF": {},
        "WEBP": {"lossless": True},
        "JPEG": {"quality": 98, "subsampling": 0},
        "AVIF": {"quality": 98, "subsampling": "4:4:4"},
    }


@pytest.mark.parametrize("form", carriers())
def test_a_profile_is_used_wherever_it_stands(form: str) -> None:
    data = saved(gradient(64, 40), form, icc_profile=swapped_profile(), **carriers()[form])
    assert np.abs(opened(data) - COLOURS[..., ::-1]).mean() < 4
    assert (
        np.abs(
            opened(data, mode="L") - np.asarray(Image.fromarray(COLOURS[..., ::-1].astype(np.uint8)).convert("L"))
        ).mean()
        < 4
    )
    p = Preprocessing(32)
    pillow = images.read(io.BytesIO(data), p).astype(int)
    pytest.importorskip("simplejpeg")
    assert np.abs(pillow - images.read(io.BytesIO(data), p, "simplejpeg")).mean() < 2


def test_a_profile_is_used_once() -> None:
    data = saved(gradient(64, 40), "PNG", icc_profile=swapped_profile())
    p = Preprocessing(40, mode="L")
    through = images.prepare(images.open_picture(io.BytesIO(data)), p).astype(int)
    straight = images.prepare(Image.fromarray(COLOURS[..., ::-1].astype(np.uint8)), p)
    assert np.abs(through - straight).max() <= 3


def test_transparent_pictures_have_profiles_too() -> None:
    picture = gradient(64, 40)
    picture.putalpha(Image.fromarray(np.tile(np.where(np.arange(64) < 32, 0, 255).astype(np.uint8), (40, 1))))
    got = opened(saved(picture, "PNG", icc_profile=swapped_profile()))
    assert (got[:, :32] == 255).all()
    assert np.abs(got[:, 32:] - COLOURS[:, 32:, ::-1]).max() <= 2


def test_a_profile_that_is_srgb_changes_no_pixel() -> None:
    data = saved(gradient(64, 40), "PNG", icc_profile=profile("sRGB"))
    np.testing.assert_array_equal(opened(data), COLOURS)
    assert not profiles.changes(images.open_picture(io.BytesIO(data)))


@pytest.mark.parametrize("content", [b"", b"no profile", swapped_profile()[:200], profile("LAB")])
def test_a_profile_that_cannot_be_used_is_left_alone(content: bytes) -> None:
    np.testing.assert_array_equal(opened(saved(gradient(64, 40), "PNG", icc_profile=content)), COLOURS)
    grey = Image.fromarray(TRUTH.astype(np.uint8))
    np.testing.assert_array_equal(opened(saved(grey, "PNG", icc_profile=swapped_profile())), TRUTH)


def test_a_large_profile_in_a_png_is_used() -> None:
    import zlib

    from odd_files import chunk

    large = swapped_profile() + np.random.default_rng(0).bytes(1_500_000)
    large = len(large).to_bytes(4) + large[4:]
    part = chunk(b"iCCP", b"scanner\0\0" + zlib.compress(large, 1))
    assert np.abs(opened(png(COLOURS.astype(np.uint8), part)) - COLOURS[..., ::-1]).max() <= 2


def test_lab_pictures_are_read() -> None:
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = to_lab.apply(gradient(64, 40))
    lab.info.clear()
    assert np.abs(opened(saved(lab, "TIFF")) - COLOURS).mean() < 8
