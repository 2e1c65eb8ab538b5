"""Measures of one ranking against the mean over all orders, scikit-learn, and the field's known mistakes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from slow_measures import orders, slow_measures, slow_vote

from retrieval.base import compiled
from retrieval.errors import RetrievalError
from retrieval.measures import Ranking, average_precision, ndcg, r_precision
from retrieval.measures.inner_products import counted
from retrieval.measures.knn_vote import vote, votes
from retrieval.measures.ranking import RankingBlock, _harmonic
from retrieval.measures.ranking_task import named, of_each

COUNTS = (0, 1, 5, 16, 17, 40, 300, 2000, 2950)


@pytest.mark.parametrize("graded", [False, True])
def test_ties_are_the_mean_over_all_orders(graded):
    rng = np.random.default_rng(0)
    for _ in range(60):
        n = int(rng.integers(1, 7))
        scores = rng.integers(0, int(rng.integers(1, 4)), n)
        grades = (rng.random(n) < 0.5) * (rng.choice([0.5, 1, 3], n) if graded else 1.0)
        grades[rng.integers(n)] = 1
        k = int(rng.integers(1, n + 2))
        slow = [slow_measures([grades[i] for i in order], k) for order in orders(scores.tolist())]
        ranking = Ranking.of_grades(scores, grades) if graded else Ranking.of(scores, grades > 0)
        ours = {name: measure(ranking) for name, measure in named([k]).items()}
        assert list(ours) == [
            *(f"{name}@{k}" for name in ("P", "recall", "hit rate", "mAP", "NDCG")),
            *("R-precision", "MAP@R", "mAP", "MRR", "NDCG"),
        ]
        assert list(ours.values()) == pytest.approx(np.mean(slow, axis=0), abs=1e-12)


def test_free_functions_are_those_of_the_ranking():
    rng = np.random.default_rng(1)
    scores, relevant = rng.integers(0, 5, 30), rng.random(30) < 0.3
    ranking = Ranking.of(scores, relevant)
    assert r_precision(scores, relevant) == ranking.r_precision()
    assert average_precision(scores, relevant) == ranking.average_precision()
    assert ndcg(scores, relevant, 7) == ranking.ndcg(7)


def test_without_ties_as_scikit_learn_and_the_loop():
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(1)
    for n in (1, 2, 10, 500):
        scores, relevant = rng.permutation(n) / n, rng.random(n) < 0.3
        relevant[0] = True
        order = relevant[np.argsort(-scores)].astype(float).tolist()
        ranking = Ranking.of(scores, relevant)
        assert ranking.average_precision() == pytest.approx(average_precision_score(relevant, scores))
        ours = [measure(ranking) for measure in named([3]).values()]
        assert ours == pytest.approx(slow_measures(order, 3))


def test_ndcg_with_grades_and_ties_as_scikit_learn():
    from sklearn.metrics import ndcg_score

    rng = np.random.default_rng(2)
    for n in (2, 5, 40, 300):
        scores, grades = rng.integers(0, 1 + n // 3, n), rng.integers(0, 4, n)
        grades[0] = 2
        for k in (1, 3, n, None):
            assert ndcg(scores, grades, k) == pytest.approx(ndcg_score(grades[None], scores[None], k=k), abs=1e-12)


def test_ideal_of_ndcg_is_the_true_one_not_that_of_what_was_found():
    """The only item of grade 3 is beyond k."""
    assert ndcg(np.array([3, 2, 1]), [1, 0, 3], k=1) == pytest.approx(1 / 3)
    assert ndcg(np.array([3, 2, 1]), [0, 0, 3], k=2) == 0


def test_precision_recall_curve_as_scikit_learn_interpolated():
    from sklearn.metrics import precision_recall_curve

    rng = np.random.default_rng(3)
    levels = np.linspace(0, 1, 101)
    for n in (1, 5, 60, 400):
        scores, relevant = rng.integers(0, 1 + n // 2, n), rng.random(n) < 0.3
        relevant[0] = True
        precision, recall, _ = precision_recall_curve(relevant, scores)
        real = recall > 0  # scikit-learn adds a point (0, 1), which no threshold reaches
        expected = [precision[real & (recall >= level - 1e-12)].max() for level in levels]
        assert Ranking.of(scores, relevant).interpolated_precision(levels) == pytest.approx(expected)


def test_precision_recall_curve_is_that_of_the_worst_order():
    rng = np.random.default_rng(4)
    levels = np.array([0, 0.2, 0.5, 1])
    for _ in range(30):
        scores, relevant = rng.integers(0, 3, 6), rng.random(6) < 0.5
        relevant[0] = True
        curves = []
        for order in orders(scores.tolist()):
            found = np.cumsum(relevant[list(order)])
            precision, recall = found / np.arange(1, 7), found / relevant.sum()
            curves.append([precision[recall >= level - 1e-12].max() for level in levels])
        ours = Ranking.of(scores, relevant).interpolated_precision(levels)
        assert ours == pytest.approx(np.min(curves, axis=0))


def test_average_precision_divides_by_all_relevant_items_not_by_hits_found():
    """One hit of ten at rank 1, the other nine behind everything: not 1."""
    scores = np.arange(100, 0, -1)
    relevant = np.zeros(100, bool)
    relevant[[0, *range(91, 100)]] = True
    ranking = Ranking.of(scores, relevant)
    assert ranking.average_precision(ranking.total) == pytest.approx(0.1)  # what MAP@R averages
    assert ranking.average_precision_at(5) == pytest.approx(0.2)  # min(R, k) = 5
    expected = (1 + sum((i + 1) / (91 + i) for i in range(1, 10))) / 10
    assert average_precision(scores, relevant) == pytest.approx(expected)


def test_average_precision_uses_no_trapezoids():
    assert average_precision(np.array([3, 2, 1]), np.array([False, True, False])) == 0.5
    assert average_precision(np.array([3, 2, 1]), np.array([True, False, True])) == pytest.approx((1 + 2 / 3) / 2)


def test_recall_is_a_share_and_hit_rate_is_not():
    """What metric learning calls Recall@k is the hit rate."""
    ranking = Ranking.of(np.arange(10, 0, -1), np.array([True, False] * 5))
    assert (ranking.recall(2), ranking.hit_rate(2)) == (0.2, 1.0)


def test_precision_divides_by_k_even_where_fewer_items_were_ranked():
    assert Ranking.of(np.array([2.0, 1.0]), np.array([True, True])).precision(10) == pytest.approx(0.2)


def test_everything_tied_is_chance_to_the_last_digit():
    relevant = np.zeros(1000, bool)
    relevant[:250] = True
    tied, chance = Ranking.of(np.ones(1000), relevant), Ranking.by_chance(1000, 250)
    assert tied.precision(10) == tied.r_precision() == tied.recall(1000) / 4 == 0.25
    rng = np.random.default_rng(0)  # and that is what random orders score
    drawn = [Ranking.of(rng.permutation(1000), relevant) for _ in range(400)]
    for name, measure in named([5]).items():
        assert measure(tied) == pytest.approx(measure(chance), abs=1e-12)
        values = [measure(ranking) for ranking in drawn]
        assert abs(np.mean(values) - measure(tied)) < 4 * np.std(values) / 20, name


def test_large_groups_of_ties_as_the_plain_sums():
    """Where nothing can be enumerated: the sums over ranks, term by term."""
    rng = np.random.default_rng(5)
    for spread in (1, 3, 40):
        scores, relevant = rng.integers(0, spread, 3000), rng.random(3000) < 0.1
        total, above, found, expected, reciprocal = relevant.sum(), 0, 0, 0.0, None
        for score in range(spread - 1, -1, -1):
            n, r = int((scores == score).sum()), int(relevant[scores == score].sum())
            for place in range(n):
                rank = above + place + 1
                expected += r / n * (found + 1 + place * (r - 1) / max(n - 1, 1)) / rank
            if reciprocal is None and r:
                first = [math.comb(n - t, r - 1) / math.comb(n, r) for t in range(1, n - r + 2)]
                reciprocal = sum(p / (above + t) for t, p in enumerate(first, start=1))
            above, found = above + n, found + r
        ranking = Ranking.of(scores, relevant)
        assert ranking.average_precision() == pytest.approx(expected / total, rel=1e-12)
        assert ranking.reciprocal_rank() == pytest.approx(reciprocal, rel=1e-12)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0, 64), (63, 65), (5, 5), (64, 70), (10, 10**5), (10**6, 10**6 + 3)]
)
def test_harmonic_sums_to_the_last_digits(low, high):
    exact = math.fsum(1 / i for i in range(low + 1, high + 1))
    assert _harmonic(np.array([low]), np.array([high]))[0] == pytest.approx(exact, rel=1e-13)


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


@pytest.mark.parametrize(
    ("grades", "words"),
    [([1], "one of each"), ([1, -1, 0], "from 0"), ([0, 0, 0], "no item"), ([1, 0, np.inf], "finite")],
)
def test_bad_grades_are_refused(grades, words):
    with pytest.raises(RetrievalError, match=words):
        ndcg(np.ones(3), grades)


# The vote


def test_vote_is_the_mean_over_all_choices_among_tied_neighbours():
    rng = np.random.default_rng(2)
    for _ in range(500):
        classes, certain, tied = int(rng.integers(1, 7)), int(rng.integers(0, 5)), int(rng.integers(1, 9))
        places = int(rng.integers(0 if certain else 1, tied + 1))
        sure, ties = rng.integers(0, classes, certain), rng.integers(0, classes, tied)
        truth = int(rng.integers(classes))
        expected = slow_vote(truth, sure.tolist(), ties.tolist(), places)
        assert vote(truth, sure, ties, places) == pytest.approx(expected, abs=1e-12)


def test_vote_among_many_ties_as_drawing_them():
    rng = np.random.default_rng(3)
    for classes, certain, tied, places in ((4, 6, 60, 7), (30, 3, 200, 12), (3, 20, 500, 30)):
        sure, ties = rng.integers(0, classes, certain), rng.integers(0, classes, tied)
        drawn = []
        for _ in range(4000):
            votes = np.bincount(np.concatenate([sure, rng.permutation(ties)[:places]]), minlength=classes)
            drawn.append((votes[0] == votes.max()) / (votes == votes.max()).sum())
        spread = max(np.std(drawn), 1e-3) / np.sqrt(len(drawn))
        assert abs(vote(0, sure, ties, places) - np.mean(drawn)) < 4 * spread


def test_vote_among_a_whole_collapsed_gallery_is_chance():
    nothing = np.zeros(0, np.int64)
    assert vote(3, nothing, np.repeat(np.arange(10), 5000), 10) == pytest.approx(0.1, abs=1e-12)
    assert vote(3, nothing, np.repeat(np.arange(500), 20), 25) == pytest.approx(1 / 500, abs=1e-12)


def test_what_official_programs_count_is_the_mean_over_all_orders():
    from slow_protocols import average_precision_of_found, precision_to_last, trapezoids

    rng = np.random.default_rng(5)
    for _ in range(80):
        n = int(rng.integers(1, 7))
        scores = rng.integers(0, int(rng.integers(1, 4)), n)
        relevant = rng.random(n) < 0.5
        relevant[rng.integers(n)] = True
        k = int(rng.integers(1, n + 3))
        right = set(np.flatnonzero(relevant).tolist())
        every = [list(order) for order in orders(scores.tolist())]
        ranking = Ranking.of(scores, relevant)
        assert ranking.trapezoids() == pytest.approx(np.mean([trapezoids(order, right) for order in every]), abs=1e-12)
        expected = np.mean([precision_to_last(order, right, k) for order in every])
        assert ranking.precision_to_last(k) == pytest.approx(expected, abs=1e-12)
        expected = np.mean([average_precision_of_found(order, right, k) for order in every])
        assert ranking.average_precision_of_found(k) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("kernel", ["compiled", None])
def test_counting_is_sorting_all(monkeypatch, kernel):
    if kernel is None:
        monkeypatch.setattr(compiled, "kernel", None)
    rng = np.random.default_rng(6)
    for step, factor in ((1e-6, 1), (0.25, 1), (0.01, 1e-44), (0.01, 1e38)):
        scores = (np.round(rng.standard_normal((9, 3000)).clip(-3, 3) / step) * step * factor).astype(np.float32)
        scores[:, :50] = -np.inf
        scores[:, 60:62] = 1e30, -1e30
        picked = [scores[row, 50 + rng.permutation(2950)[:count]] for row, count in enumerate(COUNTS)]
        levels = [np.unique(some)[::-1] for some in picked]
        limits = np.cumsum([0, *(its.size for its in levels)])
        above, equal = counted(scores, np.concatenate(levels), limits)
        for row, its, first, last in zip(scores, levels, limits, limits[1:], strict=False):
            np.testing.assert_array_equal(above[first:last], (row > its[:, None]).sum(axis=1))
            np.testing.assert_array_equal(equal[first:last], (row == its[:, None]).sum(axis=1))


@pytest.mark.parametrize("graded", [False, True])
def test_a_block_says_what_each_ranking_says_alone(graded):
    rng = np.random.default_rng(7)
    rankings = []
    for step in (1e-6, 0.005, 0.25, 10):
        for n in rng.integers(2, 900, 20):
            scores = np.round(rng.standard_normal(n) / step)
            grades = (rng.random(n) < rng.choice([0.01, 0.5, 1])) * rng.integers(1, 4, n)
            grades[rng.integers(n)] = 1
            rankings.append(Ranking.of_grades(scores, grades) if graded else Ranking.of(scores, grades > 0))
    columns = [np.concatenate([getattr(one, name) for one in rankings]) for name in ("above", "size", "relevant")]
    more = [np.concatenate([one.gains for one in rankings]), [one.ideal for one in rankings]] if graded else []
    items = np.array([one.items for one in rankings])
    block = RankingBlock.of_groups(np.array([one.above.size for one in rankings]), *columns, items, *more)
    together = RankingBlock.of(rankings)
    asked = {
        **named([1, 10, 1000]),
        "own": lambda ranking: ranking.trapezoids(),
        "curve": lambda ranking: ranking.interpolated_precision([0.3])[0],
    }
    for name, measure in asked.items():
        alone = [measure(ranking) for ranking in rankings]
        np.testing.assert_array_equal(of_each(measure, block), alone, err_msg=name)
        np.testing.assert_array_equal(of_each(measure, together), alone, err_msg=name)
    levels = [1, 0, 0.3, 0.7, 0.3]
    curves = [ranking.interpolated_precision(levels) for ranking in rankings]
    np.testing.assert_array_equal(block.interpolated_precision(levels), curves)
    assert block.interpolated_precision([]).shape == (len(rankings), 0)


def test_many_votes_are_each_alone():
    rng = np.random.default_rng(8)
    shown = [rng.integers(0, 4, rng.integers(1, 8)) for _ in range(200)]
    truth, query = rng.integers(0, 4, 200), np.repeat(np.arange(200), [its.size for its in shown])
    alone = [vote(int(one), its, its[:0], 0) for one, its in zip(truth, shown, strict=True)]
    order = rng.permutation(query.size)
    np.testing.assert_array_equal(votes(truth, query[order], np.concatenate(shown)[order]), alone)
    np.testing.assert_array_equal(votes(truth, query[:0], query[:0]), np.zeros(200))
