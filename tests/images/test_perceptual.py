"""Perceptual hashes: against their formulas, and by what they are for."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from small_sets import gradient, scene

from retrieval.errors import RetrievalError
from retrieval.images import hash_pairs, perceptual
from retrieval.images.hash_pairs import pairs_within


def hashed(*pictures: Image.Image) -> perceptual.Hashes:
    """One after the other, since their sizes differ."""
    return perceptual.joined([perceptual.hash_pixels(np.asarray(picture.convert("RGB"))[None]) for picture in pictures])


def apart(codes: np.ndarray) -> np.ndarray:
    """Bits between the first and each of the others."""
    return np.bitwise_count(codes[1:] ^ codes[0])


def bits_of(code: int) -> list[int]:
    return [int(bit) for bit in f"{int(code):064b}"]


def test_phash_is_the_sign_of_scipys_cosine_transform_against_its_median() -> None:
    scipy_fft = pytest.importorskip("scipy.fft")
    grey = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 1), np.uint8)
    made = perceptual.hash_pixels(grey)
    for square, code, detail in zip(grey[..., 0].astype(float), made.phash, made.detail, strict=True):
        waves = scipy_fft.dctn(square, norm="ortho")[1:9, 1:9].ravel()
        assert bits_of(code) == (waves > np.median(waves)).astype(int).tolist()
        assert detail == pytest.approx(np.sqrt((waves**2).sum() / 32**2), rel=1e-6)


def test_dhash_compares_the_means_of_neighbouring_parts() -> None:
    grey = np.random.default_rng(1).integers(0, 256, (20, 32, 32, 1), np.uint8)
    for square, code in zip(grey[..., 0].astype(float), perceptual.hash_pixels(grey).dhash, strict=True):
        # Each pixel as 9 × 9 equal ones, so that 9 equal parts of 32 pixels are 9 times 32 of 288 whole ones.
        fine = np.repeat(np.repeat(square, 9, axis=0), 9, axis=1)
        means = fine.reshape(8, 36, 9, 32).mean(axis=(1, 3))
        assert bits_of(code) == (means[:, :-1] < means[:, 1:]).ravel().astype(int).tolist()


@pytest.mark.parametrize("seed", range(6))
def test_a_copy_keeps_its_hashes_within_a_few_bits(seed: int) -> None:
    picture = scene(seed)
    poor = io.BytesIO()
    picture.save(poor, "JPEG", quality=30)
    made = hashed(
        picture,
        picture.resize((64, 64), Image.Resampling.LANCZOS),
        picture.resize((700, 500), Image.Resampling.BICUBIC),
        Image.open(poor),
        ImageEnhance.Brightness(picture).enhance(0.9),
        picture.convert("L"),
    )
    assert apart(made.phash).max() <= 6
    assert apart(made.dhash).max() <= 6
    assert made.telling.all()


def test_different_pictures_are_about_half_of_the_bits_apart() -> None:
    made = hashed(*(scene(seed, 64) for seed in range(100)))
    for codes in (made.phash, made.dhash):
        distances = np.bitwise_count(codes[:, None] ^ codes)[np.triu_indices(100, 1)]
        assert 31 < distances.mean() < 33
        assert distances.min() > 10


def test_what_shows_nothing_is_told_apart_from_what_does() -> None:
    page = Image.new("RGB", (80, 60), "white")
    fade = Image.fromarray(np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1)))
    noisy = Image.fromarray((200 + np.random.default_rng(0).integers(-3, 4, (64, 64))).astype(np.uint8))
    assert hashed(page, fade, noisy, gradient(), scene(0)).telling.tolist() == [False, False, False, False, True]


def test_files_hash_as_their_pixels_do_and_bad_ones_are_reported(tmp_path) -> None:
    upright = scene(3, 120).resize((120, 60))
    upright.save(tmp_path / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", quality=95, exif=exif)
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:500])
    names = ["empty.png", "a.png", "text.jpg", "turned.jpg", "cut.png", "gone.png"]
    for threads in (1, 3):
        found = perceptual.hash_files(names, tmp_path, threads=threads)
        assert found.rows.tolist() == [1, 3]
        assert found.hashes.phash[0] == hashed(upright).phash[0]
        assert found.hashes.dhash[0] == hashed(upright).dhash[0]
        assert np.bitwise_count(found.hashes.phash[0] ^ found.hashes.phash[1]) <= 4
        reasons = {skipped.path.rpartition("/")[2]: skipped.reason for skipped in found.skipped}
        assert reasons == {
            "empty.png": "empty file",
            "text.jpg": "not a picture",
            "cut.png": "truncated",
            "gone.png": "no such file",
        }


def test_no_files_and_no_pictures_have_no_hashes() -> None:
    assert len(perceptual.hash_files([]).hashes) == 0
    assert len(perceptual.hash_pixels(np.empty((0, 8, 8, 3), np.uint8))) == 0


@pytest.mark.parametrize(
    "wrong", [np.zeros((2, 8, 8, 3)), np.zeros((2, 8, 8), np.uint8), np.zeros((1, 8, 8, 4), np.uint8)]
)
def test_other_arrays_are_refused(wrong: np.ndarray) -> None:
    with pytest.raises(RetrievalError, match="give uint8"):
        perceptual.hash_pixels(wrong)


def test_blocks_do_not_change_a_hash(monkeypatch) -> None:
    pixels = np.stack([np.asarray(scene(seed, 40)) for seed in range(7)])
    whole = perceptual.hash_pixels(pixels)
    monkeypatch.setattr(perceptual, "_BLOCK", 3)
    parts = perceptual.hash_pixels(pixels)
    assert (whole.phash == parts.phash).all() and (whole.dhash == parts.dhash).all()


def planted(n: int, seed: int = 0) -> np.ndarray:
    """Random hashes, some of which are copies of others with up to 14 bits changed."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 2**64, n, np.uint64)
    for row in range(0, n, 3):
        changed = rng.choice(64, rng.integers(0, 15), replace=False)
        codes[row] = codes[rng.integers(n)] ^ np.bitwise_or.reduce(np.uint64(1) << changed.astype(np.uint64), initial=0)
    return codes


