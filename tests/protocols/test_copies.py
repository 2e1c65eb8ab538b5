"""Holidays, UKBench and Copydays: who is left out of whose ranking, and what is counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import official_layouts
import pytest
from slow_measures import unit
from slow_protocols import average_precision, order_of, trapezoids

from retrieval import datasets
from retrieval.evaluation.benchmark import benchmark


def made(n: int, file: Path) -> np.ndarray:
    vectors = unit(np.random.default_rng(2).normal(size=(n, 5)))
    np.save(file, vectors)
    return vectors


def test_holidays_leaves_a_query_out_of_its_own_ranking(tmp_path: Path) -> None:
    names = sorted(official_layouts.holidays(tmp_path / "set"))
    asking = [place for place, name in enumerate(names) if name.endswith("00.jpg")]
    others = [place for place in range(len(names)) if place not in asking]
    vectors = made(len(names), tmp_path / "made.npy")
    gallery = np.empty_like(vectors)
    gallery[[*asking, *others]] = vectors  # a file has the queries first
    report = benchmark("holidays", tmp_path / "set", vectors=tmp_path / "made.npy")
    expected, exact = [], []
    for row, place in enumerate(asking):
        order = order_of(vectors[row], gallery, [place])
        right = {other for other, name in enumerate(names) if name[:4] == names[place][:4]} - {place}
        expected.append(trapezoids(order, right))
        exact.append(average_precision(order, right))
    np.testing.assert_allclose(report.per_query["mAP by trapezoids"], expected, atol=1e-12)
    np.testing.assert_allclose(report.per_query["mAP"], exact, atol=1e-12)
    assert report.counts["queries"] == 5 and report.counts["gallery"] == len(names)
    pictures = datasets.load(tmp_path / "set")
    assert pictures.name == "holidays" and len(pictures) == len(names) and set(pictures.splits) == {"test"}


def test_ukbench_counts_the_query_among_its_four(tmp_path: Path) -> None:
    names = official_layouts.ukbench(tmp_path / "set")
    vectors = made(len(names), tmp_path / "made.npy")
    report = benchmark("ukbench", tmp_path / "set", vectors=tmp_path / "made.npy")
    expected = [
        sum(place // 4 == query // 4 for place in order_of(vectors[query], vectors)[:4]) for query in range(len(names))
    ]
    np.testing.assert_allclose(report.per_query["N-S score"], expected)
    assert min(expected) >= 1 and report["N-S score"].value == pytest.approx(np.mean(expected))
    assert report["N-S score"].chance == pytest.approx(1)
    assert datasets.load(tmp_path / "set").name == "ukbench"


def test_copydays_asks_attack_by_attack(tmp_path: Path) -> None:
    found = official_layouts.copydays(tmp_path / "set")
    attacks = ["strong", "jpegqual/3", "crops/50"]
    asking = [(attack, name) for attack in attacks for name in found[attack]]
    vectors = made(len(asking) + 5, tmp_path / "made.npy")
    gallery = vectors[len(asking) :]
    report = benchmark("copydays", tmp_path / "set", vectors=tmp_path / "made.npy")
    for attack in attacks:
        values = []
        for row, (its, name) in enumerate(asking):
            if its == attack:
                right = {place for place, other in enumerate(found["original"]) if other[:4] == name[:4]}
                values.append(trapezoids(order_of(vectors[row], gallery), right))
        assert report[f"{attack} mAP by trapezoids"].value == pytest.approx(np.mean(values))
        assert report[f"{attack} mAP"].n == len(found[attack])
    assert datasets.load(tmp_path / "set").name == "copydays"
