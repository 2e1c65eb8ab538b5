"""Changes over a socket: tags, corrected labels, hidden pictures, pictures added and taken out."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from served import Served, form, serving

from retrieval.client import Client
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.ingest import build, sync
from retrieval.search.arrangement import Arrangement
from retrieval.search.calibration.record import stored
from retrieval.search.learned import FromMarks
from retrieval.search.marks import Asked as MarkedQuery
from retrieval.search.marks import Mark
from retrieval.search.parts import Part
from retrieval.search.search import Search
from retrieval.service import writing


@pytest.fixture
def own(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of pictures and its index."""
    root = tiny.folder(tmp_path / "own", each=3)
    build(root, tmp_path / "index", model=tiny.model(tmp_path_factory), threads=1)
    return root, tmp_path / "index"


@pytest.fixture
def writable(own: tuple[Path, Path], tmp_path: Path) -> Iterator[Served]:
    with serving(own[1], write=True, uploads=tmp_path / "uploads") as service:
        yield service


def test_tags_and_corrected_labels(writable: Served, own: tuple[Path, Path]) -> None:
    """They are attributes, seen by the next request, and a sync leaves them and the folder's label alone."""
    root, index = own
    changed = writable("PATCH", "/items/1", {"tag": " holiday ", "label_corrected": "dog"}).json
    assert changed["changed"] == 1
    found = writable("GET", "/items?filter=tag%20%3D%20%22holiday%22").json
    assert ([item["id"] for item in found["items"]], found["generation"]) == ([1], changed["generation"])
    assert writable("PATCH", "/items", {"ids": [0, 2], "tag": "x"}).json["changed"] == 2
    tiny.picture(50).save(root / "cat" / "new.png")
    sync(index)
    with Index.open(index) as opened:
        assert opened.items([1])[0].label == "cat"
        assert opened.attributes([0, 1]) == [{"tag": "x"}, {"tag": "holiday", "label_corrected": "dog"}]
    assert writable("PATCH", "/items/1", {"tag": None}).status == 200
    assert writable("GET", "/items/1").json["attributes"] == {"label_corrected": "dog"}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/items/1", {}, 400), ("/items/1", {"label": "x"}, 400), ("/items/1", {"tag": 7}, 400),
        ("/items/1", {"tag": ""}, 400), ("/items/1", {"tag": "x" * 501}, 400), ("/items/1", {"hidden": "yes"}, 400),
        ("/items/1", {"tag": "\0"}, 400), ("/items/1", [], 400), ("/items/777", {"tag": "x"}, 404),
        ("/items", {"tag": "x"}, 400), ("/items", {"ids": [], "tag": "x"}, 400),
        ("/items", {"ids": ["1"], "tag": "x"}, 400),
        ("/items", {"ids": [1, 777], "tag": "x"}, 404), ("/items", {"ids": [True], "tag": "x"}, 400),
        ("/items", {"ids": [2**70], "tag": "x"}, 404),
    ],
)  # fmt: skip
def test_what_cannot_be_written(writable: Served, path: str, body: object, status: int) -> None:
    generation = writable("GET", "/items").json["generation"]
    assert writable.problem("PATCH", path, body)[0] == status
    assert writable("GET", "/items").json["generation"] == generation


def test_a_hidden_picture_is_in_no_answer(writable: Served) -> None:
    before = writable("POST", "/search", {"like": ["id:0"], "k": 6}).json["hits"]
    gone = before[1]["id"]
    writable("PATCH", f"/items/{gone}", {"hidden": True})
    after = writable("POST", "/search", {"like": ["id:0"], "k": 6}).json["hits"]
    assert [hit["id"] for hit in after] == [hit["id"] for hit in before if hit["id"] != gone]
    assert writable("GET", "/items").json["total"] == 5
    assert writable("GET", "/items?hidden=1").json["total"] == 6
    asked = {"like": ["id:0"], "filter": 'label = "cat" or label = "dog"', "k": 6}
    assert gone not in [hit["id"] for hit in writable("POST", "/search", asked).json["hits"]]
    assert gone in [hit["id"] for hit in writable("POST", "/search", {**asked, "hidden": True}).json["hits"]]
    status, detail = writable.problem("POST", "/search", {**asked, "filter": 'label = "cat") or (id >= 0'})
    assert (status, "position 14" in detail) == (400, True)  # it cannot get out of its bracket
    assert writable("PATCH", f"/items/{gone}", {"hidden": False}).status == 200
    assert writable("GET", "/items").json["total"] == 6


