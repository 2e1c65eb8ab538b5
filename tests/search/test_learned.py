"""Rankings learned from marks (retrieval/search/learned.py), against scikit-learn and brute force."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from sklearn.linear_model import LogisticRegression
from vectors import clustered, unit

from retrieval.cli import main
from retrieval.index import Index, NewItem
from retrieval.index.nearest import kinds
from retrieval.index.vectors import as_numbers
from retrieval.ingest import build
from retrieval.search import learned
from retrieval.search.calibration.reading import Reading
from retrieval.search.learned import CONSTANT, OTHERS, OTHERS_WEIGHT, FromMarks, direction
from retrieval.search.marks import Asked, Mark, append_marks
from retrieval.search.search import Search

N, D = 400, 24
STRUCTURES = ("HNSW16,Flat", "IVF16,Flat", "IVF16,PQ8x4fs", "IVF16,RaBitQ", "SQ8", "BFlat", "BHNSW16", "SymphonyQG32")


def sha(number: int) -> str:
    return f"{number:064x}"


def made(folder: Path, vectors: np.ndarray, storage: str = "float32", factory: str | None = None) -> Path:
    """An index of three labels, with copies of some vectors."""
    dim = vectors.shape[1]
    with Index.create(folder / "index", dim, root=str(folder), encoder_hash="x", details={}, storage=storage) as index:
        index.add(vectors, [NewItem(f"{n:03}.png", f"l{n % 3}", sha256=sha(n)) for n in range(len(vectors))])
        if factory is not None:
            if factory.startswith("SymphonyQG"):
                pytest.importorskip("rabitqlib")
            _, held = index.all_vectors()
            index.set_structure(kinds.build(factory, held), kinds.efforts(factory, len(held))[-1])
    return folder / "index"


def with_copies() -> np.ndarray:
    vectors = clustered(N, D)
    vectors[100:105] = vectors[95]
    vectors[305] = vectors[300]
    return vectors


def marks(query: str, right: list[int], wrong: list[int]) -> list[Mark]:
    said = [*((item, True) for item in right), *((item, False) for item in wrong)]
    return [Mark(Asked.of(query), f"{item:03}.png", good, sha(item)) for item, good in said]


def slow(index: Index, query: int, right: list[int], wrong: list[int], allowed: np.ndarray) -> tuple[list[int], dict]:
    """Ids by what was learned, and the score of each, from every vector in float64."""
    ids, held = index.all_vectors()
    vectors = as_numbers(held, dtype=np.float64)
    drawn = np.sort(ids[np.random.default_rng(0).choice(len(ids), min(OTHERS, len(ids)), replace=False)])
    others = vectors[[id_ for id_ in drawn if id_ not in (query, *right, *wrong)]]
    towards = direction(vectors[query], vectors[right], vectors[wrong], others)
    scores = {int(id_): float(vectors[id_] @ towards) for id_ in ids}
    found = [int(id_) for id_ in ids if id_ != query and id_ in allowed]
    return sorted(found, key=lambda id_: (id_ in wrong, -round(scores[id_], 6), id_)), scores


@pytest.mark.parametrize(
    ("right", "wrong", "others", "d"), [(3, 4, 20, 8), (3, 4, 20, 60), (0, 5, 9, 16), (6, 0, 2, 16)]
)
@pytest.mark.parametrize("ridge", [0.01, 1.0])
def test_the_direction_is_that_of_a_logistic_regression(right, wrong, others, d, ridge):
    rows = unit(1 + right + wrong + others, d).astype(np.float64)
    parts = np.split(rows, np.cumsum([1, right, wrong]))
    y = np.repeat([1, 0], [1 + right, wrong + others])
    weights = np.repeat([1.0, OTHERS_WEIGHT / others], [len(rows) - others, others])
    reference = LogisticRegression(C=1 / ridge, fit_intercept=False, solver="newton-cholesky", tol=1e-12, max_iter=1000)
    reference.fit(np.column_stack([rows, np.full(len(rows), CONSTANT)]), y, weights)
    truth = reference.coef_[0, :-1]
    found = direction(parts[0][0], *parts[1:], ridge=ridge)
    np.testing.assert_allclose(found, truth / np.linalg.norm(truth), atol=1e-6)


def test_a_direction_always_is_one():
    nothing = np.empty((0, 3))
    query = np.eye(3)[0]
    np.testing.assert_allclose(direction(query, nothing, nothing, nothing), query, atol=1e-9)
    # the query itself is called wrong, and nothing else is known
    np.testing.assert_allclose(np.linalg.norm(direction(query, nothing, query[None], nothing)), 1)
    right = np.eye(3)[[0, 1]]
    assert (direction(query, right, nothing, nothing)[:2] > 0).all()
    wrong = direction(query, nothing, np.eye(3)[[1]], nothing)
    assert wrong[1] < 0 < wrong[0]


@pytest.mark.parametrize("where", [None, 'label = "l1"'])
@pytest.mark.parametrize("storage", ["float32", "float16", "binary"])
def test_the_ranking_is_that_of_brute_force(tmp_path, storage, where):
    folder = made(tmp_path, with_copies(), storage)
    right, wrong = [4, 100, 7], [9, 95, 300, 301]
    with Search.open(folder, reranker=FromMarks(marks("id:5", right, wrong))) as search:
        index = search.index
        allowed = index.ids() if where is None else index.select(where)
        truth, scores = slow(index, 5, right, wrong, allowed)
        for k in (1, 10, N + 5):
            (answer,) = search.query_ids([5], k, where=where)
            assert [hit.id for hit in answer] == truth[:k]
            np.testing.assert_allclose([hit.reranked for hit in answer], [scores[id_] for id_ in truth[:k]], atol=1e-5)
        _, held = index.all_vectors()
        plain = as_numbers(held, dtype=np.float64) @ as_numbers(index.vectors([5])[0], dtype=np.float64)
        np.testing.assert_allclose([hit.score for hit in answer], plain[truth], atol=1e-5)
        assert {hit.id: hit.marked for hit in answer if hit.marked is not None} == {
            id_: id_ in right for id_ in (*right, *wrong) if id_ in allowed
        }
        assert (
            answer.marks is not None and set(answer.marks.right) == set(right) and set(answer.marks.wrong) == set(wrong)
        )
        # the least score decides which, the marks in which order
        (above,) = search.query_ids([5], None, where=where, above=0.1)
        within = [id_ for id_ in truth if np.float32(plain[id_]) >= np.float32(0.1)]
        assert sorted(hit.id for hit in above) == sorted(within)
        (few,) = search.query_ids([5], 3, where=where, above=0.1)
        assert few.hits == above.hits[:3]
        free = [hit.reranked for hit in above if hit.id not in wrong]
        assert free == sorted(free, reverse=True)
        assert [hit.id in wrong for hit in above] == sorted(hit.id in wrong for hit in above)


@pytest.mark.parametrize("factory", STRUCTURES)
def test_every_structure_keeps_what_is_promised(tmp_path, factory):
    folder = made(tmp_path, with_copies(), factory=factory)
    right, wrong = [4, 100, 7], [9, 95, 300, 301]
    where = 'label != "l0"'
    with Search.open(folder, reranker=FromMarks(marks("id:5", right, wrong))) as search:
        truth, scores = slow(search.index, 5, right, wrong, search.index.select(where))
        (answer,) = search.query_ids([5], 20, where=where)
        assert not search.index.warnings
        found = [hit.id for hit in answer]
        assert len(set(found)) == 20 and len(set(found) & set(truth[:20])) >= 18
        assert found == [id_ for id_ in truth if id_ in found]
        np.testing.assert_allclose([hit.reranked for hit in answer], [scores[id_] for id_ in found], atol=1e-5)
        (everything,) = search.query_ids([5], N, where=where)
        assert [hit.id for hit in everything] == truth


def test_many_codes_are_taken_from_those_near_the_direction(tmp_path, monkeypatch):
    folder = made(tmp_path, with_copies(), "binary")
    monkeypatch.setattr(learned, "CANDIDATES", 30)
    with Search.open(folder, reranker=FromMarks(marks("id:5", [4, 7], [9]))) as search:
        truth, _ = slow(search.index, 5, [4, 7], [9], search.index.ids())
        (answer,) = search.query_ids([5], 10)
        found = [hit.id for hit in answer]
        assert found == [id_ for id_ in truth if id_ in found] and len(set(found)) == 10


def test_marks_belong_to_their_query_alone(tmp_path):
    folder = made(tmp_path, with_copies())
    np.save(tmp_path / "v.npy", clustered(3, D, 5))
    given = [
        *marks("id:5", [4], [9]),
        *marks("path:006.png", [8], []),
        *marks(f"vector:{tmp_path}/v.npy[1]", [], [3]),
        *marks(f"{tmp_path}/elsewhere.png", [1], [2]),
        *[dataclasses.replace(one, query_sha256=sha(7)) for one in marks("somewhere.png", [10], [11, 12])],
    ]
    ranker = FromMarks(given)
    with Search.open(folder) as search:
        (plain,) = search.query_ids([8], 10)
    with Search.open(folder, reranker=ranker) as search:
        five, six, seven, eight = search.query_ids([5, 6, 7, 8], 10)
        zero, one, two = search.query_file(tmp_path / "v.npy", 10)
        parts = search.query_parts(["id:5", "id:6"], [], 10)
        alone = search.query_parts("path:005.png", [], 10)
        unnamed = search.query_vectors(clustered(3, D, 5), 10)
    assert [hit.id for hit in eight] == [hit.id for hit in plain] and eight.marks is None
    assert all(hit.reranked is None and hit.marked is None for hit in eight)
    heeded = [
        None if one.marks is None else (one.marks.right, one.marks.wrong) for one in (five, six, seven, zero, one, two)
    ]
    assert heeded == [((4,), (9,)), ((8,), ()), ((10,), (11, 12)), None, ((), (3,)), None]
    assert [hit.id for hit in alone] == [hit.id for hit in five] and parts.marks is None
    assert all(answer.marks is None for answer in unnamed)
    assert ranker.others([five, six, eight]) == len(given) - 3 and ranker.others([]) == len(given)


def test_a_question_of_many_parts_has_marks_of_its_own(tmp_path):
    folder = made(tmp_path, with_copies())
    query = Asked.of({"like": ["path:006.png", "id:5@2"], "unlike": ["id:7"]})
    with Search.open(folder, reranker=FromMarks([Mark(query, "010.png", True)])) as search:
        assert search.query_parts(["id:5@2", "path:006.png"], ["path:007.png"], 3).marks is not None
        assert search.query_parts(["id:5", "id:6"], ["id:7"], 3).marks is None
        assert search.query_parts(["id:5@2", "id:6"], [], 3).marks is None


def test_what_is_gone_or_changed_is_left_out_and_said(tmp_path):
    folder = made(tmp_path, with_copies())
    given = [
        *marks("id:5", [4], [9]),
        Mark(Asked.of("id:5"), "gone.png", True),
        Mark(Asked.of("id:5"), "010.png", True, sha(11)),
        Mark(Asked.of("path:005.png"), "004.png", False),  # said last, in another spelling
    ]
    with Search.open(folder, reranker=FromMarks(given)) as search:
        (answer,) = search.query_ids([5], 5)
    assert answer.marks is not None
    assert answer.marks.right == () and set(answer.marks.wrong) == {4, 9}
    assert [(one.path, one.reason) for one in answer.marks.left_out] == [
        ("gone.png", "not in the index any more"),
        ("010.png", "another picture since it was marked"),
    ]
    with Search.open(folder, reranker=FromMarks(given[2:4])) as search:
        (answer,) = search.query_ids([5], 5)
    with Search.open(folder) as search:
        (plain,) = search.query_ids([5], 5)
    assert [hit.id for hit in answer] == [hit.id for hit in plain] and len(answer.marks.left_out) == 2


def test_more_marks_than_are_learned_from(tmp_path, monkeypatch):
    folder = made(tmp_path, with_copies())
    monkeypatch.setattr(learned, "NEWEST", 2)
    with Search.open(folder, reranker=FromMarks(marks("id:5", [4, 7], [9]))) as search:
        (answer,) = search.query_ids([5], 5)
    assert answer.marks is not None and (answer.marks.right, answer.marks.wrong) == ((7,), (9,))
    assert [one.path for one in answer.marks.left_out] == ["004.png"]


def test_the_same_marks_give_the_same_ranking_and_follow_the_index(tmp_path):
    folder = made(tmp_path, with_copies())
    ranker = FromMarks(marks("id:5", [4, 7], [9]))
    with Search.open(folder, reranker=ranker) as search:
        (first,) = search.query_ids([5], 50)
        first_again = search.query_ids([8, 5, 6], 50)[1]
    assert [hit.reranked for hit in first] == [hit.reranked for hit in first_again]
    with Index.open(folder, write=True) as index:
        index.remove([4])
    with Search.open(folder, reranker=ranker) as search:
        (after,) = search.query_ids([5], 50)
    assert after.marks is not None and after.marks.right == (7,) and 4 not in [hit.id for hit in after]


def test_an_index_of_few_items(tmp_path):
    folder = made(tmp_path, unit(3, 4))
    with Search.open(folder, reranker=FromMarks(marks("id:0", [], [1, 2]))) as search:
        (answer,) = search.query_ids([0], 5)
    assert sorted(hit.id for hit in answer) == [1, 2] and all(hit.marked is False for hit in answer)
    with Search.open(folder, reranker=FromMarks(marks("id:0", [1], []))) as search:
        (answer,) = search.query_ids([0], 5, where='label = "nobody"')
    assert answer.hits == ()


def test_query_marks(tmp_path, capsys):
    folder, file = made(tmp_path, with_copies()), tmp_path / "marks.jsonl"
    given = [*marks("id:5", [4], [9, 0]), *marks("id:77", [1], []), Mark(Asked.of("id:5"), "gone.png", True)]
    append_marks(file, given)
    with Search.open(folder, reranker=FromMarks(given)) as search:
        truth, other = search.query_ids([5, 6], 4)
    command = ["query", str(folder), "--id", "5", "6", "-k", "4", "--marks", str(file)]
    assert main([*command, "--json"]) == 0
    said = capsys.readouterr()
    assert said.err.splitlines() == [
        "The mark of 'gone.png' is left out: not in the index any more",
        "1 mark belongs to other queries",
    ]
    found = json.loads(said.out)
    assert (found["marks"], found["marks_of_other_queries"]) == (5, 1) and "rerank" not in found
    first, second = found["answers"]
    assert first["marks"] == {
        "right": [4],
        "wrong": [9, 0],
        "left_out": [{"path": "gone.png", "reason": "not in the index any more"}],
    }
    assert [(hit["id"], hit["marked"], hit["reranked"]) for hit in first["hits"]] == [
        (hit.id, hit.marked, hit.reranked) for hit in truth
    ]
    assert "marks" not in second and [hit["id"] for hit in second["hits"]] == [hit.id for hit in other]
    assert main([*command, "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["marked"] for row in rows if row["query"] == "id 5"] == [
        "" if hit.marked is None else str(int(hit.marked)) for hit in truth
    ]
    assert main([*command[:-1], str(file), "-k", "400"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "1 marked right, 2 wrong" in lines[0] and "mark " in lines[1]
    assert [line.split()[3] for line in lines if line.endswith(("/004.png", " 004.png"))][:1] == ["right"]
    assert " wrong " in lines[400] and " wrong " in lines[399] and "wrong" not in lines[398]
    assert lines[-1] == "ordered by marks; score is the inner product with the query"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--rerank", "aqe"], "--rerank and --marks both order the hits"),
        ([], "Line 1 of"),
    ],
)
def test_what_is_wrong_with_query_marks_is_one_sentence(tmp_path, capsys, more, says):
    folder, file = made(tmp_path, unit(3, 4)), tmp_path / "marks.jsonl"
    file.write_text("{}\n")
    assert main(["query", str(folder), "--id", "0", "--marks", str(file), *more]) == 1
    out, err = capsys.readouterr()
    assert out == "" and says in err and len(err.strip().splitlines()) == 1


def test_no_probability_is_claimed_where_marks_were_heeded(tmp_path, monkeypatch):
    """What was calibrated is of rankings that nobody has corrected."""
    folder = made(tmp_path, with_copies())

    def readings(_: Search, *given: Any, **more: Any) -> list[dict[str, Reading]]:
        return [{"labels": Reading(np.full(len(ids), 0.5), (None,) * len(ids), 1, False)} for _, ids in given[-1]]

    monkeypatch.setattr(Search, "_readings", readings)
    with Search.open(folder, reranker=FromMarks(marks("id:5", [4], []))) as search:
        monkeypatch.setattr(search, "_readers", {"labels": None})
        five, six = search.query_ids([5, 6], 3)
    assert all(hit.probability is None for hit in five) and five.no_match is None and five.fold is None
    assert all(hit.probability == 0.5 for hit in six) and six.no_match is not None


def test_marks_of_picture_files(tmp_path, tmp_path_factory, monkeypatch):
    """A file of the index, a copy of it elsewhere, a stranger by its place and by its bytes, and parts of pictures."""
    root = tiny.folder(tmp_path / "pictures", ("cat", "dog"), each=3)
    out = build(root, tmp_path / "index", model=tiny.model(tmp_path_factory)).index
    shutil.copy(root / "cat/0.png", tmp_path / "copy.png")
    tiny.picture(99, 40, 30).save(tmp_path / "new.png")
    tiny.picture(98, 40, 30).save(tmp_path / "other.png")
    new = hashlib.sha256((tmp_path / "new.png").read_bytes()).hexdigest()
    monkeypatch.chdir(tmp_path)

    def heeds(query: str, asked: object, sha256: str | None = None, parts: bool = False) -> bool:
        given = [Mark(Asked.of(query), "dog/1.png", True, None, sha256)]
        with Search.open(out, reranker=FromMarks(given)) as search:
            answer = search.query_parts(asked) if parts else search.query(asked)[0]
        return answer.marks is not None and len(answer.marks.right) == 1

    for query in ("path:cat/0.png", "pictures/cat/0.png", str(root / "cat/0.png")):
        assert (
            heeds(query, "pictures/cat/0.png")
            and heeds(query, "copy.png")
            and heeds(query, Path("copy.png"), parts=True)
        )
        assert heeds(query, (tmp_path / "copy.png").read_bytes())
        assert not heeds(query, "new.png") and not heeds(query, "pictures/cat/0.png#0,0,9,9")
    assert heeds("new.png", tmp_path / "new.png") and heeds(str(tmp_path / "new.png"), "new.png")
    assert not heeds("new.png", "other.png") and heeds("new.png", "new.png", new) and heeds("gone.png", "new.png", new)
    assert not heeds("other.png", "other.png", new)  # another picture lay there
    assert heeds("new.png#0,0,9,9", "new.png#0,0,9,9") and not heeds("new.png#0,0,9,9", "new.png")
    assert heeds("new.png#0,0,9,9", "new.png#0,0,9,9@2", parts=True)
