"""Traps that were planted are found, and healthy data is left in peace."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from vectors import brute, make, unit

from retrieval import traps
from retrieval.errors import RetrievalError
from retrieval.images import perceptual
from retrieval.images.perceptual import Hashes
from retrieval.index import Index, NewItem
from retrieval.traps import find_all, neighbours
from retrieval.traps.collapse import effective_rank
from retrieval.traps.near_duplicates import SPARE, near_duplicates

CLASSES, EACH, DIM = 8, 40, 64


def rows_of(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def separable(seed: int = 0, each: int = EACH, noise: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    """Classes that lie apart, and are wide enough for nothing in them to be a copy of anything."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(CLASSES), each)
    centres = rows_of(rng.standard_normal((CLASSES, DIM)))
    return rows_of(centres[labels] + noise * rows_of(rng.standard_normal((len(labels), DIM)))), labels


def nearest(vectors: np.ndarray, k: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Rows and scores of the k nearest, by brute force."""
    n = len(vectors)
    scores, rows = brute(vectors, vectors, np.arange(n), k, exclude=[[row] for row in range(n)])
    return rows, scores


def random_hashes(n: int, seed: int = 0) -> Hashes:
    rng = np.random.default_rng(seed)
    return Hashes(*rng.integers(0, 2**64, (2, n), np.uint64), np.full(n, 20, np.float32))


def changed(hashes: Hashes, source: int, target: int, bits: int) -> None:
    """Make one picture's hashes those of another but for some bits."""
    flip = np.uint64((1 << bits) - 1)
    hashes.phash[target] = hashes.phash[source] ^ flip
    hashes.dhash[target] = hashes.dhash[source] ^ flip


@pytest.mark.parametrize("seed", range(3))
def test_healthy_data_stays_fine(seed: int) -> None:
    vectors, labels = separable(seed)
    found = traps.find(vectors, labels, *nearest(vectors), hashes=random_hashes(len(vectors), seed))
    assert {one.name: one.severity for one in found} == dict.fromkeys(
        ("leakage", "collapse", "hubs", "labels", "small classes"), "fine"
    )
    for one in found:
        assert one.sentence.endswith(".") and one.sentence.count("\n") == 0
        assert json.loads(json.dumps(one.to_json(), allow_nan=False))["name"] == one.name


# Leakage


def test_planted_copies_are_found_by_score_and_by_hash_and_closest_first() -> None:
    vectors, _ = separable()
    rng = np.random.default_rng(1)
    vectors[5] = vectors[200]
    vectors[6] = rows_of(vectors[201:202] + 0.2 * rows_of(rng.standard_normal((1, DIM))))[0]  # a cosine of 0.98
    hashes = random_hashes(len(vectors))
    changed(hashes, 30, 31, 4)
    changed(hashes, 40, 41, 11)
    changed(hashes, 50, 51, 0)
    hashes.detail[50:52] = 0.5
    finding = traps.find_leakage(*nearest(vectors), hashes)
    assert [example.ids for example in finding.worst] == [(30, 31), (5, 200), (6, 201)]
    assert finding.worst[0].figures["bits"] == 4
    assert finding.worst[1].figures["score"] == 1
    assert finding.severity == "warning"  # 6 of 320
    assert finding.figures["with_near_duplicate"] == 6
    assert traps.find_leakage(*nearest(vectors), hashes, bits=11).worst[1].ids == (40, 41)
    assert traps.find_leakage(*nearest(vectors), hashes, bits=11, score=0.99).figures["pairs"] == 3


def test_few_copies_are_a_notice() -> None:
    hashes = random_hashes(1000)
    changed(hashes, 3, 900, 2)
    finding = traps.find_leakage(None, None, hashes)
    assert (finding.severity, finding.figures["share"]) == ("notice", 0.002)


def test_pairs_are_those_of_brute_force_over_both_hashes() -> None:
    hashes, others = random_hashes(150), random_hashes(90, 5)
    rng = np.random.default_rng(2)
    for row in range(60):
        changed(hashes, int(rng.integers(60, 150)), row, int(rng.integers(0, 16)))
    for row in range(40):
        others.phash[row] = hashes.phash[row] ^ np.uint64((1 << row % 14) - 1)
        others.dhash[row] = hashes.dhash[row]
    hashes.detail[rng.integers(0, 150, 10)] = 0

    def apart(a: Hashes, i: int, b: Hashes, j: int) -> int:
        if not (a.telling[i] and b.telling[j]):
            return 99
        return max((int(x[i]) ^ int(y[j])).bit_count() for x, y in ((a.phash, b.phash), (a.dhash, b.dhash)))

    between = near_duplicates(None, None, hashes, others, within=False)
    expected = {(i, j) for i in range(150) for j in range(90) if apart(hashes, i, others, j) <= 10}
    assert len(expected) > 25
    # All queries; of pictures of the gallery with the same hashes the first.
    first = {(others.phash[j], others.dhash[j]): j for j in reversed(range(90))}
    expected = {(i, first[others.phash[j], others.dhash[j]]) for i, j in expected}
    assert set(zip(between.first.tolist(), between.second.tolist(), strict=True)) == expected
    inside = near_duplicates(None, None, hashes)
    head = {(hashes.phash[i], hashes.dhash[i]): i for i in reversed(range(150)) if hashes.telling[i]}
    expected = set()
    for i in range(150):
        for j in range(i + 1, 150):
            if apart(hashes, i, hashes, j) <= 10:
                a, b = head[hashes.phash[i], hashes.dhash[i]], head[hashes.phash[j], hashes.dhash[j]]
                expected |= {(a, b) if a < b else (b, a)} if a != b else {(a, i), (a, j)} - {(a, a)}
    assert set(zip(inside.first.tolist(), inside.second.tolist(), strict=True)) == expected
    assert (np.diff(inside.bits) >= 0).all()


def test_queries_in_the_training_set_are_found() -> None:
    queries, training = unit(60, 32, 1), unit(200, 32, 2)
    training[70] = queries[3]
    hashes, shelf = random_hashes(60, 1), random_hashes(200, 2)
    shelf.phash[80], shelf.dhash[80] = hashes.phash[9], hashes.dhash[9]
    hashes.phash[10], hashes.dhash[10] = hashes.phash[9], hashes.dhash[9]  # twice the same query
    scores, rows = brute(queries, training, np.arange(200), 3)
    finding = traps.find_leakage_between(rows, scores, hashes, shelf, gallery="training set")
    assert {example.ids for example in finding.worst} == {(3, 70), (9, 80), (10, 80)}
    assert "training set" in finding.sentence and finding.figures["with_near_duplicate"] == 3
    ids = finding.with_ids(np.arange(60) + 1000, np.arange(200) + 5000)
    assert {example.ids for example in ids.worst} == {(1003, 5070), (1009, 5080), (1010, 5080)}


def test_a_score_that_tells_classes_is_not_taken_for_copies() -> None:
    vectors, _ = separable(noise=0.1)  # as a model trained on these classes makes them
    rows, scores = nearest(vectors)
    blind = traps.find_leakage(rows, scores)
    assert (blind.severity, blind.figures["pairs"], blind.figures["scores_crowded"]) == ("notice", 0, 1)
    assert "perceptual hash" in blind.sentence
    hashes = random_hashes(len(vectors))
    changed(hashes, 0, int(rows[0, 0]), 10 + SPARE)
    changed(hashes, 100, int(rows[100, 0]), 10 + SPARE + 1)
    changed(hashes, 150, 300, 10 + SPARE)  # of another class: no score supports it
    seen = traps.find_leakage(rows, scores, hashes)
    assert [example.ids for example in seen.worst] == [(0, rows[0, 0])]
    assert f"within 10 bits or within {10 + SPARE} and a score" in seen.sentence
    assert traps.find_leakage(rows, scores, hashes, score=0.95).figures["pairs"] > 300  # asked for, it is done


def test_nothing_to_find_copies_by_is_told() -> None:
    rows, scores = nearest(unit(20, 8))
    for given, sentence in (
        ((None, None), "neither neighbours nor hashes"),
        ((rows, scores[:, :3]), "both as"),
        ((rows + 10, scores), "count from 0"),
        ((rows, scores, random_hashes(19)), "one for each"),
    ):
        with pytest.raises(RetrievalError, match=sentence):
            traps.find_leakage(*given)
    with pytest.raises(RetrievalError, match="neither neighbours nor hashes"):
        traps.find_leakage_between(None, None, random_hashes(5))
    with pytest.raises(RetrievalError, match="from -1 to 1"):
        traps.find_leakage(rows, scores, score=2)


# Collapse


def test_effective_rank_is_the_exponential_of_the_entropy() -> None:
    assert effective_rank(np.ones(7)) == pytest.approx(7)
    assert effective_rank(np.array([5.0, 0, 0])) == pytest.approx(1)
    p = np.array([0.5, 0.25, 0.25])
    assert effective_rank(4 * p) == pytest.approx(2**1.5)
    assert effective_rank(np.zeros(3)) == 0


@pytest.mark.parametrize("shape", [(200, 16), (12, 40)])
def test_figures_of_collapse_are_those_of_a_singular_value_decomposition(shape: tuple[int, int]) -> None:
    vectors = unit(*shape) + np.float32(0.3)
    rows = vectors.astype(float) / np.linalg.norm(vectors.astype(float), axis=1, keepdims=True)
    figures = traps.find_collapse(vectors).figures
    values = np.linalg.svd(rows - rows.mean(0), compute_uv=False)
    p = values[values > 1e-9] / values.sum()
    assert figures["effective_rank"] == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-6)
    cosines = (rows @ rows.T)[np.triu_indices(len(rows), 1)]
    assert figures["mean_cosine"] == pytest.approx(cosines.mean(), abs=0.01)
    assert traps.find_collapse(5 * vectors).figures["mean_cosine"] == pytest.approx(figures["mean_cosine"], abs=1e-6)


