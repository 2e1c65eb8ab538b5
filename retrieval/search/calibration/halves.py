"""Who asks an index, what they should find, and how the labels are halved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval.base.text import numbered, printable
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.measures import UNLABELLED, Pairs
from retrieval.search.calibration.cohort import Cohort
from retrieval.search.calibration.evidence import Evidence, gather, pairs

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

QUERIES = 5_000
"""Most queries that ask, drawn at random."""


@dataclass(frozen=True)
class Asking:
    """Labelled pictures that ask an index and are not in it.

    Attributes:
        name: what to call them.
        vectors: float32 (n, dim), unit rows, by the index's own encoder.
        labels: one a vector, None where it is not known: those do not ask.
        gallery: the labels of the index's items, by ascending id, in place of those that they have there; None: those.
        left_out: for each vector the places, by ascending id, of items that it must not find; none if empty.
    """

    name: str
    vectors: npt.NDArray[np.float32]
    labels: tuple[str | None, ...]
    gallery: tuple[str | None, ...] | None = None
    left_out: tuple[Ints, ...] = ()


class Labelled:
    """An index and who asks it: the pictures of `asking`, or else those of the index itself.

    Attributes:
        index, asking: these.
        gallery: int64 (n,), the label of each item of the index, as a number.
        owners: int64 (m,), the label of each picture that could ask.
        rows: int64 (nq,), ascending: those of them that do.
        matchable: bool (labels,), the labels that a query has and can find.
        disjoint: what the two halves do not share: "labels" or, where there are too few to halve, "pictures".
        held: bool (m,), the owners in the half that is judged and not fitted to.
    """

    def __init__(self, index: Index, asking: Asking | None, generator: np.random.Generator) -> None:
        """Draw who asks.

        Raises:
            RetrievalError: no label is known, or none can be found, or every hit would be right.
        """
        self.index, self.asking, self._generator = index, asking, generator
        where = printable(index.name)
        names = index.labels() if asking is None or asking.gallery is None else asking.gallery
        asked = () if asking is None else asking.labels
        known, places = numbered([*names, *asked])
        self.gallery = places[: len(names)]
        self.owners = self.gallery if asking is None else places[len(names) :]
        labelled = np.flatnonzero(self.owners != UNLABELLED)
        if not (self.gallery != UNLABELLED).any():
            raise RetrievalError(
                f"The index {where!r} has no labels, so nobody knows which hits are true matches; "
                "build it from a folder of class folders, or with --labels."
            )
        if not labelled.size:
            raise RetrievalError(
                f"None of the {len(asked):,} pictures that ask {where!r} has a label; give labelled ones."
            )
        self._first, self._copies = _copies(index)
        shown = self.gallery[self._first & (self.gallery != UNLABELLED)]
        counts = np.bincount(shown, minlength=len(known))
        if (counts > 0).sum() < 2:
            raise RetrievalError(
                f"All labelled pictures of the index {where!r} have the same label, exact copies counted once, so that "
                "no hit could be wrong; calibration needs pictures of two labels or more."
            )
        asks = np.bincount(self.owners[labelled], minlength=len(known)) > 0
        self.matchable = asks & (counts > (1 if asking is None else 0))  # one of the index is no match of itself
        if not self.matchable.any():
            raise RetrievalError(
                f"No two different pictures that ask and answer in the index {where!r} share a label, so that no "
                "query has a true match; calibration needs labels of two pictures or more."
            )
        self.rows = labelled
        if len(labelled) > QUERIES:
            self.rows = np.sort(generator.choice(labelled, QUERIES, replace=False))
        self._halve()

    def ask(self, k: int, cohort: Cohort) -> Evidence:
        """Put every query to the index, for k hits."""
        everything = self.index.all_vectors()[1] if self.asking is None else self.asking.vectors
        left_out = [self._left_out(row) for row in self.rows.tolist()]
        return gather(
            self.index,
            everything[self.rows],
            self.owners[self.rows],
            self.gallery,
            left_out,
            cohort,
            k,
            self._generator,
        )

    def _left_out(self, row: int) -> Ints:
        """The places of the items that a picture which asks does not find."""
        if self.asking is None:
            return self._copies[row]
        return self.asking.left_out[row] if self.asking.left_out else np.empty(0, np.int64)

    def pairs(self, judged: bool | None, seed: int) -> Pairs:
        """Pairs of pictures within the half that is judged, or that is fitted to; None: within all.

        Where labels are halved, both pictures of a pair have a label of the half. Where pictures are, no picture that
        asks is of the other half. Of what is in the index byte for byte the same, one counts.

        Raises:
            RetrievalError: there are no two pictures of one label, or none of two.
        """
        try:
            return self._pairs(judged, seed)
        except RetrievalError as error:
            raise RetrievalError(
                f"The index {printable(self.index.name)!r} has too few labelled pictures to calibrate on one half of "
                f"them and judge it on the other: in a half {error}."
            ) from error

    def _pairs(self, judged: bool | None, seed: int) -> Pairs:
        in_half = np.ones(len(self.owners), bool) if judged is None else self.held == judged
        if self.asking is None:
            rows = in_half & self._first
            return pairs(self.index, self.index.all_vectors()[1][rows], self.owners[rows], None, None, seed)
        shelf = self._first.copy()
        if judged is not None and self.disjoint == "labels":
            shelf &= (self._held_labels == judged)[self.gallery]  # an item without a label is in no pair anyway
        vectors, labels = self.index.all_vectors()[1][shelf], self.gallery[shelf]
        return pairs(self.index, self.asking.vectors[in_half], self.owners[in_half], vectors, labels, seed)

    def _halve(self) -> None:
        """Four labels that have a match, or more, are halved; else the pictures of each label are."""
        if self.matchable.sum() >= 4:
            self.disjoint = "labels"
            self._held_labels = np.zeros(len(self.matchable), bool)
            for some in (self.matchable, ~self.matchable):  # so that each half has queries with a match
                mixed = self._generator.permutation(np.flatnonzero(some))
                self._held_labels[mixed[: len(mixed) // 2]] = True
            self.held = self._held_labels[self.owners]  # of an owner without a label any: it neither asks nor pairs
        else:
            self.disjoint = "pictures"
            self.held = np.empty(len(self.owners), bool)
            order = np.lexsort((self._generator.permutation(len(self.owners)), self.owners))
            self.held[order] = np.arange(len(order)) % 2 == 1


def _copies(index: Index) -> tuple[Mask, dict[int, Ints]]:
    """bool (n,), which items are the first of their content; and by item the places of all of its content."""
    ids = index.ids()
    places: dict[str, list[int]] = {}
    first = np.ones(len(ids), bool)
    for start in range(0, len(ids), 10_000):
        for row, item in enumerate(index.items(ids[start : start + 10_000]), start=start):
            # What was imported without its file is nobody's copy.
            same = places.setdefault(item.sha256 or f"item {row}", [])
            first[row] = not same
            same.append(row)
    of: dict[int, Ints] = {}
    for same in places.values():
        of.update(dict.fromkeys(same, np.array(same, np.int64)))
    return first, of
