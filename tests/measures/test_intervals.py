"""Bootstrap intervals: they cover what they should, and nothing depends on luck."""

from __future__ import annotations

import math

import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.measures import bootstrap, bootstrap_groups, compare


def test_intervals_cover_the_true_mean_about_95_times_in_100():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(400):
        sample = rng.beta(0.6, 0.4, 150)  # U-shaped, as average precision is
        interval = bootstrap(sample, resamples=400, seed=trial)[0]
        covered += interval.low <= 0.6 <= interval.high
    assert 0.92 <= covered / 400 <= 0.98


def test_interval_of_a_share_is_near_the_normal_one():
    hits = (np.arange(1000) < 300).astype(float)
    interval = bootstrap(hits)[0]
    width = 1.96 * math.sqrt(0.3 * 0.7 / 1000)
    assert interval.value == 0.3 and interval.n == 1000
    assert interval.low == pytest.approx(0.3 - width, abs=0.004)
    assert interval.high == pytest.approx(0.3 + width, abs=0.004)


def test_columns_share_their_resamples_and_the_seed_settles_them():
    values = np.random.default_rng(1).random(50)
    both = bootstrap(np.stack([values, values + 1], axis=1), seed=7)
    assert both[0].low == pytest.approx(both[1].low - 1)
    assert bootstrap(values, seed=7) == bootstrap(values, seed=7) != bootstrap(values, seed=8)
    assert bootstrap(values, seed=7)[0].low == pytest.approx(both[0].low)


def test_more_confidence_is_a_wider_interval():
    values = np.random.default_rng(2).random(80)
    narrow, wide = bootstrap(values, confidence=0.5)[0], bootstrap(values, confidence=0.99)[0]
    assert wide.low < narrow.low < narrow.high < wide.high


def test_one_class_has_no_interval():
    interval = bootstrap([0.5, 0.7], over=[3, 3])[0]
    assert interval.value == 0.6 and math.isnan(interval.low) and math.isnan(interval.high)


def test_one_value_has_no_interval():
    interval = bootstrap([0.5])[0]
    assert interval.value == 0.5 and math.isnan(interval.low) and math.isnan(interval.high)


def test_paired_difference_sees_what_two_intervals_cannot():
    rng = np.random.default_rng(3)
    hard = rng.random(200)
    a, b = hard, np.clip(hard - 0.02 + 0.01 * rng.normal(size=200), 0, 1)
    one, two = bootstrap(a)[0], bootstrap(b)[0]
    assert one.low < two.high  # they overlap
    apart = compare(a, b).difference
    assert apart.low > 0 and apart.value == pytest.approx(a.mean() - b.mean())
    nothing = compare(a, a[::-1]).difference
    assert nothing.low < 0 < nothing.high


def test_over_classes_is_wider_where_queries_of_a_class_are_alike():
    rng = np.random.default_rng(4)
    classes = np.repeat(np.arange(20), 30)
    values = rng.normal(size=20)[classes] + 0.1 * rng.normal(size=600)
    queries, whole = bootstrap(values)[0], bootstrap(values, over=classes)[0]
    assert queries.value == whole.value == pytest.approx(values.mean())
    assert whole.high - whole.low > 4 * (queries.high - queries.low)
    lonely = bootstrap(values, over=np.arange(600))[0]  # classes of one query each are queries
    assert (lonely.low, lonely.high) == pytest.approx((queries.low, queries.high))


def test_intervals_over_classes_cover_the_true_mean_about_95_times_in_100():
    rng = np.random.default_rng(5)
    covered, plain = 0, 0
    for trial in range(200):
        sizes = rng.integers(1, 8, 40)
        classes = np.repeat(np.arange(40), sizes)
        values = rng.normal(size=40)[classes] + 0.3 * rng.normal(size=sizes.sum())
        interval = bootstrap(values, over=classes, resamples=200, seed=trial)[0]
        covered += interval.low <= 0 <= interval.high
        interval = bootstrap(values, resamples=200, seed=trial)[0]
        plain += interval.low <= 0 <= interval.high
    assert 0.9 <= covered / 200 <= 0.98
    assert plain / 200 < 0.8  # what drawing queries would claim


