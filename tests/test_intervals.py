"""Bootstrap intervals: they cover what they should, and nothing depends on luck."""

from __future__ import annotations

import math

import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.measures import bootstrap, difference


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


def test_one_value_has_no_interval():
    interval = bootstrap([0.5])[0]
    assert interval.value == 0.5 and math.isnan(interval.low) and math.isnan(interval.high)


def test_paired_difference_sees_what_two_intervals_cannot():
    rng = np.random.default_rng(3)
    hard = rng.random(200)
    a, b = hard, np.clip(hard - 0.02 + 0.01 * rng.normal(size=200), 0, 1)
    one, two = bootstrap(a)[0], bootstrap(b)[0]
    assert one.low < two.high  # they overlap
    apart = difference(a, b)
    assert apart.low > 0 and apart.value == pytest.approx(a.mean() - b.mean())
    nothing = difference(a, a[::-1])
    assert nothing.low < 0 < nothing.high


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bootstrap([]), "needs numbers"),
        (lambda: bootstrap([0.5, math.nan]), "gaps"),
        (lambda: bootstrap([0.5, 0.6], confidence=95), "between 0 and 1"),
        (lambda: difference([1.0, 2.0], [1.0]), "same queries twice"),
    ],
)
def test_what_has_no_interval_is_refused(call, words):
    with pytest.raises(RetrievalError, match=words):
        call()
