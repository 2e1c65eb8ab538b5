"""Re-rankers against the papers written out slowly, and what queries make of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from slow_rerank import expansion, k_reciprocal

from retrieval.cli import main
from retrieval.errors import RetrievalError
from retrieval.evaluation.reranking import evaluate_reranked, measured
from retrieval.index import Index, NewItem
from retrieval.index.nearest import kinds
from retrieval.measures import compare
from retrieval.search import rerank
from retrieval.search.rerank.k_reciprocal import KReciprocal
from retrieval.search.rerank.query_expansion import expanded
from retrieval.search.rerank.reranker import FirstRanking
from retrieval.search.search import Search


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def clustered(n: int, d: int = 6, seed: int = 0):
    """Unit rows around a few centres, so that neighbours are each other's."""
    draw = np.random.default_rng(seed)
    return unit(draw.normal(size=(5, d))[draw.integers(0, 5, n)] + 0.4 * draw.normal(size=(n, d)))


def made(folder: Path, vectors, storage: str = "float32", dim: int | None = None) -> Index:
    index = Index.create(
        folder, dim or vectors.shape[1], root=str(folder.parent), encoder_hash="x", details={}, storage=storage
    )
    index.add(vectors, [NewItem(f"{n:04d}.png", label=f"l{n % 3}") for n in range(len(vectors))])
    return index


def asked(index: Index, vector, top: int, **more) -> FirstRanking:
    scores, ids = index.search(vector[None], top, exclude=[more["excluded"]] if more.get("excluded") else None)
    return FirstRanking(vector, ids[0][ids[0] >= 0], scores[0][ids[0] >= 0], **more)


@pytest.mark.parametrize(
    ("n", "k1", "k2", "top", "seed"),
    [(60, 20, 6, 60, 0), (60, 7, 3, 25, 1), (80, 5, 1, 10, 2), (60, 1, 1, 60, 3), (9, 20, 6, 100, 4), (1, 4, 2, 5, 5)],
)
def test_k_reciprocal_is_the_paper(tmp_path, n, k1, k2, top, seed):
    vectors = clustered(n + 3, seed=seed)
    with made(tmp_path / "index", vectors[:n]) as index:
        ids = index.ids()
        method = KReciprocal(top, k1=k1, k2=k2, weight=0.3)
        for query in vectors[n:]:
            truth = k_reciprocal(query.astype(float), vectors[:n].astype(float), k1, k2, 0.3)
            found = method(index, asked(index, query, top))
            assert len(found.ids) == min(top, n)
            places = np.searchsorted(ids, found.ids)
            np.testing.assert_allclose(1 - found.reranked, truth[places], rtol=0, atol=1e-6)
            assert (np.diff(found.reranked) <= 0).all()
            np.testing.assert_allclose(found.scores, vectors[places] @ query, atol=1e-6)


def test_k_reciprocal_of_ties_is_the_paper(tmp_path):
    """Corners of a cube: scores are multiples of 1/4 in any arithmetic, and many items are copies."""
    draw = np.random.default_rng(0)
    vectors = (draw.integers(0, 2, (50, 16)) * 2 - 1).astype(np.float32)
    vectors[:, 3:] = 1
    vectors = vectors / 4
    with made(tmp_path / "index", vectors[:47]) as index:
        for query in vectors[47:]:
            truth = k_reciprocal(query.astype(float), vectors[:47].astype(float), 8, 3, 0.3)
            found = KReciprocal(100, k1=8, k2=3)(index, asked(index, query, 47))
            places = np.searchsorted(index.ids(), found.ids)
            np.testing.assert_allclose(1 - found.reranked, truth[places], rtol=0, atol=1e-6)
            tied = np.diff(found.reranked) == 0
            assert tied.any()
            # equal ones in the order of the first ranking: by score, then by id
            assert (np.diff(found.scores)[tied] <= 0).all()


