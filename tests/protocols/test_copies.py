"""Holidays, UKBench and Copydays: who is left out of whose ranking, and what is counted."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import official_layouts
import pytest
from slow_measures import unit
from slow_protocols import average_precision, order_of, trapezoids

from retrieval import datasets, protocols
from retrieval.errors import RetrievalError
from retrieval.evaluation.benchmark import benchmark
from retrieval.evaluation.paired_comparison import compare_kept


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
    assert 1 <= report["N-S score"].low < report["N-S score"].value < report["N-S score"].high <= 4
    assert compare_kept(report.kept(), report.kept())["N-S score"].first.value == report["N-S score"].value


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


def test_disc21_ranks_all_pairs_together(tmp_path: Path) -> None:
    truth = official_layouts.disc21(tmp_path / "set")
    asking, count = list(truth), 15
    vectors = made(count, tmp_path / "made.npy")
    report = benchmark("disc21", tmp_path / "set", vectors=tmp_path / "made.npy")
    queries, gallery = vectors[: len(asking)], vectors[len(asking) :]
    pairs = [(float(q @ g), row, place) for row, q in enumerate(queries) for place, g in enumerate(gallery)]
    right = {(row, int(name[1:])) for row, query in enumerate(asking) for name in truth[query]}
    hits, total, best = 0, 0.0, 0.0
    for rank, (_, row, place) in enumerate(sorted(pairs, reverse=True), start=1):
        if (row, place) in right:
            hits += 1
            total += hits / rank
            if hits / rank >= 0.9:
                best = hits / len(right)
    assert report["µAP"].value == pytest.approx(total / len(right)) == report["µAP, wrong first"].value
    assert report["recall at 90 % precision"].value == pytest.approx(best)
    assert report.counts["queries"] == 3 and report.counts["queries_without_relevant"] == 3
    found = [
        order_of(queries[row], gallery)[0] in {int(one[1:]) for one in truth[name]} for row, name in enumerate(asking)
    ]
    first = [hit / len(truth[name]) for hit, name in zip(found, asking, strict=True) if truth[name]]
    np.testing.assert_allclose(report.per_query["recall@1"], first)
    copies = sum(len(its) for its in truth.values())
    for k in (1, 10):  # of a pair whose other copy scores more it is the second that counts
        ranks = [
            order_of(queries[asking.index(query)], gallery).index(int(one[1:]))
            for query in truth
            for one in truth[query]
        ]
        share = sum(rank < k for rank in ranks) / copies
        assert report[f"recall@{k} of the best pairs"].value == pytest.approx(share)
    assert "The ground truth is public_ground_truth.csv." in report.notes
    assert {str(s) for s in datasets.load(tmp_path / "set").splits} == {"test", "train"}


def test_disc21_counts_found_copies_among_the_best_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that is its query's best, and among all pairs not one of the best, is found among all references alone."""
    official_layouts.disc21(tmp_path / "set")
    queries, gallery = np.eye(4)[[2] * 6], np.eye(4)[[1] * 9]
    queries[0] = gallery[1]  # it is a copy of nothing, and looks like seven references
    queries[1], gallery[4] = [1, 0, 0, 0], [0.8, 0.6, 0, 0]
    queries[3] = gallery[0] = [0, 0, 0, 1]
    vectors = np.concatenate([queries, gallery]).astype(np.float32)
    np.save(tmp_path / "made.npy", vectors)
    monkeypatch.setitem(protocols.PROTOCOLS, "disc21", dataclasses.replace(protocols.PROTOCOLS["disc21"], pairs=5))
    report = benchmark("disc21", tmp_path / "set", vectors=tmp_path / "made.npy")
    assert report.per_query["recall@1"].tolist()[:2] == [1, 1]
    assert report["recall@1 of the best pairs"].value == pytest.approx(1 / 4)


def test_disc21_leaves_out_what_is_missing_and_takes_the_ground_truth_of_its_queries(tmp_path: Path) -> None:
    official_layouts.disc21(tmp_path / "set")
    whole = {file.name for file in (tmp_path / "set" / "images" / "references").iterdir()}
    others = tmp_path / "set" / "list_files" / "dev_queries_groundtruth.csv"
    others.write_text("Q50000,R000001\nQ50001,\n")
    (tmp_path / "set" / "images" / "references" / "R000004.jpg").unlink()
    made(15, tmp_path / "made.npy")
    report = benchmark("disc21", tmp_path / "set", vectors=tmp_path / "made.npy")
    assert report.counts["queries"] == 3 and "The ground truth is public_ground_truth.csv." in report.notes
    pictures = datasets.load(tmp_path / "set")
    assert {Path(name).name for name in pictures.names if name.startswith("references/")} == whole
    (tmp_path / "set" / "list_files" / "public_ground_truth.csv").unlink()
    assert "The ground truth is dev_queries_groundtruth.csv." in benchmark_notes(tmp_path)
    others.write_text("Q50000,../R000001\n")
    with pytest.raises(RetrievalError, match="not a query and a reference"):
        datasets.load(tmp_path / "set")


def benchmark_notes(folder: Path) -> tuple[str, ...]:
    made(10, folder / "fewer.npy")
    return benchmark("disc21", folder / "set", vectors=folder / "fewer.npy").notes


def test_google_landmarks_divides_by_at_most_a_hundred(tmp_path: Path) -> None:
    truth = official_layouts.gldv2(tmp_path / "set")
    index = truth.pop("index")
    vectors = made(len(truth) + len(index), tmp_path / "made.npy")
    report = benchmark("gldv2", tmp_path / "set", vectors=tmp_path / "made.npy")
    values = [
        average_precision(order_of(vectors[row], vectors[3:]), {index.index(name) for name in its}, cutoff=100)
        for row, its in enumerate(truth.values())
    ]
    assert report["public mAP@100"].value == pytest.approx(values[0])
    assert report["private mAP@100"].value == pytest.approx(np.mean(values[1:]))
    solution = tmp_path / "set" / "retrieval_solution_v2.1.csv"
    solution.write_text(solution.read_text().replace(",Public", ",public"))
    with pytest.raises(RetrievalError, match="has the usage 'public', not Public, Private or Ignored"):
        benchmark("gldv2", tmp_path / "set", vectors=tmp_path / "made.npy")
    official_layouts.gldv2(tmp_path / "set")
    pictures = datasets.load(tmp_path / "set")
    assert len(pictures.select("train")) == 4 and all(file.exists() for file in pictures.files or ())
