"""Calibration: known posteriors recovered, thresholds by brute force, halves that share no label, hostile records."""

from __future__ import annotations

import copy
import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from retrieval.cli import calibrate as calibrate_verb
from retrieval.cli import query as query_verb
from retrieval.errors import RetrievalError
from retrieval.index import Index, NewItem
from retrieval.ingest import build
from retrieval.measures import Pairs
from retrieval.search import rerank
from retrieval.search.answer import shown
from retrieval.search.arrangement import Arrangement
from retrieval.search.calibration import (
    Calibration,
    Isotonic,
    Logistic,
    calibrate,
    calibrate_index,
    fitting,
    reliability,
)
from retrieval.search.calibration.cohort import Cohort
from retrieval.search.calibration.evidence import Evidence
from retrieval.search.calibration.fitting import match_threshold, no_match_threshold, pair_rates
from retrieval.search.calibration.halves import Asking, Labelled
from retrieval.search.calibration.record import fold
from retrieval.search.calibration.reliability import auc
from retrieval.search.calibration.score_map import fit, fit_isotonic, fit_logistic, log_loss
from retrieval.search.calibration.weights import Weights, fit_weights
from retrieval.search.search import Search

DIM = 16


def drawn(n: int, curve: Any, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores from 0 to 1, and matches with the probability that a curve gives them."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0, 1, n)
    return scores, rng.uniform(size=n) < curve(scores)


def sigmoid(scores: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-(9 * scores - 5)))


def steps(scores: np.ndarray) -> np.ndarray:
    return np.where(scores < 0.3, 0.05, np.where(scores < 0.9, 0.5, 0.97))


# Maps


@pytest.mark.parametrize(("fitted", "curve"), [(fit_logistic, sigmoid), (fit_isotonic, sigmoid), (fit_isotonic, steps)])
def test_a_known_posterior_is_recovered(fitted: Any, curve: Any) -> None:
    scores, matched = drawn(20_000, curve)
    at = np.linspace(0.02, 0.98, 200)
    at = at[(abs(at - 0.3) > 0.02) & (abs(at - 0.9) > 0.02)]  # where the steps are, any height is right
    assert np.abs(fitted(scores, matched)(at) - curve(at)).max() < 0.07
    assert np.abs(fitted(scores, matched)(at) - curve(at)).mean() < 0.02


def test_the_logistic_curve_is_scikit_learns_with_platts_targets() -> None:
    from sklearn.linear_model import LogisticRegression

    scores, matched = drawn(300, sigmoid, seed=3)
    up, down = matched.sum(), (~matched).sum()
    target = np.where(matched, (up + 1) / (up + 2), 1 / (down + 2))
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    x = np.concatenate([scores, scores])[:, None]
    model.fit(x, np.repeat([True, False], 300), sample_weight=np.concatenate([target, 1 - target]))
    found = fit_logistic(scores, matched)
    assert found.slope == pytest.approx(model.coef_[0, 0], rel=1e-4)
    assert found.intercept == pytest.approx(model.intercept_[0], rel=1e-4)


def test_isotonic_regression_is_the_max_min_of_means() -> None:
    rng = np.random.default_rng(1)
    for n in (1, 2, 7, 30):
        scores = rng.integers(0, 9, n) / 8  # many are equal
        matched = rng.uniform(size=n) < 0.2 + 0.6 * scores
        x = np.concatenate([scores, [scores.min(), scores.max()]])
        y = np.concatenate([matched, [1, 0]])
        levels = np.unique(scores)
        expected = [
            max(min(y[(a <= x) & (x <= b)].mean() for b in levels[levels >= one]) for a in levels[levels <= one])
            for one in levels
        ]
        np.testing.assert_allclose(fit_isotonic(scores, matched)(levels), expected, atol=1e-12)


@pytest.mark.parametrize("fitted", [fit_logistic, fit_isotonic])
@pytest.mark.parametrize("kind", ["noise", "against", "told apart", "all match", "none", "one score", "one hit"])
def test_maps_never_fall_and_are_never_certain(fitted: Any, kind: str) -> None:
    rng = np.random.default_rng(2)
    scores = rng.uniform(-1, 1, 200)
    matched = {
        "noise": rng.uniform(size=200) < 0.3,
        "against": scores < 0,
        "told apart": scores > 0.1,
        "all match": np.ones(200, bool),
        "none": np.zeros(200, bool),
    }.get(kind, scores > 0)
    if kind == "one score":
        scores = np.full(200, 0.5)
    if kind == "one hit":
        scores, matched = scores[:1], matched[:1]
    values = fitted(scores, matched)(np.linspace(-1.1, 1.1, 500))
    assert (np.diff(values) >= 0).all() and np.isfinite(values).all()
    inside = fitted(scores, matched)(scores)
    assert (inside > 0).all() and (inside < 1).all()
    if kind == "against":
        assert np.ptp(values) < 0.2


