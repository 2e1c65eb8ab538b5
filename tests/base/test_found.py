"""What every report shares: its texts, its file, and how numbers and labels are put."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from retrieval.base.found import Found
from retrieval.base.page import document, style
from retrieval.base.text import aligned, ends, numbered, plain


@dataclass(frozen=True)
class Row(Found):
    values: tuple[float, ...]

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
    assert plain(math.nan) is None and plain(0.0) == 0.0 and plain("nan") == "nan"


def test_records_arrays_and_paths_are_plain_in_json():
    class Pair(NamedTuple):
        one: Path
        other: np.ndarray

    pair = Pair(Path("a/b"), np.array([[1 / 3, np.nan], [np.inf, 2.0]]))
    plain_pair = {"one": "a/b", "other": [[0.333333, None], [None, 2.0]]}
    assert plain({"rows": [Row((0.5, math.inf))], "pair": pair}) == {
        "rows": [{"values": [0.5, None]}],
        "pair": plain_pair,
    }
    assert plain(np.array([1, 2], np.int32)) == [1, 2] and plain(None) is None and plain(True) is True


def test_words_stand_to_the_left_and_numbers_to_the_right():
    assert aligned([("a", "b", "1"), ("cc", "d", "22"), ("c", "e", "")], words=2) == ["a   b   1", "cc  d  22", "c   e"]


def test_a_page_has_one_frame_and_its_title_is_text():
    page = document("<b>", "<p>body</p>", ".own { color: red; }")
    assert "<title>&lt;b&gt;</title>" in page and "<p>body</p>" in page and "default-src 'none'" in page
    assert page.index(style("retrieval.base")) < page.index(".own { color: red; }")
