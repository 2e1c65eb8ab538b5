"""Which of many 64-bit hashes lie within a few bits of each other: exact, in bounded memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from retrieval.errors import RetrievalError

MOST = 20_000_000
"""Pairs above which a search gives up: 400 MB, and nobody looks through them."""

_BITS = 64
_BLOCK = 1 << 20  # distances computed at a time: 8 MiB of exclusive ors, which a processor's cache holds in part
_RUN = 64  # hashes that should share a band at least, for comparing them to cost more than finding them

Codes = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]


class HashPairs(NamedTuple):
    """Pairs of hashes, by ascending first and second row.

    Attributes:
        first: int64 (m,).
        second: int64 (m,), rows of the other hashes; or of the same, and then above `first`.
        distance: int64 (m,), Hamming distance in bits.
    """

    first: Rows
    second: Rows
    distance: Rows


def pairs_within(hashes: Codes, bits: int, others: Codes | None = None) -> HashPairs:
    """All pairs of hashes at most so many bits apart.

    Multi-index hashing (Norouzi, Punjani, Fleet: Fast Search in Hamming Space with Multi-Index Hashing, 2012): of m
    bands of the bits, two hashes that differ in at most t differ in at most ⌊t/m⌋ in one band at least. With m > t/2
    that is one bit at most, so only hashes that share a band, or share it but for one bit, are compared. Where bands
    are so narrow that this saves nothing, all pairs are compared, block by block.

    Args:
        hashes: uint64 (n,).
        bits: the largest distance that counts, 0 to 64.
        others: uint64 (m,) to pair them with; by default each with those after it.

    Returns:
        Every pair, once.

    Raises:
        RetrievalError: bits out of range, or more than :data:`MOST` pairs.
    """
    if not 0 <= bits <= _BITS:
        raise RetrievalError(f"A hash distance of {bits} bits was asked for; give a whole number from 0 to {_BITS}.")
    right = hashes if others is None else others
    least = max(len(right) // _RUN, 2)
    bands = max(bits // 2 + 1, -(-_BITS // int(least).bit_length()))
    width = _BITS // bands
    probes = bands * (width + 1 if bands <= bits else 1)
    saves = probes < 2**width and len(hashes) * len(right) > _BLOCK
    everything = np.arange(len(hashes)), np.arange(len(right))
    blocks = _banded(hashes, right, bands, bits) if saves else iter([everything])
    parts, waiting = [np.empty((3, 0), np.int64)], 0
    for rows, columns in blocks:
        step = max(1, _BLOCK // max(len(columns), 1))
        for start in range(0, len(rows), step):
            some = rows[start : start + step]
            facing = columns[start:] if others is None and rows[0] == columns[0] else columns  # one run with itself
            distance = np.bitwise_count(hashes[some, None] ^ right[facing])
            near = np.nonzero(distance <= bits)
            pairs = np.stack([some[near[0]], facing[near[1]], distance[near].astype(np.int64)])
            if others is None:
                pairs = pairs[:, pairs[0] != pairs[1]]
                pairs[:2].sort(axis=0)
            if pairs.size:
                parts.append(pairs)
                waiting += pairs.shape[1]
            if waiting > MOST // 4:  # several bands bring a pair together
                parts, waiting = [_distinct(parts, len(right))], 0
                if parts[0].shape[1] > MOST:
                    raise _too_many(bits)
    return HashPairs(*_distinct(parts, len(right)))


def _distinct(parts: list[Rows], columns: int) -> Rows:
    """int64 (3, m): each pair once, ascending."""
    pairs = np.concatenate(parts, axis=1)
    once: Rows = np.unique(pairs[0] * max(columns, 1) + pairs[1], return_index=True)[1]
    return pairs[:, once]


def _banded(left: Codes, right: Codes, bands: int, bits: int) -> Iterator[tuple[Rows, Rows]]:
    """Rows of both whose hashes share a band, or but for one bit, so that they may lie within so many bits."""
    limits = np.linspace(0, _BITS, bands + 1).astype(int)
    for low, high in itertools.pairwise(limits):
        ours = _runs(left, low, high)
        theirs = ours if left is right else _runs(right, low, high)
        for flip in [0] if bands > bits else [0, *(1 << bit for bit in range(high - low))]:
            for key, rows in ours.items():
                columns = theirs.get(key ^ flip)
                # Of one set, the run of the other key meets this one in its turn.
                if columns is not None and (left is not right or key <= key ^ flip):
                    yield rows, columns


def _runs(hashes: Codes, low: int, high: int) -> dict[int, Rows]:
    """The rows of each value that the bits from low up to high take."""
    band = (hashes >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
    order = np.argsort(band, kind="stable")
    keys, starts = np.unique(band[order], return_index=True)
    return dict(zip(keys.tolist(), np.split(order, starts[1:]), strict=True))


def _too_many(bits: int) -> RetrievalError:
    return RetrievalError(
        f"More than {MOST:,} pairs of pictures lie within {bits} bits of each other; ask for a smaller distance."
    )