@pytest.mark.parametrize(
    "collapsed",
    [
        np.ones((100, 16)),
        np.ones((100, 16)) + 0.01 * np.random.default_rng(0).standard_normal((100, 16)),
        np.outer(np.random.default_rng(0).standard_normal(100), np.ones(16)),  # a line, both ways: mean cosine 0
        np.zeros((100, 16)),
    ],
)
def test_a_collapsed_embedding_is_a_warning(collapsed: np.ndarray) -> None:
    finding = traps.find_collapse(collapsed.astype(np.float32))
    assert finding.severity == "warning"
    assert "collapsed" in finding.sentence


def test_partial_collapse_names_the_classes_and_the_dead_dimensions() -> None:
    vectors, labels = separable()
    vectors[labels == 3] = vectors[labels == 3][0]
    finding = traps.find_collapse(vectors, labels, list("abcdefgh"))
    assert finding.severity == "notice"
    assert [example.figures["class"] for example in finding.worst] == ["d"]
    assert set(finding.worst[0].ids) <= set(np.flatnonzero(labels == 3).tolist())
    for label in range(5):
        vectors[labels == label] = vectors[labels == label][0]
    finding = traps.find_collapse(vectors, labels)
    assert (finding.severity, finding.figures["classes_on_one_point"]) == ("warning", 5)
    dead, labels = separable()
    dead[:, :32] = 0
    finding = traps.find_collapse(rows_of(dead), labels)
    assert (finding.severity, finding.figures["dead_dimensions"]) == ("notice", 0.5)


