"""Comparing two measurements query by query, and reading what was kept as a hostile file."""

from __future__ import annotations

import io
import itertools
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from shapes import PixelEncoder, indexed, shapes
from vectors import unit

from retrieval.cli import compare as verb
from retrieval.errors import RetrievalError
from retrieval.evaluation import figures, per_query
from retrieval.evaluation.of_encoder import evaluate_encoder
from retrieval.evaluation.of_vectors import evaluate_vectors
from retrieval.evaluation.options import EvaluationOptions
from retrieval.evaluation.paired_comparison import compare_kept
from retrieval.evaluation.per_query import Kept
from retrieval.measures import mean_intervals, sign_flip_test


def scored(values, *, names=None, classes=None, over="queries", **more) -> Kept:
    """What queries scored in two measures."""
    values = np.asarray(values, np.float64)
    n = len(values)
    return Kept(
        subject=more.get("subject", "a model"),
        data=more.get("data", "pictures"),
        protocol=more.get("protocol", "9 queries against 9 pictures"),
        over=over,
        counts=more.get("counts", {"gallery": 9}),
        names=np.array([f"q{i}" for i in range(n)] if names is None else names),
        classes=np.array(["a"] * n if classes is None else classes),
        relevant=np.full(n, 3) if "relevant" not in more else np.asarray(more["relevant"]),
        measures={"mAP": values, "P@1": (values > 0.5).astype(float)},
    )


# The comparison


def test_difference_is_paired_and_its_interval_that_of_the_pairs():
    rng = np.random.default_rng(0)
    hard = rng.random(200)
    a, b = np.clip(hard + rng.normal(0, 0.02, 200), 0, 1), np.clip(hard + 0.01 + rng.normal(0, 0.02, 200), 0, 1)
    found = compare_kept(scored(a), scored(b, subject="another"), seed=4)
    one = found["mAP"]
    expected = mean_intervals(b - a, limits=(-1, 1))[0]
    assert vars(one.difference) == pytest.approx(vars(expected)) and one.told and one.p == pytest.approx(1 / 10_000)
    assert (one.first.value, one.second.value) == pytest.approx((a.mean(), b.mean()))
    assert one.first.high > one.second.low  # two intervals overlap, and yet they differ
    assert one.verdict.startswith("B is higher than A by 0.0")
    back = compare_kept(scored(b), scored(a), seed=4)["mAP"]
    assert back.difference.value == -one.difference.value and "A is higher than B" in back.verdict
    assert found.queries == 200 and found.over == "queries" and "P@1 (4)" in " ".join(found.notes)


def test_says_that_the_sample_cannot_tell_and_how_many_queries_might():
    rng = np.random.default_rng(1)
    a = rng.uniform(0.4, 0.6, 100)
    b = a + rng.normal(0.01, 0.1, 100)
    found = compare_kept(scored(a), scored(b))
    one, table = found["mAP"], found.table()
    assert not one.told and one.p > 0.05 and "the sample cannot tell B and A apart" in one.verdict
    assert "The sample cannot tell A and B apart." in table
    assert f"no ({one.needed:,})" in table and "would tell a difference as large as the one seen in 80%" in table
    error = (b - a).std() / 10
    assert one.detectable == pytest.approx(2.8016 * error, rel=0.07)
    assert one.needed == pytest.approx(100 * (2.8016 * error / (b - a).mean()) ** 2, rel=0.15)
    assert json.loads(json.dumps(found.to_json()))["measures"]["mAP"]["told"] is False


def test_as_many_queries_as_are_said_to_be_needed_tell_four_times_in_five():
    """The promise itself, by simulation."""
    rng = np.random.default_rng(2)
    true = rng.normal(0.05, 0.3, 100_000)
    needed = int(np.ceil((2.8016 * true.std() / true.mean()) ** 2))
    told = [mean_intervals(rng.choice(true, needed), limits=None)[0].low > 0 for _ in range(400)]
    assert np.mean(told) == pytest.approx(0.8, abs=0.07)


def test_queries_are_paired_by_name_and_the_others_counted():
    a = scored([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], names=list("abcdxx"), classes=list("uuvvvv"))
    b = scored([0.9, 0.35, 0.1, 0.7, 0.2], names=["e", "c", "a", "x", "d"], classes=list("uvuvw"))
    found = compare_kept(a, b)
    assert found["mAP"].difference.value == pytest.approx((0.0 + 0.05) / 2)  # a and c
    assert found.counts == {"only_first": 1, "only_second": 1, "twice": 1, "other_class": 1}
    assert found.queries == 2 and "With 2 queries an interval is too narrow." in found.notes
    table = found.table()
    assert "1 queries that only A was asked, 1 queries that only B was asked, 1 names that several" in table


