"""NUS-WIDE, MIRFlickr and CIFAR-10 by binary codes, and Omniglot's trials: every order of equal distances counts."""

from __future__ import annotations

from pathlib import Path

import lake_archive
import numpy as np
import official_layouts
import pytest
import tiny
from slow_measures import orders
from slow_protocols import average_precision, average_precision_of_found
from small_sets import cifar10_pixels, python_version

from retrieval import datasets
from retrieval.errors import RetrievalError
from retrieval.evaluation.benchmark import benchmark
from retrieval.evaluation.options import EvaluationOptions

CODES = EvaluationOptions(codes=True)


def distances(codes: np.ndarray, query: int, others: np.ndarray) -> np.ndarray:
    bits = np.unpackbits(codes, axis=1)
    return (bits[others] != bits[query]).sum(axis=1)


@pytest.mark.parametrize(("name", "labels"), [("nuswide", 21), ("mirflickr", 38)])
def test_several_labels_and_equal_distances(name: str, labels: int, tmp_path: Path) -> None:
    found = official_layouts.hashing_lists(tmp_path / "set", labels)
    asking, database = found["test.txt"], found["database.txt"]
    codes = np.random.default_rng(0).integers(0, 8, (11, 1), np.uint8)
    np.save(tmp_path / "codes.npy", codes)
    report = benchmark(name, tmp_path / "set", vectors=tmp_path / "codes.npy", options=CODES)
    expected: dict[str, list[float]] = {}
    for row, (_, flags) in enumerate(asking):
        far = distances(codes, row, 4 + np.arange(len(database)))
        # one without a label is wrong for everybody
        shared = np.array([bool(np.dot(flags, others)) for _, others in database])
        values = {"mAP": np.nan, "P@radius 2": np.nan, "mAP of the found": 0.0, "mAP@1000 of the found": 0.0}
        if shared.any():
            right = set(np.flatnonzero(shared).tolist())
            every = [list(order) for order in orders((-far).tolist())]
            values["mAP"] = values["mAP of the found"] = np.mean([average_precision(o, right) for o in every])
            values["mAP@1000 of the found"] = np.mean([average_precision_of_found(o, right, 1000) for o in every])
            values["P@radius 2"] = shared[far <= 2].mean() if (far <= 2).any() else 0.0
        for measure, value in values.items():
            expected.setdefault(measure, []).append(value)
    for measure, column in expected.items():
        np.testing.assert_allclose(report.per_query[measure], column, atol=1e-12, err_msg=measure)
        assert report[measure].value == pytest.approx(np.nanmean(column))
    shown = [one.name for one in report.measures]
    assert [name for name in report.per_query if name in shown] == shown
    assert report["mAP"].n == 2 and report["mAP of the found"].n == 4
    assert report.counts["queries"] == 2 and report.counts["queries_without_relevant"] == 2
    assert not any(any(flags) for _, flags in asking[2:3]) and report.counts["gallery_without_label"] == 0
    pictures = datasets.load(tmp_path / "set")
    assert pictures.name == name and len(pictures.select("train")) == 2 and len(pictures) == 12


def test_cifar10_by_both_protocols(tmp_path: Path) -> None:
    python_version(tmp_path / "set")
    labels = cifar10_pixels()[1]
    codes = np.random.default_rng(1).integers(0, 256, (24, 2), np.uint8)
    np.save(tmp_path / "codes.npy", codes)
    report = benchmark("cifar10-hash", tmp_path / "set", vectors=tmp_path / "codes.npy", options=CODES)
    asked, others = labels[20:], labels[:20]
    values = []
    for row in range(4):
        far = distances(codes, row, 4 + np.arange(20))
        near = np.bincount(far, minlength=17).cumsum()[2]
        values.append((others[far <= 2] == asked[row]).sum() / near if near else 0.0)
    np.testing.assert_allclose(report.per_query["I P@radius 2"], values)
    np.testing.assert_array_equal(report.per_query["I mAP"], report.per_query["II mAP"])
    assert report.counts["gallery"] == 20
    numbers = np.unpackbits(codes, axis=1, bitorder="little") * 2.0 - 1
    np.save(tmp_path / "numbers.npy", numbers)
    same = benchmark("cifar10-hash", tmp_path / "set", vectors=tmp_path / "numbers.npy")
    np.testing.assert_array_equal(report.per_query["I mAP"], same.per_query["I mAP"])
    assert any("made codes by their signs" in note for note in same.notes)
    np.save(tmp_path / "numbers.npy", numbers[:, :15])
    with pytest.raises(RetrievalError, match="15 numbers make none"):
        benchmark("cifar10-hash", tmp_path / "set", vectors=tmp_path / "numbers.npy")


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("train.txt", "images/a.jpg 1 0\n", "has no name with 21 times 0 or 1"),
        ("train.txt", "images/a.jpg " + "2 " * 21 + "\n", "has no name with 21 times 0 or 1"),
        ("train.txt", "/etc/passwd " + "1 " * 21 + "\n", "leads out of the folder"),
        ("database.txt", "", "lists no picture"),
    ],
)
def test_damaged_lists_are_one_sentence(file: str, content: str, said: str, tmp_path: Path) -> None:
    official_layouts.hashing_lists(tmp_path / "set", 21)
    (tmp_path / "set" / file).write_text(content)
    with pytest.raises(RetrievalError, match=said):
        datasets.load(tmp_path / "set")


def test_a_query_in_the_database_is_named(tmp_path: Path) -> None:
    found = official_layouts.hashing_lists(tmp_path / "set", 21)
    name, flags = found["test.txt"][0]
    official_layouts.lines(tmp_path / "set" / "database.txt", [" ".join([name, *map(str, flags)])])
    with pytest.raises(RetrievalError, match="which another list has, too"):
        datasets.load(tmp_path / "set")


def test_omniglot_is_the_one_shot_trials(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    from retrieval.evaluation.by_name import evaluate_one_shot

    model = str(tiny.model(tmp_path_factory))
    lake_archive.archive(tmp_path / "all_runs.zip", lake_archive.members())
    report = benchmark("omniglot", tmp_path / "all_runs.zip", model=model)
    same = evaluate_one_shot(model, str(tmp_path / "all_runs.zip"))
    assert report.to_json()["figures"] == same.to_json()["figures"]
    for inside in ("", "all_runs/"):
        unpacked = tmp_path / f"unpacked {len(inside)}"
        for name, content in lake_archive.members().items():
            (unpacked / inside / name).parent.mkdir(parents=True, exist_ok=True)
            (unpacked / inside / name).write_bytes(content)
        with pytest.raises(RetrievalError, match="give their archive"):
            benchmark("omniglot", unpacked, model=model)
    with pytest.raises(RetrievalError, match="give --model"):
        benchmark("omniglot", tmp_path / "all_runs.zip", vectors="v.npy")
    with pytest.raises(RetrievalError, match="take --seed alone"):
        benchmark("omniglot", tmp_path / "all_runs.zip", model=model, options=CODES)