# Hubs


def test_occurrences_and_skewness_are_counted_as_defined() -> None:
    neighbours, _ = nearest(unit(300, 20))
    figures = traps.find_hubs(neighbours).figures
    counts = np.array([(neighbours == row).sum() for row in range(300)])
    assert figures["skewness"] == pytest.approx(((counts - 10) ** 3).sum() / 300 / counts.std() ** 3)
    assert figures["most_occurrences"] == counts.max()
    assert figures["antihubs"] == (counts == 0).mean()


def test_a_planted_hub_is_named_first() -> None:
    vectors = unit(400, 16) + np.float32(0.5)
    vectors[123] = vectors.mean(axis=0)  # the middle of everything
    finding = traps.find_hubs(nearest(rows_of(vectors))[0])
    assert finding.severity == "warning"
    assert finding.worst[0].ids == (123,)
    assert finding.worst[0].figures["queries"] > 0.2
    neighbours = nearest(unit(400, 16))[0]
    assert traps.find_hubs(neighbours).severity == "fine"
    neighbours[:, -1] = np.where(np.arange(400) < 30, 7, neighbours[:, -1])
    assert traps.find_hubs(neighbours).worst[0].ids == (7,)


def test_a_third_that_nobody_finds_is_a_warning() -> None:
    neighbours = np.random.default_rng(0).integers(0, 150, (300, 10))
    finding = traps.find_hubs(neighbours)
    assert finding.severity == "warning" and finding.figures["antihubs"] >= 0.5
    with pytest.raises(RetrievalError, match="rows of the k nearest"):
        traps.find_hubs(neighbours[:100])


