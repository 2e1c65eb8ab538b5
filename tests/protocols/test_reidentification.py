"""Market-1501, MSMT17 and VeRi: who is ignored, who is wrong, and what is counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import official_layouts
import pytest
import tiny
from slow_measures import unit
from slow_protocols import average_precision, found_within, order_of, trapezoids

from retrieval import datasets
from retrieval.errors import RetrievalError
from retrieval.evaluation.benchmark import benchmark
from retrieval.evaluation.options import EvaluationOptions


def measured(name: str, folder: Path, asking: int, ranked: int) -> tuple[object, np.ndarray, np.ndarray]:
    """The report on vectors without ties, and those of both sides."""
    made = unit(np.random.default_rng(1).normal(size=(asking + ranked, 5)))
    np.save(folder / "made.npy", made)
    return benchmark(name, folder / "set", vectors=folder / "made.npy"), made[:asking], made[asking:]


def check(report, queries: np.ndarray, gallery: np.ndarray, right: list[set[int]], ignored: list[set[int]]) -> None:
    """Queries without a right answer are left out, as the authors' programs do."""
    expected: dict[str, list[float]] = {}
    for query, its, gone in zip(queries, right, ignored, strict=True):
        if not its:
            continue
        order = order_of(query, gallery, gone)
        values = {f"CMC@{k}": found_within(order, its, k) for k in (1, 5, 10)}
        values |= {"mAP": average_precision(order, its), "mAP by trapezoids": trapezoids(order, its)}
        for name, value in values.items():
            expected.setdefault(name, []).append(value)
    for name, column in expected.items():
        np.testing.assert_allclose(report.per_query[name], column, atol=1e-12, err_msg=name)
        assert report[name].value == pytest.approx(np.mean(column))


def test_market_ignores_junk_and_the_querys_own_camera(tmp_path: Path) -> None:
    seen = official_layouts.market1501(tmp_path / "set")
    asking, ranked = seen["query"], seen["bounding_box_test"]
    report, queries, gallery = measured("market1501", tmp_path, len(asking), len(ranked))
    right, ignored = [], []
    for _, who, camera in asking:
        right.append({i for i, (_, other, c) in enumerate(ranked) if other == who and c != camera})
        junk = {i for i, (_, other, _) in enumerate(ranked) if other == "-1"}
        ignored.append(junk | {i for i, (_, other, c) in enumerate(ranked) if other == who and c == camera})
    check(report, queries, gallery, right, ignored)
    assert report.counts["queries"] == 3 and report.counts["queries_without_relevant"] == 1  # 0004: one camera saw it
    assert report.counts["gallery"] == 11 and report.counts["gallery_without_label"] == 3
    pictures = datasets.load(tmp_path / "set")
    assert pictures.name == "market1501" and len(pictures.select("train")) == 4 and len(pictures) == 22
    assert {pictures.classes[label] for label in pictures.select("train").labels} == {"0002", "0007"}


def test_msmt_counts_its_people_anew_on_either_side(tmp_path: Path) -> None:
    seen = official_layouts.msmt17(tmp_path / "set")
    asking, ranked = seen["query"], seen["gallery"]
    report, queries, gallery = measured("msmt17", tmp_path, len(asking), len(ranked))
    right = [{i for i, (_, w, c) in enumerate(ranked) if w == who and c != camera} for _, who, camera in asking]
    ignored = [{i for i, (_, w, c) in enumerate(ranked) if w == who and c == camera} for _, who, camera in asking]
    check(report, queries, gallery, right, ignored)
    pictures = datasets.load(tmp_path / "set")
    assert {split: int((pictures.splits == split).sum()) for split in ("train", "val", "test")} == {
        "train": 9, "val": 3, "test": 28
    }  # fmt: skip
    taught = set(pictures.labels[pictures.splits != "test"])
    assert not taught & set(pictures.labels[pictures.splits == "test"]) and len(taught) == 3
    assert all(file.exists() for file in pictures.files or ())


def test_veri_has_lists_of_what_is_right_and_what_is_ignored(tmp_path: Path) -> None:
    seen = official_layouts.veri(tmp_path / "set")
    report, queries, gallery = measured("veri", tmp_path, len(seen["asking"]), len(seen["gallery"]))
    check(report, queries, gallery, [set(one) for one in seen["right"]], [set(one) for one in seen["junk"]])
    pictures = datasets.load(tmp_path / "set")
    assert pictures.name == "veri" and len(pictures.select("train")) == 6


def test_a_copy_that_the_protocol_ignores_is_no_trap(tmp_path: Path) -> None:
    """As every query of VeRi stands in the gallery, among what its list says to ignore."""
    seen = official_layouts.veri(tmp_path / "set")
    everything = len(seen["asking"]) + len(seen["gallery"])
    for seed, (name, _, _) in enumerate(seen["gallery"]):  # no two are alike
        tiny.picture(seed).save(tmp_path / "set" / "image_test" / name)
    for name, _, _ in seen["asking"]:
        copy = (tmp_path / "set" / "image_test" / name).read_bytes()
        (tmp_path / "set" / "image_query" / name).write_bytes(copy)
    np.save(tmp_path / "made.npy", unit(np.random.default_rng(0).normal(size=(everything, 64))))

    def leaks() -> list[int]:
        options = EvaluationOptions(traps=True)
        report = benchmark("veri", tmp_path / "set", vectors=tmp_path / "made.npy", options=options)
        return [one.figures["with_near_duplicate"] for one in report.findings if "of the gallery" in one.sentence]

    assert leaks() == [0]
    (tmp_path / "set" / "jk_index.txt").write_text("12\n12\n12\n12\n")
    assert leaks() == [3]  # the last query is the last of the gallery


@pytest.mark.parametrize(
    ("name", "file", "content", "said"),
    [
        ("market1501", "query/somebody.jpg", "x", "is not called like 0002_c1s1_000451_03.jpg"),
        ("msmt17", "list_query.txt", "0000/a.jpg 0\n", "which has no camera"),
        ("msmt17", "list_query.txt", "0000/0000_000_01_x.jpg\n", "1 columns instead of 2"),
        ("msmt17", "list_query.txt", "0000/0000_000_01_x.jpg x\n", "has 'x' where a whole number"),
        ("veri", "gt_index.txt", "1 2\n", "has 1 lines for 4 queries"),
        ("veri", "gt_index.txt", "1 99\n", "names picture 99 of a gallery of 12"),
        ("veri", "gt_index.txt", "0\n", "has '0' where a whole number from 1 on"),
        ("veri", "name_query.txt", "a.jpg\n", "which has no vehicle and camera"),
    ],
)
def test_damaged_lists_are_one_sentence(name: str, file: str, content: str, said: str, tmp_path: Path) -> None:
    getattr(official_layouts, name)(tmp_path / "set")
    (tmp_path / "set" / file).write_text(content)
    with pytest.raises(RetrievalError, match=said):
        datasets.load(tmp_path / "set")