def test_nothing_in_common_is_an_error():
    with pytest.raises(RetrievalError, match="no name in common, such as 'q0'"):
        compare_kept(scored([1, 0]), scored([1, 0], names=["x", "y"]))
    with pytest.raises(RetrievalError, match="are of other classes"):
        compare_kept(scored([1, 0]), scored([1, 0], classes=["x", "y"]))
    other = replace(scored([1, 0]), measures={"AP": np.zeros(2)})
    with pytest.raises(RetrievalError, match="no measure in common"):
        compare_kept(scored([1, 0]), other)


def test_an_interval_that_rests_on_few_queries_is_said_to():
    a = np.full(40, 0.5)
    b = np.where(np.arange(40) < 7, 0.6, 0.5)
    found = compare_kept(scored(a), scored(b))
    assert found.notes == (
        "Fewer than 10 queries differ in mAP (7) and P@1 (7): an interval that rests on so few is too narrow.",
    )
    assert not compare_kept(scored(a), scored(np.where(np.arange(40) < 10, 0.6, 0.5))).notes
    assert not compare_kept(scored(a), scored(a)).notes
    of = np.repeat([f"c{i}" for i in range(20)], 2)
    over = compare_kept(scored(a, classes=of, over="classes"), scored(b, classes=of))
    assert "Fewer than 10 classes differ in mAP (4)" in over.notes[-1]


def test_the_same_twice_differs_in_nothing():
    found = compare_kept(scored([0.2, 0.7]), scored([0.2, 0.7]))
    assert found["mAP"].p == 1 and found["mAP"].needed is None and not found["mAP"].told
    assert "The sample cannot tell A and B apart." in found.table()


def test_over_classes_where_a_report_is_and_stratified_where_asked():
    rng = np.random.default_rng(3)
    classes = np.repeat([f"c{i:02}" for i in range(25)], 8)
    shift = np.repeat(rng.normal(0.02, 0.1, 25), 8)
    a = rng.uniform(0.3, 0.7, 200)
    b = a + shift
    names = {"classes": classes}
    plain = compare_kept(scored(a, **names), scored(b, **names))
    over = compare_kept(scored(a, **names), scored(b, over="classes", **names))
    strata = compare_kept(scored(a, **names), scored(b, **names), stratify=True)
    narrow, wide, none = (f["mAP"].difference.high - f["mAP"].difference.low for f in (plain, over, strata))
    assert wide > 2 * narrow
    assert 0 < none < 0.04  # within a class all differ by the same; at most so many of 200 may not
    assert (over.units, over.over, plain.units) == (25, "classes", 200) and over["mAP"].p > 2 * plain["mAP"].p
    assert vars(over["mAP"].difference) == pytest.approx(
        vars(mean_intervals(b - a, over=np.repeat(np.arange(25), 8), limits=(-1, 1))[0])
    )
    assert "of 25 classes" in over.table() and "each class with its number of queries" in strata.table()
    with pytest.raises(RetrievalError, match="cannot be strata"):
        compare_kept(scored(a, over="classes", **names), scored(b, **names), stratify=True)


def test_what_is_measured_in_another_way_is_said():
    a = scored([0.1, 0.2])
    how = {"data": "others", "protocol": "9 queries of an index", "counts": {"gallery": 8, "near_duplicates": 4}}
    notes = " ".join(compare_kept(a, scored([0.1, 0.3], **how)).notes)
    for words in ("B on others", "9 pictures and 8", "protocols differ", "0 and 4"):
        assert words in notes
    notes = " ".join(compare_kept(a, scored([0.1, 0.3], relevant=[3, 4])).notes)
    assert "1 queries have another number of relevant pictures" in notes
    more = scored([0.1, 0.3], protocol="1,234 queries against 9 pictures")
    assert "protocols" not in " ".join(compare_kept(a, more).notes)


# The test behind the p-value


