"""Questions over a socket: the same answers as in the process, and a sentence for whatever is wrong."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tiny

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from served import form

from retrieval.images import Box
from retrieval.search.answer import Answer
from retrieval.search.arrangement import Arrangement
from retrieval.search.explain import explain_answer
from retrieval.search.parts import Part
from retrieval.search.search import Search
from retrieval.service import answers
from retrieval.service.questions import Asked

if TYPE_CHECKING:
    from served import Served

SIMPLE = ("rank", "id", "path", "label", "score", "relevant", "probability")


def plain(answer: Any) -> list[dict[str, Any]]:
    """The hits of an answer of :class:`Search`."""
    return [{name: getattr(hit, name) for name in SIMPLE} for hit in answer.hits]


def hits(said: Any) -> list[dict[str, Any]]:
    assert said.status == 200, said
    return [{name: hit[name] for name in SIMPLE} for hit in said.json["hits"]]


def test_an_item_is_answered_as_in_the_process(served: Served, index: Path) -> None:
    with Search.open(index) as search:
        for id_ in (0, 3, 12):
            (expected,) = search.query_ids([id_], 5)
            said = served("POST", "/search?same=0", {"like": [f"id:{id_}"], "k": 5})
            assert hits(said) == plain(expected)
            assert said.json["query"]["left_out"] == list(expected.left_out)
            assert said.json["generation"] == search.index.generation
            assert hits(served("GET", f"/items/{id_}/similar?k=5&same=0")) == plain(expected)
        (expected,) = search.query_paths(["dog/2.png"], 4, where='label = "cat"')
        asked = {"like": ["path:dog/2.png"], "k": 4, "filter": 'label = "cat"', "same": False}
        assert hits(served("POST", "/search", asked)) == plain(expected)


def test_the_collections_own_picture_comes_first_and_is_marked(served: Served, photos: Path) -> None:
    """cat/0.png and its exact copy, whether asked by id or sent."""
    body, media = form([("x.png", (photos / "cat" / "0.png").read_bytes())])
    for said in (
        served("POST", "/search?k=4", {"like": ["path:cat/0.png"]}),
        served("POST", "/search?k=4", body, media=media),
    ):
        found = said.json["hits"]
        assert [hit["rank"] for hit in found] == [1, 2, 3, 4]
        assert {hit["path"] for hit in found if hit["same"]} == {"cat/0.png", "dog/copy.png"}
        assert [hit["same"] for hit in found] == [True, True, False, False]


def test_even_where_the_search_does_not_find_it(served: Served, index: Path) -> None:
    """More copies than hits are wanted: they are hits all the same, and no others."""
    (hit,) = served("POST", "/search?k=1", {"like": ["path:dog/copy.png"]}).json["hits"]
    assert hit["same"]
    assert hit["score"] > 0.999


def test_a_picture_that_is_sent(served: Served, index: Path, photos: Path) -> None:
    content = io.BytesIO()
    tiny.picture(7777, 40, 30).save(content, "PNG")
    body, media = form([("evil\r\n/../x.png".replace("\r\n", ""), content.getvalue())])
    with Search.open(index) as search:
        (expected,) = search.query(content.getvalue(), 5)
    said = served("POST", "/search?k=5", body, media=media)
    assert hits(said) == [dict(hit, score=pytest.approx(hit["score"], abs=1e-6)) for hit in plain(expected)]
    (part,) = said.json["query"]["parts"]
    assert said.json["query"]["query"] == "x.png"
    again = served("POST", "/search", {"like": [f"upload:{part['sha256']}"], "k": 5})
    assert hits(again) == hits(said)
    small = served("GET", f"/uploads/{part['sha256']}/thumbnail?s=64")
    assert (small.status, small.headers["content-type"]) == (200, "image/jpeg")


def test_vectors(served: Served, index: Path) -> None:
    vector = np.random.default_rng(1).normal(size=16).astype(np.float32)
    with Search.open(index) as search:
        (expected,) = search.query_vectors(vector, 6)
    content = io.BytesIO()
    np.save(content, vector)
    assert hits(served("POST", "/search?k=6", content.getvalue(), media="application/x-npy")) == plain(expected)
    assert hits(served("POST", "/search", {"vector": vector.tolist(), "k": 6})) == [
        dict(hit, score=pytest.approx(hit["score"], abs=1e-6)) for hit in plain(expected)
    ]


def test_a_least_score_gives_all_that_reach_it(served: Served, index: Path) -> None:
    with Search.open(index) as search:
        (expected,) = search.query_ids([3], None, above=0.9)
    assert hits(served("POST", "/search?above=0.9&same=0", {"like": ["id:3"]})) == plain(expected)


@pytest.mark.parametrize(
    ("asked", "status", "words"),
    [
        ({}, 400, "nothing to look for"),
        ({"like": ["id:999"]}, 404, "no picture 999"),
        ({"like": ["path:no/such.png"]}, 404, "no picture 'no/such.png'"),
        ({"like": ["upload:" + "0" * 64]}, 404, "send it again"),
        ({"like": ["text:a dog"]}, 400, "knows pictures only"),
        ({"like": ["/etc/passwd"]}, 400, "nothing that is opened here"),
        ({"like": ["file:/etc/passwd"]}, 400, "nothing that is opened here"),
        ({"like": ["vector:/etc/passwd.npy"]}, 400, "nothing that is opened here"),
        ({"like": ["http://10.0.0.1/a.jpg"]}, 400, "nothing that is opened here"),
        ({"like": ["id:-1"]}, 400, "no id of an item"),
        ({"like": [17]}, 400, "17"),
        ({"like": ["id:3"], "k": 0}, 400, "k is"),
        ({"like": ["id:3"], "k": 10**9}, 400, "k is"),
        ({"like": ["id:3"], "k": "many"}, 400, "k is"),
        ({"like": ["id:3"], "above": "nan"}, 400, "above"),
        ({"like": ["id:3"], "above": "matches"}, 400, "retrieval calibrate"),
        ({"like": ["id:3"], "filter": 'label = "dog'}, 400, "position 9"),
        ({"like": ["id:3"], "filter": "x" * 5000}, 400, "filter"),
        ({"vector": [1, "a"]}, 400, "list of numbers"),
        ({"vector": [1, 2]}, 400, "shape"),
        ({"like": ["id:3#9%,9"]}, 400, "no id of an item"),
        ({"like": ["id:3@0"]}, 400, "weight"),
        ({"like": [{"part": "id:3", "weight": -1}]}, 400, "weight"),
        ({"like": [{"part": "id:3", "box": "1,2"}]}, 400, "#1,2"),
        ({"like": [{"part": "id:3", "box": [500, 0, 5, 5]}]}, 422, "'id:3' cannot be read"),
        ({"like": ["id:3"], "unlike": ["id:3"]}, 400, "cancel out"),
        ({"like": ["id:3"] * 65}, 400, "65 parts"),
        ({"vector": [0] * 16}, 400, "zero"),
        ([1], 400, "no JSON object"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_a_problem_with_a_sentence(served: Served, asked: Any, status: int, words: str) -> None:
    said, detail = served.problem("POST", "/search", asked)
    assert (said, words in detail) == (status, True), detail


def test_a_wrong_filter_says_where(served: Served) -> None:
    found = served("POST", "/search", {"like": ["id:3"], "filter": "label = = 3"}).json
    assert (found["type"], found["where"]) == ("/problems/wrong-filter", 9)


def test_a_pickle_is_no_vector(served: Served) -> None:
    content = io.BytesIO()
    np.save(content, np.array([{}], dtype=object), allow_pickle=True)
    status, detail = served.problem("POST", "/search", content.getvalue(), media="application/x-npy")
    assert (status, ".npy" in detail) == (400, True)
    whole = content.getvalue()
    for damaged in (b"x", b"PK\x03\x04", whole[:40], whole.replace(b"}", b"("), whole.replace(b"(", b"{" * 9)):
        assert served.problem("POST", "/search", damaged, media="application/x-npy")[0] == 400
    assert served.problem("POST", "/search", b"x", media="text/plain")[0] == 415


def test_json_that_is_none(served: Served) -> None:
    for body in (b"{", b"[" * 100_000, b"\xff", b'{"like": NaN}'):
        assert served.problem("POST", "/search", body, media="application/json")[0] == 400


def test_a_question_of_many_parts(served: Served, index: Path, photos: Path) -> None:
    """As in the process: weights, minus, parts of pictures, words of what each part is."""
    data = (photos / "dog" / "1.png").read_bytes()
    body, media = form([("d.png", data)])
    sha256 = served("POST", "/search?k=1", body, media=media).json["query"]["parts"][0]["sha256"]
    with Search.open(index) as search:
        expected = search.query_parts(["id:3@0.5", data, "path:cat/4.png#0%,0%,50%,50%"], ["id:9@0.2"], 6)
    asked = {
        "like": [
            {"part": "id:3", "weight": 0.5},
            f"upload:{sha256}",
            {"part": "path:cat/4.png", "box": "0%,0%,50%,50%"},
        ],
        "unlike": ["id:9@0.2"],
        "k": 6,
    }
    said = served("POST", "/search?same=0", asked)
    assert hits(said) == [dict(hit, score=pytest.approx(hit["score"], abs=1e-6)) for hit in plain(expected)]
    parts = said.json["query"]["parts"]
    assert [(part["sign"], part["weight"]) for part in parts] == [(1, 0.5), (1, 1), (1, 1), (-1, 0.2)]
    assert [part["id"] is not None for part in parts] == [True] * 4
    shown = served("POST", "/search", asked).json["hits"]
    assert {hit["id"] for hit in shown if hit["same"]} <= {parts[0]["id"], parts[1]["id"], parts[3]["id"]}


def test_a_part_of_a_picture_that_is_sent(served: Served, index: Path) -> None:
    content = io.BytesIO()
    tiny.picture(4711, 64, 64).save(content, "PNG")
    body, media = form([("x.png", content.getvalue())])
    sha256 = served("POST", "/search?k=1", body, media=media).json["query"]["parts"][0]["sha256"]
    with Search.open(index) as search:
        expected = search.query_parts(replace(Part.of(content.getvalue()), box=Box(0, 0, 32, 32)), k=5)
    said = served("POST", "/search", {"like": [{"part": f"upload:{sha256}", "box": [0, 0, 32, 32]}], "k": 5})
    assert hits(said) == [dict(hit, score=pytest.approx(hit["score"], abs=1e-6)) for hit in plain(expected)]


def test_hits_are_explained(served: Served, index: Path, photos: Path) -> None:
    """As `query --explain --json` has it."""
    with Search.open(index) as search:
        (answer,) = search.query_ids([1], 4)
        expected = {
            hit.id: why.to_json()
            for hit, why in zip(answer.hits, explain_answer(search, answer), strict=True)
            if why is not None
        }
    body, media = form([("x.png", (photos / "cat" / "1.png").read_bytes())])
    for said in (
        served("GET", "/items/1/similar?k=4&same=0&explain=1"),
        served("POST", "/search?k=4&same=0&explain=1", body, media=media),
    ):
        assert {hit["id"] for hit in said.json["hits"]} == expected.keys()
        for hit in said.json["hits"]:
            why, other = hit["explanation"], expected[hit["id"]]
            assert why["method"] == other["method"]
            assert why["score"] == pytest.approx(hit["score"], abs=1e-4)
            np.testing.assert_allclose(why["hit"]["values"], other["hit"]["values"], atol=1e-5)
    assert "explanation" not in served("GET", "/items/1/similar").json["hits"][0]
    for asked in ({"like": ["id:1", "id:2"]}, {"unlike": ["id:1"]}, {"vector": [1.0] * 16}):
        assert served.problem("POST", "/search", {**asked, "explain": True})[0] == 400
    assert served.problem("POST", "/search", {"like": ["id:1"], "explain": True, "k": 21})[0] == 400


def test_pages_facets_and_groups(served: Served, index: Path) -> None:
    """Page by page to the end: each picture once, the question itself first."""
    asked: dict[str, Any] = {"like": ["path:cat/0.png"], "k": 4, "cursor": ""}
    pages = []
    while asked["cursor"] is not None:
        said = served("POST", "/search", asked).json
        pages.append(said["hits"])
        asked["cursor"] = said["cursor"]
    assert [len(page) for page in pages] == [4, 4, 4, 1]
    found = [hit for page in pages for hit in page]
    assert [hit["rank"] for hit in found] == list(range(1, 14))
    assert len({hit["id"] for hit in found}) == 13
    assert [hit["same"] for hit in found[:3]] == [True, True, False]
    with Search.open(index) as search:
        (expected,) = search.query_paths(["cat/0.png"], 13, include_self=True)
    assert sorted((hit["score"], hit["id"]) for hit in found) == sorted((hit.score, hit.id) for hit in expected)
    said = served(
        "POST", "/search", {"like": ["id:3"], "above": 0, "facets": True, "group": "label", "sort": "path"}
    ).json
    assert said["matches"] == len(said["hits"])
    counted = {facet["name"]: facet for facet in said["facets"]}
    assert sum(one["count"] for one in counted["label"]["values"]) == said["matches"]
    assert [hit["group"] for hit in said["hits"]] == [hit["label"] for hit in said["hits"]]
    for wrong in ({"cursor": "x"}, {"cursor": 7}, {"sort": "nothing"}, {"group": "nothing"}, {"diverse": 2}):
        assert served.problem("POST", "/search", {"like": ["id:3"], **wrong})[0] == 400
    first = served("POST", "/search", {"like": ["id:3"], "k": 2, "cursor": ""}).json["cursor"]
    status, detail = served.problem("POST", "/search", {"like": ["id:4"], "k": 2, "cursor": first})
    assert (status, "cursor" in detail) == (400, True)


def test_what_is_arranged_is_not_said_to_be_ordered_by_likeness(served: Served) -> None:
    for more, words in (
        ({"above": 0.5, "sort": "path"}, "with a score of at least 0.5."),
        ({"above": 0.5, "group": "label"}, "with a score of at least 0.5."),
        ({"k": 4, "sort": "path"}, "The 4 that are most alike."),
    ):
        said = served("POST", "/search", {"like": ["id:3"], **more}).json
        assert said["fold"]["sentence"] in (words, f"{said['matches']} {words}")
    for n, sentence in ((0, "Nothing in this collection matches."), (1, "1 matches."), (2000, "2,000 match.")):
        arranged = Asked((), arrange=Arrangement(sort="path", matches=True))
        assert answers._arranged(arranged, Answer("id 3", None, None, (), matches=n)) == sentence


@pytest.mark.parametrize("sort", [None, "path:desc", "size"])
def test_the_collection_page_by_page(served: Served, index: Path, sort: str | None) -> None:
    path = "/items?k=5" + (f"&sort={sort}" if sort else "")
    found: list[dict[str, Any]] = []
    cursor = ""
    while cursor is not None:
        said = served("GET", f"{path}&cursor={cursor}").json
        found += said["items"]
        cursor = said["cursor"]
        assert said["total"] == 13
    keys = {None: lambda item: item["id"], "path:desc": lambda item: item["path"], "size": lambda item: item["id"]}
    expected = sorted(found, key=keys[sort], reverse=sort == "path:desc")
    assert len({item["id"] for item in found}) == 13
    if sort != "size":
        assert found == expected
    assert served.problem("GET", "/items?sort=nothing")[0] == 400
    assert served.problem("GET", "/items?cursor=nothing")[0] == 422
    assert served.problem("GET", f"/items?cursor={'0' * 16}:0.0:1:1")[0] == 400  # of another question


def test_facets_of_the_collection(served: Served) -> None:
    said = served("GET", "/facets?filter=label%20%3D%20%22cat%22").json
    assert said["total"] == 6
    (label,) = [facet for facet in said["facets"] if facet["name"] == "label"]
    assert label["values"] == [{"value": "cat", "count": 6}]
