"""Exact search among binary codes against counting bits one by one."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.index.nearest.exact import Allowed
from retrieval.index.nearest.hamming import exact_hamming, hamming_range_search


def slow(query, codes, ids, k, exclude=(), mask=None):
    """The slow obvious version: (score, id) of the k best."""
    bits = 8 * codes.shape[1]
    pairs = []
    for row, code in enumerate(codes):
        if ids[row] not in exclude and (mask is None or mask[row]):
            distance = sum(bin(int(a) ^ int(b)).count("1") for a, b in zip(query, code, strict=True))
            pairs.append((np.float32(1 - 2 * distance / bits), ids[row]))
    return sorted(pairs, key=lambda pair: (-pair[0], pair[1]))[:k]


def check(scores, ids, expected, k):
    assert scores.dtype == np.float32 and ids.dtype == np.int64 and scores.shape == ids.shape == (len(expected), k)
    for row, pairs in enumerate(expected):
        assert ids[row].tolist() == [id_ for _, id_ in pairs] + [-1] * (k - len(pairs))
        assert scores[row].tolist() == [score for score, _ in pairs] + [-np.inf] * (k - len(pairs))


@pytest.mark.parametrize("width", [1, 2, 3, 8, 9, 16, 25, 128])
@pytest.mark.parametrize("n", [0, 1, 20, 200])
def test_as_by_counting_bits(width, n):
    rng = np.random.default_rng(width + n)
    codes = rng.integers(0, 256, (n, width), np.uint8)
    codes[n // 2 :] = codes[: n - n // 2]  # so that much ties
    ids = np.cumsum(rng.integers(1, 5, n)) if n else np.empty(0, np.int64)
    queries = np.concatenate([codes[:3], rng.integers(0, 256, (4, width), np.uint8)])
    for k in (0, 1, 7, n + 3):
        expected = [slow(query, codes, ids, k) for query in queries]
        check(*exact_hamming(queries, codes, ids, k), expected, k)
        exclude = [rng.choice(ids, min(n, row), replace=False) if n else ids for row in range(len(queries))]
        exclude = [np.sort(np.append(some, 10**9)) for some in exclude]
        expected = [slow(query, codes, ids, k, set(some)) for query, some in zip(queries, exclude, strict=True)]
        check(*exact_hamming(queries, codes, ids, k, exclude), expected, k)
        mask = rng.random(n) < 0.3
        expected = [slow(query, codes, ids, k, mask=mask) for query in queries]
        check(*exact_hamming(queries, codes, ids, k, allowed=Allowed(mask)), expected, k)


def test_of_equal_codes_the_lowest_ids_come():
    codes = np.repeat(np.array([[0, 255], [0, 254]], np.uint8), 500, axis=0)
    codes = codes[np.random.default_rng(0).permutation(1000)]
    ids = np.arange(1000) * 3
    same = ids[codes[:, 1] == 255]
    scores, found = exact_hamming(codes[:1] * 0 + np.array([0, 255], np.uint8), codes, ids, 600)
    assert (
        found[0, :500].tolist() == same.tolist() and found[0, 500:].tolist() == ids[codes[:, 1] == 254][:100].tolist()
    )
    assert (scores[0, :500] == 1).all() and (scores[0, 500:] == np.float32(1 - 2 / 16)).all()


def test_opposite_codes_are_found_last_and_score_minus_one():
    codes = np.array([[0], [255], [15]], np.uint8)
    scores, ids = exact_hamming(np.array([[255]], np.uint8), codes, np.arange(3), 3)
    assert ids.tolist() == [[1, 2, 0]] and scores.tolist() == [[1, 0, -1]]


@pytest.mark.parametrize("width", [1, 16, 20])
def test_a_range_holds_all_that_score_so_much(width):
    rng = np.random.default_rng(width)
    codes = rng.integers(0, 256, (300, width), np.uint8)
    ids, mask = np.arange(300) * 2, rng.random(300) < 0.5
    queries = codes[:5]
    for score in (-1, 0, 0.25, 1 - 2 * 3 / (8 * width), 1, 1.5):
        for allowed in (None, mask):
            found = hamming_range_search(queries, codes, ids, score, None if allowed is None else Allowed(allowed))
            for query, (scores, some) in zip(queries, found, strict=True):
                every = slow(query, codes, ids, 300, mask=allowed)
                expected = [(id_, s) for s, id_ in every if s >= np.float32(score)]
                assert list(zip(some.tolist(), scores.tolist(), strict=True)) == expected


def test_codes_may_lie_on_a_read_only_disk_or_apart(tmp_path):
    codes = np.random.default_rng(0).integers(0, 256, (500, 24), np.uint8)
    np.save(tmp_path / "codes.npy", codes)
    expected = exact_hamming(codes[:4], codes, np.arange(500), 10)
    for some in (np.load(tmp_path / "codes.npy", mmap_mode="r"), np.asfortranarray(codes)):
        for ours, theirs in zip(exact_hamming(some[:4], some, np.arange(500), 10), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
