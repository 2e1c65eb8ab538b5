"""Intervals hold the truth as often as they say, and nothing depends on luck."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit, logit, stdtrit

from retrieval.errors import RetrievalError
from retrieval.measures import bootstrap, compare, mean_intervals, mean_intervals_of_groups, pair_scores, verify

# How often: benchmarks/intervals.py has 2,000 samples of many more populations. Each of these tells the intervals from
# the percentiles of a bootstrap, which miss too often.


def holds(low: np.ndarray, high: np.ndarray, truth: float) -> float:
    return float(((np.asarray(low) <= truth) & (truth <= np.asarray(high))).mean())


def percentiles(samples: np.ndarray, truth: float) -> float:
    """How often they hold the mean; of samples (draws, n)."""
    n = samples.shape[1]
    times = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), 500)
    return holds(*np.quantile(times @ samples.T / n, [0.025, 0.975], axis=0), truth)


def test_of_few_queries_that_are_right_or_wrong():
    samples = (np.random.default_rng(0).random((300, 20)) < 0.9).astype(float)
    found = [mean_intervals(sample)[0] for sample in samples]
    assert holds([one.low for one in found], [one.high for one in found], 0.9) > 0.96
    assert percentiles(samples, 0.9) < 0.91


def test_of_few_queries_most_of_which_are_perfect():
    """As average precision is: 60 % score 1, and the others lie anywhere."""
    rng = np.random.default_rng(1)
    samples = np.where(rng.random((400, 20)) < 0.6, 1, rng.beta(1.5, 0.5, (400, 20)))
    found = [mean_intervals(sample)[0] for sample in samples]
    assert holds([one.low for one in found], [one.high for one in found], 0.9) > 0.93
    assert percentiles(samples, 0.9) < 0.91
    widths = [one.high - one.low for one in found]
    assert np.mean(widths) < 1.3 * 2 * 1.96 * samples.mean(axis=1).std()


def test_of_paired_differences_of_few_queries():
    """One in ten is right after having been wrong, one in fifty the other way."""
    lot = np.random.default_rng(2).random((300, 20))
    samples = (lot < 0.1).astype(float) - (lot > 0.98)
    found = [compare(np.maximum(one, 0), np.maximum(-one, 0)).difference for one in samples]
    assert holds([one.low for one in found], [one.high for one in found], 0.08) > 0.93
    assert percentiles(samples, 0.08) < 0.91


def test_of_few_classes_of_unequal_size():
    """Large classes do better; P@10 with a mean of about 0.2."""
    rng = np.random.default_rng(3)

    def drawn(classes: int) -> tuple[np.ndarray, np.ndarray]:
        of = np.minimum(rng.geometric(1 / 8, classes), 40)
        level = 0.2 * np.sqrt(of / 12)
        values = rng.binomial(10, np.repeat(rng.beta(4 * level, 4 * (1 - level)), of)) / 10
        return values, np.repeat(np.arange(classes), of)

    truth = drawn(400_000)[0].mean()
    times = rng.multinomial(20, np.full(20, 1 / 20), 500)
    ours, theirs = [], []
    for _ in range(400):
        values, of = drawn(20)
        one = mean_intervals(values, over=of)[0]
        ours.append(one.low <= truth <= one.high)
        means = (times @ np.bincount(of, values)) / (times @ np.bincount(of))
        theirs.append(holds(*np.quantile(means, [0.025, 0.975]), truth))
    assert np.mean(ours) > 0.905 > np.mean(theirs) + 0.01


def test_of_verification_of_few_classes():
    rng = np.random.default_rng(4)

    def figures(classes: int, **options):
        of = 2 + np.minimum(rng.geometric(1 / 5, classes), 18)
        labels = np.repeat(np.arange(classes), of)
        spread = np.exp(0.4 * rng.normal(size=classes))[labels, None]
        vectors = 1.5 * rng.normal(size=(classes, 16))[labels] + spread * rng.normal(size=(len(labels), 16))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        pairs = pair_scores(
            vectors.astype(np.float32), labels, sample=20_000, balanced=True, seed=int(rng.integers(99))
        )
        return verify(pairs, **options)

    truth = {name: one.value for name, one in figures(3000, resamples=2).items()}
    held = {name: [] for name in truth}
    for _ in range(150):
        for name, one in figures(20, resamples=60).items():
            held[name].append(one.low <= truth[name] <= one.high)
    assert all(np.mean(held[name]) > 0.89 for name in truth), {name: np.mean(held[name]) for name in truth}


# Where there is nothing to be seen


@pytest.mark.parametrize("units", [2, 5, 20, 1000])
def test_all_right_all_wrong_and_all_alike_leave_room_for_what_was_missed(units):
    from retrieval.measures.intervals import wilson

    quantile = {2: 12.706, 5: 2.7764, 20: 2.0930, 1000: 1.96234}[units]
    right, wrong, tenth = (mean_intervals(np.full(units, value))[0] for value in (1.0, 0.0, 0.1))
    assert (right.low, right.high) == pytest.approx((wilson(1, units, quantile)[0], 1), abs=1e-5)
    assert (wrong.low, wrong.high) == pytest.approx((0, wilson(0, units, quantile)[1]), abs=1e-5)
    assert tenth.low < 0.1 < tenth.high and tenth.high - 0.1 > 0.1 - tenth.low  # there is more room above
    same = compare(np.full(units, 0.3), np.full(units, 0.3)).difference
    assert -same.low == pytest.approx(same.high) and same.high == pytest.approx(wrong.high)
    apart = compare(np.ones(units), np.zeros(units)).difference
    assert apart.low < apart.value == apart.high == 1


def test_perfect_verification_of_few_classes_may_still_err():
    vectors = np.repeat(np.eye(12, dtype=np.float32), 3, axis=0)
    found = verify(pair_scores(vectors, np.repeat(np.arange(12), 3)), resamples=50)
    assert (found["AUC"].value, found["AUC"].high) == (1, 1) and 0.6 < found["AUC"].low < 0.9
    assert (found["EER"].value, found["EER"].low) == (0, 0) and 0.1 < found["EER"].high < 0.4


def test_ends_stay_within_what_is_possible_and_the_longer_side_is_where_there_is_room():
    rng = np.random.default_rng(5)
    for n in (2, 3, 4, 7, 30):
        high, low = mean_intervals(rng.beta(5, 0.3, n))[0], mean_intervals(rng.beta(0.3, 5, n))[0]
        for one in (high, low):
            assert 0 <= one.low < one.value < one.high <= 1
        assert high.value - high.low > high.high - high.value and low.high - low.value > low.value - low.low


def test_without_limits_it_is_students_interval():
    values = np.random.default_rng(6).uniform(-5, 9, 40)  # flat: no kurtosis that would leave fewer degrees of freedom
    found = mean_intervals(values, limits=None)[0]
    error = values.std(ddof=1) / math.sqrt(40)
    assert (found.low, found.high) == pytest.approx((values.mean() - 2.02269 * error, values.mean() + 2.02269 * error))
    heavy = np.append(values, 18)
    found, n = mean_intervals(heavy, limits=None)[0], 41
    off = heavy - heavy.mean()
    excess = n * (off**4).sum() / (off**2).sum() ** 2 - 3
    unbiased = (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * excess + 6)
    freedom = 2 / (unbiased / n + 2 / (n - 1))
    assert 5 < freedom < 35
    half = stdtrit(freedom, 0.975) * heavy.std(ddof=1) / math.sqrt(n)
    assert (found.low, found.high) == pytest.approx((heavy.mean() - half, heavy.mean() + half))
    alone = mean_intervals(np.append(np.zeros(40), 1.0), limits=None)[0]  # no fewer than five
    assert alone.high - alone.value == pytest.approx(2.57058 / 41)


def test_moves_are_those_of_leaving_each_class_out():
    """The jackknife, written out; on the log-odds scale with the degrees of freedom of so few, equal classes."""
    rng = np.random.default_rng(7)
    classes, values = np.repeat(np.arange(6), 4), rng.random(24)
    found = mean_intervals(values, over=classes)[0]
    without = np.array([values[classes != one].mean() for one in range(6)])
    error = math.sqrt(5 / 6 * ((without - without.mean()) ** 2).sum())
    step = 2.57058 * error / (found.value * (1 - found.value))
    assert expit(logit(found.value) - step) == pytest.approx(found.low)
    assert expit(logit(found.value) + step) == pytest.approx(found.high)


def test_bootstrap_of_a_mean_is_about_its_interval():
    values = np.random.default_rng(8).beta(2, 1, 80)
    one = mean_intervals(values)[0]
    value, low, high = bootstrap(lambda times: [times @ values / times.sum()], 80, resamples=4000)
    assert value[0] == pytest.approx(one.value)
    assert (low[0], high[0]) == pytest.approx((one.low, one.high), abs=0.05 * (one.high - one.low))
    assert bootstrap(lambda times: [1.0, math.nan], 80, resamples=5)[1].tolist() == pytest.approx(
        [mean_intervals(np.ones(80))[0].low, math.nan], nan_ok=True
    )


def test_interval_of_a_share_is_near_the_normal_one():
    hits = (np.arange(1000) < 300).astype(float)
    interval = mean_intervals(hits)[0]
    width = 1.96 * math.sqrt(0.3 * 0.7 / 1000)
    assert interval.value == 0.3 and interval.n == 1000
    assert interval.low == pytest.approx(0.3 - width, abs=0.004)
    assert interval.high == pytest.approx(0.3 + width, abs=0.004)


def test_columns_are_each_for_itself():
    values = np.random.default_rng(1).random((50, 2))
    both = mean_intervals(values)
    for column, one in zip(values.T, both, strict=True):
        assert vars(mean_intervals(column)[0]) == pytest.approx(vars(one))


def test_more_confidence_is_a_wider_interval():
    values = np.random.default_rng(2).random(80)
    narrow, wide = mean_intervals(values, confidence=0.5)[0], mean_intervals(values, confidence=0.99)[0]
    assert wide.low < narrow.low < narrow.high < wide.high


def test_one_class_has_no_interval():
    interval = mean_intervals([0.5, 0.7], over=[3, 3])[0]
    assert interval.value == 0.6 and math.isnan(interval.low) and math.isnan(interval.high)


def test_one_value_has_no_interval():
    interval = mean_intervals([0.5])[0]
    assert interval.value == 0.5 and math.isnan(interval.low) and math.isnan(interval.high)


def test_paired_difference_sees_what_two_intervals_cannot():
    rng = np.random.default_rng(3)
    hard = rng.random(200)
    a, b = hard, np.clip(hard - 0.02 + 0.01 * rng.normal(size=200), 0, 1)
    one, two = mean_intervals(a)[0], mean_intervals(b)[0]
    assert one.low < two.high  # they overlap
    apart = compare(a, b).difference
    assert apart.low > 0 and apart.value == pytest.approx(a.mean() - b.mean())
    nothing = compare(a, a[::-1]).difference
    assert nothing.low < 0 < nothing.high


def test_over_classes_is_wider_where_queries_of_a_class_are_alike():
    rng = np.random.default_rng(4)
    classes = np.repeat(np.arange(20), 30)
    values = rng.normal(size=20)[classes] + 0.1 * rng.normal(size=600)
    queries, whole = (mean_intervals(values, over=of, limits=None)[0] for of in (None, classes))
    assert queries.value == whole.value == pytest.approx(values.mean())
    assert whole.high - whole.low > 4 * (queries.high - queries.low)
    lonely = mean_intervals(values, over=np.arange(600), limits=None)[0]  # classes of one query each are queries
    assert (lonely.low, lonely.high) == pytest.approx((queries.low, queries.high))


def test_strata_are_no_part_of_what_moves():
    """Of the variance that within the strata is left; one that is alone stands beside the mean of all."""
    rng = np.random.default_rng(9)
    strata = np.repeat([0, 1, 2], [10, 40, 50])
    values = strata / 2 + rng.normal(0, 0.01, 100)
    fixed, free = (mean_intervals(values, strata=of, limits=None)[0] for of in (strata, None))
    within = [values[strata == one].var(ddof=1) * (strata == one).sum() for one in range(3)]
    assert fixed.high - fixed.low == pytest.approx(2 * 1.985 * math.sqrt(sum(within)) / 100, rel=0.02)
    assert free.high - free.low > 10 * (fixed.high - fixed.low)
    both = mean_intervals(values, strata=strata, over=np.arange(100) // 5, limits=None)[0]
    assert both.low < both.value < both.high
    still = mean_intervals(strata / 2, strata=strata)[0]
    assert still.low < still.value < still.high
    alone = mean_intervals(np.append(values, 9.0), strata=np.append(strata, 3), limits=None)[0]
    assert alone.high - alone.low > 5 * (fixed.high - fixed.low)


def test_each_group_has_the_interval_it_would_have_alone():
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat([0, 1, 3, 4], [200, 50, 4, 1]))
    values = rng.random((255, 2))
    means, low, high = mean_intervals_of_groups(values, groups, 5)
    for group in (0, 1):
        for column, alone in enumerate(mean_intervals(values[groups == group])):
            found = means[group, column], low[group, column], high[group, column]
            assert found == pytest.approx((alone.value, alone.low, alone.high))
    assert np.isnan(means[2]).all() and means[4].tolist() == values[groups == 4][0].tolist()
    assert np.isnan(low[2:]).all() and np.isnan(high[2:]).all()  # of nothing, of four values and of one
    with pytest.raises(RetrievalError, match="a number below 3"):
        mean_intervals_of_groups(values, groups, 3)


def test_comparison_says_which_is_higher_or_that_it_cannot_tell():
    rng = np.random.default_rng(7)
    hard = rng.random(300)
    hard = 0.1 + 0.5 * hard
    better, noise = hard - 0.05 + 0.02 * rng.normal(size=300), hard + 0.03 * rng.normal(size=300)
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
    a = 0.3 + 0.4 * rng.random(300)
    b = a - np.array([0.2, -0.1, 0.15, -0.12, 0.1, 0.02])[classes]  # better on some classes, worse on others
    assert "is higher" in compare(a, b).verdict
    assert "cannot tell" in compare(a, b, over=classes).verdict


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mean_intervals([]), "needs numbers"),
        (lambda: mean_intervals([0.5, math.nan]), "gaps"),
        (lambda: mean_intervals([0.5, 0.6], confidence=95), "between 0 and 1"),
        (lambda: mean_intervals([0.5, 1.6]), "1 of 2 values, such as 1.6, do not lie between the limits, 0 and 1"),
        (lambda: compare([1.0, 2.0], [1.0]), "same queries twice"),
        (lambda: mean_intervals([0.5, 0.6], over=[1]), "classes of shape"),
        (lambda: mean_intervals([0.5, 0.6], strata=[1, 2, 3]), "strata of shape"),
        (lambda: mean_intervals([0.5, 0.6, 0.7], over=[1, 1, 2], strata=[1, 2, 2]), "two strata"),
    ],
)
def test_what_has_no_interval_is_refused(call, words):
    with pytest.raises(RetrievalError, match=words):
        call()
