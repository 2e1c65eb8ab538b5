"""From pairs of near-duplicates to groups of which one picture could stay.

Joining whatever is like something that is like it (connected components) would chain pictures that have nothing in
common. Components are therefore taken apart: the best picture takes what lies within the threshold of itself, the best
of what is left does the same, and so on.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from retrieval import images
from retrieval.images.perceptual import Hashes
from retrieval.images.reading import ReadPicture
from retrieval.traps.duplicates.report import Copy, Duplicates, Group, Kind
from retrieval.traps.near_duplicates import SCORE, SPARE, hash_distance, near_duplicates

Ints = npt.NDArray[np.int64]


class Known(NamedTuple):
    """What is known of the n pictures that can be read."""

    paths: list[str]
    pictures: list[ReadPicture]
    hashes: Hashes
    vectors: npt.NDArray[np.float32] | None  # (n, d), rows of NaN where there is none
    neighbours: Ints | None  # rows (n, k), −1 for none
    scores: npt.NDArray[np.float32] | None


def grouped(
    root: Path,
    known: Known,
    skipped: tuple[images.Skipped, ...],
    notes: list[str],
    score: float | None,
    bits: int,
) -> Duplicates:
    """Group what is known to be alike.

    Args:
        root: the pictures' folder.
        known: all that was found out about them.
        skipped: what could not be read.
        notes: sentences that come before those from here.
        score: the least score that counts; see :func:`retrieval.traps.near_duplicates.near_duplicates`.
        bits: the greatest distance of each hash.
    """
    pairs = near_duplicates(known.neighbours, known.scores, known.hashes, score=score, bits=bits)
    least = SCORE if score is None else score
    contents = np.unique([picture.sha256 for picture in known.pictures], return_inverse=True)[1]
    _, first_of = np.unique(contents, return_index=True)
    first = np.concatenate([pairs.first, first_of[contents]])
    second = np.concatenate([pairs.second, np.arange(len(contents))])
    close = partial(_within, known, contents, least, bits, pairs.crowded)
    groups = []
    for component in _components(len(contents), first, second):
        members = sorted(component, key=partial(_rank, known))
        while len(members) > 1:
            kept, others = members[0], np.array(members[1:])
            copies = close(kept, others)
            if copies:
                groups.append(Group(_copy(known, kept), copies))
            taken = {copy.path for copy in copies}
            members = [row for row in others.tolist() if known.paths[row] not in taken]
    groups.sort(key=lambda group: (-len(group.copies), group.kept.path))
    if pairs.crowded:
        notes.append(
            f"Scores from {least:g} are so common that they tell classes, not copies; they were believed only where "
            f"the hashes are within {bits + SPARE} bits, too (--score takes them at their word)."
        )
    blank = int((~known.hashes.telling).sum())
    if blank:
        notes.append(f"{blank:,} pictures have too little detail for their hashes to tell anything.")
    if skipped:
        notes.append(f"{len(skipped):,} files could not be read and are in no group.")
    return Duplicates(
        root, len(known.paths), tuple(groups), skipped, tuple(notes), None if known.vectors is None else least, bits
    )


def _components(n: int, first: Ints, second: Ints) -> list[list[int]]:
    """The connected components of more than one of n nodes, by the edges between them."""
    parent = list(range(n))

    def head(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        parent[head(b)] = head(a)
    components: dict[int, list[int]] = {}
    for node in np.union1d(first[first != second], second[first != second]).tolist():
        components.setdefault(head(node), []).append(node)
    return list(components.values())


def _rank(known: Known, row: int) -> tuple[int, int, str]:
    picture = known.pictures[row]
    return -picture.width * picture.height, -picture.size, known.paths[row]


def _within(
    known: Known, contents: Ints, least: float, bits: int, crowded: bool, kept: int, others: Ints
) -> tuple[Copy, ...]:
    """Those of others that are within the threshold of the one that is kept."""
    apart = hash_distance(known.hashes, known.hashes, np.full(len(others), kept), others)
    same = contents[others] == contents[kept]
    by_hash = apart <= bits
    cosines = np.full(len(others), np.nan)
    if known.vectors is not None:
        cosines = np.clip(known.vectors[others].astype(np.float64) @ known.vectors[kept].astype(np.float64), -1, 1)
    by_score = cosines.astype(np.float32) >= least
    if crowded:
        by_score &= apart <= bits + SPARE
    found: list[tuple[tuple[int, int, float, str], Copy]] = []
    for row, is_same, hashed, scored, distance, cosine in zip(
        others.tolist(), same, by_hash, by_score, apart.tolist(), cosines.tolist(), strict=True
    ):
        if not (is_same or hashed or scored):
            continue
        kind: Kind = "exact" if is_same else "hash" if hashed else "embedding"
        copy = _copy(
            known,
            row,
            kind,
            None if np.isnan(cosine) else cosine,
            distance if distance <= 64 else None,
        )
        order = (not is_same, distance if hashed else 64, -(copy.score or 0.0), copy.path)
        found.append((order, copy))
    return tuple(copy for _, copy in sorted(found, key=lambda one: one[0]))


def _copy(
    known: Known, row: int, kind: Kind | None = None, score: float | None = None, bits: int | None = None
) -> Copy:
    picture = known.pictures[row]
    return Copy(known.paths[row], picture.size, picture.width, picture.height, kind, score, bits)
