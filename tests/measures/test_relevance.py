"""Rankings where relevance is more than one label: several labels, grades, and what a query is to ignore."""

from __future__ import annotations

import numpy as np
import pytest
from slow_measures import clusters, orders, slow_measures

from retrieval.errors import RetrievalError
from retrieval.measures import Ranking, rank
from retrieval.measures.ranking_task import named


def small(rng: np.random.Generator, n: int) -> np.ndarray:
    """Integer vectors: their scores are exact, and many tie."""
    return rng.integers(-1, 2, (n, 3)).astype(np.float32)


def by_hand(queries, gallery, grades, hidden, k) -> dict[int, list[float]]:
    """Each query's measures from a full matrix of grades (nq, n) and of what is hidden, ties by enumeration."""
    out = {}
    for q, query in enumerate(queries):
        seen = np.flatnonzero(~hidden[q])
        scores = [int(query @ gallery[i]) for i in seen]
        its = [float(grades[q, i]) for i in seen]
        if max(its, default=0) > 0:
            out[q] = np.mean([slow_measures([its[i] for i in order], k) for order in orders(scores)], axis=0).tolist()
    return out


def check(result, expected: dict[int, list[float]], k: int) -> None:
    assert result.queries.tolist() == sorted(expected)
    ours = np.stack([result.values[name] for name in named([k])], axis=1)
    np.testing.assert_allclose(ours, [expected[q] for q in sorted(expected)], atol=1e-12)


@pytest.mark.parametrize("graded", [False, True])
@pytest.mark.parametrize("same", [False, True])
def test_several_labels_against_loops(same, graded):
    rng = np.random.default_rng(0)
    compared = 0
    for _ in range(12):
        gallery, shown = small(rng, 6), rng.random((6, 4)) < 0.35
        queries, asked = (gallery, shown) if same else (small(rng, 5), rng.random((5, 4)) < 0.35)
        shared = asked.astype(int) @ shown.T.astype(int)
        hidden = np.tile(~shown.any(axis=1), (len(queries), 1)) | (np.eye(len(queries), 6, dtype=bool) & same)
        expected = by_hand(queries, gallery, shared if graded else shared > 0, hidden, k=2)
        shelf = () if same else (gallery, shown)
        if not expected:
            with pytest.raises(RetrievalError, match="relevant item"):
                rank(queries, asked, *shelf)
            continue
        result = rank(queries, asked, *shelf, graded=graded, ks=(2,))
        check(result, expected, k=2)
        assert result.unlabelled_queries == (~asked.any(axis=1)).sum()
        assert result.without_relevant == asked.any(axis=1).sum() - len(expected)
        assert not any(name.startswith("kNN") for name in result.values)
        compared += len(expected)
    assert compared > 25


def test_one_label_each_as_booleans_is_the_same():
    vectors, labels = clusters(150, 5, seed=0)
    one, several = rank(vectors, labels), rank(vectors, np.eye(5, dtype=bool)[labels])
    for name, values in several.values.items():
        np.testing.assert_allclose(values, one.values[name], atol=1e-12, err_msg=name)
        assert several.chance[name] == pytest.approx(one.chance[name])


def test_what_a_query_ignores_is_neither_right_nor_wrong():
    rng = np.random.default_rng(3)
    compared = 0
    for _ in range(10):
        queries, gallery = small(rng, 5), small(rng, 7)
        labels, shelf_labels = rng.integers(0, 3, 5), rng.integers(0, 3, 7)
        relevant = labels[:, None] == shelf_labels
        hidden = rng.random((5, 7)) < 0.3
        ignore = [np.concatenate([np.flatnonzero(row)] * 2) for row in hidden]  # twice is as good as once
        expected = by_hand(queries, gallery, relevant, hidden, k=2)
        result = rank(queries, labels, gallery, shelf_labels, ignore=ignore, ks=(2,))
        check(result, expected, k=2)
        assert result.relevant.tolist() == (relevant & ~hidden).sum(axis=1)[result.queries].tolist()
        compared += len(expected)
    assert compared > 25


