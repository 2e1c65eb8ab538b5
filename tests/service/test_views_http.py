"""What the page shows besides answers: the wall, heat maps, exports, duplicates, label errors, the map."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from served import Served, serving

from retrieval.index import Index
from retrieval.index.vectors import as_numbers
from retrieval.ingest import build
from retrieval.service.export import cell, safe_name
from retrieval.service.wall import farthest_first


@pytest.fixture
def own(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of pictures with copies, and its index."""
    root = tiny.folder(tmp_path / "own", each=4)
    (root / "dog" / "copy.png").write_bytes((root / "cat" / "0.png").read_bytes())
    tiny.picture(1, 64, 64).save(root / "dog" / "larger.png")
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
    assert {facet["name"] for facet in wall["facets"]} >= {"label"}


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


# Heat maps


def test_a_heat_map_is_a_picture_of_the_hit(served: Served) -> None:
    drawn = served("GET", "/items/1/heat?query=id:0")
    assert drawn.headers["content-type"] == "image/jpeg"
    with Image.open(io.BytesIO(drawn.body)) as picture:
        assert picture.size == (tiny.SIZE, tiny.SIZE)
    other = served("GET", "/items/1/heat?query=path:dog/1.png%230%25,0%25,50%25,50%25")
    assert other.status == 200
    assert other.body != drawn.body


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/items/1/heat", 422), ("/items/1/heat?query=text:dog", 400), ("/items/1/heat?query=id:999", 404),
        ("/items/999/heat?query=id:1", 404), ("/items/1/heat?query=/etc/passwd", 400),
        ("/items/1/heat?query=upload:" + "0" * 64, 404),
    ],
)  # fmt: skip
def test_what_no_heat_map_explains(served: Served, path: str, status: int) -> None:
    assert served.problem("GET", path)[0] == status


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
