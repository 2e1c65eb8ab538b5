"""The structure that an index gets where nobody asked for anything."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tuned import D, N, index_at, recall_of, set_clock, try_few
from vectors import clustered, make, named, unit

from retrieval.index import Index
from retrieval.index.nearest import kinds
from retrieval.tuning import default as defaults
from retrieval.tuning import exploration
from retrieval.tuning.candidates import FEWEST, candidates
from retrieval.tuning.choice import EXACT
from retrieval.tuning.default import default_structure
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


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact search is never fast enough, and any structure is worth it."""
    monkeypatch.setattr(defaults, "FAST_ENOUGH", 0.0)


def test_search_stays_exact_while_that_is_fast(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "build", lambda *_, **__: pytest.fail("a structure was built"))
    with Index.open(folder, write=True) as index:
        monkeypatch.setattr(defaults, "FAST_ENOUGH", 10.0)
        default_structure(index)
        assert index.structure is None
        assert 0 < defaults.seconds_exact(index) < 10


@pytest.mark.kernels
@pytest.mark.usefixtures("at_once")
def test_a_default_structure_reaches_its_recall(folder: Path) -> None:
    with Index.open(folder, write=True) as index:
        default_structure(index)
        record = index.structure
        assert record is not None and record.factory == defaults.short_list(N, D)[0] and record.items == N
        assert record.measured["recall"] >= 0.99 and record.measured["queries"] == N // 10
        assert recall_of(index, clustered(200, D, seed=7)) >= 0.97


@pytest.mark.usefixtures("at_once")
def test_a_structure_is_left_alone_until_much_has_changed(folder: Path) -> None:
    with Index.open(folder, write=True) as index:
        default_structure(index)
        first = index.structure
        index.remove(range(50))
        index.add(clustered(40, D, seed=11), named(40, N))
        default_structure(index)
        assert index.structure == first and first is not None
        index.remove(range(50, 90))
        default_structure(index)
        assert index.structure != first
        assert index.structure is not None and index.structure.items == len(index) == N - 50


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("how", ["flipped", "cut", "gone", "foreign"])
def test_what_is_of_no_use_is_built_again(folder: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[int] = []
    with Index.open(folder, write=True) as index:
        default_structure(index)
        assert index.structure is not None
        path = folder / index.structure.file
        content = bytearray(path.read_bytes())
        if how == "flipped":
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
        elif how == "cut":
            path.write_bytes(content[:-1])
        elif how == "gone":
            path.unlink()
    if how == "foreign":  # whole, but a library that is not here made it
        needs_it = defaults.short_list(N, D)[0]
        monkeypatch.setattr(kinds, "available", lambda factory: factory != needs_it or bool(built))
        build = kinds.build
        monkeypatch.setattr(kinds, "build", lambda *args, **more: built.append(1) or build(*args, **more))
    with Index.open(folder, write=True) as index:
        default_structure(index)
        index.search(clustered(1, D), 10)
        assert index.warnings == [] and index.structure is not None and index.structure.items == N


@pytest.mark.usefixtures("at_once")
def test_no_structure_where_none_fits_or_reaches_the_recall(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Index.open(folder, write=True) as index:
        default_structure(index, memory=N * D * 4)
        assert index.structure is None
        monkeypatch.setattr(kinds, "efforts", lambda *_: [])
        default_structure(index)
        assert index.structure is None


@pytest.mark.kernels
@pytest.mark.usefixtures("few", "at_once")
def test_what_a_tuning_chose_is_kept_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Index.open(folder, write=True) as index:
        tuned = tune(index, recall=0.9).chosen
        assert tuned is not None and tuned.factory != EXACT
        index.remove(range(150))
        default_structure(index)
        assert index.structure is not None and index.structure.items == N - 150
        assert index.structure.factory == tuned.factory and index.structure.measured["recall"] >= 0.9
        # exact search, if that was the choice, until there are many more items
        assert (tune(index, latency=100.0).chosen or tuned).factory == EXACT
        index.add(clustered(1000, D, seed=12), named(1000, N))
        default_structure(index)
        assert index.structure is None
        index.add(clustered(1000, D, seed=13), named(1000, N + 1000))
        default_structure(index)
        assert index.structure is not None and index.structure.factory == defaults.short_list(len(index), D)[0]
        for strange in ({}, {"chosen": 3}, {"chosen": {"factory": "IVF4,SQ8"}, "items": "x", "wishes": None}):
            index.record_tuning(strange)
            assert defaults._tuned(index) is None  # as if there were none


@pytest.mark.usefixtures("few", "at_once")
def test_what_was_chosen_elsewhere_and_cannot_be_built_here_is_passed_over(folder: Path) -> None:
    with Index.open(folder, write=True) as index:
        tuning = tune(index, recall=0.9).to_json()
        tuning["chosen"]["factory"] = "NoSuch12"
        index.record_tuning(tuning)
        index.set_structure(None)
        default_structure(index)
        assert index.structure is not None and index.structure.factory == defaults.short_list(N, D)[0]


@pytest.mark.kernels
@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("minutes", [1e-9, 1e9])
def test_a_structure_is_made_within_its_time_or_not_at_all(folder: Path, minutes: float) -> None:
    with Index.open(folder, write=True) as index:
        late = default_structure(index, minutes=minutes)
        assert (late is None) == (index.structure is not None) == (minutes > 1)
        assert late is None or "takes longer than 1e-09 minutes" in late
        assert recall_of(index, clustered(20, D, seed=7)) > 0.97


@pytest.mark.usefixtures("at_once")
def test_what_is_being_built_is_given_up_when_the_time_is_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However short the estimate said that it would take."""
    monkeypatch.setattr(exploration.Trying, "prices", lambda *_: [(-1e9, "")])
    with Index.open(folder, write=True) as index:
        assert default_structure(index, minutes=1e-9) is not None
        assert index.structure is None


@pytest.mark.usefixtures("few")
def test_no_graph_is_built_whose_building_need_not_end(tmp_path: Path) -> None:
    for n in (FEWEST, 10**5, 10**7):
        assert not any("NSG" in tried.factory for d in (16, 256) for tried in candidates(n, d))
    vectors = unit(2 * FEWEST, 16)
    vectors[: FEWEST // 5] = vectors[0]  # placeholders: FAISS's NSG never comes to an end among them
    with make(tmp_path / "index", vectors) as index:
        report = tune(index, recall=0.9, minutes=1)
        assert report.chosen is not None
        # what an earlier release chose is not built again either
        index.record_tuning(report.to_json() | {"chosen": {**report.to_json()["chosen"], "factory": "NSG32,Flat"}})
        index.set_structure(None)
        default_structure(index)
        assert index.structure is None or "NSG" not in index.structure.factory
