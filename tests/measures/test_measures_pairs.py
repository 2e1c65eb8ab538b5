"""Verification against scikit-learn, counting by hand, and embeddings whose pairs can be listed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from slow_measures import clusters

from retrieval.errors import RetrievalError
from retrieval.measures import Pairs, Roc, bootstrap, pair_scores, roc_curve, verify


def scored(seed: int, n: int = 300, spread: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    genuine = rng.random(n) < 0.3
    return np.rint(rng.normal(size=n) * spread / 4 + genuine * spread / 3), genuine


@pytest.mark.parametrize("spread", [2, 10, 1000])
def test_curve_and_area_as_scikit_learn(spread):
    from sklearn import metrics

    scores, genuine = scored(0, spread=spread)
    roc = Roc.of(scores, genuine)
    false_match, true_match, thresholds = metrics.roc_curve(genuine, scores, drop_intermediate=False)
    np.testing.assert_allclose(roc.false_match, false_match[1:])
    np.testing.assert_allclose(roc.true_match, true_match[1:])
    np.testing.assert_array_equal(roc.thresholds, thresholds[1:])
    assert roc.auc() == pytest.approx(metrics.roc_auc_score(genuine, scores))
    wins = scores[genuine][:, None] - scores[~genuine]
    assert roc.auc() == pytest.approx(((wins > 0) + (wins == 0) / 2).mean())


def test_rates_at_a_threshold_are_counts():
    scores, genuine = scored(1)
    roc = Roc.of(scores, genuine)
    for threshold in (-1e9, scores.min(), 0.0, 0.5, scores.max(), 1e9):
        false_accept, false_reject = roc.rates(threshold)
        assert false_accept == pytest.approx((scores[~genuine] >= threshold).mean())
        assert false_reject == pytest.approx((scores[genuine] < threshold).mean())


def test_false_matches_at_a_recall_and_threshold_at_a_rate_by_trying_all():
    scores, genuine = scored(2, spread=15)
    roc = Roc.of(scores, genuine)
    for recall in (0.01, 0.5, 0.95, 1.0):
        enough = [t for t in np.unique(scores) if (scores[genuine] >= t).mean() >= recall]
        assert roc.false_match_at(recall) == pytest.approx((scores[~genuine] >= max(enough)).mean())
    for rate in (0.0, 0.001, 0.1, 0.5, 1.0):
        allowed = [t for t in np.unique(scores) if (scores[~genuine] >= t).mean() <= rate]
        assert roc.threshold_at(rate) == min(allowed)
        assert roc.rates(roc.threshold_at(rate))[0] <= rate
    above = Roc.of(np.array([3.0, 1, 2]), np.array([False, True, True]))  # an impostor is on top
    assert above.threshold_at(0.5) > 3 and above.rates(above.threshold_at(0.5)) == (0, 1)


def test_equal_error_rate():
    exact = Roc.of(np.array([4.0, 3, 2, 1]), np.array([True, False, True, False]))
    assert exact.equal_error() == (0.5, 3.0)  # at 3: 1 of 2 impostors in, 1 of 2 genuine out
    between = Roc.of(np.array([2.0, 2, 2, 1, 1, 1]), np.array([True, True, False, True, False, False]))
    rate, threshold = between.equal_error()
    assert rate == pytest.approx(1 / 3) and threshold == 2
    perfect = Roc.of(np.array([2.0, 1]), np.array([True, False]))
    assert perfect.equal_error()[0] == 0 and perfect.auc() == 1 and perfect.false_match_at() == 0
    rng = np.random.default_rng(3)
    genuine = np.repeat([True, False], 20_000)
    large = Roc.of(rng.normal(size=40_000) + 2 * genuine, genuine)
    assert large.equal_error()[0] == pytest.approx(0.1587, abs=0.005)  # Φ(−1)


def test_equal_error_rate_is_reached_by_lot_among_the_tied():
    """Accepting a share of the pairs at the threshold makes both rates equal, and equal to it."""
    scores, genuine = scored(4, spread=3)
    rate, threshold = Roc.of(scores, genuine).equal_error()
    above = [(scores[kind] > threshold).mean() for kind in (~genuine, genuine)]
    at = [(scores[kind] == threshold).mean() for kind in (~genuine, genuine)]
    share = (rate - above[0]) / at[0]
    assert 0 <= share <= 1
    assert 1 - above[1] - share * at[1] == pytest.approx(rate)


def test_a_constant_score_is_chance():
    roc = Roc.of(np.zeros(10), np.arange(10) < 3)
    assert (roc.auc(), roc.equal_error()[0], roc.false_match_at()) == (0.5, 0.5, 1)


@pytest.mark.parametrize(
    ("scores", "genuine", "words"),
    [
        ([1.0, 2.0], [True], "same length"),
        ([1.0, 2.0], [1, 0], "booleans"),
        ([1.0, np.nan], [True, False], "not a number"),
        ([1.0, 2.0], [True, True], "2 of 2 pairs are genuine"),
    ],
)
def test_bad_pairs_are_refused(scores, genuine, words):
    with pytest.raises(RetrievalError, match=words):
        Roc.of(scores, genuine)


# Pairs of embeddings


def listed(pairs) -> list[tuple[float, bool, int, int]]:
    rows = zip(pairs.scores.tolist(), pairs.genuine.tolist(), *np.sort(pairs.classes, axis=1).T.tolist(), strict=True)
    return sorted((round(score, 5), *rest) for score, *rest in rows)


def by_hand(queries, labels, gallery, gallery_labels, own) -> list[tuple[float, bool, int, int]]:
    number = {label: place for place, label in enumerate(sorted({*labels, *gallery_labels} - {-1}))}
    rows = []
    for q, i in itertools.product(range(len(queries)), range(len(gallery))):
        if labels[q] != -1 != gallery_labels[i] and own[q] != i:
            score = round(float(np.float32(queries[q].astype(float) @ gallery[i].astype(float))), 5)
            pair = sorted((number[labels[q]], number[gallery_labels[i]]))
            rows.append((score, labels[q] == gallery_labels[i], *pair))
    return sorted(rows)


@pytest.mark.parametrize("how", ["all", "sample of all", "balanced"])
def test_pairs_within_a_set(how):
    vectors, labels = clusters(25, 4, seed=0)
    labels = np.where(np.arange(25) % 9 == 0, -1, labels * 10)
    twice = by_hand(vectors, labels, vectors, labels, np.arange(25))
    expected = twice[::2]  # (a, b) and (b, a) are one pair
    options = {"all": {}, "sample of all": {"sample": 10**6}, "balanced": {"balanced": True}}[how]
    pairs = pair_scores(vectors, labels, **options)
    genuine = sum(row[1] for row in expected)
    assert pairs.available == (genuine, len(expected) - genuine)
    if how == "balanced":
        assert pairs.genuine.sum() == (~pairs.genuine).sum() == min(pairs.available)
        assert set(listed(pairs)) <= set(expected)
    else:
        assert listed(pairs) == expected
    assert (pairs.genuine == (pairs.classes[:, 0] == pairs.classes[:, 1])).all()


@pytest.mark.parametrize("sample", [None, 10**6])
def test_pairs_of_queries_and_gallery(sample):
    gallery, gallery_labels = clusters(20, 5, seed=1)
    gallery_labels[3] = -1
    queries = np.concatenate([gallery[4:8], clusters(5, 5, seed=2)[0]])
    labels = np.concatenate([gallery_labels[4:8], [0, 1, 7, -1, 2]])
    own = np.array([4, 5, 6, 7, -1, -1, -1, -1, -1])
    pairs = pair_scores(queries, labels, gallery, gallery_labels, own=own, sample=sample)
    assert listed(pairs) == by_hand(queries, labels, gallery, gallery_labels, own)


@pytest.mark.parametrize("balanced", [False, True])
def test_sampled_pairs_are_drawn_evenly_and_once(balanced):
    vectors, labels = clusters(200, 4, seed=3)
    everything = pair_scores(vectors, labels)
    drawn = pair_scores(vectors, labels, sample=4000, balanced=balanced, seed=1)
    assert len(drawn.scores) == 4000 and len(np.unique(drawn.scores)) > 3900
    assert drawn.genuine.mean() == pytest.approx(0.5 if balanced else everything.genuine.mean(), abs=0.03)
    for kind in (True, False):
        one, all_of_them = drawn.scores[drawn.genuine == kind], everything.scores[everything.genuine == kind]
        assert abs(one.mean() - all_of_them.mean()) < 5 * all_of_them.std() / np.sqrt(one.size)
    again = pair_scores(vectors, labels, sample=4000, balanced=balanced, seed=1)
    np.testing.assert_array_equal(drawn.scores, again.scores)
    other = pair_scores(vectors, labels, sample=4000, balanced=balanced, seed=2)
    assert (drawn.scores != other.scores).any()


@pytest.mark.parametrize("options", [{}, {"sample": 500}])
def test_a_collapsed_embedding_is_chance(options):
    same = np.tile(np.random.default_rng(5).normal(size=(1, 37)), (120, 1)).astype(np.float32)
    pairs = pair_scores(same, np.arange(120) % 5, **options)
    assert len(np.unique(pairs.scores)) == 1
    figures = verify(pairs, resamples=20)
    assert figures["AUC"].value == figures["EER"].value == 0.5


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda v, y: pair_scores(v, np.zeros(30, int)), "0 impostor pairs"),
        (lambda v, y: pair_scores(v, np.arange(30)), "0 genuine"),
        (lambda v, y: pair_scores(v, y, v), "no labels"),
        (lambda v, y: pair_scores(v, y, own=np.arange(30)), "no own"),
        (lambda v, y: pair_scores(v, y, v, y, own=np.arange(30)[::-1]), "check `own`"),
        (lambda v, y: pair_scores(v, y, sample=1), "draw more"),
        (lambda v, y: pair_scores(np.ones((7000, 2), np.float32), np.arange(7000) % 9), "give a sample"),
    ],
)
def test_what_makes_no_pairs_is_refused(call, words):
    with pytest.raises(RetrievalError, match=words):
        call(*clusters(30, 3, seed=6))


# Figures with intervals


def test_figures_are_those_of_the_curve_and_lie_within_their_intervals():
    pairs = pair_scores(*clusters(150, 15, seed=7, noise=2))
    figures = verify(pairs, false_match_rates=(0.01,), resamples=300)
    roc = Roc.of(pairs.scores, pairs.genuine)
    assert {name: figure.value for name, figure in figures.items()} == pytest.approx(
        {
            "AUC": roc.auc(),
            "EER": roc.equal_error()[0],
            "FPR at 95 % recall": roc.false_match_at(0.95),
            "TPR at FPR 0.01": 1 - roc.rates(roc.threshold_at(0.01))[1],
        }
    )
    assert all(figure.low < figure.value < figure.high and figure.n == 11_175 for figure in figures.values())
    assert verify(pairs, resamples=50) == verify(pairs, resamples=50) != verify(pairs, resamples=50, seed=1)


def test_intervals_over_classes_are_those_of_copying_their_items():
    """Drawing a class twice is the same as having its pairs more often."""
    pairs = pair_scores(*clusters(60, 6, seed=8, noise=2))
    ours = verify(pairs, resamples=300, seed=3)["AUC"]

    def copied(times: np.ndarray) -> list[float]:
        one, other = pairs.classes.T
        copies = np.where(pairs.genuine, times[one], times[one] * times[other]).astype(int)
        genuine = np.repeat(pairs.genuine, copies)
        return [Roc.of(np.repeat(pairs.scores, copies), genuine).auc() if 0 < genuine.sum() < len(genuine) else np.nan]

    theirs = [float(one[0]) for one in bootstrap(copied, 6, resamples=300, seed=3)]
    assert (ours.value, ours.low, ours.high) == pytest.approx(tuple(theirs))


@pytest.mark.parametrize(("recall", "rate"), [(0, 0.1), (1.1, 0.1), (0.9, -0.1), (0.9, 2)])
def test_shares_that_are_none_are_refused(recall, rate):
    with pytest.raises(RetrievalError, match="give a share"):
        verify(pair_scores(*clusters(30, 3, seed=6)), recall=recall, false_match_rates=(rate,), resamples=1)


def test_curve_at_chosen_rates_with_a_band_that_holds_it():
    vectors, labels = clusters(60, 6, seed=3, noise=2)
    pairs = pair_scores(vectors.astype(np.float16).astype(np.float32), labels)
    at = np.linspace(0, 1, 41)
    rates, low, high = roc_curve(pairs, at, resamples=200)
    roc = Roc.of(pairs.scores, pairs.genuine)
    for rate, false_match in zip(rates, at, strict=True):  # by lot among the pairs at a threshold
        corners = [(0.0, 0.0), *zip(roc.false_match, roc.true_match, strict=True)]
        reached = max(corner for corner in corners if corner[0] <= false_match)
        following = min((corner for corner in corners if corner[0] > false_match), default=reached)
        share = (false_match - reached[0]) / ((following[0] - reached[0]) or 1)
        assert rate == pytest.approx(reached[1] + share * (following[1] - reached[1]))
    assert (np.diff(rates) >= 0).all() and rates[-1] == 1
    assert (low <= rates + 1e-9).all() and (rates <= high + 1e-9).all() and (low < high).any()
    flat = roc_curve(Pairs(np.zeros(40), np.arange(40) < 20, pairs.classes[:40], (20, 20)), at, resamples=5)
    np.testing.assert_allclose(flat[0], at)  # a score that says nothing is the diagonal
    for below, above in ((low, high), flat[1:]):
        assert (np.diff(below) >= 0).all() and (np.diff(above) >= 0).all() and below[-1] == above[-1] == 1