@pytest.mark.parametrize("copies", [0, 4])
def test_k_reciprocal_leaves_the_query_out_of_the_gallery(tmp_path, copies):
    vectors = clustered(50, seed=6)
    vectors[1 : 1 + copies] = vectors[0]
    with made(tmp_path / "index", vectors) as index:
        ids = index.ids()
        own = tuple(ids[: 1 + copies].tolist())
        gallery = vectors[1 + copies :].astype(float)
        method = KReciprocal(30, k1=6, k2=3)
        method(index, asked(index, vectors[9], 30))  # what is kept from another query is no matter
        found = method(index, asked(index, vectors[0], 30, excluded=own))
        truth = k_reciprocal(vectors[0].astype(float), gallery, 6, 3, 0.3)
        places = np.searchsorted(ids, found.ids) - 1 - copies
        assert places.min() >= 0
        np.testing.assert_allclose(1 - found.reranked, truth[places], rtol=0, atol=1e-6)


def test_k_reciprocal_keeps_to_the_filter(tmp_path):
    vectors = clustered(61, seed=7)
    with made(tmp_path / "index", vectors[:60]) as index:
        where = 'label = "l1"'
        scores, found = (row[0] for row in index.search(vectors[60:], 10, where=where))
        first = FirstRanking(vectors[60], found, scores, where=where)
        result = KReciprocal(10, k1=5, k2=2)(index, first)
        truth = k_reciprocal(vectors[60].astype(float), vectors[1:60:3].astype(float), 5, 2, 0.3)
        places = np.searchsorted(index.select(where), result.ids)
        np.testing.assert_allclose(1 - result.reranked, truth[places], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("name", "alpha", "n"), [("aqe", None, 10), ("alpha-qe", 3.0, 50)])
def test_query_expansion_is_the_paper(tmp_path, name, alpha, n):
    vectors = clustered(90, seed=8)
    query = vectors[80]
    truth = expansion(query.astype(float), vectors[:80].astype(float), n, alpha)
    with made(tmp_path / "index", vectors[:80]) as index:
        ids = index.ids()
        # hits that the first ranking did not have come in, and their scores are those with the query itself
        found = rerank.load(name)(index, asked(index, query, 12 if n < 12 else n, wanted=40))
        order = np.argsort(-truth, kind="stable")[:40]
        assert (np.searchsorted(ids, found.ids) == order).all()
        np.testing.assert_allclose(found.reranked, truth[order], atol=1e-6)
        np.testing.assert_allclose(found.scores, (vectors[:80] @ query)[order], atol=1e-6)
        # where nothing may come in, the same scores order what is there
        first = asked(index, query, 60)
        found = rerank.load(name, top=55)(index, first)
        assert set(found.ids[:55]) == set(first.ids[:55])
        assert (found.ids[55:] == first.ids[55:]).all()
        assert np.isnan(found.reranked[55:]).all()
        np.testing.assert_allclose(found.reranked[:55], truth[np.searchsorted(ids, found.ids[:55])], atol=1e-6)


def test_what_is_unlike_the_query_is_no_part_of_it():
    query, opposite = np.eye(2)[0], -np.eye(2)
    assert (expanded(query, opposite, opposite @ query, 0.0) == query).all()
    assert (expanded(query, opposite, opposite @ query, 3.0) == query).all()


@pytest.mark.parametrize("name", rerank.METHODS)
def test_nothing_found_is_nothing_reordered(tmp_path, name):
    with made(tmp_path / "index", clustered(5)) as index:
        nothing = FirstRanking(clustered(1)[0], np.empty(0, np.int64), np.empty(0, np.float32), wanted=5)
        assert len(rerank.load(name)(index, nothing).ids) == 0


@pytest.mark.parametrize("name", rerank.METHODS)
def test_codes_are_reranked(tmp_path, name):
    draw = np.random.default_rng(9)
    vectors = clustered(60, d=32, seed=9)
    with made(tmp_path / "index", vectors, storage="binary") as index:
        query = vectors[draw.integers(60)]
        first = asked(index, query, 30, wanted=30)
        found = rerank.load(name, top=30)(index, first)
        assert (np.diff(found.reranked) <= 0).all()
        codes = np.where(vectors > 0, 1, -1) @ np.where(query > 0, 1, -1) / 32
        np.testing.assert_allclose(found.scores, codes[np.searchsorted(index.ids(), found.ids)], atol=1e-6)


