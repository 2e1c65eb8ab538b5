"""Near-duplicates of a query left out of its ranking, and whose labels its neighbours have: against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from vectors import unit

from retrieval.errors import RetrievalError
from retrieval.measures import rank


def noisy(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of four classes, many of them copies of others but for a little noise, and labels."""
    rng = np.random.default_rng(seed)
    vectors, labels = unit(n, 6, seed), rng.integers(0, 4, n)
    copied = rng.choice(n, n // 2, replace=False)
    vectors[copied] = vectors[rng.integers(0, n, n // 2)] + rng.choice([0, 0.01, 0.2], (n // 2, 1)) * unit(n // 2, 6)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), labels


@pytest.mark.parametrize("same", [True, False])
def test_as_if_they_had_been_named_to_be_ignored(same):
    vectors, numbers = noisy(240, 0)
    gallery, gallery_labels = vectors[40:], numbers[40:]
    queries, labels = (gallery, gallery_labels) if same else (vectors[:40], numbers[:40])
    products = queries @ gallery.T
    above = [np.flatnonzero(row >= 0.98) for row in products]
    assert np.abs(products - 0.98).min() > 1e-5  # no score is so near that rounding decides
    shelf = () if same else (gallery, gallery_labels)
    expected = rank(queries, labels, *shelf, ignore=above, levels=[0.2, 0.7])
    found = rank(queries, labels, *shelf, duplicate_score=0.98, levels=[0.2, 0.7])
    for name, values in expected.values.items():
        np.testing.assert_array_equal(found.values[name], values)
        assert found.chance[name] == expected.chance[name]
    for name in ("queries", "relevant", "best", "curves"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert found.best.max() < 0.98
    counts = np.array([near.size for near in above]) - same  # a query is left out as itself, not as its duplicate
    assert found.near_duplicates.tolist() == counts[found.queries].tolist() and counts.max() > 0
    assert found.near_duplicates_in_all == counts.sum()
    assert expected.near_duplicates_in_all == 0 == expected.near_duplicates.max()


def test_of_codes_too():
    rng = np.random.default_rng(0)
    codes, labels = rng.integers(0, 256, (120, 3)).astype(np.uint8), rng.integers(0, 3, 120)
    distance = np.bitwise_count(codes[:, None] ^ codes[None]).sum(axis=2)
    for most in (0, 5, 8):
        above = [np.flatnonzero(row <= most) for row in distance]
        found = rank(codes, labels, duplicate_score=1 - 2 * most / 24)
        expected = rank(codes, labels, ignore=above)
        assert found.values["mAP"].tolist() == expected.values["mAP"].tolist()
        assert found.near_duplicates_in_all == sum(near.size - 1 for near in above)


def test_a_query_whose_answers_are_all_near_duplicates_is_left_out_and_counted():
    vectors = np.repeat(unit(3, 4), [2, 2, 3], axis=0)
    found = rank(vectors, [0, 0, 1, 1, 2, 2, 2], duplicate_score=2.0)
    assert len(found.queries) == 7 and found.near_duplicates_in_all == 0
    vectors[6] = unit(1, 4, seed=9)
    found = rank(vectors, [0, 0, 1, 1, 2, 2, 2], duplicate_score=0.999)
    assert found.queries.tolist() == [4, 5, 6] and found.without_relevant == 4 and found.near_duplicates_in_all == 6
    with pytest.raises(RetrievalError, match="none of the 2 queries"):
        rank(vectors[:2], [0, 0], duplicate_score=0.999)
    with pytest.raises(RetrievalError, match="begin at the score -1"):
        rank(vectors, [0, 0, 1, 1, 2, 2, 2], duplicate_score=-1)


def test_labels_of_the_neighbours_are_counted_ties_by_expectation():
    rng = np.random.default_rng(3)
    vectors = unit(5, 3)[rng.integers(0, 5, 60)]  # five different vectors: everything ties
    labels = rng.integers(-1, 4, 60)
    expected = np.zeros((4, 4))
    scores = vectors @ vectors.T
    for query in np.flatnonzero(labels >= 0):
        others = np.flatnonzero((labels >= 0) & (np.arange(60) != query))
        left = 10.0
        for score in sorted({round(float(s), 5) for s in scores[query, others]}, reverse=True):
            tied = others[np.abs(scores[query, others] - score) < 2e-5]
            share = min(left, tied.size) / tied.size
            np.add.at(expected[labels[query]], labels[tied], share)
            left -= min(left, tied.size)
    found = rank(vectors, labels, classes=4)
    np.testing.assert_allclose(found.confusion, expected, atol=1e-8)
    assert found.confusion.sum() == pytest.approx(10 * (labels >= 0).sum())
    again = rank(vectors, labels, classes=4, threads=3)
    assert (found.confusion == again.confusion).all()
    assert rank(vectors, labels).confusion is None
    with pytest.raises(RetrievalError, match="labels of 3 classes are 0 to 2"):
        rank(vectors, labels, classes=3)
