"""Queries by pictures that lie in no file."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image

from retrieval.errors import RetrievalError
from retrieval.ingest import build
from retrieval.search.search import Search


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("in-memory") / "pictures", ("cat", "dog"), each=4)


@pytest.fixture(scope="module")
def search(root: Path, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    with Search.open(build(root, root.parent / "index", model=tiny.model(tmp_path_factory)).index) as search:
        yield search


def test_bytes_pixels_and_files_are_one_picture(search: Search, root: Path) -> None:
    file = root / "cat" / "1.png"
    opened = Image.open(file)
    pixels = np.asarray(opened.convert("RGB"))
    given = [
        file,
        file.read_bytes(),
        opened,
        pixels,
        str(file),
        np.dstack([pixels, np.full(pixels.shape[:2], 255, "u1")]),
    ]
    answers = search.query(given, k=3, include_self=True)
    assert [answer.query for answer in answers] == [
        str(file), "bytes 1", "picture 2", "picture 3", str(file), "picture 5"
    ]  # fmt: skip
    for answer in answers:
        assert [hit.path for hit in answer.hits] == [hit.path for hit in answers[0].hits]
        np.testing.assert_allclose([h.score for h in answer.hits], [h.score for h in answers[0].hits], atol=1e-5)
        assert answer.hits[0].path == "cat/1.png"
    assert [answer.id for answer in answers] == [1, 1, None, None, 1, None]  # byte for byte it is that picture
    assert search.query(file.read_bytes())[0].hits[0].path != "cat/1.png"
    assert len(search.query(np.stack([pixels, pixels]))) == 2


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "LAB", "I", "F", "I;16"])
def test_pictures_of_every_mode_are_taken(search: Search, mode: str) -> None:
    picture = Image.new(mode, (40, 30))
    assert len(search.query(picture, k=2)[0].hits) == 2


def test_a_picture_is_turned_as_its_file_would_be(search: Search) -> None:
    picture, file = tiny.picture(7, 60, 40), io.BytesIO()
    exif = picture.getexif()
    exif[274] = 6
    picture.save(file, "PNG", exif=exif)
    by_bytes, by_picture = search.query([file.getvalue(), Image.open(file)], k=8)
    assert [hit.path for hit in by_bytes.hits] == [hit.path for hit in by_picture.hits]
    assert by_bytes.hits[0].score == pytest.approx(by_picture.hits[0].score, abs=1e-5)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (5, "5 is no picture"),
        ([None], "None is no picture"),
        (io.BytesIO(b"abc"), "is no picture"),
        (b"junk", "'bytes 0' cannot be read: not a picture"),
        (b"", "empty file"),
        (np.zeros((4, 4), np.float32), "array float32"),
        (np.zeros((0, 4, 3), np.uint8), "array uint8"),
        (np.zeros((4, 4, 7), np.uint8), "array uint8"),
        ("nowhere\udcff.png", "no such file"),
    ],
)
def test_what_is_no_picture_is_one_sentence(search: Search, wrong: object, says: str) -> None:
    with pytest.raises(RetrievalError, match=says):
        search.query(wrong)  # type: ignore[arg-type]


def test_k_may_be_anything_whole(search: Search, root: Path) -> None:
    file = root / "dog" / "0.png"
    assert len(search.query(file, np.int64(2))[0].hits) == 2
    assert len(search.query(file, 10**12)[0].hits) == 7
    for k in (2.0, "3"):
        with pytest.raises(RetrievalError, match="give a whole number"):
            search.query(file, k)  # type: ignore[arg-type]
