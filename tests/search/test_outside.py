"""Whose pictures an index shows: those of its folder, and others if its owner said so."""

from __future__ import annotations

import base64
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image

from retrieval import images
from retrieval.base.placed_files import LINKED, NAMED
from retrieval.cli import main
from retrieval.index import Index, NewItem
from retrieval.ingest import add_pictures, build, sync
from retrieval.places.folder import Folder
from retrieval.search.explain import explain_answer
from retrieval.search.results_picture import draw_answers
from retrieval.search.search import Search

SECRET = (250, 3, 200)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of pictures with ways out of it, to a picture of one colour."""
    root = tiny.folder(tmp_path / "pictures")
    (tmp_path / "private").mkdir()
    Image.new("RGB", (64, 64), SECRET).save(tmp_path / "private/secret.png")
    (root / "link.png").symlink_to(tmp_path / "private/secret.png")
    (root / "way").symlink_to(tmp_path / "private")
    return root


@pytest.fixture
def crafted(tmp_path: Path, root: Path) -> Path:
    """An index whose catalog names what is not its own."""
    paths = ["cat/0.png", "../private/secret.png", str(tmp_path / "private/secret.png"), "link.png", "way/secret.png"]
    folder = tmp_path / "crafted"
    with Index.create(folder, 8, root=str(root), encoder_hash="0" * 64, details={}, decoder="p") as index:
        rows = np.random.default_rng(0).normal(size=(len(paths), 8)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        index.add(rows, [NewItem(path, "cat") for path in paths])
    return folder


def shows_the_secret(picture: Image.Image) -> bool:
    pixels = np.asarray(picture.convert("RGB"), np.int64)
    return bool((np.abs(pixels - SECRET).max(axis=-1) < 12).sum() > 100)


def pictures_in(page: str) -> list[Image.Image]:
    found = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", page)
    return [Image.open(io.BytesIO(base64.b64decode(one))) for one in found]


@pytest.mark.parametrize("asked", [["--id", "1"], ["--id", "2"], ["--path", "link.png"]])
def test_a_drawing_shows_nothing_from_outside(crafted: Path, tmp_path: Path, asked: list[str]) -> None:
    assert main(["query", str(crafted), *asked, "--save", str(tmp_path / "grid.png")]) == 0
    assert not shows_the_secret(Image.open(tmp_path / "grid.png"))


def test_a_page_shows_nothing_from_outside(crafted: Path, tmp_path: Path) -> None:
    assert main(["report", str(crafted), "--out", str(tmp_path / "page.html")]) == 0
    shown = pictures_in((tmp_path / "page.html").read_text())
    assert shown
    assert not any(map(shows_the_secret, shown))


def test_a_notebook_shows_nothing_from_outside(crafted: Path) -> None:
    with Search.open(crafted) as search:
        (answer,) = search.query_ids([1])
        shown = pictures_in(answer._repr_html_())
    assert len(shown) == 1
    assert not shows_the_secret(shown[0])


def test_duplicates_are_looked_for_in_the_folder_alone(crafted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dedup", str(crafted)]) == 0
    said = capsys.readouterr()
    assert "1 pictures" in said.out.replace("1 picture ", "1 pictures ")


def test_the_owner_may_allow_it(crafted: Path, tmp_path: Path) -> None:
    with Index.open(crafted, write=True) as index:
        index.record_details({NAMED: True, LINKED: True})
    with Search.open(crafted) as search:
        for path in (str(tmp_path / "private/secret.png"), "link.png", "way/secret.png", "cat/0.png"):
            assert images.open_picture(search.pictures / path).size in ((64, 64), (32, 32))
        with pytest.raises(images.UnreadableImage, match="outside the folder"):
            images.open_picture(search.pictures / "../private/secret.png")
        draw_answers(search.query_ids([1]), search.pictures, tmp_path / "grid.png")
    assert shows_the_secret(Image.open(tmp_path / "grid.png"))


def test_a_build_takes_links_out_of_its_folder_only_when_asked(
    root: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model, out = tiny.model(tmp_path_factory), tmp_path / "index"
    report = build(root, out, model=model)
    assert ("link.png", "a link out of the folder of the pictures") in report.skipped
    with Index.open(out) as index:
        assert len(index) == 8
    assert build(root, out, outside=True).added == 1
    (root / "link.png").unlink()
    (root / "other.png").symlink_to(tmp_path / "private/secret.png")
    assert "other.png" not in dict(sync(out).skipped)  # it remembers
    with Search.open(out) as search:
        assert images.open_picture(search.pictures / "other.png").size == (64, 64)


def test_what_was_added_by_name_is_shown(root: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    out = tmp_path / "index"
    build(root, out, model=tiny.model(tmp_path_factory))
    assert add_pictures(out, [tmp_path / "private/secret.png"]).added == 1
    with Search.open(out) as search:
        assert images.open_picture(search.pictures / str(tmp_path / "private/secret.png")).size == (64, 64)
        with pytest.raises(images.UnreadableImage, match="a link out of the folder"):
            images.open_picture(search.pictures / "link.png")


def test_a_folder_swapped_for_a_link_after_it_was_indexed(
    root: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    out = tmp_path / "index"
    build(root, out, model=tiny.model(tmp_path_factory))
    shutil.copy(tmp_path / "private/secret.png", tmp_path / "private/0.png")
    with Search.open(out) as search:
        (answer,) = search.query_paths(["dog/0.png"])
        shutil.rmtree(root / "cat")
        (root / "cat").symlink_to(tmp_path / "private")
        skipped: list[images.Skipped] = []
        explain_answer(search, answer, skipped=skipped)
        assert "a link out of the folder of the pictures" in {one.reason for one in skipped}
        draw_answers([answer], search.pictures, tmp_path / "grid.png")
    assert not shows_the_secret(Image.open(tmp_path / "grid.png"))


@pytest.mark.parametrize("name", ["a\0b", "", ".", "..", "/", "\udcff.png", "x" * 5000, "pictures", "//etc/passwd"])
def test_no_name_is_more_than_unreadable(root: Path, name: str) -> None:
    for folder in (Folder(root), Folder(root, named=True, linked=True)):
        with pytest.raises(images.UnreadableImage):
            images.open_picture(folder / name)


def test_a_folder_behind_a_link_and_relative_ones(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "by_link").symlink_to(root)
    assert images.open_picture(Folder(tmp_path / "by_link") / "cat/0.png").size == (32, 32)
    assert images.open_picture(Folder(tmp_path / "by_link") / str(root / "cat/0.png")).size == (32, 32)
    monkeypatch.chdir(tmp_path)
    assert images.open_picture(Folder(Path("pictures")) / "cat/../dog/0.png").size == (32, 32)
    assert images.open_picture(Folder(Path()) / "pictures/cat/0.png").size == (32, 32)
    with pytest.raises(images.UnreadableImage, match="a link out"):
        images.open_picture(Folder(root) / "link.png")
