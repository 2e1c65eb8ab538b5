"""A tuning from end to end, on small indexes: what is measured, chosen, kept and said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tuned import EXACT_SECONDS, D, N, index_at, recall_of, set_clock, try_few
from vectors import clustered, make, named

from retrieval.cli import main
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.index.nearest import kinds
from retrieval.tuning import exploration
from retrieval.tuning import tune_index as flow
from retrieval.tuning.candidates import Candidate, candidates, estimate_bytes
from retrieval.tuning.choice import EXACT
from retrieval.tuning.default import default_structure
from retrieval.tuning.exploration import NO_TIME
from retrieval.tuning.plot import FILE
from retrieval.tuning.tune_index import tune


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    set_clock(monkeypatch)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return index_at(tmp_path_factory.mktemp("original") / "index")


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "index"))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    try_few(monkeypatch)


@pytest.mark.kernels
def test_everything_is_tried_and_kept(folder: Path) -> None:
    with Index.open(folder, write=True) as index:
        report = tune(index, recall=0.95, minutes=30)
        tried = {point.factory for point in report.points}
        wanted = {c.factory for c in candidates(N - N // 10, D) if kinds.available(c.factory)}
        assert tried == {EXACT, *wanted} and report.left_out == []
        assert report.held_out and report.queries == N // 10 and report.k == 10
        assert report.chosen in report.points and report.chosen.recall >= 0.95 and report.chosen.in_turns
        assert report.problem is None
        for point in report.points:
            assert 0 <= point.low <= point.recall <= point.high <= 1
            assert point.single > 0 and point.batched > 0 and point.latency > 0
            assert point.memory == point.structure_bytes + N * D * 4
            assert (point.factory == EXACT) == (point.structure_bytes == 0)
        assert sum(point.in_turns for point in report.points) >= 4
        assert index.tuning == json.loads(json.dumps(report.to_json(), allow_nan=False))
        front = [point for point in index.tuning["points"] if point["pareto"]]
        assert EXACT in [point["factory"] for point in front]
        assert (index.structure is None) == (report.chosen.factory == EXACT)
        assert recall_of(index, clustered(100, D, seed=7)) >= 0.9
    with Image.open(folder / FILE) as picture:
        assert picture.format == "PNG" and picture.width > 1000
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 100
    assert not list(folder.rglob("*.tmp"))


@pytest.mark.kernels
@pytest.mark.usefixtures("few")
def test_the_choice_becomes_the_indexs_structure(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Index.open(folder, write=True) as index:
        report = tune(index, recall=0.97)
    chosen = report.chosen
    assert chosen is not None and chosen.factory in ("HNSW16,Flat", "IVF16,SQ8")
    with Index.open(folder) as index:
        record = index.structure
        assert record is not None and (record.factory, dict(record.parameters)) == (chosen.factory, chosen.parameters)
        assert record.items == N  # those held out are in it again
        assert record.measured["recall"] == chosen.recall and record.measured["queries"] == N // 10
        assert recall_of(index, clustered(200, D, seed=7)) >= 0.93
        assert index.warnings == []
    text = report.table()
    (line,) = [line for line in text.splitlines() if line.startswith("→")]
    assert chosen.factory in line and f"{chosen.recall:.4f}" in line
    assert "recall@10 ≥ 0.97" in text and "exact" in text
    assert max(map(len, text.splitlines())) < 200
    assert capsys.readouterr().out == ""


@pytest.mark.kernels
@pytest.mark.usefixtures("few")
def test_the_same_seed_asks_the_same_and_finds_the_same(folder: Path) -> None:
    tables = []
    for seed in (0, 0, 1):
        with Index.open(folder, write=True) as index:
            report = tune(index, recall=0.95, seed=seed)
            tables.append({(p.factory, str(p.parameters)): (p.recall, p.low, p.high) for p in report.points})
    assert {factory for factory, _ in tables[0]} == {EXACT, "HNSW16,Flat", "IVF16,SQ8"}
    assert tables[0] == tables[1] != tables[2]


@pytest.mark.usefixtures("few")
def test_given_queries_ask_and_nothing_is_built_twice(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    built = []
    whole = kinds.build
    monkeypatch.setattr(
        kinds, "build", lambda factory, v, **more: built.append((factory, len(v))) or whole(factory, v, **more)
    )
    np.save(tmp_path / "asked.npy", clustered(300, D, seed=3))
    command = ["tune", str(folder), "--queries", str(tmp_path / "asked.npy"), "--recall", "0.9"]
    assert main([*command, "-k", "5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["queries"] == 300 and not found["held_out"] and found["k"] == 5
    assert found["losses"] == {}  # nobody knows the labels of queries from a file
    assert sorted(built) == [("HNSW16,Flat", N), ("IVF16,SQ8", N)]
    with Index.open(folder) as index:
        assert index.tuning == found
        assert index.structure is not None and index.structure.factory == found["chosen"]["factory"]


@pytest.mark.kernels
@pytest.mark.usefixtures("few")
def test_what_does_not_fit_into_memory_is_not_built(folder: Path) -> None:
    vectors = N * D * 4
    room = vectors + estimate_bytes("IVF16,SQ8", N, D) * 3 // 2
    with Index.open(folder, write=True) as index:
        report = tune(index, recall=0.9, memory=room)
        assert {p.factory for p in report.points} == {EXACT, "IVF16,SQ8"} and not report.mapped
        assert [factory for factory, _ in report.left_out] == ["HNSW16,Flat"]
        assert "memory" in report.left_out[0][1] and "HNSW16,Flat" in report.table()
        assert report.chosen is not None and report.chosen.memory <= room
        # Less than the vectors themselves: they stay on the disk, and exact search would have to read them all.
        report = tune(index, recall=0.9, memory=vectors - 1)
        assert report.mapped and report.chosen is not None and report.chosen.factory == "IVF16,SQ8"
        assert report.chosen.memory == report.chosen.structure_bytes
        assert "on the disk" in report.table()


@pytest.mark.kernels
@pytest.mark.usefixtures("few")
def test_within_a_latency_exact_search_is_the_best(folder: Path) -> None:
    with Index.open(folder, write=True) as index:
        report = tune(index, latency=100.0)
        assert report.wishes.recall is None and report.chosen is not None and report.chosen.factory == EXACT
        assert index.structure is None
        latency = EXACT_SECONDS / 2
        report = tune(index, latency=latency)
        assert report.chosen is not None and report.chosen.factory != EXACT
        best = max(p.recall for p in report.points if p.in_turns and p.latency <= latency)
        assert report.chosen.recall == best


@pytest.mark.usefixtures("few")
def test_what_cannot_be_had_leaves_the_index_as_it_was(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Index.open(folder, write=True) as index:
        tune(index, recall=0.9)
        before = index.structure
    command = ["tune", str(folder), "--recall", "1", "--latency", "1us"]
    capsys.readouterr()
    assert main(command) == 1
    told = capsys.readouterr()
    assert told.err.count("\n") == 1 and "recall@10 of 1 and 1 µs a query at once" in told.err
    assert "recall@10" in told.out  # the table is worth reading all the same
    with Index.open(folder) as index:
        assert index.structure == before and before is not None
        assert index.tuning is not None and index.tuning["chosen"] is None and index.tuning["problem"] in told.err


def test_a_time_that_is_up_leaves_things_out(folder: Path) -> None:
    with Index.open(folder, write=True) as index:
        report = tune(index, minutes=1e-6)
        assert [p.factory for p in report.points] == [EXACT]
        assert report.chosen is not None and report.chosen.factory == EXACT
        left = [factory for factory, reason in report.left_out if reason == NO_TIME]
        assert left == [c.factory for c in candidates(N - N // 10, D) if kinds.available(c.factory)]
        assert "no time" in report.table()


def test_what_cannot_be_built_here_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = [Candidate("NoSuch12", 1.0), Candidate("SQ8", 1.0)]
    monkeypatch.setattr(flow, "candidates", lambda *_, **__: tried)
    for sample in (exploration.SAMPLE, 100):
        monkeypatch.setattr(exploration, "SAMPLE", sample)
        with Index.open(folder, write=True) as index:
            report = tune(index, recall=0.5)
        ((factory, reason),) = report.left_out
        assert factory == "NoSuch12" and "cannot be built" in reason and reason in report.table()
        assert {p.factory for p in report.points} == {EXACT, "SQ8"}


def test_long_builds_are_foreseen(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes too long by a sample's build is left out, and the rest is built."""
    monkeypatch.setattr(exploration, "SAMPLE", 100)
    monkeypatch.setattr(
        flow,
        "candidates",
        lambda *_, **__: [Candidate("HNSW16,Flat", 30.0), Candidate("IVF16,Flat", 1.5), Candidate("SQ8", 0.0)],
    )
    built = []
    whole = kinds.build
    monkeypatch.setattr(
        kinds, "build", lambda factory, v, **more: built.append((factory, len(v))) or whole(factory, v, **more)
    )
    with Index.open(folder, write=True) as index:
        report = tune(index, recall=0.5, minutes=30)
    assert report.left_out == [("HNSW16,Flat", NO_TIME)]
    assert ("HNSW16,Flat", 100) in built and ("HNSW16,Flat", N - N // 10) not in built
    assert {p.factory for p in report.points} == {EXACT, "IVF16,Flat", "SQ8"}


@pytest.mark.parametrize("n", [1, 2, 19, 20, 25])
def test_a_tiny_index_is_searched_exactly(tmp_path: Path, n: int) -> None:
    with make(tmp_path / "index", clustered(n, 8)) as index:
        report = tune(index, k=10)
        assert report.chosen is not None and report.chosen.factory == EXACT and report.chosen.recall == 1
        assert report.k == min(10, n if n < 20 else n - n // 10)
        json.dumps(report.to_json(), allow_nan=False)
        assert "exact" in report.table() and (tmp_path / "index" / FILE).is_file()
        default_structure(index)
        assert index.structure is None


def test_binary_codes_are_searched_exactly(tmp_path: Path) -> None:
    with Index.create(tmp_path / "index", 64, root="", encoder_hash="", details={}, storage="binary") as index:
        index.add(clustered(1500, 64), named(1500))
        report = tune(index, recall=0.9)
        assert {p.factory for p in report.points} == {EXACT} and report.points[0].memory == 1500 * 8
        default_structure(index)
        assert index.structure is None


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"recall": 0.0}, "A recall of 0 cannot be reached"),
        ({"recall": 95.0}, "A recall of 95 cannot be reached"),
        ({"recall": float("nan")}, "A recall of nan cannot be reached"),
        ({"memory": 0}, "Nothing fits into 0 bytes"),
        ({"latency": 0.0}, "No query takes 0 seconds"),
        ({"latency": float("nan")}, "No query takes nan seconds"),
        ({"k": 0}, "k is 0"),
        ({"minutes": 0.0}, "cannot be done in 0 minutes"),
        ({"minutes": float("nan")}, "cannot be done in nan minutes"),
        ({"queries": clustered(5, 16)}, r"queries have shape \(5, 16\)"),
        ({"queries": 2 * clustered(5, D)}, "has length 2 where it must be 1"),
        ({"queries": clustered(5, D)[:0]}, "There is not one query"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_built(folder: Path, wrong: dict, words: str) -> None:
    with Index.open(folder, write=True) as index:
        with pytest.raises(RetrievalError, match=words) as error:
            tune(index, **wrong)
        assert str(error.value).count(". ") == 0
        assert index.tuning is None and index.structure is None


def test_an_index_that_cannot_be_tuned_is_refused_at_once(folder: Path, tmp_path: Path) -> None:
    with Index.open(folder) as index, pytest.raises(RetrievalError, match="opened for reading"):
        tune(index)
    with make(tmp_path / "empty", clustered(0, 8)) as index, pytest.raises(RetrievalError, match="is empty"):
        tune(index)


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00", b"PK\x03\x04", "objects", "huge"])
def test_queries_that_cannot_be_read(folder: Path, tmp_path: Path, content: bytes | str, capsys) -> None:
    file = tmp_path / "asked.npy"
    if content == "objects":
        np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    elif content == "huge":
        np.save(file, clustered(5, D))
        file.write_bytes(file.read_bytes().replace(b"(5, 32)", b"(9" + b"9" * 4 + b")"))
    else:
        file.write_bytes(content)
    for name in (file, tmp_path / "none.npy", tmp_path):
        assert main(["tune", str(folder), "--queries", str(name)]) == 1
        told = capsys.readouterr()
        assert told.out == "" and told.err.count("\n") == 1 and "cannot be read as a .npy file" in told.err


@pytest.mark.parametrize(("option", "value"), [("--memory", "much"), ("--latency", "5"), ("--recall", "2")])
def test_options_that_make_no_sense(folder: Path, option: str, value: str, capsys) -> None:
    assert main(["tune", str(folder), option, value]) == 1
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1 and value in told.err


@pytest.mark.usefixtures("few")
def test_what_the_labels_say_is_reported(folder: Path) -> None:
    with Index.open(folder, write=True) as index:
        report = tune(index, recall=0.9)
        assert list(report.losses) == ["P@10", "MAP@R"]
        assert "P@10 by the labels" in report.table()
        kept = index.tuning
        assert kept is not None and kept["losses"]["MAP@R"]["difference"]["n"] == N // 10