def test_ignoring_the_own_position_is_leaving_it_out():
    vectors, labels = clusters(60, 4, seed=1)
    plain = rank(vectors, labels)
    again = rank(vectors, labels, vectors, labels, ignore=[[i] for i in range(60)])
    for name, values in plain.values.items():
        np.testing.assert_array_equal(values, again.values[name], err_msg=name)


def test_a_near_duplicate_left_out_gives_the_place_to_the_next():
    vectors = np.array([[1, 0], [1, 0], [0.9, 0.1], [0, 1]], np.float32)
    labels = np.array([0, 1, 0, 1])
    plain = rank(vectors, labels, ks=(1,)).values["P@1"]
    without = rank(vectors, labels, ignore=[[1], [0], [], []], ks=(1,)).values["P@1"]
    assert (plain[0], without[0]) == (0, 1)


@pytest.mark.parametrize("graded", [False, True])
def test_chance_is_what_a_collapsed_embedding_scores(graded):
    rng = np.random.default_rng(4)
    asked, shown = rng.random((6, 3)) < 0.6, rng.random((40, 3)) < 0.4
    same = np.ones((40, 4), np.float32)
    result = rank(same[:6], asked, same, shown, graded=graded)
    for name, values in result.values.items():
        assert values.mean() == pytest.approx(result.chance[name], abs=1e-12), name


def test_curves_are_each_querys_own():
    vectors, labels = clusters(80, 4, seed=2)
    levels = [0, 0.25, 0.5, 1]
    result = rank(vectors, labels, levels=levels)
    assert result.curves.shape == (80, 4) and rank(vectors, labels).curves.shape == (80, 0)
    scores = np.delete(vectors @ vectors[7], 7)
    ranking = Ranking.of(scores, np.delete(labels, 7) == labels[7])
    np.testing.assert_allclose(result.curves[7], ranking.interpolated_precision(levels))


@pytest.mark.parametrize(
    ("labels", "gallery_labels", "words"),
    [
        (np.ones((3, 2), int), np.ones((4, 2), bool), "booleans"),
        (np.ones((3, 2), bool), np.ones((4, 3), bool), "2 classes and the gallery 3"),
        (np.ones((3, 2), bool), np.zeros(4, int), "booleans"),
        (np.zeros((3, 2), bool), np.ones((4, 2), bool), "relevant item"),
    ],
)
def test_sets_of_labels_that_do_not_fit_are_refused(labels, gallery_labels, words):
    with pytest.raises(RetrievalError, match=words):
        rank(np.ones((3, 2), np.float32), labels, np.ones((4, 2), np.float32), gallery_labels)


def test_lists_of_what_is_relevant_against_loops():
    rng = np.random.default_rng(8)
    compared = 0
    for many in (6, 6, 6, 6, 40):
        queries, gallery = small(rng, 4), small(rng, many)
        right = rng.random((4, many)) < 0.4
        hidden = rng.random((4, many)) < 0.3
        right[0] = False
        lists = {"relevant": [np.flatnonzero(row) for row in right], "ignore": [np.flatnonzero(row) for row in hidden]}
        result = rank(queries, None, gallery, **lists, ks=(2,), neighbours=None)
        counted = np.flatnonzero((right & ~hidden).any(axis=1))
        assert result.queries.tolist() == counted.tolist() and result.without_relevant == 4 - len(counted)
        assert result.relevant.tolist() == (right & ~hidden).sum(axis=1)[counted].tolist()
        if many == 6:
            check(result, by_hand(queries, gallery, right, hidden, k=2), k=2)
            compared += len(counted)
    assert compared > 8
    with pytest.raises(RetrievalError, match="stand for labels"):
        rank(queries, np.zeros(4, int), gallery, np.zeros(40, int), relevant=lists["relevant"])
    with pytest.raises(RetrievalError, match="4 queries come with 1 lists to find"):
        rank(queries, None, gallery, relevant=[[0]])
    with pytest.raises(RetrievalError, match="query 0 is to find"):
        rank(queries, None, gallery, relevant=[[40], [], [], []])
