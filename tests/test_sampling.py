"""Batches: what is in them, that an epoch misses nothing, and that a seed repeats them."""

import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.sampling import ClassBatches, RandomTriplets, by_class


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
