"""One index into another."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
from built import contents, vectors

from retrieval.cli import main
from retrieval.errors import RetrievalError
from retrieval.index import Index, NewItem
from retrieval.index.catalog import Catalog
from retrieval.ingest import add_index as module
from retrieval.ingest import build, sync
from retrieval.ingest.add_index import add_index


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory)


def everything(folder: Path) -> dict[str, tuple[object, ...]]:
    """path → all that an index has of it but its id."""
    with Index.open(folder) as index:
        ids = index.ids()
        return {
            item.path: (replace(item, id=0, path=""), own, index.facts(item.id), index.vectors([item.id]).tobytes())
            for item, own in zip(index.items(ids), index.attributes(ids), strict=True)
        }


@pytest.fixture
def two(tmp_path: Path, model: Path) -> tuple[Path, Path]:
    """An index of four pictures, and one of four others elsewhere, some with attributes."""
    build(tiny.folder(tmp_path / "one", each=2), tmp_path / "a", model=model)
    tiny.folder(tmp_path / "two", classes=("fox", "owl"), each=2)
    build(tmp_path / "two", tmp_path / "b", model=model)
    with Index.open(tmp_path / "b", write=True) as index:
        index.attach({0: {"iso": 400, "place": "wood"}, 3: {"iso": "many"}})
    return tmp_path / "a", tmp_path / "b"


def test_all_of_it_comes_along_and_nothing_is_read(two: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = two
    before, other = everything(a), everything(b)
    (tmp_path / "two").rename(tmp_path / "away")
    report = add_index(a, b)
    assert (report.added, report.kept, report.differing, report.unplaced, report.total) == (4, 0, (), (), 8)
    assert everything(a) == before | {f"{tmp_path}/two/{path}": what for path, what in other.items()}
    assert everything(b) == other
    assert sorted(id_ for id_, _ in contents(a).values()) == list(range(8))
    with Index.open(a) as index:
        assert index.pictures.named and index.details["complete"]
        assert index.select("iso = 400").tolist() == [4] and index.attribute_kinds()["iso"] == {"number", "text"}
    assert not sync(a).changed

    (tmp_path / "away").rename(tmp_path / "two")
    again = add_index(a, b)
    assert (again.added, again.kept, again.total) == (0, 4, 8)


def test_paths_below_the_root_are_relative(two: tuple[Path, Path], tmp_path: Path, model: Path) -> None:
    a, _ = two
    tiny.picture(50).save(tmp_path / "one/dog/late.png")
    build(tmp_path / "one/dog", tmp_path / "dogs", model=model)
    report = add_index(a, tmp_path / "dogs")
    assert (report.added, report.kept) == (1, 2)
    assert "dog/late.png" in contents(a)
    with Index.open(a) as index:
        assert not index.pictures.named
    assert sync(a).kept == 5
    rows = vectors(a)
    np.testing.assert_array_equal(rows["dog/late.png"], vectors(tmp_path / "dogs")["late.png"])


def test_another_content_of_the_same_path_is_left_alone(
    two: tuple[Path, Path], tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, _ = two
    before = everything(a)
    tiny.picture(51).save(tmp_path / "one/cat/0.png")
    build(tmp_path / "one", tmp_path / "c", model=model)
    assert main(["add", str(a), str(tmp_path / "c"), "--json"]) == 0
    out, err = capsys.readouterr()
    said = json.loads(out)
    assert (said["added"], said["kept"], said["differing"]) == (0, 3, ["cat/0.png"])
    assert "cat/0.png" in err
    assert everything(a) == before


def test_it_goes_on_where_it_was_stopped(two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = two
    monkeypatch.setattr(module, "BLOCK_ITEMS", 1)
    added = Catalog.add
    calls = []

    def stopping(*args: object, **options: object) -> None:
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        added(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Catalog, "add", stopping)
    with pytest.raises(KeyboardInterrupt):
        add_index(a, b)
    with Index.open(a) as index:
        assert len(index) == 6 and not index.details["complete"]
        assert index.attributes([4]) == [{"iso": 400, "place": "wood"}]
    report = add_index(a, b)
    assert (report.added, report.kept, report.total) == (2, 2, 8)
    with Index.open(a) as index:
        assert index.attributes([7]) == [{"iso": "many"}] and index.details["complete"]


@pytest.mark.parametrize("storage", ["float16", "binary"])
def test_vectors_stay_what_they_are(tmp_path: Path, model: Path, storage: str) -> None:
    tiny.folder(tmp_path / "one", each=1)
    tiny.folder(tmp_path / "two", each=3)
    for name in ("one", "two"):
        build(tmp_path / name, tmp_path / f"index-{name}", model=model, vectors=storage)
    add_index(tmp_path / "index-one", tmp_path / "index-two")
    rows, others = vectors(tmp_path / "index-one"), vectors(tmp_path / "index-two")
    assert len(rows) == 8
    for path, row in others.items():
        np.testing.assert_array_equal(rows[f"{tmp_path}/two/{path}"], row)


def make(folder: Path, dim: int = 8, **options: object) -> Path:
    given = {"root": "/nowhere", "encoder_hash": "abc", "details": {}, "decoder": "one", **options}
    with Index.create(folder, dim, **given) as index:  # type: ignore[arg-type]
        rows = np.eye(dim, dtype=np.float32)[:3]
        index.add(rows, [NewItem("1.png"), NewItem("../etc/2.png"), NewItem("/etc/3.png")])
    return folder


@pytest.mark.parametrize(
    ("dim", "options", "said"),
    [
        (8, {"encoder_hash": "def"}, "another model \\(def\\).*\\(abc\\)"),
        (8, {"decoder": None}, "another decoder \\(None\\)"),
        (8, {"storage": "float16"}, "another storage \\(float16\\)"),
        (16, {}, "another size of vectors \\(16\\)"),
    ],
)
def test_what_differs_is_said(tmp_path: Path, dim: int, options: dict[str, object], said: str) -> None:
    a, b = make(tmp_path / "a"), make(tmp_path / "b", dim, **options)
    before = contents(a)
    with pytest.raises(RetrievalError, match=said):
        add_index(a, b)
    assert contents(a) == before


def test_what_cannot_be_meant_is_refused(
    two: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = two
    (tmp_path / "link").symlink_to(a)
    with pytest.raises(RetrievalError, match="the index itself"):
        add_index(a, tmp_path / "link")
    with pytest.raises(RetrievalError, match="no index"):
        add_index(a, tmp_path / "nothing")
    assert main(["add", str(a), str(b), str(tmp_path / "one")]) == 1
    assert "one by one" in capsys.readouterr().err
    assert len(contents(a)) == 4


def test_a_stranger_s_index_opens_no_other_folder(tmp_path: Path) -> None:
    a, b = make(tmp_path / "a", root=str(tmp_path)), make(tmp_path / "b")
    report = add_index(a, b)
    assert (report.added, report.unplaced) == (1, ("../etc/2.png", "/etc/3.png"))
    assert "/nowhere/1.png" in contents(a)