def test_no_such_reranker():
    with pytest.raises(RetrievalError, match="no re-ranker 'best'"):
        rerank.load("best")
    with pytest.raises(RetrievalError, match="at least"):
        rerank.load("aqe", top=0)


@dataclass(frozen=True)
class Backwards:
    """Turns the first hits round."""

    name: str = "backwards"
    top: int = 4

    def __call__(self, index: Index, first: FirstRanking) -> rerank.Reranked:
        looked_at = min(self.top, len(first.ids))
        return rerank.reordered(first, looked_at, np.arange(looked_at, dtype=np.float64))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("rerank") / "index"
    made(where, clustered(40, seed=10)).close()
    return where


@pytest.mark.parametrize("above", [None, -1.0])
@pytest.mark.parametrize("k", [2, 7])
def test_answers_are_in_the_new_order(folder, k, above):
    with Search.open(folder) as search:
        (plain,) = search.query_ids([3], 7, above=above)
    with Search.open(folder, reranker=Backwards()) as search:
        (answer,) = search.query_ids([3], k, above=above)
    order = [3, 2, 1, 0, 4, 5, 6][:k]
    assert [hit.id for hit in answer.hits] == [plain.hits[place].id for place in order]
    assert [hit.score for hit in answer.hits] == [plain.hits[place].score for place in order]
    assert [hit.rank for hit in answer.hits] == list(range(1, k + 1))
    assert [hit.reranked for hit in answer.hits] == [3, 2, 1, 0, None, None, None][:k]


def test_hits_without_a_score_stand_behind_those_with_one():
    first = FirstRanking(np.ones(1, np.float32), np.arange(6), np.arange(6, 0, -1).astype(np.float32))
    found = rerank.reordered(first, 4, np.array([0.5, np.nan, 0.9, 0.5]))
    assert found.ids.tolist() == [2, 0, 3, 1, 4, 5]
    assert found.scores.tolist() == [4, 6, 3, 5, 2, 1]
    np.testing.assert_array_equal(found.reranked, [0.9, 0.5, 0.5, np.nan, np.nan, np.nan])


@pytest.mark.parametrize("name", rerank.METHODS)
def test_the_command_line_reranks(folder, capsys, name):
    def query(*more: str) -> str:
        assert main(["query", str(folder), "--id", "3", "-k", "5", *more]) == 0
        return capsys.readouterr().out

    with Search.open(folder, reranker=rerank.load(name, 20)) as search:
        (answer,) = search.query_ids([3], 5)
    printed = json.loads(query("--rerank", name, "--rerank-top", "20", "--json"))
    assert (printed["rerank"], printed["rerank_top"]) == (name, 20)
    assert [hit["reranked"] for hit in printed["answers"][0]["hits"]] == [hit.reranked for hit in answer.hits]
    rows = query("--rerank", name, "--rerank-top", "20", "--csv").splitlines()
    assert rows[0].endswith("probability,copy,reranked")
    assert rows[1].endswith(f",{answer.hits[0].reranked:.6f}")
    table = query("--rerank", name, "--rerank-top", "20")
    assert f"{answer.hits[0].reranked:.3f}" in table.splitlines()[2]
    assert f"ordered by {name}" in table
    assert "reranked" not in query("--json") + query("--csv") + query()


def test_wrong_arguments_of_the_command_line(folder, capsys):
    for wrong in (["--rerank", "best"], ["--rerank-top", "5"], ["--rerank", "aqe", "--rerank-top", "0"]):
        assert main(["query", str(folder), "--id", "3", *wrong]) != 0
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


# What it gains


