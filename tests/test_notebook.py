"""What a notebook shows of what a verb found: its table, with every text escaped."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest

import retrieval
from retrieval.evaluation.one_shot import OneShot
from retrieval.evaluation.paired_comparison import Differences
from retrieval.evaluation.reranking import Gain
from retrieval.report import Page
from retrieval.traps.duplicates.report import Copy, Group
from retrieval.tuning.report import TuningReport

HOSTILE = "<script>alert('&\"')</script>"


@pytest.mark.parametrize(
    "kind",
    [retrieval.Report, retrieval.Duplicates, retrieval.Calibration, Differences, OneShot, Gain, TuningReport, Page],
)
def test_each_shows_itself(kind: type) -> None:
    assert callable(kind._repr_html_)


def test_duplicates_show_their_table() -> None:
    one, two = (Copy(f"{HOSTILE}{n}.png", 10, 4, 4, "exact" if n else None) for n in range(2))
    found = retrieval.Duplicates(Path("photos"), 2, (Group(one, (two,)),), (), (HOSTILE,), None, 10)
    shown = found._repr_html_()
    assert "<script" not in shown
    assert unescape(re.sub("<[^>]+>", "", shown)) == found.table()


def test_a_report_shows_its_table(tmp_path: Path) -> None:
    vectors = np.eye(4, dtype=np.float32)[np.arange(24) % 4] + 0.01
    np.save(tmp_path / "vectors.npy", vectors)
    np.save(tmp_path / "labels.npy", np.arange(24) % 4)
    report = retrieval.evaluate_vectors(tmp_path / "vectors.npy", tmp_path / "labels.npy")
    assert unescape(re.sub("<[^>]+>", "", report._repr_html_())) == report.table()


def test_a_page_stands_in_a_frame_where_nothing_runs(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(f'<p class="a">{HOSTILE}</p>')
    shown = Page(file, None)._repr_html_()  # type: ignore[arg-type]
    assert re.fullmatch(r'<iframe srcdoc="[^"<>]*" sandbox style="[^"<>]*"></iframe>', shown)
    assert unescape(re.search('srcdoc="([^"]*)"', shown)[1]) == file.read_text()
