"""Batches: what is in them, that an epoch misses nothing, and that a seed repeats them."""

import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.training.recipe import Recipe
from retrieval.training.sampling import create
from retrieval.training.sampling.balanced import ClassBatches, GroupBatches
from retrieval.training.sampling.pairs import BalancedPairs
from retrieval.training.sampling.sampler import by_class
from retrieval.training.sampling.triplets import RandomTriplets


def uneven(counts):
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))


@pytest.mark.parametrize("counts", [[50] * 10, [1, 7, 30, 2, 11], [100, 3], [20] * 40, [5, 5, 400]])
@pytest.mark.parametrize(("classes", "pictures"), [(10, 5), (2, 2), (4, 8)])
def test_an_epoch_of_classes_misses_no_picture(counts, classes, pictures):
    labels = uneven(counts)
    sampler = ClassBatches(labels, classes, pictures, seed=3)
    batches = list(sampler.epoch(0))
    assert len(batches) == len(sampler)
    assert set(np.concatenate(batches)) == set(range(len(labels)))
    p = min(classes, len(counts))
    for batch in batches:
        of = labels[batch].reshape(p, pictures)
        assert (of == of[:, :1]).all(), "the K pictures of a class stand side by side"
        assert len(set(of[:, 0])) == p, "the P classes differ"


def test_even_classes_are_seen_exactly_once():
    batches = list(ClassBatches(uneven([50] * 10), 10, 5, seed=0).epoch(0))
    assert sorted(np.concatenate(batches)) == list(range(500))


