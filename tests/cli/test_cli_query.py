"""`retrieval query`: what is said where nothing is found."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny

from retrieval.cli import main
from retrieval.index import Index, NewItem
from retrieval.ingest import build
from retrieval.search.search import Search


@pytest.mark.parametrize(
    ("least", "said"), [("0", "that scores 0.000 or more"), ("-0.5", "that scores -0.500 or more")]
)
def test_the_least_score_is_a_reason_even_if_it_is_zero(tmp_path, capsys, least, said):
    folder = tmp_path / "index"
    with Index.create(folder, 2, root="photos", encoder_hash="0" * 64, details={}, decoder="pillow 11.0") as index:
        first, _ = index.add(np.array([[1, 0], [-1, 0]], np.float32), [NewItem("a.png"), NewItem("b.png")])
    assert main(["query", str(folder), "--id", str(first), f"--above={least}"]) == 0
    assert capsys.readouterr().out.endswith(f"nothing found: the index holds no other picture {said}\n")


@pytest.fixture()
def photos(tmp_path, tmp_path_factory):
    """The folder of an index, where its pictures lie, too."""
    root = tiny.folder(tmp_path / "photos")
    build(root, tmp_path / "index", model=tiny.model(tmp_path_factory))
    return tmp_path


def test_like_and_unlike_are_one_query(photos, capsys, monkeypatch):
    monkeypatch.chdir(photos)
    parts = ["--like", "photos/cat/0.png#0%,0%,50%,100%@2", "id:2", "--unlike", "path:dog/1.png@0.5", "--like", "id:3"]
    assert main(["query", "index", "photos/cat/1.png", *parts, "-k", "2", "--json", "--save", "out.png"]) == 0
    plain, answer = json.loads(capsys.readouterr().out)["answers"]
    assert plain["query"] == "photos/cat/1.png" and "parts" not in plain
    assert answer["query"] == ("like photos/cat/0.png#0%,0%,50%,100%@2, id:2, id:3; unlike path:dog/1.png@0.5")
    with Search.open("index") as search:
        expected = search.query_parts(["photos/cat/0.png#0%,0%,50%,100%@2", "id:2", "id:3"], "path:dog/1.png@0.5", k=2)
    assert [(hit["id"], hit["score"]) for hit in answer["hits"]] == [(hit.id, hit.score) for hit in expected]
    assert answer["parts"] == [asked.to_json() for asked in expected.parts]
    assert answer["parts"][3] == {"part": "path:dog/1.png@0.5", "sign": -1, "weight": 0.5, "left_out": [5]}
    assert answer["left_out"] == [0, 2, 3, 5]
    assert (photos / "out.png").stat().st_size
    assert main(["query", "index", *parts]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith("(4 left out: its parts and their exact copies)")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (
            ["--like", "photos/cat/0.png", "nowhere.png", "id:77"],
            "'nowhere.png' cannot be read: no such file; nor can 1",
        ),
        (["--like", "photos/cat/0.png", "--unlike", "id:0"], "cancel out"),
        (["--like", "photos/cat/0.png@0"], "The weight 0"),
        (["photos/cat/0.png", "id:1"], "There is no picture 'id:1'; a part of one query is given to --like"),
        (["photos/cat/0.png@2"], "a part of one query is given to --like"),
        (["--like=-1"], "There is no picture './-1' here"),
        (["--like", "text:dog#1,2,3,4"], "no part #1,2,3,4"),
        (["--like", "photos/cat/0.png", "id:1", "--explain", "--json"], "is not one picture to be like"),
        (["--like", "two\nlines"], "There is no picture 'two\\nlines' here"),
    ],
)
def test_a_question_that_cannot_be_answered_is_one_sentence(photos, capsys, monkeypatch, argv, says):
    monkeypatch.chdir(photos)
    assert main(["query", "index", *argv]) == 1
    out, err = capsys.readouterr()
    assert out == "" and says in err and err.count("\n") == 1


def test_a_part_of_a_picture_is_explained(photos, capsys, monkeypatch):
    monkeypatch.chdir(photos)
    assert main(["query", "index", "photos/cat/0.png#0,0,20,30", "-k", "2", "--explain", "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)["answers"]
    for hit in answer["hits"]:
        assert hit["explanation"]["score"] == pytest.approx(hit["score"], abs=1e-5)
