"""A head from marks: what was a right answer to what, and what a wrong one, without any label.

Right pairs say what pictures of one kind may differ by, and wrong ones what tells kinds apart. The layers are those of
:mod:`.discriminant` with these in place of the scatters within and between classes (as in the metric of Köstinger et
al. 2012, which is the difference of two such covariances' inverses).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval import measures
from retrieval.base.given import seeded
from retrieval.base.text import printable
from retrieval.encoder.head_map import HeadMap, unit
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.search.combining import combined
from retrieval.search.marks import Mark
from retrieval.training.head.choosing import MIXES, SHAPES, SHRINKAGES, Choice, Part, joined
from retrieval.training.head.discriminant import Discriminant, Floats, Ints
from retrieval.training.head.gain import Gain

FOLDS = 5

LEAST = 10
"""Right marks, and wrong ones, that a head needs."""


@dataclass(frozen=True)
class MarkedPairs:
    """Questions and hits that were marked.

    Attributes:
        queries, items: float32 (n, d), unit rows.
        right: bool (n,).
        groups: int64 (n,), the number of the question.
        left_out: marks whose hit is another picture by now, or whose question is not in the index.
    """

    queries: Floats
    items: Floats
    right: npt.NDArray[np.bool_]
    groups: Ints
    left_out: int

    @classmethod
    def of(cls, index: Index, marks: Sequence[Mark]) -> MarkedPairs:
        """Those of an index's items, asked by its items.

        Raises:
            RetrievalError: fewer than :data:`LEAST` right or wrong ones are left.
        """
        rows = []
        numbers: dict[object, int] = {}
        for mark in marks:
            item = index.find(mark.item)
            query = None if item is None or mark.sha256 not in (None, item.sha256) else _query(index, mark)
            if item is not None and query is not None:
                number = numbers.setdefault((mark.query, mark.query_sha256), len(numbers))
                rows.append((query, item.id, mark.right, number))
        right = np.array([row[2] for row in rows], bool)
        if min(right.sum(), (~right).sum()) < LEAST:
            raise RetrievalError(
                f"{int(right.sum())} right and {int((~right).sum())} wrong marks of {len(marks):,} are of pictures of "
                f"{printable(index.folder.name)!r}; a head needs {LEAST} of each."
            )
        queries = unit(np.stack([row[0] for row in rows]).astype(np.float32))
        items = unit(index.vectors([row[1] for row in rows]))
        return cls(queries, items, right, np.array([row[3] for row in rows], np.int64), len(marks) - len(rows))

    def known(self, rows: npt.NDArray[np.bool_]) -> Discriminant:
        """What some of them say."""
        gaps = (self.queries - self.items).astype(np.float64) / np.sqrt(2)
        good, bad = gaps[rows & self.right], gaps[rows & ~self.right]
        mean = np.concatenate([self.queries[rows], self.items[rows]]).mean(0, dtype=np.float64)
        return Discriminant.of_scatter(good.T @ good / len(good), bad / np.sqrt(len(bad)), mean)

    def folds(self, seed: int) -> Ints:
        """int64 (n,), which of :data:`FOLDS` each belongs to: all marks of a question to one."""
        random = seeded(seed)
        return (random.permutation(int(self.groups.max()) + 1) % FOLDS)[self.groups]

    def order(self, similar: Floats, rows: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """For each question with both kinds of marks among some rows: how often a right hit is before a wrong one."""
        found = []
        for group in np.unique(self.groups[rows]):
            own = rows & (self.groups == group)
            good, bad = similar[own & self.right], similar[own & ~self.right]
            if len(good) and len(bad):
                gaps = good[:, None] - bad
                found.append(float(((gaps > 0) + 0.5 * (gaps == 0)).mean()))
        return np.array(found)


def from_marks(
    pairs: MarkedPairs, *, shrinkage: float | None, mix: float | None, dim: int | None, seed: int
) -> tuple[HeadMap, Choice, Gain | None]:
    """A head from marks, and what it gains on questions that were held out: the share of pairs of a right and a wrong
    hit that are in order; None where fewer than two questions have both.

    Args:
        shrinkage, mix: what is settled already. dim: the most numbers of a vector.
    """
    folds = pairs.folds(seed)
    everything = np.ones(len(folds), bool)
    choice = _choose(pairs, folds, shrinkage, mix, dim)
    mine, base = [], []
    for fold in range(FOLDS):
        held = folds == fold
        if not _enough(pairs, ~held):
            continue
        others = _choose(pairs, np.where(held, -1, folds), shrinkage, mix, dim)
        head = joined(others, pairs.known(~held), None, pairs.queries.shape[1], dim)
        mine.append(pairs.order(_similar(head, pairs), held))
        base.append(pairs.order(_similar(None, pairs), held))
    gained = np.concatenate([*mine, np.empty(0)]), np.concatenate([*base, np.empty(0)])
    gain = None
    if len(gained[0]) > 1:
        compared = measures.compare(*gained, names=("the head", "the base"))
        gain = Gain("held-out questions with marks", len(gained[0]), 0, {"right before wrong": compared})
    head = joined(choice, pairs.known(everything), None, pairs.queries.shape[1], dim)
    return head, choice, gain


def _enough(pairs: MarkedPairs, rows: npt.NDArray[np.bool_]) -> bool:
    return bool((rows & pairs.right).sum() >= 2 and (rows & ~pairs.right).sum() >= 2)


def _choose(pairs: MarkedPairs, folds: Ints, shrinkage: float | None, mix: float | None, dim: int | None) -> Choice:
    """The best on questions that were held out, fold by fold; rows of fold −1 say nothing."""
    mixes = MIXES if mix is None else (mix,)
    candidates = [
        Choice(first, second, weight, shrunk)
        for first, second in SHAPES
        if mix is None or (second is None) == (mix == 0)
        for weight in ((0.0,) if second is None else mixes)
        for shrunk in (SHRINKAGES if shrinkage is None else (shrinkage,))
    ]
    scores: dict[Choice, list[float]] = {candidate: [] for candidate in candidates}
    for fold in range(FOLDS):
        held, rest = folds == fold, (folds != fold) & (folds >= 0)
        if not held.any() or not _enough(pairs, rest):
            continue
        known = pairs.known(rest)
        parts: dict[tuple[Part, float], Floats] = {}
        for candidate in candidates:
            similar = np.zeros(len(folds), np.float32)
            for part, weight in ((candidate.first, 1.0), (candidate.second, candidate.mix)):
                if part is None:
                    continue
                key = part, candidate.shrinkage
                if key not in parts:
                    parts[key] = _of_part(part, candidate.shrinkage, known, pairs, dim)
                similar = similar + np.float32(weight**2) * parts[key]
            found = pairs.order(similar, held)
            if len(found):
                scores[candidate].append(float(found.mean()))
    return max(candidates, key=lambda one: float(np.mean(scores[one])) if scores[one] else 0.0)


def _of_part(part: Part, shrinkage: float, known: Discriminant, pairs: MarkedPairs, dim: int | None) -> Floats:
    d = pairs.queries.shape[1]
    if part == "plain":
        return _similar(None, pairs)
    size = min(d, dim or d)
    weight, bias = known.whitening(shrinkage, size) if part == "white" else known.discriminant(shrinkage, size)
    return _similar(HeadMap(weight, bias), pairs)


def _similar(head: HeadMap | None, pairs: MarkedPairs) -> Floats:
    """float32 (n,): of each question and its hit, through a head or as they are."""
    queries, items = pairs.queries, pairs.items
    if head is not None:
        queries, items = head(queries), head(items)
    found: Floats = (queries * items).sum(1)
    return found


def _query(index: Index, mark: Mark) -> Floats | None:
    """The vector of a question, where all its parts are whole pictures of the index."""
    vectors, weights = [], []
    for parts, sign in ((mark.query.like, 1), (mark.query.unlike, -1)):
        for part in parts:
            item = None
            if part.box is None and part.kind == "id":
                try:
                    (item,) = index.items([int(str(part.value))])
                except RetrievalError:
                    return None
            elif part.box is None and part.kind == "path":
                item = index.find(str(part.value))
            elif part.box is None and part.kind == "file" and mark.query_sha256 is not None:
                item = next(iter(index.find_sha256(mark.query_sha256)), None)
            if item is None:
                return None
            vectors.append(index.vectors([item.id])[0])
            weights.append(sign * part.weight)
    try:
        return combined(vectors, weights, index.storage)
    except RetrievalError:  # they cancel out
        return None
