"""Recall of an approximate search, by scores and by ids."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.measures import intersection, recall_of


def test_by_scores_ties_are_equally_good():
    truth = np.array([[3.0, 2, 2], [3, 2, 1]])
    found = np.array([[3.0, 2, 2], [3, 1, 0.5]])
    assert recall_of(found, truth).tolist() == [1, 2 / 3]
    # by ids another item of the same score looks like a miss
    assert recall_of(np.array([[7, 8, 5]]), np.array([[7, 8, 9]])).tolist() == [2 / 3]


def test_as_a_search_that_forgets_items():
    """Against brute force over a gallery where an item is found unless it was forgotten."""
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 12, (30, 50)).astype(np.float32)
    forgotten = rng.random((30, 50)) < 0.3
    ids = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    truth = np.take_along_axis(scores, ids, axis=1)
    kept = np.where(forgotten, -np.inf, scores)
    found_ids = np.argsort(-kept, axis=1, kind="stable")[:, :10]
    found = np.take_along_axis(kept, found_ids, axis=1)
    by_scores, by_ids = recall_of(found, truth), recall_of(found_ids, ids)
    for q in range(30):
        good = set(np.flatnonzero(scores[q] >= truth[q, -1]))  # all that a right answer may hold
        assert by_scores[q] == len(good & set(found_ids[q])) / 10
        assert by_ids[q] == len(set(ids[q]) & set(found_ids[q])) / 10
    assert (by_ids <= by_scores).all() and (by_ids < by_scores).any() and by_scores.mean() < 0.95


def test_rows_that_are_not_full():
    nothing = -np.inf
    assert recall_of(np.array([[2.0, nothing]]), np.array([[2.0, 1, nothing]])).tolist() == [0.5]
    assert recall_of(np.array([[4, -1]]), np.array([[4, 5, -1]])).tolist() == [0.5]
    assert recall_of(np.zeros((2, 0)), np.ones((2, 3))).tolist() == [0, 0]


def test_more_found_than_asked_for_is_not_more_than_all():
    assert recall_of(np.array([[2.0, 2, 2, 2]]), np.array([[2.0, 2]])).tolist() == [1]


def test_intersection_is_of_the_longer_list():
    a, b = np.array([[1, 2, 3], [4, -1, -1], [-1, -1, -1]]), np.array([[3, 1], [5, 4], [-1, -1]])
    assert intersection(a, b).tolist() == intersection(b, a).tolist() == [2 / 3, 0.5, 1]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: recall_of(np.ones((2, 3)), np.ones((1, 3))), "one row a query"),
        (lambda: recall_of(np.ones((2, 3)), np.ones((2, 3), int)), "of scores or of ids"),
        (lambda: recall_of(np.full((2, 3), np.nan), np.ones((2, 3))), "not a number"),
        (lambda: recall_of(np.ones((2, 3)), np.full((2, 3), -np.inf)), "2 of 2 queries"),
        (lambda: recall_of(np.ones((2, 3), int), np.full((2, 3), -1)), "2 of 2 queries"),
        (lambda: intersection(np.ones((2, 3)), np.ones((2, 3))), "integers"),
    ],
)
def test_what_does_not_fit_is_refused(call, words):
    with pytest.raises(RetrievalError, match=words):
        call()
