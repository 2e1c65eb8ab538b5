"""CUB-200-2011, Cars196, Stanford Online Products and In-Shop: what is read, and what is counted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import official_layouts
import pytest
import tiny
from slow_measures import unit
from slow_protocols import found_within, map_at_r, order_of

from retrieval import datasets, protocols
from retrieval.errors import RetrievalError
from retrieval.evaluation.benchmark import benchmark
from retrieval.evaluation.options import EvaluationOptions
from retrieval.protocols.protocol import halves

AMONG_THEMSELVES: dict[str, tuple[Callable[[Path], list], tuple[int, ...]]] = {
    "cub200": (official_layouts.cub200, (1, 2, 4, 8)),
    "cars196": (official_layouts.cars196, (1, 2, 4, 8)),
    "sop": (official_layouts.sop, (1, 10, 100, 1000)),
    "inat2018": (official_layouts.inat2018, (1, 4, 16, 32)),
}


def vectors(n: int, file: Path, seed: int = 0) -> np.ndarray:
    made = unit(np.random.default_rng(seed).normal(size=(n, 6)))
    np.save(file, made)
    return made


@pytest.mark.parametrize("name", AMONG_THEMSELVES)
def test_second_half_of_the_classes_is_asked_among_itself(name: str, tmp_path: Path) -> None:
    write, ks = AMONG_THEMSELVES[name]
    rows = write(tmp_path / "set")
    classes = np.unique([c for _, c in rows], return_inverse=True)[1]
    asked = classes[classes > classes.max() // 2]
    made = vectors(len(asked), tmp_path / "made.npy")
    report = benchmark(name, tmp_path / "set", vectors=tmp_path / "made.npy")
    expected: dict[str, list[float]] = {f"R@{k}": [] for k in ks} | {"MAP@R": []}
    for query, label in enumerate(asked):
        order = order_of(made[query], made, [query])
        right = {place for place in range(len(asked)) if asked[place] == label} - {query}
        for k in ks:
            expected[f"R@{k}"].append(found_within(order, right, k))
        expected["MAP@R"].append(map_at_r(order, right))
    for measure, values in expected.items():
        np.testing.assert_allclose(report.per_query[measure], values, atol=1e-12, err_msg=measure)
        assert report[measure].value == pytest.approx(np.mean(values))
    assert report.counts["queries"] == report.counts["gallery"] == len(asked)
    assert ("NMI" in {one.name for one in report.measures}) == (name in ("cub200", "cars196"))
    assert any("not the official set" in note for note in report.notes)


@pytest.mark.parametrize("name", [*AMONG_THEMSELVES, "inshop"])
def test_a_folder_is_recognised_with_its_official_split(name: str, tmp_path: Path) -> None:
    rows = getattr(official_layouts, name)(tmp_path / "set")
    pictures = datasets.load(tmp_path / "set")
    assert pictures.name == name and len(pictures) == len(rows)
    train, test = pictures.select("train"), pictures.select("test")
    assert not set(train.labels) & set(test.labels) and len(train) and len(test)
    by_name = {row[0]: row[1] for row in rows}
    shown = [by_name[one.removeprefix("images/")] for one in pictures.names]
    assert len({(label, c) for label, c in zip(pictures.labels, shown, strict=True)}) == len(set(shown))
    assert all(file.is_relative_to(tmp_path / "set") for file in pictures.files or ())


@pytest.mark.parametrize(("there", "first"), [(range(1, 5), 3), (range(1, 151), 101), (range(2, 200), 101)])
def test_the_official_number_of_classes_divides_where_some_are_missing(there: range, first: int) -> None:
    """Of a set so small that all of it would train, the half of what is there."""
    splits = halves(list(there), of=200)
    assert there[splits.index("test")] == first and splits.index("test") == splits.count("train")


def test_pictures_that_are_missing_make_another_set(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = official_layouts.cub200(tmp_path / "set")
    official = dataclasses.replace(protocols.PROTOCOLS["cub200"], sizes=(8, 8, 8))
    monkeypatch.setitem(protocols.PROTOCOLS, "cub200", official)
    model = str(tiny.model(tmp_path_factory))
    assert not any("official set" in note for note in benchmark("cub200", tmp_path / "set", model=model).notes)
    (tmp_path / "set" / "images" / rows[-1][0]).unlink()
    report = benchmark("cub200", tmp_path / "set", model=model)
    assert any("7 ask and 7 are ranked" in note for note in report.notes) and report.counts["unreadable"] == 1


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("cub200", "images.txt"),
        ("cars196", "car_ims"),
        ("sop", "Ebay_test.txt"),
        ("inshop", "img"),
        ("inat2018", "Inat_dataset_splits/Inaturalist_train_set1.txt"),
        ("revisited", "jpg"),
        ("gldv2", "index.csv"),
        ("msmt17", "list_val.txt"),
        ("veri", "jk_index.txt"),
    ],
)
def test_a_set_that_lacks_something_is_not_read_as_folders_of_classes(name: str, missing: str, tmp_path: Path) -> None:
    """What is for testing would train."""
    getattr(official_layouts, name)(tmp_path / "set")
    (tmp_path / "set" / missing).rename(tmp_path / "elsewhere")
    with pytest.raises(RetrievalError, match="give a folder with all of these"):
        datasets.load(tmp_path / "set")


def test_queries_of_in_shop_are_asked_against_its_gallery(tmp_path: Path) -> None:
    rows = official_layouts.inshop(tmp_path / "set")
    asking = [item for _, item, status in rows if status == "query"]
    ranked = [item for _, item, status in rows if status == "gallery"]
    made = vectors(len(asking) + len(ranked), tmp_path / "made.npy")
    report = benchmark("inshop", tmp_path / "set", vectors=tmp_path / "made.npy")
    gallery = made[len(asking) :]
    for k in (1, 10, 20, 30):
        expected = [
            found_within(order_of(made[q], gallery), {i for i, other in enumerate(ranked) if other == item}, k)
            for q, item in enumerate(asking)
        ]
        np.testing.assert_array_equal(report.per_query[f"R@{k}"], expected)
    assert report.counts["gallery"] == len(ranked)


def test_vectors_with_names_may_stand_in_any_order(tmp_path: Path) -> None:
    import h5py

    rows = official_layouts.sop(tmp_path / "set")
    asked = [name for name, c in rows if c > 3]
    made = vectors(len(asked), tmp_path / "made.npy")
    turned = np.random.default_rng(2).permutation(len(asked))
    with h5py.File(tmp_path / "made.h5", "w") as file:
        file["vectors"] = made[turned]
        file["names"] = np.array([asked[place].encode() for place in turned])
    one = benchmark("sop", tmp_path / "set", vectors=tmp_path / "made.npy")
    other = benchmark("sop", tmp_path / "set", vectors=tmp_path / "made.h5")
    np.testing.assert_array_equal(one.per_query["MAP@R"], other.per_query["MAP@R"])
    with pytest.raises(RetrievalError, match="no vector named"):
        benchmark("sop", tmp_path / "set", vectors=_renamed(tmp_path, made))
    with pytest.raises(RetrievalError, match=r"holds 8 vectors, and there are 9 pictures"):
        np.save(tmp_path / "few.npy", made[:-1])
        benchmark("sop", tmp_path / "set", vectors=tmp_path / "few.npy")


def _renamed(folder: Path, made: np.ndarray) -> Path:
    import h5py

    with h5py.File(folder / "other.h5", "w") as file:
        file["vectors"] = made
        file["names"] = np.array([b"%d.jpg" % i for i in range(len(made))])
    return folder / "other.h5"


def test_a_constant_embedding_scores_chance(tmp_path: Path) -> None:
    official_layouts.cub200(tmp_path / "set")
    np.save(tmp_path / "made.npy", np.ones((8, 3), np.float32))
    report = benchmark("cub200", tmp_path / "set", vectors=tmp_path / "made.npy")
    for name in ("R@1", "R@2", "R@4", "MAP@R"):
        assert report[name].value == pytest.approx(report[name].chance), name
    assert report["R@1"].value == pytest.approx(3 / 7)


def test_at_most_so_many_ask_the_whole_gallery(tmp_path: Path) -> None:
    official_layouts.sop(tmp_path / "set")
    vectors(9, tmp_path / "made.npy")
    whole = benchmark("sop", tmp_path / "set", vectors=tmp_path / "made.npy")
    few = benchmark("sop", tmp_path / "set", vectors=tmp_path / "made.npy", options=EvaluationOptions(limit=4))
    rows = np.flatnonzero(np.isin(whole.per_query["name"], few.per_query["name"]))
    assert len(rows) == 4 and few.counts["gallery"] == 9
    np.testing.assert_array_equal(few.per_query["MAP@R"], whole.per_query["MAP@R"][rows])


def test_what_a_re_ranker_gains_is_counted_by_the_protocol(tmp_path: Path) -> None:
    from retrieval.evaluation.benchmark_gain import benchmark_gain

    rows = official_layouts.sop(tmp_path / "set")
    asked = np.array([c for _, c in rows if c > 3])
    made = vectors(len(asked), tmp_path / "made.npy")
    gain = benchmark_gain("sop", tmp_path / "set", vectors=tmp_path / "made.npy", rerank="aqe")
    before = benchmark("sop", tmp_path / "set", vectors=tmp_path / "made.npy")
    expected = []
    for query, label in enumerate(asked):
        scores = made.astype(np.float64) @ made[query]
        scores[query] = 0  # left out of its own neighbours
        other = made[query] + made[scores > 0].sum(axis=0)
        right = {place for place in range(len(asked)) if asked[place] == label} - {query}
        expected.append(map_at_r(order_of(other, made, [query]), right))
    assert gain.differences["MAP@R"].first.value == pytest.approx(before["MAP@R"].value)
    assert gain.differences["MAP@R"].second.value == pytest.approx(np.mean(expected))
    assert gain.differences["R@1000"].second.value == 1 and gain.differences.queries == len(asked)


@pytest.mark.parametrize(
    ("name", "file", "content", "said"),
    [
        ("cub200", "images.txt", "1 a.jpg\n2\n", r"Line 2 of .*images.txt' has 1 columns instead of 2"),
        ("cub200", "images.txt", "1 ../../etc/passwd\n", "leads out of the folder"),
        ("cub200", "images.txt", "x a.jpg\n", r"has 'x' where a whole number from 1 on stands"),
        ("cub200", "images.txt", "1 a.jpg\n2 a.jpg\n", r"lists 'images/a.jpg' 2 times"),
        ("cub200", "images.txt", "99 a.jpg\n", r"has no line for picture 99"),
        ("cub200", "images.txt", "", "lists no picture"),
        ("cub200", "images.txt", "\xff", "not UTF-8"),
        ("sop", "Ebay_test.txt", "image_id class_id super_class_id path\n1 2 3\n", "3 columns instead of 4"),
        ("sop", "Ebay_test.txt", "image_id class_id super_class_id path\n1 -2 3 a.jpg\n", "'-2' where a whole number"),
        ("inshop", "Eval/list_eval_partition.txt", "1\nimg/a.jpg id_1 other\n", "not a name, an item and train or"),
        ("cars196", "cars_annos.mat", "MATLAB 5.0", r"cars_annos.mat' cannot be read"),
        ("cars196", "cars_annos.mat", "", r"cars_annos.mat' cannot be read"),
    ],
)
def test_damaged_lists_are_one_sentence(name: str, file: str, content: str, said: str, tmp_path: Path) -> None:
    getattr(official_layouts, name)(tmp_path / "set")
    (tmp_path / "set" / file).write_bytes(content.encode("latin-1"))
    with pytest.raises(RetrievalError, match=said) as raised:
        datasets.load(tmp_path / "set")
    assert "\n" not in str(raised.value)


def test_annotations_that_hold_something_else_are_refused(tmp_path: Path) -> None:
    from scipy.io import savemat

    official_layouts.cars196(tmp_path / "set")
    file = tmp_path / "set" / "cars_annos.mat"
    savemat(file, {"annotations": np.zeros(3), "class_names": np.array(["a"], object)})
    with pytest.raises(RetrievalError, match="no relative_im_path and class"):
        datasets.load(tmp_path / "set")
    savemat(file, {"other": np.zeros(3)})
    with pytest.raises(RetrievalError, match="it has no annotations"):
        datasets.load(tmp_path / "set")
    whole = np.zeros((1, 1), dtype=[("relative_im_path", object), ("class", object)])
    whole[0, 0] = ("../a.jpg", 1)
    savemat(file, {"annotations": whole, "class_names": np.array(["a", "b"], object)})
    with pytest.raises(RetrievalError, match="leads out of the folder"):
        datasets.load(tmp_path / "set")


def test_copies_between_training_and_test_are_named(tmp_path: Path) -> None:
    """Also where the vectors are somebody else's: then by the pictures alone."""
    rows = official_layouts.sop(tmp_path / "set")
    vectors(9, tmp_path / "made.npy")
    options = EvaluationOptions(traps=True)

    def leaks() -> list[str]:
        report = benchmark("sop", tmp_path / "set", vectors=tmp_path / "made.npy", options=options)
        return [one.severity for one in report.findings if "training set" in one.sentence]

    for seed, (name, _) in enumerate(rows):  # no two are alike
        tiny.picture(seed).save(tmp_path / "set" / name, "PNG")
    assert leaks() == ["fine"]
    (tmp_path / "set" / rows[-1][0]).write_bytes((tmp_path / "set" / rows[0][0]).read_bytes())
    assert leaks() != ["fine"]