def test_a_picture_taken_out_comes_back_with_a_sync(writable: Served, own: tuple[Path, Path]) -> None:
    said = writable("DELETE", "/items/0").json
    assert said["removed"] == {"id": 0, "path": "cat/0.png"}
    assert "sync brings it back" in said["warning"] and "hidden" in said["warning"]
    assert writable("GET", "/items").json["total"] == 5
    assert writable.problem("DELETE", "/items/0")[0] == 404
    assert (own[0] / "cat" / "0.png").exists()
    assert sync(own[1]).total == 6


def test_pictures_are_added(writable: Served, tmp_path: Path) -> None:
    """Under the name of their content, once, and found at once; what is no picture is not even stored."""
    content = io.BytesIO()
    tiny.picture(4242).save(content, "PNG")
    header = {"X-Retrieval": "1"}
    body, media = form([("../../../x.php", content.getvalue()), ("again.png", content.getvalue())])
    said = writable("POST", "/items", body, headers=header, media=media)
    assert said.status == 201
    first, second = said.json["added"]
    assert (first["name"], first["ids"], second["ids"]) == ("x.php", first["ids"], first["ids"])
    (file,) = (tmp_path / "uploads").iterdir()
    assert (file.name, file.read_bytes()) == (first["sha256"][:32] + ".png", content.getvalue())
    (id_,) = first["ids"]
    assert writable("GET", f"/items/{id_}/thumbnail").status == 200
    with Client(writable.address) as client:
        assert client.query(content.getvalue(), 1)[0].id == id_
    body, media = form([("a.png", b"<?php ?>")])
    assert writable.problem("POST", "/items", body, headers=header, media=media)[0] == 422
    assert len(list((tmp_path / "uploads").iterdir())) == 1


def test_pictures_are_added_below_the_folder_of_the_others(own: tuple[Path, Path]) -> None:
    """Then nobody is told where that lies; a sync finds them, too."""
    content = io.BytesIO()
    tiny.picture(4242).save(content, "PNG")
    body, media = form([("a.png", content.getvalue())])
    with serving(own[1], write=True, uploads=own[0] / "uploads") as service:
        said = service("POST", "/items", body, headers={"X-Retrieval": "1"}, media=media).json["added"][0]
        item = service("GET", f"/items/{said['ids'][0]}").json
        assert (item["path"], item["label"]) == (f"uploads/{said['sha256'][:32]}.png", "uploads")
        assert service("GET", f"/items/{item['id']}/thumbnail").status == 200
    sync(own[1])
    with Index.open(own[1]) as opened:
        assert opened.items([item["id"]])[0].path == item["path"]


def test_without_a_folder_nothing_is_taken_in(own: tuple[Path, Path]) -> None:
    body, media = form([("a.png", b"x")])
    with serving(own[1], write=True) as service:
        status, detail = service.problem("POST", "/items", body, headers={"X-Retrieval": "1"}, media=media)
        assert (status, "--uploads" in detail) == (403, True)


def test_another_writer_is_waited_for(
    writable: Served, own: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "PATIENCE", 0.3)
    with Index.open(own[1], write=True):
        said = writable("PATCH", "/items/1", {"tag": "x"})
        assert (said.status, said.headers["retry-after"]) == (409, "1")
        assert "being written" in said.json["detail"]
    monkeypatch.setattr(writing, "PATIENCE", 30)
    other = Index.open(own[1], write=True)
    threading.Timer(0.3, other.close).start()
    assert writable("PATCH", "/items/1", {"tag": "x"}).status == 200