def test_the_gain_is_that_of_slow_rankings(folder):
    vectors = clustered(40, seed=10).astype(float)
    labels = np.arange(40) % 3
    with Index.open(folder) as index:
        gain = evaluate_reranked(index, Backwards(top=6), subject="it")
    found = {"P@1": [[], []], "P@10": [[], []], "mAP@10": [[], []], "mAP@100": [[], []]}
    for row in range(40):
        order = sorted(
            (other for other in range(40) if other != row), key=lambda other: -(vectors[other] @ vectors[row])
        )
        for side, ranked in enumerate((order, order[5::-1] + order[6:])):
            right = [labels[other] == labels[row] for other in ranked]
            for name, values in found.items():
                k = int(name.split("@")[1])
                if name[0] == "P":
                    values[side].append(sum(right[:k]) / k)
                else:
                    sums = sum(sum(right[: i + 1]) / (i + 1) for i in range(min(k, 39)) if right[i])
                    values[side].append(sums / min(sum(right), k))
    assert gain.differences.queries == 40
    for name, (before, after) in found.items():
        one = gain.differences[name]
        assert one.first.value == pytest.approx(np.mean(before), abs=1e-12)
        assert one.second.value == pytest.approx(np.mean(after), abs=1e-12)
        same = compare(after, before, names=("B", "A"))
        assert (one.difference.low, one.difference.high) == pytest.approx((same.difference.low, same.difference.high))


def test_ties_that_the_reranker_leaves_are_no_luck():
    """Relevant pictures first or last in the index: the same expectation."""
    scores = np.ones(6, np.float32)
    for labels in ([0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]):
        found = rerank.Reranked(np.arange(6), scores, np.ones(6))
        values = measured(found, np.array(labels), 0, 2)
        assert values[0] == pytest.approx(2 / 6)
    # a score of the re-ranker breaks them, and then the first ranking's does
    found = rerank.Reranked(np.arange(6), scores, np.array([0, 0, 0, 0, 1.0, 1.0]))
    assert measured(found, np.array([1, 1, 1, 1, 0, 0]), 0, 2)[0] == 1
    found = rerank.Reranked(np.arange(6), np.arange(6).astype(np.float32), np.ones(6))
    assert measured(found, np.array([1, 1, 1, 1, 0, 0]), 0, 2)[0] == 1


def test_the_command_line_measures_the_gain(folder, tmp_path, capsys):
    command = ["evaluate", str(folder), "--rerank", "alpha-qe", "--limit", "10"]
    assert main([*command, "--json", "--save", str(tmp_path / "gain.json")]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "gain.json").read_text())
    assert printed["method"] == "alpha-qe"
    assert printed["differences"]["queries"] == 10
    assert set(printed["differences"]["measures"]) == {"P@1", "P@10", "mAP@10", "mAP@100"}
    assert main(command) == 0
    assert "Time a query" in capsys.readouterr().out
    for wrong in (["--clustering"], ["--duplicates", "drop"], ["--no-probe"], ["--within", "test"]):
        assert main([*command, *wrong]) == 1
        assert "says nothing beside --rerank" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path), "--rerank", "aqe"]) == 1
    assert "is no index" in capsys.readouterr().err
    assert main(["evaluate", str(folder), "--rerank-top", "5"]) == 1


@pytest.mark.parametrize("name", rerank.METHODS)
def test_an_approximate_index_is_asked_by_its_own_search(tmp_path, name):
    """With an effort at which the structure finds everything, answers are those of the exact index, removed items
    and later ones included."""
    vectors = clustered(1500, d=16, seed=11)
    found = []
    for approximate in (False, True):
        with made(tmp_path / f"{approximate}", vectors[:1400]) as index:
            if approximate:
                index.set_structure(kinds.build("HNSW16,Flat", index.all_vectors()[1]), {"efSearch": 600})
            index.remove([5, 6, 7])
            index.add(vectors[1400:1480], [NewItem(f"late{n}.png", label="l0") for n in range(80)])
            assert (index.structure is not None) == approximate
            method = rerank.load(name, top=30)
            found.append([method(index, asked(index, vector, 60, wanted=40)) for vector in vectors[1490:]])
    for exact, close in zip(*found, strict=True):
        assert exact.ids.tolist() == close.ids.tolist()
        np.testing.assert_allclose(exact.reranked, close.reranked, atol=1e-6)
