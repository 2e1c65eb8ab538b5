"""Queries with a filter, and what they leave out: every way of asking, against brute force over what matches."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import vectors

from retrieval import images
from retrieval.cli import main
from retrieval.errors import RetrievalError
from retrieval.index import Index, NewItem
from retrieval.ingest import build
from retrieval.search.answer import Answer
from retrieval.search.arrangement import FIRST, Arrangement
from retrieval.search.search import Search

DATA = vectors.clustered(300, 16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 items; 100 to 109 are copies of item 3, vector and content."""
    folder = tmp_path_factory.mktemp("filters") / "index"
    DATA[100:110] = DATA[3]
    contents = [3 if 100 <= n < 110 else n for n in range(300)]
    items = [NewItem(f"{n % 3}/{n}.png", f"{n % 3}", 32, 24, sha256=f"{contents[n]:064x}") for n in range(300)]
    with Index.create(folder, 16, root="pictures", encoder_hash="", details={}) as index:
        index.add(DATA, items)
        index.attach({n: {"n": n, "even": int(n % 2 == 0)} for n in range(300) if n != 299})
    return folder


@pytest.fixture()
def search(folder: Path):  # type: ignore[no-untyped-def]
    with Search.open(folder) as search:
        yield search


def expected(query: int, where: np.ndarray, left_out: set[int], k: int) -> list[int]:
    ids = np.array([id_ for id_ in np.flatnonzero(where) if id_ not in left_out], dtype=np.int64)
    return [int(id_) for id_ in vectors.brute(DATA[[query]], DATA[ids], ids, k)[1][0] if id_ >= 0]


def ids(answer: Answer) -> list[int]:
    return [hit.id for hit in answer.hits]


NUMBERS = np.arange(300)
FILTERS: list[tuple[str, np.ndarray]] = [
    ("even = true", (NUMBERS % 2 == 0) & (NUMBERS != 299)),
    ("n is missing", NUMBERS == 299),
    ('label = 1 and path under "1"', NUMBERS % 3 == 1),
    ("n < 12", NUMBERS < 12),
    ("id >= 100 and id < 112", (NUMBERS >= 100) & (NUMBERS < 112)),
    ("n < 0", NUMBERS < 0),
    ("id = 3", NUMBERS == 3),
]


@pytest.mark.parametrize(("where", "matches"), FILTERS, ids=[where for where, _ in FILTERS])
@pytest.mark.parametrize("k", [1, 10, 500])
def test_k_others_that_match_come_back(search: Search, where: str, matches: np.ndarray, k: int) -> None:
    family = {3, *range(100, 110)}
    for query, left_out in ((3, family), (105, family), (7, {7}), (299, {299})):
        found = expected(query, matches, left_out, k)
        for answer in (
            *search.query_ids([query], k, where=where),
            *search.query_paths([f"{query % 3}/{query}.png"], k, where=where),
        ):
            assert ids(answer) == found
            assert (answer.id, set(answer.left_out)) == (query, left_out)
        everything = expected(query, matches, set(), k)
        assert ids(search.query_ids([query], k, where=where, include_self=True)[0]) == everything
        assert ids(search.query_vectors(DATA[query], k, where=where)[0]) == everything


def test_a_batch_answers_as_one_by_one(search: Search) -> None:
    some = [0, 3, 7, 105, 299]
    together = search.query_ids(some, 20, where="even = false")
    assert together == [search.query_ids([query], 20, where="even = false")[0] for query in some]


