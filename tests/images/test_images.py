"""Opening pictures: every format, every orientation, every kind of bad file; and finding them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from small_sets import FORMATS, gradient

from retrieval import images
from retrieval.errors import RetrievalError
from retrieval.images import Preprocessing, UnreadableImage

# pytest puts its own filters over those with which Pillow's warnings are kept from users.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def difference(a: Image.Image, b: Image.Image) -> float:
    """Mean absolute difference of two pictures of one size."""
    assert (a.size, a.mode) == (b.size, b.mode)
    return float(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).mean())


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_gives_the_picture(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"picture.{ending}"
    gradient().save(path, **FORMATS[ending])
    assert difference(images.open_picture(path), gradient()) < (6 if ending == "gif" else 2)


@pytest.mark.parametrize(
    ("mode", "ending"),
    [("L", "png"), ("1", "png"), ("L", "pgm"), ("L", "jpg"), ("CMYK", "jpg"), ("CMYK", "tif"), ("YCbCr", "tif")],
)
def test_colour_modes_become_plain(tmp_path: Path, mode: str, ending: str) -> None:
    picture = gradient().convert(mode)
    picture.save(tmp_path / f"picture.{ending}")
    plain = images.open_picture(tmp_path / f"picture.{ending}")
    grey = mode in ("L", "1")
    assert plain.mode == ("L" if grey else "RGB")
    assert difference(plain, picture.convert("L" if grey else "RGB")) < 3
    assert images.open_picture(tmp_path / f"picture.{ending}", mode="RGB").mode == "RGB"


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path, ending: str) -> None:
    values = np.linspace(0, 65535, 60 * 40).astype(np.uint16).reshape(40, 60)
    Image.fromarray(values).save(tmp_path / f"deep.{ending}")
    got = np.asarray(images.open_picture(tmp_path / f"deep.{ending}"))
    np.testing.assert_array_equal(got, np.rint(values / 257))


def test_grey_values_of_other_depths(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 2400, dtype=np.float32).reshape(40, 60)
    wanted = np.rint(values * 255)
    Image.fromarray(values).save(tmp_path / "share.tif")
    np.testing.assert_array_equal(np.asarray(images.open_picture(tmp_path / "share.tif")), wanted)
    Image.fromarray((values * 2e6 - 1e6).astype(np.int32)).save(tmp_path / "signed.tif")
    np.testing.assert_allclose(np.asarray(images.open_picture(tmp_path / "signed.tif")), wanted, atol=1)
    with_gap = values.copy()
    with_gap[0, :2] = np.nan, np.inf
    Image.fromarray(with_gap).save(tmp_path / "gap.tif")
    np.testing.assert_array_equal(np.asarray(images.open_picture(tmp_path / "gap.tif"))[1:], wanted[1:])


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    alpha = np.zeros((40, 60), np.uint8)
    alpha[:, 20:] = 128
    alpha[:, 40:] = 255
    picture = gradient()
    picture.putalpha(Image.fromarray(alpha))
    share = (alpha / 255)[..., None]
    wanted = np.asarray(gradient()) * share + 255 * (1 - share)
    for name in ("a.png", "a.webp"):
        picture.save(tmp_path / name, lossless=True)
        got = np.asarray(images.open_picture(tmp_path / name), np.float64)
        np.testing.assert_allclose(got, wanted, atol=1.01, err_msg=name)
    picture.convert("LA").save(tmp_path / "la.png")
    grey = np.asarray(picture.convert("LA"))[..., 0] * share[..., 0] + 255 * (1 - share[..., 0])
    np.testing.assert_allclose(np.asarray(images.open_picture(tmp_path / "la.png")), grey, atol=1.01)


def test_palettes_with_and_without_transparency(tmp_path: Path) -> None:
    picture = Image.new("P", (4, 1))
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    picture.putdata([0, 1, 2, 3])
    for ending in ("png", "gif"):
        picture.save(tmp_path / f"p.{ending}")
        picture.save(tmp_path / f"t.{ending}", transparency=1)
        full = np.asarray(images.open_picture(tmp_path / f"p.{ending}"))
        holed = np.asarray(images.open_picture(tmp_path / f"t.{ending}"))
        assert full.tolist() == [[[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]]
        assert holed.tolist() == [[[255, 0, 0], [255, 255, 255], [0, 0, 255], [9, 9, 9]]]
    Image.new("L", (2, 1), 7).save(tmp_path / "grey.png", transparency=7)
    assert np.asarray(images.open_picture(tmp_path / "grey.png")).tolist() == [[255, 255]]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_exif_orientation_is_undone(tmp_path: Path, orientation: int, ending: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{ending}"
    gradient().save(path, exif=exif, **({"quality": 95} if ending == "jpg" else {}))
    with Image.open(path) as reference:
        wanted = ImageOps.exif_transpose(reference).convert("RGB")
    assert (wanted.width > wanted.height) == (orientation < 5)
    assert difference(images.open_picture(path), wanted) == 0
    if ending == "jpg":
        pytest.importorskip("simplejpeg")
        p = Preprocessing(24, fit="stretch")
        pillow, direct = images.read(path, p), images.read(path, p, "simplejpeg")
        assert np.abs(pillow.astype(int) - direct).mean() < 2


def test_first_frame_of_a_moving_picture(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    for name in ("a.gif", "a.webp", "a.png", "a.tif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
        assert images.open_picture(tmp_path / name).getpixel((4, 4)) == (255, 0, 0), name


def test_draft_mode_decodes_a_large_jpeg_small(tmp_path: Path) -> None:
    gradient(1600, 1200).save(tmp_path / "large.jpg", quality=95)
    assert images.open_picture(tmp_path / "large.jpg").size == (1600, 1200)
    assert images.open_picture(tmp_path / "large.jpg", size=224).size == (400, 300)
    assert images.open_picture(tmp_path / "large.jpg", size=301).size == (800, 600)
    exact = images.prepare(images.open_picture(tmp_path / "large.jpg"), Preprocessing(224))
    assert np.abs(exact.astype(int) - images.read(tmp_path / "large.jpg", Preprocessing(224))).max() <= 6


def test_simplejpeg_agrees_and_leaves_the_rest_to_pillow(tmp_path: Path) -> None:
    pytest.importorskip("simplejpeg")
    gradient(600, 400).save(tmp_path / "a.jpg", quality=95)
    gradient(600, 400).convert("L").save(tmp_path / "grey.jpg", quality=95)
    gradient().convert("CMYK").save(tmp_path / "cmyk.jpg")
    gradient().save(tmp_path / "a.png")
    for name in ("a.jpg", "grey.jpg", "cmyk.jpg", "a.png"):
        for mode in ("RGB", "L"):
            p = Preprocessing(32, mode)
            pillow, direct = (images.read(tmp_path / name, p, which) for which in ("pillow", "simplejpeg"))
            assert np.abs(pillow.astype(int) - direct).mean() < 2, (name, mode)
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:900])
    with pytest.raises(UnreadableImage, match="truncated"):
        images.read(tmp_path / "cut.jpg", Preprocessing(32), "simplejpeg")


def test_simplejpeg_missing_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    gradient().save(tmp_path / "a.jpg")
    with pytest.raises(RetrievalError, match="not installed; install it"):
        images.read(tmp_path / "a.jpg", Preprocessing(32), "simplejpeg")


# --- Fitting into the square


def test_crop_is_resize_then_centre_crop() -> None:
    wide = gradient(400, 100)
    got = images.prepare(wide, Preprocessing(50, resample="bilinear"))
    slow = wide.resize((200, 50), Image.Resampling.BILINEAR).crop((75, 0, 125, 50))
    assert np.abs(got.astype(int) - np.asarray(slow)).max() <= 1


def test_pad_fills_with_the_mean_and_stretch_ignores_proportions() -> None:
    white = Image.new("RGB", (100, 50), "white")
    padded = images.prepare(white, Preprocessing(20, fit="pad", mean=(0.0, 0.5, 1.0), std=(1.0,)))
    assert (padded[5:15] == 255).all()
    assert (padded[[0, 4, 15, 19]] == [0, 128, 255]).all()
    assert (images.prepare(white, Preprocessing(20, fit="stretch")) == 255).all()
    assert images.prepare(Image.new("RGB", (1000, 1)), Preprocessing(20, fit="pad")).shape == (20, 20, 3)


@pytest.mark.parametrize("resample", ["bilinear", "bicubic", "lanczos", "nearest"])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_arrays_are_fitted_as_pictures_are(mode: str, fit: str, resample: str) -> None:
    p = Preprocessing(12, mode, fit, resample)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 20, 30, 3), np.uint8)
    wanted = np.stack([images.prepare(Image.fromarray(one), p) for one in pixels])
    got = images.fit_array(pixels, p)
    assert got.shape == (3, 12, 12, p.channels) and got.dtype == np.uint8 and got.flags.c_contiguous
    np.testing.assert_array_equal(got, wanted)


def test_arrays_that_fit_are_not_copied() -> None:
    pixels = np.zeros((2, 8, 8, 1), np.uint8)
    assert images.fit_array(pixels, Preprocessing(8, "L")) is pixels
    assert images.fit_array(pixels, Preprocessing(8)).shape == (2, 8, 8, 3)
    assert images.fit_array(pixels[:0], Preprocessing(16)).shape == (0, 16, 16, 3)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"size": 0}, {"size": 9.5}, {"size": True}, {"mode": "RGBA"}, {"fit": "squeeze"}, {"resample": "box"}),
        *({"mean": (0.1, 0.2)}, {"mean": "x"}, {"std": (0.0,)}, {"std": (float("nan"),)}),
    ],
)
def test_preprocessing_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(RetrievalError, match=f"{next(iter(wrong))}"):
        Preprocessing(**{"size": 8, **wrong})  # type: ignore[arg-type]


def test_preprocessing_survives_json() -> None:
    p = Preprocessing(8, mean=[0.1, 0.2, 0.3])  # type: ignore[arg-type]
    assert p == Preprocessing(8, mean=(0.1, 0.2, 0.3)) and hash(p)
    assert p.std == (0.5, 0.5, 0.5) and p.channels == 3


# --- Cost


def test_importing_images_does_not_import_torch() -> None:
    code = "import sys, retrieval.images, retrieval.datasets; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_reading_costs_little_more_than_pillow(tmp_path: Path) -> None:
    """A small file's cost is mostly overhead; ours must stay below half of Pillow's own."""
    Image.fromarray(np.random.default_rng(3).integers(0, 256, (32, 32, 3), np.uint8)).save(tmp_path / "a.png")
    path, p = tmp_path / "a.png", Preprocessing(32)

    def bare() -> None:
        with Image.open(path) as picture:
            np.asarray(picture)

    def calls(job: Callable[[], object]) -> int:
        """Of functions, a measure of the time that no other program on the machine has a part in."""
        job()  # what is only done once
        kinds: list[str] = []
        sys.setprofile(lambda frame, kind, _: kinds.append(kind))
        try:
            job()
        finally:
            sys.setprofile(None)
        return kinds.count("call") + kinds.count("c_call")

    assert 0 < calls(lambda: images.read(path, p)) < 1.75 * calls(bare)
