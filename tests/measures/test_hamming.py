"""Rankings by Hamming distance: the same as by ±1 vectors, with ties by expectation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.measures import rank


def codes(n: int, bits: int, seed: int, classes: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes (n, bits/8), the same as ±1 (n, bits), and labels (n,)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    models = np.random.default_rng(50).random((classes, bits)) < 0.5
    ones = models[labels] ^ (rng.random((n, bits)) < 0.35)
    return np.packbits(ones, axis=1, bitorder="little"), np.where(ones, 1, -1).astype(np.float32), labels


@pytest.mark.parametrize("bits", [8, 24, 64, 72, 256, 1024])
@pytest.mark.parametrize("same", [False, True])
def test_as_by_the_inner_products_of_plus_and_minus_one(bits, same):
    gallery, signs, gallery_labels = codes(300, bits, seed=0)
    queries, query_signs, labels = codes(40, bits, seed=1)
    ignore = [[3, 5]] * (300 if same else 40)
    if same:
        ours = rank(gallery, gallery_labels, ignore=ignore)
        slow = rank(signs, gallery_labels, ignore=ignore)
    else:
        ours = rank(queries, labels, gallery, gallery_labels, ignore=ignore, levels=[0.1, 0.9])
        slow = rank(query_signs, labels, signs, gallery_labels, ignore=ignore, levels=[0.1, 0.9])
    for name, values in slow.values.items():
        np.testing.assert_allclose(ours.values[name], values, atol=1e-12, err_msg=name)
        assert ours.chance[name] == slow.chance[name]
    np.testing.assert_allclose(ours.curves, slow.curves)
    np.testing.assert_allclose(ours.best, slow.best / bits, atol=1e-6)
    np.testing.assert_array_equal(ours.relevant, slow.relevant)
    assert ours.tied.tolist() == slow.tied.tolist() and ours.tied.mean() > 0.1


def test_grades_and_several_labels_go_the_same_way():
    gallery, signs, _ = codes(50, 16, seed=2)
    queries, query_signs, _ = codes(8, 16, seed=3)
    rng = np.random.default_rng(4)
    asked, shown = rng.random((8, 3)) < 0.5, rng.random((50, 3)) < 0.3
    ours = rank(queries, asked, gallery, shown, graded=True)
    slow = rank(query_signs, asked, signs, shown, graded=True)
    for name, values in slow.values.items():
        np.testing.assert_allclose(ours.values[name], values, atol=1e-12, err_msg=name)


def test_average_precision_is_the_mean_over_all_orders_of_the_database():
    """Broken by the order of the database, ties move the figure; their mean over all orders does not."""
    gallery, _, labels = codes(6, 8, seed=5, classes=2)
    gallery &= 3  # two bits are left, so that much ties
    query = gallery[:1]
    distances = np.array([bin(int(code) ^ int(query[0, 0])).count("1") for code in gallery[:, 0]])
    figures = []
    for turn in itertools.permutations(range(6)):
        order = np.array(turn)[np.argsort(distances[list(turn)], kind="stable")]
        hits = (labels[order] == 1).astype(int)
        figures.append((np.cumsum(hits) / np.arange(1, 7) * hits).sum() / hits.sum())
    assert np.ptp(figures) > 0.1
    assert rank(query, [1], gallery, labels).values["mAP"][0] == pytest.approx(np.mean(figures))


def test_shuffling_changes_no_figure_in_any_bit():
    gallery, _, gallery_labels = codes(500, 32, seed=6)
    queries, _, labels = codes(60, 32, seed=7)
    turn = np.random.default_rng(8).permutation(500)
    before, after = (
        rank(queries, labels, gallery, gallery_labels),
        rank(queries, labels, gallery[turn], gallery_labels[turn]),
    )
    for name, values in before.values.items():
        np.testing.assert_array_equal(values, after.values[name], err_msg=name)


def test_a_collapsed_code_scores_chance():
    same, labels = np.full((60, 4), 170, np.uint8), np.arange(60) % 6
    result = rank(same[:12], labels[:12], same, labels)
    for name, values in result.values.items():
        assert values.mean() == pytest.approx(1 / 6 if name.startswith("kNN") else result.chance[name], abs=1e-12)


def test_codes_and_floats_do_not_mix():
    gallery, signs, labels = codes(10, 16, seed=11)
    with pytest.raises(RetrievalError, match="binary codes"):
        rank(gallery, labels, signs, labels)
    with pytest.raises(RetrievalError, match="16 bits and the gallery 8"):
        rank(gallery, labels, gallery[:, :1], labels)
