"""Opening pictures: every format, every orientation, every kind of bad file; and finding them."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from retrieval import images
from retrieval.errors import RetrievalError
from retrieval.images import Preprocessing, UnreadableImage

# pytest puts its own filters over those with which Pillow's warnings are kept from users.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def gradient(width: int = 60, height: int = 40) -> Image.Image:
    """Smooth, in colour, and different in all four corners."""
    y, x = np.mgrid[0:height, 0:width]
    channels = (255 * x / width, 255 * y / height, 255 * (1 - x / width))
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def difference(a: Image.Image, b: Image.Image) -> float:
    """Mean absolute difference of two pictures of one size."""
    assert (a.size, a.mode) == (b.size, b.mode)
    return float(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).mean())


FORMATS = {
    "jpg": {"quality": 95},
    "png": {},
    "webp": {"lossless": True},
    "gif": {},
    "bmp": {},
    "tif": {},
    "ppm": {},
    "jpeg": {"progressive": True, "quality": 95},
    "tiff": {"compression": "tiff_lzw"},
}


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


# --- Bad files


def reason(path: Path | io.BytesIO, **options: int) -> str:
    with pytest.raises(UnreadableImage) as caught:
        images.open_picture(path, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize("share", [0.1, 0.6, 0.95])
@pytest.mark.parametrize("ending", FORMATS)
def test_truncated_files_are_named_so(ending: str, share: float) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, Image.registered_extensions()[f".{ending}"], **FORMATS[ending])
    whole = buffer.getvalue()
    assert reason(io.BytesIO(whole[: int(len(whole) * share)])) == "truncated"


def test_what_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("this is a text, not a picture")
    (tmp_path / "postscript.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (tmp_path / "link.png").symlink_to("gone.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    assert reason(tmp_path / "empty.jpg") == "empty file"
    assert reason(io.BytesIO()) == "empty file"
    assert reason(tmp_path / "text.jpg") == "not a picture"
    assert reason(tmp_path / "postscript.png") == "not a picture"
    assert reason(tmp_path / "link.png") == "broken link"
    assert reason(tmp_path / "loop.png") == "too many levels of symbolic links"
    assert reason(tmp_path / "folder.png") == "a folder"
    assert reason(tmp_path / "pipe.png") == "not a regular file"
    assert reason(Path("/dev/zero")) == "not a regular file"
    assert reason(tmp_path / "nowhere.png") == "no such file"


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no users here")
def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.png"
    gradient().save(path)
    if os.geteuid() == 0:  # for whom no mode is a hindrance

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
    else:
        path.chmod(0)
    assert reason(path) == "no permission"


def png_header(width: int, height: int) -> bytes:
    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + body
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def test_too_many_pixels_are_refused_before_decoding() -> None:
    idat = b"IDAT" + zlib.compress(b"\0" * 100)
    bomb = png_header(30000, 30000) + struct.pack(">I", len(idat) - 4) + idat + struct.pack(">I", zlib.crc32(idat))
    assert reason(io.BytesIO(bomb)) == "too many pixels (30000×30000)"
    buffer = io.BytesIO()
    gradient().save(buffer, "PNG")
    assert reason(io.BytesIO(buffer.getvalue()), max_pixels=60 * 40 - 1) == "too many pixels (60×40)"
    buffer.seek(0)
    assert images.open_picture(buffer, max_pixels=60 * 40).size == (60, 40)
    assert not buffer.closed


def test_damaged_bytes_never_raise_anything_else() -> None:
    rng = np.random.default_rng(2)
    for ending, options in FORMATS.items():
        buffer = io.BytesIO()
        gradient().save(buffer, Image.registered_extensions()[f".{ending}"], **options)
        for _ in range(40):
            data = np.frombuffer(buffer.getvalue(), np.uint8).copy()
            where = rng.integers(4, min(len(data), 400), 6)
            data[where] = rng.integers(0, 256, 6)
            try:
                images.open_picture(io.BytesIO(data.tobytes()), max_pixels=10**6)
            except UnreadableImage as error:
                assert error.reason


def test_damaged_exif_does_not_cost_the_picture(tmp_path: Path) -> None:
    gradient().save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 40)
    assert images.open_picture(tmp_path / "a.jpg").size == (60, 40)


def test_nothing_leaks_to_stderr(tmp_path: Path) -> None:
    """Warnings and log lines of Pillow's, in a process of its own, since pytest has its own filters."""
    Image.new("L", (9600, 9600)).save(tmp_path / "large.png")  # above the size from which Pillow warns
    gradient().save(tmp_path / "a.tif")
    data = (tmp_path / "a.tif").read_bytes()
    height = next(struct.pack("<HHI", 257, kind, 1) for kind in (3, 4) if struct.pack("<HHI", 257, kind, 1) in data)
    (tmp_path / "b.tif").write_bytes(data.replace(height, height[:4] + b"\2\0\0\0"))  # one height too many
    gradient().save(tmp_path / "p.png")
    code = (
        "import sys, warnings\nfrom retrieval import images\n"
        "for path in sys.argv[1:]:\n"
        "    try: print(images.open_picture(path).size)\n"
        "    except images.UnreadableImage as error: print(error.reason)\n"
    )
    files = [str(path) for path in sorted(tmp_path.iterdir())]
    done = subprocess.run([sys.executable, "-c", code, *files], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == len(files) and "(9600, 9600)" in done.stdout
    assert done.stderr == ""


def test_error_travels_between_processes() -> None:
    error = pickle.loads(pickle.dumps(UnreadableImage("a.png", "truncated")))  # noqa: S301 (our own bytes)
    assert (error.path, error.reason) == ("a.png", "truncated")
    assert str(error) == "The picture 'a.png' cannot be read: truncated."


# --- Finding


def test_find_lists_pictures_and_reports_the_rest(tmp_path: Path) -> None:
    for name in (
        "b.JPG",
        "a/c.png",
        "a/b/deep.webp",
        "a.tiff",
        "notes.txt",
        ".hidden.png",
        ".git/x.png",
        "png",
        ".png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "folder.png/inside.gif").touch()
    (tmp_path / "good.png").symlink_to("b.JPG")
    (tmp_path / "broken.png").symlink_to("gone.png")
    (tmp_path / "a/up").symlink_to("..")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "outside").symlink_to("/")
    (tmp_path / "album.jpg").symlink_to("a")
    os.mkfifo(tmp_path / "pipe.bmp")
    found = images.find(tmp_path)
    assert found.paths == ("a.tiff", "a/b/deep.webp", "a/c.png", "b.JPG", "folder.png/inside.gif", "good.png")
    assert found.skipped == (
        ("a/up", "link to a folder"),
        ("album.jpg", "link to a folder"),
        ("broken.png", "broken link"),
        ("outside", "link to a folder"),
        ("pipe.bmp", "not a regular file"),
    )


def test_find_reports_names_that_are_not_utf8(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"caf\xe9.png")).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    (folder / "x.png").touch()
    (tmp_path / "café.png").touch()
    found = images.find(tmp_path)
    assert found.paths == ("café.png",)
    assert found.skipped == (("\\xff/x.png", "name is not UTF-8"), ("caf\\xe9.png", "name is not UTF-8"))
    assert reason(tmp_path / os.fsdecode(b"caf\xe9.png")) == "empty file"  # and its message can be printed


def test_find_reports_folders_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open/a.png").touch()
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def guarded(path: str) -> object:
        if str(path).endswith("closed"):  # for root, no mode is a hindrance
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    found = images.find(tmp_path)
    assert found.paths == ("open/a.png",)
    assert found.skipped == (("closed", "folder: no permission"),)


def test_find_wants_a_folder(tmp_path: Path) -> None:
    with pytest.raises(RetrievalError, match="no folder"):
        images.find(tmp_path / "nowhere")


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

    def seconds(job: object) -> float:
        best = np.inf
        for _ in range(20):
            started = time.process_time()
            for _ in range(50):
                job()  # type: ignore[operator]
            best = min(best, time.process_time() - started)
        return float(best)

    assert seconds(lambda: images.read(path, p)) < 1.5 * seconds(bare)
