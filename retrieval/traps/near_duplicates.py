"""Which pictures are near-duplicates of each other, by what their vectors and their perceptual hashes say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval.errors import RetrievalError
from retrieval.images.hash_pairs import pairs_within
from retrieval.images.perceptual import Hashes

SCORE = 0.95
"""Score from which two pictures are near-duplicates. Measured on CIFAR-10's test pictures with EfficientNet-Lite0: of
158,000 pairs none but copies reached 0.9 (others end at 0.83, and are ten times rarer every 0.05), copies that hashes
find score 0.68 to 0.97; with Lite1 the first that is no copy has 0.902 among 2 million pairs. 0.95 leaves about one
look-alike in 10,000 pictures, and finds crops, which hashes miss."""

BITS = 10
"""Bits in which each of the two hashes may differ. Of the 50 million pairs of CIFAR-10's test pictures 29 lie within
that for both hashes, all of them copies to the eye; for pHash alone 67, half of them copies."""

CROWDED = 0.5
"""Pairs of neighbours above the score, for each picture, from which scores tell classes rather than copies: as many as
if each picture had a copy. A model that was trained to bring classes together gives 745,000 pairs of CIFAR-10's 10,000
test pictures 0.95 or more, which says nothing of copies."""

SPARE = 4
"""Bits more in which hashes may differ where a crowded score supports them: of those pictures' pairs that differ in 11
to 14 bits and score 0.95 three quarters are copies; in 16 bits it is half, in 18 next to none."""

_BITS = 64

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """Near-duplicates, closest first.

    Attributes:
        first: int64 (m,), rows; of the queries, if there are queries.
        second: int64 (m,), rows; of the gallery, if there is one.
        score: float32 (m,), NaN where it is not known.
        bits: int64 (m,), the greater distance of the two hashes, −1 where it is not known.
        by_score: bool (m,), whether the score brought them together.
        by_hash: bool (m,), whether the hashes did.
        crowded: whether scores are so high everywhere that they were not believed alone.
    """

    first: Ints
    second: Ints
    score: npt.NDArray[np.float32]
    bits: Ints
    by_score: npt.NDArray[np.bool_]
    by_hash: npt.NDArray[np.bool_]
    crowded: bool

    def __len__(self) -> int:
        return len(self.first)


def near_duplicates(
    neighbours: Ints | None,
    scores: npt.NDArray[np.float32] | None,
    hashes: Hashes | None = None,
    gallery_hashes: Hashes | None = None,
    *,
    within: bool = True,
    score: float | None = None,
    bits: int = BITS,
    ignored: Sequence[Ints] = (),
) -> Pairs:
    """Pairs that score enough, or whose hashes both lie within some bits.

    Args:
        neighbours: int64 (n, k), the rows of the k nearest of each picture, −1 where there are fewer; near-duplicates
            beyond them are not seen by their score.
        scores: float32 (n, k), theirs.
        hashes: of the n pictures.
        gallery_hashes: of the gallery, where that is another set.
        within: whether the neighbours are rows of the same set.
        score: the least score that counts; by default :data:`SCORE`, and where more than :data:`CROWDED` pairs a
            picture reach that, only where the hashes agree within :data:`SPARE` bits more, too (and not at all without
            hashes).
        bits: the greatest distance of each hash that counts. Pictures without detail have none. Pictures with the very
            same hashes are paired with the first of them only.
        ignored: for each of the n the rows that are no near-duplicates of it, whatever they look like; by default none.

    Raises:
        RetrievalError: arrays of different lengths, neither neighbours nor hashes, or a threshold out of range.
    """
    if score is not None and not -1 <= score <= 1:
        raise RetrievalError(f"The least score is {score}; give one from -1 to 1.")
    n = _size(neighbours, scores, hashes)
    others = hashes if within else gallery_hashes
    if others is not None:
        columns = len(others)
    elif neighbours is not None:
        columns = n if within else 1 + int(neighbours.max(initial=-1))
    else:
        raise RetrievalError(
            "There are neither neighbours nor hashes of both sets to find copies by; give one of them."
        )
    known, known_scores = _known(neighbours, scores, within, columns)
    nothing = np.empty(0, np.int64)
    left_out = np.concatenate([nothing, *(row * columns + one[one < columns] for row, one in enumerate(ignored))])
    kept = ~np.isin(known, left_out)
    known, known_scores = known[kept], known_scores[kept]
    near = known[known_scores >= (SCORE if score is None else score)]
    alike = nothing if hashes is None or others is None else _by_hash(hashes, others, within, bits)
    alike = np.setdiff1d(alike, left_out)
    crowded = score is None and len(near) > max(CROWDED * n, 1)
    if crowded:
        near = near[_apart(hashes, others, near, columns) <= bits + SPARE]
    pairs = np.union1d(near, alike)
    value = np.full(len(pairs), np.nan, np.float32)
    met = np.isin(pairs, known)
    value[met] = known_scores[np.searchsorted(known, pairs[met])]
    distance = _apart(hashes, others, pairs, columns)
    distance[distance > _BITS] = -1
    # Closest first: by hash, which says more of copies than any score, then by score.
    by_hash = np.isin(pairs, alike)
    order = np.lexsort((pairs, -np.nan_to_num(value, nan=-1.0), np.where(by_hash, distance, _BITS)))
    first, second = np.divmod(pairs, max(columns, 1))
    return Pairs(
        first[order],
        second[order],
        value[order],
        distance[order],
        np.isin(pairs, near)[order],
        by_hash[order],
        crowded,
    )


def hash_distance(hashes: Hashes, others: Hashes, first: Ints, second: Ints) -> Ints:
    """The greater distance, in bits, of the two hashes of each pair; more than 64 where a picture has no detail."""
    distance: Ints = np.maximum(
        np.bitwise_count(hashes.phash[first] ^ others.phash[second]),
        np.bitwise_count(hashes.dhash[first] ^ others.dhash[second]),
    ).astype(np.int64)
    distance[~(hashes.telling[first] & others.telling[second])] = _BITS + 1
    return distance


def _size(neighbours: Ints | None, scores: npt.NDArray[np.float32] | None, hashes: Hashes | None) -> int:
    """How many pictures there are, by whatever was given of them."""
    if neighbours is None or scores is None:
        return 0 if hashes is None else len(hashes)
    if neighbours.shape != scores.shape or neighbours.ndim != 2:
        raise RetrievalError(f"Neighbours are {neighbours.shape} and their scores {scores.shape}; give both as (n, k).")
    if hashes is not None and len(hashes) != len(neighbours):
        raise RetrievalError(f"There are {len(hashes)} hashes for {len(neighbours)} pictures; give one for each.")
    return len(neighbours)


def _known(
    neighbours: Ints | None, scores: npt.NDArray[np.float32] | None, within: bool, columns: int
) -> tuple[Ints, npt.NDArray[np.float32]]:
    """Pairs of neighbours as numbers, first · columns + second, ascending, and their scores."""
    if neighbours is None or scores is None:
        return np.empty(0, np.int64), np.empty(0, np.float32)
    if neighbours.size and neighbours.max() >= columns:
        raise RetrievalError(f"A neighbour is in row {neighbours.max()} of a gallery of {columns}; count from 0.")
    first, place = np.nonzero(neighbours >= 0)
    second, found = neighbours[first, place].astype(np.int64), scores[first, place]
    if within:
        other = first != second
        first, second = np.minimum(first, second)[other], np.maximum(first, second)[other]
        found = found[other]
    pairs, once = np.unique(first * columns + second, return_index=True)
    return pairs, found[once].astype(np.float32)


def _by_hash(hashes: Hashes, others: Hashes, within: bool, bits: int) -> Ints:
    """Pairs as numbers, ascending."""
    heads, rows, unit = _units(hashes)
    if within:
        found = pairs_within(hashes.phash[heads], bits)
        close = hash_distance(hashes, hashes, heads[found.first], heads[found.second]) <= bits
        first, second = heads[found.first[close]], heads[found.second[close]]
        copies = rows != heads[unit]
        first, second = np.append(first, heads[unit[copies]]), np.append(second, rows[copies])
        return _sorted(np.minimum(first, second) * len(hashes) + np.maximum(first, second))
    shelf = _units(others)[0]
    found = pairs_within(hashes.phash[heads], bits, others.phash[shelf])
    close = hash_distance(hashes, others, heads[found.first], shelf[found.second]) <= bits
    units, second = found.first[close], shelf[found.second[close]]  # by ascending unit
    # What holds for a query holds for those of the same hashes.
    start, end = np.searchsorted(units, unit, "left"), np.searchsorted(units, unit, "right")
    first = np.repeat(rows, end - start)
    offset = np.arange(len(first)) - np.repeat(np.cumsum(end - start) - (end - start), end - start)
    return _sorted(first * len(others) + second[np.repeat(start, end - start) + offset])


def _sorted(pairs: Ints) -> Ints:
    once: Ints = np.unique(pairs)
    return once


def _units(hashes: Hashes) -> tuple[Ints, Ints, Ints]:
    """The first row of each unit of equal hashes; all rows that tell anything; the unit of each of those."""
    rows = np.flatnonzero(hashes.telling)
    both = np.stack([hashes.phash[rows], hashes.dhash[rows]], axis=1)
    _, first, unit = np.unique(both, axis=0, return_index=True, return_inverse=True)
    return rows[first], rows, unit.reshape(-1)


def _apart(hashes: Hashes | None, others: Hashes | None, pairs: Ints, columns: int) -> Ints:
    """:func:`hash_distance` of pairs given as numbers."""
    if hashes is None or others is None:
        return np.full(len(pairs), _BITS + 1)
    return hash_distance(hashes, others, *np.divmod(pairs, max(columns, 1)))