def test_an_index_is_calibrated_and_says_where_matches_end(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What the page offers in one click; the fold is that of the calibration."""
    root = tiny.folder(tmp_path / "own", classes=tuple("abcdef"), each=6)
    build(root, tmp_path / "index", model=tiny.model(tmp_path_factory), threads=1)
    with serving(tmp_path / "index", write=True) as service:
        before = service("POST", "/search", {"like": ["id:0"]}).json["fold"]
        assert (before["matches"], "retrieval calibrate" in before["advice"]) == (None, True)
        said = service("POST", "/calibrate", {}).json
        with Index.open(tmp_path / "index") as index:
            (kept_there,) = stored(index).values()
            assert said["threshold"] == kept_there.threshold
        (told,) = service("GET", "/info").json["indexes"]
        assert (told["calibrated"], told["calibration"]["threshold"]) == (True, said["threshold"])
        found = service("POST", "/search", {"like": ["id:0"], "k": 36}).json
        with Search.open(tmp_path / "index") as search, Client(service.address) as client:
            (expected,) = search.query_ids([0], 36, include_self=True)
            assert found["fold"]["matches"] == expected.fold is not None
            assert [hit["probability"] for hit in found["hits"]] == [hit.probability for hit in expected]
            (kept,) = search.query_ids([0], 36, arrange=Arrangement(matches=True))
            (mine,) = client.query_ids([0], 36, arrange=Arrangement(matches=True))
            assert [(hit.id, hit.probability, hit.evidence) for hit in mine] == [
                (hit.id, hit.probability, hit.evidence) for hit in kept
            ]
            assert (mine.fold, mine.no_match) == (kept.fold, kept.no_match)
            client.require_calibrated("labels")
            with pytest.raises(RetrievalError, match="what words match"):
                client.require_calibrated("words")
        asked = {"like": ["id:0"], "above": "matches", "same": False, "k": 36}
        assert [hit["id"] for hit in service("POST", "/search", asked).json["hits"]] == [hit.id for hit in kept]


def test_marks_make_another_ranking(writable: Served, own: tuple[Path, Path]) -> None:
    """That of `--marks`; a mark of another picture says nothing of this question, and none is kept."""
    with Index.open(own[1]) as opened:
        wrong = opened.find("cat/1.png")
        assert wrong is not None
    given = [{"item": wrong.id, "right": False}, {"item": "dog/1.png", "right": True}]
    said = writable("POST", "/search", {"like": ["id:0"], "marks": given}).json
    marks = [
        Mark(MarkedQuery((Part("id", 0),)), "cat/1.png", False),
        Mark(MarkedQuery((Part("id", 0),)), "dog/1.png", True),
    ]
    with Search.open(own[1], reranker=FromMarks(marks)) as search:
        (expected,) = search.query_ids([0], 50, include_self=True)
    assert sorted((hit["id"], hit["marked"]) for hit in said["hits"]) == sorted(
        (hit.id, hit.marked) for hit in expected
    )
    assert [hit["id"] for hit in said["hits"]][-1] == wrong.id
    assert said["marks"]["wrong"] == [wrong.id] and len(said["marks"]["right"]) == 1
    assert writable("POST", "/search", {"like": ["id:0"]}).json["marks"] is None
    for marks_given in ({}, [1], [{"item": 1}], [{"item": 1, "right": 1}], [{"item": "", "right": True}]):
        if marks_given != {}:
            assert writable.problem("POST", "/search", {"like": ["id:0"], "marks": marks_given})[0] == 400
    assert writable.problem("POST", "/search", {"like": ["id:0"], "rerank": "/some/run"})[0] == 400
    with Search.open(own[1], reranker="alpha-qe") as search:
        (expected,) = search.query_ids([0], 5)
    asked = {"like": ["id:0"], "rerank": "alpha-qe", "k": 5, "same": False}
    assert [hit["id"] for hit in writable("POST", "/search", asked).json["hits"]] == [hit.id for hit in expected]
