"""Ranking measures against slow obvious references, other libraries, and the field's known mistakes."""

from __future__ import annotations

import itertools
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.measures import (
    Ranking,
    average_precision,
    average_precision_at_r,
    exhaustive,
    linear_probe,
    precision_at,
    r_precision,
    rank,
)
from retrieval.measures.voting import vote


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def clusters(n: int, classes: int, seed: int, d: int = 16, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    centres = np.random.default_rng(99).normal(size=(classes, d))
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    return unit(centres[labels] + noise * rng.normal(size=(n, d))), labels


# One ranking. `order` is a list of 0 and 1, best first: no ties are left in it.


def slow_precision(order: list[int], k: int) -> float:
    return sum(order[:k]) / k


def slow_average_precision(order: list[int], cutoff: int) -> float:
    total, hits = 0.0, 0
    for position, hit in enumerate(order[:cutoff], start=1):
        if hit:
            hits += 1
            total += hits / position
    return total / sum(order)


def slow_expectations(scores: list[int], relevant: list[int], k: int) -> list[float]:
    """Mean over every order of the items in which no score rises."""
    rows = []
    for order in itertools.permutations(range(len(scores))):
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order)):
            hits = [relevant[i] for i in order]
            total = sum(hits)
            rows.append(
                [
                    slow_precision(hits, k),
                    slow_precision(hits, total),
                    slow_average_precision(hits, total),
                    slow_average_precision(hits, len(hits)),
                ]
            )
    return np.mean(rows, axis=0).tolist()


def test_ties_are_the_mean_over_all_orders():
    rng = np.random.default_rng(0)
    for _ in range(60):
        n = int(rng.integers(1, 7))
        scores = rng.integers(0, int(rng.integers(1, 4)), n)
        relevant = rng.random(n) < 0.5
        relevant[rng.integers(n)] = True
        k = int(rng.integers(1, n + 2))
        ours = [
            precision_at(scores, relevant, k),
            r_precision(scores, relevant),
            average_precision_at_r(scores, relevant),
            average_precision(scores, relevant),
        ]
        assert ours == pytest.approx(slow_expectations(scores.tolist(), relevant.tolist(), k), abs=1e-12)


def test_without_ties_as_scikit_learn_and_the_loop():
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(1)
    for n in (1, 2, 10, 500):
        scores, relevant = rng.permutation(n) / n, rng.random(n) < 0.3
        relevant[0] = True
        order = relevant[np.argsort(-scores)].astype(int).tolist()
        assert average_precision(scores, relevant) == pytest.approx(average_precision_score(relevant, scores))
        assert average_precision(scores, relevant) == pytest.approx(slow_average_precision(order, n))
        assert average_precision_at_r(scores, relevant) == pytest.approx(
            slow_average_precision(order, int(relevant.sum()))
        )
        assert precision_at(scores, relevant, 3) == pytest.approx(slow_precision(order, 3))


def test_average_precision_divides_by_all_relevant_items_not_by_hits_found():
    """One hit of ten at rank 1, the other nine behind everything: not 1."""
    scores = np.arange(100, 0, -1)
    relevant = np.zeros(100, bool)
    relevant[[0, *range(91, 100)]] = True
    assert average_precision_at_r(scores, relevant) == pytest.approx(0.1)
    expected = (1 + sum((i + 1) / (91 + i) for i in range(1, 10))) / 10
    assert average_precision(scores, relevant) == pytest.approx(expected)


def test_average_precision_uses_no_trapezoids():
    assert average_precision(np.array([3, 2, 1]), np.array([False, True, False])) == 0.5
    assert average_precision(np.array([3, 2, 1]), np.array([True, False, True])) == pytest.approx((1 + 2 / 3) / 2)


def test_precision_divides_by_k_even_where_fewer_items_were_ranked():
    assert precision_at(np.array([2.0, 1.0]), np.array([True, True]), 10) == pytest.approx(0.2)


