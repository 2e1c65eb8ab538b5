"""N-way K-shot trials: drawn fairly, and a network that says nothing scores 1/N."""

from __future__ import annotations

import numpy as np
import pytest
from slow_measures import clusters

from retrieval.errors import RetrievalError
from retrieval.measures import draw_trials, few_shot, few_shot_of_scores, mean_intervals


@pytest.mark.parametrize("ways", [2, 5, 20])
@pytest.mark.parametrize("shots", [1, 5])
def test_a_constant_network_scores_exactly_one_in_n(ways, shots):
    same = np.tile(np.random.default_rng(0).normal(size=(1, 37)), (300, 1)).astype(np.float32)
    result = few_shot(same, np.arange(300) % 25, ways, shots, trials=777)
    assert result.accuracy == result.chance == 1 / ways
    assert set(result.correct) == {1 / ways}


def test_trials_are_what_they_say():
    labels = np.repeat(np.arange(12), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
    labels[5] = -1
    trials = draw_trials(labels, ways=4, shots=3, trials=2000, seed=1)
    shown = labels[trials.support]
    assert trials.support.shape == (2000, 4, 3)
    assert (shown == shown[:, :, :1]).all()  # each slot shows one class
    assert all(len(set(row)) == 4 for row in shown[:, :, 0].tolist())  # and each another
    assert (labels[trials.queries] == trials.labels).all()
    assert (shown[np.arange(2000), trials.truth, 0] == trials.labels).all()
    everything = np.concatenate([trials.support.reshape(2000, -1), trials.queries[:, None]], axis=1)
    assert all(len(set(row)) == 13 for row in everything.tolist())  # no item twice in a trial
    assert set(shown.ravel()) == set(range(3, 12))  # those with four items or more


def test_everything_is_drawn_evenly():
    labels = np.repeat(np.arange(8), 6)
    trials = draw_trials(labels, ways=3, shots=2, trials=12_000, seed=2)
    for counts, cells in (
        (np.bincount(trials.truth), 3),
        (np.bincount(trials.labels), 8),
        (np.bincount(trials.queries), 48),
        (np.bincount(trials.support[:, :, 0].ravel()), 48),
        (np.bincount(trials.support[:, :, 1].ravel()), 48),
        (np.bincount(labels[trials.support[:, 0, 0]]), 8),
    ):
        expected = counts.sum() / cells
        assert counts.size == cells
        assert abs(counts - expected).max() < 5 * np.sqrt(expected)


def test_groups_keep_to_themselves():
    labels = np.repeat(np.arange(15), 4)
    groups = np.array([0] * 5 + [1] * 8 + [2] * 2)[labels]  # the last has too few classes
    labels = np.concatenate([labels, [-1, -1]])  # what has no label may be of any group
    groups = np.concatenate([groups, [0, 1]])
    trials = draw_trials(labels, ways=4, trials=3000, seed=3, groups=groups)
    shown = groups[trials.support[:, :, 0]]
    assert (shown == shown[:, :1]).all()
    assert set(shown.ravel()) == {0, 1}
    assert np.mean(shown[:, 0]) == pytest.approx(0.5, abs=0.05)  # each group as likely as the other
    mixed = groups[draw_trials(labels, ways=4, trials=300, seed=3).support[:, :, 0]]
    assert (mixed != mixed[:, :1]).any()


@pytest.mark.parametrize("shots", [1, 3])
def test_accuracy_as_a_loop(shots):
    vectors, labels = clusters(200, 10, seed=0)
    vectors[50:100] = vectors[:50]  # copies, some with another label
    result = few_shot(vectors, labels, 5, shots, trials=300, seed=4)
    trials = draw_trials(labels, ways=5, shots=shots, trials=300, seed=4)
    expected = []
    for query, support, truth in zip(trials.queries, trials.support, trials.truth, strict=True):
        scores = [np.mean([float(vectors[i].astype(float) @ vectors[query]) for i in slot]) for slot in support]
        best = np.float32(max(scores))
        winners = [slot for slot, score in enumerate(scores) if np.float32(score) == best]
        expected.append((truth in winners) / len(winners))
    np.testing.assert_allclose(result.correct, expected)
    assert 0.3 < result.accuracy < 0.95 and result.accuracy == pytest.approx(np.mean(expected))
    assert {0.5} & set(expected) or shots > 1  # ties there were
    interval = mean_intervals(result.correct, over=result.labels)[0]
    assert interval.low < result.accuracy < interval.high


def test_scores_of_a_pair_network():
    trials = draw_trials(np.repeat(np.arange(6), 3), ways=3, trials=4, seed=5)
    scores = np.zeros((4, 3))
    scores[[0, 1], trials.truth[:2]] = 1  # right
    scores[2, (trials.truth[2] + 1) % 3] = 1  # wrong; the last one cannot tell
    assert few_shot_of_scores(scores, trials).correct.tolist() == [1, 1, 0, 1 / 3]


def test_the_seed_settles_the_trials():
    labels = np.repeat(np.arange(10), 5)
    one, same, other = (draw_trials(labels, ways=5, trials=50, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.support, same.support)
    assert (one.support != other.support).any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ways": 1}, "1 ways"),
        ({"ways": 4}, "need 4 classes with 2 items"),
        ({"shots": 4}, "need 2 classes with 5 items"),
        ({"groups": np.arange(12) // 4}, "need 2 classes in one group"),
        ({"groups": np.arange(12) % 2}, "two groups"),
        ({"groups": np.zeros(3, int)}, "groups of shape"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, words):
    with pytest.raises(RetrievalError, match=words):
        draw_trials(np.repeat([0, 1, 2], 4), **{"ways": 2, **options})


def test_scores_that_answer_nothing_are_refused():
    trials = draw_trials(np.repeat(np.arange(6), 3), ways=3, trials=4)
    for scores, words in ((np.zeros((4, 2)), "3 ways"), (np.full((4, 3), np.nan), "4 trials")):
        with pytest.raises(RetrievalError, match=words):
            few_shot_of_scores(scores, trials)
