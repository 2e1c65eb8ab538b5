"""Rankings of many queries against loops, other libraries, and the field's known mistakes."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from slow_measures import clusters, orders, slow_measures, slow_vote, unit

from retrieval.base import compiled
from retrieval.errors import RetrievalError
from retrieval.measures import inner_products, rank
from retrieval.measures.arrays import groups
from retrieval.measures.ranking_task import named


def slow_rank(queries, query_labels, gallery, gallery_labels, own, k, neighbours):
    """Everything in float64 loops over integer vectors, whose scores are exact; ties by enumeration."""
    rows, left_out = [], 0
    for q, query in enumerate(queries.astype(np.float64)):
        if query_labels[q] == -1:
            continue
        items = [i for i in range(len(gallery)) if gallery_labels[i] != -1 and i != own[q]]
        scores = [int(query @ gallery[i].astype(np.float64)) for i in items]
        relevant = [int(gallery_labels[i] == query_labels[q]) for i in items]
        if not any(relevant):
            left_out += 1
            continue
        last = sorted(scores, reverse=True)[min(neighbours, len(scores)) - 1]
        sure = [int(gallery_labels[i]) for i, s in zip(items, scores, strict=True) if s > last]
        tied = [int(gallery_labels[i]) for i, s in zip(items, scores, strict=True) if s == last]
        places = min(neighbours, len(scores)) - len(sure)
        expected = np.mean([slow_measures([relevant[i] for i in order], k) for order in orders(scores)], axis=0)
        rows.append([*expected, slow_vote(int(query_labels[q]), sure, tied, places)])
    return rows, left_out


@pytest.mark.parametrize("same", [True, False])
def test_rank_against_loops_with_ties_unlabelled_items_and_empty_classes(same):
    rng = np.random.default_rng(3)
    compared = 0
    for _ in range(8):
        gallery = rng.integers(-1, 2, (7, 3)).astype(np.float32)
        gallery_labels = rng.integers(-1, 3, 7)
        queries, labels, own = gallery, gallery_labels, np.arange(7)
        if not same:
            queries, labels = rng.integers(-1, 2, (5, 3)).astype(np.float32), rng.integers(-1, 5, 5)
            own = np.full(5, -1)
        expected, left_out = slow_rank(queries, labels, gallery, gallery_labels, own, k=2, neighbours=3)
        if not expected:
            with pytest.raises(RetrievalError, match="has a relevant item"):
                rank(queries, labels, gallery, gallery_labels)
            continue
        shelf = () if same else (gallery, gallery_labels)
        result = rank(queries, labels, *shelf, ks=(2,), neighbours=3)
        ours = np.stack(list(result.values.values()), axis=1)
        assert list(result.values) == [*named([2]), "kNN accuracy (k=3)"]
        np.testing.assert_allclose(ours, expected, atol=1e-12)
        assert result.without_relevant == left_out
        assert result.unlabelled_queries == (labels == -1).sum()
        assert result.unlabelled_gallery == (gallery_labels == -1).sum()
        compared += len(expected)
    assert compared >= 15


def test_knn_accuracy_as_scikit_learn():
    from sklearn.neighbors import KNeighborsClassifier

    gallery, gallery_labels = clusters(400, 6, seed=0, noise=3)
    queries, labels = clusters(150, 6, seed=1, noise=3)
    ours = rank(queries, labels, gallery, gallery_labels, neighbours=10).values["kNN accuracy (k=10)"]
    peer = KNeighborsClassifier(10, metric="cosine", algorithm="brute").fit(gallery, gallery_labels)
    votes = np.rint(peer.predict_proba(queries) * 10)
    winners = votes == votes.max(axis=1, keepdims=True)
    expected = winners[np.arange(150), labels] / winners.sum(axis=1)  # it would answer the lowest class number
    np.testing.assert_allclose(ours, expected)
    assert 0 < (winners.sum(axis=1) > 1).sum() < 150


def test_knn_of_one_is_precision_at_1():
    rng = np.random.default_rng(4)
    vectors, labels = rng.integers(-1, 2, (200, 4)).astype(np.float32), rng.integers(0, 4, 200)
    values = rank(vectors, labels, neighbours=1).values
    np.testing.assert_allclose(values["kNN accuracy (k=1)"], values["P@1"], atol=1e-12)
    assert (values["P@1"] % 1 > 0).any()  # ties there were


@pytest.mark.parametrize("same", [True, False])
def test_a_collapsed_embedding_scores_chance(same):
    gallery, labels = np.full((60, 5), 5**-0.5, np.float32), np.arange(60) % 6
    result = rank(gallery, labels) if same else rank(gallery[:12], labels[:12], gallery, labels)
    share = 9 / 59 if same else 1 / 6
    for name, values in result.values.items():
        if name.startswith("kNN"):  # itself left out, its class has one item fewer to vote
            assert values.mean() < 1 / 6 if same else values.mean() == pytest.approx(1 / 6, abs=1e-12)
            assert values.mean() > 0.1
        else:
            assert values.mean() == pytest.approx(result.chance[name], abs=1e-12)
    assert result.values["P@10"].mean() == pytest.approx(share, abs=1e-12)
    assert result.tied.tolist() == [1.0] * len(result.queries)


def test_shuffling_changes_no_figure_in_any_bit():
    gallery, gallery_labels = clusters(1003, 5, seed=0)
    queries, labels = clusters(77, 5, seed=1)
    gallery[500:600] = gallery[:100]  # duplicates with other labels, too
    before = rank(queries, labels, gallery, gallery_labels)
    order, turn = np.random.default_rng(5).permutation(1003), np.random.default_rng(6).permutation(77)
    after = rank(queries[turn], labels[turn], gallery[order], gallery_labels[order])
    for name, values in before.values.items():
        np.testing.assert_array_equal(values[turn], after.values[name], err_msg=name)


@pytest.mark.parametrize("n", [2, 3, 17, 37, 1001])
@pytest.mark.parametrize("nq", [1, 2, 9])
def test_equal_vectors_tie_whatever_the_matrix_product_rounds(n, nq):
    rng = np.random.default_rng(n)
    gallery = np.repeat(unit(rng.normal(size=(1, 128))), n, axis=0)
    labels = np.arange(n) % 2
    result = rank(unit(rng.normal(size=(nq, 128))), np.zeros(nq, np.int64), gallery, labels)
    np.testing.assert_allclose(result.values["P@1"], (labels == 0).mean(), atol=1e-15)


def test_plus_and_minus_zero_are_the_same_vector():
    gallery = np.array([[1, 0.0], [1, -0.0]], np.float32)
    values = rank(gallery[:1], [0], gallery, [0, 1]).values
    assert values["P@1"].tolist() == [0.5]


def test_equal_rows_have_equal_numbers_in_the_order_of_their_bytes():
    """Whatever they have in common: nothing, what they begin with, or all; and however short they are."""
    rng = np.random.default_rng(0)
    for rows in (
        rng.standard_normal((300, 5)).astype(np.float32),
        rng.integers(-1, 2, (300, 5)).astype(np.float32) * np.float32(-1),  # many begin alike, and some zeros are −0
        np.repeat(rng.standard_normal((40, 3)).astype(np.float32), 3, axis=0)[rng.permutation(120)],
        rng.integers(0, 3, (300, 1)).astype(np.float32),
        rng.integers(0, 2, (300, 3)).astype(np.uint8),
        rng.integers(0, 2, (300, 11)).astype(np.uint8),
        np.zeros((4, 6), np.float32),
    ):
        plain = [(row if rows.dtype == np.uint8 else row + np.float32(0)).tobytes() for row in rows]
        number = {key: place for place, key in enumerate(sorted(set(plain)))}
        assert groups(rows).tolist() == [number[key] for key in plain]


def test_the_query_is_left_out_by_position_not_by_score():
    vectors = unit(np.array([[1, 0], [1, 0], [0, 1], [1, 0.5]]))
    values = rank(vectors, [0, 0, 1, 1], ks=(1,)).values
    assert values["P@1"].tolist() == [1, 1, 1, 0]  # the twin of query 0 counts, query 0 itself does not
    again = rank(vectors[:2], [0, 0], vectors, [0, 0, 1, 1], own=[0, -1], ks=(1, 2)).values
    assert again["P@2"].tolist() == [0.5, 1]


def test_large_labels_stay_apart():
    """2²⁴ and 2²⁴ + 1 are one number in float32."""
    vectors = unit(np.array([[1, 0], [1, 0.1], [0, 1]]))
    labels = np.array([2**24, 2**24 + 1, 2**24])
    assert rank(vectors, labels, ks=(1,)).values["P@1"].tolist() == [0, 0]


def test_neither_blocks_nor_threads_change_a_figure(monkeypatch):
    vectors, labels = clusters(700, 5, seed=0)
    whole = rank(vectors, labels, threads=1)
    parts = rank(vectors, labels, threads=3)
    monkeypatch.setattr(inner_products, "BLOCK_BYTES", 700 * 4 * 10)
    small = rank(vectors, labels, threads=2)
    for name, values in whole.values.items():
        np.testing.assert_array_equal(values, parts.values[name], err_msg=name)
        np.testing.assert_allclose(values, small.values[name], atol=1e-3, err_msg=name)


def test_neither_the_compiler_nor_what_is_looked_at_together_changes_a_figure(monkeypatch):
    vectors, labels = clusters(400, 5, seed=0)
    vectors = np.concatenate([vectors, vectors[:40]])  # copies tie
    labels = np.concatenate([labels, np.roll(labels[:40], 1)])
    asked = {"levels": [0, 0.5, 1], "duplicate_score": 0.999, "classes": 5, "threads": 1}
    whole = rank(vectors, labels, **asked)
    monkeypatch.setattr(inner_products, "EACH", inner_products.BLOCK_BYTES // 200)
    parts = rank(vectors, labels, **asked)
    monkeypatch.setattr(compiled, "kernel", None)
    plain = rank(vectors, labels, **asked)
    for other in (parts, plain):
        for name in ("queries", "relevant", "best", "tied", "curves", "near_duplicates", "confusion"):
            np.testing.assert_array_equal(getattr(whole, name), getattr(other, name), err_msg=name)
        for name, values in whole.values.items():
            np.testing.assert_array_equal(values, other.values[name], err_msg=name)


def test_memory_is_a_block_not_the_matrix(monkeypatch):
    gallery, gallery_labels = clusters(20_000, 10, seed=0)
    queries, labels = clusters(500, 10, seed=1)
    monkeypatch.setattr(inner_products, "BLOCK_BYTES", 2**21)
    tracemalloc.start()
    try:
        rank(queries, labels, gallery, gallery_labels, threads=2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 15e6  # the matrix would take 40 MB


def test_progress_counts_every_query():
    vectors, labels = clusters(600, 3, seed=0)
    steps: list[int] = []
    rank(vectors, labels, advance=steps.append)
    assert sum(steps) == 600 and len(steps) > 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"query_labels": np.zeros(4, np.float32)}, "float32"),
        ({"query_labels": np.zeros(3, np.int64)}, "one label for each"),
        ({"query_labels": np.full(4, -2)}, "reach from -2"),
        ({"query_labels": np.full(4, 9)}, "has a relevant item"),
        ({"queries": np.ones((4, 3), np.float32)}, "3 dimensions"),
        ({"queries": np.ones((4, 2), np.int64)}, "floating-point"),
        ({"queries": np.full((4, 2), np.nan, np.float32)}, "4 of 4 queries"),
        ({"gallery_labels": None}, "no labels"),
        ({"own": [0, 1, 2, 7]}, "position 7"),
        ({"own": [5, 1, 2, 3]}, "another label"),
        ({"gallery": np.ones((6, 3), np.uint8)}, "binary codes"),
        ({"queries": np.full((4, 2), 3e38, np.float32), "gallery": np.full((6, 2), 3e38, np.float32)}, "overflow"),
        ({"ignore": [[0]]}, "1 lists to ignore"),
        ({"ignore": [[0], [6], [], []]}, "query 1 is to ignore"),
        ({"ignore": [[0], [0.5], [], []]}, "query 1 is to ignore"),
        ({"graded": True}, "nothing to grade"),
        ({"levels": [0.5, 2]}, "recall levels"),
        ({"neighbours": 0}, "0 neighbours"),
        ({"ks": (0,)}, "at least 1"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_in_one_sentence(change, words):
    arguments = {
        "queries": np.ones((4, 2), np.float32),
        "query_labels": np.zeros(4, np.int64),
        "gallery": np.ones((6, 2), np.float32),
        "gallery_labels": np.array([0, 0, 0, 0, 0, 1]),
    }
    with pytest.raises(RetrievalError, match=words):
        rank(**{**arguments, **change})


def test_measures_start_without_torch_faiss_or_scikit_learn():
    code = "import sys, retrieval.measures; print([m for m in ('torch', 'faiss', 'sklearn') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