def test_everything_tied_is_chance_to_the_last_digit():
    relevant = np.zeros(1000, bool)
    relevant[:250] = True
    assert precision_at(np.ones(1000), relevant, 10) == pytest.approx(0.25, abs=1e-15)
    assert r_precision(np.ones(1000), relevant) == pytest.approx(0.25, abs=1e-15)
    assert average_precision(np.ones(1000), relevant) == pytest.approx(
        Ranking.by_chance(1000, 250).average_precision(), abs=1e-12
    )
    rng = np.random.default_rng(0)  # and that is what random orders score
    drawn = [average_precision(rng.permutation(1000), relevant) for _ in range(400)]
    spread = np.std(drawn) / np.sqrt(len(drawn))
    assert abs(np.mean(drawn) - average_precision(np.ones(1000), relevant)) < 4 * spread


@pytest.mark.parametrize(
    ("scores", "relevant", "words"),
    [
        (np.ones(3), np.ones(2, bool), "same length"),
        (np.ones(3), np.ones(3), "booleans"),
        (np.array([1.0, np.nan]), np.ones(2, bool), "not a number"),
        (np.ones(3), np.zeros(3, bool), "no item is relevant"),
    ],
)
def test_bad_rankings_are_refused(scores, relevant, words):
    with pytest.raises(RetrievalError, match=words):
        average_precision(scores, relevant)


# The vote


def slow_vote(truth: int, sure: list[int], tied: list[int], places: int) -> float:
    outcomes = []
    for drawn in itertools.combinations(tied, places):
        classes, votes = np.unique([*sure, *drawn], return_counts=True)
        winners = classes[votes == votes.max()]
        outcomes.append((truth in winners) / len(winners))
    return float(np.mean(outcomes))


def test_vote_is_the_mean_over_all_choices_among_tied_neighbours():
    rng = np.random.default_rng(2)
    for _ in range(500):
        classes, certain, tied = int(rng.integers(1, 5)), int(rng.integers(0, 5)), int(rng.integers(1, 8))
        places = int(rng.integers(0 if certain else 1, tied + 1))
        sure, ties = rng.integers(0, classes, certain), rng.integers(0, classes, tied)
        truth = int(rng.integers(classes))
        expected = slow_vote(truth, sure.tolist(), ties.tolist(), places)
        assert vote(truth, sure, ties, places) == pytest.approx(expected, abs=1e-12)


def test_vote_among_a_whole_collapsed_gallery_is_chance():
    nothing = np.zeros(0, np.int64)
    assert vote(3, nothing, np.repeat(np.arange(10), 5000), 10) == pytest.approx(0.1, abs=1e-12)
    assert vote(3, nothing, np.repeat(np.arange(500), 20), 25) == pytest.approx(1 / 500, abs=1e-12)


# Many queries


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
        rows.append([*slow_expectations(scores, relevant, k), slow_vote(int(query_labels[q]), sure, tied, places)])
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
            with pytest.raises(RetrievalError, match="shares its label"):
                rank(queries, labels, gallery, gallery_labels)
            continue
        shelf = () if same else (gallery, gallery_labels)
        result = rank(queries, labels, *shelf, ks=(2,), neighbours=3)
        ours = np.stack(list(result.values.values()), axis=1)
        assert list(result.values) == ["P@2", "R-precision", "MAP@R", "mAP", "kNN accuracy (k=3)"]
        np.testing.assert_allclose(ours, expected, atol=1e-12)
        assert result.without_relevant == left_out
        assert result.unlabelled_queries == (labels == -1).sum()
        assert result.unlabelled_gallery == (gallery_labels == -1).sum()
        compared += len(expected)
    assert compared >= 15


