"""What every report shares: its texts, its file, and how numbers and labels are put."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from retrieval.base.found import Found
from retrieval.base.page import document, style
from retrieval.base.text import aligned, ends, known, numbered


@dataclass(frozen=True)
class Row(Found):
    values: tuple[float, ...]

    def to_json(self):
        return {"values": list(self.values)}

    def table(self):
        return "a table"


def test_what_was_found_is_shown_and_kept(tmp_path):
    found = Row((0.5, 1.0))
    assert found.shown(as_json=False) == "a table"
    assert found.shown(as_json=True) == found.text() == '{\n  "values": [0.5, 1.0]\n}'
    found.save(tmp_path / "found.json")
    assert json.loads((tmp_path / "found.json").read_text()) == found.to_json()


def test_labels_are_numbered_in_the_order_of_their_names():
    names, numbers = numbered(["b", None, "a", "b"])
    assert names == ("a", "b") and numbers.tolist() == [1, -1, 0, 1] and numbers.dtype == "int64"
    names, numbers = numbered([])
    assert names == () and numbers.shape == (0,) and numbers.dtype == "int64"


def test_what_is_open_is_said_so():
    assert ends(math.nan, math.nan) == "open" and ends(-0.5, 0.25, "+.2f") == "-0.50 to +0.25"
    assert known(math.nan) is None and known(0.0) == 0.0 and known("nan") == "nan"


def test_words_stand_to_the_left_and_numbers_to_the_right():
    assert aligned([("a", "b", "1"), ("cc", "d", "22"), ("c", "e", "")], words=2) == ["a   b   1", "cc  d  22", "c   e"]


def test_a_page_has_one_frame_and_its_title_is_text():
    page = document("<b>", "<p>body</p>", ".own { color: red; }")
    assert "<title>&lt;b&gt;</title>" in page and "<p>body</p>" in page and "default-src 'none'" in page
    assert page.index(style("retrieval.base")) < page.index(".own { color: red; }")
