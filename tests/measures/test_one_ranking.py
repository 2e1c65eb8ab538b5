"""All pairs in one ranking: against the loop of the Image Similarity Challenge, and with ties."""

from __future__ import annotations

import numpy as np
import pytest
from slow_measures import unit

from retrieval.errors import RetrievalError
from retrieval.measures import one_ranking as module
from retrieval.measures.one_ranking import best_pairs, one_ranking


def slow(scores: list[float], right: list[bool], positives: int, precision: float) -> tuple[float, float]:
    """µAP and recall at a precision, of equal scores the wrong ones first."""
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], right[i]))
    hits, total, best = 0, 0.0, 0.0
    for rank, place in enumerate(order, start=1):
        hits += right[place]
        total += right[place] * hits / rank
        if hits / rank >= precision:
            best = max(best, hits / positives)
    return total / positives, best


def found_among_its_own(asking: np.ndarray, scores: np.ndarray, right: np.ndarray, k: int) -> float:
    """How many right pairs are among the first k of their query, behind all others of the same score."""
    return sum(
        int(((asking == asking[place]) & (scores >= scores[place])).sum()) <= k for place in np.flatnonzero(right)
    )


@pytest.mark.parametrize("count", [1, 17, 100, 10_000])
def test_best_pairs_are_those_of_the_whole_matrix(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_BYTES", 4 * 30 * 3)
    rng = np.random.default_rng(0)
    queries, gallery = unit(rng.normal(size=(20, 4))), unit(rng.normal(size=(30, 4)))
    gallery[7] = gallery[3]
    found = best_pairs(queries, gallery, count)
    scores = queries.astype(np.float64) @ gallery.T
    least = np.sort(scores, axis=None)[::-1][:count][-1]
    expected = {(int(q), int(i)) for q, i in np.argwhere(scores >= least - 1e-7)}
    assert set(zip(found.queries.tolist(), found.items.tolist(), strict=True)) == expected
    np.testing.assert_allclose(found.scores, scores[found.queries, found.items], atol=1e-6)


def test_one_ranking_is_what_the_loop_says() -> None:
    rng = np.random.default_rng(1)
    for levels in (3, 10, 10**6):
        scores = rng.integers(0, levels, 60).astype(np.float32)
        right = rng.random(60) < 0.3
        asking = rng.integers(0, 9, 60)
        positives = np.bincount(asking[right], minlength=9) + 1
        pairs = module.Pairs(asking, np.arange(60), scores)
        found = one_ranking(pairs, right, positives, precision=0.5, ks=(1, 3), resamples=50)
        worst, recall = slow(scores.tolist(), right.tolist(), int(positives.sum()), 0.5)
        assert found.wrong_first.value == pytest.approx(worst)
        assert found.recall.value == pytest.approx(recall)
        assert found.average_precision.value >= worst - 1e-12
        for k, interval in found.found.items():
            expected = found_among_its_own(asking, scores, right, k) / positives.sum()
            assert interval.value == pytest.approx(expected) and interval.low <= expected <= interval.high
        assert list(found.found) == [1, 3] and found.found[3].value > 0
        if levels == 10**6:
            assert found.average_precision.value == pytest.approx(worst)
            assert found.average_precision.low < worst < found.average_precision.high
        else:
            assert np.isnan(found.average_precision.low)
    with pytest.raises(RetrievalError, match="nothing to measure"):
        one_ranking(pairs, right, np.zeros(9, np.int64))