@pytest.mark.parametrize("bits", [0, 1, 4, 5, 10, 11, 14, 24])
@pytest.mark.parametrize(("block", "run"), [(1000, 1), (10, 4), (1 << 20, 64), (1000, 64)])
def test_pairs_are_those_that_brute_force_finds(monkeypatch, bits: int, block: int, run: int) -> None:
    monkeypatch.setattr(hash_pairs, "_BLOCK", block)
    monkeypatch.setattr(hash_pairs, "_RUN", run)
    codes, others = planted(300), planted(200, 1)
    others[:20] = codes[40:60] ^ np.uint64(0b10100101)
    distances = np.bitwise_count(codes[:, None] ^ codes).astype(int)
    expected = [(i, j, distances[i, j]) for i in range(300) for j in range(i + 1, 300) if distances[i, j] <= bits]
    assert list(zip(*pairs_within(codes, bits), strict=True)) == expected
    assert len(expected) > 3
    distances = np.bitwise_count(codes[:, None] ^ others).astype(int)
    expected = [(i, j, distances[i, j]) for i in range(300) for j in range(200) if distances[i, j] <= bits]
    assert list(zip(*pairs_within(codes, bits, others), strict=True)) == expected


def test_bands_are_what_makes_many_hashes_fast(monkeypatch) -> None:
    compared = 0
    banded = hash_pairs._banded

    def counted(*args):
        nonlocal compared
        for rows, columns in banded(*args):
            compared += len(rows) * len(columns)
            yield rows, columns

    monkeypatch.setattr(hash_pairs, "_banded", counted)
    assert len(pairs_within(planted(20_000), 10).first) > 1000
    assert 0 < compared < 20_000**2 / 5


def test_more_pairs_than_anybody_looks_through_are_refused(monkeypatch) -> None:
    monkeypatch.setattr(hash_pairs, "MOST", 100)
    with pytest.raises(RetrievalError, match="smaller distance"):
        pairs_within(np.zeros(50, np.uint64), 2)
    monkeypatch.setattr(hash_pairs, "_BLOCK", 30)  # pairs that come from several bands count once
    monkeypatch.setattr(hash_pairs, "_RUN", 1)
    assert len(pairs_within(np.zeros(14, np.uint64), 2).first) == 91
    with pytest.raises(RetrievalError, match="from 0 to 64"):
        pairs_within(np.zeros(5, np.uint64), 65)
    assert len(pairs_within(np.zeros(0, np.uint64), 5).first) == 0
