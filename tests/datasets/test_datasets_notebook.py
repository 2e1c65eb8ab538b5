"""A set of pictures as a notebook shows it."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from retrieval import datasets
from retrieval.datasets.picture_set import SHOWN


def test_pictures_in_memory_are_shown():
    shown = datasets.load("digits")._repr_html_()
    assert shown.count("<img ") == SHOWN
    assert "digits: 1,797 pictures, 10 classes" in shown


def test_files_are_shown_and_names_escaped(tmp_path: Path):
    folder = tmp_path / "set" / "a<b>&"
    folder.mkdir(parents=True)
    Image.new("RGB", (300, 200), "blue").save(folder / "1.png")
    (folder / "2.png").write_bytes(b"no picture")
    shown = datasets.load(tmp_path / "set")._repr_html_()
    assert shown.count("<img ") == 1 and shown.count("no picture") == 1
    assert "a&lt;b&gt;&amp;" in shown and "<b>&" not in shown


def test_an_empty_set_is_shown():
    assert "0 pictures" in datasets.load("digits").select([])._repr_html_()