@pytest.mark.parametrize("same", [True, False])
def test_rank_as_pytorch_metric_learning(same):
    import torch
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    gallery, gallery_labels = clusters(230, 7, seed=0)
    queries, labels = (gallery, gallery_labels) if same else clusters(90, 9, seed=1)
    calculator = AccuracyCalculator(
        include=("precision_at_1", "r_precision", "mean_average_precision_at_r", "mean_average_precision"),
        device=torch.device("cpu"),
    )
    peer = calculator.get_accuracy(queries, labels, *(() if same else (gallery, gallery_labels)))
    ours = rank(queries, labels, *(() if same else (gallery, gallery_labels)))
    assert ours.tied.max() == 0  # it leaves ties to luck, so that only untied rankings compare
    for name, theirs in {
        "P@1": "precision_at_1",
        "R-precision": "r_precision",
        "MAP@R": "mean_average_precision_at_r",
        "mAP": "mean_average_precision",
    }.items():
        assert ours.values[name].mean() == pytest.approx(peer[theirs], abs=1e-6), name
    assert ours.without_relevant == (0 if same else (labels >= 7).sum())


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
    monkeypatch.setattr(exhaustive, "BLOCK_BYTES", 700 * 4 * 10)
    small = rank(vectors, labels, threads=2)
    for name, values in whole.values.items():
        np.testing.assert_array_equal(values, parts.values[name], err_msg=name)
        np.testing.assert_allclose(values, small.values[name], atol=1e-3, err_msg=name)


def test_memory_is_a_block_not_the_matrix(monkeypatch):
    gallery, gallery_labels = clusters(20_000, 10, seed=0)
    queries, labels = clusters(1_000, 10, seed=1)
    monkeypatch.setattr(exhaustive, "BLOCK_BYTES", 2**21)
    tracemalloc.start()
    try:
        rank(queries, labels, gallery, gallery_labels, threads=2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20e6  # the matrix would take 80 MB


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
        ({"query_labels": np.full(4, 9)}, "shares its label"),
        ({"queries": np.ones((4, 3), np.float32)}, "3 dimensions"),
        ({"queries": np.ones((4, 2), np.int64)}, "floating-point"),
        ({"queries": np.full((4, 2), np.nan, np.float32)}, "4 of 4 queries"),
        ({"gallery_labels": None}, "no labels"),
        ({"own": [0, 1, 2, 7]}, "position 7"),
        ({"own": [5, 1, 2, 3]}, "another label"),
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


# The probe


def test_probe_as_scikit_learn_by_hand():
    from sklearn.svm import LinearSVC

    train, train_labels = clusters(600, 4, seed=0, noise=4)
    test, labels = clusters(200, 4, seed=1, noise=4)
    probe = linear_probe(train, train_labels, test, labels, costs=(1.0,))
    mean, scale = train.mean(axis=0), train.std(axis=0) * 4  # √16
    peer = LinearSVC(C=1.0, dual=False, tol=1e-8).fit((train - mean) / scale, train_labels)
    agreement = (peer.predict((test - mean) / scale) == labels) == (probe.correct == 1)
    assert agreement.mean() >= 0.99 and probe.converged
    assert 0.3 < probe.correct.mean() < 0.95


def test_probe_chooses_c_without_the_test_set():
    train, train_labels = clusters(400, 4, seed=0, noise=4)
    test, labels = clusters(100, 4, seed=1, noise=4)
    first = linear_probe(train, train_labels, test, labels, seed=3)
    other = linear_probe(train, train_labels, -test, (labels + 1) % 4, seed=3)
    assert (first.cost, first.validation) == (other.cost, other.validation)
    assert first.validation > 0.25


def test_probe_takes_a_stratified_sample_of_too_many(monkeypatch):
    from retrieval.measures import probes

    train, train_labels = clusters(2000, 4, seed=0)
    train_labels[:500] = -1
    monkeypatch.setattr(probes, "FIT_NUMBERS", 16 * 4 * 300)
    probe = linear_probe(train, train_labels, *clusters(100, 4, seed=1))
    assert (probe.trained_on, probe.available) == (300, 1500)
    assert probe.correct.mean() > 0.9
    with pytest.raises(RetrievalError, match="two classes"):
        linear_probe(train, np.zeros(2000, np.int64), train, train_labels)


def test_probe_of_a_collapsed_embedding_is_chance():
    labels = np.arange(100) % 5
    same = np.full((100, 8), 8**-0.5, np.float32)
    assert linear_probe(same, labels, same, labels).correct.mean() == pytest.approx(0.2)


def test_measures_start_without_torch_faiss_or_scikit_learn():
    code = "import sys, retrieval.measures; print([m for m in ('torch', 'faiss', 'sklearn') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