def test_vectors_in_a_file_and_texts_are_filtered_too(search: Search, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", DATA[:2])

    class KnowsWords:
        def encode_text(self, texts: list[str]) -> np.ndarray:
            return DATA[:2]

    search.__dict__["encoder"] = KnowsWords()
    matches = NUMBERS < 12
    for answers in (
        search.query_file(tmp_path / "v.npy", 5, where="n < 12"),
        search.query_texts(["a bird", "a plane"], 5, where="n < 12"),
    ):
        assert [ids(answer) for answer in answers] == [expected(query, matches, set(), 5) for query in (0, 1)]


def test_items_without_content_are_no_copies_of_one_another(tmp_path: Path) -> None:
    with Index.create(tmp_path / "index", 16, root="", encoder_hash="", details={}) as index:
        index.add(DATA[:20], [NewItem(f"{n}") for n in range(20)])
    with Search.open(tmp_path / "index") as search:
        (answer,) = search.query_ids([4], 100)
    assert (answer.id, answer.left_out, len(answer.hits)) == (4, (4,), 19)


# Pictures


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of six; dog/5 is a copy of cat/0."""
    root = tiny.folder(tmp_path_factory.mktemp("filtered") / "pictures", ("bird", "cat", "dog"), each=6)
    shutil.copy(root / "cat/0.png", root / "dog/5.png")
    build(root, root.parent / "index", model=tiny.model(tmp_path_factory))
    return root.parent


def test_a_picture_keeps_its_label_where_the_filter_lets_it_not_through(built: Path, tmp_path: Path) -> None:
    shutil.copy(built / "pictures/cat/0.png", tmp_path / "elsewhere.png")
    with Search.open(built / "index") as search:
        for file in (built / "pictures/cat/0.png", tmp_path / "elsewhere.png"):
            (answer,) = search.query(file, 4, where='label = "bird"')
            assert (answer.label, len(answer.left_out)) == ("cat", 2)
            assert {hit.path.split("/")[0] for hit in answer.hits} == {"bird"}
            assert [hit.relevant for hit in answer.hits] == [False] * 4
        (answer,) = search.query(built / "pictures/cat/0.png", 50, where='label in ("cat", "dog")')
        assert len(answer.hits) == 10  # all but the query and its copy
        (answer,) = search.query(built / "pictures/cat/0.png", 50, where='label = "dog"', include_self=True)
        assert answer.hits[0].path == "dog/5.png"


def test_pictures_are_arranged_too(built: Path) -> None:
    file = built / "pictures/cat/1.png"
    with Search.open(built / "index") as search:
        (answer,) = search.query(file, 5, arrange=Arrangement("path:desc", facets=True))
        assert [hit.path for hit in answer] == sorted((hit.path for hit in answer), reverse=True)
        assert answer.facets is not None and answer.facets[0].missing == 0
        (page,) = search.query(file, 3, arrange=Arrangement(cursor=FIRST))
        (rest,) = search.query(file, 90, arrange=Arrangement(cursor=page.next))
        assert len({hit.id for hit in (*page, *rest)}) == 17 and rest.next is None


def test_a_wrong_filter_is_refused_before_anything_is_read(search: Search, tmp_path: Path) -> None:
    skipped: list[images.Skipped] = []
    asked: list[Any] = [
        lambda: search.query(tmp_path / "absent.png", where="nothing = 1", skipped=skipped),
        lambda: search.query_ids([0], where="nothing = 1"),
        lambda: search.query_paths(["0/0.png"], where="nothing = 1"),
        lambda: search.query_vectors(DATA, where="nothing = 1"),
        lambda: search.query_texts(["a cat"], where="nothing = 1"),
    ]
    for ask in asked:
        with pytest.raises(RetrievalError, match="'nothing' at position 1, which is no name here"):
            ask()
    assert not skipped


def test_the_command_filters(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["query", str(folder), "--id", "3", "-k", "5", "--where"]
    assert main([*ask, "even = true", "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)["answers"]
    assert [hit["id"] for hit in answer["hits"]] == expected(3, FILTERS[0][1], {3, *range(100, 110)}, 5)
    assert main([*ask, "n < 0"]) == 0
    assert "nothing found: the index holds no other picture that the filter lets through" in capsys.readouterr().out
    assert main([*ask, "n <"]) == 1
    assert "The filter 'n <' stops where a value" in capsys.readouterr().err


def test_all_above_a_score_are_found(tmp_path: Path) -> None:
    """As many as there are, or the best k of them; the query itself left out."""
    vectors = np.random.default_rng(5).standard_normal((60, 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    with Index.create(tmp_path / "index", 8, root=str(tmp_path), encoder_hash="", details={}) as index:
        index.add(vectors, [NewItem(f"{n}.png", label=str(n % 2)) for n in range(60)])
    for mapped in (False, True):
        with Search.open(tmp_path / "index", mapped=mapped) as search:
            scores = vectors @ vectors[7]
            expected = [n for n in np.argsort(-scores) if scores[n] >= 0.2 and n != 7]
            assert len(expected) > 3
            (answer,) = search.query_ids([7], None, above=0.2)
            assert [hit.id for hit in answer.hits] == expected
            assert [hit.id for hit in search.query_ids([7], 3, above=0.2)[0].hits] == expected[:3]
            odd = [hit.id for hit in search.query_ids([7], None, above=0.2, where="label = 1")[0].hits]
            assert odd == [n for n in expected if n % 2]
            assert search.query_ids([7], None, above=1.5)[0].hits == ()
            with pytest.raises(RetrievalError, match="Neither k nor the least score"):
                search.query_ids([7], None)
