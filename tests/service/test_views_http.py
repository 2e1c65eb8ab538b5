"""What the page shows besides answers: the wall, exports, duplicates, label errors, the map."""

from __future__ import annotations

import base64
import csv
import io
import os
import shutil
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from PIL import Image

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from served import Served, serving, until

from retrieval.errors import RetrievalError
from retrieval.evaluation.by_name import evaluate
from retrieval.index import Index
from retrieval.index.records import Column
from retrieval.index.vectors import as_numbers
from retrieval.ingest import build
from retrieval.search.columns import Different
from retrieval.search.facets import facet_of
from retrieval.service import counting
from retrieval.service.export import cell, safe_name
from retrieval.service.map import coloured, laid_out
from retrieval.service.settings import Settings
from retrieval.service.wall import farthest_first


@pytest.fixture
def own(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of pictures with copies, and its index."""
    root = tiny.folder(tmp_path / "own", each=4)
    (root / "dog" / "copy.png").write_bytes((root / "cat" / "0.png").read_bytes())
    smooth = tiny.picture(1).resize((256, 256), Image.Resampling.BICUBIC)
    smooth.save(root / "dog" / "larger.png")
    smooth.resize((128, 128)).save(root / "cat" / "1.png")
    build(root, tmp_path / "index", model=tiny.model(tmp_path_factory), threads=1)
    return root, tmp_path / "index"


@pytest.fixture
def writable(own: tuple[Path, Path], tmp_path: Path) -> Iterator[Served]:
    with serving(own[1], write=True, cache=tmp_path / "cache") as service:
        yield service


# The wall


def test_each_picture_of_the_wall_is_the_farthest_from_those_before(served: Served, index: Path) -> None:
    wall = served("GET", "/wall").json
    ids = [item["id"] for item in wall["items"]]
    with Index.open(index) as opened:
        rows = as_numbers(opened.vectors(ids))
        assert sorted(ids) == opened.ids().tolist()
    nearest = [max(rows[at] @ rows[before] for before in range(at)) for at in range(1, len(ids))]
    for at in range(1, len(ids)):
        others = [max(rows[other] @ rows[before] for before in range(at)) for other in range(at, len(ids))]
        assert nearest[at - 1] <= min(others) + 1e-6
    assert wall["total"] == len(ids)
    assert wall["items"][0].keys() >= {"id", "path", "label", "width", "colour"}


def test_equal_vectors_come_last_on_the_wall() -> None:
    rows = np.eye(3, dtype=np.float32)[[0, 0, 1, 2, 1]]
    chosen = farthest_first(rows, 5).tolist()
    assert {rows[place].argmax() for place in chosen[:3]} == {0, 1, 2}
    assert sorted(chosen) == [0, 1, 2, 3, 4]


def test_the_wall_leaves_hidden_pictures_out(writable: Served) -> None:
    first = writable("GET", "/wall").json
    writable("PATCH", f"/items/{first['items'][0]['id']}", {"hidden": True})
    after = writable("GET", "/wall?k=300").json
    assert (after["total"], after["generation"]) == (first["total"] - 1, first["generation"] + 1)
    assert first["items"][0]["id"] not in [item["id"] for item in after["items"]]


# Exports


def test_a_table_of_pictures(served: Served, index: Path) -> None:
    said = served("POST", "/export/csv", {"ids": [3, 1]})
    rows = list(csv.DictReader(io.StringIO(said.body.decode())))
    with Index.open(index) as opened:
        assert [(row["path"], row["sha256"]) for row in rows] == [
            (item.path, item.sha256) for item in opened.items([3, 1])
        ]


def test_no_cell_is_a_formula() -> None:
    assert [cell(value) for value in ("=1+1", "@x", "a=b", -1, None)] == ["'=1+1", "'@x", "a=b", -1, None]


def test_an_archive_has_the_files_as_they_are(served: Served, photos: Path, index: Path) -> None:
    said = served("POST", "/export/zip", {"ids": [0, 5]})
    with Index.open(index) as opened:
        paths = [item.path for item in opened.items([0, 5])]
    with zipfile.ZipFile(io.BytesIO(said.body)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == {
            path: (photos / path).read_bytes() for path in paths
        }


def test_an_archive_says_what_it_lacks(writable: Served, own: tuple[Path, Path], tmp_path: Path) -> None:
    root, index = own
    with Index.open(index) as opened:
        ids = {item.path: item.id for item in opened.items(opened.ids())}
    (tmp_path / "secret.png").write_bytes((root / "cat" / "2.png").read_bytes())
    (root / "cat" / "1.png").unlink()
    (root / "cat" / "2.png").unlink()
    (root / "cat" / "2.png").symlink_to(tmp_path / "secret.png")
    said = writable("POST", "/export/zip", {"ids": [ids["cat/0.png"], ids["cat/1.png"], ids["cat/2.png"]]})
    with zipfile.ZipFile(io.BytesIO(said.body)) as archive:
        assert archive.namelist() == ["cat/0.png", "left out.txt"]
        assert b"cat/1.png" in archive.read("left out.txt")
    assert writable.problem("POST", "/export/zip", {"ids": [ids["cat/2.png"]]})[0] == 403


@pytest.mark.parametrize(
    ("body", "status"),
    [({}, 400), ({"ids": []}, 400), ({"ids": ["1"]}, 400), ({"ids": [999]}, 404), ({"ids": [2**70]}, 404)],
)
def test_what_cannot_be_exported(served: Served, body: object, status: int) -> None:
    for kind in ("csv", "zip"):
        assert served.problem("POST", f"/export/{kind}", body)[0] == status


def test_names_in_an_archive_are_safe_and_each_is_there_once() -> None:
    taken: set[str] = set()
    names = [
        safe_name(path, taken) for path in ("../../a.jpg", "/a.jpg", "A.jpg", "c:\\x\\con.txt", "b/\x1b[2J.", "..")
    ]
    assert names == ["a.jpg", "a (2).jpg", "A (3).jpg", "c_/x/_con.txt", "b/_[2J", "picture"]


# Counts


def test_a_count_that_takes_long_shows_what_there_was(writable: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    before = writable("GET", "/facets").json
    assert {"label", "folder", "width"} <= {facet["name"] for facet in before["facets"]}
    go = threading.Event()

    def slowly(*args: Any) -> Any:
        go.wait(60)
        return facet_of(*args)

    monkeypatch.setattr(counting, "facet_of", slowly)
    monkeypatch.setattr(counting, "PATIENCE", 0)
    writable("PATCH", "/items/0", {"hidden": True})
    assert writable("GET", "/facets").json == before
    go.set()
    until(lambda: writable("GET", "/facets").json["total"] == before["total"] - 1)
    assert writable("GET", "/facets?hidden=1").json["total"] == before["total"]


# Duplicates


def ready(service: Served, path: str) -> Any:
    """What is there once it is made."""
    until(lambda: service("GET", path).json["state"] != "making")
    return service("GET", path).json


def test_groups_of_copies_say_what_differs(writable: Served) -> None:
    found = ready(writable, "/duplicates")
    assert found["total"] == {"all": 2, "exact": 1, "near": 1, "similar": 0}
    exact, near = sorted(found["groups"], key=lambda group: group["kind"])
    assert [(item["path"], item["kind"]) for item in exact["items"]] == [
        ("cat/0.png", "kept"), ("dog/copy.png", "exact"),
    ]  # fmt: skip
    assert "the same bytes" in exact["items"][1]["difference"]
    assert "in dog" in exact["items"][1]["difference"]
    assert [item["path"] for item in near["items"]] == ["dog/larger.png", "cat/1.png"]
    assert near["items"][1]["difference"].startswith("smaller")
    assert [group["kind"] for group in writable("GET", "/duplicates?kind=near").json["groups"]] == ["near"]
    assert writable("GET", "/duplicates?k=1").json["cursor"] == 1


def test_the_least_score_says_what_is_alike(writable: Served) -> None:
    found, least = ready(writable, "/duplicates?score=1"), ready(writable, "/duplicates?score=0.5&rule=oldest")
    assert (found["score"], found["total"]["near"], least["rule"]) == (1.0, 0, "oldest")  # bytes alone agree so far
    assert least["total"]["all"] >= 2
    assert sum(len(group["items"]) for group in least["groups"]) > 4  # of so few centres all look alike
    for score in ("0.4", "1.1", "nan", "x"):
        assert writable.problem("GET", f"/duplicates?score={score}")[0] == 422
    assert writable.problem("POST", "/duplicates/preview", {"score": "high"})[0] == 400


def test_a_rule_says_which_one_stays(writable: Served, own: tuple[Path, Path]) -> None:
    ready(writable, "/duplicates")
    found = ready(writable, "/duplicates?rule=folder:cat")
    assert {group["items"][0]["path"] for group in found["groups"]} == {"cat/0.png", "cat/1.png"}
    os.utime(own[0] / "cat" / "1.png", (1, 1))
    asked = writable("POST", "/duplicates/preview", {"rule": "folder:cat", "kinds": ["exact"]}).json
    assert (asked["groups"], asked["keep"], asked["go"], asked["some"]) == (1, 1, 1, ["dog/copy.png"])
    assert asked["bytes"] == (own[0] / "dog" / "copy.png").stat().st_size
    for rule in ("smallest", "folder:nowhere", "folder:/etc", "folder:../"):
        assert writable.problem("POST", "/duplicates/preview", {"rule": rule})[0] == 400


def test_what_was_found_is_kept_over_a_tag_and_a_restart(own: tuple[Path, Path], tmp_path: Path) -> None:
    with serving(own[1], write=True, cache=tmp_path / "cache") as service:
        before = ready(service, "/duplicates")["groups"]
        service("PATCH", "/items/0", {"tag": "x"})
        assert service("GET", "/duplicates").json["state"] == "ready"
    (own[0] / "cat" / "0.png").write_bytes(b"changed")  # it would be found if it was looked at
    with serving(own[1], cache=tmp_path / "cache") as service:
        assert [group["id"] for group in ready(service, "/duplicates")["groups"]] == [group["id"] for group in before]


def test_what_there_was_is_shown_while_it_is_made_anew(writable: Served) -> None:
    before = ready(writable, "/duplicates")["groups"]
    gone = next(group for group in before if group["kind"] == "near")["items"][1]["id"]
    writable("DELETE", f"/items/{gone}")
    assert [group["kind"] for group in writable("GET", "/duplicates").json["groups"]] == ["exact"]
    assert [group["kind"] for group in ready(writable, "/duplicates")["groups"]] == ["exact"]


def test_decisions_are_kept_in_the_index_and_taken_back(writable: Served, own: tuple[Path, Path]) -> None:
    ready(writable, "/duplicates")
    assert (
        writable("POST", "/duplicates/decisions", {"rule": "largest", "kinds": ["exact", "near"]}).json["decided"] == 4
    )
    with Index.open(own[1]) as index:
        assert len(index.select('duplicate = "go"')) == 2
    listed = writable("POST", "/duplicates/list", {})
    rows = list(csv.DictReader(io.StringIO(listed.body.decode())))
    assert {row["path"] for row in rows if row["keep"] == "no"} == {"dog/copy.png", "cat/1.png"}
    group = writable("GET", "/duplicates?kind=near").json["groups"][0]
    assert [item["decided"] for item in group["items"]] == ["keep", "go"]
    writable("POST", "/duplicates/decisions", {"decisions": {str(group["items"][1]["id"]): None}})
    assert writable("GET", "/duplicates").json["decided"] == {"keep": 2, "go": 1}
    writable("DELETE", "/duplicates/decisions")
    assert writable("GET", "/duplicates").json["decided"] == {"keep": 0, "go": 0}


def test_a_move_takes_what_is_decided_and_comes_back(own: tuple[Path, Path], tmp_path: Path) -> None:
    root, index = own
    before = {path: path.read_bytes() for path in root.rglob("*.png")}
    with serving(index, write=True, move_to=tmp_path / "moved") as service:
        groups = ready(service, "/duplicates")["groups"]
        # the smaller of two is to stay, against the rule
        near = next(group for group in groups if group["kind"] == "near")
        larger, smaller = (str(item["id"]) for item in near["items"])
        service("POST", "/duplicates/decisions", {"decisions": {larger: "go", smaller: "keep"}})
        would = service("POST", "/duplicates/move", {"dry_run": True}).json
        assert (would["moved"], would["left"], would["undo"]) == (["dog/larger.png"], [], None)
        assert (root / "dog" / "larger.png").exists()
        done = service("POST", "/duplicates/move", {}).json
        assert done["moved"] == ["dog/larger.png"]
        assert not (root / "dog" / "larger.png").exists()
        assert larger not in [str(item["id"]) for item in service("GET", "/items?k=100").json["items"]]
        after = service("GET", "/duplicates").json
        assert (after["total"]["near"], after["moves"]["undo"]) == (0, [done["undo"]])
        assert service.problem("POST", "/duplicates/undo", {"undo": "../undo-20260101-000000.json"})[0] == 404
        back = service("POST", "/duplicates/undo", {"undo": done["undo"]}).json
        assert back["back"] == ["dog/larger.png"]
        assert service("GET", "/duplicates").json["total"]["near"] == 1
        assert service("GET", "/duplicates").json["moves"]["undo"] == []
    assert {path: path.read_bytes() for path in root.rglob("*.png")} == before


def test_the_last_of_a_group_stays_whatever_is_decided(own: tuple[Path, Path], tmp_path: Path) -> None:
    with serving(own[1], write=True, move_to=tmp_path / "moved") as service:
        group = next(group for group in ready(service, "/duplicates")["groups"] if group["kind"] == "exact")
        service("POST", "/duplicates/decisions", {"decisions": {str(item["id"]): "go" for item in group["items"]}})
        done = service("POST", "/duplicates/move", {}).json
        assert (done["moved"], [one["path"] for one in done["left"]]) == (["dog/copy.png"], ["cat/0.png"])


@pytest.mark.parametrize("path", ["/duplicates/decisions", "/duplicates/move", "/duplicates/undo"])
def test_who_may_only_read_decides_nothing(served: Served, path: str) -> None:
    assert served.problem("POST", path, {})[0] == 403


def test_nothing_is_moved_for_who_may_not_write(tmp_path: Path) -> None:
    with pytest.raises(RetrievalError, match="--move-to needs somebody who may write"):
        Settings(move_to=tmp_path)


def test_files_are_moved_only_where_the_service_was_started_for_it(writable: Served) -> None:
    status, sentence = writable.problem("POST", "/duplicates/move", {})
    assert (status, "--move-to" in sentence) == (403, True)


# Label errors


@pytest.fixture
def mislabelled(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service of two classes that are easy to tell apart, with one picture of a cat among the dogs."""
    root = tmp_path / "mixed"
    for number, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        base = np.asarray(tiny.picture(100 * number)).astype(np.int64)
        for one in range(12):
            noise = np.random.default_rng(one + 50 * number).integers(-9, 10, base.shape)
            Image.fromarray(np.clip(base + noise, 0, 255).astype(np.uint8)).save(root / name / f"{one}.png")
    (root / "cat" / "11.png").rename(root / "dog" / "cat.png")
    build(root, tmp_path / "index", model=tiny.model(tmp_path_factory), threads=1)
    with serving(tmp_path / "index", write=True) as service:
        yield service


def test_a_suspected_label_is_kept_or_corrected(mislabelled: Served) -> None:
    found = ready(mislabelled, "/label-errors")
    assert [(one["item"]["path"], one["label"], one["suggested"]) for one in found["items"]] == [
        ("dog/cat.png", "dog", "cat")
    ]
    assert {item["label"] for item in found["items"][0]["neighbours"]} == {"cat"}
    assert (found["labels"], found["total"]) == (["cat", "dog"], {"open": 1, "decided": 0})
    mislabelled("PATCH", f"/items/{found['items'][0]['id']}", {"label_corrected": "cat"})
    assert mislabelled("GET", "/label-errors").json["items"] == []
    assert mislabelled("GET", "/label-errors?decided=1").json["items"][0]["decided"] == "cat"


# The map


def test_the_map_has_every_picture_once(writable: Served, own: tuple[Path, Path]) -> None:
    about = ready(writable, "/map")
    data = writable("GET", "/map/points").body
    n = about["n"]
    places = np.frombuffer(data, "<f4", 2 * n).reshape(n, 2)
    ids = np.frombuffer(data, "<i8", n, 8 * n)
    with Index.open(own[1]) as index:
        assert ids.tolist() == index.ids().tolist()
        labels = index.labels()
    assert len(data) == 16 * n
    assert places.min() >= 0 and places.max() == 1
    found = writable("GET", "/map/colours?by=label").json
    names = [one["value"] for one in found["values"]]
    assert [names[code] for code in base64.b64decode(found["codes"])] == labels
    assert writable("GET", "/map/colours?by=label").json == found  # as it was kept
    writable("PATCH", "/items/0", {"hidden": True})
    assert len(base64.b64decode(writable("GET", "/map/colours?by=label").json["codes"])) == n - 1
    assert (writable("GET", "/map").json["n"], len(writable("GET", "/map/points").body)) == (n - 1, 16 * (n - 1))
    assert writable.problem("GET", "/map/colours?by=nothing")[0] == 404


def test_neighbours_lie_together_also_those_that_are_no_anchors() -> None:
    rng = np.random.default_rng(0)
    centres = np.eye(8, dtype=np.float32)[:3]
    kinds = np.repeat(np.arange(3), 40)
    rows = centres[kinds] + 0.1 * rng.normal(size=(120, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    for anchors in (200, 60):
        places = laid_out(rows, anchors)
        apart = np.linalg.norm(places[:, None] - places[None], axis=2)
        np.fill_diagonal(apart, np.inf)
        assert (kinds[apart.argmin(axis=1)] == kinds).mean() > 0.95
        assert places.min() >= 0 and places.max() == pytest.approx(1)


def test_a_map_of_next_to_nothing() -> None:
    for n in range(5):
        assert laid_out(np.eye(8, dtype=np.float32)[:n]).shape == (n, 2)
    assert np.isfinite(laid_out(np.ones((20, 4), np.float32) / 2)).all()


def colours(values: list[Any]) -> dict[str, Any]:
    """Those of an attribute."""
    column = Column.of(values)
    return coloured(Different("x", column.values), column.codes)


def test_colours_tell_the_most_frequent_values_apart() -> None:
    found = colours(["a", "b", "a", None, *(f"c{number:02d}" for number in range(20))])
    codes = list(base64.b64decode(found["codes"]))
    assert [(one["value"], one["count"]) for one in found["values"]][:2] == [("a", 2), ("b", 1)]
    assert found["values"][-1] == {"value": None, "count": 11}
    assert (codes[:4], codes[-1], found["none"]) == ([0, 1, 0, 255], 11, 1)
    numbers = colours([float(number) for number in range(100)])
    counts = [one["count"] for one in numbers["values"]]
    assert (len(counts), sum(counts), min(counts), max(counts)) == (8, 100, 12, 13)
    days = colours([str(np.datetime64("1970-01-01") + number) for number in range(100)])["values"]
    assert [(one["value"], one["count"]) for one in days[:1]] == [("1970-01-01 – 1970-01-13", 13)]
    assert colours(["1970-01-01", "1970-01-01T00:00"])["values"] == [{"value": "1970-01-01", "count": 2}]
    mixed = colours(["1970-01-01", "soon", 3, *map(str, np.datetime64("1970-01-02") + np.arange(9))])
    assert (len(mixed["values"]), mixed["none"]) == (10, 2)
    assert colours([None, None])["none"] == 2


# Compare


def test_what_was_measured_of_two_indexes(index: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        shutil.copytree(index, tmp_path / name)
    with serving(tmp_path / "a", tmp_path / "b") as service:
        assert service("GET", "/compare?index=a&with=b").json == {"figures": None}
        for name in ("a", "b"):
            evaluate(str(tmp_path / name)).save(tmp_path / f"{name}.json")
        found = service("GET", "/compare?index=a&with=b").json["figures"]
        assert found["queries"] == 13
        assert next(iter(found["measures"].values()))["difference"]["value"] == 0
        assert service.problem("GET", "/compare?index=a&with=c")[0] == 404