def test_over_classes_as_drawing_them_by_hand():
    rng = np.random.default_rng(6)
    classes, values = rng.integers(-3, 4, 50), rng.random(50)
    ours = bootstrap(values, over=classes, resamples=4000, seed=1)[0]
    names = np.unique(classes)
    means = [np.concatenate([values[classes == c] for c in rng.choice(names, names.size)]).mean() for _ in range(4000)]
    low, high = np.quantile(means, [0.025, 0.975])
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=0.02)


def test_strata_keep_their_sizes():
    """Where the strata explain everything, nothing is left to chance."""
    strata = np.repeat([0, 1, 2], [10, 40, 50])
    values = strata / 2
    fixed, free = bootstrap(values, strata=strata)[0], bootstrap(values)[0]
    assert fixed.low == fixed.high == pytest.approx(values.mean())
    assert free.high - free.low > 0.1
    both = bootstrap(values + np.arange(100) % 2, strata=strata, over=np.arange(100) // 5)[0]
    assert both.low < both.value < both.high


def test_each_group_has_the_interval_it_would_have_alone():
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat([0, 1, 3, 4], [200, 50, 4, 1]))
    values = rng.normal(groups[:, None], [1, 2], (255, 2))
    means, low, high = bootstrap_groups(values, groups, 5)
    for group in (0, 1):
        own = values[groups == group]
        for column, alone in enumerate(bootstrap(own)):
            assert means[group, column] == pytest.approx(alone.value)
            assert low[group, column] == pytest.approx(alone.low, abs=0.1 * (alone.high - alone.low))
            assert high[group, column] == pytest.approx(alone.high, abs=0.1 * (alone.high - alone.low))
    assert np.isnan(means[2]).all() and means[4].tolist() == values[groups == 4][0].tolist()
    assert np.isnan(low[2:]).all() and np.isnan(high[2:]).all()  # of nothing, of four values and of one
    fewer = bootstrap_groups(values[groups < 2], groups[groups < 2], 2)
    assert (fewer[1] == low[:2]).all()
    with pytest.raises(RetrievalError, match="a number below 3"):
        bootstrap_groups(values, groups, 3)


def test_comparison_says_which_is_higher_or_that_it_cannot_tell():
    rng = np.random.default_rng(7)
    hard = rng.random(300)
    better, noise = hard - 0.05 + 0.02 * rng.normal(size=300), hard + 0.1 * rng.normal(size=300)
    first = compare(hard, better, names=("A", "B"))
    assert first.verdict.startswith("A is higher than B by 0.0") and first.difference.low > 0
    assert (first.first.value, first.second.value) == pytest.approx((hard.mean(), better.mean()))
    second = compare(better, hard, names=("A", "B"))
    assert second.verdict.startswith("B is higher than A by 0.0")
    assert second.difference.value == pytest.approx(-first.difference.value)
    assert "the sample cannot tell A and B apart" in compare(hard, noise, names=("A", "B")).verdict
    assert "cannot tell" in compare([0.5], [0.2]).verdict
    assert compare(hard, hard).verdict.startswith("the sample cannot tell the first and the second apart")


def test_comparison_over_classes_is_more_careful():
    rng = np.random.default_rng(8)
    classes = np.repeat(np.arange(6), 50)
    a = rng.random(300)
    b = a - np.array([0.2, -0.1, 0.15, -0.12, 0.1, 0.02])[classes]  # better on some classes, worse on others
    assert "is higher" in compare(a, b).verdict
    assert "cannot tell" in compare(a, b, over=classes).verdict


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bootstrap([]), "needs numbers"),
        (lambda: bootstrap([0.5, math.nan]), "gaps"),
        (lambda: bootstrap([0.5, 0.6], confidence=95), "between 0 and 1"),
        (lambda: compare([1.0, 2.0], [1.0]), "same queries twice"),
        (lambda: bootstrap([0.5, 0.6], over=[1]), "classes of shape"),
        (lambda: bootstrap([0.5, 0.6], strata=[1, 2, 3]), "strata of shape"),
        (lambda: bootstrap([0.5, 0.6, 0.7], over=[1, 1, 2], strata=[1, 2, 2]), "two strata"),
    ],
)
def test_what_has_no_interval_is_refused(call, words):
    with pytest.raises(RetrievalError, match=words):
        call()