# Label errors


@pytest.mark.parametrize("seed", range(4))
def test_planted_wrong_labels_are_found_and_nothing_else(seed: int) -> None:
    vectors, labels = separable(seed)
    rng = np.random.default_rng(seed)
    wrong = np.sort(rng.choice(len(labels), 16, replace=False))
    given = labels.copy()
    given[wrong] = (given[wrong] + rng.integers(1, CLASSES, 16)) % CLASSES
    finding = traps.find_label_errors(*nearest(vectors), given)
    suspected = {example.ids[0] for example in finding.worst}
    hits = suspected & set(wrong.tolist())
    assert len(hits) / len(suspected) >= 0.95  # precision
    assert len(hits) / len(wrong) >= 0.9  # recall
    assert finding.severity == "warning"
    for example in finding.worst:
        assert example.figures["suggested"] == str(labels[example.ids[0]])
    scores = [float(example.figures["score"]) for example in finding.worst]
    assert scores == sorted(scores, reverse=True)


def test_the_score_of_a_suspect_is_its_margin_times_closeness() -> None:
    neighbours = np.array([[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]] + [[-1] * 10] * 20)
    scores = np.full((21, 10), -np.inf, np.float32)
    scores[0] = np.linspace(0.9, 0.45, 10)
    given = np.array([0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 2, *[0] * 10])
    finding = traps.find_label_errors(neighbours, scores, given, ["cat", "dog", "eel"])
    (example,) = finding.worst
    assert example.ids == (0, 1, 2, 3, 4, 5, 6, 7, 8)
    expected = {
        "label": "cat",
        "suggested": "dog",
        "agree": 8,
        "votes": 10,
        "score": (8 - 1) / 10 * scores[0, :8].mean(),
    }
    assert dict(example.figures) == pytest.approx(expected)
    given[8] = 0  # seven agree, two have its own
    assert not traps.find_label_errors(neighbours, scores, given).worst