def test_sign_flips_as_by_all_of_them():
    rng = np.random.default_rng(5)
    table = rng.normal(0.3, 1, (10, 3))
    flips = np.array(list(itertools.product([1, -1], repeat=10)))
    exact = (np.abs(flips @ table) >= np.abs(table.sum(axis=0)) - 1e-12).mean(axis=0)
    np.testing.assert_allclose(sign_flip_test(table, flips=40_000), exact, atol=0.01)
    classes = np.repeat([0, 1, 2, 3, 4], 2)
    flips = np.array(list(itertools.product([1, -1], repeat=5))).repeat(2, axis=1)
    exact = (np.abs(flips @ table) >= np.abs(table.sum(axis=0)) - 1e-12).mean(axis=0)
    np.testing.assert_allclose(sign_flip_test(table, over=classes, flips=40_000), exact, atol=0.01)


def test_p_values_are_even_where_there_is_no_difference():
    rng = np.random.default_rng(6)
    p = sign_flip_test(rng.normal(size=(40, 400)), flips=999)
    for share in (0.05, 0.25, 0.5):
        assert (p <= share).mean() == pytest.approx(share, abs=0.06)
    assert sign_flip_test(np.zeros(5)).tolist() == [1]
    with pytest.raises(RetrievalError, match="gaps"):
        sign_flip_test([0.1, np.nan])
    with pytest.raises(RetrievalError, match="classes of shape"):
        sign_flip_test([0.1, 0.2], over=[1])


# What is kept


