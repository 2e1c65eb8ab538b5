"""Probes and clusterings against scikit-learn by hand."""

from __future__ import annotations

import numpy as np
import pytest
from slow_measures import clusters

from retrieval.errors import RetrievalError
from retrieval.measures import agreement, cluster, kernel_probe, knn_probe, linear_probe, logistic_probe, probes, rank

PROBES = (linear_probe, logistic_probe, kernel_probe, knn_probe)


def standardised(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean, scale = train.mean(axis=0), train.std(axis=0) * 4  # √16
    return (train - mean) / scale, (test - mean) / scale


def machines() -> dict:
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC, LinearSVC

    return {
        linear_probe: LinearSVC(C=1.0, dual=False, tol=1e-8),
        logistic_probe: LogisticRegression(C=1.0, tol=1e-8, max_iter=2000),
        kernel_probe: SVC(C=1.0, gamma=1.0),
    }


@pytest.mark.parametrize("probe", PROBES[:3])
def test_probe_as_scikit_learn_by_hand(probe):
    train, train_labels = clusters(600, 4, seed=0, noise=4)
    test, labels = clusters(200, 4, seed=1, noise=4)
    result = probe(train, train_labels, test, labels, costs=(1.0,))
    features, asked = standardised(train, test)
    peer = machines()[probe].fit(features, train_labels)
    agree = (peer.predict(asked) == labels) == (result.correct == 1)
    assert agree.mean() >= 0.99 and result.converged
    assert 0.3 < result.correct.mean() < 0.95


def test_nearest_neighbours_as_the_rankings_own():
    train, train_labels = clusters(300, 4, seed=0, noise=3)
    test, labels = clusters(80, 5, seed=1, noise=3)  # one class is unknown
    result = knn_probe(train, train_labels, test, labels, neighbours=(10,))
    ranked = rank(test, labels, train, train_labels, neighbours=10)
    expected = np.zeros(80)
    expected[ranked.queries] = ranked.values["kNN accuracy (k=10)"]
    np.testing.assert_array_equal(result.correct, expected)
    assert (labels == 4).any() and not result.correct[labels == 4].any()


@pytest.mark.parametrize("probe", PROBES)
def test_probe_chooses_without_the_test_set(probe):
    train, train_labels = clusters(300, 4, seed=0, noise=4)
    test, labels = clusters(60, 4, seed=1, noise=4)
    first = probe(train, train_labels, test, labels, seed=3)
    other = probe(train, train_labels, -test, (labels + 1) % 4, seed=3)
    assert (first.chosen, first.validation) == (other.chosen, other.validation)
    assert first.validation > 0.25


def test_nearest_neighbours_are_as_many_as_validation_says():
    """One neighbour of noisy labels is worse than many."""
    rng = np.random.default_rng(2)
    train, train_labels = clusters(500, 3, seed=0, noise=0.5)
    wrong = np.where(rng.random(500) < 0.3, rng.integers(0, 3, 500), train_labels)
    result = knn_probe(train, wrong, *clusters(100, 3, seed=1, noise=0.5))
    assert result.chosen >= 10 and result.correct.mean() > 0.95


def test_probe_takes_a_stratified_sample_of_too_many(monkeypatch):
    train, train_labels = clusters(2000, 4, seed=0)
    train_labels[:500] = -1
    monkeypatch.setattr(probes, "FIT_NUMBERS", 16 * 4 * 300)
    monkeypatch.setattr(probes, "KERNEL_ITEMS", 300)
    for probe in PROBES[:3]:
        result = probe(train, train_labels, *clusters(100, 4, seed=1))
        assert (result.trained_on, result.available) == (300, 1500)
        assert result.correct.mean() > 0.9


@pytest.mark.parametrize("probe", PROBES)
def test_one_class_is_refused(probe):
    train, _ = clusters(20, 4, seed=0)
    with pytest.raises(RetrievalError, match="two classes"):
        probe(train, np.zeros(20, int), train, np.zeros(20, int))


@pytest.mark.parametrize("probe", PROBES)
def test_probe_of_a_collapsed_embedding_is_chance(probe):
    labels = np.arange(100) % 5
    same = np.full((100, 8), 8**-0.5, np.float32)
    assert probe(same, labels, same, labels).correct.mean() == pytest.approx(0.2)


# Clusterings


def slow_nmi(labels: np.ndarray, found: np.ndarray) -> float:
    """Mutual information by the mean of both entropies, from counts."""
    joint = np.array([[((labels == a) & (found == b)).mean() for b in np.unique(found)] for a in np.unique(labels)])
    rows, columns = joint.sum(axis=1), joint.sum(axis=0)

    def entropy(shares: np.ndarray) -> float:
        return -(shares[shares > 0] * np.log(shares[shares > 0])).sum()

    mutual = entropy(rows) + entropy(columns) - entropy(joint)
    return mutual / ((entropy(rows) + entropy(columns)) / 2)


def test_agreement_by_hand_and_adjusted_for_chance():
    rng = np.random.default_rng(0)
    labels, found = rng.integers(-1, 4, 200), rng.integers(0, 30, 200)
    kept = labels != -1
    result = agreement(labels, found)
    assert result.nmi == pytest.approx(slow_nmi(labels[kept], found[kept]))
    assert result.nmi > 0.1 and abs(result.ami) < 0.05  # it means nothing
    same = agreement(labels, (labels * 7) % 13)
    assert same.nmi == same.ami == pytest.approx(1)


def test_clusters_of_clusters_are_found_again():
    vectors, labels = clusters(300, 6, seed=1, noise=0.1)
    labels[::10] = -1
    result = cluster(vectors, labels)
    assert result.nmi == result.ami == pytest.approx(1)
    assert result.clusters.shape == (270,)
    again, other = cluster(vectors, labels, clusters=40), cluster(vectors, labels, clusters=40, seed=1)
    np.testing.assert_array_equal(again.clusters, cluster(vectors, labels, clusters=40).clusters)
    assert (again.clusters != other.clusters).any() and len(np.unique(again.clusters)) == 40


def test_a_collapsed_embedding_has_no_clusters():
    result = cluster(np.ones((60, 4), np.float32), np.arange(60) % 3)
    assert result.nmi == pytest.approx(0) and result.ami == pytest.approx(0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: agreement([0, 1], [0]), "clusters of shape"),
        (lambda: agreement([0, 1], [0.0, 1.0]), "float64"),
        (lambda: agreement([-1, -1], [0, 1]), "has a label"),
        (lambda: cluster(np.ones((3, 2), np.float32), [0, 1, 1], clusters=4), "cannot make 4"),
        (lambda: cluster(np.ones((3, 2), np.float32), [-1, -1, -1]), "cannot make 0"),
    ],
)
def test_what_cannot_be_clustered_is_refused(call, words):
    with pytest.raises(RetrievalError, match=words):
        call()