def test_the_epoch_depends_on_seed_and_number_alone():
    labels = uneven([30] * 6)
    first, again = (list(ClassBatches(labels, 3, 4, seed=1).epoch(5)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    other = list(ClassBatches(labels, 3, 4, seed=1).epoch(6))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_unlabelled_pictures_are_left_out():
    labels = np.array([0, -1, 1, 0, -1, 1])
    drawn = np.concatenate(list(ClassBatches(labels, 2, 2, seed=0).epoch(0)))
    assert set(drawn) == {0, 2, 3, 5}
    assert [list(member) for member in by_class(labels)] == [[0, 3], [2, 5]]


def test_random_triplets_are_one_class_against_one_other():
    labels = uneven([40, 3, 25, 1])
    sampler = RandomTriplets(labels, triplets=16, epoch_triplets=4000, seed=2)
    batches = list(sampler.epoch(0))
    assert len(batches) == len(sampler) == 250
    seconds = set()
    for batch in batches:
        a, p, n = batch.reshape(3, 16)
        assert len(set(labels[a])) == len(set(labels[n])) == 1
        assert (labels[a] == labels[p]).all() and (labels[a] != labels[n]).all()
        assert (a != p).all(), "a positive is another picture"
        seconds.add((labels[a][0], labels[n][0]))
    # class 3 has one picture and can only be the other one: 3 × 3 pairs
    assert len(seconds) == 9


@pytest.mark.parametrize("labels", [[], [0, 0, 0], [-1, -1]])
def test_one_class_is_not_enough(labels):
    labels = np.array(labels, dtype=np.int64)
    with pytest.raises(RetrievalError, match="2 classes"):
        ClassBatches(labels, 2, 2, seed=0)
    with pytest.raises(RetrievalError, match="2 classes"):
        RandomTriplets(labels)


@pytest.mark.parametrize("counts", [[50] * 10, [1, 7, 30, 2, 11], [2, 1], [100, 3], [1, 1, 1, 2]])
@pytest.mark.parametrize("pairs", [2, 10, 64])
def test_pairs_are_balanced_and_miss_no_picture(counts, pairs):
    labels = uneven(counts)
    sampler = BalancedPairs(labels, pairs, seed=1)
    batches = list(sampler.epoch(0))
    assert len(batches) == len(sampler)
    alone = np.flatnonzero(np.bincount(labels)[labels] == 1)
    seen_genuine, seen_impostor = set(), set()
    for batch in batches:
        first, second = batch.reshape(2, pairs)
        same = labels[first] == labels[second]
        assert same.tolist() == [True, False] * (pairs // 2), "genuine and impostor in turns, so as many of each"
        assert (first != second).all()
        seen_genuine |= set(first[same])
        seen_impostor |= set(first[~same])
    assert seen_impostor == set(range(len(labels)))
    assert seen_genuine == set(range(len(labels))) - set(alone)


def test_second_pictures_of_pairs_are_drawn_evenly():
    """From the other pictures of the class, and from all pictures of the other classes."""
    labels = np.array([0, 0, 0, 1, 1, 2, -1])
    sampler = BalancedPairs(labels, 2, seed=0)
    counts = np.zeros((2, 7, 7))
    for number in range(500):
        for batch in sampler.epoch(number):
            first, second = batch.reshape(2, 2)
            counts[[0, 1], first, second] += 1
    genuine, impostor = counts
    assert not counts[:, 6].any() and not counts[..., 6].any(), "unlabelled"
    for picture in range(6):
        others = labels >= 0
        same = (labels == labels[picture]) & (np.arange(7) != picture)
        for drawn, wanted in ((genuine, same), (impostor, others & (labels != labels[picture]))):
            assert (drawn[picture][~wanted] == 0).all()
            if wanted.any():
                expected = drawn[picture].sum() / wanted.sum()
                assert expected >= 100
                assert np.abs(drawn[picture][wanted] - expected).max() < 5 * np.sqrt(expected)


ALPHABETS = {"Greek": [24] * 3, "Latin": [5, 9], "Braille": [20] * 12, "Futhark": [7], "Tifinagh": [30]}
"""Pictures of each character of each alphabet; two alphabets have one character."""


def characters():
    rows = [(f"{name}/{i}", name) for name, counts in ALPHABETS.items() for i, n in enumerate(counts) for _ in range(n)]
    order = np.random.default_rng(0).permutation(len(rows))
    names = sorted({name for name, _ in rows})
    return np.array([names.index(rows[i][0]) for i in order]), [rows[i][1] for i in order]


def test_batches_of_one_group_miss_no_picture():
    labels, groups = characters()
    sampler = GroupBatches(labels, groups, 5, 4, seed=0)
    batches = list(sampler.epoch(0))
    assert len(batches) == len(sampler)
    assert set(np.concatenate(batches)) == set(range(len(labels)))
    # a single character goes with the next alphabet, or the last with the one before
    joined = {"Futhark": "Greek", "Tifinagh": "Latin"}
    seen = []
    for batch in batches:
        of = {joined.get(groups[i], groups[i]) for i in batch}
        assert len(of) == 1
        rows = labels[batch].reshape(-1, 4)
        assert (rows == rows[:, :1]).all() and len(set(rows[:, 0])) == len(rows)
        assert len(rows) == {"Greek": 4, "Latin": 3, "Braille": 5}[min(of)]
        seen.append(min(of))
    assert seen != sorted(seen), "the groups take turns"
    again = list(GroupBatches(labels, groups, 5, 4, seed=0).epoch(0))
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))
    other = list(GroupBatches(labels, groups, 5, 4, seed=0).epoch(1))
    assert not all(np.array_equal(a, b) for a, b in zip(batches, other, strict=True))


def test_unlabelled_pictures_belong_to_no_group():
    labels, groups = characters()
    labels = np.where(np.arange(len(labels)) % 3 == 0, -1, labels)
    drawn = np.concatenate(list(GroupBatches(labels, groups, 5, 4, seed=0).epoch(0)))
    assert set(drawn) == set(np.flatnonzero(labels >= 0))


@pytest.mark.parametrize("kind", ["classes", "hierarchical", "pairs", "random-triplets"])
def test_every_process_draws_the_same_batches(kind):
    """Each process makes a sampler of its own, and may begin in the middle: nothing runs on between epochs."""
    labels, groups = characters()
    recipe = Recipe(
        sampler=kind,
        loss="energy" if kind == "pairs" else "triplet",
        mining="given" if kind == "random-triplets" else "all",
        classes_per_batch=5,
        pictures_per_class=4,
        pairs_per_batch=10,
        triplets_per_batch=9,
        triplets_per_epoch=100,
    )
    one, other = create(recipe, labels, groups), create(recipe, labels, groups)
    list(one.epoch(2))
    assert all(np.array_equal(a, b) for a, b in zip(one.epoch(3), other.epoch(3), strict=True))
    assert len(one) == len(list(other.epoch(4)))


def test_groups_and_pairs_are_refused_by_name_where_there_is_nothing_to_draw():
    labels = np.array([0, 0, 1, 1])
    with pytest.raises(RetrievalError, match="--sampler classes"):
        create(Recipe(sampler="hierarchical"), labels)
    with pytest.raises(RetrievalError, match="2 classes"):
        GroupBatches(np.array([0, 0, -1]), ["a", "a", "b"], 2, 2, seed=0)
    for lonely in ([0, 1, 2], [0, 0], [-1, -1]):
        with pytest.raises(RetrievalError, match="2 classes"):
            BalancedPairs(np.array(lonely), 4, seed=0)
    with pytest.raises(RetrievalError, match="7"):
        BalancedPairs(labels, 7, seed=0)