def test_small_classes_are_asked_for_no_more_than_they_hold() -> None:
    vectors, labels = separable(each=7)
    assert traps.find_label_errors(*nearest(vectors), labels).figures["suspected"] == 0
    few = traps.find_label_errors(*nearest(vectors), np.arange(len(labels)) // 4)
    assert (few.figures["judged"], few.severity) == (0, "fine")
    none = traps.find_label_errors(*nearest(vectors), np.full(len(labels), -1))
    assert none.figures["judged"] == 0


# Small classes


def test_ceilings_of_small_classes_are_what_a_perfect_ranking_reaches() -> None:
    sizes = [1, 2, 4, 11, 14]
    labels = np.repeat(np.arange(5), sizes)
    finding = traps.find_small_classes(np.append(labels, [-1, -1]), 10, list("abcde"))
    precision, recall = [], []
    for size in sizes:
        for _ in range(size if size > 1 else 0):
            found = min(10, size - 1)
            precision.append(found / 10)
            recall.append(found / (size - 1))
    assert finding.figures["highest_precision_at_k"] == pytest.approx(np.mean(precision))
    assert finding.figures["highest_recall_at_k"] == pytest.approx(np.mean(recall))
    assert [example.figures["class"] for example in finding.worst] == ["a", "b", "c"]
    assert finding.worst[1].ids == (1, 2)
    assert finding.severity == "warning"
    assert traps.find_small_classes(np.repeat([0, 1, 2], [1000, 1000, 8]), 10).severity == "notice"
    assert traps.find_small_classes(np.repeat([0, 1], 11), 10).severity == "fine"
    assert "recall@10" in traps.find_small_classes(np.repeat([0, 1], 500), 10).sentence
    assert traps.find_small_classes(np.full(5, -1), 10).severity == "fine"
    with pytest.raises(RetrievalError, match="k is 0"):
        traps.find_small_classes(labels, 0)


# An index


@pytest.fixture
def index(tmp_path: Path) -> Index:
    vectors, labels = separable()
    vectors[17] = vectors[250]
    opened = Index.create(tmp_path / "index", DIM, root="pictures", encoder_hash="abc", details={})
    items = [NewItem(f"{i}.png", f"class{label}") for i, label in enumerate(labels)]
    opened.add(vectors[:100], items[:100])
    opened.add(vectors[100:], items[100:])
    opened.remove([0, 1, 2])
    return opened


def test_an_index_is_looked_through_by_its_ids(index: Index) -> None:
    hashes = random_hashes(len(index))
    changed(hashes, 0, 100, 1)
    found = {one.name: one for one in traps.of_index(index, k=10, hashes=hashes)}
    assert set(found) == {"leakage", "collapse", "hubs", "labels", "small classes"}
    assert {example.ids for example in found["leakage"].worst} == {(17, 250), (3, 103)}
    neighbours, scores = traps.neighbours_of(index, 10)
    ids, vectors = index.all_vectors()
    expected_scores, expected = brute(vectors, vectors, ids, 10, exclude=[[id_] for id_ in ids])
    np.testing.assert_array_equal(neighbours, expected)
    np.testing.assert_array_equal(scores, expected_scores)


def test_of_many_pictures_some_are_drawn_to_ask(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {one.name: one for one in traps.of_index(index)}
    monkeypatch.setattr(find_all, "WHOLE", len(index) - 1)
    monkeypatch.setattr(find_all, "DRAWN", len(index) - 10)
    found = {one.name: one for one in traps.of_index(index)}
    assert found.keys() == whole.keys()
    drawn = f"Of {len(index)} pictures {len(index) - 10} were drawn: "
    assert {name for name, one in found.items() if one.sentence.startswith(drawn)} == {"leakage", "hubs", "labels"}
    assert {frozenset(example.ids) for example in found["leakage"].worst} == {frozenset({17, 250})}
    assert found["labels"].figures["pictures"] == len(index) - 10
    assert {example.ids for example in found["labels"].worst} <= {example.ids for example in whole["labels"].worst}
    assert {one.name: one for one in traps.of_index(index, exact=True)} == whole


def test_the_neighbours_of_many_are_found_by_a_structure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = unit(3000, 16)
    vectors[2000] = vectors[7]
    index = make(tmp_path / "index", vectors)
    exact = traps.neighbours_of(index, 5)
    monkeypatch.setattr(neighbours, "MANY", 2999)
    found, scores = traps.neighbours_of(index, 5)
    assert (found[7, 0], found[2000, 0]) == (2000, 7) and (found != np.arange(3000)[:, None]).all()
    assert 0.8 < (scores == exact[1]).mean() < 1
    np.testing.assert_array_equal(traps.neighbours_of(index, 5, exact=True)[0], exact[0])


def test_an_index_without_labels_and_one_of_codes_are_looked_through(tmp_path: Path) -> None:
    bare = Index.create(tmp_path / "bare", 16, root="p", encoder_hash="a", details={})
    bare.add(unit(50, 16), [NewItem(f"{i}.png") for i in range(50)])
    assert {one.name for one in traps.of_index(bare, k=3)} == {"leakage", "collapse", "hubs"}
    codes = Index.create(tmp_path / "codes", 64, root="p", encoder_hash="a", details={}, storage="binary")
    codes.add(unit(50, 64), [NewItem(f"{i}.png") for i in range(50)])
    figures = {one.name: one for one in traps.of_index(codes, k=3)}["collapse"].figures
    assert abs(float(figures["mean_cosine"])) < 0.05 and figures["dimensions"] == 64


def test_an_empty_or_tiny_index_has_nothing_wrong(tmp_path: Path) -> None:
    for n in (1, 2, 4):
        small = make(tmp_path / str(n), unit(n, 8))
        assert all(one.sentence for one in traps.of_index(small, k=10))


def test_hashes_of_unreadable_files_are_like_nothing(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Image.fromarray(np.random.default_rng(3).integers(0, 256, (40, 40, 3), np.uint8)).save(tmp_path / f"{name}.png")
    found = perceptual.hash_files(["gone.png", "a.png", "lost.png", "b.png"], tmp_path)
    pairs = near_duplicates(None, None, found.aligned(4))
    assert list(zip(pairs.first, pairs.second, pairs.bits, strict=True)) == [(1, 3, 0)]


def test_findings_are_frozen() -> None:
    finding = traps.find_small_classes(np.zeros(20, np.int64), 5)
    with pytest.raises(FrozenInstanceError):
        finding.severity = "warning"