@pytest.fixture(scope="module", autouse=True)
def few_pairs():
    """Few pairs to verify, as that has no part in a comparison."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "PAIRS", 100)
        yield


@pytest.fixture(scope="module")
def report():
    return evaluate_encoder(PixelEncoder(), shapes(120, 0), options=EvaluationOptions(probe=False))


def test_what_is_saved_is_read_again(report, tmp_path):
    report.save(tmp_path / "a.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.queries.npz"]
    for name in ("a.json", "a.queries.npz"):
        found, expected = per_query.read(tmp_path / name), report.kept()
        for field in ("subject", "data", "protocol", "over", "counts"):
            assert getattr(found, field) == getattr(expected, field), field
        assert found.measures.keys() == expected.measures.keys() >= {"mAP", "P@10", "kNN accuracy (k=10)"}
        for measure, values in expected.measures.items():
            assert found.measures[measure].tolist() == values.tolist()
        assert found.names.tolist() == report.per_query["name"].tolist()
        assert found.classes.tolist() == report.per_query["class"].tolist()
    with np.load(tmp_path / "a.queries.npz", allow_pickle=False) as archive:
        assert json.loads(str(archive["about"]))["subject"] == report.subject


def archive(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return content.getvalue()


def npy(array) -> bytes:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=True)
    return content.getvalue()


def forged(shape: str, descr: str, content: bytes) -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


ABOUT = {"subject": "s", "data": "d", "protocol": "p", "over": "queries", "counts": {"gallery": 3}}
GOOD = {
    "about.npy": npy(np.array(json.dumps(ABOUT))),
    "name.npy": npy(np.array(["a", "b"])),
    "class.npy": npy(np.array(["x", "y"])),
    "label.npy": npy(np.array([0, 1])),
    "relevant.npy": npy(np.array([2, 1])),
    "mAP.npy": npy(np.array([0.5, 1.0])),
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mAP.npy": npy(np.array([{}, 1], object))}, "object"),
        ({"mAP.npy": npy(np.array([0.5]))}, "shape (1,)"),
        ({"mAP.npy": npy(np.array([0.5, np.inf]))}, "no number"),
        ({"mAP.npy": npy(np.eye(2))}, "shape (2, 2)"),
        ({"mAP.npy": forged("(2,)", "'<f8'", b"short")}, "5 bytes"),
        ({"mAP.npy": forged("(1000000000000,)", "'<f8'", bytes(99))}, "cut off"),
        ({"mAP.npy": forged("(-2,)", "'<f8'", bytes(99))}, "cut off"),
        ({"mAP.npy": forged("(2,)", "'|V0'", b"")}, "|V0"),
        ({"mAP.npy": forged("(2,)", "'<f8'", bytes(24))}, "has"),
        ({"mAP.npy": b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535}, "does not hold"),
        ({"name.npy": npy(np.array([1, 2]))}, "int64"),
        ({"name.npy": forged("(2,)", "'<U1'", b"\xff" * 8)}, "beyond Unicode"),
        ({"name.npy": npy(np.zeros(0, "U1")), "mAP.npy": npy(np.zeros(0))}, "shape"),
        ({"about.npy": npy(np.array("[" * 100_000))}, "does not hold"),
        ({"about.npy": npy(np.array("{}"))}, "does not hold"),
        ({"about.npy": npy(np.array(json.dumps(ABOUT | {"counts": 3})))}, "does not hold"),
        ({"about.npy": npy(np.array(3.0))}, "does not hold"),
        ({"class.npy": None}, "lacks class"),
        ({"mAP.npy": None}, "no measure"),
        ({"../evil.txt": b"x"}, "no array"),
        ({f"m{i}.npy": npy(np.zeros(2)) for i in range(300)}, "arrays"),
        ({"big.npy": forged("(50000000,)", "'<f8'", bytes(400_000_000))}, "far more than it is"),
    ],
)
def test_a_bad_file_is_refused_in_one_sentence(changes, words, tmp_path, capsys):
    members = {name: data for name, data in (GOOD | changes).items() if data is not None}
    (tmp_path / "a.npz").write_bytes(archive(members))
    (tmp_path / "b.npz").write_bytes(archive(GOOD))
    assert main_compare([str(tmp_path / "b.npz"), str(tmp_path / "a.npz")]) == 1
    out = capsys.readouterr()
    assert words in out.err and out.err.count("\n") == 1 and out.out == ""


def test_damage_anywhere_is_one_sentence(tmp_path):
    whole = archive(GOOD)
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), int(rng.integers(1, 4))):
            damaged[place] = rng.integers(0, 256)
        cut = len(whole) if rng.random() < 0.8 else int(rng.integers(0, len(whole)))
        (tmp_path / "a.npz").write_bytes(bytes(damaged[:cut]))
        try:
            per_query.read(tmp_path / "a.npz")
        except RetrievalError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 200


# The verb


def main_compare(arguments: list[str]) -> int:
    """The verb as the command line runs it."""
    import argparse
    import sys

    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    try:
        return verb.run(parser.parse_args(arguments))
    except RetrievalError as error:
        print(f"retrieval: {error}", file=sys.stderr)
        return 1


@pytest.fixture
def saved(report, tmp_path) -> Path:
    report.save(tmp_path / "a.json")
    worse = evaluate_encoder(
        PixelEncoder(constant=3.0, weight=0.05),
        shapes(120, 0),
        options=EvaluationOptions(probe=False, subject="worse\x1b[1m"),
    )
    worse.save(tmp_path / "b.json")
    return tmp_path


def test_saved_reports_are_compared_by_their_names(saved):
    found = compare_kept(saved / "a.json", str(saved / "b.queries.npz"))
    again = compare_kept(per_query.read(saved / "a.json"), per_query.read(saved / "b.json"))
    assert found.to_json() == again.to_json()
    with pytest.raises(RetrievalError):
        compare_kept(saved / "a.json", saved / "c.json")


def test_verb_compares_saved_reports(saved, capsys):
    assert main_compare([str(saved / "a.json"), str(saved / "b.queries.npz")]) == 0
    out = capsys.readouterr().out
    assert "60 queries that both were asked" in out and "Left out: nothing." in out
    assert "\x1b" not in out and "worse" in out
    assert main_compare([str(saved / "a.json"), str(saved / "b.json"), "--json", "--stratify"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["stratified"] is True and values["queries"] == 60
    a, b = (json.loads((saved / name).read_text()) for name in ("a.json", "b.json"))
    one = values["measures"]["mAP"]
    assert one["difference"]["value"] == pytest.approx(b["measures"]["mAP"]["value"] - a["measures"]["mAP"]["value"])


def test_verb_measures_indexes_now(tmp_path, capsys):
    pictures = shapes(60, 0, ("test",))
    indexed(tmp_path / "a", pictures, PixelEncoder()).close()
    indexed(tmp_path / "b", pictures, PixelEncoder(constant=2.0)).close()
    assert main_compare([str(tmp_path / "a"), str(tmp_path / "b"), "--limit", "30"]) == 0
    assert "30 queries that both were asked" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.json", "none.json"], "'none.queries.npz', is not there"),
        (["a.json", "none.npz"], "there is no such file"),
        (["a.json", "b.json", "data"], "DATA data says nothing"),
        (["a.json", "b.json", "--limit", "3"], "--limit 3 says nothing"),
        (["a.json", "other.json"], "no name in common"),
    ],
)
def test_verb_refuses_in_one_sentence(arguments, words, saved, capsys, monkeypatch):
    monkeypatch.chdir(saved)
    np.save("v.npy", unit(20, 4))
    np.save("l.npy", np.arange(20) % 2)
    evaluate_vectors("v.npy", "l.npy").save("other.json")
    assert main_compare(arguments) == 1
    out = capsys.readouterr()
    assert words in out.err and out.err.count("\n") == 1 and out.out == ""