def test_isotonic_has_to_win_on_hits_it_was_not_fitted_to() -> None:
    for curve, best in ((steps, Isotonic), (sigmoid, Logistic)):
        scores, matched = drawn(4_000, curve, seed=5)
        found, losses = fit(scores, matched, np.arange(4_000) // 10)
        assert isinstance(found, best)
        name = min(losses, key=losses.__getitem__)
        assert name == ("isotonic" if best is Isotonic else "logistic")
    few, none = fit(*drawn(900, steps), np.arange(900))
    assert isinstance(few, Logistic) and none.keys() == {"logistic"}  # which alone was tried
    alone, none = fit(*drawn(4_000, steps), np.zeros(4_000))
    assert isinstance(alone, Logistic) and none == {}


def test_hits_of_a_group_are_never_in_two_folds() -> None:
    """Each group has a score of its own that says all about its hits: who sees some of them knows the others."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(400), 10)
    scores, matched = (group + 0.5) / 400, np.repeat(rng.uniform(size=400) < 0.5, 10)
    _, apart = fit(scores, matched, group)
    _, mixed = fit(scores, matched, np.arange(4_000))
    assert apart["isotonic"] > mixed["isotonic"] + 0.005


def test_log_loss_is_scikit_learns() -> None:
    from sklearn.metrics import log_loss as reference

    scores, matched = drawn(500, sigmoid)
    assert log_loss(scores, matched).mean() == pytest.approx(reference(matched, scores), rel=1e-12)


# Reliability


def test_calibrated_probabilities_have_a_small_error_and_distorted_ones_a_large_one() -> None:
    scores, matched = drawn(20_000, sigmoid)
    query = np.arange(20_000) // 10
    true = reliability(sigmoid(scores), matched, query)
    assert true.ece.value < 0.02
    for one in true.bins:  # a few of 15 intervals at 95 % may miss by chance
        assert abs(one.observed.value - one.predicted) < 0.05
    assert sum(one.observed.low <= one.predicted <= one.observed.high for one in true.bins) >= 12
    distorted = reliability(sigmoid(scores) ** 3, matched, query)
    assert distorted.ece.low > 0.1
    assert distorted.brier.value > true.brier.value


def test_figures_are_those_of_plain_loops() -> None:
    from sklearn.metrics import brier_score_loss

    scores, matched = drawn(301, sigmoid, seed=8)
    said = np.round(sigmoid(scores), 2)  # many are equal
    found = reliability(said, matched, np.arange(301), bins=7)
    assert found.brier.value == pytest.approx(brier_score_loss(matched, said), abs=1e-12)
    assert found.base_rate.value == matched.mean()
    assert found.brier_of_base_rate == pytest.approx(((matched - matched.mean()) ** 2).mean())
    assert sum(one.observed.n for one in found.bins) == 301
    error = 0.0
    for one, after in zip(found.bins, (*found.bins[1:], None), strict=True):
        inside = (said >= one.low) & (said <= one.high)
        assert inside.sum() == one.observed.n > 301 / 7 / 2
        assert one.observed.value == pytest.approx(matched[inside].mean())
        assert one.predicted == pytest.approx(said[inside].mean())
        assert after is None or one.high < after.low  # equal ones are together
        error += inside.mean() * abs(matched[inside].mean() - said[inside].mean())
    assert found.ece.value == pytest.approx(error, abs=1e-12)


def test_intervals_are_as_wide_as_figures_scatter() -> None:
    """Ten hits of a query that all match or all do not are no ten hits."""
    rng = np.random.default_rng(0)

    def sample() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return np.full(1000, 0.5), np.repeat(rng.uniform(size=100) < 0.5, 10), np.repeat(np.arange(100), 10)

    spread = np.std([sample()[1].mean() for _ in range(500)])
    found = reliability(*sample())
    assert found.base_rate.high - found.base_rate.low == pytest.approx(2 * 1.96 * spread, rel=0.25)
    one = reliability([0.5, 0.5], np.array([True, False]), [3, 3])
    assert math.isnan(one.ece.low) and one.ece.value == 0


# Thresholds


def test_match_threshold_is_the_lowest_that_keeps_to_the_rate() -> None:
    rng = np.random.default_rng(4)
    for decimals in (1, 2, 8):
        scores = np.round(rng.uniform(-1, 1, 400), decimals).astype(np.float32)
        genuine = rng.uniform(size=400) < 0.3
        for rate in (0.01, 0.1, 0.5):
            allowed = [t for t in np.unique(scores) if (scores[~genuine] >= t).mean() <= rate]
            found = match_threshold(scores, genuine, rate)
            if not allowed:
                assert found > scores.max()
                continue
            np.testing.assert_array_equal(scores >= found, scores >= allowed[0])
            # What another kernel rounds otherwise stays on its side.
            assert np.abs(scores - found).min() > 1e-6 or decimals == 8


def test_no_match_threshold_misses_no_more_than_it_may() -> None:
    rng = np.random.default_rng(5)
    for decimals in (1, 8):
        best = np.round(rng.uniform(size=137), decimals)
        for miss in (0.0, 0.05, 0.5):
            allowed = [t for t in np.unique(best) if (best < t).mean() <= miss]
            np.testing.assert_array_equal(best < no_match_threshold(best, miss), best < allowed[-1])


def test_rates_of_pairs_are_those_of_plain_counting() -> None:
    rng = np.random.default_rng(6)
    sides = rng.integers(0, 30, (5_000, 2)).astype(np.int32)
    genuine = sides[:, 0] == sides[:, 1]
    scores = (rng.normal(size=5_000) + 2 * genuine).astype(np.float32)
    false_match, false_non_match = pair_rates(Pairs(scores, genuine, sides, (0, 0)), 1.0)
    assert false_match.value == pytest.approx((scores[~genuine] >= 1).mean())
    assert false_non_match.value == pytest.approx((scores[genuine] < 1).mean())
    assert false_match.low < false_match.value < false_match.high < 2 * false_match.value
    assert (false_match.n, false_non_match.n) == ((~genuine).sum(), genuine.sum())


# From an index


def classes(labels: int, each: int, noise: float = 0.7, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((labels, DIM))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    vectors = np.repeat(centres, each, axis=0)
    vectors = vectors + noise * rng.standard_normal(vectors.shape) / math.sqrt(DIM)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), [f"label{n:02d}" for n in np.repeat(np.arange(labels), each)]


def indexed(
    folder: Path, vectors: np.ndarray, labels: list[str | None], hashes: list[str] | None = None, **options: Any
) -> Index:
    index = Index.create(folder, vectors.shape[1], root="pictures", encoder_hash="abc", details={}, **options)
    items = [NewItem(f"{row:05d}.png", label, sha256=hashes[row] if hashes else "") for row, label in enumerate(labels)]
    index.add(vectors, items)
    return index


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    with indexed(tmp_path_factory.mktemp("calibration") / "index", *classes(12, 20)) as index:
        yield index


@pytest.fixture(scope="module")
def calibration(index: Index) -> Calibration:
    return calibrate(index)


def surroundings(
    scores: np.ndarray, labels: list[str | None], row: int, gallery: list[int], cohort: list[int], k: int
) -> tuple[list[list[float]], list[float]]:
    """What surrounds the first k hits of a query, and the query, as docs/calibration.md has it, written out."""
    first = sorted(gallery, key=lambda one: -scores[row, one])[:50]
    best, last = scores[row, first[0]], scores[row, first[-1]]

    def odds(hit: int, among: list[int], weigh: bool = False) -> float:
        weights = {one: math.exp(4 * (scores[row, one] - best) / (best - last)) if weigh else 1.0 for one in among}
        known = sum(weights[one] for one in among if one != hit and labels[one] is not None)
        same = sum(weights[one] for one in among if one != hit and labels[one] == labels[hit] and labels[hit])
        added = 0.05 * known if weigh else 0.5
        return math.log((same + added) / (known - same + added))

    table = []
    for hit in first[: max(k, 10)]:
        score = scores[row, hit]
        rival = max(scores[row, one] for one in first if one != hit)
        table.append(
            [score, odds(hit, first[:10]), odds(hit, first), odds(hit, first, True), score - last, score - rival]
        )
    query = list(table[0])
    for column in (1, 2, 3):
        query[column] = float(np.mean([line[column] for line in table[:10]]))
    z = []
    counted = [one for one in cohort if one in gallery]
    for side in (row, first[0]):
        of = np.array([scores[side, one] for one in counted if one != side])
        z.append((scores[row, first[0]] - of.mean()) / math.sqrt(of.var() + 1e-6))
    return table[:k], [*query, float(np.mean(z))]


def test_evidence_is_that_of_brute_force(tmp_path: Path) -> None:
    vectors, names = classes(5, 8, noise=1.5)
    hashes = [f"{row % 38:064x}" for row in range(40)]  # 0 and 38, 1 and 39 are the same picture
    vectors[38:] = vectors[:2]
    labels: list[str | None] = [None if row % 7 == 3 else name for row, name in enumerate(names)]
    labels[5], labels[1], labels[39] = "alone", "copies", "copies"
    with indexed(tmp_path / "index", vectors, labels, hashes) as index:
        cohort = Cohort(index, [3, 7, 8, 20, 33, 39])
        found = Labelled(index, None, np.random.default_rng(0)).ask(6, cohort)
    asked = [row for row in range(40) if labels[row] is not None]
    assert len(found) == len(asked)
    # Summed one by one: a product of matrices may round equal vectors differently.
    scores = (vectors.astype(np.float64)[:, None] * vectors).sum(axis=-1)
    for place, row in enumerate(asked):
        others = [one for one in range(40) if hashes[one] != hashes[row]]
        best = sorted(others, key=lambda one: -scores[row, one])[:6]
        np.testing.assert_allclose(found.found.scores[place], scores[row, best], atol=1e-6)
        assert found.matched[place].tolist() == [labels[one] == labels[row] for one in best]
        assert found.known[place].tolist() == [labels[one] is not None for one in best]
        foreign = [one for one in others if labels[one] not in (None, labels[row])]
        expected = np.sort(scores[row, foreign])[::-1][:6]
        np.testing.assert_allclose(found.without.scores[place], expected, atol=1e-6)
        assert found.has_match[place] == any(labels[one] == labels[row] for one in others)
        # What surrounds a hit: of all that could be found, and of what could be without the label.
        for seen, gallery in ((found.found, others), (found.without, foreign)):
            hits, query = surroundings(scores, labels, row, gallery, cohort.ids.tolist(), 6)
            np.testing.assert_allclose(seen.hits[place], hits, atol=1e-4)
            np.testing.assert_allclose(seen.query[place], query, atol=1e-3)
        # And without another label, whichever it was.
        known = [one for one in others if labels[one] is not None]
        less = [
            surroundings(scores, labels, row, [one for one in known if labels[one] != gone], cohort.ids.tolist(), 6)[1]
            for gone in {label for label in labels if label not in (None, labels[row])}
        ]
        assert min(np.abs(found.other[place] - query).max() for query in less) < 1e-3
    assert (~found.has_match).sum() == 3


def test_pairs_are_within_a_half_and_of_different_pictures(tmp_path: Path) -> None:
    vectors, names = classes(6, 8)
    hashes = [f"{row - row % 8 % 2:064x}" for row in range(48)]  # each picture is there twice
    asked, asking = classes(6, 3, seed=1)
    with indexed(tmp_path / "index", vectors, list(names), hashes) as index:
        own = Labelled(index, None, np.random.default_rng(0))
        other = Labelled(index, Asking("others", asked, tuple(asking)), np.random.default_rng(0))
        for judged, labels in ((True, 3), (False, 3), (None, 6)):
            n = 4 * labels
            assert own.pairs(judged, 0).available == (labels * 6, n * (n - 1) // 2 - labels * 6)
            assert other.pairs(judged, 0).available == (labels * 3 * 4, 3 * labels * (n - 4))


def test_folds_share_no_label(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[Any] = []
    monkeypatch.setattr(fitting, "fit", lambda *given, **rest: groups.append(given[2]) or fit(*given, **rest))
    calibrate(index)
    assert [len(np.unique(one)) for one in groups] == [6, 12]
    assert all(len(one) == 10 * 2 * 20 * len(np.unique(one)) for one in groups)


def test_fitted_and_judged_share_no_label(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted, judged = [], []
    fit_to, judge = calibrate_index.fit_to, calibrate_index.judge

    def fitting(evidence: Evidence, pairs: Pairs, *rest: Any) -> Any:
        fitted.append((evidence, pairs))
        return fit_to(evidence, pairs, *rest)

    def judging(made: Any, evidence: Evidence, pairs: Pairs, **rest: Any) -> Any:
        judged.append((evidence, pairs))
        return judge(made, evidence, pairs, **rest)

    monkeypatch.setattr(calibrate_index, "fit_to", fitting)
    monkeypatch.setattr(calibrate_index, "judge", judging)
    seen = set()
    for seed in range(3):
        fitted.clear(), judged.clear()
        found = calibrate(index, seed=seed)
        (half, half_pairs), (all_, all_pairs) = fitted
        ((other, other_pairs),) = judged
        ours, theirs = set(half.labels.tolist()), set(other.labels.tolist())
        assert len(ours) == len(theirs) == 6 and not ours & theirs
        assert set(all_.labels.tolist()) == ours | theirs
        # All pairs within each half: 6 labels of 20 pictures.
        for pairs in (half_pairs, other_pairs):
            assert pairs.available == (6 * 190, 120 * 119 // 2 - 6 * 190)
        assert all_pairs.available == (12 * 190, 240 * 239 // 2 - 12 * 190)
        assert (found.judged.disjoint, found.judged.labels, found.judged.fitted_labels) == ("labels", 6, 6)
        seen.add(tuple(sorted(ours)))
    assert len(seen) > 1  # drawn by the seed


def test_judged_rates_are_those_of_the_held_labels(index: Index, calibration: Calibration) -> None:
    """By brute force, over whichever six labels it was: one of the 924 ways to halve twelve gives all four rates."""
    from itertools import combinations

    _, vectors = index.all_vectors()
    labels = np.array([int(name[-2:]) for name in index.labels()])  # type: ignore[index]
    scores = (vectors.astype(np.float64) @ vectors.T)[np.triu_indices(240, 1)]
    one, other = (labels[side] for side in np.triu_indices(240, 1))
    accepted = scores >= calibration.judged.threshold
    counts = np.zeros((12, 12, 2))
    np.add.at(counts, (one, other), np.stack([accepted, np.ones_like(accepted)], axis=1))
    counts += np.where(np.eye(12)[..., None] > 0, 0, counts.transpose(1, 0, 2))
    matching = 0
    for held in combinations(range(12), 6):
        block = counts[np.ix_(held, held)]
        genuine, impostor = (block[np.eye(6) > 0].sum(axis=0), block[np.eye(6) == 0].sum(axis=0))
        matching += np.allclose(
            [impostor[0] / impostor[1], 1 - genuine[0] / genuine[1]],
            [calibration.judged.false_match.value, calibration.judged.false_non_match.value],
            atol=1e-9,
        )
    assert matching >= 1
    # On all labels the threshold keeps to what was asked for.
    assert (scores[one != other] >= calibration.threshold).mean() <= 0.01
    assert (scores[one != other] >= calibration.threshold - 0.01).mean() > 0.01


def test_the_same_seed_gives_the_same_calibration(index: Index, calibration: Calibration) -> None:
    assert calibrate(index) == calibration
    assert calibrate(index, seed=1).judged != calibration.judged


def test_codes_are_calibrated_at_their_steps(tmp_path: Path) -> None:
    vectors, names = classes(8, 20, seed=3)
    projection = np.random.default_rng(0).standard_normal((DIM, 64))
    codes = np.packbits(vectors @ projection > 0, axis=1, bitorder="little")
    with Index.create(tmp_path / "i", 64, root="p", encoder_hash="a", details={}, storage="binary") as index:
        index.add(codes, [NewItem(f"{row}.png", name) for row, name in enumerate(names)])
        found = calibrate(index, fmr=0.02)
        levels = np.unique(index.search(codes, 160)[0])
        asked = vectors @ projection
        asked /= np.linalg.norm(asked, axis=1, keepdims=True)
        floats = calibrate(index, fmr=0.02, queries=Asking("floats", asked.astype(np.float32), tuple(names)))
    assert np.abs(levels - found.threshold).min() == pytest.approx(1 / 64)  # scores are 1/32 apart
    bits = 1 - 2 * np.unpackbits(codes, axis=1, bitorder="little").astype(np.int64)
    scores, label = bits @ bits.T / 64, np.array(names)
    impostors = scores[label[:, None] != label]
    assert (impostors >= found.threshold).mean() <= 0.02 < (impostors >= found.threshold - 1 / 32).mean()
    assert (np.diff(found.probability(levels)) >= 0).all()
    assert floats.threshold == pytest.approx(found.threshold)  # the same pairs, each twice


def test_too_few_labels_to_halve(tmp_path: Path) -> None:
    with indexed(tmp_path / "index", *classes(3, 20)) as index:
        found = calibrate(index)
    assert found.judged.disjoint == "pictures"
    assert found.judged.queries + found.judged.fitted_queries == 60
    assert found.judged.labels == 3
    assert "too few to halve" in found.notes[0]


LABELS = {
    "none": ([None] * 40, "has no labels"),
    "unique": ([f"l{row}" for row in range(40)], "No two different pictures"),
    "one": (["same"] * 40, "have the same label"),
    "copies": ([f"l{row // 2}" for row in range(40)], "No two different pictures"),
    "pairs": ([None] * 37 + ["one", "one", "two"], "index' has too few labelled pictures.* 0 genuine .*[.]$"),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_that_cannot_tell(tmp_path: Path, kind: str) -> None:
    labels, words = LABELS[kind]
    hashes = [f"{row // 2 if kind == 'copies' else row:064x}" for row in range(40)]
    with indexed(tmp_path / "index", classes(2, 20)[0], labels, hashes) as index:
        with pytest.raises(RetrievalError, match=words) as error:
            calibrate(index)
        assert index.calibration is None
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fmr": 0.0}, "false match rate is 0"),
        ({"fmr": math.nan}, "false match rate is nan"),
        ({"fmr": 1e-6}, "give at least 0.00018"),
        ({"miss": 1.0}, "missed matches is 1"),
        ({"k": 0}, "k is 0"),
    ],
)
def test_what_makes_no_sense(index: Index, options: dict[str, Any], words: str) -> None:
    with pytest.raises(RetrievalError, match=words):
        calibrate(index, **options)


def test_the_least_rate_that_is_named_can_be_had(tmp_path: Path) -> None:
    with indexed(tmp_path / "index", *classes(4, 3)) as index:
        with pytest.raises(RetrievalError, match="less than one of the 9 pairs") as error:
            calibrate(index)
        assert calibrate(index, fmr=float(str(error.value).split()[-1].rstrip("."))).judged.labels == 2


def test_other_pictures_ask(index: Index) -> None:
    vectors, labels = classes(13, 10, seed=7)  # the last label is not in the index
    found = calibrate(index, queries=Asking("others", vectors, (*labels[:-1], None)))
    assert (found.measured.queries, found.measured.asked, found.measured.labels) == ("others", 129, 13)
    assert found.judged.disjoint == "labels"
    assert found.judged.labels + found.judged.fitted_labels == 13
    assert found.threshold == pytest.approx(calibrate(index).threshold, abs=0.1)
    with pytest.raises(RetrievalError, match="so that no query has a true match"):
        calibrate(index, queries=Asking("strangers", vectors[:2], ("x", "y")))


# As an index keeps it


def test_a_record_comes_back_as_it_was(calibration: Calibration) -> None:
    text = json.dumps(calibration.to_json(), allow_nan=False)
    assert Calibration.from_json(json.loads(text)) == calibration
    rate = replace(calibration.judged.false_match, low=math.nan)
    open_ = replace(calibration, judged=replace(calibration.judged, false_match=rate), evidence=None)
    record = json.loads(json.dumps(open_.to_json(), allow_nan=False))
    assert record["judged"]["false_match"]["low"] is None and record["evidence"] is None
    assert math.isnan(Calibration.from_json(record).judged.false_match.low)


HOSTILE = {
    "": [None, [], 3, "text", {}],
    "map": [None, {}, {"kind": "pickle"}, {"kind": ["logistic"]}, {"kind": "logistic", "slope": 1.0}],
    "map.scores": [[], [0.1], "12", [0.5, 0.5], [0.9, 0.1], [0.1, math.inf], [True, 2], list(range(100_001))],
    "map.probabilities": [[0.1, 0.2, 0.3], [0.9, 0.1], [-0.1, 0.5], [0.5, 1.5], [None, None]],
    "threshold": [None, "0.5", math.nan, math.inf, True, 10**400],
    "no_match_below": [math.nan, [0.5]],
    "false_match_rate": [-1, 2.0],
    "judged": [None, []],
    "judged.disjoint": ["<b>", 3, None],
    "judged.false_match": [None, {}, {"value": 1.0}],
    "judged.false_match.value": [None, math.nan],
    "judged.by_score": [None, {}],
    "about": ["dogs", None, 3],
    "evidence": [[], {}, 3],
    "evidence.columns": [[], ["score"], ["score", "score", "ten", "vote"], ["score", "ten", "fifty", "cohort"], None],
    "evidence.weights": [[1.0], [math.inf, 1, 1, 1], ["1", 1, 1, 1]],
    "evidence.intercept": [None, math.nan],
    "has_match.columns": [["score", "price"]],
    "cohort": [3, [1.5], [-1], [2**70], "12", list(range(100_001))],
    "judged.reliability.bins": [None, {}, [1]],
    "measured.items": [-1, 1.5, 2**70, True],
    "measured.versions": [[], {"a": 1}],
    "notes": ["text", [1]],
    "more": [1],
}


WEIGHTS = Weights(("score", "ten", "fifty", "vote"), (0.5, 1.0, 1.0, 2.0), (3.0, 0.1, -0.2, 1.0), 0.3)


def damaged(record: dict[str, Any], where: str, value: object) -> object:
    made: Any = copy.deepcopy(record)
    if not where:
        return value
    *path, last = where.split(".")
    at = made
    for name in path:
        at = at[name]
    at[last] = value
    return made


@pytest.mark.parametrize("where", HOSTILE)
def test_a_hostile_record_is_refused(calibration: Calibration, where: str) -> None:
    ready = replace(calibration, map=Isotonic((0.1, 0.4), (0.2, 0.3)), evidence=WEIGHTS, has_match=WEIGHTS)
    record = ready.to_json()
    assert Calibration.from_json(record)
    for value in HOSTILE[where]:
        with pytest.raises(RetrievalError, match="calibration is damaged") as error:
            Calibration.from_json(damaged(record, where, value))
        assert len(str(error.value)) < 300
    with pytest.raises(RetrievalError, match="damaged"):
        Calibration.from_json(record | {"map": {"kind": "logistic", "slope": -1.0, "intercept": 0.0}})


def test_an_index_that_changed_makes_it_stale(calibration: Calibration) -> None:
    ids = np.arange(240)
    assert calibration.stale(ids) is None
    assert calibration.stale(ids[24:]) is None
    assert "25 of 240" in str(calibration.stale(ids[25:]))
    # As many came as went: still as many, and yet others.
    assert "20 pictures came" in str(calibration.stale(np.concatenate([ids[20:], 240 + np.arange(20)])))


# As a query shows it


@pytest.fixture()
def calibrated(tmp_path: Path) -> Path:
    """Twelve clear labels, calibrated."""
    with indexed(tmp_path / "index", *classes(12, 20, noise=0.3)) as index:
        index.record_calibration(calibrate(index, miss=0.01).to_json())
    return tmp_path / "index"


@pytest.fixture(scope="module")
def blurred(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve labels that run into one another, calibrated."""
    folder = tmp_path_factory.mktemp("blurred") / "index"
    with indexed(folder, *classes(12, 20, noise=1.4)) as index:
        index.record_calibration(calibrate(index).to_json())
    return folder


def stranger() -> np.ndarray:
    """A unit vector that no centre is like."""
    centres = np.random.default_rng(99).standard_normal((12, DIM))
    vectors = np.random.default_rng(1).standard_normal((2_000, DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    nearest = (vectors @ (centres / np.linalg.norm(centres, axis=1, keepdims=True)).T).max(axis=1)
    return vectors[nearest.argmin()].astype(np.float32)


def test_a_known_label_has_a_match_and_an_unknown_one_has_none(calibrated: Path) -> None:
    known = classes(12, 1, noise=0.3, seed=5)[0]
    with Search.open(calibrated) as search:
        map_ = search.calibration
        assert map_ is not None
        for answer in search.query_vectors(known):
            assert answer.no_match is False
            assert answer.hits[0].probability is not None and answer.hits[0].probability > 0.9
        (answer,) = search.query_vectors(stranger())
        assert answer.no_match is True
        assert answer.hits[0].probability is not None and answer.hits[0].probability < 0.2
        (none,) = search.query_vectors(stranger(), above=0.999)
        assert (none.hits, none.no_match, none.fold) == ((), True, 0)  # which does not hang on what was asked for
        assert not search.index.warnings


def ask(capsys: pytest.CaptureFixture[str], verb: Any, *argv: object) -> tuple[int, str, str]:
    import argparse

    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    code = verb.run(parser.parse_args([str(one) for one in argv]))
    return code, *capsys.readouterr()


def test_the_command_shows_it(calibrated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = ask(capsys, query_verb, calibrated, "--id", 3, "-k", 3)
    assert (code, err) == (0, "") and "P(match)" in out.splitlines()[1]
    _, out, _ = ask(capsys, query_verb, calibrated, "--id", 3, "-k", 3, "--json")
    (answer,) = json.loads(out)["answers"]
    assert answer["no_match"] is False and 0.5 < answer["hits"][0]["probability"] <= 1
    _, out, _ = ask(capsys, query_verb, calibrated, "--id", 3, "-k", 3, "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert list(rows[0])[-2:] == ["probability", "copy"] and rows[0]["copy"] == ""
    assert float(rows[0]["probability"]) == pytest.approx(answer["hits"][0]["probability"], abs=1e-6)

    np.save(tmp_path / "strange.npy", stranger())
    code, out, _ = ask(capsys, query_verb, calibrated, "--vectors", tmp_path / "strange.npy")
    assert code == 0
    assert "no match in this index: the likeliest hit is a true match with probability 0." in out


def test_nothing_measured_is_shown_as_certain() -> None:
    assert [shown(p, 2) for p in (0, 0.004, 0.005, 0.031, 0.5, 0.994, 0.995, 1)] == [
        "<0.01", "<0.01", "0.01", "0.03", "0.50", "0.99", ">0.99", ">0.99"
    ]  # fmt: skip


def test_only_matches(calibrated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Search.open(calibrated) as search:
        (everything,) = search.query_ids([3], 240)
    assert everything.fold is not None and 10 < everything.fold < 30  # of 19 that match
    _, out, _ = ask(capsys, query_verb, calibrated, "--id", 3, "--matches", "-k", 240, "--json")
    hits = json.loads(out)["answers"][0]["hits"]
    assert [hit["id"] for hit in hits] == [hit.id for hit in everything.hits[: everything.fold]]
    _, out, _ = ask(capsys, query_verb, calibrated, "--id", 3, "--matches", "--json")
    assert len(json.loads(out)["answers"][0]["hits"]) == 10
    _, out, _ = ask(capsys, query_verb, calibrated, "--id", 3, "-k", 30)
    lines = out.splitlines()
    assert "here the matches end" in lines[everything.fold + 2]
    np.save(tmp_path / "strange.npy", stranger())
    code, out, _ = ask(capsys, query_verb, calibrated, "--vectors", tmp_path / "strange.npy", "--matches")
    assert code == 0 and "nothing found: the index holds no other picture that may be a match" in out
    with pytest.raises(RetrievalError, match="no calibration that could tell what words match"):
        ask(capsys, query_verb, calibrated, "--text", "shoe", "--matches")


def test_of_several_parts_it_is_not_known(calibrated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for several in (["--like", "id:3", "id:4@0.1"], ["--unlike", "id:3"], ["--like", "id:3", "--unlike", "id:40"]):
        code, out, err = ask(capsys, query_verb, calibrated, *several, "-k", 3)
        assert (code, err) == (0, "") and out.splitlines()[0].endswith("P(match) is not known)")
        assert "P(match)" not in out.splitlines()[1]
        _, out, _ = ask(capsys, query_verb, calibrated, *several, "-k", 3, "--json")
        (answer,) = json.loads(out)["answers"]
        assert answer["no_match"] is None and {hit["probability"] for hit in answer["hits"]} == {None}
        with pytest.raises(RetrievalError, match=r"calibrated for whole pictures, and '(un)?like id:3.* otherwise"):
            ask(capsys, query_verb, calibrated, *several, "--matches")
    answers = [
        json.loads(ask(capsys, query_verb, calibrated, *alone, "--matches", "--json")[1])["answers"][0]
        for alone in (["--id", 3], ["--like", "id:3@7"])
    ]
    assert answers[0]["hits"] == answers[1]["hits"] and answers[0]["hits"][0]["probability"] > 0.5


def test_the_fold_gains_the_most() -> None:
    rng = np.random.default_rng(0)
    for k in range(8):
        chances = rng.uniform(size=k)
        gains = [sum(chances[:n]) - n / 2 for n in range(k + 1)]
        assert gains[fold(chances)] == pytest.approx(max(gains)) and fold(np.sort(chances)) in (0, k)
        falling = np.sort(chances)[::-1]
        assert fold(falling) == (falling > 0.5).sum()


def test_matches_are_arranged_within_the_fold(calibrated: Path) -> None:
    with Search.open(calibrated) as search:
        (plain,) = search.query_ids([3], 60)
        fold = plain.fold
        assert fold is not None and 1 < fold < 60
        (cut,) = search.query_ids([3], 60, arrange=Arrangement(matches=True))
        assert cut.hits == plain.hits[:fold] and cut.fold == cut.matches == fold and cut.next is None
        (again,) = search.query_ids([3], 60, arrange=Arrangement("path:desc", facets=True, matches=True))
        assert [hit.path for hit in again] == sorted((hit.path for hit in cut), reverse=True)
        assert {hit.id: hit.probability for hit in again} == {hit.id: hit.probability for hit in cut}
        assert again.matches == fold and again.fold is None and again.facets is not None
        assert sum(count for _, count in again.facets[0].values or ()) == fold
        (most,) = search.query_ids([3], 2, above=plain[-1].score, arrange=Arrangement("path", matches=True))
        assert most.matches == fold and len(most) == 2
        (wide,) = search.query_ids([3], fold, arrange=Arrangement(diverse=0.5, matches=True))
        assert {hit.id for hit in wide} == {hit.id for hit in search.query_ids([3], 100)[0][:fold]}
        with pytest.raises(RetrievalError, match="--matches looks at the first hits only"):
            search.query_ids([3], 5, arrange=Arrangement(matches=True, cursor=""))


def test_a_slice_keeps_its_fold(calibrated: Path) -> None:
    with Search.open(calibrated) as search:
        (answer,) = search.query_ids([3], 60)
    assert answer.fold is not None
    for start, stop in ((0, 5), (3, 60), (answer.fold, 60), (0, 60)):
        kept = len([hit for hit in answer.hits[start:stop] if hit.rank <= answer.fold])
        assert answer[start:stop].fold == kept


def test_what_is_said_of_a_hit_does_not_hang_on_the_other_hits(blurred: Path) -> None:
    """Nor on a filter, a least score, or whether the query is among the hits."""
    with Search.open(blurred) as search:
        (whole,) = search.query_ids([3], 240)
        said = {hit.id: (hit.probability, hit.evidence) for hit in whole}
        for options in (
            {"k": 1},
            {"k": 10, "where": 'path < "00100"'},
            {"k": None, "above": 0.3},
            {"k": 12, "include_self": True},
            {"k": 70, "include_self": True},
        ):
            (answer,) = search.query_ids([3], **options)
            assert answer.no_match is whole.no_match
            for hit in answer:
                if hit.id != 3:
                    chance, evidence = said[hit.id]
                    assert hit.probability == pytest.approx(chance, abs=1e-6)
                    assert hit.evidence == pytest.approx(evidence, abs=1e-5)
        search.reranker = rerank.load("aqe", 20)  # the first ranking is asked, not the new one
        (again,) = search.query_ids([3], 30)
        assert [hit.id for hit in again] != [hit.id for hit in whole[:30]] and again.no_match is whole.no_match
        for hit in again:
            assert hit.probability == pytest.approx(said[hit.id][0], abs=1e-6)
        search.reranker = None
        (nothing,) = search.query_ids([3], where='label = "no such"')
        assert (nothing.hits, nothing.no_match, nothing.fold) == ((), False, 0)


def test_the_evidence_sums_to_the_log_odds(blurred: Path) -> None:
    with Search.open(blurred) as search:
        (answer,) = search.query_ids([3], 40)
        model = search.calibrations["labels"].evidence
    assert model is not None
    for hit in answer:
        assert hit.evidence is not None and hit.probability is not None
        assert list(hit.evidence) == ["usual", "score", "labels"]
        assert 1 / (1 + math.exp(-sum(hit.evidence.values()))) == pytest.approx(hit.probability, abs=1e-9)


def test_a_query_is_told_what_calibrating_saw(blurred: Path) -> None:
    """What a query computes for one answer is what the fit had, for each picture of the index."""
    with Search.open(blurred) as search:
        record = search.calibrations["labels"]
        found = Labelled(search.index, None, np.random.default_rng(0)).ask(10, Cohort(search.index, record.cohort))
        answers = search.query_ids(range(240), 10)
    assert record.evidence is not None and record.has_match is not None
    said = [[hit.probability for hit in answer] for answer in answers]
    np.testing.assert_allclose(said, record.evidence(found.found.hits), atol=1e-5)
    none = record.has_match.log_odds(found.found.query) < record.no_match_under
    assert [answer.no_match for answer in answers] == none.tolist()


def test_a_hit_without_a_label_goes_by_its_score(tmp_path: Path) -> None:
    vectors, labels = classes(12, 20, noise=1.4)
    some = [None if row % 5 == 1 else label for row, label in enumerate(labels)]
    with indexed(tmp_path / "index", vectors, some) as index:
        index.record_calibration(calibrate(index).to_json())
    with Search.open(tmp_path / "index") as search:
        map_ = search.calibrations["labels"].map
        (answer,) = search.query_ids([0], 60)
    alone = [hit for hit in answer if hit.label is None]
    assert 0 < len(alone) < 60 and {hit.evidence for hit in alone} == {None}
    np.testing.assert_allclose([hit.probability for hit in alone], map_([hit.score for hit in alone]))
    assert all(hit.evidence for hit in answer if hit.label is not None)


def test_evidence_beats_the_score_on_labels_that_it_was_not_fitted_on(tmp_path: Path) -> None:
    with indexed(tmp_path / "index", *classes(16, 25, noise=1.6)) as index:
        judged = calibrate(index).judged
    assert judged.map == "evidence"
    all_, alone = judged.by_evidence, judged.by_score
    assert all_.hits.auc is not None and alone.hits.auc is not None
    assert all_.hits.auc.value > alone.hits.auc.value + 0.1
    assert all_.hits.log_loss.value < alone.hits.log_loss.value - 0.05


def test_hits_that_agree_never_speak_against_one_another(tmp_path: Path) -> None:
    """With two labels, well apart: all first hits match, and without the label of the query all are of the other."""
    with indexed(tmp_path / "index", *classes(2, 40, noise=0.5)) as index:
        found = calibrate(index)
        index.record_calibration(found.to_json())
    assert found.evidence is None or found.evidence.heeds_labels
    with Search.open(tmp_path / "index") as search:
        right, wrong = (search.query_ids([0], 5, where=f'label = "{name}"')[0].hits for name in ("label00", "label01"))
    assert min(hit.probability or 0 for hit in right) > max(hit.probability or 0 for hit in wrong)


def test_labels_at_random_are_not_believed(tmp_path: Path) -> None:
    """Neighbours that agree say nothing where labels say nothing, and nothing is gained by a class that is gone."""
    vectors, labels = classes(12, 20)
    mixed = np.random.default_rng(0).permutation(labels).tolist()
    with indexed(tmp_path / "index", vectors, mixed) as index:
        judged = calibrate(index).judged
    assert judged.by_evidence.hits.auc is not None
    assert 0.4 < judged.by_evidence.hits.auc.value < 0.6
    assert judged.by_evidence.has_match is not None and 0.4 < judged.by_evidence.has_match.value < 0.6


def test_the_area_under_the_curve_is_scikit_learns() -> None:
    from sklearn.metrics import roc_auc_score

    scores, happened = drawn(400, sigmoid, seed=2)
    rounded = np.round(scores, 1)
    found = auc(rounded, happened, np.arange(400) // 4, 0)
    assert found is not None and found.value == pytest.approx(roc_auc_score(happened, rounded), abs=1e-12)
    assert found.low < found.value < found.high < found.value + 0.1
    assert auc(rounded, np.ones(400, bool), np.arange(400), 0) is None


def test_weights_are_scikit_learns_with_platts_targets() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(3)
    table = rng.normal(size=(300, 7)) * [1, 2, 3, 4, 5, 6, 7] + 1
    matched = rng.uniform(size=300) < sigmoid(table[:, 1] + 0.2 * table[:, 3])
    weight = rng.uniform(0.1, 2, 300)
    found = fit_weights(table, matched, weight, ("ten", "vote"))
    up, all_ = weight @ matched, weight.sum()
    target = np.where(matched, (up + 1) / (up + 2), 1 / (all_ - up + 2))
    x = table[:, [1, 3]]
    centre = np.average(x, axis=0, weights=weight)
    spread = np.sqrt(np.average((x - centre) ** 2, axis=0, weights=weight))
    model = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000)
    z = (x - centre) / spread
    model.fit(
        np.concatenate([z, z]), np.repeat([True, False], 300), np.concatenate([weight * target, weight * (1 - target)])
    )
    np.testing.assert_allclose(np.array(found.weights) * spread, model.coef_[0], rtol=1e-3)
    assert found.intercept == pytest.approx(model.intercept_[0], rel=1e-3)
    np.testing.assert_allclose(found(table), model.predict_proba(z)[:, 1], atol=1e-4)
    constant = fit_weights(np.ones((5, 7)), np.array([True] * 5), np.ones(5), ("ten",))
    assert constant.weights == (0.0,) and 0.5 < constant(np.ones(7)) < 1


def test_without_a_calibration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    indexed(tmp_path / "index", *classes(4, 5)).close()
    code, out, _ = ask(capsys, query_verb, tmp_path / "index", "--id", 3)
    assert code == 0 and "P(match)" not in out
    with Search.open(tmp_path / "index") as search:
        (answer,) = search.query_ids([3])
    assert answer.no_match is None and answer.fold is None and {hit.probability for hit in answer.hits} == {None}
    with pytest.raises(RetrievalError, match="run `retrieval calibrate`"):
        ask(capsys, query_verb, tmp_path / "index", "--id", 3, "--matches")


def test_a_calibration_that_cannot_be_used_is_passed_over(calibrated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Index.open(calibrated, write=True) as index:
        assert index.calibration is not None
        record = index.calibration["labels"]
        measured = dict(record["measured"]) | {"encoder_hash": "another"}
        old = {name: value for name, value in record.items() if name != "about"}
        for broken, words in (
            ({"labels": record | {"threshold": "low"}}, "damaged"),
            ({"labels": record | {"measured": measured}}, "model"),
            ({"labels": record | {"about": "copies"}}, "about something else"),
            (old, "older version"),
            ([1], "older version"),
        ):
            index._record("calibration", broken)
            code, out, err = ask(capsys, query_verb, calibrated, "--id", 3)
            assert code == 0 and "P(match)" not in out and words in err
        index.record_calibration(record)
        index.remove(list(range(30)))
    code, out, err = ask(capsys, query_verb, calibrated, "--id", 33)
    assert code == 0 and "P(match)" in out and "30 of 240 went" in err


def test_from_pictures_to_an_answer(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("bird", "cat", "dog", "eel")
    out = build(tiny.folder(tmp_path / "pictures", names, each=6), tmp_path / "i", model=tiny.model(tmp_path_factory))
    code, text, _ = ask(capsys, calibrate_verb, out.index, "--fmr", 0.1)
    assert code == 0 and "expected calibration error" in text and "judged on 2 others" in text
    bird, drawing = tmp_path / "pictures/bird/0.png", tmp_path / "why.png"
    code, text, _ = ask(capsys, query_verb, out.index, bird, "-k", 2, "--explain", "--json", "--save", drawing)
    (answer,) = json.loads(text)["answers"]
    for hit in answer["hits"]:
        heat = hit["explanation"]["hit"]
        assert np.sum(heat["values"]) + heat["remainder"] == pytest.approx(hit["score"], abs=1e-4)
    assert drawing.stat().st_size > 1000
    with pytest.raises(RetrievalError, match="give --save FILE"):
        ask(capsys, query_verb, out.index, bird, "--explain")

    tiny.folder(tmp_path / "asking", names, each=3)
    code, text, _ = ask(capsys, calibrate_verb, out.index, "--fmr", 0.1, "--queries", tmp_path / "asking", "--json")
    record = json.loads(text)
    assert code == 0 and record["measured"]["asked"] == 12
    assert any("same vector" in note for note in record["notes"])  # they are in the index
    with Index.open(out.index) as index:
        assert index.calibration == {"labels": record}
