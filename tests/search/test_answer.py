"""An answer as a value: its hits by number, as lists and tables, and as a notebook shows it."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
import sys
from pathlib import Path

import pytest
from PIL import Image

from retrieval.errors import RetrievalError
from retrieval.search.answer import SHOWN, Answer, Hit

HOSTILE = '<script>alert("x")</script>&\'.png'


def answer(root: Path | None, count: int = 3) -> Answer:
    names = ["red.png", "gone.png", HOSTILE, *(f"{n}.png" for n in range(count))]
    hits = [Hit(n, n + 7, names[n - 1], "<b>", 1 - n / 100, n == 1, 0.9) for n in range(1, count + 1)]
    return Answer("<i>query</i>", "<b>", None, tuple(hits), picture=None, root=root)


def test_hits_by_number():
    found = answer(None)
    assert len(found) == 3 and list(found) == list(found.hits)
    assert found[0] is found.hits[0] and found[-1].rank == 3
    assert found[:2] == dataclasses.replace(found, hits=found.hits[:2])
    with pytest.raises(IndexError):
        found[3]


def test_an_answer_without_hits_is_an_answer():
    nothing = Answer("q", None, None, ())
    assert nothing and len(nothing) == 0 and nothing.to_list() == []
    assert list(nothing.to_pandas().columns) == [field.name for field in dataclasses.fields(Hit)]
    assert "nothing found" in nothing._repr_html_()


def test_lists_and_tables():
    found = answer(None)
    assert [Hit(**row) for row in found.to_list()] == list(found.hits)
    table = found.to_pandas()
    assert table.to_dict("records") == found.to_list()


def test_without_pandas_one_sentence_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(RetrievalError, match="install it"):
        answer(None).to_pandas()


def test_a_notebook_shows_the_pictures_and_nothing_runs(tmp_path):
    Image.new("RGB", (400, 200), "red").save(tmp_path / "red.png")
    shown = answer(tmp_path)._repr_html_()
    (source,) = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)"', shown)
    with Image.open(io.BytesIO(base64.b64decode(source))) as picture:
        assert picture.size == (96, 48)
        red, green, blue = picture.convert("RGB").getpixel((40, 20))
        assert red > 200 and green < 50 and blue < 50
    assert shown.count("no picture") == 3  # the query, a file that is gone, a file that never was
    assert "<script" not in shown and "<b>query" not in shown and "<i>" not in shown
    assert "&lt;i&gt;query&lt;/i&gt;" in shown and "P 0.90" in shown


def test_a_notebook_shows_only_so_many():
    assert "and 5 more" in answer(None, SHOWN + 5)._repr_html_()
    assert "more" not in answer(None, SHOWN)._repr_html_()
