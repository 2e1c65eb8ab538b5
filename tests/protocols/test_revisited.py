"""Revisited Oxford and Paris: a ground truth that is not executed, boxes, and three settings with their junk."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import official_layouts
import pytest
import tiny
from slow_measures import unit
from slow_protocols import average_precision, order_of, precision_to_last, trapezoids

from retrieval import datasets
from retrieval.base.pickled import plain
from retrieval.encoder import Encoder
from retrieval.errors import RetrievalError
from retrieval.evaluation.benchmark import benchmark
from retrieval.protocols import roxford

RIGHT = {"easy": ["easy"], "medium": ["easy", "hard"], "hard": ["hard"]}
JUNK = {"easy": ["junk", "hard"], "medium": ["junk"], "hard": ["junk", "easy"]}


@pytest.mark.parametrize("python2", [False, True])
def test_three_settings_with_their_junk(python2: bool, tmp_path: Path) -> None:
    truth = official_layouts.revisited(tmp_path / "set", python2=python2)
    made = unit(np.random.default_rng(0).normal(size=(16, 5)))
    np.save(tmp_path / "made.npy", made)
    report = benchmark("roxford", tmp_path / "set", vectors=tmp_path / "made.npy")
    gallery = made[4:]
    for setting in RIGHT:
        expected: dict[str, list[float]] = {}
        for row, question in enumerate(truth["gnd"]):
            right = {place for one in RIGHT[setting] for place in question[one]}
            order = order_of(made[row], gallery, [place for one in JUNK[setting] for place in question[one]])
            its = {
                "mAP": average_precision(order, right) if right else np.nan,
                "mAP by trapezoids": trapezoids(order, right) if right else np.nan,
                **{f"mP@{k} to the last": precision_to_last(order, right, k) if right else np.nan for k in (1, 5, 10)},
                **{f"P@{k}": sum(p in right for p in order[:k]) / k if right else np.nan for k in (1, 5, 10)},
            }
            for name, value in its.items():
                expected.setdefault(name, []).append(value)
        for name, values in expected.items():
            np.testing.assert_allclose(report.per_query[f"{setting} {name}"], values, atol=1e-12)
            assert report[f"{setting} {name}"].value == pytest.approx(np.nanmean(values))
    assert report["easy mAP"].n == 3 and report["hard mAP"].n == 4
    assert report.counts["queries"] == 4 and report.counts["gallery"] == 12
    assert any(note.startswith("Published: ") for note in report.notes)


def test_what_a_query_scored_is_kept_and_compared(tmp_path: Path) -> None:
    from retrieval.evaluation.paired_comparison import compare_kept

    official_layouts.revisited(tmp_path / "set")
    for seed, file in enumerate(("a", "b")):
        np.save(tmp_path / f"{file}.npy", unit(np.random.default_rng(seed).normal(size=(16, 5))))
        benchmark("roxford", tmp_path / "set", vectors=tmp_path / f"{file}.npy").save(tmp_path / f"{file}.json")
    found = compare_kept(tmp_path / "a.json", tmp_path / "b.json")
    assert found["easy mAP"].difference.n == 3 and found["hard mAP"].difference.n == 4
    one, other = (np.load(tmp_path / f"{file}.queries.npz")["easy mAP"] for file in ("a", "b"))
    assert found["easy mAP"].difference.value == pytest.approx(np.nanmean(other - one))


def test_a_question_is_cut_out_of_its_picture(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    from PIL import Image

    official_layouts.revisited(tmp_path / "set")
    official = roxford.PROTOCOL.read(tmp_path / "set")
    pictures = datasets.load(tmp_path / "set")
    assert pictures.name == "roxford" and set(pictures.splits) == {"test"}
    model = tiny.model(tmp_path_factory)
    encoder = Encoder.load(str(model), threads=1)
    assert official.boxes is not None and pictures.files is not None
    whole = Image.open(pictures.files[1])
    cut = whole.crop((3, 4, 14, 20))  # 3, 3.5, 14, 20.25: half a pixel goes to the even one
    assert official.boxes[1].edges(24, 24) == (3, 4, 14, 20)
    cut.save(tmp_path / "cut.png")
    from retrieval.encoder.file_encoding import encode_readable

    expected, _ = encode_readable(encoder, [tmp_path / "cut.png"], "a part", threads=1)
    made, _ = encode_readable(encoder, pictures.files[:2], "questions", threads=1, boxes=official.boxes[:2])
    np.testing.assert_allclose(made[1], expected[0], atol=1e-6)
    report = benchmark("roxford", tmp_path / "set", model=str(model))
    rest, _ = encode_readable(encoder, pictures.files[4:], "the gallery", threads=1)
    first, _ = encode_readable(encoder, pictures.files[:4], "questions", threads=1, boxes=official.boxes)
    np.save(tmp_path / "made.npy", np.concatenate([first, rest]))
    same = benchmark("roxford", tmp_path / "set", vectors=tmp_path / "made.npy")
    np.testing.assert_allclose(report.per_query["medium mAP"], same.per_query["medium mAP"])


class Evil:
    """What it names is run by an ordinary unpickler."""

    place = Path()

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(Evil.place),)


def test_a_hostile_ground_truth_is_not_run(tmp_path: Path) -> None:
    official_layouts.revisited(tmp_path / "set")
    Evil.place = tmp_path / "was_here"
    (tmp_path / "set/gnd_roxford5k.pkl").write_bytes(pickle.dumps({"imlist": Evil()}))
    with pytest.raises(RetrievalError, match=r"asks for posix\.mkdir"):
        datasets.load(tmp_path / "set")
    assert not Evil.place.exists()


def changed(truth: dict, **parts: object) -> bytes:
    return pickle.dumps({**truth, **parts})


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"gnd": []}, "not a list of one question for each of 4"),
        ({"gnd": "text"}, "not a list of one question"),
        ({"imlist": ["../../etc/passwd"]}, "which is no name of a picture"),
        ({"imlist": [1, 2]}, "which is no name of a picture"),
        ({"imlist": ["a", "a"]}, "names a picture twice"),
        ({"qimlist": None}, "qimlist is no list of names"),
        ({"gnd": [{"bbx": [1, 1, 5, 5], "easy": [99], "hard": [], "junk": []}] * 4}, "names pictures beyond 0 to 11"),
        ({"gnd": [{"bbx": [1, 1, 5, 5], "easy": [0.5], "hard": [], "junk": []}] * 4}, "names pictures beyond"),
        ({"gnd": [{"bbx": [1, 1, 5, 5], "easy": [float("nan")], "hard": [], "junk": []}] * 4}, "no list of numbers"),
        ({"gnd": [{"bbx": [1, 1, 5, 5], "easy": [10**400], "hard": [], "junk": []}] * 4}, "no list of numbers"),
        ({"gnd": [{"bbx": [1, 1, 1, 5], "easy": [], "hard": [], "junk": []}] * 4}, "is empty"),
        ({"gnd": [{"bbx": [1, 1], "easy": [], "hard": [], "junk": []}] * 4}, "not of four numbers"),
        ({"gnd": [{"easy": [], "hard": [], "junk": []}] * 4}, "it has no bbx"),
        ({"gnd": [{"bbx": np.ones(4, "M8[s]"), "easy": [], "hard": [], "junk": []}] * 4}, "."),
    ],
)
def test_another_ground_truth_is_refused_in_a_sentence(parts: dict[str, object], said: str, tmp_path: Path) -> None:
    truth = official_layouts.revisited(tmp_path / "set")
    (tmp_path / "set/gnd_roxford5k.pkl").write_bytes(changed(truth, **parts))
    with pytest.raises(RetrievalError, match=said) as raised:
        datasets.load(tmp_path / "set")
    assert "\n" not in str(raised.value) and "is no ground truth" in str(raised.value)


@pytest.mark.parametrize(
    "content", [b"", b"no pickle", b"\x80\x04r\xff\xff\xff\x7f.", b"\x80\x04]" + b"]" * 50_000 + b"."]
)
def test_what_is_no_pickle_is_refused_in_a_sentence(content: bytes, tmp_path: Path) -> None:
    official_layouts.revisited(tmp_path / "set")
    (tmp_path / "set/gnd_roxford5k.pkl").write_bytes(content)
    with pytest.raises(RetrievalError, match="is no ground truth"):
        datasets.load(tmp_path / "set")


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_plain_containers_and_arrays_of_every_protocol(protocol: int) -> None:
    for made in (
        np.arange(6).reshape(2, 3),
        np.array([1.5, -2], ">f8"),
        np.zeros(0, np.int32),
        np.asfortranarray(np.eye(3)),
    ):
        read = plain(pickle.dumps({"a": [made, (1, "text", b"bytes", None)]}, protocol))["a"]
        np.testing.assert_array_equal(read[0].array(), made)
        assert read[1] == (1, "text", b"bytes", None)
    assert plain(pickle.dumps(np.float64(2.5), protocol)).array().item() == 2.5
    with pytest.raises(ValueError, match="no place in plain values"):
        plain(pickle.dumps(replace, protocol))


def test_distractors_are_ranked_from_the_disk_in_little_memory(tmp_path: Path) -> None:
    truth = official_layouts.revisited(tmp_path / "set")
    question = truth["gnd"][1]
    rng = np.random.default_rng(7)
    made, far = unit(rng.normal(size=(16, 5))), rng.normal(size=(3000, 5)).astype(np.float32)
    right = question["easy"][0]
    far[7] = far[2000] = made[4 + right]  # the very vector of a right answer
    far[8] *= 3
    np.save(tmp_path / "made.npy", made)
    np.save(tmp_path / "far.npy", far)
    files = {"vectors": tmp_path / "made.npy", "distractors": tmp_path / "far.npy"}
    whole, little = (benchmark("roxford", tmp_path / "set", **files, memory=memory) for memory in (None, 200_000))
    assert whole.counts["gallery"] == little.counts["gallery"] == 3012
    gallery = np.concatenate([made[4:], unit(far)])
    copies = [12 + 7, 12 + 2000]
    order = order_of(made[1], gallery, [*question["junk"], *copies])
    place = order.index(right)
    turns = [[right, *copies], [copies[0], right, copies[1]], [*copies, right]]
    values = [
        average_precision([*order[:place], *turn, *order[place + 1 :]], {*question["easy"], *question["hard"]})
        for turn in turns
    ]
    for report in (whole, little):
        assert report.per_query["medium mAP"][1] == pytest.approx(np.mean(values))
    with pytest.raises(RetrievalError, match=r"do not fit into 1\.0 kB"):
        benchmark("roxford", tmp_path / "set", **files, memory=1000)
    with pytest.raises(RetrievalError, match="--memory is for the scores of distractors"):
        benchmark("roxford", tmp_path / "set", vectors=tmp_path / "made.npy", memory=1000)
    np.save(tmp_path / "far.npy", np.where(np.arange(3000)[:, None] == 9, np.nan, far))
    with pytest.raises(RetrievalError, match=r"row 9 of .*far\.npy' is zero"):
        benchmark("roxford", tmp_path / "set", **files)
    np.save(tmp_path / "far.npy", far[:, :4])
    with pytest.raises(RetrievalError, match="the distractors have 4 dimensions and the gallery 5"):
        benchmark("roxford", tmp_path / "set", **files)


def test_a_re_ranker_does_not_know_what_is_ignored(tmp_path: Path) -> None:
    from retrieval.evaluation.benchmark_gain import benchmark_gain

    truth = official_layouts.revisited(tmp_path / "set")
    made = unit(np.random.default_rng(0).normal(size=(16, 5)))
    np.save(tmp_path / "made.npy", made)
    gain = benchmark_gain("roxford", tmp_path / "set", vectors=tmp_path / "made.npy", rerank="aqe", rerank_top=5)
    gallery, expected = made[4:], []
    for row, question in enumerate(truth["gnd"]):
        near = order_of(made[row], gallery)[:5]
        scores = gallery[near].astype(np.float64) @ made[row]
        other = made[row] + gallery[near][scores > 0].sum(axis=0)
        first = order_of(other, gallery)[:5]
        order = [*first, *(place for place in order_of(made[row], gallery) if place not in first)]
        seen = [place for place in order if place not in question["junk"]]
        expected.append(trapezoids(seen, {*question["easy"], *question["hard"]}))
    assert gain.differences["medium mAP by trapezoids"].second.value == pytest.approx(np.mean(expected))
    assert gain.differences["easy mAP"].difference.n == 3
